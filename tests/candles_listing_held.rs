//! Listings for candles whose fetch is held up, is refused, or ends while no caller waits for it.

#![cfg(feature = "paper")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use lanekeeper::broker::{
    Broker, BrokerError, Candle, CandleRequest, ErrorDetail, Exchange, Instrument, InstrumentInfo,
    Interval, Margins, MissingListing, MissingListings, Partial, Rows, lanes,
};
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::civil::Date;
use lanekeeper::lane::{CallOptions, LaneConfig, OverflowPolicy, Priority, Shutdown};
use lanekeeper::quota::{Limits, PriorUsage, Quota};
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::{BrokerProxy, PaperBroker, Sent, Session, delegate_broker};
use support::lanes::{SECOND, until, within_reason};

struct Inner {
    paper: PaperBroker,
    known: Mutex<HashSet<Instrument>>,
    missing: MissingListings,
    session: Session,
    /// How many listings were requested.
    listings: AtomicUsize,
    /// How the next listings end. Well, if there is nothing here.
    failures: Mutex<VecDeque<BrokerError>>,
    /// `margins` waits for a message, and then asks this proxy for candles.
    nested: Mutex<Option<(Receiver<()>, BrokerProxy<Adapter>)>>,
    panics: AtomicBool,
}

/// An adapter that needs the listing, as Kite does. Its listing has `NSE:0` to `NSE:7`.
#[derive(Clone)]
struct Adapter(Arc<Inner>);

impl Broker for Adapter {
    delegate_broker! {
        to self.paper(); except instruments, candles, margins, missing_listing, session
    }

    fn instruments(&self, _: Option<&Exchange>) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.0.listings.fetch_add(1, Ordering::Relaxed);
        if let Some(error) = self.0.failures.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.0.known.lock().unwrap().extend((0..8).map(share));
        Ok(Rows::default())
    }

    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        if self.0.known.lock().unwrap().contains(&request.instrument) {
            return Ok(Rows::default());
        }
        Err(BrokerError::NotSent(ErrorDetail::new("not listed").local()))
    }

    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        if let Some((go, proxy)) = self.0.nested.lock().unwrap().take() {
            go.recv().unwrap();
            proxy.candles(&day(1))?;
        }
        self.0.paper.margins()
    }

    fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        assert!(!self.0.panics.load(Ordering::Relaxed), "a mistake in the adapter");
        let is_missing = || !self.0.known.lock().unwrap().contains(&request.instrument);
        self.0.missing.get(&Exchange::Nse, is_missing)
    }

    fn session(&self) -> Option<Session> {
        Some(self.0.session.clone())
    }
}

fn share(number: usize) -> Instrument {
    Instrument::new("NSE", number.to_string())
}

fn day(number: usize) -> CandleRequest {
    let day: Date = "2026-01-05".parse().unwrap();
    CandleRequest::new(share(number), Interval::Day, day, day)
}

fn adapter(failures: impl IntoIterator<Item = BrokerError>) -> Adapter {
    Adapter(Arc::new(Inner {
        paper: PaperBroker::builder().build().unwrap(),
        known: Mutex::default(),
        missing: MissingListings::new(),
        session: Session::default(),
        listings: AtomicUsize::new(0),
        failures: Mutex::new(failures.into_iter().collect()),
        nested: Mutex::default(),
        panics: AtomicBool::new(false),
    }))
}

fn lane() -> LaneConfig {
    LaneConfig::new(Quota::per_second(10)).retry(RetryPolicy::none())
}

fn proxy(
    adapter: &Adapter,
    transactional: LaneConfig,
    clock: &ManualClock,
) -> BrokerProxy<Adapter> {
    BrokerProxy::builder(adapter.clone())
        .limits(Limits::new().lane(lanes::QUOTE, Quota::per_second(1)))
        .transactional(transactional)
        .historical(lane())
        .orders(Quota::unlimited())
        .prior_usage(PriorUsage::None)
        .clock(clock.clone())
        .build()
        .unwrap()
}

impl Adapter {
    fn paper(&self) -> &PaperBroker {
        &self.0.paper
    }

    fn listings(&self) -> usize {
        self.0.listings.load(Ordering::Relaxed)
    }
}

#[test]
fn a_ticket_fetches_no_listing_and_uses_no_slot() {
    within_reason(|| {
        let adapter = adapter([]);
        let broker = proxy(&adapter, lane(), &ManualClock::new());
        let error = broker.submit().candles(&day(0)).wait().unwrap_err();
        assert_eq!((error.was_sent(), adapter.listings()), (Sent::No, 0));
        assert_eq!(broker.status().lanes[2].windows[0].used, 0);
        broker.instruments(Some(&Exchange::Nse)).unwrap();
        broker.submit().candles(&day(0)).wait().unwrap();
    });
}

