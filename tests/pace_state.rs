//! What was used of the quotas, handed from one proxy to the next.
#![allow(clippy::unwrap_used)]

mod support;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::PaceState;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::jiff::{SignedDuration, Timestamp};
use lanekeeper::lane::{LaneConfig, Shutdown};
use lanekeeper::proxy::{BuildError, Call, LanesBuilder};
use lanekeeper::quota::{
    Allowance, Budget, Charge, Credit, Limits, Moment, NotYet, Permit, Quota, Wall,
};
use proptest::prelude::*;
use support::cases::cases;
use support::lanes::{WRITE, options, submit};
use support::oracle::{Arrival, Count, over};

const MS: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

fn builder(clock: impl Into<Clock>, quota: Quota, orders: Quota) -> LanesBuilder {
    let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
    builder.lane(0, LaneConfig::new(quota).credit(Credit::STRICT));
    builder.budget(0, Budget::new(orders));
    builder.clock(clock.into());
    builder
}

const ORDER: Call = Call { budgets: &[0], ..WRITE };

#[test]
fn a_rebuilt_proxy_goes_on_where_the_old_one_stopped() {
    let clock = ManualClock::new();
    let of_india = lanekeeper::jiff::tz::TimeZone::fixed(lanekeeper::jiff::tz::offset(5));
    let build = || {
        builder(clock.clone(), Quota::per_second(3), Quota::per_calendar_day(50, of_india.clone()))
    };
    let mut state: Option<PaceState> = None;
    for round in 1..=4_u32 {
        let mut builder = build();
        if let Some(state) = state.take() {
            builder.pace_state(state);
        }
        let lanes = builder.build(Limits::new()).unwrap();
        let status = lanes.status();
        let used = |windows: &[lanekeeper::lane::WindowStatus]| windows[0].used;
        // The second of the burst before is not over; and the day counts on.
        assert_eq!(used(&status.lanes[0].windows), if round == 1 { 0 } else { 3 });
        assert_eq!(used(&status.budgets[0].windows), 3 * (round - 1));
        clock.advance(SECOND);
        (0..3).for_each(|_| submit(&lanes, ORDER, &options(), || ()).wait().unwrap());
        lanes.shutdown(Shutdown::Drain(SECOND));
        let text = serde_json::to_string(&lanes.pace_state()).unwrap();
        state = Some(serde_json::from_str(&text).unwrap());
    }
}

#[test]
fn the_time_between_counts_and_a_wall_that_was_set_back_does_not() {
    let used_at = Timestamp::now();
    let left = |passed: i64| {
        let now = used_at.checked_add(SignedDuration::from_secs(passed)).unwrap();
        let wall = Wall { moment: Moment::ORIGIN + 3600 * SECOND, timestamp: now };
        let mut allowance = Allowance::new(wall);
        allowance.add_lane(&Quota::unlimited(), Credit::STRICT).unwrap();
        allowance.add_budget(&Quota::per_minute(400).into()).unwrap();
        let state = PaceState::at(used_at).used("orders", 400, 10 * SECOND);
        allowance.restore(&state, &["test"], &["orders"], wall);
        let order = Charge { budgets: &[0], ..Charge::to_lane(0) };
        match allowance.when(order, wall.moment) {
            Ok(()) => Duration::ZERO,
            Err(NotYet::Until(free)) => free.since(wall.moment),
            Err(never) => panic!("{never}"),
        }
    };
    assert_eq!([0, 20, 49, 50, 86_400].map(left), [50, 30, 1, 0, 0].map(Duration::from_secs));
    assert_eq!(left(-3_600), 50 * SECOND);
}

/// The machine's own clock has moments for what was before it.
#[test]
fn what_another_process_used_is_not_counted_as_used_now() {
    let ten_seconds_ago = Timestamp::now().checked_sub(SignedDuration::from_secs(10)).unwrap();
    let mut builder = builder(Clock::system(), Quota::unlimited(), Quota::per_minute(400));
    builder.pace_state(PaceState::at(ten_seconds_ago).used("orders", 400, Duration::ZERO));
    let lanes = builder.build(Limits::new()).unwrap();
    let free = lanes.status().budgets[0].windows[0].next_free.unwrap();
    assert!(free <= 50 * SECOND, "{free:?}");
}

