//! The ticket of a call: waiting for it, its position, cancelling it, awaiting it.
#![allow(clippy::unwrap_used)]

mod support;

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallInfo, LaneConfig, LaneError, LaneErrorKind, Observer, Shutdown, Ticket,
};
use lanekeeper::proxy::Lanes;
use lanekeeper::quota::Quota;
use lanekeeper::{ErrorClass, Sent};
use support::lanes::{
    READ, SECOND, WRITE, hold, ms, observed, one, options, priority, status, submit, the,
    unlimited, until, within_reason,
};

/// Returns a paused lane, so that submitted calls wait.
fn paused() -> Lanes {
    let lanes = one(unlimited(1), Clock::system());
    the(&lanes).pause();
    lanes
}

/// Records late answers, all of them `Result<u8, _>`.
#[derive(Default)]
struct Late(AtomicUsize);

impl Observer for Late {
    fn late_result(&self, _: &CallInfo<'_>, answer: &dyn Any) {
        // A method returns a result already, and the lane's own result is around it.
        let answer = answer.downcast_ref::<Result<Result<u8, LaneError>, LaneError>>().unwrap();
        assert_eq!(*answer, Ok(Ok(7)));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn with_late(clock: impl Into<Clock>) -> (Lanes, Arc<Late>) {
    let late = Arc::new(Late::default());
    (observed(unlimited(1), clock, Some(late.clone())), late)
}

#[test]
fn wait_gives_what_the_call_answered() {
    let lanes = one(unlimited(1), Clock::system());
    assert_eq!(submit(&lanes, READ, &options(), || 7).wait(), Ok(7));
}

#[test]
fn wait_timeout_leaves_the_ticket_as_good_as_before() {
    let clock = ManualClock::new();
    let lanes = one(unlimited(1), clock.clone());
    the(&lanes).pause();
    let mut ticket = submit(&lanes, READ, &options(), || 7);
    assert_eq!(ticket.wait_timeout(Duration::ZERO), None);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ticket.wait_timeout(SECOND));
        until(|| {
            clock.advance(ms(100));
            waiting.is_finished()
        });
        assert_eq!(waiting.join().unwrap(), None);
    });
    assert_eq!(ticket.position(), Some(0));
    the(&lanes).resume();
    assert_eq!(within_reason(move || ticket.wait_timeout(Duration::MAX)), Some(Ok(7)));
}

#[test]
fn try_wait_gives_the_answer_once() {
    let lanes = paused();
    let mut ticket = submit(&lanes, READ, &options(), || 7);
    assert_eq!(ticket.try_wait(), None);
    the(&lanes).resume();
    assert_eq!(ticket.wait_timeout(Duration::MAX), Some(Ok(7)));
    let taken = ticket.try_wait().unwrap().unwrap_err();
    assert_eq!(taken.kind, LaneErrorKind::AlreadyTaken);
    let taken = ticket.wait_timeout(Duration::MAX).unwrap().unwrap_err();
    assert_eq!(taken.kind, LaneErrorKind::AlreadyTaken);
    assert_eq!(ticket.wait().unwrap_err().kind, LaneErrorKind::AlreadyTaken);
}

#[test]
fn a_call_that_is_cancelled_was_not_sent_and_never_will_be() {
    let lanes = paused();
    let (cancelled, other) = (
        submit(&lanes, WRITE, &options(), || panic!("sent")),
        submit(&lanes, READ, &options(), || 7),
    );
    assert!(cancelled.cancel());
    assert_eq!((cancelled.position(), cancelled.estimated_wait()), (None, None));
    assert_eq!(the(&lanes).queued(), 1);
    the(&lanes).resume();
    assert_eq!(other.wait(), Ok(7));
}

#[test]
fn a_task_that_awaits_a_cancelled_call_gets_that_it_was_not_sent() {
    let lanes = paused();
    let ticket = submit(&lanes, WRITE, &options(), || 7);
    assert!(ticket.cancel());
    let error = ticket.wait().unwrap_err();
    assert_eq!((error.was_sent(), error.kind), (Sent::No, LaneErrorKind::Cancelled));
}

#[test]
fn to_cancel_twice_is_to_cancel() {
    let lanes = paused();
    let ticket = submit(&lanes, WRITE, &options(), || 7);
    assert!(ticket.cancel());
    assert!(ticket.cancel(), "it was not sent, and never will be");
}

#[test]
fn a_call_in_flight_cannot_be_cancelled() {
    let lanes = one(unlimited(1), Clock::system());
    let held = hold(&lanes, WRITE);
    assert!(!held.ticket.cancel());
    assert_eq!((held.ticket.position(), held.ticket.estimated_wait()), (None, None));
    assert_eq!(held.let_go().wait(), Ok(()));
}

