//! Model checks the states of a call, in every interleaving.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p lanekeeper --no-default-features --test loom_call_state --target-dir target/loom
//! ```
#![cfg(loom)]
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]

#[path = "../src/panic.rs"]
mod panic;
#[path = "../src/lane/call/state.rs"]
mod state;
#[path = "../src/lane/sync.rs"]
mod sync;

// The neighbours that `state.rs` expects.
mod lane {
    pub(crate) use crate::sync;
}
mod clock {
    pub(crate) use lanekeeper::clock::Clock;
    /// A stand-in: the model has no auto-advancing clock.
    pub(crate) struct IdleGuard;
}
mod quota {
    pub(crate) use lanekeeper::quota::Moment;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use loom::thread;
use state::{Abandoned, CallState, WaitLimit};

const WORK: u8 = 1;
const DONE: &str = "done";
const CLOSED: &str = "closed";
const CUT_OFF: &str = "cut off";
const CANCELLED: &str = "cancelled";

type Call = Arc<CallState<u8, &'static str>>;

/// Counts what the lane did with a call. Not loom's atomics: they are read only after all threads are joined.
#[derive(Default)]
struct Counters {
    sent: AtomicUsize,
    late: AtomicUsize,
    refused: AtomicUsize,
}

fn worker(call: &Call, counters: &Counters) {
    // A dispatched call begins, unless its caller detached in between.
    if call.dispatch() && call.take_work().is_some() {
        counters.sent.fetch_add(1, SeqCst);
        match call.complete(DONE) {
            Ok(waker) => drop(waker.map(std::task::Waker::wake)),
            Err(_) => drop(counters.late.fetch_add(1, SeqCst)),
        }
    }
}

fn shutdown(call: &Call, counters: &Counters) {
    if call.reject(|_| CLOSED).is_some() {
        counters.refused.fetch_add(1, SeqCst);
    }
}

/// Runs `does` in a thread of its own.
fn beside(
    call: &Call,
    counters: &Arc<Counters>,
    does: impl FnOnce(&Call, &Counters) + 'static,
) -> thread::JoinHandle<()> {
    let (call, counters) = (Arc::clone(call), Arc::clone(counters));
    thread::spawn(move || does(&call, &counters))
}

fn model(check: impl Fn(Call, Arc<Counters>) + Sync + Send + 'static) {
    loom::model(move || check(Arc::new(CallState::new(WORK)), Arc::default()));
}

/// What a caller that abandoned its call found is what the lane did.
fn assert_told_once(found: Abandoned<&'static str>, counters: &Counters) {
    let counts = (counters.sent.load(SeqCst), counters.late.load(SeqCst));
    match found {
        Abandoned::NeverSent => assert_eq!(counts, (0, 0)),
        // The answer comes, and is reported as late exactly once.
        Abandoned::InFlight => assert_eq!(counts, (1, 1)),
        Abandoned::Completed(answer) => assert_eq!((answer, counts), (DONE, (1, 0))),
        Abandoned::Closed => panic!("no other thread takes the answer"),
    }
}

#[test]
fn a_call_that_was_abandoned_unsent_is_never_sent_and_no_answer_is_lost() {
    model(|call, counters| {
        let lane = beside(&call, &counters, worker);
        let found = call.abandon().0;
        lane.join().unwrap();
        assert_told_once(found, &counters);
    });
}

#[test]
fn a_waiter_gets_exactly_one_answer_whichever_side_wins() {
    model(|call, counters| {
        let lane = beside(&call, &counters, worker);
        let closing = beside(&call, &counters, shutdown);
        let answer = call.wait(WaitLimit::Unlimited, || None);
        lane.join().unwrap();
        closing.join().unwrap();
        let counts =
            (counters.sent.load(SeqCst), counters.refused.load(SeqCst), counters.late.load(SeqCst));
        match answer {
            Some(DONE) => assert_eq!(counts, (1, 0, 0)),
            Some(CLOSED) => assert_eq!(counts, (0, 1, 0)),
            other => panic!("{other:?}"),
        }
        assert_eq!(call.take_answer(), None, "it was handed out once");
    });
}

#[test]
fn cancel_shutdown_and_dispatch_have_one_winner() {
    model(|call, counters| {
        let lane = beside(&call, &counters, worker);
        let closing = beside(&call, &counters, shutdown);
        let cancelled = usize::from(call.reject(|_| CANCELLED).is_some());
        lane.join().unwrap();
        closing.join().unwrap();
        let (sent, refused) = (counters.sent.load(SeqCst), counters.refused.load(SeqCst));
        assert_eq!(sent + refused + cancelled, 1);
        let answer = match (sent, refused) {
            (1, 0) => Some(DONE),
            (0, 1) => Some(CLOSED),
            _ => Some(CANCELLED),
        };
        assert_eq!(call.take_answer(), answer);
    });
}

/// A lane that is closed without waiting for the call: the caller gets exactly one answer, and the broker's answer
/// is late. Work that has not begun never begins.
#[test]
fn a_call_that_is_cut_off_is_answered_once_and_its_own_answer_is_late() {
    model(|call, counters| {
        let lane = beside(&call, &counters, |call, counters| {
            if call.dispatch() && call.take_work().is_some() {
                counters.sent.fetch_add(1, SeqCst);
                if call.complete(DONE).is_err() {
                    counters.late.fetch_add(1, SeqCst);
                }
            }
        });
        let unbegun = Arc::new(AtomicUsize::new(0));
        let its = Arc::clone(&unbegun);
        let closing = beside(&call, &counters, move |call, counters| {
            if call.reject(|_| CLOSED).is_some() {
                counters.refused.fetch_add(1, SeqCst);
            } else if let Some(work) = call.cut_off(|_| CUT_OFF) {
                its.fetch_add(usize::from(work.is_some()), SeqCst);
            }
        });
        let answer = call.wait(WaitLimit::Unlimited, || None);
        lane.join().unwrap();
        closing.join().unwrap();
        let counts =
            (counters.sent.load(SeqCst), counters.refused.load(SeqCst), counters.late.load(SeqCst));
        match (answer, unbegun.load(SeqCst)) {
            (Some(DONE), 0) => assert_eq!(counts, (1, 0, 0)),
            (Some(CLOSED), 0) => assert_eq!(counts, (0, 1, 0)),
            (Some(CUT_OFF), 0) => assert_eq!(counts, (1, 0, 1)),
            (Some(CUT_OFF), 1) => assert_eq!(counts, (0, 0, 0)),
            other => panic!("{other:?}"),
        }
        assert_eq!(call.take_answer(), None, "it was handed out once");
    });
}

/// Two workers race for one call, and only one of them executes it.
#[test]
fn a_call_is_sent_once() {
    model(|call, counters| {
        let other = beside(&call, &counters, worker);
        worker(&call, &counters);
        other.join().unwrap();
        assert_eq!(counters.sent.load(SeqCst), 1);
        assert_eq!(call.take_answer(), Some(DONE));
    });
}

/// A caller detaches and the call goes on: its answer is late, or the call is rejected, exactly once.
#[test]
fn a_call_whose_caller_detached_goes_on_and_its_answer_is_late_once() {
    model(|call, counters| {
        let lane = beside(&call, &counters, worker);
        let closing = beside(&call, &counters, shutdown);
        let found = call.detach();
        lane.join().unwrap();
        closing.join().unwrap();
        let counts =
            (counters.sent.load(SeqCst), counters.refused.load(SeqCst), counters.late.load(SeqCst));
        match found {
            // The caller got the answer as it detached.
            Some(DONE) => assert_eq!(counts, (1, 0, 0)),
            Some(CLOSED) => assert_eq!(counts, (0, 1, 0)),
            Some(other) => panic!("{other}"),
            // The lane reports a late answer, or the call was never sent.
            None => assert!([(1, 0, 1), (0, 1, 0)].contains(&counts), "{counts:?}"),
        }
        assert_eq!(call.take_answer(), None);
    });
}

/// A task that is polled while the answer comes gets the answer, or is woken for it.
#[test]
fn a_polled_ticket_is_woken_or_has_the_answer() {
    struct Woken(AtomicUsize);
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    model(|call, counters| {
        let lane = beside(&call, &counters, worker);
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = std::task::Waker::from(Arc::clone(&woken));
        let first = call.poll(&waker);
        lane.join().unwrap();
        match first {
            std::task::Poll::Ready(answer) => assert_eq!(answer, Some(DONE)),
            std::task::Poll::Pending => {
                assert_eq!(woken.0.load(SeqCst), 1);
                assert_eq!(call.poll(&waker), std::task::Poll::Ready(Some(DONE)));
            }
        }
    });
}

/// A failed call waits for a retry while its caller abandons it, the lane is closed, or a worker sends it again.
/// Exactly one of them wins.
#[test]
fn a_call_that_is_retried_has_one_winner() {
    model(|call, counters| {
        assert!(call.dispatch() && call.take_work() == Some(WORK));
        let lane =
            beside(&call, &counters, |call, counters| match call.requeue(WORK, |work| work) {
                Ok(()) => worker(call, counters),
                // The caller has abandoned the call: this attempt was the last.
                Err(_) => drop(call.complete(DONE).map_err(|_| counters.late.fetch_add(1, SeqCst))),
            });
        let closing = beside(&call, &counters, shutdown);
        let found = call.abandon().0;
        lane.join().unwrap();
        closing.join().unwrap();
        let (sent, refused) = (counters.sent.load(SeqCst), counters.refused.load(SeqCst));
        let late = counters.late.load(SeqCst);
        match found {
            Abandoned::NeverSent => assert_eq!((sent, refused, late), (0, 0, 0)),
            // It was in flight: at its first attempt, or at the retry.
            Abandoned::InFlight => assert!(refused == 0 && late == 1, "{sent} {refused} {late}"),
            Abandoned::Completed(DONE) => assert_eq!((sent, refused, late), (1, 0, 0)),
            Abandoned::Completed(CLOSED) => assert_eq!((sent, refused, late), (0, 1, 0)),
            other => panic!("{other:?}"),
        }
    });
}

/// Puts a call that is retried on the list of queued calls, as `LaneCore::requeue` does.
fn requeue(call: &CallState<u8, &'static str>, list: &sync::Mutex<bool>) {
    if call.requeue(WORK, |work| work).is_ok() {
        let mut is_listed = list.lock();
        if call.is_queued() {
            *is_listed = true;
        }
    }
}

/// A call that is retried is queued before it is on the list. If it is cancelled in between, it leaves no stale
/// entry. If another worker sends it in between and it fails again, it is not lost.
#[test]
fn a_call_that_is_retried_is_on_the_list_exactly_while_it_is_queued() {
    loom::model(|| {
        let call: Call = Arc::new(CallState::new(WORK));
        let list = Arc::new(sync::Mutex::new(false));
        assert!(call.dispatch() && call.take_work() == Some(WORK));
        let beside = |does: fn(&CallState<u8, &'static str>, &sync::Mutex<bool>)| {
            let (call, list) = (Arc::clone(&call), Arc::clone(&list));
            thread::spawn(move || does(&call, &list))
        };
        let first = beside(requeue);
        let second = beside(|call, list| {
            let is_chosen = {
                let mut is_listed = list.lock();
                let is_chosen = *is_listed && call.dispatch();
                *is_listed &= !is_chosen;
                is_chosen
            };
            if is_chosen {
                assert_eq!(call.take_work(), Some(WORK));
                requeue(call, list);
            }
        });
        if call.reject(|_| CANCELLED).is_some() {
            *list.lock() = false;
        }
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(*list.lock(), call.is_queued());
    });
}

/// A call that was dispatched by a permit which is too old goes back, and is sent by the next one. A caller that abandons it
/// meanwhile is told whether it was sent.
#[test]
fn a_call_that_is_recalled_is_sent_once_or_never() {
    model(|call, counters| {
        let lane = beside(&call, &counters, |call, counters| {
            if call.dispatch() && call.recall() {
                worker(call, counters);
            }
        });
        let found = call.abandon().0;
        lane.join().unwrap();
        assert_told_once(found, &counters);
    });
}

/// The turn of a call that its task makes, as `core/offer.rs` keeps it.
struct Turns {
    /// Whether the turn is offered, and whether the call is parked.
    kept: sync::Mutex<(bool, bool)>,
    /// How many times slots were taken, and given back or used.
    taken: AtomicUsize,
    ended: AtomicUsize,
}

impl Turns {
    fn new() -> Self {
        let kept = sync::Mutex::new((false, false));
        Self { kept, taken: AtomicUsize::default(), ended: AtomicUsize::default() }
    }

