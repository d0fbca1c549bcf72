//! How lanes end and wake: drains from within, the last handle in a worker's hands, what wakes those
//! who sleep, and deadlines while all hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::clock::Clock;
use lanekeeper::lane::{CallInfo, CallOptions, LaneConfig, Observer, Shutdown};
use lanekeeper::proxy::{Call, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota};

use super::{METHOD, build, let_pass, submit, within};

/// A call that shuts its own lane: it is under way itself, so it waits for itself.
#[test]
fn a_call_may_drain_its_own_lane() {
    let lanes = build(LaneConfig::new(Quota::unlimited()), Clock::system(), None);
    let own = lanes.clone();
    let answer = within(move || {
        let inner = own.clone();
        submit(&own, METHOD, &CallOptions::new(), move || {
            inner.shutdown(Shutdown::Drain(Duration::from_secs(3600)))
        })
        .wait()
    });
    std::mem::forget(lanes);
    assert!(answer.is_some(), "it waits an hour for itself");
}

/// A lane that somebody paused by hand.
#[test]
fn a_paused_lane_that_drains_sends_nothing_unasked() {
    let lanes = build(LaneConfig::new(Quota::unlimited()), Clock::system(), None);
    lanes.lane("test").unwrap().pause();
    let ticket = submit(&lanes, METHOD, &CallOptions::new(), || ());
    lanes.shutdown(Shutdown::Drain(Duration::from_millis(200)));
    assert_eq!(ticket.wait().map_err(|error| error.was_sent()), Err(Sent::No));
}

#[test]
fn the_last_handle_may_be_dropped_by_a_worker() {
    for _ in 0..50 {
        let lanes = build(LaneConfig::new(Quota::unlimited()).in_flight(3), Clock::system(), None);
        let own = lanes.clone();
        let (end, held) = mpsc::channel::<()>();
        let ticket = submit(&lanes, METHOD, &CallOptions::new(), move || {
            held.recv().unwrap();
            drop(own);
            7
        });
        let waiting: Vec<_> =
            (0..5).map(|_| submit(&lanes, METHOD, &CallOptions::new(), || ())).collect();
        drop(lanes);
        end.send(()).unwrap();
        assert_eq!(within(move || ticket.wait()), Some(Ok(7)));
        for ticket in waiting {
            assert!(within(move || ticket.wait()).is_some());
        }
    }
}

#[test]
fn a_lane_wakes_for_a_budget_that_another_lane_frees() {
    const A: Call = Call { budgets: &[0], ..METHOD };
    const B: Call = Call { lane: 1, ..A };
    let mut builder = LanesBuilder::new("Test", &["a", "b"], &["shared"]);
    builder.lane(0, LaneConfig::new(Quota::unlimited()));
    builder.lane(1, LaneConfig::new(Quota::unlimited()));
    builder.budget(0, Budget::new(Quota::new(1, Duration::from_millis(10))));
    let lanes = builder.build(Limits::new()).unwrap();
    for _ in 0..30 {
        let (begun, began) = mpsc::channel();
        let (end, held) = mpsc::channel::<()>();
        let first = submit(&lanes, A, &CallOptions::new(), move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
        });
        began.recv().unwrap();
        let second = submit(&lanes, B, &CallOptions::new(), || 7);
        thread::sleep(Duration::from_millis(2));
        end.send(()).unwrap();
        first.wait().unwrap();
        assert_eq!(within(move || second.wait()), Some(Ok(7)));
    }
}

#[test]
fn a_new_quota_wakes_a_leader_that_sleeps_for_a_day() {
    let lanes = build(LaneConfig::new(Quota::per_day(1)), Clock::system(), None);
    submit(&lanes, METHOD, &CallOptions::new(), || ()).wait().unwrap();
    let ticket = submit(&lanes, METHOD, &CallOptions::new(), || 7);
    let_pass();
    lanes.lane("test").unwrap().set_quota(&Quota::per_second(1000)).unwrap();
    assert_eq!(within(move || ticket.wait()), Some(Ok(7)));
}

#[test]
fn deadlines_are_kept_while_all_that_may_run_hang() {
    #[derive(Default)]
    struct Counts(AtomicUsize);
    impl Observer for Counts {
        fn expired(&self, _: &CallInfo<'_>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let counts = Arc::new(Counts::default());
    let config = LaneConfig::new(Quota::unlimited()).in_flight(2);
    let lanes = build(config, Clock::system(), Some(counts.clone()));
    let (begun, began) = mpsc::channel();
    let mut ends = Vec::new();
    let hung: Vec<_> = (0..2)
        .map(|_| {
            let (end, held) = mpsc::channel::<()>();
            ends.push(end);
            let begun = begun.clone();
            let ticket = submit(&lanes, METHOD, &CallOptions::new(), move || {
                begun.send(()).unwrap();
                held.recv().unwrap();
            });
            began.recv().unwrap();
            ticket
        })
        .collect();
    for number in 1..=20_usize {
        let soon = CallOptions::new().deadline(Duration::from_millis(3));
        let ticket = submit(&lanes, METHOD, &soon, || ());
        let counts = Arc::clone(&counts);
        let told = within(move || {
            while counts.0.load(Ordering::SeqCst) < number {
                thread::yield_now();
            }
        });
        assert!(told.is_some());
        assert_eq!(ticket.wait().unwrap_err().was_sent(), Sent::No);
    }
    ends.iter().for_each(|end| end.send(()).unwrap());
    hung.into_iter().for_each(|ticket| ticket.wait().unwrap());
}

#[test]
fn absurd_times_panic_nobody() {
    let lanes = build(LaneConfig::new(Quota::per_second(1000)), Clock::system(), None);
    let far = CallOptions::new().deadline(Duration::MAX);
    for _ in 0..5 {
        assert_eq!(submit(&lanes, METHOD, &far, || 7).wait(), Ok(7));
    }
    let mut ticket = submit(&lanes, METHOD, &far, || 7);
    assert_eq!(ticket.wait_timeout(Duration::MAX), Some(Ok(7)));
    let drained = lanes.shutdown(Shutdown::Drain(Duration::MAX));
    assert_eq!((drained.refused, drained.under_way), (0, 0));
}
