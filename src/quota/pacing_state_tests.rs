//! Scenes for one allowance, with times that can be worked out by hand.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::*;

pub(super) const MS: Duration = Duration::from_millis(1);
const NANO: Duration = Duration::from_nanos(1);

pub(super) fn at(ms: u32) -> Moment {
    Moment::ORIGIN + MS * ms
}

pub(super) fn pacing(timestamp: &str, lanes: &[Quota], budgets: &[Budget]) -> PacingState {
    let timestamp: Timestamp = timestamp.parse().unwrap();
    let mut pacing = PacingState::new(WallClockSample { moment: Moment::ORIGIN, timestamp });
    for quota in lanes {
        pacing.add_lane(quota, RttCredit::STRICT).unwrap();
    }
    for budget in budgets {
        pacing.add_budget(budget).unwrap();
    }
    pacing
}

pub(super) fn lane(quota: Quota) -> PacingState {
    pacing("1970-01-01T00:00:00Z", &[quota], &[])
}

pub(super) const CALL: Cost = Cost::to_lane(0);

/// A call that takes no time.
pub(super) fn call(pacing: &mut PacingState, cost: Cost, now: Moment) {
    let permit = pacing.take(cost, now).unwrap();
    pacing.finish(permit, now);
}

#[test]
fn a_weight_waits_until_enough_is_free() {
    let mut pacing = lane(Quota::per_second(4));
    for ms in [0, 10, 20, 30] {
        call(&mut pacing, CALL, at(ms));
    }
    let heavy = Cost { weight: 3, ..CALL };
    assert_eq!(pacing.available_at(heavy, at(40)), Err(NotYet::Until(at(1020))));
    assert_eq!(pacing.available_at(Cost { weight: 5, ..CALL }, at(40)), Err(NotYet::Never));
    let _held = pacing.take(Cost { weight: 2, ..CALL }, at(1010)).unwrap();
    assert_eq!(pacing.available_at(heavy, at(1010)), Err(NotYet::InFlight));
    // Weight zero is weight one.
    assert_eq!(
        pacing.available_at(Cost { weight: 0, ..CALL }, at(1010)),
        Err(NotYet::Until(at(1020)))
    );
}

#[test]
fn a_refusal_says_which_budgets_refuse_and_when_the_first_has_room() {
    let quotas = [Quota::per_second(1), Quota::per_minute(1)].map(Budget::new);
    let lanes = [Quota::new(1, 2000 * MS), Quota::unlimited()];
    let mut pacing = pacing("1970-01-01T00:00:00Z", &lanes, &quotas);
    let both = Cost { budgets: BudgetSet::of(&[0, 1]), ..CALL };
    call(&mut pacing, both, at(0));
    let refused = |pacing: &mut PacingState, cost, ms| {
        let refused = pacing.check(cost, at(ms)).unwrap_err();
        (refused.budgets().collect::<Vec<_>>(), refused.next_change())
    };
    assert_eq!(refused(&mut pacing, both, 10), (vec![0, 1], Some(at(1_000))));
    assert_eq!(refused(&mut pacing, CALL, 10), (vec![], Some(at(2_000))));
    assert_eq!(refused(&mut pacing, both, 1_000), (vec![1], Some(at(60_000))));
    // What only an answer can change has no time.
    let _held = pacing.take(Cost { budgets: BudgetSet::of(&[0]), ..Cost::to_lane(1) }, at(1_000));
    assert_eq!(refused(&mut pacing, both, 1_000), (vec![0, 1], Some(at(60_000))));
    let other = Cost { lane: 1, budgets: BudgetSet::of(&[0]), ..CALL };
    assert_eq!(refused(&mut pacing, other, 2_500), (vec![0], None));
}

