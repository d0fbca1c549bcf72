//! Measures how long an order takes while 64 threads wait for quotes, beside an idle quote lane.
//!
//! ```text
//! cargo bench -p lanekeeper-benches --bench latency
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::lane::{LaneConfig, LaneError};
use lanekeeper::quota::Quota;

/// A broker of two lanes.
#[lanekeeper::proxy]
pub trait Desk: Send + Sync {
    /// An order.
    #[lane(transactional, write, priority = 4)]
    fn order(&self) -> Result<(), LaneError>;
    /// A quote.
    #[lane(quote, read)]
    fn quote(&self) -> Result<(), LaneError>;
}

/// A broker that answers after as long as one nearby takes.
struct Nearby;

impl Desk for Nearby {
    fn order(&self) -> Result<(), LaneError> {
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn quote(&self) -> Result<(), LaneError> {
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }
}

const ROUNDS: usize = 40;
const ORDERS: usize = 100;

fn orders(desk: &DeskProxy<Nearby>) -> Vec<Duration> {
    let once = |_| {
        let began = Instant::now();
        desk.order().unwrap();
        began.elapsed()
    };
    (0..ORDERS).map(once).collect()
}

fn p99(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() * 99 / 100]
}

fn main() {
    let desk = || {
        DeskProxy::builder(Nearby)
            .transactional(LaneConfig::new(Quota::unlimited()).in_flight(2))
            // As brokers have it: one call a second. The threads wait nearly all of the time.
            .quote(LaneConfig::new(Quota::per_second(1)))
            .build()
            .unwrap()
    };
    let (busy, idle) = (Arc::new(desk()), desk());
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..64 {
        let (busy, stop) = (Arc::clone(&busy), Arc::clone(&stop));
        // They are answered when the proxy is closed.
        thread::spawn(move || while !stop.load(Ordering::Relaxed) && busy.quote().is_ok() {});
    }
    while busy.quote_lane().queued() < 60 {
        thread::yield_now();
    }
    // In turns, so that other load on the machine affects both alike.
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (one, other) = (orders(&busy), orders(&idle));
        ratios.push(p99(one.clone()).as_secs_f64() / p99(other.clone()).as_secs_f64());
        with.extend(one);
        without.extend(other);
    }
    stop.store(true, Ordering::Relaxed);
    let _ = busy.shutdown(lanekeeper::lane::Shutdown::Now);
    ratios.sort_by(f64::total_cmp);
    let (with, without) = (p99(with), p99(without));
    println!(
        "p99 of an order: {with:?} with 64 threads in the quote lane, {without:?} without; \
         ratio {:.3}, median of {ROUNDS} rounds {:.3}",
        with.as_secs_f64() / without.as_secs_f64(),
        ratios[ROUNDS / 2],
    );
}