#[test]
fn position_and_estimate_follow_the_queue() {
    let clock = ManualClock::new();
    let lanes = one(LaneConfig::new(Quota::per_second(1)), clock.clone());
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    let waiting: Vec<_> = (0..3).map(|_| submit(&lanes, READ, &options(), || ())).collect();
    let places = |of: &[Ticket<(), LaneError>]| of.iter().map(Ticket::position).collect::<Vec<_>>();
    assert_eq!(places(&waiting), [Some(0), Some(1), Some(2)]);
    assert_eq!(waiting[2].estimated_wait(), Some(3 * SECOND));
    let urgent = submit(&lanes, READ, &priority(1), || ());
    assert_eq!((urgent.position(), places(&waiting)[0]), (Some(0), Some(1)));
    assert!(urgent.cancel() && waiting[0].cancel());
    assert_eq!(places(&waiting), [None, Some(0), Some(1)]);
    assert_eq!(waiting[2].estimated_wait(), Some(2 * SECOND));
}

#[test]
fn a_dropped_read_is_cancelled() {
    let lanes = paused();
    drop(submit(&lanes, READ, &options(), || panic!("sent")));
    assert_eq!(the(&lanes).queued(), 0);
    the(&lanes).resume();
    assert_eq!(submit(&lanes, READ, &options(), || 7).wait(), Ok(7));
}

#[test]
fn a_dropped_write_goes_on_and_its_answer_is_reported_to_the_observer_once() {
    let (lanes, late) = with_late(Clock::system());
    the(&lanes).pause();
    drop(submit(&lanes, WRITE, &options(), || 7_u8));
    assert_eq!(the(&lanes).queued(), 1);
    the(&lanes).resume();
    lanes.shutdown(Shutdown::Drain(Duration::MAX));
    assert_eq!(late.0.load(Ordering::SeqCst), 1);
}

#[test]
fn an_answer_that_was_never_taken_is_reported_to_the_observer_too() {
    let (lanes, late) = with_late(Clock::system());
    let ticket = submit(&lanes, WRITE, &options(), || 7_u8);
    lanes.shutdown(Shutdown::Drain(Duration::MAX));
    assert_eq!(late.0.load(Ordering::SeqCst), 0);
    drop(ticket);
    assert_eq!(late.0.load(Ordering::SeqCst), 1);
}

#[test]
fn the_answer_after_a_deadline_is_reported_to_the_observer_once() {
    let clock = ManualClock::new();
    let (lanes, late) = with_late(clock.clone());
    let (go, held) = mpsc::channel::<()>();
    let (begun, began) = mpsc::channel();
    let ticket = submit(&lanes, WRITE, &options().deadline(SECOND), move || {
        begun.send(()).unwrap();
        held.recv().unwrap();
        7_u8
    });
    began.recv().unwrap();
    clock.advance(SECOND);
    let error = ticket.wait().unwrap_err();
    assert_eq!((error.was_sent(), error.kind), (Sent::Unknown, LaneErrorKind::Unanswered));
    assert_eq!(late.0.load(Ordering::SeqCst), 0);
    go.send(()).unwrap();
    lanes.shutdown(Shutdown::Now);
    drop(lanes);
    assert_eq!(late.0.load(Ordering::SeqCst), 1);
}

/// An executor in ten lines: it sleeps until it is woken, and polls.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_ticket_is_awaited_on_ten_lines_of_executor() {
    within_reason(|| {
        let lanes = one(unlimited(2), Clock::system());
        let sum = block_on(async {
            let (one, two) =
                (submit(&lanes, READ, &options(), || 1), submit(&lanes, WRITE, &options(), || 2));
            one.await.unwrap() + two.await.unwrap()
        });
        assert_eq!(sum, 3);
    });
}

#[test]
fn a_ticket_is_awaited_on_tokio() {
    within_reason(|| {
        let lanes = one(unlimited(2), Clock::system());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sum = runtime.block_on(async {
            let tasks: Vec<_> = (1..=100)
                .map(|number| tokio::spawn(submit(&lanes, WRITE, &options(), move || number)))
                .collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap().unwrap();
            }
            sum
        });
        assert_eq!(sum, 5050);
    });
}

#[test]
fn a_refused_ticket_is_ready_at_once() {
    let lanes = paused();
    lanes.shutdown(Shutdown::Now);
    let mut refused = submit(&lanes, WRITE, &options(), || 7);
    let error = block_on(&mut refused).unwrap_err();
    assert_eq!((error.was_sent(), &error.kind), (Sent::No, &LaneErrorKind::Closed));
    let again = block_on(&mut refused).unwrap_err();
    assert_eq!(
        (again.method, again.effect, again.kind),
        (error.method, error.effect, LaneErrorKind::AlreadyTaken)
    );
    assert!(refused.cancel());
}