#[test]
fn the_slots_of_a_lost_call_are_held_for_as_long_again_and_a_round_trip() {
    let mut pacing = lane(Quota::per_second(1));
    let permit = pacing.take(CALL, at(0)).unwrap();
    pacing.finish(permit, at(50));
    let lost = pacing.take(CALL, at(1050)).unwrap();
    pacing.finish_unanswered(lost, at(1250));
    // No caller waits for it, and its slot is held.
    assert_eq!((pacing.in_flight(0), pacing.lane_use(0, at(1250))[0].used), (0, 1));
    assert_eq!(pacing.next_release(at(1250)), Some(at(1500)));
    assert_eq!(pacing.available_at(CALL, at(1499)), Err(NotYet::InFlight));
    assert_eq!(pacing.available_at(CALL, at(1500)), Err(NotYet::Until(at(2500))));
    assert_eq!(pacing.next_release(at(1500)), None);
}

#[test]
fn the_slots_of_a_call_that_is_given_up_early_are_held_until_it_can_have_arrived() {
    let mut pacing = lane(Quota::per_second(1));
    // No answer has shown how long a call travels.
    let lost = pacing.take(CALL, at(0)).unwrap();
    pacing.finish_unanswered(lost, at(1));
    assert_eq!(pacing.next_release(at(1)), Some(at(1000)));
    let permit = pacing.take(CALL, at(2000)).unwrap();
    pacing.finish(permit, at(2080));
    let permit = pacing.take(CALL, at(4000)).unwrap();
    pacing.finish(permit, at(4050));
    let lost = pacing.take(CALL, at(6000)).unwrap();
    pacing.finish_unanswered(lost, at(6001));
    // The longest round trip, and the shortest, which the credit assumes.
    assert_eq!(pacing.next_release(at(6001)), Some(at(6130)));
}

#[test]
fn lanes_and_budgets_are_numbered_as_they_come() {
    let mut pacing = lane(Quota::unlimited());
    assert_eq!(pacing.add_lane(&Quota::per_second(1), RttCredit::STRICT), Ok(1));
    for number in 0..3 {
        assert_eq!(pacing.add_budget(&Quota::per_second(1).into()), Ok(number));
    }
}

#[test]
fn what_does_not_exist_never_has_room_and_never_panics() {
    let mut pacing = lane(Quota::per_second(4));
    for cost in [Cost::to_lane(1), Cost { budgets: BudgetSet::of(&[0]), ..CALL }] {
        assert_eq!(pacing.take(cost, at(0)).map(drop), Err(NotYet::Never));
        assert_eq!(pacing.estimate(cost, 5, at(0)), None);
    }
    assert_eq!(pacing.set_lane(7, &Quota::unlimited(), at(0)), Err(QuotaError::NoLane { lane: 7 }));
    assert!(pacing.set_budget(7, &Quota::unlimited().into(), at(0)).is_err());
    assert!(pacing.lane_use(7, at(0)).is_empty() && pacing.budget_use(7, at(0)).is_empty());
    assert_eq!((pacing.in_flight(7), pacing.min_round_trip(7)), (0, None));
}

#[test]
fn only_urgent_calls_use_the_reserve_of_a_budget() {
    let budget = Budget::new(Quota::per_second(3)).reserve(1);
    let quota = Quota::per_second(10);
    let mut pacing = pacing("1970-01-01T00:00:00Z", &[quota.clone(), quota], &[budget]);
    let order = Cost { budgets: BudgetSet::of(&[0, 0]), ..CALL };
    call(&mut pacing, order, at(0));
    call(&mut pacing, Cost { lane: 1, ..order }, at(5));
    assert_eq!(pacing.available_at(order, at(10)), Err(NotYet::Until(at(1000))));
    assert_eq!(pacing.available_at(CALL, at(10)), Ok(()));
    assert_eq!(pacing.available_at(Cost { weight: 3, ..order }, at(10)), Err(NotYet::Never));
    call(&mut pacing, Cost { urgent: true, ..order }, at(10));
    assert_eq!(
        pacing.available_at(Cost { urgent: true, ..order }, at(10)),
        Err(NotYet::Until(at(1000)))
    );
    // The last free slot is the reserve again: the next plain call waits for two.
    assert_eq!(pacing.available_at(order, at(10)), Err(NotYet::Until(at(1005))));
    assert_eq!(pacing.budget_use(0, at(10))[0].used, 3);
    assert_eq!(pacing.budget_use(0, at(10))[0].next_free, Some(at(1000)));
}

