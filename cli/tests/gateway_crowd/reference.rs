//! The library itself, in this process and in front of an exchange as far away: how much of the lane can be used while
//! other programs take the processors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use lanekeeper::brokers::Kite;
use lanekeeper::quota::PriorUsage;
use lanekeeper::{Broker, BrokerProxy};
use lanekeeper_simulator::SimulatedExchange;

use crate::{PROCESSES, THREADS};

/// A crowd of as many threads, which runs until it is stopped.
pub struct Reference {
    exchange: SimulatedExchange,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Reference {
    pub fn start(exchange: SimulatedExchange) -> Self {
        let kite = Kite::builder().api_key("key").access_token("token");
        let kite = kite.base_url(exchange.base_url()).build().unwrap();
        let broker = BrokerProxy::builder(kite).prior_usage(PriorUsage::None).build().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..PROCESSES * THREADS).map(|_| {
            let (broker, stop) = (broker.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = broker.positions();
                }
            })
        });
        let threads = threads.collect();
        Self { exchange, stop, threads }
    }

    /// Stops it, and returns its exchange.
    pub fn stop(self) -> SimulatedExchange {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.exchange
    }
}