    fn take_offer(&self) -> bool {
        std::mem::take(&mut self.kept.lock().0)
    }

    fn offer(&self, call: &Call) {
        if !call.dispatch() {
            return;
        }
        self.taken.fetch_add(1, SeqCst);
        self.kept.lock().0 = true;
        if !call.is_pending() && self.take_offer() {
            self.ended.fetch_add(1, SeqCst);
        }
        let _ = call.take_waker().map(std::task::Waker::wake);
    }

    /// The leader ends the offer.
    fn end_offer(&self, call: &Call) {
        if self.take_offer() {
            let is_recalled = call.recall();
            self.ended.fetch_add(1, SeqCst);
            if is_recalled {
                self.kept.lock().1 = true;
                let waker = call.take_waker();
                if !call.is_queued() {
                    self.kept.lock().1 = false;
                }
                let _ = waker.map(std::task::Waker::wake);
            }
        }
    }

    /// The task is polled with a turn.
    fn make(&self, call: &Call, counters: &Counters) {
        if self.take_offer() {
            if call.take_work().is_some() {
                counters.sent.fetch_add(1, SeqCst);
                let _ = call.complete(DONE);
            }
            self.ended.fetch_add(1, SeqCst);
        }
    }

    /// The future is dropped.
    fn leave(&self, call: &Call, counters: &Counters) {
        let take_back = || {
            self.kept.lock().1 = false;
            if self.take_offer() {
                call.recall();
                self.ended.fetch_add(1, SeqCst);
            }
        };
        let cancel = || {
            let is_cancelled = call.reject(|_| CANCELLED).is_some();
            counters.refused.fetch_add(usize::from(is_cancelled), SeqCst);
            is_cancelled
        };
        take_back();
        if !cancel() {
            call.recall();
            cancel();
        }
        take_back();
    }
}

/// Runs `leaving` beside a worker that offers the turn and a leader that ends the offer. All interleavings of three threads
/// with that many locks would take hours; those with at most five preemptions take seconds.
fn model_turns(leaving: impl Fn(&Turns, &Call, &Counters) + Copy + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(5));
    builder.check(move || {
        let (call, counters) = (Call::new(CallState::new(WORK)), Arc::<Counters>::default());
        let turns = Arc::new(Turns::new());
        let offered = Arc::clone(&turns);
        let worker = beside(&call, &counters, move |call, _| offered.offer(call));
        let ended = Arc::clone(&turns);
        let leader = beside(&call, &counters, move |call, _| ended.end_offer(call));
        leaving(&turns, &call, &counters);
        worker.join().unwrap();
        leader.join().unwrap();
        let (sent, unsent) = (counters.sent.load(SeqCst), counters.refused.load(SeqCst));
        assert_eq!(sent + unsent, 1, "it is told once, and truly");
        assert_eq!(
            turns.taken.load(SeqCst),
            turns.ended.load(SeqCst),
            "no slot is lost or doubled"
        );
        assert_eq!(*turns.kept.lock(), (false, false), "nothing is left behind");
    });
}

