//! A lane whose day begins at midnight somewhere, while the clock on the wall is set.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::tz::{Offset, TimeZone};
use lanekeeper::lane::LaneConfig;
use lanekeeper::proxy::Lanes;
use lanekeeper::quota::Quota;
use support::lanes::{READ, SECOND, one, options, status, submit, until, within_reason};

/// One call a day, as days are in India.
fn one_a_day(clock: &ManualClock) -> Lanes {
    let india = TimeZone::fixed(Offset::from_seconds(19_800).unwrap());
    let quota = Quota::per_calendar_day(1, india).clock_guard(Duration::ZERO);
    one(LaneConfig::new(quota).in_flight(1), clock.clone())
}

fn set(clock: &ManualClock, time: &str) {
    clock.set_wall(time.parse().unwrap());
}

/// Makes the call of a day.
fn spend(lanes: &Lanes) {
    submit(lanes, READ, &options(), || ()).wait().unwrap();
    until(|| status(lanes).in_flight == 0);
}

#[test]
fn a_day_begins_at_its_own_midnight() {
    within_reason(|| {
        let clock = ManualClock::jumping();
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
