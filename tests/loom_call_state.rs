//! The states of a call, in every order of events that there is.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --no-default-features --test loom_life --target-dir target/loom
//! ```
#![cfg(loom)]
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]

#[path = "../src/panic.rs"]
mod panic;
#[path = "../src/lane/call/state.rs"]
mod state;
#[path = "../src/lane/sync.rs"]
mod sync;

// Where `life.rs` expects its neighbours.
mod clock {
    pub(crate) use lanekeeper::clock::Clock;
    /// A clock that jumps has no part in this.
    pub(crate) struct Resting;
}
mod quota {
    pub(crate) use lanekeeper::quota::Moment;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use life::{GiveUp, Life, Sleep};
use loom::thread;

const WORK: u8 = 1;
const DONE: &str = "done";
const CLOSED: &str = "closed";
const CUT_OFF: &str = "cut off";
const CANCELLED: &str = "cancelled";

type Call = Arc<Life<u8, &'static str>>;

/// What the lane does with a call. Plain counters: only the end is looked at, after all is joined.
#[derive(Default)]
struct Seen {
    sent: AtomicUsize,
    late: AtomicUsize,
    refused: AtomicUsize,
}

fn worker(call: &Call, seen: &Seen) {
    // Chosen, it begins, unless its caller left in between.
    if call.dispatch() && call.begin().is_some() {
        seen.sent.fetch_add(1, SeqCst);
        match call.complete(DONE) {
            Ok(waker) => drop(waker.map(std::task::Waker::wake)),
            Err(_) => drop(seen.late.fetch_add(1, SeqCst)),
        }
    }
}

fn shutdown(call: &Call, seen: &Seen) {
    if call.refuse(|_| CLOSED).is_some() {
        seen.refused.fetch_add(1, SeqCst);
    }
}

/// Somebody who does this in a thread of their own.
fn beside(
    call: &Call,
    seen: &Arc<Seen>,
    does: impl FnOnce(&Call, &Seen) + 'static,
) -> thread::JoinHandle<()> {
    let (call, seen) = (Arc::clone(call), Arc::clone(seen));
    thread::spawn(move || does(&call, &seen))
}

fn model(check: impl Fn(Call, Arc<Seen>) + Sync + Send + 'static) {
    loom::model(move || check(Arc::new(Life::new(WORK)), Arc::default()));
}

#[test]
fn a_call_that_was_given_up_unsent_is_never_sent_and_no_answer_is_lost() {
    model(|call, seen| {
        let lane = beside(&call, &seen, worker);
        let found = call.give_up().0;
        lane.join().unwrap();
        let counts = (seen.sent.load(SeqCst), seen.late.load(SeqCst));
        match found {
            GiveUp::NeverSent => assert_eq!(counts, (0, 0)),
            // The answer comes, and is told to be late: exactly once.
            GiveUp::UnderWay => assert_eq!(counts, (1, 1)),
            GiveUp::Answered(answer) => assert_eq!((answer, counts), (DONE, (1, 0))),
            GiveUp::Over => panic!("nobody else took it"),
        }
    });
}

#[test]
fn who_waits_gets_exactly_one_answer_whoever_wins() {
    model(|call, seen| {
        let lane = beside(&call, &seen, worker);
        let closing = beside(&call, &seen, shutdown);
        let answer = call.wait(Sleep::ForEver, || None);
        lane.join().unwrap();
        closing.join().unwrap();
        let counts = (seen.sent.load(SeqCst), seen.refused.load(SeqCst), seen.late.load(SeqCst));
        match answer {
            Some(DONE) => assert_eq!(counts, (1, 0, 0)),
            Some(CLOSED) => assert_eq!(counts, (0, 1, 0)),
            other => panic!("{other:?}"),
        }
        assert_eq!(call.take(), None, "it was handed out once");
    });
}

#[test]
fn cancel_shutdown_and_dispatch_have_one_winner() {
    model(|call, seen| {
        let lane = beside(&call, &seen, worker);
        let closing = beside(&call, &seen, shutdown);
        let cancelled = usize::from(call.refuse(|_| CANCELLED).is_some());
        lane.join().unwrap();
        closing.join().unwrap();
        let (sent, refused) = (seen.sent.load(SeqCst), seen.refused.load(SeqCst));
        assert_eq!(sent + refused + cancelled, 1);
        let answer = match (sent, refused) {
            (1, 0) => Some(DONE),
            (0, 1) => Some(CLOSED),
            _ => Some(CANCELLED),
        };
        assert_eq!(call.take(), answer);
    });
}

/// A lane that is shut, and does not wait for the call: one answer reaches the caller, and one that comes later
/// is late. Work that had not begun never does.
#[test]
fn a_call_that_is_cut_off_is_answered_once_and_its_own_answer_is_late() {
    model(|call, seen| {
        let lane = beside(&call, &seen, |call, seen| {
            if call.dispatch() && call.begin().is_some() {
                seen.sent.fetch_add(1, SeqCst);
                if call.complete(DONE).is_err() {
                    seen.late.fetch_add(1, SeqCst);
                }
            }
        });
        let unbegun = Arc::new(AtomicUsize::new(0));
        let its = Arc::clone(&unbegun);
        let closing = beside(&call, &seen, move |call, seen| {
            if call.refuse(|_| CLOSED).is_some() {
                seen.refused.fetch_add(1, SeqCst);
            } else if let Some(work) = call.cut_off(|_| CUT_OFF) {
                its.fetch_add(usize::from(work.is_some()), SeqCst);
            }
        });
        let answer = call.wait(Sleep::ForEver, || None);
        lane.join().unwrap();
        closing.join().unwrap();
        let counts = (seen.sent.load(SeqCst), seen.refused.load(SeqCst), seen.late.load(SeqCst));
        match (answer, unbegun.load(SeqCst)) {
            (Some(DONE), 0) => assert_eq!(counts, (1, 0, 0)),
            (Some(CLOSED), 0) => assert_eq!(counts, (0, 1, 0)),
            (Some(CUT_OFF), 0) => assert_eq!(counts, (1, 0, 1)),
            (Some(CUT_OFF), 1) => assert_eq!(counts, (0, 0, 0)),
            other => panic!("{other:?}"),
        }
        assert_eq!(call.take(), None, "it was handed out once");
    });
}

/// Two workers cannot both have it.
#[test]
fn a_call_is_sent_once() {
    model(|call, seen| {
        let other = beside(&call, &seen, worker);
        worker(&call, &seen);
        other.join().unwrap();
        assert_eq!(seen.sent.load(SeqCst), 1);
        assert_eq!(call.take(), Some(DONE));
    });
}

/// A caller that leaves while the call goes on: its answer is late, or refused, exactly once.
#[test]
fn a_call_whose_caller_left_goes_on_and_its_answer_is_late_once() {
    model(|call, seen| {
        let lane = beside(&call, &seen, worker);
        let closing = beside(&call, &seen, shutdown);
        let found = call.leave();
        lane.join().unwrap();
        closing.join().unwrap();
        let counts = (seen.sent.load(SeqCst), seen.refused.load(SeqCst), seen.late.load(SeqCst));
        match found {
            // Told by who left.
            Some(DONE) => assert_eq!(counts, (1, 0, 0)),
            Some(CLOSED) => assert_eq!(counts, (0, 1, 0)),
            Some(other) => panic!("{other}"),
            // Told by the lane, or never sent.
            None => assert!([(1, 0, 1), (0, 1, 0)].contains(&counts), "{counts:?}"),
        }
        assert_eq!(call.take(), None);
    });
}

/// A task that is polled while the answer comes: it has the answer, or is woken for it.
#[test]
fn who_polls_is_woken_or_has_the_answer() {
    struct Woken(AtomicUsize);
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    model(|call, seen| {
        let lane = beside(&call, &seen, worker);
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

/// A call that failed and waits for another attempt: its caller leaves, the lane is shut, or it is sent
/// again. One of them has it.
#[test]
fn a_call_that_goes_again_has_one_winner() {
    model(|call, seen| {
        assert!(call.dispatch() && call.begin() == Some(WORK));
        let lane = beside(&call, &seen, |call, seen| match call.requeue(WORK) {
            Ok(()) => worker(call, seen),
            // Its caller left: this attempt was the last.
            Err(_) => drop(call.complete(DONE).map_err(|_| seen.late.fetch_add(1, SeqCst))),
        });
        let closing = beside(&call, &seen, shutdown);
        let found = call.give_up().0;
        lane.join().unwrap();
        closing.join().unwrap();
        let (sent, refused) = (seen.sent.load(SeqCst), seen.refused.load(SeqCst));
        let late = seen.late.load(SeqCst);
        match found {
            GiveUp::NeverSent => assert_eq!((sent, refused, late), (0, 0, 0)),
            // It was under way for the first time or the second, or the last.
            GiveUp::UnderWay => assert!(refused == 0 && late == 1, "{sent} {refused} {late}"),
            GiveUp::Answered(DONE) => assert_eq!((sent, refused, late), (1, 0, 0)),
            GiveUp::Answered(CLOSED) => assert_eq!((sent, refused, late), (0, 1, 0)),
            other => panic!("{other:?}"),
        }
    });
}

/// Puts a call that goes again on the list of those that wait, as `Shared::put_again` does.
fn put_again(call: &Life<u8, &'static str>, list: &sync::Mutex<bool>) {
    if call.requeue(WORK).is_ok() {
        let mut is_listed = list.lock();
        if call.is_queued() {
            *is_listed = true;
        }
    }
}

/// A call that goes again is queued before it is on the list: one that is taken back in between leaves no
/// ghost there, and one that another worker sends in between and that fails again is not lost.
#[test]
fn a_call_that_goes_again_is_on_the_list_exactly_while_it_is_queued() {
    loom::model(|| {
        let call: Call = Arc::new(Life::new(WORK));
        let list = Arc::new(sync::Mutex::new(false));
        assert!(call.dispatch() && call.begin() == Some(WORK));
        let beside = |does: fn(&Life<u8, &'static str>, &sync::Mutex<bool>)| {
            let (call, list) = (Arc::clone(&call), Arc::clone(&list));
            thread::spawn(move || does(&call, &list))
        };
        let first = beside(put_again);
        let second = beside(|call, list| {
            let is_chosen = {
                let mut is_listed = list.lock();
                let is_chosen = *is_listed && call.dispatch();
                *is_listed &= !is_chosen;
                is_chosen
            };
            if is_chosen {
                assert_eq!(call.begin(), Some(WORK));
                put_again(call, list);
            }
        });
        if call.refuse(|_| CANCELLED).is_some() {
            *list.lock() = false;
        }
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(*list.lock(), call.is_queued());
    });
}
