//! Races and corners in which a lane once lost a call, sent one too many, or hung.

#![allow(clippy::unwrap_used)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallInfo, LaneConfig, LaneError, LaneErrorKind, Observer, OverflowPolicy, Shutdown, Ticket,
};
use lanekeeper::proxy::{CallSpec, Lanes};
use lanekeeper::quota::Quota;
use support::lanes::{
    READ, SECOND, WRITE, answer, hold, ms, observed, one, options, status, submit, the, unlimited,
    until, within_reason,
};
#[cfg(target_os = "linux")]
use support::stepped::{Course, Failure, Stepped};

/// They hang in calls of another lane that is paused, so time advances to the next deadline. No other thread could
/// wake them.
#[test]
fn deadlines_are_kept_while_every_worker_hangs() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let [other, lanes] = [(); 2].map(|()| one(unlimited(2), clock.clone()));
        the(&other).pause();
        let hung = [(); 2].map(|()| {
            let never = submit(&other, WRITE, &options(), || ());
            submit(&lanes, WRITE, &options(), move || never.wait().unwrap())
        });
        until(|| status(&lanes).in_flight == 2);
        // Not only the first deadline.
        for _ in 0..3 {
            let work = || panic!("sent after its deadline");
            let mut late = submit(&lanes, WRITE, &options().deadline(SECOND), work);
            let reason = answer(&mut late).unwrap_err().kind;
            assert_eq!(reason, LaneErrorKind::DeadlinePassed { waited: SECOND });
        }
        the(&other).resume();
        hung.into_iter().for_each(|hung| hung.wait().unwrap());
    });
}

/// All workers sleep before: one that is just starting would find the deadlines anyway.
#[cfg(target_os = "linux")]
#[test]
fn a_leader_that_executes_a_call_finds_another_to_keep_the_deadlines() {
    within_reason(|| {
        let mut lane = Stepped::new(&[unlimited(1)], &[]);
        lane.lane(0).pause();
        let mut first = lane.submit(WRITE, &options(), Course::answered_after(2 * SECOND));
        let mut late = lane.submit(WRITE, &options().deadline(SECOND), Course::INSTANT);
        lane.lane(0).resume();
        lane.run_until_idle();
        assert_eq!((lane.sent.len(), lane.lane(0).queued()), (1, 1));
        lane.move_to(lane.now() + 1_000_000_000);
        let Some(Err(Failure::Lane(error))) = late.try_wait() else {
            panic!("no worker saw it pass")
        };
        assert_eq!(error.kind, LaneErrorKind::DeadlinePassed { waited: SECOND });
        assert_eq!(lane.run_until_answered(&mut first), Some(Ok(0)));
    });
}

/// Advances time while a call is being submitted.
struct Meanwhile(ManualClock, Duration);

impl Observer for Meanwhile {
    fn submitted(&self, _: &CallInfo<'_>) {
        self.0.advance(self.1);
    }
}

#[test]
fn a_call_whose_deadline_passes_on_its_way_in_is_not_sent() {
    within_reason(|| {
        for passes in [SECOND, 2 * SECOND] {
            let clock = ManualClock::new();
            let meanwhile = Arc::new(Meanwhile(clock.clone(), passes));
            let lanes = observed(unlimited(1), clock, Some(meanwhile));
            let mut late = submit(&lanes, WRITE, &options().deadline(SECOND), || 7);
            let reason = answer(&mut late).unwrap_err().kind;
            assert_eq!(reason, LaneErrorKind::DeadlinePassed { waited: passes });
            // A call that is in time goes.
            let call = submit(&lanes, WRITE, &options().deadline(passes + ms(1)), || 8);
            assert_eq!(call.wait(), Ok(8));
        }
    });
}

#[test]
fn a_deadline_that_passes_together_with_the_wait_for_a_slot_comes_first() {
    within_reason(|| {
        for _ in 0..100 {
            let clock = ManualClock::new();
            let lanes = one(LaneConfig::new(Quota::per_second(1)).in_flight(2), clock.clone());
            submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
            let work = || panic!("sent after its deadline");
            let mut late = submit(&lanes, WRITE, &options().deadline(ms(1_500)), work);
            clock.advance(10 * SECOND);
            assert!(answer(&mut late).is_err());
        }
    });
}