#[test]
fn a_budget_has_the_smallest_credit_of_the_lanes_that_use_it() {
    let quota = Quota::per_second(100);
    let mut pacing = pacing(
        "1970-01-01T00:00:00Z",
        std::slice::from_ref(&quota),
        &[Quota::per_second(1).into()],
    );
    pacing.add_lane(&quota, RttCredit::percent(90)).unwrap();
    let order = |lane| Cost { lane, budgets: BudgetSet::of(&[0]), weight: 1, urgent: false };
    let mut now = at(0);
    for _ in 0..17 {
        let permit = pacing.take(order(1), now).unwrap();
        pacing.finish(permit, now + 100 * MS);
        now = now + 1100 * MS;
    }
    assert_eq!(pacing.credit(1), 90 * MS);
    let answered = now - 1000 * MS;
    assert_eq!(pacing.available_at(order(1), answered), Err(NotYet::Until(now - 90 * MS)));
    // A strict lane has its say about the calls of the other, even before its first call..
    assert_eq!(pacing.available_at(order(0), answered), Err(NotYet::Until(now)));
    assert_eq!(pacing.available_at(order(1), answered), Err(NotYet::Until(now - 90 * MS)));
    // .. and from then on for both.
    call(&mut pacing, order(0), now);
    assert_eq!(pacing.available_at(order(1), now), Err(NotYet::Until(now + 1000 * MS)));
}

#[test]
fn a_changed_quota_keeps_the_count() {
    let wide = Quota::per_second(10).and(Quota::per_minute(20));
    let mut pacing = lane(wide.clone());
    for ms in 0..10 {
        call(&mut pacing, CALL, at(ms));
    }
    let held = pacing.take(CALL, at(2000)).unwrap();
    // Narrower: what is over the limit cools first.
    pacing.set_lane(0, &Quota::per_minute(5), at(2000)).unwrap();
    assert_eq!(pacing.lane_use(0, at(2000))[0].used, 11);
    assert_eq!(pacing.available_at(CALL, at(2000)), Err(NotYet::Until(at(60_006))));
    // A window that was taken away finds its count again, with what came meanwhile.
    pacing.set_lane(0, &Quota::per_second(10), at(2000)).unwrap();
    pacing.finish(held, at(2500));
    call(&mut pacing, CALL, at(9000));
    pacing.set_lane(0, &wide, at(9000)).unwrap();
    let used: Vec<u32> = pacing.lane_use(0, at(9000)).iter().map(|one| one.used).collect();
    assert_eq!(used, [1, 12]);
    // A bucket that is new is told of the calls that are remembered.
    pacing.set_lane(0, &Quota::token_bucket(1, MS * 10_000, 13), at(9000)).unwrap();
    assert_eq!(pacing.lane_use(0, at(9000))[0].used, 12);
    // Another capacity at the same rate misses the same tokens.
    pacing.set_lane(0, &Quota::token_bucket(1, MS * 10_000, 20), at(9000)).unwrap();
    assert_eq!(pacing.lane_use(0, at(9000))[0].used, 12);
}

#[test]
fn a_bucket_lets_a_burst_through_and_then_its_rate() {
    let mut pacing = lane(Quota::token_bucket(10, MS * 1000, 3));
    for _ in 0..3 {
        call(&mut pacing, CALL, at(0));
    }
    assert_eq!(pacing.available_at(CALL, at(0)), Err(NotYet::Until(at(100))));
    assert_eq!(pacing.available_at(CALL, at(100) - NANO), Err(NotYet::Until(at(100))));
    let held = pacing.take(CALL, at(100)).unwrap();
    // It is spent when its answer comes; until then it is held.
    assert_eq!(pacing.available_at(CALL, at(100)), Err(NotYet::Until(at(200))));
    pacing.finish(held, at(10_000));
    assert_eq!(
        pacing.available_at(Cost { weight: 3, ..CALL }, at(10_000)),
        Err(NotYet::Until(at(10_100)))
    );
    assert_eq!(pacing.available_at(Cost { weight: 4, ..CALL }, at(10_000)), Err(NotYet::Never));
}

