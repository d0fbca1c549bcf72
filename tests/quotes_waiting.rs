//! Strategies that wait for the next quote, through all layers and in virtual time.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "support/quote_layers.rs"]
mod quote_layers;
mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::CallOptions;
use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, ErrorDetail, Instrument, MockBroker, OrderTags, Quote, lanes,
};
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::{SignedDuration, Timestamp};
use lanekeeper::lane::Shutdown;
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::quota::{Limits, Quota};
use quote_layers::{Kind, News, PacedQuotes, Quoted, Setup, Threads};
use support::lanes::within_reason;

over_threads_and_tasks! {
    each_strategy_gets_each_quote_once_and_all_of_them_cost_one_call_in_each_ttl
    strategies_with_different_instruments_soon_share_a_call
    the_next_quote_comes_although_the_wall_clock_steps_back
    a_time_in_the_future_ends_with_the_next_quote
    the_wait_ends_at_the_deadline_of_the_handle
    an_error_reaches_each_strategy_and_the_next_call_waits
    an_instrument_without_data_is_no_busy_loop
    a_proxy_that_is_shut_down_ends_the_wait
    a_subscription_yields_the_quotes_of_each_call
    a_subscription_reports_what_is_missing_and_goes_on
    a_request_that_fails_takes_no_quotes_of_another_with_it
    a_subscription_ends_with_the_last_handle_to_the_cache
}

const TTL: Duration = Duration::from_secs(5);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

fn instrument(number: usize) -> Instrument {
    Instrument::new("NSE", format!("S{number}"))
}

/// One quote call a second, and no other limits.
fn limits() -> Limits {
    lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
        .lane(lanes::QUOTE, Quota::per_second(1))
        .budget(lanes::ORDERS, Quota::unlimited())
}

/// A broker whose price is the number of the call, counted from 1. It rejects a request for instrument 13, and has no
/// data for instrument 404.
#[derive(Default)]
struct Market {
    calls: AtomicUsize,
    fails: AtomicBool,
}

impl Market {
    fn mock(self: &Arc<Self>) -> MockBroker {
        let market = Arc::clone(self);
        let mut mock = MockBroker::new();
        mock.expect_order_tags().returning(OrderTags::none);
        mock.expect_quotes().returning(move |instruments| {
            let number = market.calls.fetch_add(1, Ordering::SeqCst) as u64 + 1;
            if market.fails.load(Ordering::SeqCst) {
                return Err(BrokerError::Transient(ErrorDetail::new("no line")));
            }
            if instruments.contains(&instrument(13)) {
                return Err(BrokerError::Rejected(ErrorDetail::new("unknown instrument")));
            }
            let known = instruments.iter().filter(|asked| **asked != instrument(404));
            Ok(known.map(|asked| (asked.clone(), Quote::new(asked.clone(), number))).collect())
        });
        mock
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn stack<K: Kind>(clock: &ManualClock) -> (K::Paced, Arc<Market>) {
    let market = Arc::new(Market::default());
    let (ttl, configure) = (TTL, |_: &mut _| {});
    let setup = Setup { clock, limits: limits(), quote_lane: None, ttl, configure };
    (K::paced(market.mock(), setup), market)
}

/// Returns the price of the next quote, and records when that was fetched.
fn next(broker: &dyn Broker, number: usize, seen: &mut Option<Timestamp>) -> u64 {
    let quote = broker.quote_after(&instrument(number), *seen).unwrap();
    *seen = quote.fetched_at;
    quote.last_price.try_into().unwrap()
}

fn each_strategy_gets_each_quote_once_and_all_of_them_cost_one_call_in_each_ttl<K: Kind>() {
    const STRATEGIES: usize = 40;
    const ROUNDS: usize = 12;
    within_reason(|| {
        let clock = ManualClock::new();
        let (cache, market) = stack::<K>(&clock);
        let broker = OrderGuard::builder(cache.clone()).build().unwrap();
        let prices: Vec<Mutex<Vec<u64>>> = (0..STRATEGIES).map(|_| Mutex::default()).collect();
        thread::scope(|scope| {
            for own in &prices {
                let broker: &dyn Broker = &broker;
                scope.spawn(move || {
                    let mut seen = None;
                    for _ in 0..ROUNDS {
                        let price = next(broker, 1, &mut seen);
                        own.lock().unwrap().push(price);
                    }
                });
            }
            for round in 1..=ROUNDS {
                until(|| prices.iter().all(|own| own.lock().unwrap().len() == round));
                clock.advance(TTL);
            }
        });
        assert_eq!(market.calls(), ROUNDS);
        let each: Vec<u64> = (1..=ROUNDS as u64).collect();
        for own in prices {
            assert_eq!(own.into_inner().unwrap(), each);
        }
        let stats = cache.stats();
        assert_eq!(stats.lookups(), (STRATEGIES * ROUNDS) as u64, "{stats:?}");
    });
}

fn strategies_with_different_instruments_soon_share_a_call<K: Kind>() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let (broker, market) = stack::<K>(&clock);
        let mut seen = [None; 4];
        for (number, seen) in seen.iter_mut().enumerate() {
            next(&broker, number, seen);
        }
        assert_eq!(market.calls(), 4);
        for _ in 0..5 {
            for (number, seen) in seen.iter_mut().enumerate() {
                next(&broker, number, seen);
            }
        }
        assert_eq!(market.calls(), 9);
    });
}

