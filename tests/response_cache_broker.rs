//! The response cache in front of a broker: what is kept only where the builder says so, and candles of closed periods.

#![cfg(all(feature = "responses", feature = "mock"))]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::broker::{
    BrokerError, BrokerProxyBuilder, CandleRequest, Exchange, InstrumentInfo, Interval,
    MissingListing, MissingListings, OrderTags, RowProblem, Rows, lanes,
};
use lanekeeper::jiff::civil::date;
use lanekeeper::jiff::tz::{Offset, TimeZone};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{
    Broker, BrokerProxy, CallOptions, Instrument, ManualClock, MockBroker, PriorUsage,
    delegate_broker,
};

const HOUR: Duration = Duration::from_secs(3600);

fn builder<B: Broker + 'static>(broker: B, clock: &ManualClock) -> BrokerProxyBuilder<B> {
    let unlimited = lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
        .budget(lanes::ORDERS, Quota::unlimited());
    let builder = BrokerProxy::builder(broker).limits(unlimited).prior_usage(PriorUsage::None);
    builder.clock(clock.clone())
}

fn india() -> TimeZone {
    TimeZone::fixed(Offset::from_seconds(19_800).unwrap())
}

fn request(day: i8) -> CandleRequest {
    let day = date(2026, 1, day);
    let infy = Instrument::new("NSE", "INFY");
    CandleRequest::new(infy, Interval::Minute, day.at(9, 15, 0, 0), day.at(15, 30, 0, 0))
}

/// Answers candles, and counts the requests for them.
fn candles(zone: Option<TimeZone>) -> (MockBroker, Arc<AtomicUsize>) {
    let mut mock = MockBroker::new();
    let fetches = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetches);
    mock.expect_candles().returning(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(Rows::default())
    });
    let tags = zone.map_or(OrderTags::none(), |zone| OrderTags::echoed(20).zone(zone));
    mock.expect_order_tags().returning(move || tags.clone());
    (mock, fetches)
}

#[test]
fn nothing_is_kept_unless_the_builder_says_so() {
    let mut mock = MockBroker::new();
    mock.expect_holdings().times(2).returning(|| Ok(Rows::default()));
    mock.expect_profile().times(1).returning(|| Ok(Default::default()));
    let clock = ManualClock::new();
    let broker = builder(mock, &clock).response_ttl("profile", HOUR).build().unwrap();
    for _ in 0..2 {
        broker.holdings().unwrap();
        broker.profile().unwrap();
    }
    let error = builder(MockBroker::new(), &clock).response_ttl("orders", HOUR).build();
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("it has: holdings, profile, instruments, candles"), "{error}");
}

#[test]
fn an_answer_with_an_unreadable_row_is_not_kept() {
    let mut mock = MockBroker::new();
    let problem = RowProblem::new(0, "it has no quantity", "{}");
    let partial = move || Ok(Rows::default().with_problems([problem.clone()]));
    mock.expect_holdings().times(2).returning(partial);
    let broker = builder(mock, &ManualClock::new()).response_ttl("holdings", HOUR).build().unwrap();
    assert_eq!(broker.holdings().unwrap().problems.len(), 1);
    assert_eq!(broker.holdings().unwrap().problems.len(), 1);
}

#[test]
fn candles_are_kept_once_their_day_is_over_at_the_broker() {
    let clock = ManualClock::new();
    let (mock, fetches) = candles(Some(india()));
    let broker = builder(mock, &clock).response_ttl("candles", HOUR * 1000).build().unwrap();
    let fetches_for = |day| {
        let before = fetches.load(Ordering::SeqCst);
        (0..2).for_each(|_| drop(broker.candles(&request(day)).unwrap()));
        fetches.load(Ordering::SeqCst) - before
    };
    clock.set_wall_clock("2026-01-06T23:59:59+05:30".parse().unwrap());
    assert_eq!((fetches_for(6), fetches_for(5)), (2, 1));
    clock.set_wall_clock("2026-01-07T00:00:00+05:30".parse().unwrap());
    assert_eq!((fetches_for(7), fetches_for(6), fetches_for(6)), (2, 1, 0));
    // A strict caller gets them anew, and so does one whose range cannot be read.
    let strict = broker.with(CallOptions::new().max_age(Duration::ZERO));
    strict.candles(&request(6)).unwrap();
    assert_eq!(fetches.load(Ordering::SeqCst), 7);
}

