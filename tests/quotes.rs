//! The quote cache in front of a paced broker, in virtual time.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "support/quote_layers.rs"]
mod quote_layers;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::CallOptions;
use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, ErrorDetail, Instrument, MockBroker, Ohlc, Quote, Quotes,
};
use lanekeeper::cache::GetOptions;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::Shutdown;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{LaneConfig, RttCredit};
use proptest::prelude::*;
use quote_layers::{Kind, PacedQuotes, Quoted, Setup, Threads};
use rust_decimal::Decimal;

over_threads_and_tasks! {
    quote_ltp_and_ohlc_share_one_entry
    an_instrument_without_data_is_an_error_alone_and_absent_among_others
    a_failed_fetch_reaches_the_strategy_as_it_was
    what_is_asked_for_while_a_call_waits_in_its_lane_goes_with_it
    a_quote_says_when_it_was_fetched_and_whether_it_was_cached
    a_quote_is_as_old_as_its_request_and_not_as_its_answer
    a_caller_says_how_old_a_quote_may_be
    an_instrument_that_the_broker_rejects_does_not_take_the_others_with_it
    a_closed_lane_is_reported_and_quotes_in_the_cache_stay
    a_broker_that_panics_is_an_error_and_no_end
    its_numbers_can_be_written_down
}

fn limits() -> Limits {
    Limits::new()
        .lane("transactional", Quota::per_second(10))
        .lane("quote", Quota::per_second(1))
        .lane("historical", Quota::per_second(3))
        .budget("orders", Quota::unlimited())
}

fn answer(instruments: &[Instrument]) -> Quotes {
    let quote = |i: &Instrument| {
        let mut quote = Quote::new(i.clone(), 1500);
        let price = Decimal::from(1500);
        quote.ohlc = Some(Ohlc { open: price, high: price, low: price, close: price });
        quote
    };
    instruments.iter().map(|i| (i.clone(), quote(i))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn many_threads_and_instruments_cost_one_quote_call_a_second_at_most(
        seed in any::<u64>(),
        ttl in 0..3000_u64,
    ) {
        many_threads_cost_one_call_a_second::<Threads>(seed, ttl)?;
        #[cfg(feature = "async")]
        many_threads_cost_one_call_a_second::<quote_layers::Tasks>(seed, ttl)?;
    }
}

fn many_threads_cost_one_call_a_second<K: Kind>(seed: u64, ttl: u64) -> Result<(), TestCaseError> {
    let clock = ManualClock::auto_advancing();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let mut inner = MockBroker::new();
    inner.expect_quotes().returning({
        let (clock, calls) = (clock.clone(), Arc::clone(&calls));
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        move |instruments| {
            calls.lock().unwrap().push(clock.now().as_nanos());
            clock.advance(Duration::from_millis(rng.lock().unwrap().u64(0..400)));
            Ok(answer(instruments))
        }
    });
    let once_a_second = LaneConfig::new(Quota::per_second(1)).credit(RttCredit::STRICT);
    let broker = K::paced(
        inner,
        Setup {
            quote_lane: Some(once_a_second),
            ttl: Duration::from_millis(ttl),
            // The threads advance time for one another, by as much as the machine's speed allows.
            configure: |cache| cache.max_age = Some(Duration::MAX),
            ..setup(&clock)
        },
    );
    thread::scope(|scope| {
        for thread in 0..16 {
            let (broker, clock) = (&broker, &clock);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed ^ thread);
                for _ in 0..30 {
                    broker.ltp(&instrument(rng.usize(0..500))).unwrap();
                    clock.advance(Duration::from_millis(rng.u64(0..100)));
                }
            });
        }
    });
    let mut calls = calls.lock().unwrap().clone();
    calls.sort_unstable();
    prop_assert!(calls.len() > 10, "the test must miss now and then");
    let closest = calls.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    prop_assert!(closest >= 1_000_000_000, "{} ns apart", closest);
    prop_assert_eq!(broker.stats().batches as usize, calls.len());
    prop_assert!(broker.stats().lookups() >= 16 * 30, "each was answered");
    Ok(())
}