#[test]
fn a_sliding_counter_fades_the_stretch_before() {
    let mut pacing = lane(Quota::sliding_counter(4, MS * 1000));
    for _ in 0..4 {
        call(&mut pacing, CALL, at(900));
    }
    assert_eq!(pacing.available_at(CALL, at(900)), Err(NotYet::Until(at(1250))));
    call(&mut pacing, CALL, at(1250));
    assert_eq!(pacing.available_at(CALL, at(1250)), Err(NotYet::Until(at(1500))));
    assert_eq!(pacing.lane_use(0, at(1251))[0].used, 4);
}

#[test]
fn a_stretch_begins_with_its_first_nanosecond() {
    let mut pacing = lane(Quota::sliding_counter(1, MS * 1000));
    assert_eq!(pacing.available_at(CALL, at(500)), Ok(()));
    call(&mut pacing, CALL, at(1000));
    assert_eq!(pacing.available_at(CALL, at(1000)), Err(NotYet::Until(at(3000))));
}

#[test]
fn a_wall_clock_that_is_set_back_makes_no_call_heavier() {
    let mut pacing = lane(Quota::sliding_counter(4, MS * 1000));
    for _ in 0..4 {
        call(&mut pacing, CALL, at(900));
    }
    assert_eq!(pacing.available_at(CALL, at(1100)), Err(NotYet::Until(at(1250))));
    let timestamp = "1969-12-31T23:59:50Z".parse().unwrap();
    pacing.set_wall_clock(WallClockSample { moment: at(1100), timestamp });
    assert_eq!(pacing.lane_use(0, at(1100))[0].used, 4);
    // They fade from there, as they would have, and not once the hour is as late again.
    assert_eq!(pacing.available_at(CALL, at(1100)), Err(NotYet::Until(at(1350))));
    call(&mut pacing, CALL, at(1350));
    // Set back by no more than a stretch, the stretch goes on.
    let timestamp = "1969-12-31T23:59:49.5Z".parse().unwrap();
    pacing.set_wall_clock(WallClockSample { moment: at(1350), timestamp });
    assert_eq!(pacing.available_at(CALL, at(1350)), Err(NotYet::Until(at(2350))));
}

/// So many days after 1970 and so many milliseconds more, by the clock on the wall, at that moment.
fn day(days: i64, millis: u32) -> WallClockSample {
    let timestamp = Timestamp::from_second(days * 86_400).unwrap();
    WallClockSample { moment: at(millis), timestamp: timestamp + MS * millis }
}

/// Two calls a day, or ten a minute as counters count, by a wall that is ahead of the right one.
fn with_wrong_wall_clock(quota: Quota, wall_clock: WallClockSample) -> PacingState {
    let mut pacing = PacingState::new(wall_clock);
    pacing.add_lane(&quota, RttCredit::STRICT).unwrap();
    pacing
}

#[test]
fn what_was_counted_by_a_wall_that_was_wrong_is_counted_anew() {
    let two_a_day = Quota::per_calendar_day(2, jiff::tz::TimeZone::UTC);
    let mut pacing = with_wrong_wall_clock(two_a_day, day(100, 0));
    call(&mut pacing, CALL, at(5));
    call(&mut pacing, CALL, at(5));
    // A day ahead for one look: the calls were of yesterday, it seems.
    pacing.set_wall_clock(day(101, 10_000));
    assert_eq!(pacing.available_at(CALL, at(10_000)), Ok(()));
    pacing.set_wall_clock(day(100, 20_000));
    assert!(pacing.available_at(CALL, at(20_000)).is_err());

    let ten_a_minute = Quota::sliding_counter(10, MS * 60_000);
    let ahead = |millis| WallClockSample {
        timestamp: day(100, millis).timestamp + MS * 630_000,
        ..day(100, millis)
    };
    let mut pacing = with_wrong_wall_clock(ten_a_minute, ahead(0));
    (0..10).for_each(|_| call(&mut pacing, CALL, at(20_000)));
    // The calls of one minute were taken for those of two.
    assert_eq!(pacing.available_at(CALL, at(54_000)), Ok(()));
    pacing.set_wall_clock(day(100, 54_000));
    assert!(pacing.available_at(CALL, at(54_000)).is_err());
}

