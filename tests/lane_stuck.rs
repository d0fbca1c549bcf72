//! A broker that never returns, and one that calls its own lane: every caller is answered, and none blocks.
#![allow(clippy::unwrap_used)]

mod support;

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallInfo, CallOptions, FinishedCall, LaneConfig, LaneError, LaneErrorKind, LaneState, Observer,
    OverflowPolicy, Priority, Shutdown, Ticket,
};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::{BreakerPolicy, BreakerState};
use lanekeeper::{ErrorClass, Sent};
use support::failing::{TRANSIENT, class, ended};
use support::lanes::{
    READ, SECOND, WRITE, hold, ms, observed, one, options, priority, status, submit, the,
    unlimited, until, within_reason,
};

/// Records calls that were cut off: which callers detached, and which answers came late.
#[derive(Default)]
struct CutOffLog(Mutex<Vec<(&'static str, u64)>>);

impl CutOffLog {
    fn so_far(&self) -> Vec<(&'static str, u64)> {
        let mut cut_off_log = self.0.lock().unwrap().clone();
        cut_off_log.sort_unstable();
        cut_off_log
    }
}

impl Observer for CutOffLog {
    fn deadline_missed(&self, call: &CallInfo<'_>) {
        self.0.lock().unwrap().push(("unanswered", call.number));
    }
    fn refused(&self, call: &CallInfo<'_>, _: &LaneErrorKind) {
        self.0.lock().unwrap().push(("refused", call.number));
    }
    fn late_result(&self, call: &CallInfo<'_>, _: &dyn Any) {
        self.0.lock().unwrap().push(("late", call.number));
    }
}

#[test]
fn at_the_limit_of_a_drain_every_caller_is_answered_and_the_proxy_can_be_dropped() {
    within_reason(|| {
        for pause in [false, true] {
            let cut_off_log = Arc::new(CutOffLog::default());
            let lanes = observed(unlimited(2), Clock::system(), Some(cut_off_log.clone()));
            let held = [hold(&lanes, WRITE), hold(&lanes, READ)];
            let waits = submit(&lanes, WRITE, &options(), || ());
            if pause {
                the(&lanes).pause();
            }
            let drained = lanes.shutdown(Shutdown::Drain(ms(1)));
            assert_eq!((drained.rejected, drained.in_flight), (1, 2));
            assert_eq!(waits.wait().unwrap_err().kind, LaneErrorKind::Closed);
            let mut go = Vec::new();
            for (held, class) in held.into_iter().zip([ErrorClass::Unknown, ErrorClass::Transient])
            {
                let error = held.ticket.wait().unwrap_err();
                assert_eq!(
                    (error.kind.clone(), error.was_sent()),
                    (LaneErrorKind::CutOff, Sent::Unknown)
                );
                assert_eq!(error.class(), class);
                go.push(held.go);
            }
            // The broker has not returned, and may never.
            drop(lanes);
            assert_eq!(
                cut_off_log.so_far(),
                [("refused", 2), ("unanswered", 0), ("unanswered", 1)]
            );
            // If it does, its answer is reported.
            drop(go);
            until(|| cut_off_log.so_far().len() == 5);
            assert_eq!(cut_off_log.so_far()[..2], [("late", 0), ("late", 1)]);
        }
    });
}

/// A thread that waits in a blocking call, and a task that is polled.
#[test]
fn a_drain_answers_every_waiter_however_it_waits() {
    struct Wakes(mpsc::Sender<()>);
    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }
    within_reason(|| {
        let lanes = one(unlimited(3), Clock::system());
        let stuck = [hold(&lanes, WRITE), hold(&lanes, WRITE), hold(&lanes, WRITE)];
        let [a, b, c] = stuck;
        let (woken, is_woken) = mpsc::channel();
        let waker = std::task::Waker::from(Arc::new(Wakes(woken)));
        let mut task = Box::pin(c.ticket);
        let mut context = std::task::Context::from_waker(&waker);
        assert!(task.as_mut().poll(&mut context).is_pending());
        thread::scope(|scope| {
            let waits = scope.spawn(|| a.ticket.wait());
            let far = scope.spawn(|| {
                let mut ticket = b.ticket;
                ticket.wait_timeout(Duration::MAX).unwrap()
            });
            lanes.shutdown(Shutdown::Drain(Duration::ZERO));
            for answer in [waits.join().unwrap(), far.join().unwrap()] {
                assert_eq!(answer.unwrap_err().kind, LaneErrorKind::CutOff);
            }
        });
        is_woken.recv().unwrap();
        let std::task::Poll::Ready(answer) = task.as_mut().poll(&mut context) else { panic!() };
        assert_eq!(answer.unwrap_err().kind, LaneErrorKind::CutOff);
    });
}

/// `Shutdown::Now` leaves them to the broker, and a later drain still cuts them off.
#[test]
fn calls_that_were_left_to_the_broker_can_be_cut_off_later() {
    within_reason(|| {
        let lanes = one(unlimited(1), Clock::system());
        let held = hold(&lanes, WRITE);
        assert_eq!(lanes.shutdown(Shutdown::Now).in_flight, 1);
        assert_eq!(lanes.shutdown(Shutdown::Drain(Duration::ZERO)).in_flight, 1);
        assert_eq!(held.ticket.wait().unwrap_err().kind, LaneErrorKind::CutOff);
    });
}

/// An observer that blocks before a call begins.
struct Slow(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);
impl Observer for Slow {
    fn dispatched(&self, _: &CallInfo<'_>, _: Duration) {
        self.0.send(()).unwrap();
        let _ = self.1.lock().unwrap().recv();
    }
}

/// A call that a worker has taken, and is still reporting to an observer that blocks.
struct Unbegun {
    lanes: Lanes,
    call: Ticket<usize, LaneError>,
    go: mpsc::Sender<()>,
    runs: Arc<AtomicUsize>,
}

impl Unbegun {
    fn new(clock: impl Into<Clock>, options: &CallOptions) -> Self {
        let (is_in, enters) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let slow = Arc::new(Slow(is_in, Mutex::new(gone)));
        let lanes = observed(LaneConfig::new(Quota::per_second(5)), clock, Some(slow));
        let runs = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&runs);
        let call = submit(&lanes, WRITE, options, move || counts.fetch_add(1, Ordering::SeqCst));
        enters.recv().unwrap();
        Self { lanes, call, go, runs }
    }

    /// Lets its worker go on: its slot is given back, and it never runs. Returns how it was answered.
    fn never_runs(self) -> LaneError {
        let error = self.call.wait().unwrap_err();
        assert_eq!(error.was_sent(), Sent::No, "{error}");
        drop(self.go);
        until(|| status(&self.lanes).in_flight == 0);
        assert_eq!(status(&self.lanes).windows[0].used, 0);
        drop(self.lanes);
        assert_eq!(self.runs.load(Ordering::SeqCst), 0);
        error
    }
}