/// It may have been written by hand.
#[test]
fn no_number_in_a_state_breaks_a_proxy() {
    let most = u64::MAX;
    for uses in [
        format!(
            r#"[{{"ago":0,"took":0,"weight":{most}}},{{"ago":0,"took":{most},"weight":{most}}}]"#
        ),
        format!(r#"[{{"ago":{most},"took":{most},"weight":{most}}}]"#),
        format!(r#"[{{"ago":null,"took":{most},"weight":{most}}}]"#),
        r#"[{"ago":null,"took":0,"weight":0}]"#.to_owned(),
    ] {
        let used = format!(r#"{{"test":{uses},"orders":{uses}}}"#);
        let json = format!(r#"{{"saved_at":"2026-01-01T00:00:00Z","used":{used}}}"#);
        let clock = ManualClock::jumping();
        let quota = || Quota::per_second(3).and(Quota::token_bucket(3, SECOND, 3));
        let mut builder = builder(clock.clone(), quota(), quota());
        builder.pace_state(serde_json::from_str(&json).unwrap());
        let lanes = builder.build(Limits::new()).unwrap();
        lanes.status();
        // An estimate is asked for with a deadline.
        let hasty = options().deadline(SECOND);
        let _ = submit(&lanes, ORDER, &hasty, || ()).wait();
        clock.advance(SECOND * 5);
        submit(&lanes, ORDER, &options(), || ()).wait().unwrap();
        lanes.pace_state();
    }
}

#[test]
fn a_name_that_the_proxy_does_not_have_is_refused() {
    let mut builder = builder(ManualClock::new(), Quota::per_second(1), Quota::per_second(1));
    builder.pace_state(PaceState::at(Timestamp::now()).used("order", 1, Duration::ZERO));
    let Err(error) = builder.build(Limits::new()) else { panic!("it was built") };
    assert!(matches!(&error, BuildError::Unknown { name, .. } if name == "order"));
    assert!(error.to_string().ends_with("it has: test, orders"), "{error}");
}

/// A process that restarts now and then, and keeps its state; each has a clock of its own.
fn run(limit: u32, length: u64, way: u64, seed: u64) -> Result<(), TestCaseError> {
    let mut rng = Rng::with_seed(seed);
    let quota = Quota::new(limit, Duration::from_millis(length)).and(Quota::token_bucket(
        limit,
        Duration::from_millis(length),
        limit,
    ));
    let wall_at =
        |now: u64| Timestamp::from_nanosecond(i128::from(now) + 1_767_225_600_000_000_000);
    let mut arrivals: Vec<Arrival> = Vec::new();
    let (mut now, mut state) = (0_u64, None::<PaceState>);
    while arrivals.len() < 200 {
        // Where the clock of this process begins.
        let origin = Duration::from_secs(rng.u64(100_000..200_000));
        let began = now;
        let wall = |now: u64| Wall {
            moment: Moment::ORIGIN + origin + Duration::from_nanos(now - began),
            timestamp: wall_at(now).unwrap(),
        };
        let mut allowance = Allowance::new(wall(now));
        allowance.add_lane(&quota, Credit::STRICT).unwrap();
        if let Some(state) = &state {
            allowance.restore(state, &["test"], &[], wall(now));
        }
        let mut answers: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        let mut permits: Vec<Option<Permit>> = Vec::new();
        let ends = now + rng.u64(..3 * length * MS);
        while now < ends {
            match allowance.take(Charge::to_lane(0), wall(now).moment) {
                Ok(permit) => {
                    arrivals.push((now + way * MS, 1));
                    answers.push(Reverse((now + 2 * way * MS, permits.len())));
                    permits.push(Some(permit));
                }
                Err(_) => now += rng.u64(..=50 * MS) + 1,
            }
            while let Some(&Reverse((at, call))) =
                answers.peek().filter(|Reverse((at, _))| *at <= now)
            {
                answers.pop();
                allowance.finish(permits[call].take().unwrap(), wall(at).moment);
            }
        }
        state = Some(allowance.save(&["test"], &[], wall(now)));
        now += rng.u64(..length * MS);
    }
    let count = Count::Log { limit: limit.into(), length: length * MS };
    prop_assert_eq!(over(&arrivals, count), 0);
    Ok(())
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn restarts_cost_nothing(
        limit in 1..=10_u32, length in 200..=3_000_u64, way in 0..=150_u64, seed in any::<u64>(),
    ) {
        run(limit, length, way, seed)?;
    }
}
