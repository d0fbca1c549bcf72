//! User code on workers: observers and wakers that block, or call back.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{CallInfo, LaneConfig, LaneError, Observer, Priority};
use lanekeeper::proxy::Lanes;
use lanekeeper::quota::Quota;

use super::let_pass;
use super::support::lanes::{
    READ, WRITE, observed, one, options, submit, the, unlimited, within_reason,
};

/// An observer that blocks in one callback until it is released.
#[derive(Default)]
struct Blocks {
    late: bool,
    expired: bool,
    entered: Mutex<Option<mpsc::Sender<()>>>,
    until: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Blocks {
    fn block(&self) {
        let entered = self.entered.lock().unwrap().take();
        if let Some(entered) = entered {
            entered.send(()).unwrap();
            let until = self.until.lock().unwrap().take().unwrap();
            let _ = until.recv();
        }
    }
}

impl Observer for Blocks {
    fn late_result(&self, _: &CallInfo<'_>, _: &dyn Any) {
        if self.late {
            self.block();
        }
    }
    fn expired(&self, _: &CallInfo<'_>) {
        if self.expired {
            self.block();
        }
    }
}

fn blocks(late: bool, expired: bool) -> (Arc<Blocks>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (entered, is_in) = mpsc::channel();
    let (let_go, until) = mpsc::channel();
    let (entered, until) = (Mutex::new(Some(entered)), Mutex::new(Some(until)));
    (Arc::new(Blocks { late, expired, entered, until }), is_in, let_go)
}

/// Submits a write whose ticket is dropped while it is in flight, so that its answer is late.
fn abandon(lanes: &Lanes) {
    // The workers are all there, and asleep.
    let_pass();
    let (begun, began) = mpsc::channel();
    let (let_go, held) = mpsc::channel::<()>();
    let ticket = submit(lanes, WRITE, &options(), move || {
        begun.send(()).unwrap();
        held.recv().unwrap();
    });
    began.recv().unwrap();
    drop(ticket);
    let_go.send(()).unwrap();
}

/// The observer of a late result queries the broker for the outcome.
#[test]
fn an_observer_of_a_late_result_may_call() {
    within_reason(|| {
        #[derive(Default)]
        struct Asks {
            lanes: OnceLock<Lanes>,
            asked: Mutex<Option<mpsc::Sender<Result<u8, LaneError>>>>,
        }
        impl Observer for Asks {
            fn late_result(&self, _: &CallInfo<'_>, _: &dyn Any) {
                let lanes = self.lanes.get().unwrap();
                let answer = submit(lanes, READ, &options(), || 7).wait();
                let _ = self.asked.lock().unwrap().take().unwrap().send(answer);
            }
        }
        let (asked, answer) = mpsc::channel();
        let observer = Arc::new(Asks { asked: Mutex::new(Some(asked)), ..Asks::default() });
        let lanes = observed(unlimited(4), Clock::system(), Some(observer.clone()));
        observer.lanes.set(lanes.clone()).unwrap();
        abandon(&lanes);
        let answer = answer.recv();
        assert_eq!(answer, Ok(Ok(7)), "three workers of four are idle");
    });
}

/// While one worker runs the observer, three are idle.
#[test]
fn a_slow_observer_of_a_late_result_holds_up_no_call() {
    within_reason(|| {
        let (observer, is_in, let_go) = blocks(true, false);
        let lanes = observed(unlimited(4), Clock::system(), Some(observer));
        abandon(&lanes);
        is_in.recv().unwrap();
        let urgent = options().priority(Priority::URGENT);
        let answer = submit(&lanes, WRITE, &urgent, || 7).wait();
        let_go.send(()).unwrap();
        assert_eq!(answer, Ok(7));
    });
}

/// The same with the quota exhausted: the slot came free, and no worker polls.
#[test]
fn a_slot_that_comes_free_is_used_while_a_late_result_is_reported() {
    within_reason(|| {
        let (observer, is_in, let_go) = blocks(true, false);
        let quota = Quota::new(1, Duration::from_millis(20));
        let lanes = observed(LaneConfig::new(quota).in_flight(4), Clock::system(), Some(observer));
        let (begun, began) = mpsc::channel();
        let (end, held) = mpsc::channel::<()>();
        let ticket = submit(&lanes, WRITE, &options(), move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
        });
        began.recv().unwrap();
        // Waits for the only slot, which is in flight.
        let second = submit(&lanes, WRITE, &options(), || 7);
        let_pass();
        drop(ticket);
        end.send(()).unwrap();
        is_in.recv().unwrap();
        let answer = second.wait();
        let_go.send(()).unwrap();
        assert_eq!(answer, Ok(7));
    });
}

