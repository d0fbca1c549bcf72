//! Calls that their callers make themselves: when there is a turn, what the lane holds meanwhile, and every way in which
//! such a call ends.
#![cfg(target_os = "linux")] // `support/stepped.rs`, whose error is used here, is.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    FinishedCall, LaneConfig, LaneErrorKind, LaneState, Observer, Shutdown, Ticket, Turn,
};
use lanekeeper::proxy::{LaneCall, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::{BreakerMode, RetryPolicy};
use lanekeeper::{ErrorClass, Sent};
use support::lanes::{
    READ, Recorder, SECOND, hold, ms, observed, one, options, status, submit, the, unlimited,
    until, within_reason,
};
use support::notes::{Event, EventLog};
use support::stepped::Failure;

type Answer = Result<u32, Failure>;
type OwnTurn = Turn<u32, Failure>;

fn write() -> LaneCall {
    LaneCall::write("test").name("write")
}

/// Submits a call that no worker may make.
fn begin(lanes: &Lanes, call: &LaneCall) -> (Ticket<u32, Failure>, Option<OwnTurn>) {
    lanes.submit_or_begin(call, &options(), || panic!("a worker made the call"))
}

/// Submits a call, of which it must be the turn.
fn turn(lanes: &Lanes) -> (Ticket<u32, Failure>, OwnTurn) {
    // It is the only call.
    let (ticket, turn) = begin(lanes, &write());
    (ticket, turn.unwrap())
}

/// Submits a call, of which it must not be the turn. A worker makes it.
fn queued(lanes: &Lanes, answer: u32) -> Ticket<u32, Failure> {
    let (ticket, turn) = lanes.submit_or_begin(&write(), &options(), move || Ok(answer));
    assert!(turn.is_none(), "it is not its turn");
    ticket
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor of ten lines.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// A call that is under way until it is answered. Polled by hand, so that each step is the test's.
struct OwnCall {
    ticket: Ticket<u32, Failure>,
    run: Pin<Box<dyn Future<Output = ()>>>,
    answer: mpsc::Sender<Answer>,
}

impl OwnCall {
    fn new(lanes: &Lanes) -> Self {
        let (ticket, turn) = turn(lanes);
        let (answer, answers) = mpsc::channel();
        let mut call = Self { ticket, run: Box::pin(turn.run(answer_of(answers))), answer };
        assert!(call.poll().is_pending());
        call
    }

    fn poll(&mut self) -> Poll<()> {
        self.run.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Gives it the answer of the broker.
    fn end(&mut self, answer: Answer) {
        self.answer.send(answer).unwrap();
        assert!(self.poll().is_ready());
    }
}

async fn answer_of(answers: Receiver<Answer>) -> Answer {
    poll_fn(|_| answers.try_recv().map_or(Poll::Pending, Poll::Ready)).await
}

fn lane_error(answer: Option<Answer>) -> LaneErrorKind {
    match answer {
        Some(Err(Failure::Lane(error))) => error.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn on_an_idle_lane_a_caller_makes_its_call_itself() {
    let log = Arc::new(EventLog::default());
    let lanes = observed(unlimited(2), Clock::system(), Some(log.clone()));
    let (ticket, turn) = turn(&lanes);
    assert_eq!(status(&lanes).in_flight, 1);
    let here = thread::current().id();
    block_on(turn.run(async move {
        assert_eq!(thread::current().id(), here);
        Ok(7)
    }));
    assert_eq!(block_on(ticket), Ok(7));
    assert_eq!(status(&lanes).in_flight, 0);
    // Observers see it as any other call.
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    assert_eq!(log.of("test", 0), [Event::Submitted, Event::Dispatched, Event::Finished]);
    assert_eq!(log.of("test", 0), log.of("test", 1));
}

#[test]
fn there_is_no_turn_while_a_call_waits_or_none_may_go() {
    let clock = ManualClock::new();
    let lanes = one(LaneConfig::new(Quota::per_second(2)).in_flight(4), clock.clone());
    let (mut first, _second) = (OwnCall::new(&lanes), OwnCall::new(&lanes));
    let mut third = queued(&lanes, 3);
    let mut fourth = queued(&lanes, 4);
    clock.advance(10 * SECOND);
    assert_eq!(status(&lanes).queued, 2, "a slot is used until its call has ended");
    first.end(Ok(1));
    clock.advance(SECOND);
    within_reason(move || {
        assert_eq!(third.wait_timeout(Duration::MAX), Some(Ok(3)));
        assert_eq!(fourth.try_wait(), None);
        drop(fourth);
    });
}

#[test]
fn a_lane_that_sends_nothing_gives_no_turn() {
    for stop in [
        (|lanes| the(lanes).pause()) as fn(&Lanes),
        |lanes| the(lanes).set_breaker(BreakerMode::ForcedOpen),
        |lanes| {
            let refused = Failure::Broker(ErrorClass::Unauthorized.into());
            OwnCall::new(lanes).end(Err(refused));
        },
        |lanes| {
            lanes.shutdown(Shutdown::Now);
        },
    ] {
        let lanes = one(unlimited(1), Clock::system());
        stop(&lanes);
        let (ticket, turn) = begin(&lanes, &write());
        assert!(turn.is_none());
        drop(lanes);
        drop(ticket);
    }
}

#[test]
fn a_call_that_waits_for_the_slot_of_a_turn_goes_when_that_ends() {
    let lanes = one(unlimited(1), Clock::system());
    for end in [
        (|call: &mut OwnCall| call.end(Ok(1))) as fn(&mut OwnCall),
        |call| call.end(Err(Failure::Lost)),
        |call| call.run = Box::pin(ready(())),
    ] {
        let mut call = OwnCall::new(&lanes);
        let waiting = submit(&lanes, READ, &options(), || 5);
        // A worker has seen that it has to wait.
        until(|| waiting.position() == Some(0));
        end(&mut call);
        assert_eq!(within_reason(move || waiting.wait()), Ok(5));
    }
}

#[test]
fn an_exit_has_its_turn_beside_the_calls_in_flight() {
    let lanes = one(unlimited(1), Clock::system());
    let held = hold(&lanes, READ);
    let _waiting = queued(&lanes, 1);
    assert!(begin(&lanes, &write().exit()).1.is_none(), "another call waits");
    let lanes = one(unlimited(1), Clock::system());
    let other = hold(&lanes, READ);
    let (exit, turn) = begin(&lanes, &write().exit());
    block_on(turn.unwrap().run(ready(Ok(9))));
    assert_eq!(block_on(exit), Ok(9));
    held.let_go().wait().unwrap();
    other.let_go().wait().unwrap();
}

#[test]
fn a_turn_that_is_not_taken_sends_nothing_and_frees_its_slot() {
    let log = Arc::new(EventLog::default());
    let clock = ManualClock::new();
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let lanes = observed(config, clock, Some(log.clone()));
    for run in [false, true] {
        let (mut ticket, turn) = turn(&lanes);
        match run {
            // The future is never polled.
            true => drop(turn.run(pending())),
            false => drop(turn),
        }
        let error = match ticket.try_wait().unwrap() {
            Err(Failure::Lane(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!((error.was_sent(), error.kind), (Sent::No, LaneErrorKind::Cancelled));
    }
    assert_eq!(log.of("test", 1), [Event::Submitted, Event::Cancelled]);
    // Without its ticket too: the observer gets the end of every call.
    let (ticket, own) = turn(&lanes);
    drop(ticket);
    drop(own);
    assert_eq!(log.of("test", 2), [Event::Submitted, Event::Cancelled]);
    let (mut ticket, turn) = turn(&lanes);
    block_on(turn.run(ready(Ok(1))));
    assert_eq!(ticket.try_wait(), Some(Ok(1)));
}

#[test]
fn a_call_that_is_dropped_under_way_is_lost_and_holds_its_slot_as_a_lost_call_does() {
    let clock = ManualClock::new();
    let lanes = one(LaneConfig::new(Quota::per_second(1)).in_flight(4), clock.clone());
    let OwnCall { mut ticket, run, answer: _answer } = OwnCall::new(&lanes);
    clock.advance(ms(200));
    drop(run);
    let error = match ticket.try_wait().unwrap() {
        Err(Failure::Lane(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!((error.was_sent(), &error.kind), (Sent::Unknown, &LaneErrorKind::Dropped));
    assert_eq!(error.class(), ErrorClass::Unknown);
    // It may arrive within a second of its sending, as long as no answer has shown how long a call travels.
    let mut next = queued(&lanes, 2);
    clock.advance(ms(1_799));
    thread::yield_now();
    assert_eq!(next.try_wait(), None);
    clock.advance(ms(1));
    assert_eq!(within_reason(move || next.wait_timeout(Duration::MAX)), Some(Ok(2)));
}

#[test]
fn a_panic_is_caught_as_that_of_a_worker_is() {
    let lanes = one(unlimited(1), Clock::system());
    let (mut ticket, turn) = turn(&lanes);
    block_on(turn.run(async { panic!("a fault") }));
    let kind = lane_error(ticket.try_wait());
    assert!(matches!(kind, LaneErrorKind::Panicked { message } if message == "a fault"));
    assert_eq!(status(&lanes).in_flight, 0);
}

#[test]
fn a_worker_makes_the_next_attempt() {
    let retry = RetryPolicy::default().base_delay(ms(1)).max_delay(ms(1));
    let lanes = one(unlimited(1).retry(retry), Clock::system());
    let attempts = Arc::new(AtomicUsize::new(0));
    let work = {
        let attempts = Arc::clone(&attempts);
        move || {
            attempts.fetch_add(1, Ordering::SeqCst);
            Ok(8)
        }
    };
    let (ticket, turn) = lanes.submit_or_begin(&write(), &options(), work);
    block_on(turn.unwrap().run(ready(Err(Failure::NotSent))));
    assert_eq!(within_reason(move || ticket.wait()), Ok(8));
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[test]
fn the_ticket_of_a_call_under_way_cannot_take_it_back() {
    let log = Arc::new(EventLog::default());
    let lanes = observed(unlimited(1), Clock::system(), Some(log.clone()));
    let mut call = OwnCall::new(&lanes);
    assert!(!call.ticket.cancel());
    call.end(Ok(1));
    assert_eq!(call.ticket.try_wait(), Some(Ok(1)));
    // Its caller is gone: the observer gets the answer.
    let OwnCall { ticket, mut run, answer } = OwnCall::new(&lanes);
    drop(ticket);
    answer.send(Ok(2)).unwrap();
    assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(
        log.of("test", 1),
        [Event::Submitted, Event::Dispatched, Event::Finished, Event::Late]
    );
}

#[test]
fn a_call_that_was_abandoned_before_it_began_is_never_made() {
    let clock = ManualClock::new();
    let lanes = one(LaneConfig::new(Quota::per_second(1)), clock.clone());
    let soon = options().deadline(ms(50));
    let never = || -> Answer { panic!("made") };
    let (ticket, turn) = lanes.submit_or_begin(&write(), &soon, never);
    clock.advance(SECOND);
    let kind = lane_error(Some(ticket.wait()));
    assert!(matches!(kind, LaneErrorKind::DeadlinePassed { .. }), "{kind}");
    block_on(turn.unwrap().run(async { panic!("made") }));
    // Its slot is free at once.
    assert!(begin(&lanes, &write()).1.is_some());
}

#[test]
fn a_drain_waits_for_calls_under_way_and_cuts_off_those_that_hang() {
    within_reason(|| {
        let log = Arc::new(EventLog::default());
        let clock = ManualClock::new();
        let lanes = observed(unlimited(4), clock.clone(), Some(log.clone()));
        let (mut ends, mut hangs) = (OwnCall::new(&lanes), OwnCall::new(&lanes));
        let (mut unsent, not_begun) = turn(&lanes);
        let summary = thread::scope(|scope| {
            let drain = scope.spawn(|| lanes.shutdown(Shutdown::Drain(SECOND)));
            until(|| status(&lanes).state == LaneState::Draining);
            assert!(begin(&lanes, &write()).1.is_none());
            ends.end(Ok(1));
            until(|| {
                clock.advance(ms(10));
                drain.is_finished()
            });
            drain.join().unwrap()
        });
        assert_eq!(ends.ticket.try_wait(), Some(Ok(1)));
        assert_eq!(lane_error(hangs.ticket.try_wait()), LaneErrorKind::CutOff);
        assert_eq!(lane_error(unsent.try_wait()), LaneErrorKind::Closed);
        assert_eq!((summary.rejected, summary.in_flight), (1, 2));
        block_on(not_begun.run(async { panic!("it was told to be unsent") }));
        hangs.end(Ok(2));
        assert_eq!(log.of("test", 1).last(), Some(&Event::Late));
        assert_eq!(status(&lanes).in_flight, 0);
    });
}

#[test]
fn lanes_that_are_dropped_do_not_wait_for_calls_that_the_same_thread_has_to_make() {
    within_reason(|| {
        let lanes = one(unlimited(1), Clock::system());
        let mut call = OwnCall::new(&lanes);
        drop(lanes);
        call.end(Ok(1));
        assert_eq!(call.ticket.try_wait(), Some(Ok(1)));
    });
}

/// Workers and callers at once, as fast as they can: a lost wake-up would hang it.
#[test]
fn no_call_is_forgotten_and_never_are_too_many_in_flight() {
    const CALLERS: u32 = 8;
    const CALLS: u32 = 3_000;
    within_reason(|| {
        let lanes = one(unlimited(3).queue(64), Clock::system());
        let (in_flight, most, own) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let enter = {
            let (in_flight, most) = (Arc::clone(&in_flight), Arc::clone(&most));
            move || {
                most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                in_flight.fetch_sub(1, Ordering::SeqCst);
            }
        };
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (lanes, own, enter) = (&lanes, &own, &enter);
                scope.spawn(move || {
                    for number in 0..CALLS {
                        let (enter, work_enter) = (enter.clone(), enter.clone());
                        let answer = if (number + caller) % 3 == 0 {
                            submit(lanes, READ, &options(), move || {
                                work_enter();
                                number
                            })
                            .wait()
                            .unwrap()
                        } else {
                            let work = move || {
                                work_enter();
                                Ok::<_, Failure>(number)
                            };
                            let (ticket, turn) = lanes.submit_or_begin(&write(), &options(), work);
                            if let Some(turn) = turn {
                                own.fetch_add(1, Ordering::SeqCst);
                                block_on(turn.run(async {
                                    enter();
                                    Ok(number)
                                }));
                            }
                            block_on(ticket).unwrap()
                        };
                        assert_eq!(answer, number);
                    }
                });
            }
        });
        assert!(own.load(Ordering::SeqCst) > 0, "no call had its turn");
        assert!(most.load(Ordering::SeqCst) <= 3, "{most:?} at once");
    });
}

#[test]
fn a_call_that_is_recorded_first_is_made_by_a_worker() {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, unlimited(1));
    builder.pace_log(Arc::new(Recorder));
    let lanes = builder.build(Limits::new()).unwrap();
    // The disk of the record may hang, and the caller's thread has other things to do.
    assert_eq!(within_reason(move || queued(&lanes, 1).wait()), Ok(1));
}

#[test]
fn an_observer_that_calls_its_own_lane_from_a_turn_is_refused_as_from_a_worker() {
    struct Calls(Mutex<Option<Lanes>>, Mutex<Option<LaneErrorKind>>);
    impl Observer for Calls {
        fn finished(&self, _: &FinishedCall<'_>) {
            if let Some(lanes) = self.0.lock().unwrap().take() {
                let answer = submit(&lanes, READ, &options(), || ()).wait();
                *self.1.lock().unwrap() = answer.err().map(|error| error.kind);
            }
        }
    }
    within_reason(|| {
        let calls = Arc::new(Calls(Mutex::default(), Mutex::default()));
        let lanes = observed(unlimited(1), Clock::system(), Some(calls.clone()));
        *calls.0.lock().unwrap() = Some(lanes.clone());
        let (ticket, turn) = turn(&lanes);
        block_on(turn.run(ready(Ok(1))));
        assert_eq!(block_on(ticket), Ok(1));
        assert_eq!(*calls.1.lock().unwrap(), Some(LaneErrorKind::Reentrant));
    });
}
