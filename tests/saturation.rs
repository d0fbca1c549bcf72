//! Promises 1 and 2 over real HTTP: many threads on a simulator that counts strictly, with latency and jitter both
//! ways, for half a minute of real time. One of the few tests that need real time.
#![cfg(feature = "kite")]
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerProxy, Instrument, OrderRequest, Side};
use lanekeeper::brokers::Kite;
use lanekeeper::quota::PriorUsage;
use lanekeeper_simulator::{Algorithm, Arrival, SimulatedExchange};

const LATENCY: Duration = Duration::from_millis(40);
const JITTER: Duration = Duration::from_millis(30);
const LENGTH: Duration = Duration::from_secs(30);
const BARE_LENGTH: Duration = Duration::from_secs(3);
const STRATEGIES: usize = 24;

fn exchange(algorithm: Algorithm, seed: u64) -> SimulatedExchange {
    let exchange = SimulatedExchange::builder().algorithm(algorithm).seed(seed);
    exchange.latency(LATENCY).jitter(JITTER).start().unwrap()
}

fn kite(exchange: &SimulatedExchange) -> Kite {
    let url = exchange.base_url();
    Kite::builder().api_key("key").access_token("token").base_url(url).build().unwrap()
}

/// Runs threads that read the account, trade and watch prices as fast as they may.
fn crowd(broker: &dyn Broker, instruments: &[Instrument], length: Duration) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..STRATEGIES {
            let stop = &stop;
            scope.spawn(move || {
                let instrument = &instruments[number % instruments.len()];
                while !stop.load(Ordering::Relaxed) {
                    let _ = broker.quote(instrument);
                    let order = OrderRequest::market(instrument.clone(), Side::Buy, 1);
                    let _ = match number % 3 {
                        0 => broker.place_order(&order).map(drop),
                        1 => broker.positions().map(drop),
                        _ => broker.margins().map(drop),
                    };
                }
            });
        }
        thread::sleep(length);
        stop.store(true, Ordering::Relaxed);
    });
}

fn saturate(algorithm: Algorithm, seed: u64) {
    let exchange = exchange(algorithm, seed);
    // A short time to live, so that every second has a miss.
    let broker = BrokerProxy::builder(kite(&exchange))
        .prior_usage(PriorUsage::None)
        .quote_ttl(Duration::from_millis(200))
        .build()
        .unwrap();
    let instruments: Vec<Instrument> =
        broker.instruments(None).unwrap().into_iter().map(|info| info.instrument).collect();
    let before = exchange.arrivals().len();
    crowd(&broker, &instruments, LENGTH);

    // Half a minute from the first arrival on, as the simulator saw it.
    let arrivals = exchange.arrivals().split_off(before);
    let began = arrivals.iter().map(|arrival| arrival.at).min().unwrap();
    let in_time = |arrival: &&Arrival| arrival.at < began + LENGTH;
    let of = |lane: &str| {
        arrivals.iter().filter(in_time).filter(|arrival| arrival.lane == Some(lane)).count()
    };
    let seconds = LENGTH.as_secs_f64();
    let used = of("transactional") as f64 / (10.0 * seconds);
    println!(
        "{algorithm:?}: {} arrivals, {} refused, {:.1} % of the transactional quota, {} quote calls",
        arrivals.len(),
        exchange.refused(),
        100.0 * used,
        of("quote"),
    );
    assert_eq!(exchange.refused(), 0);
    assert!(used >= 0.92, "used {used}");
    // However many threads and instruments: one at the start, and one a second after that.
    assert!(of("quote") as f64 <= seconds + 1.0, "{} quote calls", of("quote"));
    // And nearly as many as that: there was always a miss.
    assert!(of("quote") as f64 >= 0.75 * seconds, "{} quote calls", of("quote"));
}

/// One at a time: two crowds on the same processors would only measure each other.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn half_a_minute_at_full_load_meets_no_refusal_however_the_broker_counts() {
    let _alone = ALONE.lock().unwrap();
    thread::scope(|scope| {
        let algorithms = [Algorithm::SlidingLog, Algorithm::FixedWindow, Algorithm::TokenBucket];
        for (seed, algorithm) in algorithms.into_iter().enumerate() {
            scope.spawn(move || saturate(algorithm, seed as u64));
        }
    });
}

/// Shows that the check can fail: the same crowd without lanekeeper.
#[test]
fn the_bare_crowd_is_refused_most_of_the_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let exchange = exchange(Algorithm::SlidingLog, 1);
    let instruments: Vec<Instrument> =
        lanekeeper::brokers::paper::Prices::sample().instruments().cloned().collect();
    crowd(&kite(&exchange), &instruments, BARE_LENGTH);
    let (refused, all) = (exchange.refused(), exchange.arrivals().len() as u64);
    println!("bare: {refused} of {all} refused");
    assert!(refused * 2 > all, "{refused} of {all}");
}
