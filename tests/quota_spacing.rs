//! Even spacing in virtual time: no two calls closer than the gap, all of the quota, and exits that do not wait.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{CallOptions, LaneConfig, Priority};
use lanekeeper::quota::{
    Budget, BudgetSet, Cost, Moment, NotYet, PacingState, Quota, RttCredit, WallClockSample,
};
use lanekeeper::resilience::{Throttle, ThrottlePolicy};
use proptest::prelude::*;
use support::cases::cases;
use support::lanes::{SECOND, WRITE, hold, ms, one, options, status, submit, within_reason};
use support::latency::Latency;
use support::model::{RunStats, Shares, saturate, saturate_with_failures};

const CALL: Cost = Cost::to_lane(0);
const URGENT: Cost = Cost { urgent: true, ..CALL };

fn at(millis: u64) -> Moment {
    Moment::ORIGIN + ms(millis)
}

fn pacing(quota: &Quota) -> PacingState {
    let timestamp = lanekeeper::jiff::Timestamp::UNIX_EPOCH;
    let mut pacing = PacingState::new(WallClockSample { moment: Moment::ORIGIN, timestamp });
    pacing.add_lane(quota, RttCredit::STRICT).unwrap();
    pacing
}

/// Returns the shortest time between two departures.
fn shortest_gap(stats: &RunStats) -> u64 {
    let gaps = stats.departures.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.min().unwrap_or(u64::MAX)
}

/// Returns the gap that the quota asks for, by the definition: of each window its length divided by its limit.
fn widest_gap(quota: &Quota) -> u64 {
    let gaps = quota
        .windows()
        .iter()
        .map(|window| (window.length.as_nanos() as u64).div_ceil(window.limit.into()));
    gaps.max().unwrap()
}

fn quotas() -> impl Strategy<Value = Quota> {
    let window =
        (1..=40_u32, 50..=60_000_u64).prop_map(|(limit, length)| Quota::new(limit, ms(length)));
    prop::collection::vec(window, 1..=3)
        .prop_map(|windows| windows.into_iter().fold(Quota::unlimited(), Quota::and).spaced())
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn no_two_calls_are_closer_than_the_gap(
        quota in quotas(), base in 0..=300_u64, jitter in 0..=200_u64, in_flight in 1..=64_usize,
        lost in 0.0..0.3_f64, seed in any::<u64>(),
    ) {
        let path = Latency::Exponential { base: ms(base), jitter: ms(jitter), late: 0.01 };
        let (credit, shares) = (RttCredit::default(), Shares { lost, local: 0.0 });
        let stats =
            saturate_with_failures(&quota, credit, path, in_flight, ms(120_000), seed, shares);
        prop_assert!(shortest_gap(&stats) >= widest_gap(&quota));
        // The first of them waits for nothing.
        prop_assert_eq!(stats.departures[0], 0);
    }
}

/// With round trips longer than the gap, calls must overlap, or most of the quota would be lost: at 10 s a call, one
/// call at a time would use 30 % of 20 a minute.
#[test]
fn slow_answers_cost_a_spaced_lane_no_quota() {
    let length = ms(4 * 3_600_000);
    let minute = ms(60_000);
    for (quota, limit, window, round_trip, in_flight) in [
        (Quota::per_minute(20), 20, minute, ms(10_000), 8),
        (Quota::per_minute(20), 20, minute, ms(100), 8),
        (Quota::per_second(10).and(Quota::per_minute(400)), 400, minute, ms(900), 16),
        (Quota::per_second(10), 10, SECOND, ms(800), 16),
    ] {
        let path = Latency::Constant { base: round_trip / 2 };
        let spaced = quota.clone().spaced();
        // Connections that idle for longer than 1.2 s are no evidence for a credit.
        let is_cold = widest_gap(&spaced) > 1_200_000_000;
        let credit = if is_cold { RttCredit::STRICT } else { RttCredit::default() };
        let plain = saturate(&quota, credit, path, in_flight, length, 7);
        let stats = saturate(&spaced, RttCredit::default(), path, in_flight, length, 7);
        let of = |stats: &RunStats| stats.used(limit, window, Duration::ZERO, length);
        let (used, bound) = (of(&stats), of(&plain));
        println!(
            "{quota}, {round_trip:?}: {:.2} % spaced, {:.2} % without",
            100.0 * used,
            100.0 * bound
        );
        assert!(shortest_gap(&stats) >= widest_gap(&quota));
        assert!(used >= 0.995 * bound, "{quota}: {used} of {bound}");
    }
}