#[test]
fn callers_that_block_for_a_slot_are_answered_by_a_drain() {
    within_reason(|| {
        for _ in 0..300 {
            let config = unlimited(1).queue(1).when_full(OverflowPolicy::Block);
            let lanes = one(config, Clock::system());
            let answered = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..50 {
                            let answer = submit(&lanes, WRITE, &options(), || ()).wait();
                            let shut = |error: &LaneError| {
                                matches!(error.kind, LaneErrorKind::Closed | LaneErrorKind::CutOff)
                            };
                            assert!(answer.is_ok() || answer.as_ref().is_err_and(shut));
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                until(|| answered.load(Ordering::SeqCst) > 4);
                lanes.shutdown(Shutdown::Drain(ms(2)));
            });
            assert_eq!(answered.into_inner(), 200);
        }
    });
}

#[test]
fn a_caller_that_blocks_for_a_slot_keeps_its_deadline() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(unlimited(1).queue(1).when_full(OverflowPolicy::Block), clock.clone());
        let held = hold(&lanes, WRITE);
        let waits = submit(&lanes, WRITE, &options(), || 7);
        thread::scope(|scope| {
            let blocked =
                scope.spawn(|| submit(&lanes, WRITE, &options().deadline(SECOND), || 8).wait());
            until(|| {
                clock.advance(ms(100));
                blocked.is_finished()
            });
            assert_eq!(blocked.join().unwrap().unwrap_err().was_sent(), Sent::No);
        });
        held.let_go().wait().unwrap();
        assert_eq!(waits.wait(), Ok(7));
    });
}

#[test]
fn calls_that_were_cancelled_take_no_slot() {
    within_reason(|| {
        let lanes = one(unlimited(1).queue(2), Clock::system());
        let held = hold(&lanes, WRITE);
        for _ in 0..100 {
            drop(submit(&lanes, READ, &options(), || ()));
        }
        assert_eq!(the(&lanes).queued(), 0);
        let next = submit(&lanes, WRITE, &options(), || 7);
        held.let_go().wait().unwrap();
        assert_eq!(next.wait(), Ok(7));
    });
}

#[test]
fn the_answer_of_a_write_whose_ticket_was_dropped_in_flight_is_late() {
    #[derive(Default)]
    struct Late(AtomicUsize);
    impl Observer for Late {
        fn late_result(&self, _: &CallInfo<'_>, _: &dyn std::any::Any) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    within_reason(|| {
        let late = Arc::new(Late::default());
        let lanes = observed(unlimited(1), Clock::system(), Some(late.clone()));
        let held = hold(&lanes, WRITE);
        // Dropping the held call lets it finish.
        drop(held);
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        // The observer is notified by a worker that holds up no other call meanwhile, and a drain waits for it.
        lanes.shutdown(Shutdown::Drain(Duration::MAX));
        assert_eq!(late.0.load(Ordering::SeqCst), 1);
    });
}

/// A waker that panics, which affects no other code.
struct Bad;

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

fn poll_badly<R>(ticket: &mut Ticket<R, LaneError>) {
    let waker = Waker::from(Arc::new(Bad));
    let poll = Pin::new(ticket).poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
}

#[test]
fn a_waker_that_panics_at_a_shutdown_leaves_no_caller_unanswered() {
    within_reason(|| {
        let lanes = one(unlimited(1), Clock::system());
        the(&lanes).pause();
        let mut bad = submit(&lanes, WRITE, &options(), || ());
        let good = submit(&lanes, WRITE, &options(), || ());
        poll_badly(&mut bad);
        let shut = catch_unwind(AssertUnwindSafe(|| lanes.shutdown(Shutdown::Now)));
        assert_eq!(shut.unwrap().rejected, 2);
        assert_eq!(good.wait().unwrap_err().kind, LaneErrorKind::Closed);
        assert_eq!(bad.wait().unwrap_err().kind, LaneErrorKind::Closed);
    });
}