fn the_next_quote_comes_although_the_wall_clock_steps_back<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, market) = stack::<K>(&clock);
    let mut seen = None;
    next(&broker, 1, &mut seen);
    let (before, began) = (seen.unwrap(), clock.now());
    clock.set_wall_clock(before - SignedDuration::from_hours(2));
    assert_eq!(next(&broker, 1, &mut seen), 2);
    assert!(seen.unwrap() < before, "{seen:?}");
    assert_eq!((next(&broker, 1, &mut seen), clock.now().since(began)), (3, TTL * 2));
    // Forward.
    clock.set_wall_clock(before + SignedDuration::from_hours(2));
    assert_eq!((next(&broker, 1, &mut seen), clock.now().since(began)), (4, TTL * 3));
    assert_eq!(market.calls(), 4);
}

fn a_time_in_the_future_ends_with_the_next_quote<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, _) = stack::<K>(&clock);
    let future = Some(Timestamp::MAX);
    let first = broker.quote_after(&instrument(1), future).unwrap();
    assert_eq!(clock.now().since(lanekeeper::quota::Moment::ORIGIN), secs(1), "at once");
    let second = broker.quote_after(&instrument(1), future).unwrap();
    let elapsed = second.fetched_at.unwrap().duration_since(first.fetched_at.unwrap());
    assert_eq!(elapsed, SignedDuration::try_from(TTL).unwrap());
}

#[test]
fn a_broker_without_a_cache_fetches_each_quote_at_the_pace_of_its_lane() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let market = Arc::new(Market::default());
        let broker = BrokerProxy::builder(market.mock()).limits(limits()).clock(clock.clone());
        let broker = broker.build().unwrap();
        let (began, mut seen) = (clock.now(), None);
        for number in 1..=4 {
            assert_eq!(next(&broker, 1, &mut seen), number);
            assert_eq!(seen, None);
        }
        assert_eq!((market.calls(), clock.now().since(began)), (4, secs(3)));
    });
}

fn the_wait_ends_at_the_deadline_of_the_handle<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, market) = stack::<K>(&clock);
    let mut seen = None;
    next(&broker, 1, &mut seen);
    let hurried = broker.with(CallOptions::new().deadline(secs(2)));
    let began = clock.now();
    let error = hurried.quote_after(&instrument(1), seen).unwrap_err();
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
    assert_eq!((clock.now().since(began), market.calls()), (secs(2), 1));
}

fn an_error_reaches_each_strategy_and_the_next_call_waits<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, market) = stack::<K>(&clock);
    market.fails.store(true, Ordering::SeqCst);
    let began = clock.now();
    // Reads are tried again by the lane, which takes its own time.
    let calls_of = |round: u32| {
        let error = broker.quote_after(&instrument(1), None).unwrap_err();
        assert!(matches!(error, BrokerError::Transient(_)), "{error}");
        assert!(clock.now().since(began) >= TTL * round);
        market.calls()
    };
    let calls: Vec<usize> = (0..3).map(calls_of).collect();
    assert!(calls.is_sorted() && calls[2] <= 3 * calls[0], "{calls:?}");
    market.fails.store(false, Ordering::SeqCst);
    assert!(broker.quote_after(&instrument(1), None).is_ok());
}

fn an_instrument_without_data_is_no_busy_loop<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, market) = stack::<K>(&clock);
    let began = clock.now();
    for round in 0..4 {
        let none = BrokerError::NoQuote { instrument: instrument(404) };
        assert_eq!(broker.quote_after(&instrument(404), None), Err(none));
        assert_eq!(clock.now().since(began), TTL * round);
    }
    assert_eq!(market.calls(), 1);
}