#[test]
fn a_lane_whose_wall_was_far_ahead_does_not_stand_still_until_then() {
    let two_a_day = Quota::per_calendar_day(2, jiff::tz::TimeZone::UTC);
    let mut pacing = with_wrong_wall_clock(two_a_day, day(100, 0));
    pacing.set_wall_clock(day(400, 10_000));
    assert_eq!(pacing.available_at(CALL, at(10_000)), Ok(()));
    pacing.set_wall_clock(day(100, 20_000));
    call(&mut pacing, CALL, at(30_000));
    call(&mut pacing, CALL, at(30_000));
    let Err(NotYet::Until(free)) = pacing.available_at(CALL, at(40_000)) else {
        panic!("two are all")
    };
    assert!(free.since(at(40_000)) <= MS * 86_402_000, "{free:?}");
}

#[test]
fn the_wall_matters_to_days_and_to_stretches_alone() {
    let second = MS * 1000;
    let sliding = Quota::per_second(1).and(Quota::token_bucket(1, second, 1));
    let by_wall = [
        Quota::sliding_counter(1, second),
        Quota::per_calendar_day(1, jiff::tz::TimeZone::UTC),
        sliding.clone().and(Quota::sliding_counter(1, second)),
    ];
    assert!(!lane(Quota::unlimited()).uses_wall_clock());
    assert!(!lane(sliding.clone()).uses_wall_clock());
    for quota in by_wall {
        assert!(lane(quota.clone()).uses_wall_clock());
        let mut pacing = lane(sliding.clone());
        pacing.add_budget(&Budget::new(quota)).unwrap();
        assert!(pacing.uses_wall_clock());
    }
}

#[test]
fn slots_are_taken_back_when_the_credit_shrinks() {
    let mut pacing = pacing("1970-01-01T00:00:00Z", &[], &[]);
    pacing.add_lane(&Quota::per_second(2), RttCredit::percent(90)).unwrap();
    let mut now = at(0);
    for _ in 0..17 {
        let permit = pacing.take(CALL, now).unwrap();
        pacing.finish(permit, now + 100 * MS);
        now = now + 1100 * MS;
    }
    let first = pacing.take(CALL, now).unwrap();
    pacing.finish(first, now + 100 * MS);
    let free = now + 1010 * MS;
    let quick = pacing.take(CALL, free - 5 * MS).unwrap();
    assert_eq!(pacing.available_at(CALL, free), Ok(()));
    // The path has turned faster than ever: no credit now.
    pacing.finish(quick, free);
    assert_eq!(pacing.credit(0), Duration::ZERO);
    assert_eq!(pacing.available_at(CALL, free), Err(NotYet::Until(now + 1100 * MS)));
}

#[test]
fn a_budget_takes_another_reserve_at_once() {
    let budget = Budget::new(Quota::per_second(3));
    let quota = Quota::per_second(10);
    let mut pacing = pacing("1970-01-01T00:00:00Z", &[quota], std::slice::from_ref(&budget));
    let order = Cost { budgets: BudgetSet::of(&[0]), ..CALL };
    call(&mut pacing, order, at(0));
    pacing.set_budget(0, &budget.clone().reserve(2), at(1)).unwrap();
    assert_eq!(pacing.available_at(order, at(1)), Err(NotYet::Until(at(1000))));
    assert!(pacing.set_budget(0, &budget.reserve(3), at(1)).is_err());
    assert_eq!(pacing.available_at(Cost { urgent: true, ..order }, at(1)), Ok(()));
}

