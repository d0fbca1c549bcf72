//! The usage of the quotas, handed from one proxy to the next.
#![allow(clippy::unwrap_used)]

mod support;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
#[cfg(feature = "journal")]
use lanekeeper::PaceFile;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::jiff::{SignedDuration, Timestamp};
use lanekeeper::lane::{LaneConfig, LaneErrorKind, Shutdown};
#[cfg(feature = "journal")]
use lanekeeper::lane::{PaceLog as _, RecordedCall};
use lanekeeper::proxy::{BuildError, CallSpec, LanesBuilder};
use lanekeeper::quota::{
    Budget, BudgetSet, Cost, Limits, Moment, NotYet, PacingState, Permit, Quota, RttCredit,
    WallClockSample,
};
use lanekeeper::{PaceSnapshot, PriorUsage};
use proptest::prelude::*;
use support::cases::cases;
use support::lanes::{WRITE, options, submit};
use support::oracle::{Arrival, Count, count_excess};

const MS: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

fn builder(clock: impl Into<Clock>, quota: Quota, orders: Quota) -> LanesBuilder {
    let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
    builder.lane(0, LaneConfig::new(quota).credit(RttCredit::STRICT));
    builder.budget(0, Budget::new(orders));
    builder.clock(clock.into());
    builder
}

const ORDER: CallSpec = CallSpec { budgets: &[0], ..WRITE };

#[test]
fn a_rebuilt_proxy_goes_on_where_the_old_one_stopped() {
    let clock = ManualClock::new();
    let of_india = lanekeeper::jiff::tz::TimeZone::fixed(lanekeeper::jiff::tz::offset(5));
    let build = || {
        builder(clock.clone(), Quota::per_second(3), Quota::per_calendar_day(50, of_india.clone()))
    };
    let mut state: Option<PaceSnapshot> = None;
    for round in 1..=4_u32 {
        let mut builder = build();
        if let Some(state) = state.take() {
            builder.pace_snapshot(state);
        }
        let lanes = builder.build(Limits::new()).unwrap();
        let status = lanes.status();
        let used = |windows: &[lanekeeper::lane::WindowStatus]| windows[0].used;
        // The lane's window of a second has passed since the previous burst, and the day counts on.
        assert_eq!(used(&status.lanes[0].windows), if round == 1 { 0 } else { 3 });
        assert_eq!(used(&status.budgets[0].windows), 3 * (round - 1));
        clock.advance(SECOND);
        (0..3).for_each(|_| submit(&lanes, ORDER, &options(), || ()).wait().unwrap());
        lanes.shutdown(Shutdown::Drain(SECOND));
        let text = serde_json::to_string(&lanes.pace_snapshot()).unwrap();
        state = Some(serde_json::from_str(&text).unwrap());
    }
}

#[test]
fn the_time_between_counts_and_a_wall_clock_that_was_set_back_does_not() {
    let used_at = Timestamp::now();
    let left = |passed: i64| {
        let now = used_at.checked_add(SignedDuration::from_secs(passed)).unwrap();
        let wall = WallClockSample { moment: Moment::ORIGIN + 3600 * SECOND, timestamp: now };
        let mut pacing_state = PacingState::new(wall);
        pacing_state.add_lane(&Quota::unlimited(), RttCredit::STRICT).unwrap();
        pacing_state.add_budget(&Quota::per_minute(400).into()).unwrap();
        let state = PaceSnapshot::at(used_at).used("orders", 400, 10 * SECOND);
        pacing_state.restore(&state, &["test"], &["orders"], wall);
        let order = Cost { budgets: BudgetSet::of(&[0]), ..Cost::to_lane(0) };
        match pacing_state.available_at(order, wall.moment) {
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
    builder.pace_snapshot(PaceSnapshot::at(ten_seconds_ago).used("orders", 400, Duration::ZERO));
    let lanes = builder.build(Limits::new()).unwrap();
    let free = lanes.status().budgets[0].windows[0].next_free.unwrap();
    assert!(free <= 50 * SECOND, "{free:?}");
}

/// A snapshot may have been written by hand.
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
        let clock = ManualClock::auto_advancing();
        let quota = || Quota::per_second(3).and(Quota::token_bucket(3, SECOND, 3));
        let mut builder = builder(clock.clone(), quota(), quota());
        builder.pace_snapshot(serde_json::from_str(&json).unwrap());
        let lanes = builder.build(Limits::new()).unwrap();
        lanes.status();
        // An estimate is asked for with a deadline.
        let hasty = options().deadline(SECOND);
        let _ = submit(&lanes, ORDER, &hasty, || ()).wait();
        clock.advance(SECOND * 5);
        submit(&lanes, ORDER, &options(), || ()).wait().unwrap();
        lanes.pace_snapshot();
    }
}

