//! Candles without a call of `instruments` before: the proxy fetches the listing that the adapter lacks, once for all.

#![cfg(feature = "paper")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use lanekeeper::broker::{
    Broker, BrokerError, Candle, CandleRequest, ErrorDetail, Exchange, Instrument, InstrumentInfo,
    Interval, MissingListing, MissingListings, Rows, lanes,
};
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::Timestamp;
use lanekeeper::lane::{CallInfo, CallOptions, LaneConfig, LaneStatus, Observer, Priority};
use lanekeeper::quota::{Limits, PriorUsage, Quota};
use lanekeeper::resilience::{BreakerState, RetryPolicy};
use lanekeeper::{BrokerProxy, PaperBroker, Sent, delegate_broker};
use support::lanes::{SECOND, ms, until, within_reason};

const HISTORICAL: usize = 2;

/// An adapter that needs the listing, as Kite does. Its listing has `NSE:0` to `NSE:7`.
struct Adapter {
    paper: PaperBroker,
    known: Mutex<HashSet<Instrument>>,
    has_listed: Mutex<bool>,
    missing: MissingListings,
    /// Each call, in order.
    calls: Arc<Mutex<Vec<String>>>,
    /// What the listings wait for, and how they end: `true` if well. Without a message they end well at once.
    ends: Option<Mutex<Receiver<bool>>>,
}

impl Broker for Adapter {
    delegate_broker! { to self.paper; except instruments, candles, missing_listing }

    fn instruments(&self, of: Option<&Exchange>) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.calls.lock().unwrap().push(format!("instruments {}", of.unwrap()));
        let is_well = self.ends.as_ref().is_none_or(|ends| ends.lock().unwrap().recv().unwrap());
        if !is_well {
            return Err(BrokerError::Transient(ErrorDetail::new("the listing was lost")));
        }
        self.known.lock().unwrap().extend((0..8).map(share));
        *self.has_listed.lock().unwrap() = true;
        Ok(Rows::default())
    }

    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        let instrument = &request.instrument;
        if !self.known.lock().unwrap().contains(instrument) {
            let words = format!("{instrument} is not listed");
            return Err(BrokerError::NotSent(ErrorDetail::new(words).local()));
        }
        self.calls.lock().unwrap().push(format!("candles {instrument}"));
        Ok(Rows::default())
    }

    fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        let is_missing = || {
            !*self.has_listed.lock().unwrap()
                && !self.known.lock().unwrap().contains(&request.instrument)
        };
        self.missing.get(&Exchange::from(request.instrument.exchange()), is_missing)
    }
}

fn share(number: usize) -> Instrument {
    Instrument::new("NSE", number.to_string())
}

fn day(of: Instrument) -> CandleRequest {
    let day: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
    CandleRequest::new(of, Interval::Day, day, day)
}