#[test]
fn a_call_that_is_cut_off_before_it_begins_is_never_sent() {
    within_reason(|| {
        let unbegun = Unbegun::new(Clock::system(), &options());
        let drained = unbegun.lanes.shutdown(Shutdown::Drain(Duration::ZERO));
        assert_eq!(drained.in_flight, 1);
        assert_eq!(unbegun.never_runs().kind, LaneErrorKind::Closed);
    });
}

/// A call whose deadline passes before it begins is never sent, however late its worker comes to it.
#[test]
fn a_call_whose_caller_detached_before_it_began_is_never_sent() {
    within_reason(|| {
        let clock = ManualClock::new();
        let unbegun = Unbegun::new(clock.clone(), &options().deadline(SECOND));
        clock.advance(SECOND);
        let reason = unbegun.never_runs().kind;
        assert!(matches!(reason, LaneErrorKind::DeadlinePassed { .. }), "{reason}");
    });
}

#[test]
fn many_calls_that_never_return_leave_no_waiter() {
    within_reason(|| {
        let lanes = one(unlimited(8).queue(16), Clock::system());
        let (go, gone) = mpsc::channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        let sent = AtomicUsize::new(0);
        thread::scope(|scope| {
            for caller in 0..32_u64 {
                let (lanes, gone, sent) = (&lanes, &gone, &sent);
                scope.spawn(move || {
                    for number in 0.. {
                        let gone = Arc::clone(gone);
                        let hangs = (caller + number) % 5 == 0;
                        let call = if caller % 2 == 0 { READ } else { WRITE };
                        let urgent = priority(if caller % 7 == 0 { 1 } else { 5 });
                        let answer = submit(lanes, call, &urgent, move || {
                            if hangs {
                                let _ = gone.lock().unwrap().recv();
                            }
                        });
                        sent.fetch_add(1, Ordering::SeqCst);
                        match answer.wait().map_err(|error| error.kind) {
                            Err(LaneErrorKind::Closed | LaneErrorKind::CutOff) => break,
                            Ok(()) | Err(LaneErrorKind::QueueFull { .. } | LaneErrorKind::Shed) => {
                            }
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
            until(|| sent.load(Ordering::SeqCst) > 100);
            lanes.shutdown(Shutdown::Drain(Duration::ZERO));
        });
        drop(lanes);
        drop(go);
    });
}

/// The trait's other lanes do not wait for one that hangs.
#[test]
fn one_lane_that_hangs_is_cut_off_and_the_others_drain() {
    within_reason(|| {
        let mut builder = LanesBuilder::new("Test", &["test", "other"], &[]);
        builder.lane(0, unlimited(1));
        builder.lane(1, unlimited(1));
        let clock = ManualClock::new();
        builder.clock(clock.clone().into());
        let lanes = builder.build(Limits::new()).unwrap();
        let stuck = hold(&lanes, WRITE);
        let fine = submit(&lanes, CallSpec { lane: 1, ..WRITE }, &options(), || 7);
        let drained = thread::scope(|scope| {
            let drain = scope.spawn(|| lanes.shutdown(Shutdown::Drain(SECOND)));
            until(|| status(&lanes).state == LaneState::Draining);
            assert_eq!(fine.wait(), Ok(7));
            clock.advance(SECOND);
            drain.join().unwrap()
        });
        assert_eq!(drained.in_flight, 1);
        assert_eq!(stuck.ticket.wait().unwrap_err().kind, LaneErrorKind::CutOff);
        drop(lanes);
    });
}

/// A broker whose method calls its own lane, nested `depth` times.
fn nested(
    lanes: &Lanes,
    depth: usize,
    lane: impl Fn(usize) -> CallSpec + Copy + Send + 'static,
) -> Result<usize, LaneError> {
    let inner = lanes.clone();
    let work = move || match depth {
        0 => Ok(0),
        _ => nested(&inner, depth - 1, lane).map(|deep| deep + 1),
    };
    lanes.submit_spec(lane(depth), &options(), work, |error: &LaneError| Some(error.class())).wait()
}

#[test]
fn a_call_that_would_wait_for_its_own_worker_is_refused_with_a_message() {
    within_reason(|| {
        for workers in 1..=4 {
            let lanes = one(unlimited(workers), ManualClock::new());
            // As many as there are workers.
            assert_eq!(nested(&lanes, workers - 1, |_| WRITE), Ok(workers - 1));
            let error = nested(&lanes, workers, |_| WRITE).unwrap_err();
            assert_eq!(
                (error.kind.clone(), error.was_sent()),
                (LaneErrorKind::Reentrant, Sent::No)
            );
            assert!(error.to_string().contains("raise `in_flight`"), "{error}");
            // The lane still works.
            assert_eq!(submit(&lanes, WRITE, &options(), || 7).wait(), Ok(7));
        }
    });
}

#[test]
fn a_way_back_through_another_lane_is_seen() {
    within_reason(|| {
        let mut builder = LanesBuilder::new("Test", &["test", "other"], &[]);
        builder.lane(0, unlimited(1));
        builder.lane(1, unlimited(1));
        let lanes = builder.build(Limits::new()).unwrap();
        let by_turns = |depth: usize| CallSpec { lane: depth % 2, ..WRITE };
        assert_eq!(nested(&lanes, 1, by_turns), Ok(1));
        assert_eq!(nested(&lanes, 2, by_turns).unwrap_err().kind, LaneErrorKind::Reentrant);
        assert_eq!(nested(&lanes, 3, by_turns).unwrap_err().kind, LaneErrorKind::Reentrant);
        // Another proxy has lanes of its own.
        let others = one(unlimited(1), ManualClock::new());
        let inner = others.clone();
        let across = submit(&lanes, WRITE, &options(), move || nested(&inner, 0, |_| WRITE));
        assert_eq!(across.wait(), Ok(Ok(0)));
    });
}

/// Starts a call in flight that makes another one of its lane, once it is told to go on.
fn waits_within(
    lanes: &Lanes,
    call: CallSpec,
) -> (Ticket<Result<usize, LaneErrorKind>, LaneError>, mpsc::Sender<()>) {
    let inner = lanes.clone();
    let (begun, began) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let outer = submit(lanes, call, &options(), move || {
        begun.send(()).unwrap();
        gone.recv().unwrap();
        nested(&inner, 0, |_| WRITE).map_err(|error| error.kind)
    });
    began.recv().unwrap();
    (outer, go)
}

/// Returns the answer, while time passes a second at a time.
fn in_time<R>(clock: &ManualClock, ticket: &mut Ticket<R, LaneError>) -> Result<R, LaneError> {
    loop {
        if let Some(answer) = ticket.try_wait() {
            return answer;
        }
        clock.advance(SECOND);
        thread::yield_now();
    }
}

/// A reentrant call is held while a breaker is open, as any other is: it does not count as waiting for itself.
#[test]
fn a_reentrant_call_waits_for_an_open_breaker() {
    within_reason(|| {
        let breaker = BreakerPolicy::default().failures_in_a_row(Some(1));
        let clock = ManualClock::new();
        let lanes = one(unlimited(4).breaker(breaker), clock.clone());
        let elsewhere = CallSpec { route: "elsewhere", ..WRITE };
        let (mut outer, go) = waits_within(&lanes, elsewhere);
        lanes.submit_spec(WRITE, &options(), || ended(Some(TRANSIENT)), class).wait().unwrap_err();
        assert_eq!(status(&lanes).breaker, BreakerState::Open);
        go.send(()).unwrap();
        // Held, after a poll.
        until(|| status(&lanes).queued == 1 || status(&lanes).in_flight == 0);
        (0..50).for_each(|_| submit(&lanes, elsewhere, &options(), || ()).wait().unwrap());
        assert_eq!(in_time(&clock, &mut outer), Ok(Ok(0)));
    });
}

/// They occupy fewer workers than there are, but all the slots.
#[test]
fn calls_that_would_wait_for_their_own_slots_are_refused_too() {
    within_reason(|| {
        let config = LaneConfig::new(Quota::per_second(2)).in_flight(8);
        let lanes = one(config, ManualClock::new());
        let error = nested(&lanes, 2, |_| WRITE).unwrap_err();
        assert_eq!((error.kind.clone(), error.was_sent()), (LaneErrorKind::Reentrant, Sent::No));
        assert_eq!(status(&lanes).in_flight, 0);
    });
}

/// Two that wait hold both slots: one is refused, and the other goes when the slot of that one is free again.
#[test]
fn of_several_that_hold_all_slots_one_is_refused() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(LaneConfig::new(Quota::per_second(2)).in_flight(8), clock.clone());
        let [mut first, mut second] =
            [(); 2].map(|()| waits_within(&lanes, WRITE)).map(|(call, go)| {
                go.send(()).unwrap();
                call
            });
        let answers = [&mut first, &mut second].map(|call| in_time(&clock, call).unwrap());
        let refused =
            answers.iter().filter(|answer| **answer == Err(LaneErrorKind::Reentrant)).count();
        assert_eq!(refused, 1, "{answers:?}");
    });
}

/// A call of another lane holds the budget, and gives it back.
#[test]
fn a_call_that_waits_for_a_budget_that_others_hold_is_not_refused() {
    within_reason(|| {
        let mut builder = LanesBuilder::new("Test", &["test", "other"], &["both"]);
        (0..2).for_each(|lane| builder.lane(lane, unlimited(4)));
        builder.budget(0, Quota::per_second(2).into());
        let clock = ManualClock::new();
        builder.clock(clock.clone().into());
        let lanes = builder.build(Limits::new()).unwrap();
        const CHARGED: CallSpec = CallSpec { budgets: &[0], ..WRITE };
        let held = hold(&lanes, CallSpec { lane: 1, ..CHARGED });
        let mut outer = {
            let inner = lanes.clone();
            submit(&lanes, CHARGED, &options(), move || nested(&inner, 0, |_| CHARGED))
        };
        until(|| status(&lanes).queued == 1);
        held.let_go().wait().unwrap();
        assert_eq!(in_time(&clock, &mut outer), Ok(Ok(0)));
    });
}

/// A heavier call waits for the slot that it holds, and it waits behind that one.
#[test]
fn a_reentrant_call_behind_a_heavier_one_is_refused() {
    within_reason(|| {
        // Nothing becomes overdue, so no time changes anything.
        let config = LaneConfig::new(Quota::per_second(3)).in_flight(4).aging(None);
        let lanes = one(config, ManualClock::new());
        let (outer, go) = waits_within(&lanes, WRITE);
        let _heavy = submit(&lanes, CallSpec { weight: 3, ..WRITE }, &options(), || ());
        go.send(()).unwrap();
        assert_eq!(outer.wait(), Ok(Err(LaneErrorKind::Reentrant)));
    });
}

/// The queue is full behind it, and it would wait for a slot that only it can free.
#[test]
fn a_reentrant_call_waits_for_no_slot_in_the_queue() {
    within_reason(|| {
        let config = unlimited(1).queue(1).when_full(OverflowPolicy::Block);
        let lanes = one(config, ManualClock::new());
        let (outer, go) = waits_within(&lanes, WRITE);
        let behind = submit(&lanes, WRITE, &options(), || 7);
        go.send(()).unwrap();
        assert_eq!(outer.wait(), Ok(Err(LaneErrorKind::Reentrant)));
        assert_eq!(behind.wait(), Ok(7));
    });
}

/// Each call queues the next and does not wait for it: that is no growing chain.
#[test]
fn a_call_that_queues_itself_again_and_again_leaves_nothing_behind() {
    fn again(lanes: &Lanes, left: usize, done: mpsc::Sender<()>) {
        let inner = lanes.clone();
        drop(submit(lanes, WRITE, &options(), move || match left {
            0 => done.send(()).unwrap(),
            _ => again(&inner, left - 1, done),
        }));
    }
    within_reason(|| {
        let lanes = one(unlimited(1), ManualClock::new());
        let (done, is_done) = mpsc::channel();
        // A chain of so many links would overflow the stack of the thread that drops it.
        again(&lanes, 300_000, done);
        is_done.recv().unwrap();
    });
}

/// It drops its tickets, and waits for none.
#[test]
fn a_call_that_only_queues_others_is_not_refused() {
    within_reason(|| {
        let lanes = one(unlimited(1), ManualClock::new());
        let inner = lanes.clone();
        let call = submit(&lanes, WRITE, &options(), move || {
            [(); 3].map(|()| submit(&inner, WRITE, &options(), || 7))
        });
        assert_eq!(call.wait().unwrap().map(|call| call.wait()), [Ok(7), Ok(7), Ok(7)]);
    });
}

/// Callers that meet in the lane by chance: all are answered, whichever have the workers.
#[test]
fn broker_code_that_calls_itself_from_many_threads_blocks_no_caller() {
    within_reason(|| {
        // These refusals do not come from the broker, and here the error type does not tell the breaker so.
        let lanes = one(unlimited(3).breaker(BreakerPolicy::disabled()), Clock::system());
        let refused = AtomicUsize::new(0);
        thread::scope(|scope| {
            for caller in 0..12 {
                let (lanes, refused) = (&lanes, &refused);
                scope.spawn(move || {
                    for round in 0..100 {
                        match nested(lanes, (caller + round) % 3, |_| WRITE) {
                            Ok(_) => {}
                            Err(error) => {
                                assert_eq!(error.kind, LaneErrorKind::Reentrant);
                                refused.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                });
            }
        });
        assert!(refused.into_inner() < 1_200);
        assert_eq!(nested(&lanes, 2, |_| WRITE), Ok(2));
    });
}

/// An observer runs on a worker too.
#[test]
fn an_observer_that_would_wait_for_its_own_worker_is_refused() {
    #[derive(Default)]
    struct Asks(OnceLock<Lanes>, Mutex<Vec<Result<u8, LaneErrorKind>>>);
    impl Observer for Asks {
        fn finished(&self, call: &FinishedCall<'_>) {
            if call.call.method == "write" {
                let ask = |urgent| {
                    let answer = submit(self.0.get().unwrap(), READ, &urgent, || 7).wait();
                    self.1.lock().unwrap().push(answer.map_err(|error| error.kind));
                };
                ask(options());
                // An urgent call has a worker of its own.
                ask(options().priority(Priority::URGENT));
            }
        }
    }
    within_reason(|| {
        let asks = Arc::new(Asks::default());
        let config = unlimited(1).urgent_workers(2);
        let lanes = observed(config, Clock::system(), Some(asks.clone()));
        asks.0.set(lanes.clone()).unwrap();
        submit(&lanes, WRITE, &options().deadline(600 * SECOND), || ()).wait().unwrap();
        assert_eq!(*asks.1.lock().unwrap(), [Err(LaneErrorKind::Reentrant), Ok(7)]);
    });
}
