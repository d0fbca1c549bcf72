//! How a call ends that was attempted before: whatever ends it, its observer gets one end, and the last attempt as
//! that end.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{Shutdown, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes};
use lanekeeper::resilience::RetryPolicy;
use support::diary::{Diary, DiaryEvent};
use support::failing::{DAY, Failed, Log, NOT_SENT, patient, submit_repeatable, waiting};
use support::lanes::{
    READ, SECOND, WRITE, observed, options, status, submit, the, unlimited, until, within_reason,
};

/// A call that failed once as not sent, and waits for its second attempt.
struct Tried {
    clock: ManualClock,
    diary: Arc<Diary>,
    lanes: Lanes,
    ticket: Ticket<u32, Failed>,
}

fn tried(call: CallSpec) -> Tried {
    let (clock, diary) = (ManualClock::new(), Arc::new(Diary::default()));
    let lanes = observed(unlimited(2).retry(patient()), clock.clone(), Some(diary.clone()));
    let ticket = waiting(&lanes, call, &Log::new(&clock));
    Tried { clock, diary, lanes, ticket }
}

/// All events of a call whose first attempt is its last.
const ONE_END: [DiaryEvent; 2] =
    [DiaryEvent::FailedAttempt(1, NOT_SENT), DiaryEvent::Finished(1, NOT_SENT)];

/// The same for one whose caller detached: its answer is also reported as late.
const ONE_END_AND_LATE: [DiaryEvent; 3] =
    [DiaryEvent::FailedAttempt(1, NOT_SENT), DiaryEvent::Finished(1, NOT_SENT), DiaryEvent::Late];

#[test]
fn one_that_is_cancelled_has_one_end() {
    within_reason(|| {
        for call in [READ, WRITE] {
            let Tried { diary, lanes, ticket, .. } = tried(call);
            assert!(!ticket.cancel());
            assert_eq!(ticket.wait(), Err(Failed::Broker(1, NOT_SENT)));
            drop(lanes);
            assert_eq!(diary.events(), ONE_END, "{call:?}");
        }
    });
}

#[test]
fn a_read_that_is_dropped_has_one_end() {
    within_reason(|| {
        let Tried { diary, lanes, ticket, .. } = tried(READ);
        drop(ticket);
        drop(lanes);
        assert_eq!(diary.events(), ONE_END_AND_LATE);
    });
}

#[test]
fn a_write_that_is_dropped_and_then_refused_has_one_end() {
    within_reason(|| {
        let Tried { diary, lanes, ticket, .. } = tried(WRITE);
        drop(ticket);
        drop(lanes);
        assert_eq!(diary.events(), ONE_END_AND_LATE);
    });
}

#[test]
fn a_write_that_is_dropped_is_retried_and_has_one_end() {
    within_reason(|| {
        let Tried { clock, diary, lanes, ticket } = tried(WRITE);
        drop(ticket);
        clock.advance(DAY);
        until(|| status(&lanes).retrying == 0);
        drop(lanes);
        assert_eq!(
            diary.events(),
            [
                DiaryEvent::FailedAttempt(1, NOT_SENT),
                DiaryEvent::Finished(2, None),
                DiaryEvent::Late
            ]
        );
    });
}

#[test]
fn one_that_a_shutdown_ends_has_one_end() {
    within_reason(|| {
        let Tried { diary, lanes, ticket, .. } = tried(WRITE);
        assert_eq!(lanes.shutdown(Shutdown::Now).rejected, 1);
        assert_eq!(ticket.wait(), Err(Failed::Broker(1, NOT_SENT)));
        drop(lanes);
        assert_eq!(diary.events(), ONE_END);
    });
}

#[test]
fn one_that_was_to_be_retried_when_its_caller_detached_has_one_end() {
    within_reason(|| {
        let (clock, diary) = (ManualClock::new(), Arc::new(Diary::default()));
        let lanes = observed(unlimited(2).retry(patient()), clock, Some(diary.clone()));
        let (begun, began) = mpsc::channel();
        let (go, held) = mpsc::channel::<()>();
        let ticket = submit_repeatable(&lanes, WRITE, &options(), move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
            Err::<u32, _>(Failed::Broker(1, NOT_SENT))
        });
        began.recv().unwrap();
        drop(ticket);
        go.send(()).unwrap();
        drop(lanes);
        assert_eq!(diary.events(), ONE_END_AND_LATE);
    });
}

/// Returns a call whose retry would be due `retry_in` from now, in a lane that is paused, so that it never goes.
fn soon_over(retry_in: Duration) -> Tried {
    let (clock, diary) = (ManualClock::new(), Arc::new(Diary::default()));
    let retry = RetryPolicy::default().base_delay(retry_in).max_delay(retry_in);
    // Two threads, and no third that could find the deadline passed.
    let config = unlimited(1).urgent_workers(0).retry(retry);
    let lanes = observed(config, clock.clone(), Some(diary.clone()));
    let soon = options().deadline(retry_in + SECOND);
    let ticket = submit_repeatable(&lanes, WRITE, &soon, Log::new(&clock).fails("it", [NOT_SENT]));
    until(|| status(&lanes).retrying == 1);
    the(&lanes).pause();
    Tried { clock, diary, lanes, ticket }
}

#[test]
fn one_whose_deadline_the_lane_finds_passed_has_one_end() {
    within_reason(|| {
        let Tried { clock, diary, lanes, ticket } = soon_over(SECOND);
        clock.advance(2 * SECOND);
        until(|| status(&lanes).retrying == 0);
        assert_eq!(ticket.wait(), Err(Failed::Broker(1, NOT_SENT)));
        drop(lanes);
        assert_eq!(diary.events(), ONE_END);
    });
}

/// Blocks the thread that drops it, until it is released.
struct HoldsUp(Sender<()>, Receiver<()>);

impl Drop for HoldsUp {
    fn drop(&mut self) {
        let _ = (self.0.send(()), self.1.recv());
    }
}

#[test]
fn one_whose_deadline_its_caller_finds_passed_has_one_end() {
    within_reason(|| {
        let Tried { clock, diary, lanes, ticket } = soon_over(3 * SECOND);
        // Each of the two threads of the lane drops what an expired call holds, and is blocked.
        let held_up = [(); 2].map(|()| {
            let (is_held_up, seen) = mpsc::channel();
            let (let_go, held) = mpsc::channel();
            let holds_up = HoldsUp(is_held_up, held);
            let expires = submit(&lanes, WRITE, &options().deadline(SECOND), || drop(holds_up));
            clock.advance(SECOND);
            seen.recv().unwrap();
            (let_go, expires)
        });
        clock.advance(2 * SECOND);
        assert_eq!(ticket.wait(), Err(Failed::Broker(1, NOT_SENT)));
        for (let_go, expires) in held_up {
            let_go.send(()).unwrap();
            assert!(expires.wait().is_err());
        }
        drop(lanes);
        let of_the_others = [DiaryEvent::Expired, DiaryEvent::Expired];
        assert_eq!(diary.events(), [&ONE_END[..], &of_the_others].concat());
    });
}