/// A waker is code of the executor.
#[test]
fn a_waker_that_blocks_holds_up_no_call() {
    within_reason(|| {
        struct Slow(Mutex<Option<mpsc::Sender<()>>>, Mutex<mpsc::Receiver<()>>);
        impl Wake for Slow {
            fn wake(self: Arc<Self>) {
                if let Some(entered) = self.0.lock().unwrap().take() {
                    entered.send(()).unwrap();
                    let _ = self.1.lock().unwrap().recv();
                }
            }
        }
        let lanes = one(unlimited(4), Clock::system());
        let (entered, is_in) = mpsc::channel();
        let (let_go, until) = mpsc::channel();
        let waker = Waker::from(Arc::new(Slow(Mutex::new(Some(entered)), Mutex::new(until))));
        let (end, held) = mpsc::channel::<()>();
        let_pass();
        let mut ticket = submit(&lanes, WRITE, &options(), move || held.recv().unwrap());
        assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
        end.send(()).unwrap();
        is_in.recv().unwrap();
        let answer = submit(&lanes, WRITE, &options(), || 7).wait();
        let_go.send(()).unwrap();
        assert_eq!(answer, Ok(7));
    });
}

/// A leader that notified the observer of expired calls itself could not be woken.
#[test]
fn a_slow_observer_of_an_expired_call_holds_up_no_call() {
    within_reason(|| {
        let (observer, is_in, let_go) = blocks(false, true);
        let lanes = observed(unlimited(4), Clock::system(), Some(observer));
        the(&lanes).pause();
        let soon = options().deadline(Duration::from_millis(50));
        let expires = submit(&lanes, WRITE, &soon, || 1);
        is_in.recv().unwrap();
        the(&lanes).resume();
        let answer = submit(&lanes, WRITE, &options(), || 7).wait();
        let_go.send(()).unwrap();
        assert_eq!(expires.wait().unwrap_err().was_sent(), Sent::No);
        assert_eq!(answer, Ok(7));
    });
}

/// An observer that is notified of an expired call must not run before the call that the same poll selected.
#[test]
fn a_selected_call_is_sent_before_others_are_notified_that_theirs_expired() {
    within_reason(|| {
        let (observer, is_in, let_go) = blocks(false, true);
        let clock = ManualClock::new();
        let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
        let lanes = observed(config, clock.clone(), Some(observer));
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        the(&lanes).pause();
        let goes = submit(&lanes, WRITE, &options(), || 7);
        let soon = options().priority(Priority::LOWEST).deadline(Duration::from_millis(2500));
        let expires = submit(&lanes, WRITE, &soon, || 1);
        let_pass();
        the(&lanes).resume();
        let_pass();
        // Now the slot of the one comes free and the deadline of the other passes.
        clock.advance(Duration::from_secs(3));
        is_in.recv().unwrap();
        let answer = goes.wait();
        let in_flight = lanes.status().lanes[0].in_flight;
        let_go.send(()).unwrap();
        drop(expires);
        assert_eq!((answer, in_flight), (Ok(7), 0));
    });
}