/// Records each call that was queued: its method, user and priority.
#[derive(Default)]
struct Queued(Mutex<Vec<(&'static str, Option<String>, u8)>>);

impl Observer for Queued {
    fn submitted(&self, call: &CallInfo<'_>) {
        let user = call.user.map(str::to_owned);
        self.0.lock().unwrap().push((call.method, user, call.priority.get()));
    }
}

struct Fixture {
    broker: BrokerProxy<Adapter>,
    queued: Arc<Queued>,
    clock: ManualClock,
    calls: Arc<Mutex<Vec<String>>>,
    ends: Sender<bool>,
}

impl Fixture {
    /// Returns a fresh proxy. Its listings wait until the test ends them if they are `held`.
    fn new(held: bool) -> Self {
        let (calls, clock) = (Arc::<Mutex<Vec<String>>>::default(), ManualClock::new());
        let (ends, waits) = mpsc::channel();
        let queued = Arc::new(Queued::default());
        let adapter = Adapter {
            paper: PaperBroker::builder().build().unwrap(),
            known: Mutex::default(),
            has_listed: Mutex::default(),
            missing: MissingListings::new(),
            calls: Arc::clone(&calls),
            ends: held.then(|| Mutex::new(waits)),
        };
        let lane = || LaneConfig::new(Quota::per_second(10));
        let broker = BrokerProxy::builder(adapter)
            .limits(Limits::new().lane(lanes::QUOTE, Quota::per_second(1)))
            .transactional(lane().retry(RetryPolicy::none()))
            .historical(lane())
            .orders(Quota::unlimited())
            .prior_usage(PriorUsage::None)
            .clock(clock.clone())
            .observer(Arc::clone(&queued) as _)
            .build()
            .unwrap();
        Self { broker, queued, clock, calls, ends }
    }

    fn counts(&self, begins: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| call.starts_with(begins)).count()
    }

    fn wait_for_listing(&self, number: usize) {
        until(|| self.counts("instruments") == number);
    }

    fn historical(&self) -> LaneStatus {
        self.broker.status().lanes.remove(HISTORICAL)
    }

    /// Calls `candles` for eight instruments from eight threads at once.
    fn crowd(&self) -> Vec<Result<Rows<Candle>, BrokerError>> {
        let together = Barrier::new(8);
        thread::scope(|scope| {
            let call = |number| {
                let (together, broker) = (&together, &self.broker);
                scope.spawn(move || {
                    together.wait();
                    broker.candles(&day(share(number)))
                })
            };
            let threads: Vec<_> = (0..8).map(call).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

#[test]
fn eight_threads_at_once_cause_one_listing_and_eight_answers() {
    within_reason(|| {
        // Often, because threads race for the fetch as it ends.
        for _ in 0..200 {
            let it = Fixture::new(false);
            assert!(it.crowd().iter().all(Result::is_ok));
            assert_eq!((it.counts("instruments NSE"), it.counts("candles")), (1, 8));
            let status = it.broker.status();
            let used = [0, HISTORICAL].map(|lane| status.lanes[lane].windows[0].used);
            assert_eq!(used, [1, 8], "the listing is charged to its own lane");
        }
    });
}

#[test]
fn a_listing_that_fails_is_the_answer_and_the_next_call_tries_again() {
    within_reason(|| {
        let it = Fixture::new(true);
        it.ends.send(false).unwrap();
        let error = it.broker.candles(&day(share(0))).unwrap_err();
        assert!(matches!(&error, BrokerError::Transient(_)), "{error}");
        assert!(error.to_string().contains("the listing was lost"), "{error}");
        assert_eq!((it.counts("instruments"), it.counts("candles")), (1, 0));
        let historical = it.historical();
        assert_eq!((historical.windows[0].used, historical.breaker), (0, BreakerState::Closed));
        it.ends.send(true).unwrap();
        it.broker.candles(&day(share(0))).unwrap();
        assert_eq!((it.counts("instruments"), it.counts("candles")), (2, 1));
    });
}

#[test]
fn an_instrument_that_is_not_listed_costs_one_listing_and_no_slot() {
    let it = Fixture::new(false);
    for _ in 0..20 {
        let error = it.broker.candles(&day(Instrument::new("NSE", "GHOST"))).unwrap_err();
        assert!(error.failure().is_local(), "{error}");
    }
    assert_eq!((it.counts("instruments"), it.counts("candles")), (1, 0));
    assert_eq!(it.historical().windows[0].used, 0);
    // The whole quota is there, at the same moment.
    (0..8).for_each(|number| drop(it.broker.candles(&day(share(number))).unwrap()));
    assert_eq!(it.historical().windows[0].used, 8);
}

#[test]
fn a_caller_that_leaves_at_its_deadline_leaves_the_fetch_to_the_others() {
    within_reason(|| {
        let it = Fixture::new(true);
        let hasty = it.broker.with(CallOptions::new().deadline(SECOND));
        thread::scope(|scope| {
            let first = scope.spawn(|| hasty.candles(&day(share(0))));
            it.wait_for_listing(1);
            let second = scope.spawn(|| it.broker.candles(&day(share(1))));
            it.clock.advance(SECOND);
            let error = first.join().unwrap().unwrap_err();
            assert_eq!(error.was_sent(), Sent::No, "{error}");
            assert!(error.to_string().contains("candles"), "{error}");
            it.ends.send(true).unwrap();
            second.join().unwrap().unwrap();
        });
        assert_eq!((it.counts("instruments"), it.counts("candles")), (1, 1));
    });
}

/// All callers have left, and the next one finds the fetch that they began.
#[test]
fn a_fetch_that_no_caller_waits_for_is_joined_by_the_next() {
    within_reason(|| {
        let it = Fixture::new(true);
        let hasty = it.broker.with(CallOptions::new().deadline(SECOND));
        for number in 0..3 {
            thread::scope(|scope| {
                let call = scope.spawn(|| hasty.candles(&day(share(number))));
                it.wait_for_listing(1);
                // Until the caller has read its deadline from the clock and that has passed.
                while !call.is_finished() {
                    it.clock.advance(ms(100));
                    thread::yield_now();
                }
                call.join().unwrap().unwrap_err();
            });
        }
        it.ends.send(true).unwrap();
        it.broker.candles(&day(share(0))).unwrap();
        assert_eq!((it.counts("instruments"), it.counts("candles")), (1, 1));
    });
}

#[test]
fn the_fetch_has_neither_the_user_nor_the_priority_of_its_first_caller() {
    let it = Fixture::new(false);
    let options = CallOptions::new().user("alpha").priority(Priority::new(9).unwrap());
    it.broker.with(options).candles(&day(share(0))).unwrap();
    let queued = it.queued.0.lock().unwrap().clone();
    assert_eq!(queued, [("instruments", None, 5), ("candles", Some("alpha".to_owned()), 9)]);
}

#[test]
fn the_deadline_of_a_call_spans_its_listing() {
    within_reason(|| {
        let it = Fixture::new(true);
        it.broker.historical_lane().pause();
        let hasty = it.broker.with(CallOptions::new().deadline(SECOND));
        let began = it.clock.now();
        thread::scope(|scope| {
            let call = scope.spawn(|| hasty.candles(&day(share(0))));
            it.wait_for_listing(1);
            it.clock.advance(ms(600));
            it.ends.send(true).unwrap();
            until(|| it.historical().queued == 1);
            it.clock.advance(ms(400));
            assert_eq!(call.join().unwrap().unwrap_err().was_sent(), Sent::No);
        });
        assert_eq!(it.clock.now().since(began), SECOND);
    });
}
