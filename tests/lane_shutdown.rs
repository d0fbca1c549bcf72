//! The end of a lane, in every way that it can end: every caller is answered, and no thread is left.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallInfo, LaneConfig, LaneError, LaneErrorKind, LaneState, Observer, OverflowPolicy, Shutdown,
    ShutdownSummary, Ticket,
};
use lanekeeper::proxy::{CallSpec, Lanes};
use lanekeeper::quota::Quota;
use support::lanes::{
    READ, SECOND, WRITE, answer, hold, ms, observed, one, options, priority, status, submit, the,
    unlimited, until, within_reason,
};
#[cfg(target_os = "linux")]
use support::stepped::{Course, Stepped};

#[test]
fn a_drain_sends_what_it_can_within_its_limit_and_refuses_the_rest() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(LaneConfig::new(Quota::per_second(1)).in_flight(1), clock.clone());
        let calls: Vec<_> = (0..20).map(|n| submit(&lanes, WRITE, &options(), move || n)).collect();
        // Answered too: a slot is free a second after that.
        let left = |calls| {
            until(|| {
                let seen = status(&lanes);
                (seen.queued, seen.in_flight) == (calls, 0)
            });
        };
        left(19);
        let drained = thread::scope(|scope| {
            let drain = scope.spawn(|| lanes.shutdown(Shutdown::Drain(ms(3_500))));
            until(|| status(&lanes).state == LaneState::Draining);
            for sent in 1..=3 {
                clock.advance(SECOND);
                left(19 - sent);
            }
            // Nothing resumes it.
            the(&lanes).pause();
            the(&lanes).resume();
            let late = submit(&lanes, WRITE, &options(), || 0).wait().unwrap_err();
            assert_eq!(late.kind, LaneErrorKind::Closed);
            assert!(!drain.is_finished());
            // Its limit ends 500 ms from here, or after 3.5 s if it was slow to begin.
            until(|| {
                clock.advance(Duration::from_micros(10));
                drain.is_finished()
            });
            drain.join().unwrap()
        });
        assert!((1..=16).contains(&drained.rejected), "{drained:?}");
        assert_eq!(drained.in_flight, 0);
        let sent = 20 - drained.rejected;
        for (number, call) in calls.into_iter().enumerate() {
            let answer = call.wait().map_err(|error| error.kind);
            assert_eq!(answer, if number < sent { Ok(number) } else { Err(LaneErrorKind::Closed) });
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_drain_waits_for_calls_in_flight() {
    within_reason(|| {
        let mut lanes = Stepped::new(&[unlimited(2)], &[]);
        let held = lanes.submit(WRITE, &options(), Course::answered_after(SECOND));
        let drain = lanes.beside(|lanes| lanes.shutdown(Shutdown::Drain(Duration::MAX)));
        assert_eq!(lanes.lane(0).status().state, LaneState::Draining);
        assert!(!drain.is_finished());
        lanes.move_to(lanes.now() + 1_000_000_000);
        assert_eq!(held.wait(), Ok(0));
        assert_eq!(drain.join().unwrap().in_flight, 0);
    });
}

#[test]
fn a_drain_sends_nothing_that_a_pause_holds() {
    within_reason(|| {
        let lanes = one(unlimited(1), Clock::system());
        the(&lanes).pause();
        let calls: Vec<_> = (0..5).map(|n| submit(&lanes, WRITE, &options(), move || n)).collect();
        assert_eq!(lanes.shutdown(Shutdown::Drain(Duration::MAX)).rejected, 5);
        assert!(
            calls.into_iter().all(|call| call.wait().unwrap_err().kind == LaneErrorKind::Closed)
        );
        the(&lanes).resume();
        assert_eq!(status(&lanes).state, LaneState::Closed);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_caller_that_blocks_for_a_slot_is_refused_as_soon_as_a_drain_begins() {
    within_reason(|| {
        let config = unlimited(1).queue(1).when_full(OverflowPolicy::Block);
        let mut lanes = Stepped::new(&[config], &[]);
        let held = lanes.submit(WRITE, &options(), Course::answered_after(SECOND));
        let waits = lanes.submit(WRITE, &options(), Course::INSTANT);
        let blocked = lanes.beside(|lanes| submit(lanes, WRITE, &options(), || ()).wait());
        assert!(!blocked.is_finished());
        let drain = lanes.beside(|lanes| lanes.shutdown(Shutdown::Drain(Duration::MAX)));
        // No queue slot has come free yet.
        assert_eq!(blocked.join().unwrap().unwrap_err().kind, LaneErrorKind::Closed);
        lanes.move_to(lanes.now() + 1_000_000_000);
        assert_eq!(drain.join().unwrap().rejected, 0);
        assert_eq!((held.wait(), waits.wait()), (Ok(0), Ok(1)));
    });
}

#[test]
fn a_shutdown_now_leaves_calls_in_flight_to_their_end() {
    within_reason(|| {
        let lanes = one(unlimited(2), Clock::system());
        let held = hold(&lanes, WRITE);
        let drained = lanes.shutdown(Shutdown::Now);
        assert_eq!((drained.rejected, drained.in_flight), (0, 1));
        assert_eq!(held.let_go().wait(), Ok(()));
    });
}

#[test]
fn a_shutdown_while_thirty_two_threads_submit_answers_them_all() {
    within_reason(|| {
        let ways = [Shutdown::Now, Shutdown::Drain(Duration::ZERO), Shutdown::Drain(SECOND)];
        let full = [OverflowPolicy::Refuse, OverflowPolicy::Block, OverflowPolicy::Shed];
        for round in 0..30 {
            let config = unlimited(3).queue(8).when_full(full[round % 3]);
            let lanes = one(config, Clock::system());
            let (runs, done) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
            let cut_off = AtomicUsize::new(0);
            thread::scope(|scope| {
                for caller in 0..32 {
                    let (lanes, runs, done, cut_off) = (&lanes, &runs, &done, &cut_off);
                    scope.spawn(move || {
                        loop {
                            let runs = Arc::clone(runs);
                            let call = if caller % 2 == 0 { READ } else { WRITE };
                            let work = move || runs.fetch_add(1, Ordering::SeqCst);
                            match submit(lanes, call, &options(), work).wait() {
                                Ok(_) => drop(done.fetch_add(1, Ordering::SeqCst)),
                                Err(error) if error.kind == LaneErrorKind::Closed => break,
                                Err(error) if error.kind == LaneErrorKind::CutOff => {
                                    cut_off.fetch_add(1, Ordering::SeqCst);
                                    break;
                                }
                                Err(error) => assert_eq!(error.was_sent(), Sent::No),
                            }
                        }
                    });
                }
                until(|| done.load(Ordering::SeqCst) > 50);
                lanes.shutdown(ways[round / 3 % 3]);
            });
            // A worker may be about to give back the slot of a call that was cut off.
            until(|| the(&lanes).queued() == 0);
            drop(lanes);
            // Every call that ran was answered, or cut off, and no call ran that was reported otherwise.
            let answered = done.into_inner();
            let ran = runs.load(Ordering::SeqCst);
            assert!((answered..=answered + cut_off.into_inner()).contains(&ran));
        }
    });
}

#[test]
fn a_call_may_shut_its_own_lane() {
    within_reason(|| {
        for how in [Shutdown::Now, Shutdown::Drain(ms(5))] {
            let lanes = Arc::new(one(unlimited(1), Clock::system()));
            the(&lanes).pause();
            let own = Arc::clone(&lanes);
            let shuts = submit(&lanes, WRITE, &options(), move || own.shutdown(how));
            let waits = submit(&lanes, WRITE, &options(), || ());
            the(&lanes).resume();
            let drained = shuts.wait().unwrap();
            // It is in flight itself, and the only worker runs it.
            assert_eq!((drained.rejected, drained.in_flight), (1, 1));
            assert_eq!(waits.wait().unwrap_err().kind, LaneErrorKind::Closed);
        }
    });
}

/// Held by every thread of a lane: dropped when the last of them is gone.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new() -> (Arc<Self>, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(1));
        (Arc::new(Self(Arc::clone(&count))), count)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Observer for Alive {}

#[test]
fn the_last_handle_takes_the_threads_with_it() {
    within_reason(|| {
        for round in 0..50 {
            let (alive, count) = Alive::new();
            let lanes = observed(unlimited(4), Clock::system(), Some(alive));
            let clone = lanes.clone();
            let calls: Vec<_> =
                (0..round % 7).map(|n| submit(&lanes, WRITE, &options(), move || n)).collect();
            drop(lanes);
            assert_eq!(count.load(Ordering::SeqCst), 1, "a handle is left");
            drop(clone);
            // Tickets keep the lane's memory, but no thread.
            calls.into_iter().for_each(|call| drop(call.wait()));
            assert_eq!(count.load(Ordering::SeqCst), 0);
        }
    });
}

#[test]
fn the_last_handle_may_be_dropped_by_a_call() {
    within_reason(|| {
        for _ in 0..50 {
            let (alive, count) = Alive::new();
            let lanes = observed(unlimited(1), Clock::system(), Some(alive));
            let (give, given) = mpsc::channel();
            let call = submit(&lanes, WRITE, &options(), move || {
                drop(given.recv().unwrap());
                7
            });
            let behind = [(); 5].map(|()| submit(&lanes, WRITE, &options(), || ()));
            give.send(lanes).unwrap();
            assert_eq!(call.wait(), Ok(7));
            for call in behind {
                assert_eq!(call.wait().unwrap_err().kind, LaneErrorKind::Closed);
            }
            until(|| count.load(Ordering::SeqCst) == 0);
        }
    });
}

#[test]
fn the_last_handle_is_dropped_while_calls_hang_in_the_queue() {
    within_reason(|| {
        let (alive, count) = Alive::new();
        let config = LaneConfig::new(Quota::per_hour(1));
        let lanes = observed(config, Clock::system(), Some(alive));
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        let waiting: Vec<_> = (0..5).map(|_| submit(&lanes, WRITE, &options(), || ())).collect();
        drop(lanes);
        for call in waiting {
            assert_eq!(call.wait().unwrap_err().kind, LaneErrorKind::Closed);
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_of_a_lane_that_is_gone_is_left_in_the_system() {
    use lanekeeper::proxy::LanesBuilder;
    use lanekeeper::quota::Limits;

    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("lane-gone-")).count()
    };
    let mut builder = LanesBuilder::new("Test", &["gone"], &[]);
    builder.lane(0, unlimited(5).urgent_workers(2));
    let lanes = builder.build(Limits::new()).unwrap();
    // One more than the calls in flight, and those for urgent calls. Each sets its name as it begins.
    until(|| threads() == 8);
    drop(lanes);
    // Joined threads may be in the list for a moment yet.
    until(|| threads() == 0);
}

#[test]
fn pauses_and_resumes_from_everywhere_lose_no_call() {
    within_reason(|| {
        let lanes = one(unlimited(2), Clock::system());
        thread::scope(|scope| {
            let togglers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..2_000 {
                            the(&lanes).pause();
                            the(&lanes).resume();
                        }
                    })
                })
                .collect();
            for caller in 0..8 {
                let lanes = &lanes;
                scope.spawn(move || {
                    for number in 0..200 {
                        let answer = submit(lanes, WRITE, &options(), move || (caller, number));
                        assert_eq!(answer.wait(), Ok((caller, number)));
                    }
                });
            }
            togglers.into_iter().for_each(|toggler| toggler.join().unwrap());
            the(&lanes).resume();
        });
        assert_eq!(status(&lanes).state, LaneState::Running);
    });
}

/// The action when a call expires, by the method of the call.
struct OnExpiry<F>(F);

impl<F: Fn(&'static str) + Send + Sync> Observer for OnExpiry<F> {
    fn expired(&self, call: &CallInfo<'_>) {
        (self.0)(call.method);
    }
}

/// A call of this name, with a deadline.
fn soon(lanes: &Lanes, method: &'static str, deadline: Duration) -> Ticket<(), LaneError> {
    submit(lanes, CallSpec { method, ..WRITE }, &options().deadline(deadline), || ())
}

/// Returns a lane of one call at a time, and an observer that drains it when `x` expires and sends the summary.
fn drained_by_its_observer(
    clock: &ManualClock,
    at_others: impl Fn(&'static str) + Send + Sync + 'static,
) -> (Lanes, mpsc::Receiver<ShutdownSummary>) {
    let (summary_tx, summary_rx) = mpsc::channel();
    let mine: Arc<OnceLock<Lanes>> = Arc::default();
    let its = Arc::clone(&mine);
    let drains = OnExpiry(move |method| match (method, its.get()) {
        ("x", Some(lanes)) => {
            summary_tx.send(the(lanes).shutdown(Shutdown::Drain(SECOND))).unwrap()
        }
        _ => at_others(method),
    });
    // A third worker, for urgent calls, could take `x` away from the call that is to be in flight.
    let config = unlimited(1).urgent_workers(0);
    let lanes = observed(config, clock.clone(), Some(Arc::new(drains)));
    let _ = mine.set(lanes.clone());
    (lanes, summary_rx)
}

#[test]
fn a_drain_by_the_observer_of_one_call_does_not_wait_for_others_that_are_answered() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (lanes, summary_rx) = drained_by_its_observer(&clock, |_| ());
        let held = hold(&lanes, READ);
        let both = [soon(&lanes, "x", SECOND), soon(&lanes, "y", SECOND)];
        until(|| the(&lanes).queued() == 2);
        // One poll finds that both have expired, and the clock does not advance again.
        clock.advance(SECOND);
        held.let_go().wait().unwrap();
        assert_eq!(summary_rx.recv().unwrap(), ShutdownSummary::default());
        for call in both {
            let reason = call.wait().unwrap_err().kind;
            assert!(matches!(reason, LaneErrorKind::DeadlinePassed { .. }));
        }
    });
}