#[test]
fn a_future_that_is_dropped_while_it_waits_is_never_sent_and_costs_no_slot() {
    model_turns(|turns, call, counters| turns.leave(call, counters));
}

#[test]
fn a_future_that_may_be_polled_with_its_turn_and_is_then_dropped_is_sent_or_not() {
    model_turns(|turns, call, counters| {
        turns.make(call, counters);
        turns.leave(call, counters);
    });
}

#[test]
fn a_task_is_woken_for_its_turn_or_finds_it() {
    model(|call, _| {
        let turns = Arc::new(Turns::new());
        let offered = Arc::clone(&turns);
        let worker = beside(&call, &Arc::default(), move |call, _| offered.offer(call));
        let woken = Arc::new(Wakes::default());
        let waker = std::task::Waker::from(Arc::clone(&woken));
        assert!(call.poll(&waker).is_pending());
        let found = turns.take_offer();
        worker.join().unwrap();
        assert!(found || woken.0.load(SeqCst) == 1);
    });
}

#[test]
fn a_task_that_is_polled_while_its_offer_ends_is_woken_or_finds_its_call() {
    model(|call, _| {
        let turns = Arc::new(Turns::new());
        let offered = Arc::clone(&turns);
        let worker = beside(&call, &Arc::default(), move |call, _| offered.offer(call));
        let ended = Arc::clone(&turns);
        let leader = beside(&call, &Arc::default(), move |call, _| ended.end_offer(call));
        let woken = Arc::new(Wakes::default());
        let waker = std::task::Waker::from(Arc::clone(&woken));
        assert!(call.poll(&waker).is_pending());
        let found = turns.take_offer() || std::mem::take(&mut turns.kept.lock().1);
        worker.join().unwrap();
        leader.join().unwrap();
        assert!(found || woken.0.load(SeqCst) > 0);
    });
}

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}