#[test]
fn a_name_that_the_proxy_does_not_have_is_refused() {
    let mut builder = builder(ManualClock::new(), Quota::per_second(1), Quota::per_second(1));
    builder.pace_snapshot(PaceSnapshot::at(Timestamp::now()).used("order", 1, Duration::ZERO));
    let Err(error) = builder.build(Limits::new()) else { panic!("it was built") };
    assert!(matches!(&error, BuildError::Unknown { name, .. } if name == "order"));
    assert!(error.to_string().ends_with("it has: test, orders"), "{error}");
}

/// What a process knows of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq)]
enum PriorKnowledge {
    /// Its predecessor ended in order, and handed over its snapshot.
    Kept,
    /// Its predecessor recorded each call in a file, and was killed.
    #[cfg(feature = "journal")]
    Noted,
    /// Nothing: it blocks for a window.
    None,
    /// Nothing, and it does not block.
    Careless,
}

/// Runs a process that is ended now and then, and started again at once or a little later, each with a clock of its
/// own. Returns how many of its calls the broker counted beyond the limit, and how many there were.
fn run(memory: PriorKnowledge, limit: u32, length: u64, way: u64, seed: u64) -> (u64, usize) {
    let mut rng = Rng::with_seed(seed);
    let quota = Quota::new(limit, Duration::from_millis(length)).and(Quota::token_bucket(
        limit,
        Duration::from_millis(length),
        limit,
    ));
    let wall_at =
        |now: u64| Timestamp::from_nanosecond(i128::from(now) + 1_767_225_600_000_000_000).unwrap();
    let mut arrivals: Vec<Arrival> = Vec::new();
    let (mut now, mut state) = (0_u64, None::<PaceSnapshot>);
    #[cfg(feature = "journal")]
    let folder = tempfile::tempdir().unwrap();
    while arrivals.len() < 200 {
        // Where the clock of this process begins.
        let origin = Duration::from_secs(rng.u64(100_000..200_000));
        let began = now;
        let moment_at = |now: u64| Moment::ORIGIN + origin + Duration::from_nanos(now - began);
        let wall = |now: u64| WallClockSample { moment: moment_at(now), timestamp: wall_at(now) };
        let mut pacing_state = PacingState::new(wall(now));
        pacing_state.add_lane(&quota, RttCredit::STRICT).unwrap();
        if let Some(state) = &state {
            pacing_state.restore(state, &["test"], &[], wall(now));
        }
        #[cfg(feature = "journal")]
        let file = (memory == PriorKnowledge::Noted).then(|| {
            let file = PaceFile::open(folder.path().join("account.pace")).unwrap();
            let remember = [("test", Duration::from_millis(length))];
            let known = file.begin(wall_at(now), &remember, PriorUsage::UNKNOWN).unwrap();
            pacing_state.restore(&known.used, &["test"], &[], wall(now));
            let ago = wall_at(now).duration_since(known.since.unwrap());
            let since = moment_at(now) - Duration::try_from(ago).unwrap();
            pacing_state.block_until_forgotten(since, 60 * SECOND);
            file
        });
        if memory == PriorKnowledge::None {
            pacing_state.block_until_forgotten(moment_at(now), 60 * SECOND);
        }
        let mut answers: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        let mut permits: Vec<Option<Permit>> = Vec::new();
        let ends = now + rng.u64(..4 * length * MS + 2_000 * MS);
        while now < ends {
            match pacing_state.take(Cost::to_lane(0), moment_at(now)) {
                Ok(permit) => {
                    #[cfg(feature = "journal")]
                    if let Some(file) = &file {
                        let call = RecordedCall::new(permits.len() as u64, 1, &["test"]);
                        file.taken(&call, wall_at(now)).unwrap();
                    }
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
                pacing_state.finish(permits[call].take().unwrap(), moment_at(at));
                #[cfg(feature = "journal")]
                if let Some(file) = &file {
                    file.finished(call as u64, wall_at(at)).unwrap();
                }
            }
        }
        state =
            (memory == PriorKnowledge::Kept).then(|| pacing_state.save(&["test"], &[], wall(now)));
        now += rng.u64(..length * MS);
    }
    let count = Count::Log { limit: limit.into(), length: length * MS };
    (count_excess(&arrivals, count) as u64, arrivals.len())
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn restarts_cost_nothing(
        limit in 1..=10_u32, length in 200..=3_000_u64, way in 0..=150_u64, seed in any::<u64>(),
    ) {
        prop_assert_eq!(run(PriorKnowledge::Kept, limit, length, way, seed).0, 0);
        prop_assert_eq!(run(PriorKnowledge::None, limit, length, way, seed).0, 0);
    }

    #[cfg(feature = "journal")]
    #[test]
    fn a_process_that_is_killed_costs_nothing_to_the_next_if_it_recorded_its_calls(
        limit in 1..=10_u32, length in 200..=3_000_u64, way in 0..=150_u64, seed in any::<u64>(),
    ) {
        prop_assert_eq!(run(PriorKnowledge::Noted, limit, length, way, seed).0, 0);
    }
}

#[test]
fn without_prior_usage_restarts_go_over_the_quota() {
    let (excess, all) = run(PriorKnowledge::Careless, 10, 1_000, 20, 7);
    assert!(excess > 5, "{excess} of {all}");
}

/// For a window of a second, all but urgent calls are blocked for one second and the time in transit of the last
/// call.
#[test]
fn a_proxy_that_knows_nothing_blocks_for_one_window() {
    let clock = ManualClock::new();
    let quota = Quota::per_second(2).and(Quota::per_day(50));
    let mut builder = builder(clock.clone(), quota, Quota::per_minute(4));
    builder.prior_usage(PriorUsage::Unknown(60 * SECOND));
    let lanes = builder.build(Limits::new()).unwrap();
    let (mut lane_alone, mut order) =
        (submit(&lanes, WRITE, &options(), || ()), submit(&lanes, ORDER, &options(), || ()));
    let urgent = options().priority(lanekeeper::Priority::URGENT);
    submit(&lanes, ORDER, &urgent, || ()).wait().unwrap();
    let hasty = submit(&lanes, WRITE, &options().deadline(SECOND), || ()).wait().unwrap_err();
    assert_eq!(hasty.kind, LaneErrorKind::TooLate { retry_in: 2 * SECOND });
    clock.advance(2 * SECOND - Duration::from_millis(1));
    assert!(lane_alone.try_wait().is_none());
    clock.advance(Duration::from_millis(1));
    lane_alone.wait().unwrap();
    clock.advance(59 * SECOND - Duration::from_millis(1));
    assert!(order.try_wait().is_none());
    clock.advance(Duration::from_millis(1));
    order.wait().unwrap();
}

/// Only a clock that advances in real time and an account that others share have prior usage.
#[test]
fn a_proxy_with_unknown_prior_usage_blocks_by_default() {
    let waits = |builder: LanesBuilder, documented: Limits| {
        let lanes = builder.build(documented).unwrap();
        lanes.status().lanes[0].estimated_wait.unwrap() > Duration::ZERO
    };
    let limits =
        || Limits::new().lane("test", Quota::per_second(3)).budget("orders", Quota::per_second(3));
    let plain = |clock: Clock| {
        let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
        builder.clock(clock);
        builder
    };
    assert!(waits(plain(Clock::system()), limits().shared_account()));
    assert!(!waits(plain(Clock::system()), limits()));
    assert!(!waits(plain(ManualClock::new().into()), limits().shared_account()));
    let with_usage = |past| {
        let mut builder = plain(Clock::system());
        builder.prior_usage(past);
        builder
    };
    assert!(!waits(with_usage(PriorUsage::None), limits().shared_account()));
    assert!(waits(with_usage(PriorUsage::UNKNOWN), limits()));
    // Explicit limits count for an adapter that documents nothing, not against one that does.
    let set = || {
        let mut builder = plain(Clock::system());
        builder.limits(limits().shared_account());
        builder
    };
    assert!(waits(set(), Limits::new()));
    assert!(!waits(set(), limits()));
    let mut handed_over = plain(Clock::system());
    handed_over.pace_snapshot(PaceSnapshot::at(Timestamp::now()));
    assert!(!waits(handed_over, limits().shared_account()));
}