#[test]
fn a_drain_by_the_observer_of_one_call_does_not_wait_for_those_of_another_poll() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (is_held, holds) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let (lanes, summary_rx) = drained_by_its_observer(&clock, move |method| {
            if method == "holds" {
                is_held.send(()).unwrap();
                let _ = gone.lock().unwrap().recv();
            }
        });
        // One worker runs a call, and the other reports one that expired, for long.
        let first = hold(&lanes, WRITE);
        let holding = soon(&lanes, "holds", SECOND);
        let (begun, began) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let second = submit(&lanes, WRITE, &priority(1), move || {
            begun.send(()).unwrap();
            let _ = ends.recv();
        });
        let both = [soon(&lanes, "x", 2 * SECOND), soon(&lanes, "y", 3 * SECOND)];
        clock.advance(SECOND);
        holds.recv().unwrap();
        // The poll that selects a call also finds `x` expired, and the next poll finds `y`.
        clock.advance(SECOND);
        first.let_go().wait().unwrap();
        began.recv().unwrap();
        clock.advance(SECOND);
        drop(end);
        second.wait().unwrap();
        for mut call in both {
            let reason = answer(&mut call).unwrap_err().kind;
            assert!(matches!(reason, LaneErrorKind::DeadlinePassed { .. }));
        }
        drop(go);
        // It waits for the worker that still reports, and for nothing else.
        assert_eq!(summary_rx.recv().unwrap(), ShutdownSummary::default());
        assert!(holding.wait().is_err());
    });
}