#[test]
fn the_widest_gap_of_several_windows_decides() {
    let gap_of = |quota: &Quota| {
        let mut pacing = pacing(quota);
        let _permit = pacing.take(CALL, at(0)).unwrap();
        match pacing.available_at(CALL, at(0)) {
            Err(NotYet::Until(moment)) => moment.since(at(0)),
            other => panic!("{quota}: {other:?}"),
        }
    };
    let both = Quota::per_second(10).and(Quota::per_minute(400));
    assert_eq!(gap_of(&both.clone().spaced()), ms(150));
    assert_eq!(gap_of(&Quota::per_second(10).spaced().and(Quota::per_minute(400))), ms(100));
    // Rounded up, so that three of them are not less than the window.
    assert_eq!(gap_of(&Quota::per_second(3).spaced()), Duration::from_nanos(333_333_334));
    // The rate of a bucket, whatever its burst.
    assert_eq!(gap_of(&Quota::token_bucket(10, SECOND, 50).spaced()), ms(100));
    assert_eq!(gap_of(&Quota::sliding_counter(10, SECOND).spaced()), ms(100));
    // The shortest day has 23 hours.
    let day = Quota::per_calendar_day(23, lanekeeper::jiff::tz::TimeZone::UTC);
    assert_eq!(gap_of(&day.spaced()), ms(3_600_000));
    let mut unlimited = pacing(&Quota::unlimited().spaced());
    let _permits: Vec<_> = (0..100).map(|_| unlimited.take(CALL, at(0)).unwrap()).collect();
    assert!(Quota::per_second(0).spaced().check().is_err());
}

#[test]
fn an_exit_does_not_wait_for_the_gap_and_still_takes_a_slot() {
    let mut pacing = pacing(&Quota::per_minute(3).spaced());
    let _first = pacing.take(CALL, at(0)).unwrap();
    assert_eq!(pacing.available_at(CALL, at(1)), Err(NotYet::Until(at(20_000))));
    let _exit = pacing.take(URGENT, at(5_000)).unwrap();
    // The gap is kept after the exit too.
    assert_eq!(pacing.available_at(CALL, at(20_000)), Err(NotYet::Until(at(25_000))));
    let _other = pacing.take(URGENT, at(5_000)).unwrap();
    assert_eq!(pacing.available_at(CALL, at(30_000)), Err(NotYet::InFlight));
    assert!(matches!(pacing.available_at(URGENT, at(30_000)), Err(NotYet::Until(_))));
}

#[test]
fn a_heavy_call_is_followed_by_as_many_gaps() {
    let mut pacing = pacing(&Quota::per_second(10).spaced());
    let _heavy = pacing.take(Cost { weight: 3, ..CALL }, at(0)).unwrap();
    // An exit within them does not shorten them.
    let _exit = pacing.take(URGENT, at(10)).unwrap();
    assert_eq!(pacing.available_at(CALL, at(10)), Err(NotYet::Until(at(300))));
    assert_eq!(pacing.estimate(CALL, 4, at(10)), Some(at(700)));
    assert_eq!(pacing.estimate(URGENT, 4, at(10)), Some(at(10)));
}

/// A local error was not sent, so it must not cost a gap.
#[test]
fn a_call_that_is_given_back_leaves_no_gap() {
    let mut pacing = pacing(&Quota::per_second(10).spaced());
    let _first = pacing.take(CALL, at(0)).unwrap();
    let local = pacing.take(CALL, at(100)).unwrap();
    assert_eq!(pacing.available_at(CALL, at(100)), Err(NotYet::Until(at(200))));
    pacing.give_back(local);
    let _next = pacing.take(CALL, at(100)).unwrap();
    // The gap of the first call was not forgotten either.
    assert_eq!(pacing.available_at(CALL, at(150)), Err(NotYet::Until(at(200))));
}

#[test]
fn a_new_quota_counts_its_gap_from_the_last_call() {
    let mut pacing = pacing(&Quota::per_second(10));
    let permit = pacing.take(CALL, at(0)).unwrap();
    pacing.finish(permit, at(10));
    pacing.set_lane(0, &Quota::per_minute(20).spaced(), at(20)).unwrap();
    assert_eq!(pacing.available_at(CALL, at(20)), Err(NotYet::Until(at(3_000))));
    let used = pacing.lane_use(0, at(20));
    assert_eq!((used[0].used, used[0].next_free), (1, Some(at(3_000))));
    pacing.set_lane(0, &Quota::per_minute(20), at(20)).unwrap();
    assert_eq!(pacing.available_at(CALL, at(20)), Ok(()));
}