fn quote_ltp_and_ohlc_share_one_entry<K: Kind>() {
    let mut inner = MockBroker::new();
    inner.expect_quotes().times(1).returning(|instruments| Ok(answer(instruments)));
    let broker = K::bare(inner, &ManualClock::new(), |_| {});
    let infy = Instrument::new("NSE", "INFY");
    assert_eq!(broker.ltp(&infy).unwrap(), Decimal::from(1500));
    assert_eq!(broker.quote(&infy).unwrap().last_price, Decimal::from(1500));
    assert_eq!(broker.ohlc(&infy).unwrap().open, Decimal::from(1500));
    assert_eq!(broker.quotes(&[infy]).unwrap().len(), 1);
    assert_eq!((broker.stats().hits, broker.stats().misses), (3, 1));
}

fn an_instrument_without_data_is_an_error_alone_and_absent_among_others<K: Kind>() {
    let infy = Instrument::new("NSE", "INFY");
    let ghost = Instrument::new("NSE", "GHOST");
    let mut inner = MockBroker::new();
    let known = infy.clone();
    inner.expect_quotes().returning(move |_| Ok(answer(std::slice::from_ref(&known))));
    let broker = K::bare(inner, &ManualClock::new(), |_| {});
    let both = broker.quotes(&[infy.clone(), ghost.clone()]).unwrap();
    assert!(both.contains_key(&infy) && !both.contains_key(&ghost));
    assert_eq!(broker.ltp(&ghost), Err(BrokerError::NoQuote { instrument: ghost }));
}

fn a_failed_fetch_reaches_the_strategy_as_it_was<K: Kind>() {
    let mut inner = MockBroker::new();
    let error = BrokerError::Transient(ErrorDetail::new("no line").status(502));
    let fetch_error = error.clone();
    inner.expect_quotes().returning(move |_| Err(fetch_error.clone()));
    let broker = K::bare(inner, &ManualClock::new(), |_| {});
    assert_eq!(broker.ltp(&Instrument::new("NSE", "INFY")), Err(error));
}

/// Returns the instrument of this number.
fn instrument(number: usize) -> Instrument {
    Instrument::new("NSE", format!("S{number}"))
}

fn setup(clock: &ManualClock) -> Setup<'_> {
    let ttl = Duration::from_secs(5);
    Setup { clock, limits: limits(), quote_lane: None, ttl, configure: |_| {} }
}

/// Returns a stack in virtual time, and the instruments of each call that reached the broker.
fn stack<K: Kind>(clock: &ManualClock) -> (K::Paced, Arc<Mutex<Vec<usize>>>) {
    let calls: Arc<Mutex<Vec<usize>>> = Arc::default();
    let mut inner = MockBroker::new();
    let log = Arc::clone(&calls);
    inner.expect_quotes().returning(move |instruments| {
        log.lock().unwrap().push(instruments.len());
        Ok(answer(instruments))
    });
    (K::paced(inner, setup(clock)), calls)
}

fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

fn what_is_asked_for_while_a_call_waits_in_its_lane_goes_with_it<K: Kind>() {
    let (broker, calls) = stack::<K>(&ManualClock::auto_advancing());
    let lane = broker.quote_lane();
    lane.pause();
    thread::scope(|scope| {
        for number in 0..200 {
            let broker = &broker;
            scope.spawn(move || broker.ltp(&instrument(number)).unwrap());
            // The first call waits in its lane before any other thread asks.
            until(|| lane.queued() == 1);
        }
        until(|| broker.stats().misses == 200);
        lane.resume();
    });
    assert_eq!(*calls.lock().unwrap(), [200]);
}

