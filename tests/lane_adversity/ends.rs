//! How lanes end and wake: a drain by a call of the lane, and what wakes sleeping workers.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lanekeeper::clock::Clock;
use lanekeeper::lane::{LaneConfig, Shutdown};
use lanekeeper::proxy::{CallSpec, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota};

use super::let_pass;
use super::support::lanes::{WRITE, one, options, submit, the, unlimited, within_reason};

/// A call that shuts its own lane is in flight itself, so a drain must not wait for it.
#[test]
fn a_call_may_drain_its_own_lane() {
    within_reason(|| {
        let lanes = one(unlimited(2), Clock::system());
        let own = lanes.clone();
        let hour = Shutdown::Drain(Duration::from_secs(3600));
        let drained = submit(&lanes, WRITE, &options(), move || own.shutdown(hour)).wait().unwrap();
        assert_eq!((drained.rejected, drained.in_flight), (0, 1));
    });
}

#[test]
fn a_lane_wakes_for_a_budget_that_another_lane_frees() {
    within_reason(|| {
        const A: CallSpec = CallSpec { budgets: &[0], ..WRITE };
        const B: CallSpec = CallSpec { lane: 1, ..A };
        let mut builder = LanesBuilder::new("Test", &["a", "b"], &["shared"]);
        builder.lane(0, unlimited(2));
        builder.lane(1, unlimited(2));
        builder.budget(0, Budget::new(Quota::new(1, Duration::from_millis(10))));
        let lanes = builder.build(Limits::new()).unwrap();
        for _ in 0..30 {
            let (begun, began) = mpsc::channel();
            let (end, held) = mpsc::channel::<()>();
            let first = submit(&lanes, A, &options(), move || {
                begun.send(()).unwrap();
                held.recv().unwrap();
            });
            began.recv().unwrap();
            let second = submit(&lanes, B, &options(), || 7);
            thread::sleep(Duration::from_millis(2));
            end.send(()).unwrap();
            first.wait().unwrap();
            assert_eq!(second.wait(), Ok(7));
        }
    });
}

#[test]
fn a_new_quota_wakes_a_leader_that_sleeps_for_a_day() {
    within_reason(|| {
        let lanes = one(LaneConfig::new(Quota::per_day(1)), Clock::system());
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        let ticket = submit(&lanes, WRITE, &options(), || 7);
        let_pass();
        the(&lanes).set_quota(&Quota::per_second(1000)).unwrap();
        assert_eq!(ticket.wait(), Ok(7));
    });
}