#[test]
fn a_budget_can_be_spaced_and_holds_up_only_its_own_calls() {
    let mut pacing = pacing(&Quota::unlimited());
    pacing.add_budget(&Budget::new(Quota::per_minute(20).spaced())).unwrap();
    let order = Cost { budgets: BudgetSet::of(&[0]), ..CALL };
    let permit = pacing.take(order, at(0)).unwrap();
    pacing.finish(permit, at(10));
    assert_eq!(pacing.available_at(order, at(10)), Err(NotYet::Until(at(3_000))));
    assert_eq!(pacing.available_at(CALL, at(10)), Ok(()));
    // No order passes a call that costs the budget alone before then.
    assert_eq!(pacing.slots_ahead(order, CALL, at(10)), 0);
    assert_eq!(pacing.slots_ahead(order, CALL, at(3_000)), 1);
}

#[test]
fn the_gap_holds_across_a_restart() {
    let mut old = pacing(&Quota::per_minute(20).spaced());
    let permit = old.take(CALL, at(1_000)).unwrap();
    old.finish(permit, at(1_500));
    let timestamp = lanekeeper::jiff::Timestamp::UNIX_EPOCH;
    let now = WallClockSample { moment: at(2_000), timestamp };
    let snapshot = old.save(&["test"], &[], now);
    let mut new = pacing(&Quota::per_minute(20).spaced());
    new.restore(&snapshot, &["test"], &[], now);
    assert_eq!(new.available_at(CALL, at(2_000)), Err(NotYet::Until(at(4_000))));
}

/// Seven calls at once and then none for the rest of a window would be no better than no cut.
#[test]
fn a_rate_cut_of_a_spaced_quota_is_spaced_too() {
    for (quota, cut) in [
        (Quota::per_second(10).spaced(), Quota::per_second(7).spaced()),
        (Quota::per_second(10), Quota::per_second(7)),
    ] {
        let mut throttle = Throttle::new(ThrottlePolicy::default(), quota.clone()).unwrap();
        let mut sent: Vec<_> =
            (0..10).map(|call| throttle.on_send(at(call * 100), 1, true)).collect();
        throttle.on_throttled(sent.pop().unwrap(), at(950), None);
        assert_eq!(throttle.cut(), cut);
        assert_eq!(throttle.take_new_quota(), Some(quota.and(cut)));
    }
}

/// With the real threads of a lane.
#[test]
fn a_spaced_lane_sends_evenly_and_an_exit_at_once() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = one(LaneConfig::new(Quota::per_minute(20).spaced()), clock.clone());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let began = clock.now();
        let send = |name: &'static str, options: &CallOptions| {
            let (sent, clock) = (Arc::clone(&sent), Clock::from(clock.clone()));
            submit(&lanes, WRITE, options, move || {
                sent.lock().unwrap().push((name, clock.now().since(began)));
                // Longer than the gap.
                clock.sleep(SECOND * 5);
            })
        };
        // Nothing advances while this call is in flight, so all others are queued at the same moment.
        let first = hold(&lanes, WRITE);
        let mut tickets: Vec<_> = (0..25).map(|_| send("call", &options())).collect();
        tickets.push(send("exit", &options().priority(Priority::URGENT)));
        assert_eq!(status(&lanes).quota, "20/min spaced");
        first.let_go().wait().unwrap();
        tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
        let sent = sent.lock().unwrap();
        let exit = sent.iter().find(|(name, _)| *name == "exit").unwrap().1;
        assert!(exit == Duration::ZERO, "the exit waited for {exit:?}");
        let calls: Vec<_> =
            sent.iter().filter(|(name, _)| *name == "call").map(|it| it.1).collect();
        assert!(calls.windows(2).all(|pair| pair[1] - pair[0] >= SECOND * 3), "{calls:?}");
        // The first call and the exit took two of the twenty slots.
        let first_minute = calls.iter().filter(|at| **at < SECOND * 60).count();
        assert_eq!(first_minute, 18, "{calls:?}");
    });
}