fn a_quote_says_when_it_was_fetched_and_whether_it_was_cached<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, _) = stack::<K>(&clock);
    let first = broker.quote(&instrument(1)).unwrap();
    clock.advance(Duration::from_secs(2));
    let second = broker.quote(&instrument(1)).unwrap();
    assert!(!first.cached && second.cached);
    assert_eq!(first.fetched_at, second.fetched_at);
    let third = broker.with(CallOptions::new().max_age(Duration::ZERO));
    let third = third.quote(&instrument(1)).unwrap();
    assert!(!third.cached);
    let later = third.fetched_at.unwrap().duration_since(first.fetched_at.unwrap());
    assert_eq!(later.as_millis(), 2000);
    let all = broker.quotes(&[instrument(1), instrument(2)]).unwrap();
    assert!(all.values().all(|quote| !quote.cached), "of one moment, since it had to wait");
}

fn a_quote_is_as_old_as_its_request_and_not_as_its_answer<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let mut inner = MockBroker::new();
    let slow = clock.clone();
    inner.expect_quotes().returning(move |instruments| {
        slow.advance(Duration::from_secs(1));
        Ok(answer(instruments))
    });
    let broker = K::bare(inner, &clock, |_| {});
    let [first, second] = [1, 2].map(|number| broker.quote(&instrument(number)).unwrap());
    // A manual clock began with the year 2026, a second before the call was made.
    assert_eq!(first.fetched_at.unwrap().to_string(), "2026-01-01T00:00:01Z");
    assert_eq!(second.fetched_at.unwrap().to_string(), "2026-01-01T00:00:02Z");
}

fn a_caller_says_how_old_a_quote_may_be<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let (broker, calls) = stack::<K>(&clock);
    let careful = broker.with(CallOptions::new().max_age(Duration::from_secs(2)));
    let easy = broker.with_options(GetOptions::new().max_age(Duration::from_secs(30)));
    broker.ltp(&instrument(1)).unwrap();
    clock.advance(Duration::from_secs(2));
    careful.ltp(&instrument(1)).unwrap();
    assert_eq!(calls.lock().unwrap().len(), 2);
    clock.advance(Duration::from_secs(29));
    easy.ltp(&instrument(1)).unwrap();
    assert_eq!(calls.lock().unwrap().len(), 2);
    broker.ltp(&instrument(1)).unwrap();
    assert_eq!(calls.lock().unwrap().len(), 3);
}

#[test]
fn a_caller_leaves_at_its_deadline_and_its_error_says_whether_it_was_sent() {
    let clock = ManualClock::new();
    let (began, hangs) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
    let (let_go, held) = (hangs.0, Mutex::new(hangs.1));
    let mut inner = MockBroker::new();
    let begun = Arc::clone(&began);
    inner.expect_quotes().returning(move |instruments| {
        begun.fetch_add(1, Ordering::SeqCst);
        let _ = held.lock().unwrap().recv();
        Ok(answer(instruments))
    });
    // Time does not advance in this test, so no call may have to wait for a permit.
    let unlimited = limits().lane("quote", Quota::unlimited());
    let broker = BrokerProxy::builder(inner).limits(unlimited).clock(clock.clone());
    let broker = broker.quote_ttl(Duration::from_secs(5)).build().unwrap();
    let hurried = broker.with(CallOptions::new().deadline(Duration::from_secs(1)));
    let lane = broker.inner().quote_lane();
    let fetch_error = |in_time: &dyn Fn() -> bool| {
        thread::scope(|scope| {
            let asks = scope.spawn(|| hurried.ltp(&instrument(1)).unwrap_err());
            until(in_time);
            clock.advance(Duration::from_secs(1));
            asks.join().unwrap()
        })
    };
    lane.pause();
    let error = fetch_error(&|| lane.queued() == 1);
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
    lane.resume();
    let error = fetch_error(&|| began.load(Ordering::SeqCst) == 1);
    assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    drop(let_go);
    // Its answer was still stored.
    until(|| broker.stats().entries == 1);
    assert!(broker.quote(&instrument(1)).unwrap().cached);
}