#[test]
fn a_drain_by_the_observer_of_one_call_waits_for_another_that_is_in_flight() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (lanes, summary_rx) = drained_by_its_observer(&clock, |_| ());
        let held = hold(&lanes, WRITE);
        let mut late = soon(&lanes, "x", SECOND);
        until(|| the(&lanes).queued() == 1);
        clock.advance(SECOND);
        assert!(answer(&mut late).is_err());
        until(|| status(&lanes).state == LaneState::Draining);
        held.let_go().wait().unwrap();
        assert_eq!(summary_rx.recv().unwrap(), ShutdownSummary::default());
    });
}

#[test]
fn a_drain_ends_when_the_observer_was_notified_of_all() {
    within_reason(|| {
        let clock = ManualClock::new();
        let notified = Arc::new(AtomicUsize::new(0));
        let (notifying_tx, notifying_rx) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let observer = {
            let notified = Arc::clone(&notified);
            OnExpiry(move |_| {
                notifying_tx.send(()).unwrap();
                let _ = gone.lock().unwrap().recv();
                notified.fetch_add(1, Ordering::SeqCst);
            })
        };
        let lanes = observed(unlimited(1), clock.clone(), Some(Arc::new(observer)));
        let held = hold(&lanes, WRITE);
        let late = soon(&lanes, "late", SECOND);
        until(|| the(&lanes).queued() == 1);
        clock.advance(SECOND);
        notifying_rx.recv().unwrap();
        held.let_go().wait().unwrap();
        thread::scope(|scope| {
            let drain = scope.spawn(|| lanes.shutdown(Shutdown::Drain(SECOND)));
            until(|| status(&lanes).state == LaneState::Draining);
            // All are answered, and one is still being reported.
            assert!(!drain.is_finished());
            drop(go);
            assert_eq!(drain.join().unwrap(), ShutdownSummary::default());
            assert_eq!(notified.load(Ordering::SeqCst), 1);
        });
        assert!(late.wait().is_err());
    });
}