fn a_proxy_that_is_shut_down_ends_the_wait<K: Kind>() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let (broker, _) = stack::<K>(&clock);
        let mut seen = None;
        next(&broker, 1, &mut seen);
        broker.shutdown(Shutdown::Drain(secs(1)));
        let began = clock.now();
        for round in 1..=3 {
            let error = broker.quote_after(&instrument(1), seen).unwrap_err();
            assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
            assert_eq!(clock.now().since(began), TTL * round, "no busy loop over its errors");
        }
    });
}

fn a_subscription_yields_the_quotes_of_each_call<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, market) = stack::<K>(&clock);
    let watched = [1, 2, 3].map(instrument);
    let mut subscription = broker.subscribe(&watched);
    let mut fetched_at = HashSet::new();
    for round in 1..=5_u64 {
        let quotes = subscription.next().unwrap().unwrap();
        assert!(quotes.problems.is_empty() && quotes.len() == 3);
        for quote in quotes.values() {
            assert_eq!((quote.last_price, quote.cached), (round.into(), false));
            fetched_at.insert(quote.fetched_at);
        }
        assert!(subscription.try_next().is_none());
    }
    assert_eq!((market.calls(), fetched_at.len()), (5, 5));
}

#[test]
fn a_subscriber_waits_for_so_long_at_most() {
    let (broker, _) = stack::<Threads>(&ManualClock::auto_advancing());
    let mut subscription = broker.subscribe(&[1, 2, 3].map(instrument));
    assert_eq!(subscription.next().unwrap().unwrap().len(), 3);
    assert!(subscription.next_timeout(secs(4)).is_none());
    assert_eq!(subscription.next_timeout(secs(4)).unwrap().unwrap().len(), 3);
}

fn a_subscription_reports_what_is_missing_and_goes_on<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, market) = stack::<K>(&clock);
    let mut subscription = broker.subscribe(&[1, 13, 404].map(instrument));
    let (mut good, mut refused) = (0, 0);
    while good < 3 || refused < 1 {
        let quotes = subscription.next().unwrap().unwrap();
        good += usize::from(quotes.contains_key(&instrument(1)));
        for problem in &quotes.problems {
            assert_eq!(problem.name.as_deref(), Some("NSE:S13"));
            refused += 1;
        }
        assert!(!quotes.contains_key(&instrument(404)));
    }
    assert_eq!(refused, 1, "once, until it is tried again");

    market.fails.store(true, Ordering::SeqCst);
    let error = std::iter::from_fn(|| subscription.next()).find_map(Result::err).unwrap();
    assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    market.fails.store(false, Ordering::SeqCst);
    let quotes = subscription.find_map(Result::ok).unwrap();
    assert!(quotes.contains_key(&instrument(1)), "{quotes:?}");

    // If all that is watched is refused, there is nothing to yield but the refusal.
    let refused = broker.subscribe(&[instrument(13)]).next().unwrap().unwrap_err();
    assert!(matches!(refused, BrokerError::Rejected(_)), "{refused}");
}

fn a_request_that_fails_takes_no_quotes_of_another_with_it<K: Kind>() {
    let lost = instrument(500);
    let mut mock = MockBroker::new();
    mock.expect_quotes().returning(move |instruments| match instruments.contains(&lost) {
        true => Err(BrokerError::Transient(ErrorDetail::new("no line"))),
        false => Ok(instruments.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1))).collect()),
    });
    let broker = K::bare(mock, &ManualClock::new(), |cache| cache.max_batch_keys = 1);
    let mut subscription = broker.subscribe(&[1, 500].map(instrument));
    assert!(subscription.try_next().is_none());
    // Its request is the third.
    broker.quote(&instrument(2)).unwrap();
    let quotes = subscription.next().unwrap().unwrap();
    assert!(quotes.contains_key(&instrument(1)));
    assert_eq!(quotes.problems[0].name.as_deref(), Some("NSE:S500"));
}

fn a_subscription_ends_with_the_last_handle_to_the_cache<K: Kind>() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (broker, _) = stack::<K>(&clock);
        let mut subscription = broker.subscribe(&[instrument(1)]);
        let handle = broker.clone();
        let ended = thread::spawn(move || {
            let quotes = subscription.by_ref().filter(Result::is_ok).count();
            (quotes, subscription.is_closed())
        });
        until(|| handle.stats().batches == 1);
        drop(broker);
        assert!(!ended.is_finished());
        drop(handle);
        let (quotes, is_closed) = ended.join().unwrap();
        assert!(quotes <= 1 && is_closed);
    });
}