fn an_instrument_that_the_broker_rejects_does_not_take_the_others_with_it<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let calls = Arc::new(AtomicUsize::new(0));
    let mut inner = MockBroker::new();
    let counted = Arc::clone(&calls);
    inner.expect_quotes().returning(move |instruments| {
        counted.fetch_add(1, Ordering::SeqCst);
        match instruments.contains(&instrument(3)) {
            true => Err(BrokerError::Rejected(ErrorDetail::new("bad instrument").status(400))),
            false => Ok(answer(instruments)),
        }
    });
    let broker = K::paced(inner, Setup { ttl: Duration::from_secs(60), ..setup(&clock) });
    let lane = broker.quote_lane();
    lane.pause();
    thread::scope(|scope| {
        let ask = |number| {
            scope.spawn({
                let broker = &broker;
                move || broker.ltp(&instrument(number))
            })
        };
        let threads: Vec<_> = (0..8).map(ask).collect();
        until(|| broker.stats().misses == 8);
        lane.resume();
        for (number, thread) in threads.into_iter().enumerate() {
            match thread.join().unwrap() {
                Err(BrokerError::Rejected(_)) => assert_eq!(number, 3),
                price => assert_eq!(price, Ok(Decimal::from(1500))),
            }
        }
    });
    // Eight, then four, two and one, each time with the other half unless that is known to be bad.
    let calls = calls.load(Ordering::SeqCst) as u64;
    assert!((5..=7).contains(&calls), "{calls} calls");
    let used = clock.now().since(lanekeeper::quota::Moment::ORIGIN);
    assert!(used >= Duration::from_secs(calls - 1), "each of them waited for its turn in the lane");
}

#[test]
fn a_hot_quote_is_renewed_in_advance_while_the_lane_is_idle() {
    let clock = ManualClock::auto_advancing();
    let mut inner = MockBroker::new();
    inner.expect_quotes().returning(|instruments| Ok(answer(instruments)));
    let broker = BrokerProxy::builder(inner)
        .limits(limits())
        .clock(clock.clone())
        .quote_ttl(Duration::from_secs(5))
        .configure(|cache| cache.refresh_ahead = Some(0.8))
        .build()
        .unwrap();
    broker.ltp(&instrument(1)).unwrap();
    for _ in 0..20 {
        let before = broker.stats().batches;
        clock.advance(Duration::from_millis(4500));
        assert!(broker.quote(&instrument(1)).unwrap().cached);
        until(|| broker.stats().batches > before);
        // The request has completed once a query for a young quote is answered.
        broker
            .with_options(GetOptions::new().max_age(Duration::from_secs(1)))
            .ltp(&instrument(1))
            .unwrap();
    }
    let stats = broker.stats();
    assert_eq!((stats.misses, stats.batches), (1, 21), "no caller waited: {stats:?}");
}

fn a_closed_lane_is_reported_and_quotes_in_the_cache_stay<K: Kind>() {
    let (broker, _) = stack::<K>(&ManualClock::auto_advancing());
    broker.ltp(&instrument(1)).unwrap();
    broker.shutdown(Shutdown::Now);
    assert!(broker.quote(&instrument(1)).unwrap().cached);
    let error = broker.quote(&instrument(2)).unwrap_err();
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
}

fn a_broker_that_panics_is_an_error_and_no_end<K: Kind>() {
    let mut inner = MockBroker::new();
    inner.expect_quotes().times(1).returning(|_| panic!("a bug"));
    inner.expect_quotes().returning(|instruments| Ok(answer(instruments)));
    // Without a proxy, which would catch the panic itself.
    let broker = K::bare(inner, &ManualClock::new(), |_| {});
    let error = broker.ltp(&instrument(1)).unwrap_err();
    assert!(matches!(&error, BrokerError::Transient(d) if d.message.contains("a bug")), "{error}");
    assert_eq!(broker.ltp(&instrument(1)), Ok(Decimal::from(1500)));
}

fn its_numbers_can_be_written_down<K: Kind>() {
    let (broker, _) = stack::<K>(&ManualClock::auto_advancing());
    broker.ltp(&instrument(1)).unwrap();
    broker.ltp(&instrument(1)).unwrap();
    let stats = serde_json::to_value(broker.stats()).unwrap();
    assert_eq!(
        (&stats["hits"], &stats["misses"], &stats["batches"]),
        (&1.into(), &1.into(), &1.into())
    );
}