/// Three seconds before midnight in India.
const EVE: &str = "2026-01-01T18:29:57Z";

fn india() -> TimeZone {
    TimeZone::fixed(Offset::from_seconds(19_800).unwrap())
}

#[test]
fn a_day_ends_at_midnight_and_the_guard_after_it() {
    let mut pacing = pacing(EVE, &[Quota::per_calendar_day(2, india())], &[]);
    call(&mut pacing, CALL, at(0));
    // In the air at midnight: it counts in both days.
    let long = pacing.take(CALL, at(500)).unwrap();
    assert_eq!(pacing.available_at(CALL, at(500)), Err(NotYet::Until(at(5000))));
    pacing.finish(long, at(4000));
    assert_eq!(pacing.available_at(CALL, at(4999)), Err(NotYet::Until(at(5000))));
    call(&mut pacing, CALL, at(5000));
    let next = 5000 + 86_400_000;
    assert_eq!(pacing.available_at(CALL, at(5000)), Err(NotYet::Until(at(next))));
    assert_eq!(pacing.available_at(Cost { weight: 2, ..CALL }, at(next)), Ok(()));
}

#[test]
fn a_call_answered_within_the_guard_before_midnight_counts_in_the_day_after_too() {
    for (answered, used) in [(999, 0), (1000, 1)] {
        let mut pacing = pacing(EVE, &[Quota::per_calendar_day(2, india())], &[]);
        call(&mut pacing, CALL, at(answered));
        assert_eq!(pacing.lane_use(0, at(5000))[0].used, used);
    }
}

#[test]
fn a_day_that_begins_used_up_is_waited_out_as_well() {
    let mut pacing = pacing(EVE, &[Quota::per_calendar_day(1, india())], &[]);
    call(&mut pacing, CALL, at(1500));
    assert_eq!(pacing.available_at(CALL, at(1500)), Err(NotYet::Until(at(5000 + 86_400_000))));
}

#[test]
fn another_guard_counts_the_remembered_calls_again() {
    let quota = Quota::per_calendar_day(2, india());
    let mut pacing = pacing(EVE, std::slice::from_ref(&quota), &[]);
    call(&mut pacing, CALL, at(500));
    pacing.set_lane(0, &quota.clock_guard(3000 * MS), at(600)).unwrap();
    assert_eq!(pacing.lane_use(0, at(600))[0].used, 1);
    assert_eq!(pacing.lane_use(0, at(6000))[0].used, 1);
}

#[test]
fn a_whole_day_without_a_check_leaves_nothing_behind() {
    let mut pacing = pacing(EVE, &[Quota::per_calendar_day(1, india())], &[]);
    // Within the guard: it counts in the day after too.
    call(&mut pacing, CALL, at(1500));
    assert_eq!(pacing.available_at(CALL, at(5000 + 86_400_000)), Ok(()));
}

#[test]
fn a_long_day_is_remembered_to_its_end() {
    let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
    let quota = Quota::per_calendar_day(2, zone);
    // Ten minutes into a day of 25 hours, and ten before its end.
    let mut pacing = pacing("2026-11-01T04:10:00Z", std::slice::from_ref(&quota), &[]);
    call(&mut pacing, CALL, at(0));
    let late = at((24 * 60 + 40) * 60_000);
    call(&mut pacing, CALL, late);
    pacing.set_lane(0, &quota.clock_guard(3000 * MS), late).unwrap();
    assert_eq!(pacing.lane_use(0, late)[0].used, 2);
}

#[test]
fn days_are_as_long_as_the_zone_says() {
    // Summer time begins on 8 March 2026 and ends on 1 November.
    for (noon, hours) in [("2026-03-07T17:00:00Z", 23), ("2026-10-31T16:00:00Z", 25)] {
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        let quota = Quota::per_calendar_day(1, zone).clock_guard(Duration::ZERO);
        let mut pacing = pacing(noon, &[quota], &[]);
        call(&mut pacing, CALL, at(0));
        let midnight = at(12 * 3_600_000);
        assert_eq!(pacing.available_at(CALL, at(0)), Err(NotYet::Until(midnight)));
        call(&mut pacing, CALL, midnight);
        let next = midnight + Duration::from_secs(hours * 3600);
        assert_eq!(pacing.available_at(CALL, midnight), Err(NotYet::Until(next)));
    }
}

