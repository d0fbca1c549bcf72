//! A cold start of many threads, over real HTTP, on a quote lane of one call a second.
#![cfg(feature = "kite")]
#![allow(clippy::unwrap_used)]

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerProxy, Instrument};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::cache::{BatchConfig, QuoteCache};
use lanekeeper::quota::PriorUsage;
use lanekeeper_simulator::SimulatedExchange;

const THREADS: usize = 64;
const INSTRUMENTS: usize = 500;

fn instruments() -> Vec<Instrument> {
    (0..INSTRUMENTS).map(|number| Instrument::new("NSE", format!("S{number}"))).collect()
}

/// Returns a simulator that lists the instruments and counts strictly, and the stack in front of it with Kite's own
/// limits.
fn stack(
    tune: impl FnOnce(&mut BatchConfig),
) -> (SimulatedExchange, QuoteCache<BrokerProxy<Kite>>) {
    let mut csv = String::from("time,exchange,symbol,open,high,low,close,volume\n");
    for instrument in instruments() {
        csv +=
            &format!("2024-01-01T09:15:00+05:30,NSE,{},100,101,99,100,10\n", instrument.symbol());
    }
    let prices = Prices::from_csv(&csv).unwrap();
    let exchange = SimulatedExchange::builder().prices(prices).start().unwrap();
    let kite = Kite::builder().api_key("key").access_token("token").base_url(exchange.base_url());
    let broker = BrokerProxy::builder(kite.build().unwrap())
        .prior_usage(PriorUsage::None)
        .quote_ttl(Duration::from_secs(60))
        .configure(tune)
        .build()
        .unwrap();
    (exchange, broker)
}

/// Lets all threads ask at once.
fn crowd(ask: impl Fn(usize) + Sync) {
    let gate = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (gate, ask) = (&gate, &ask);
            scope.spawn(move || {
                gate.wait();
                ask(number);
            });
        }
    });
}

/// Checks that exactly so many quote calls reached the simulator, and that it refused none.
fn was_asked(exchange: &SimulatedExchange, times: usize) {
    let counts = exchange.counts("quote");
    assert_eq!((counts.admitted, counts.refused), (times as u64, 0));
}

#[test]
fn all_threads_ask_for_everything_in_as_many_calls_as_it_takes_to_name_it() {
    const CHUNK: usize = 200;
    let (exchange, broker) = stack(|cache| cache.max_batch_keys = CHUNK);
    let all = instruments();
    crowd(|_| assert_eq!(broker.quotes(&all).unwrap().len(), INSTRUMENTS));
    was_asked(&exchange, INSTRUMENTS.div_ceil(CHUNK));
    assert_eq!(broker.stats().lookups(), (THREADS * INSTRUMENTS) as u64);
}

#[test]
fn all_threads_ask_for_one_after_another_of_what_is_tracked() {
    let (exchange, broker) = stack(|_| ());
    let all = instruments();
    broker.track(&all).unwrap();
    crowd(|number| {
        for instrument in all.iter().cycle().skip(number * 7).take(INSTRUMENTS) {
            broker.ltp(instrument).unwrap();
        }
    });
    was_asked(&exchange, INSTRUMENTS.div_ceil(500));
}

#[test]
fn each_asks_for_its_own_while_the_lane_waits_for_its_permit() {
    let (exchange, broker) = stack(|_| ());
    let all = instruments();
    // The lane has no permit for the next second.
    broker.ltp(&Instrument::new("NSE", "NOBODY")).unwrap_err();
    crowd(|number| {
        let own: Vec<_> = all.iter().skip(number).step_by(THREADS).cloned().collect();
        assert_eq!(broker.quotes(&own).unwrap().len(), own.len());
    });
    was_asked(&exchange, 1 + INSTRUMENTS.div_ceil(500));
}