#[test]
fn each_of_two_that_cancel_a_call_gets_that_it_was_cancelled() {
    within_reason(|| {
        let lanes = paused();
        for _ in 0..2_000 {
            let ticket = submit(&lanes, WRITE, &options(), || ());
            let both = thread::scope(|scope| {
                let other = scope.spawn(|| ticket.cancel());
                (ticket.cancel(), other.join().unwrap())
            });
            assert_eq!(both, (true, true));
        }
    });
}

/// A waker that sends the id of the thread on which it was dropped.
struct Dropped(Mutex<mpsc::Sender<ThreadId>>);

impl Wake for Dropped {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.lock().unwrap().send(thread::current().id());
    }
}

#[test]
fn a_caller_that_detaches_takes_its_waker_along() {
    within_reason(|| {
        let lanes = one(unlimited(1), ManualClock::new());
        let (go, gone) = mpsc::channel::<()>();
        let mut ticket = submit(&lanes, WRITE, &options(), move || {
            let _ = gone.recv();
        });
        let (thread_tx, thread_rx) = mpsc::channel();
        let waker = Waker::from(Arc::new(Dropped(Mutex::new(thread_tx))));
        assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        // If a worker dropped it, others that rely on that worker would wait.
        drop(ticket);
        assert_eq!(thread_rx.try_recv(), Ok(thread::current().id()));
        drop(go);
    });
}

/// An error whose destructor panics.
struct Bomb;

impl From<LaneError> for Bomb {
    fn from(_: LaneError) -> Self {
        Self
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn a_result_that_is_never_taken_does_no_harm_when_it_is_dropped() {
    within_reason(|| {
        let lanes = one(unlimited(1), ManualClock::new());
        let ticket: Ticket<(), Bomb> = lanes.submit_spec_repeatable(
            WRITE,
            &options(),
            || Err(Bomb),
            |_| Some(ErrorClass::NotSent),
        );
        until(|| status(&lanes).retrying == 1);
        // A write goes on without its caller, and is refused here while it waits for its retry.
        drop(ticket);
        assert_eq!(lanes.shutdown(Shutdown::Now).rejected, 1);
    });
}

#[test]
fn a_ticket_that_is_polled_after_its_answer_says_so_and_does_not_hang() {
    within_reason(|| {
        let lanes = one(unlimited(1), Clock::system());
        let mut ticket = submit(&lanes, READ, &options(), || 7);
        assert_eq!(block_on(&mut ticket), Ok(7));
        assert_eq!(block_on(&mut ticket).unwrap_err().kind, LaneErrorKind::AlreadyTaken);
    });
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn only_the_last_waker_is_woken_and_once() {
    within_reason(|| {
        let lanes = paused();
        let mut ticket = submit(&lanes, READ, &options(), || 7);
        let counts = [(); 3].map(|()| Arc::new(Count(AtomicUsize::new(0))));
        for count in &counts {
            let waker = Waker::from(Arc::clone(count));
            assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        the(&lanes).resume();
        until(|| counts[2].0.load(Ordering::SeqCst) > 0);
        assert_eq!(block_on(ticket), Ok(7));
        drop(lanes);
        assert_eq!(counts.map(|count| count.0.load(Ordering::SeqCst)), [0, 0, 1]);
    });
}

#[test]
fn a_ticket_that_was_polled_is_awaited_on_another_thread() {
    within_reason(|| {
        let lanes = paused();
        let mut ticket = submit(&lanes, READ, &options(), || 7);
        block_on(poll_fn(|context| {
            assert!(Pin::new(&mut ticket).poll(context).is_pending());
            Poll::Ready(())
        }));
        let waiting = thread::spawn(move || block_on(ticket));
        the(&lanes).resume();
        assert_eq!(waiting.join().unwrap(), Ok(7));
    });
}

#[test]
fn an_awaiting_task_is_woken_by_a_shutdown_and_by_a_deadline() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(unlimited(1), clock.clone());
        the(&lanes).pause();
        let late = submit(&lanes, READ, &options().deadline(SECOND), || 7);
        let shut = submit(&lanes, READ, &options(), || 7);
        let (late, shut) =
            (thread::spawn(move || block_on(late)), thread::spawn(move || block_on(shut)));
        clock.advance(SECOND);
        let reason = late.join().unwrap().unwrap_err().kind;
        assert_eq!(reason, LaneErrorKind::DeadlinePassed { waited: SECOND });
        lanes.shutdown(Shutdown::Now);
        assert_eq!(shut.join().unwrap().unwrap_err().kind, LaneErrorKind::Closed);
    });
}

#[test]
fn a_ticket_outlives_its_lanes() {
    let lanes = paused();
    let ticket = submit(&lanes, WRITE, &options(), || 7);
    drop(lanes);
    assert_eq!(ticket.position(), None);
    assert_eq!(ticket.wait().unwrap_err().kind, LaneErrorKind::Closed);
}

#[test]
fn a_ticket_is_for_any_thread() {
    fn anywhere<T: Send + Sync + Unpin>() {}
    anywhere::<Ticket<u8, LaneError>>();
}
