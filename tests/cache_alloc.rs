//! A hit allocates nothing. The test is a binary of its own, because it counts allocations.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use lanekeeper::CallOptions;
use lanekeeper::broker::{
    Broker, BrokerProxy, Depth, DepthLevel, Instrument, MockBroker, Ohlc, Quote,
};
use lanekeeper::jiff::{Timestamp, tz};
use lanekeeper::quota::{Limits, Quota};
use rust_decimal::Decimal;

/// Returns a quote with every field set.
fn full(instrument: &Instrument) -> Quote {
    let price = Decimal::from(1500);
    let level = DepthLevel { price, quantity: Decimal::TEN, orders: 3 };
    let at = Timestamp::UNIX_EPOCH.to_zoned(tz::TimeZone::fixed(tz::offset(5)));
    let mut quote = Quote::new(instrument.clone(), price);
    quote.ohlc = Some(Ohlc { open: price, high: price, low: price, close: price });
    quote.depth = Some(Arc::new(Depth { bids: vec![level; 5], asks: vec![level; 5] }));
    quote.token = Some("408065".into());
    quote.last_trade_at = Some(at.clone());
    quote.at = Some(at);
    quote
}

#[test]
fn a_cache_hit_allocates_nothing() {
    let mut inner = MockBroker::new();
    inner
        .expect_quotes()
        .returning(|instruments| Ok(instruments.iter().map(|i| (i.clone(), full(i))).collect()));
    let limits = ["transactional", "quote", "historical"]
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
        .budget("orders", Quota::unlimited());
    let broker = BrokerProxy::builder(inner).limits(limits);
    let broker = broker.quote_ttl(Duration::from_secs(3600)).build().unwrap();
    let careful = broker.with(CallOptions::new().max_age(Duration::from_secs(3600)));
    let infy = Instrument::new("NSE", "INFY");

    let miss = measure(|| drop(black_box(broker.quote(&infy).unwrap())));
    assert!(miss.count_total > 0, "what is counted here is counted");
    for broker in [&broker, &careful] {
        // The first hit of a thread sets up the thread's own state.
        broker.ltp(&infy).unwrap();
        let hits = measure(|| {
            for _ in 0..100 {
                assert!(broker.quote(black_box(&infy)).unwrap().cached);
                black_box(broker.ltp(black_box(&infy)).unwrap());
                black_box(broker.ohlc(black_box(&infy)).unwrap());
                black_box(infy.clone());
            }
        });
        assert_eq!(hits.count_total, 0, "{hits:?}");
    }
    assert_eq!(broker.stats().misses, 1);
}