#[test]
fn a_waker_that_panics_at_a_deadline_costs_no_worker_and_no_call() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(LaneConfig::new(Quota::per_second(1)).in_flight(1), clock.clone());
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        // One poll finds that a deadline has passed, and selects this call.
        let good = submit(&lanes, CallSpec { priority: 2, ..WRITE }, &options(), || 7);
        let mut bad = submit(&lanes, WRITE, &options().deadline(5 * SECOND), || 0);
        poll_badly(&mut bad);
        clock.advance(10 * SECOND);
        assert_eq!(good.wait(), Ok(7));
        assert!(answer(&mut bad).is_err());
    });
}

#[test]
fn a_call_that_a_new_quota_has_no_room_for_is_refused_and_holds_up_no_other() {
    within_reason(|| {
        let lanes = one(LaneConfig::new(Quota::per_second(5)), ManualClock::auto_advancing());
        the(&lanes).pause();
        let heavy = submit(&lanes, CallSpec { weight: 5, ..WRITE }, &options(), || 5);
        let light = submit(&lanes, WRITE, &options(), || 1);
        the(&lanes).set_quota(&Quota::per_second(2)).unwrap();
        the(&lanes).resume();
        assert_eq!(heavy.wait().unwrap_err().kind, LaneErrorKind::TooHeavy);
        assert_eq!(light.wait(), Ok(1));
    });
}

#[test]
fn light_calls_do_not_starve_a_heavy_urgent_one() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = one(LaneConfig::new(Quota::per_second(2)).in_flight(1), clock.clone());
        // The two slots of a second become free at different times from here on.
        let takes = |time| {
            let clock = clock.clone();
            move || clock.advance(time)
        };
        submit(&lanes, WRITE, &options(), takes(ms(500))).wait().unwrap();
        the(&lanes).pause();
        let gone = Arc::new(AtomicUsize::new(0));
        let low = CallSpec { priority: 10, ..WRITE };
        for _ in 0..100 {
            let gone = Arc::clone(&gone);
            drop(submit(&lanes, low, &options(), move || gone.fetch_add(1, Ordering::SeqCst)));
        }
        let urgent = CallSpec { priority: 1, weight: 2, ..WRITE };
        let before = Arc::clone(&gone);
        let heavy = submit(&lanes, urgent, &options(), move || before.load(Ordering::SeqCst));
        the(&lanes).resume();
        assert_eq!(heavy.wait(), Ok(0));
    });
}

#[test]
fn of_two_users_the_first_to_come_is_ahead() {
    let lanes = one(unlimited(1), Clock::system());
    the(&lanes).pause();
    let a = submit(&lanes, WRITE, &options().user("a"), || ());
    let b = submit(&lanes, WRITE, &options().user("b"), || ());
    assert_eq!((a.position(), b.position()), (Some(0), Some(1)));
}

#[test]
fn the_longest_wait_times_the_largest_multiple_is_no_overflow() {
    within_reason(|| {
        let century = Quota::new(1, 99 * 365 * 86_400 * SECOND);
        let config = LaneConfig::new(century).aging(Some(u32::MAX));
        let lanes = one(config, ManualClock::auto_advancing());
        the(&lanes).pause();
        let calls: Vec<_> =
            (0..4).map(|number| submit(&lanes, WRITE, &options(), move || number)).collect();
        the(&lanes).resume();
        let answers: Vec<_> = calls.into_iter().map(|call| call.wait().unwrap()).collect();
        assert_eq!(answers, [0, 1, 2, 3]);
    });
}

/// Reads the status of its lanes as it is dropped, which must not happen with a lock held.
struct ReadsStatus(Arc<Lanes>, Arc<AtomicUsize>);