#[test]
fn a_wall_clock_that_is_set_moves_midnight() {
    let mut pacing = pacing(EVE, &[Quota::per_calendar_day(1, india())], &[]);
    call(&mut pacing, CALL, at(0));
    // The machine slept for a second that the pacing clock did not see.
    pacing.set_wall_clock(WallClockSample {
        moment: at(1000),
        timestamp: "2026-01-01T18:29:59Z".parse().unwrap(),
    });
    assert_eq!(pacing.available_at(CALL, at(1000)), Err(NotYet::Until(at(4000))));
}

#[test]
fn absurd_numbers_do_not_overflow() {
    let century = Duration::from_secs(99 * 366 * 86_400);
    let quota = Quota::new(u32::MAX, century)
        .and(Quota::sliding_counter(u32::MAX, century))
        .and(Quota::token_bucket(u32::MAX, century, u32::MAX))
        .and(Quota::per_calendar_day(u32::MAX, india()));
    let mut pacing = pacing("9999-12-30T00:00:00Z", &[quota], &[]);
    let all = Cost { weight: u32::MAX, ..CALL };
    for now in [at(0), Moment::from_nanos(u64::MAX)] {
        if let Ok(permit) = pacing.take(all, now) {
            pacing.finish(permit, now);
        }
        let _ = (pacing.estimate(all, u64::MAX, now), pacing.lane_use(0, now));
        assert!(pacing.available_at(all, now).is_err());
    }
}

/// It is unknown which of the calls in flight the broker has counted, beside the one that it answers.
#[test]
fn calls_in_flight_are_subtracted_from_what_the_broker_takes() {
    let mut pacing =
        pacing("1970-01-01T00:00:00Z", &[Quota::per_minute(200), Quota::per_minute(200)], &[]);
    let other = Cost { lane: 1, ..CALL };
    let answered = pacing.take(CALL, at(0)).unwrap();
    let _in_flight = (pacing.take(CALL, at(0)).unwrap(), pacing.take(other, at(0)).unwrap());
    pacing.report(&[1, 0, 7, 0], 3, Duration::from_secs(30), at(100));
    pacing.finish(answered, at(100));
    // Both lanes share what is left: one.
    assert_eq!(pacing.available_at(other, at(100)), Ok(()));
    call(&mut pacing, CALL, at(100));
    for cost in [CALL, other] {
        assert_eq!(pacing.available_at(cost, at(100)), Err(NotYet::Until(at(30_100))));
        let estimate = pacing.estimate(cost, 0, at(100));
        assert_eq!(estimate, Some(at(30_100)));
    }
    assert_eq!(pacing.available_at(CALL, at(30_100)), Ok(()));
    // Nothing is known of lanes that do not exist.
    assert!(!pacing.report(&[7], 0, Duration::from_secs(30), at(30_100)));
    assert_eq!(pacing.available_at(CALL, at(30_100)), Ok(()));
}

/// A call that was never sent is in no count of the broker.
#[test]
fn a_call_that_is_given_back_leaves_the_brokers_count_as_it_was() {
    let mut pacing = lane(Quota::per_minute(200));
    let answered = pacing.take(CALL, at(0)).unwrap();
    pacing.report(&[0], 1, Duration::from_secs(30), at(0));
    pacing.finish(answered, at(0));
    for _ in 0..5 {
        let local = pacing.take(CALL, at(10)).unwrap();
        assert_eq!(pacing.available_at(CALL, at(10)), Err(NotYet::Until(at(30_000))));
        pacing.give_back(local);
    }
    assert_eq!(pacing.available_at(CALL, at(10)), Ok(()));
}