#[test]
fn the_end_of_a_fetch_that_no_caller_waited_for_is_no_answer_to_a_later_one() {
    within_reason(|| {
        let adapter = adapter([BrokerError::Transient("of long ago".into())]);
        let broker = proxy(&adapter, lane(), &ManualClock::new());
        let hasty = broker.with(CallOptions::new().deadline(std::time::Duration::ZERO));
        hasty.candles(&day(0)).unwrap_err();
        until(|| adapter.listings() == 1 && broker.status().lanes[0].in_flight == 0);
        broker.candles(&day(0)).unwrap();
        assert_eq!(adapter.listings(), 2);
    });
}

#[test]
fn a_fetch_of_a_proxy_that_was_shut_down_is_none_of_the_next() {
    within_reason(|| {
        let (adapter, clock) = (adapter([]), ManualClock::new());
        let first = proxy(&adapter, lane(), &clock);
        first.transactional_lane().pause();
        let hasty = first.with(CallOptions::new().deadline(std::time::Duration::ZERO));
        hasty.candles(&day(0)).unwrap_err();
        first.shutdown(Shutdown::Now);
        proxy(&adapter, lane(), &clock).candles(&day(0)).unwrap();
    });
}

#[test]
fn a_listing_that_cannot_be_read_is_not_fetched_again_for_a_minute() {
    within_reason(|| {
        let (adapter, clock) =
            (adapter([BrokerError::Malformed("no listing".into())]), ManualClock::new());
        let broker = proxy(&adapter, lane(), &clock);
        for _ in 0..30 {
            let error = broker.candles(&day(0)).unwrap_err();
            assert!(matches!(error, BrokerError::Malformed(_)), "{error}");
        }
        assert_eq!(adapter.listings(), 1);
        clock.advance(60 * SECOND);
        broker.candles(&day(0)).unwrap();
        assert_eq!(adapter.listings(), 2);
    });
}

/// A normal call waits for new credentials. An urgent one is sent, and needs its listing for that.
#[test]
fn an_urgent_call_does_not_wait_for_a_fetch_that_is_held_up() {
    within_reason(|| {
        let adapter = adapter([BrokerError::Unauthorized("expired".into())]);
        let broker = proxy(&adapter, lane(), &ManualClock::new());
        broker.instruments(Some(&Exchange::Nse)).unwrap_err();
        assert!(broker.status().session_expired);
        let urgent = broker.with(CallOptions::new().priority(Priority::URGENT));
        thread::scope(|scope| {
            let held = scope.spawn(|| broker.candles(&day(0)));
            until(|| broker.status().lanes[0].queued == 1);
            urgent.candles(&day(1)).unwrap();
            // The urgent calls have shown that the credentials work, or a shutdown ends the wait.
            broker.shutdown(Shutdown::Now);
            let _ = held.join().unwrap();
        });
    });
}

#[test]
fn a_full_lane_that_blocks_does_not_hold_a_caller_beyond_its_deadline() {
    within_reason(|| {
        let (adapter, clock) = (adapter([]), ManualClock::new());
        let full = lane().queue(1).when_full(OverflowPolicy::Block);
        let broker = proxy(&adapter, full, &clock);
        broker.transactional_lane().pause();
        let first = broker.submit().profile();
        let hasty = broker.with(CallOptions::new().deadline(SECOND));
        thread::scope(|scope| {
            let call = scope.spawn(|| hasty.candles(&day(0)));
            until(|| broker.status().lanes[0].queued == 2);
            while !call.is_finished() {
                clock.advance(SECOND);
                thread::yield_now();
            }
            assert_eq!(call.join().unwrap().unwrap_err().was_sent(), Sent::No);
        });
        drop(first);
        broker.shutdown(Shutdown::Now);
    });
}

/// The inner call holds the only worker that the fetch of the outer caller needs. It is refused, or both would wait for
/// ever.
#[test]
fn a_call_within_a_call_waits_for_no_fetch_of_another_caller() {
    within_reason(|| {
        let adapter = adapter([]);
        let broker = proxy(&adapter, lane().in_flight(1).urgent_workers(0), &ManualClock::new());
        let (go, waits) = mpsc::channel();
        *adapter.0.nested.lock().unwrap() = Some((waits, broker.clone()));
        thread::scope(|scope| {
            let outer = scope.spawn(|| broker.margins());
            until(|| broker.status().lanes[0].in_flight == 1);
            let other = scope.spawn(|| broker.candles(&day(0)));
            until(|| broker.status().lanes[0].queued == 1);
            go.send(()).unwrap();
            let refused = outer.join().unwrap().unwrap_err();
            assert_eq!(refused.was_sent(), Sent::No, "{refused}");
            other.join().unwrap().unwrap();
        });
    });
}

#[test]
fn a_panic_of_the_adapter_does_not_reach_the_caller() {
    within_reason(|| {
        let adapter = adapter([]);
        let broker = proxy(&adapter, lane(), &ManualClock::new());
        adapter.0.panics.store(true, Ordering::Relaxed);
        let error = broker.candles(&day(0)).unwrap_err();
        assert_eq!(error.was_sent(), Sent::No, "{error}");
    });
}