impl Drop for ReadsStatus {
    fn drop(&mut self) {
        let _ = (self.0.status(), the(&self.0).queued());
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn what_a_call_holds_is_dropped_with_no_lock_held_however_it_ends() {
    within_reason(|| {
        let clock = ManualClock::new();
        let config = LaneConfig::new(Quota::per_second(1)).in_flight(1).queue(4);
        let lanes = Arc::new(one(config.when_full(OverflowPolicy::Shed), clock.clone()));
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let send = |call, options: &_| {
            let reads_status = ReadsStatus(Arc::clone(&lanes), Arc::clone(&dropped));
            submit(&lanes, call, options, move || reads_status)
        };
        let is = |number| until(|| dropped.load(Ordering::SeqCst) == number);
        // Cancelled, expired, shed, answered late, and refused at the end.
        assert!(send(WRITE, &options()).cancel());
        is(1);
        let expired = send(WRITE, &options().deadline(ms(1_500)));
        let urgent: Vec<_> = (0..2)
            .map(|_| submit(&lanes, CallSpec { priority: 1, ..WRITE }, &options(), || ()))
            .collect();
        clock.advance(ms(1_500));
        assert!(expired.wait().is_err());
        is(2);
        urgent.into_iter().for_each(|urgent| {
            clock.advance(SECOND);
            urgent.wait().unwrap();
        });
        the(&lanes).pause();
        let waiting: Vec<_> = (0..4).map(|_| send(WRITE, &options())).collect();
        let shedder = send(CallSpec { priority: 2, ..WRITE }, &options());
        is(3);
        drop(waiting);
        the(&lanes).resume();
        clock.advance(SECOND);
        shedder.wait().map(drop).unwrap();
        is(4);
        clock.advance(SECOND);
        is(5);
        lanes.shutdown(Shutdown::Now);
        is(7);
    });
}

#[test]
fn light_calls_ahead_are_not_taken_for_as_heavy_as_the_call_that_asks() {
    let lanes = one(LaneConfig::new(Quota::per_second(10)).in_flight(1), ManualClock::new());
    the(&lanes).pause();
    let _ahead: Vec<_> = (0..10).map(|_| submit(&lanes, WRITE, &options(), || ())).collect();
    // Ten slots for the calls ahead, and the ten of the next second for this one.
    let heavy = CallSpec { weight: 10, ..WRITE };
    let mut ticket = submit(&lanes, heavy, &options().deadline(3 * SECOND), || ());
    assert_eq!(ticket.try_wait(), None);
}

/// Records how many calls wait as it is woken.
struct Counts(Lanes, AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.1.store(the(&self.0).queued(), Ordering::SeqCst);
    }
}

/// A caller that is notified may call at once, and must find the slot free.
#[test]
fn a_call_that_expires_has_given_back_its_slot_when_its_caller_is_notified() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(unlimited(1).queue(1), clock.clone());
        the(&lanes).pause();
        let mut ticket = submit(&lanes, WRITE, &options().deadline(SECOND), || ());
        let counts = Arc::new(Counts(lanes.clone(), AtomicUsize::new(usize::MAX)));
        let waker = Waker::from(Arc::clone(&counts));
        assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
        clock.advance(SECOND);
        until(|| counts.1.load(Ordering::SeqCst) != usize::MAX);
        assert_eq!(counts.1.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_caller_with_its_answer_is_not_waited_for_by_the_next() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(unlimited(2), clock.clone());
        for _ in 0..2_000 {
            let (go, gone) = mpsc::channel::<()>();
            let moves = clock.clone();
            let mut first = submit(&lanes, WRITE, &options(), move || {
                // So that the lane knows that a call takes a second.
                moves.advance(SECOND);
                let _ = gone.recv();
            });
            until(|| status(&lanes).in_flight == 1);
            let held = hold(&lanes, WRITE);
            drop(go);
            answer(&mut first).unwrap();
            // One of the two workers is free, though the other call still runs.
            let next = submit(&lanes, WRITE, &options().deadline(ms(500)), || ());
            next.wait().unwrap();
            clock.advance(SECOND);
            held.let_go().wait().unwrap();
            until(|| status(&lanes).in_flight == 0);
        }
    });
}
