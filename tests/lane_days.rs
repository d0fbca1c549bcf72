//! A lane whose day begins at midnight in a time zone, while the wall clock is set.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::tz::{Offset, TimeZone};
use lanekeeper::lane::LaneConfig;
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota};
use support::lanes::{
    READ, SECOND, WRITE, hold, one, options, status, submit, the, until, within_reason,
};

/// A quota of days as in India.
fn calls_a_day(calls: u32) -> Quota {
    let india = TimeZone::fixed(Offset::from_seconds(19_800).unwrap());
    Quota::per_calendar_day(calls, india).clock_guard(Duration::ZERO)
}

fn one_a_day(clock: &ManualClock) -> Lanes {
    one(LaneConfig::new(calls_a_day(1)).in_flight(1), clock.clone())
}

fn set(clock: &ManualClock, time: &str) {
    clock.set_wall_clock(time.parse().unwrap());
}

/// Makes the one call of a day.
fn spend(lanes: &Lanes) {
    submit(lanes, READ, &options(), || ()).wait().unwrap();
    until(|| status(lanes).in_flight == 0);
}

#[test]
fn a_day_begins_at_its_own_midnight() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        set(&clock, "2026-11-20T23:59:00+05:30");
        let lanes = one_a_day(&clock);
        let began = clock.now();
        spend(&lanes);
        spend(&lanes);
        assert_eq!(clock.now().since(began), 60 * SECOND);
        spend(&lanes);
        assert_eq!(clock.now().since(began), 60 * SECOND + 24 * 3_600 * SECOND);
    });
}

#[test]
fn a_clock_that_is_set_ahead_ends_the_day() {
    within_reason(|| {
        let clock = ManualClock::new();
        set(&clock, "2026-11-20T12:00:00+05:30");
        let lanes = one_a_day(&clock);
        spend(&lanes);
        let next = submit(&lanes, READ, &options(), || ());
        assert_eq!(next.estimated_wait(), Some(12 * 3_600 * SECOND));
        set(&clock, "2026-11-21T00:00:00+05:30");
        next.wait().unwrap();
    });
}

#[test]
fn a_busy_lane_sees_that_the_clock_was_set() {
    within_reason(|| {
        let clock = ManualClock::new();
        set(&clock, "2026-11-20T12:00:00+05:30");
        let config = LaneConfig::new(calls_a_day(2)).in_flight(1);
        let lanes = one(config, clock.clone());
        let held = hold(&lanes, WRITE);
        let calls: Vec<_> = (0..4).map(|_| submit(&lanes, WRITE, &options(), || ())).collect();
        set(&clock, "2026-11-21T12:00:00+05:30");
        let gone = held.let_go();
        gone.wait().unwrap();
        // A call that began on the day before is answered, and counts, on this one: one more may go.
        until(|| calls[0].position().is_none() && status(&lanes).in_flight == 0);
        until(|| calls[1].estimated_wait() == Some(12 * 3_600 * SECOND));
        assert_eq!(calls.iter().filter(|call| call.position().is_some()).count(), 3);
    });
}

#[test]
fn a_call_is_not_too_late_by_the_clock_of_yesterday() {
    within_reason(|| {
        let clock = ManualClock::new();
        set(&clock, "2026-11-20T12:00:00+05:30");
        let lanes = one(LaneConfig::new(calls_a_day(2)).in_flight(1), clock.clone());
        spend(&lanes);
        // The day's quota is spent, and the worker that would poll is executing a call.
        let held = hold(&lanes, WRITE);
        set(&clock, "2026-11-21T12:00:00+05:30");
        let next = submit(&lanes, WRITE, &options().deadline(3_600 * SECOND), || ());
        held.let_go().wait().unwrap();
        next.wait().unwrap();
    });
}

#[test]
fn a_counter_whose_clock_is_set_back_an_hour_does_not_wait_for_it() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        set(&clock, "2026-11-20T12:00:00Z");
        let quota = Quota::sliding_counter(2, SECOND);
        let lanes = one(LaneConfig::new(quota).in_flight(1), clock.clone());
        spend(&lanes);
        set(&clock, "2026-11-20T11:00:00Z");
        let began = clock.now();
        (0..8).for_each(|_| spend(&lanes));
        assert!(clock.now().since(began) < 10 * SECOND);
    });
}

#[test]
fn days_that_a_lane_is_given_later_begin_by_the_wall_clock_of_then() {
    within_reason(|| {
        let clock = ManualClock::new();
        set(&clock, "2026-11-20T12:00:00+05:30");
        let an_hour = LaneConfig::new(Quota::per_hour(100)).in_flight(1);
        let lanes = one(an_hour, clock.clone());
        spend(&lanes);
        // So the call was one of this new day, and not of the one that the wall clock showed before.
        set(&clock, "2026-11-21T00:30:00+05:30");
        the(&lanes).set_quota(&calls_a_day(1)).unwrap();
        let next = submit(&lanes, READ, &options(), || ());
        assert_eq!(next.estimated_wait(), Some(23 * 3_600 * SECOND + 1_800 * SECOND));
    });
}

#[test]
fn days_that_a_budget_is_given_later_begin_by_the_wall_clock_of_then() {
    within_reason(|| {
        let clock = ManualClock::new();
        set(&clock, "2026-11-20T12:00:00+05:30");
        let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
        builder.lane(0, LaneConfig::new(Quota::unlimited()).in_flight(1));
        builder.budget(0, Budget::new(Quota::per_hour(100)));
        builder.clock(clock.clone().into());
        let lanes = builder.build(Limits::new()).unwrap();
        let order = CallSpec { budgets: &[0], ..READ };
        submit(&lanes, order, &options(), || ()).wait().unwrap();
        until(|| status(&lanes).in_flight == 0);
        set(&clock, "2026-11-21T00:30:00+05:30");
        lanes.set_budget("orders", &Budget::new(calls_a_day(1))).unwrap();
        let next = submit(&lanes, order, &options(), || ());
        assert_eq!(next.estimated_wait(), Some(23 * 3_600 * SECOND + 1_800 * SECOND));
    });
}

#[test]
fn a_clock_that_is_set_back_makes_the_day_longer() {
    within_reason(|| {
        let clock = ManualClock::new();
        set(&clock, "2026-11-20T23:00:00+05:30");
        let lanes = one_a_day(&clock);
        spend(&lanes);
        let mut next = submit(&lanes, READ, &options(), || ());
        assert_eq!(next.estimated_wait(), Some(3_600 * SECOND));
        set(&clock, "2026-11-20T22:00:00+05:30");
        until(|| next.estimated_wait() == Some(7_200 * SECOND));
        clock.advance(3_600 * SECOND);
        until(|| next.estimated_wait() == Some(3_600 * SECOND));
        assert_eq!(next.try_wait(), None);
        clock.advance(3_600 * SECOND);
        next.wait().unwrap();
    });
}
