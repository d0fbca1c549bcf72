//! Bad input: a clear error when the lanes are built or at admission, never a hang, never a panic.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::jiff::tz::TimeZone;
use lanekeeper::lane::{
    LaneConfig, LaneConfigError, LaneError, LaneErrorKind, OverflowPolicy, Priority, PriorityError,
    Shutdown,
};
use lanekeeper::proxy::{BuildError, CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota, QuotaError};
use support::lanes::{
    READ, SECOND, WRITE, one, options, status, submit, the, unlimited, within_reason,
};

/// Builds one lane and one budget.
fn build(config: LaneConfig, budget: Budget) -> Result<Lanes, BuildError> {
    let mut builder = LanesBuilder::new("Test", &["test"], &["budget"]);
    builder.lane(0, config);
    builder.budget(0, budget);
    builder.clock(ManualClock::auto_advancing().into());
    builder.build(Limits::new())
}

fn of_lane(config: LaneConfig) -> LaneConfigError {
    match build(config, Quota::unlimited().into()).unwrap_err() {
        BuildError::Lane { lane: "test", source } => source,
        other => panic!("{other}"),
    }
}

fn of_budget(budget: Budget) -> QuotaError {
    match build(unlimited(1), budget).unwrap_err() {
        BuildError::Budget { budget: "budget", source } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn a_quota_that_cannot_be_kept_is_refused_in_a_lane_in_a_budget_and_while_they_run() {
    let century = Duration::from_secs(100 * 366 * 86_400);
    let quotas = [
        (Quota::per_second(0), "the window 0/s allows no calls; write at least 1"),
        (
            Quota::new(1, Duration::ZERO),
            "the window 1/0s has no length; for no limit write Quota::unlimited()",
        ),
        (Quota::new(1, Duration::MAX), "is longer than a hundred years"),
        (Quota::new(1, century + SECOND), "is longer than a hundred years"),
        (Quota::per_second(1).and(Quota::per_minute(0)), "the window 0/min allows no calls"),
        (Quota::token_bucket(1, SECOND, 0), "write a burst of at least 1"),
        (Quota::token_bucket(0, SECOND, 1), "allows no calls"),
        (Quota::sliding_counter(0, SECOND), "allows no calls"),
        (Quota::per_calendar_day(1, TimeZone::unknown()), "needs a known time zone"),
        (Quota::per_calendar_day(1, TimeZone::UTC).clock_guard(Duration::MAX), "write 6 h at most"),
    ];
    let lanes = build(LaneConfig::new(Quota::per_second(5)), Quota::per_second(5).into()).unwrap();
    for (quota, words) in quotas {
        let LaneConfigError::Quota(by_lane) = of_lane(LaneConfig::new(quota.clone())) else {
            panic!("{quota} is refused for something else");
        };
        assert!(by_lane.to_string().contains(words), "{by_lane}");
        assert_eq!(of_budget(quota.clone().into()), by_lane);
        assert_eq!(the(&lanes).set_quota(&quota), Err(by_lane.clone()));
        assert_eq!(lanes.set_budget("budget", &quota.into()), Err(by_lane));
    }
    // The old quotas stay.
    assert_eq!(status(&lanes).windows[0].limit, 5);
    assert_eq!(lanes.status().budget("budget").unwrap().windows[0].limit, 5);
    assert_eq!(submit(&lanes, WRITE, &options(), || 7).wait(), Ok(7));
}

#[test]
fn a_reserve_that_leaves_nothing_is_refused() {
    for reserve in [5, u32::MAX] {
        let error = of_budget(Budget::new(Quota::per_day(5)).reserve(reserve));
        assert!(matches!(error, QuotaError::Reserve { .. }), "{error}");
    }
    assert!(build(unlimited(1), Budget::new(Quota::per_day(5)).reserve(4)).is_ok());
    // Of a lane, the same.
    let lane = || LaneConfig::new(Quota::per_second(10).and(Quota::per_day(5)));
    for config in [lane().reserve(5), lane().reserve(u32::MAX), lane().reserve_percent(51)] {
        assert!(config.check().unwrap_err().to_string().contains("leaves too little"));
        assert!(matches!(
            build(config, Quota::per_day(5).into()),
            Err(BuildError::Lane { lane: "test", source: LaneConfigError::Quota(_) })
        ));
    }
    let lanes = build(lane().reserve(4), Quota::per_day(5).into()).unwrap();
    let lane = lanes.lane("test").unwrap();
    assert!(matches!(lane.set_quota(&Quota::per_day(4)), Err(QuotaError::Reserve { .. })));
    assert_eq!(lane.status().quota, "10/s, 5/day");
    assert_eq!(lane.set_quota(&Quota::per_day(6)), Ok(()));
}

#[test]
fn settings_that_no_lane_can_work_with_are_refused_with_what_to_write() {
    let words = |config| of_lane(config).to_string();
    assert_eq!(words(unlimited(0)), "in_flight(0): write a number from 1 to 1024");
    assert!(words(unlimited(usize::MAX)).ends_with("write a number from 1 to 1024"));
    assert_eq!(words(unlimited(1).queue(0)), "queue(0): write a number from 1 to 16777216");
    assert!(words(unlimited(1).queue(usize::MAX)).ends_with("write a number from 1 to 16777216"));
    assert!(words(unlimited(1).user_interval(Duration::MAX)).ends_with("write a day at most"));
    assert!(words(unlimited(1).aging(Some(0))).starts_with("aging(Some(0)): write a multiple"));
}

#[test]
fn the_widest_settings_that_are_allowed_work() {
    within_reason(|| {
        let day = Duration::from_secs(86_400);
        let config = unlimited(1).queue(1 << 24).user_interval(day).aging(Some(u32::MAX));
        let lanes = one(config, ManualClock::auto_advancing());
        let calls: Vec<_> =
            (0..3).map(|n| submit(&lanes, WRITE, &options().user("u"), move || n)).collect();
        assert_eq!(calls.into_iter().map(|call| call.wait().unwrap()).sum::<i32>(), 3);
    });
}

#[test]
fn lanes_and_budgets_without_a_quota_and_quotas_without_either_are_refused() {
    let builder = || LanesBuilder::new("Test", &["test"], &["budget"]);
    let words = |builder: LanesBuilder| builder.build(Limits::new()).unwrap_err().to_string();
    assert!(words(builder()).starts_with("lane `test` of Test has no quota"));
    let mut no_budget = builder();
    no_budget.lane(0, unlimited(1));
    assert!(words(no_budget).starts_with("budget `budget` of Test has no quota"));
    let mut unknown = builder();
    unknown.limits(Limits::new().lane("tset", Quota::per_second(1)));
    assert_eq!(words(unknown), "Test has no lane `tset`; it has: test");
    let mut unknown = builder();
    unknown.limits(Limits::new().budget("orders", Quota::per_second(1)));
    assert_eq!(words(unknown), "Test has no budget `orders`; it has: budget");
    let documented = Limits::new().lane("quote", Quota::per_second(1));
    assert!(matches!(builder().build(documented), Err(BuildError::Unknown { .. })));
}

#[test]
fn what_has_no_lane_is_refused_and_hangs_no_caller() {
    within_reason(|| {
        let lanes = LanesBuilder::new("Empty", &[], &[]).build(Limits::new()).unwrap();
        let error = submit(&lanes, WRITE, &options(), || ()).wait().unwrap_err();
        assert_eq!(error.was_sent(), Sent::No);
        assert!(lanes.lane("test").is_none() && lanes.status().lanes.is_empty());
        assert_eq!(lanes.shutdown(Shutdown::Drain(Duration::MAX)).rejected, 0);
        let unknown = lanes.set_budget("orders", &Quota::per_second(1).into());
        let message = unknown.unwrap_err().to_string();
        assert_eq!(message, "there is no budget `orders`; there are: none");
        // Settings for a lane that does not exist are ignored.
        let mut builder = LanesBuilder::new("Test", &["test"], &[]);
        builder.lane(7, unlimited(1));
        builder.budget(7, Quota::per_second(1).into());
        assert!(matches!(builder.build(Limits::new()), Err(BuildError::NoQuota { .. })));
        let lanes = one(unlimited(1), Clock::system());
        let beyond = submit(&lanes, CallSpec { lane: 7, ..WRITE }, &options(), || ());
        assert_eq!(beyond.wait().unwrap_err().was_sent(), Sent::No);
    });
}

#[test]
fn a_budget_that_is_not_there_is_never_taken_for_one_that_is_not_spent() {
    within_reason(|| {
        let lanes = one(unlimited(1), ManualClock::auto_advancing());
        let call = CallSpec { budgets: &[7], ..WRITE };
        for options in [options(), options().deadline(SECOND), options().deadline(Duration::MAX)] {
            let answer = submit(&lanes, call, &options, || panic!("sent")).wait();
            assert_eq!(answer.unwrap_err().kind, LaneErrorKind::TooHeavy);
        }
        assert_eq!(submit(&lanes, WRITE, &options(), || 7).wait(), Ok(7));
    });
}

#[test]
fn a_priority_is_a_number_from_one_to_ten() {
    for number in [0, 11, u8::MAX] {
        assert_eq!(Priority::new(number), Err(PriorityError { number }));
    }
    let words = "0 is not a priority: write a number from 1, the most urgent, to 10";
    assert_eq!(Priority::new(0).unwrap_err().to_string(), words);
    // The macro refuses it at compile time. Without the macro, the nearest valid priority is used.
    let lanes = one(unlimited(1), Clock::system());
    the(&lanes).pause();
    let _calls =
        [0, 11].map(|priority| submit(&lanes, CallSpec { priority, ..READ }, &options(), || ()));
    let priorities: Vec<u8> = status(&lanes).queued_by_priority.into_keys().collect();
    assert_eq!(priorities, [1, 10]);
}

#[test]
fn a_weight_of_nothing_is_one_and_one_beyond_every_window_is_refused() {
    within_reason(|| {
        let lanes = one(LaneConfig::new(Quota::per_second(2)), ManualClock::new());
        submit(&lanes, CallSpec { weight: 0, ..WRITE }, &options(), || ()).wait().unwrap();
        assert_eq!(status(&lanes).windows[0].used, 1);
        let deadlines = [options(), options().deadline(Duration::MAX)];
        for options in &deadlines {
            for weight in [3, u32::MAX] {
                let answer = submit(&lanes, CallSpec { weight, ..WRITE }, options, || ()).wait();
                assert_eq!(answer.unwrap_err().kind, LaneErrorKind::TooHeavy);
            }
        }
        let unlimited = one(unlimited(1), ManualClock::new());
        for _ in 0..3 {
            let heaviest = CallSpec { weight: u32::MAX, ..WRITE };
            assert_eq!(submit(&unlimited, heaviest, &options(), || 7).wait(), Ok(7));
        }
    });
}

#[test]
fn a_deadline_of_nothing_is_refused_and_one_of_for_ever_is_none() {
    within_reason(|| {
        for clock in [Clock::system(), ManualClock::auto_advancing().into()] {
            let lanes = one(LaneConfig::new(Quota::per_second(100)), clock);
            let none =
                submit(&lanes, WRITE, &options().deadline(Duration::ZERO), || panic!("sent"));
            assert_eq!(none.wait().map(|()| 0).unwrap_err().was_sent(), Sent::No);
            let for_ever = options().deadline(Duration::MAX);
            for _ in 0..3 {
                assert_eq!(submit(&lanes, WRITE, &for_ever, || 7).wait(), Ok(7));
            }
            let mut ticket = submit(&lanes, WRITE, &for_ever, || 7);
            assert_eq!(ticket.wait_timeout(Duration::MAX), Some(Ok(7)));
        }
    });
}

#[test]
fn a_block_until_for_ever_and_a_drain_for_ever_end_when_there_is_nothing_to_wait_for() {
    within_reason(|| {
        let config = unlimited(1).queue(1).when_full(OverflowPolicy::Block);
        let lanes = one(config, Clock::system());
        let calls: Vec<_> = (0..20)
            .map(|n| submit(&lanes, WRITE, &options().deadline(Duration::MAX), move || n))
            .collect();
        let drained = lanes.shutdown(Shutdown::Drain(Duration::MAX));
        assert_eq!((drained.rejected, drained.in_flight), (0, 0));
        assert!(calls.into_iter().all(|call| call.wait().is_ok()));
    });
}

#[test]
fn a_drain_of_no_time_is_a_shutdown_now() {
    let lanes = one(unlimited(1), Clock::system());
    the(&lanes).pause();
    let waiting = submit(&lanes, WRITE, &options(), || ());
    assert_eq!(lanes.shutdown(Shutdown::Drain(Duration::ZERO)).rejected, 1);
    assert_eq!(waiting.wait().unwrap_err().kind, LaneErrorKind::Closed);
}

#[test]
fn users_of_any_name_and_any_number_have_their_turns() {
    within_reason(|| {
        let lanes = one(LaneConfig::new(Quota::unlimited()).in_flight(1), Clock::system());
        the(&lanes).pause();
        let long = "x".repeat(100_000);
        let names = (0..500).map(|n| n.to_string()).chain(["".into(), "a\0b".into(), long]);
        let calls: Vec<_> =
            names.map(|name| submit(&lanes, WRITE, &options().user(name), || 1)).collect();
        assert_eq!(status(&lanes).queued_by_user.len(), 503);
        the(&lanes).resume();
        assert_eq!(calls.into_iter().map(|call| call.wait().unwrap()).sum::<i32>(), 503);
        assert!(status(&lanes).queued_by_user.is_empty());
    });
}

#[test]
fn errors_of_a_lane_name_the_lane_and_the_method() {
    let lanes = one(unlimited(1), Clock::system());
    lanes.shutdown(Shutdown::Now);
    let error: LaneError = submit(&lanes, WRITE, &options(), || ()).wait().unwrap_err();
    assert_eq!(error.to_string(), "write in lane `test`: not sent: the lane is closed");
}
