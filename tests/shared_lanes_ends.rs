//! How one proxy of several over the same lanes ends while its calls are between two steps.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::any::Any;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use lanekeeper::ManualClock;
use lanekeeper::lane::{CallInfo, LaneConfig, LaneErrorKind, Observer, Shutdown, ShutdownSummary};
use lanekeeper::proxy::{CallSpec, LaneCall, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use support::lanes::{
    WRITE, hold, observed, one, options, status, submit, unlimited, until, within_reason,
};
use support::stepped::Failure;

fn attached(lanes: &Lanes) -> Lanes {
    let mut builder = LanesBuilder::new("Attached", &["test"], &[]);
    builder.lanes_of(lanes.clone());
    builder.build(Limits::new()).unwrap()
}

/// Shuts a proxy down as soon as its call is answered, on the thread of the worker.
struct ShutsWhenWoken {
    proxy: Lanes,
    how: Shutdown,
    summary: Mutex<Option<ShutdownSummary>>,
}

impl Wake for ShutsWhenWoken {
    fn wake(self: Arc<Self>) {
        let summary = self.proxy.shutdown(self.how);
        *self.summary.lock().unwrap() = Some(summary);
    }
}

fn summary_of_a_shutdown_in_a_waker(how: Shutdown) -> ShutdownSummary {
    within_reason(move || {
        let owner = one(unlimited(1), ManualClock::new());
        let proxy = attached(&owner);
        let held = hold(&proxy, WRITE);
        let waker =
            Arc::new(ShutsWhenWoken { proxy: proxy.clone(), how, summary: Mutex::default() });
        let mut ticket = pin!(held.ticket);
        let mut context = Context::from_waker(Waker::noop());
        let by_waker = Waker::from(Arc::clone(&waker));
        assert!(ticket.as_mut().poll(&mut Context::from_waker(&by_waker)).is_pending());
        held.go.send(()).unwrap();
        until(|| waker.summary.lock().unwrap().is_some());
        assert!(ticket.as_mut().poll(&mut context).is_ready());
        assert_eq!(submit(&owner, WRITE, &options(), || 1).wait(), Ok(1));
        let summary = *waker.summary.lock().unwrap();
        summary.unwrap()
    })
}

#[test]
fn a_drain_by_the_waker_of_its_own_call_does_not_wait_for_itself() {
    let summary = summary_of_a_shutdown_in_a_waker(Shutdown::Drain(Duration::MAX));
    assert_eq!((summary.rejected, summary.in_flight), (0, 0));
}

#[test]
fn a_call_whose_caller_has_the_answer_is_not_in_flight_any_more() {
    let summary = summary_of_a_shutdown_in_a_waker(Shutdown::Now);
    assert_eq!((summary.rejected, summary.in_flight), (0, 0));
}

/// Runs a callback with each event of one kind.
#[derive(Default)]
struct Callbacks {
    submitted: OnceLock<Box<dyn Fn() + Send + Sync>>,
    late: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Observer for Callbacks {
    fn submitted(&self, _: &CallInfo<'_>) {
        if let Some(callback) = self.submitted.get() {
            callback();
        }
    }

    fn late_result(&self, _: &CallInfo<'_>, _: &dyn Any) {
        if let Some(callback) = self.late.get() {
            callback();
        }
    }
}

#[test]
fn a_drain_by_an_observer_of_a_late_result_does_not_wait_for_itself() {
    within_reason(|| {
        let callbacks = Arc::new(Callbacks::default());
        let observer: Arc<dyn Observer> = Arc::<Callbacks>::clone(&callbacks);
        let owner = observed(unlimited(1), ManualClock::new(), Some(observer));
        let proxy = attached(&owner);
        let (told, summary) = mpsc::channel();
        let inside = proxy.clone();
        let drain = move || told.send(inside.shutdown(Shutdown::Drain(Duration::MAX))).unwrap();
        assert!(callbacks.late.set(Box::new(drain)).is_ok());
        let held = hold(&proxy, WRITE);
        drop(held.ticket);
        held.go.send(()).unwrap();
        let summary = summary.recv().unwrap();
        assert_eq!((summary.rejected, summary.in_flight), (0, 0));
    });
}

/// The proxy is shut down between the admission of a call and its way into the queue.
#[test]
fn no_call_is_sent_after_the_shutdown_of_its_proxy() {
    within_reason(|| {
        for round in 0..2_000 {
            let callbacks = Arc::new(Callbacks::default());
            let observer: Arc<dyn Observer> = Arc::<Callbacks>::clone(&callbacks);
            let owner = observed(unlimited(2), ManualClock::new(), Some(observer));
            let proxy = attached(&owner);
            let is_shut = Arc::new(AtomicBool::new(false));
            let (inside, shut) = (proxy.clone(), Arc::clone(&is_shut));
            let how = [Shutdown::Now, Shutdown::Drain(Duration::MAX)][round % 2];
            let end = move || {
                inside.shutdown(how);
                shut.store(true, Ordering::SeqCst);
            };
            assert!(callbacks.submitted.set(Box::new(end)).is_ok());
            let answer = submit(&proxy, WRITE, &options(), move || is_shut.load(Ordering::SeqCst));
            let kind = answer.wait().map_err(|error| error.kind);
            assert_eq!(kind, Err(LaneErrorKind::Closed), "round {round}");
        }
    });
}

/// A call that was cut off may return while the drop waits for the others.
#[test]
fn a_drop_waits_for_a_call_in_flight_although_one_that_was_cut_off_returns() {
    within_reason(|| {
        let owner = one(unlimited(2), ManualClock::new());
        let proxy = attached(&owner);
        let hung = hold(&proxy, WRITE);
        let (begun, began) = mpsc::channel();
        let (released, gone) = mpsc::channel::<()>();
        let slow = submit(&owner, WRITE, &options(), move || {
            begun.send(()).unwrap();
            let _ = gone.recv();
        });
        began.recv().unwrap();
        proxy.shutdown(Shutdown::Drain(Duration::ZERO));
        assert_eq!(hung.ticket.wait().unwrap_err().kind, LaneErrorKind::CutOff);
        drop(proxy);
        let observer = thread::spawn(move || drop(owner));
        hung.go.send(()).unwrap();
        // Without the wait, the drop ends without the slow call. With it, this is the time that call takes.
        for _ in 0..100 {
            if observer.is_finished() {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let is_dropped = observer.is_finished();
        drop(released);
        observer.join().unwrap();
        assert_eq!(slow.wait(), Ok(()));
        assert!(!is_dropped);
    });
}

#[test]
fn a_shutdown_of_one_proxy_twice_at_once_ends_both_times() {
    within_reason(|| {
        for _ in 0..200 {
            let owner = one(unlimited(1), ManualClock::new());
            let proxy = attached(&owner);
            thread::scope(|scope| {
                for lanes in [&owner, &proxy, &proxy, &owner] {
                    scope.spawn(|| lanes.shutdown(Shutdown::Drain(Duration::MAX)));
                }
            });
            assert_eq!(status(&owner).state, lanekeeper::lane::LaneState::Closed);
        }
    });
}

/// Their callers are answered, and the broker may never return.
#[test]
fn no_later_drain_waits_for_calls_that_were_cut_off() {
    within_reason(|| {
        let owner = one(unlimited(2), ManualClock::new());
        let proxy = attached(&owner);
        let hung = hold(&proxy, WRITE);
        let cut = proxy.shutdown(Shutdown::Drain(Duration::ZERO));
        assert_eq!((cut.rejected, cut.in_flight), (0, 1));
        for lanes in [&proxy, &owner, &owner] {
            let summary = lanes.shutdown(Shutdown::Drain(Duration::MAX));
            assert_eq!((summary.rejected, summary.in_flight), (0, 1));
        }
        assert_eq!(hung.ticket.wait().unwrap_err().kind, LaneErrorKind::CutOff);
        drop(hung.go);
    });
}

#[test]
fn a_pause_ends_the_sending_of_a_drain_that_has_begun() {
    within_reason(|| {
        let owner = one(unlimited(1), ManualClock::new());
        let proxy = attached(&owner);
        let held = hold(&owner, WRITE);
        let queued = submit(&proxy, WRITE, &options(), || ());
        thread::scope(|scope| {
            let drain = scope.spawn(|| proxy.shutdown(Shutdown::Drain(Duration::MAX)));
            let is_draining = || {
                let mut probe = submit(&proxy, WRITE, &options(), || ());
                let is_refused = probe.try_wait().is_some();
                probe.cancel();
                is_refused
            };
            until(is_draining);
            owner.lane("test").unwrap().pause();
            assert_eq!(drain.join().unwrap().rejected, 1);
        });
        assert_eq!(queued.wait().unwrap_err().kind, LaneErrorKind::Closed);
        drop(held.go);
        assert_eq!(held.ticket.wait(), Ok(()));
    });
}

#[test]
fn a_call_that_a_pause_holds_is_refused_although_its_proxy_ended_before_it_was_queued() {
    within_reason(|| {
        let callbacks = Arc::new(Callbacks::default());
        let observer: Arc<dyn Observer> = Arc::<Callbacks>::clone(&callbacks);
        let owner = observed(unlimited(1), ManualClock::new(), Some(observer));
        let proxy = attached(&owner);
        owner.lane("test").unwrap().pause();
        let inside = proxy.clone();
        let end = move || {
            inside.shutdown(Shutdown::Now);
        };
        assert!(callbacks.submitted.set(Box::new(end)).is_ok());
        let answer = submit(&proxy, WRITE, &options(), || ()).wait();
        assert_eq!(answer.unwrap_err().kind, LaneErrorKind::Closed);
    });
}

/// The clock stands still, so the retry would never be due.
#[test]
fn a_call_that_fails_after_the_end_of_its_proxy_is_not_retried() {
    within_reason(|| {
        let owner = one(unlimited(1), ManualClock::new());
        let proxy = attached(&owner);
        let (begun, began) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let call = LaneCall::write("test");
        let ticket = proxy.submit(&call, &options(), move || {
            begun.send(()).unwrap();
            let _ = gone.recv();
            Err::<(), _>(Failure::NotSent)
        });
        began.recv().unwrap();
        assert_eq!(proxy.shutdown(Shutdown::Now).in_flight, 1);
        drop(go);
        assert_eq!(ticket.wait(), Err(Failure::NotSent));
    });
}

/// The heavy call waits for two slots, and the light one behind it needs the one that is free.
#[test]
fn a_call_behind_those_of_a_proxy_that_ends_goes_at_once() {
    within_reason(|| {
        for _ in 0..20 {
            let config = LaneConfig::new(Quota::per_second(2)).in_flight(2);
            let owner = one(config, ManualClock::new());
            let proxy = attached(&owner);
            assert_eq!(submit(&owner, WRITE, &options(), || ()).wait(), Ok(()));
            let heavy = CallSpec { weight: 2, ..WRITE };
            let heavy = submit(&proxy, heavy, &options(), || ());
            let light = submit(&owner, WRITE, &options(), || ());
            // The leader is asleep by then, most of the time.
            (0..1_000).for_each(|_| thread::yield_now());
            proxy.shutdown(Shutdown::Now);
            assert_eq!(heavy.wait().unwrap_err().kind, LaneErrorKind::Closed);
            assert_eq!(light.wait(), Ok(()));
        }
    });
}