/// The candle of a week or of a month goes on after the day on which the range ends.
#[test]
fn candles_of_an_unknown_length_are_not_kept() {
    let clock = ManualClock::new();
    let (mock, fetches) = candles(Some(india()));
    let broker = builder(mock, &clock).response_ttl("candles", HOUR * 1000).build().unwrap();
    clock.set_wall_clock("2026-01-07T10:00:00+05:30".parse().unwrap());
    let mut weekly = request(5);
    weekly.interval = Interval::from("1Week");
    (0..2).for_each(|_| drop(broker.candles(&weekly).unwrap()));
    assert_eq!(fetches.load(Ordering::SeqCst), 2, "the week is not over");
}

#[test]
fn of_a_broker_without_a_zone_candles_are_kept_a_day_later() {
    let clock = ManualClock::new();
    let (mock, fetches) = candles(None);
    let broker = builder(mock, &clock).response_ttl("candles", HOUR * 1000).build().unwrap();
    for (now, expected) in [("2026-01-07T23:59:59Z", 2), ("2026-01-08T00:00:00Z", 3)] {
        clock.set_wall_clock(now.parse().unwrap());
        (0..2).for_each(|_| drop(broker.candles(&request(6)).unwrap()));
        assert_eq!(fetches.load(Ordering::SeqCst), expected, "{now}");
    }
}

/// An adapter that needs a listing, which it learns from the answer to `instruments`.
struct Adapter {
    inner: MockBroker,
    is_listed: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    missing: MissingListings,
}

impl Broker for Adapter {
    delegate_broker! { to self.inner; except missing_listing, instruments }

    fn missing_listing(&self, _: &CandleRequest) -> Option<MissingListing> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.missing.get(&Exchange::Nse, || !self.is_listed.load(Ordering::SeqCst))
    }

    fn instruments(&self, _: Option<&Exchange>) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.is_listed.store(true, Ordering::SeqCst);
        Ok(Rows::default())
    }
}

/// The listing is fetched for a call that goes to the broker, and never for one that is answered from memory. The fetch
/// goes past the cache, because the adapter has to see its answer.
#[test]
fn a_listing_is_fetched_only_for_a_miss_and_past_the_cache() {
    let clock = ManualClock::new();
    let (inner, fetches) = candles(Some(india()));
    let (is_listed, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let missing = MissingListings::new();
    let (listed, count) = (Arc::clone(&is_listed), Arc::clone(&asked));
    let broker = builder(Adapter { inner, is_listed: listed, asked: count, missing }, &clock)
        .response_ttl("candles", HOUR)
        .response_ttl("instruments", HOUR)
        .build()
        .unwrap();
    clock.set_wall_clock("2026-01-10T00:00:00+05:30".parse().unwrap());
    // The listing is kept, and the adapter has forgotten it.
    broker.instruments(Some(&Exchange::Nse)).unwrap();
    is_listed.store(false, Ordering::SeqCst);
    (0..3).for_each(|_| drop(broker.candles(&request(6)).unwrap()));
    assert!(is_listed.load(Ordering::SeqCst));
    assert_eq!((asked.load(Ordering::SeqCst), fetches.load(Ordering::SeqCst)), (1, 1));
    is_listed.store(false, Ordering::SeqCst);
    broker.instruments(Some(&Exchange::Nse)).unwrap();
    assert!(!is_listed.load(Ordering::SeqCst), "that was from memory");
    broker.candles(&request(6)).unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), fetches.load(Ordering::SeqCst)), (1, 1));
}
