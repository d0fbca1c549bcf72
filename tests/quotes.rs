//! The quote cache in front of a paced broker, in virtual time.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, Detail, Instrument, MockBroker, Ohlc, Quote,
};
use lanekeeper::cache::QuoteCache;
use lanekeeper::clock::ManualClock;
use lanekeeper::quota::{Limits, Quota};
use rust_decimal::Decimal;

fn limits() -> Limits {
    Limits::new()
        .lane("transactional", Quota::per_second(10))
        .lane("quote", Quota::per_second(1))
        .lane("historical", Quota::per_second(3))
}

fn answer(instruments: &[Instrument]) -> HashMap<Instrument, Quote> {
    let quote = |i: &Instrument| {
        let mut quote = Quote::new(i.clone(), 1500);
        let price = Decimal::from(1500);
        quote.ohlc = Some(Ohlc { open: price, high: price, low: price, close: price });
        quote
    };
    instruments.iter().map(|i| (i.clone(), quote(i))).collect()
}

#[test]
fn many_threads_and_instruments_cost_one_quote_call_a_second_at_most() {
    let clock = ManualClock::jumping();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let mut within = MockBroker::new();
    within.expect_quotes().returning({
        let (clock, calls) = (clock.clone(), Arc::clone(&calls));
        move |instruments| {
            calls.lock().unwrap().push(clock.now().as_nanos());
            Ok(answer(instruments))
        }
    });
    let broker = BrokerProxy::builder(within)
        .limits(limits())
        .clock(clock.clone())
        .quote_ttl(Duration::from_millis(300))
        .build()
        .unwrap();
    thread::scope(|scope| {
        for thread in 0..32 {
            let (broker, clock) = (&broker, &clock);
            scope.spawn(move || {
                for round in 0..50 {
                    let symbol = format!("S{}", (thread * 7 + round) % 500);
                    broker.ltp(&Instrument::new("NSE", symbol)).unwrap();
                    clock.advance(Duration::from_millis(20));
                }
            });
        }
    });
    let mut calls = calls.lock().unwrap().clone();
    calls.sort_unstable();
    assert!(calls.len() > 10, "the test must miss now and then");
    let closest = calls.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(closest >= 1_000_000_000, "{closest} ns apart");
}

#[test]
fn quote_ltp_and_ohlc_share_one_entry() {
    let mut within = MockBroker::new();
    within.expect_quotes().times(1).returning(|instruments| Ok(answer(instruments)));
    let broker = QuoteCache::builder(within).clock(ManualClock::new()).build();
    let infy = Instrument::new("NSE", "INFY");
    assert_eq!(broker.ltp(&infy).unwrap(), Decimal::from(1500));
    assert_eq!(broker.quote(&infy).unwrap().last_price, Decimal::from(1500));
    assert_eq!(broker.ohlc(&infy).unwrap().open, Decimal::from(1500));
    assert_eq!(broker.quotes(&[infy]).unwrap().len(), 1);
    assert_eq!((broker.stats().hits, broker.stats().misses), (3, 1));
}

#[test]
fn an_instrument_without_data_is_an_error_alone_and_absent_among_others() {
    let infy = Instrument::new("NSE", "INFY");
    let ghost = Instrument::new("NSE", "GHOST");
    let mut within = MockBroker::new();
    let known = infy.clone();
    within.expect_quotes().returning(move |_| Ok(answer(std::slice::from_ref(&known))));
    let broker = QuoteCache::builder(within).clock(ManualClock::new()).build();
    let both = broker.quotes(&[infy.clone(), ghost.clone()]).unwrap();
    assert!(both.contains_key(&infy) && !both.contains_key(&ghost));
    assert_eq!(broker.ltp(&ghost), Err(BrokerError::NoQuote { instrument: ghost }));
}

#[test]
fn a_failed_fetch_reaches_the_strategy_as_it_was() {
    let mut within = MockBroker::new();
    let error = BrokerError::Transient(Detail::new("no line").status(502));
    let told = error.clone();
    within.expect_quotes().returning(move |_| Err(told.clone()));
    let broker = QuoteCache::new(within);
    assert_eq!(broker.ltp(&Instrument::new("NSE", "INFY")), Err(error));
}
