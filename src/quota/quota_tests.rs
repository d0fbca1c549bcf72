//! Each kind of window by itself: what the status and the estimates say of it, and what a change of
//! quota carries over. Times can be worked out by hand.

use jiff::tz::{Offset, TimeZone};

use super::pacing_state_tests::{CALL, MS, at, call, lane, pacing};
use super::*;

fn strict_at(timestamp: &str, quota: Quota) -> PacingState {
    pacing(timestamp, &[quota], &[])
}

/// Twenty calls that took `takes` each, a second apart: the credit is 90 % of that.
fn with_credit(quota: &Quota, takes: u32) -> (PacingState, Moment) {
    let mut pacing = pacing("1970-01-01T00:00:00Z", &[], &[]);
    pacing.add_lane(quota, RttCredit::percent(90)).unwrap();
    let mut now = at(0);
    for _ in 0..20 {
        let permit = pacing.take(CALL, now).unwrap();
        pacing.finish(permit, now + takes * MS);
        now = now + (takes + 1000) * MS;
    }
    (pacing, now)
}

fn used(pacing: &mut PacingState, now: Moment) -> u32 {
    pacing.lane_use(0, now)[0].used
}

#[test]
fn a_token_that_is_half_back_still_counts_as_used() {
    let bucket = Quota::token_bucket(10, 1000 * MS, 10);
    let mut pacing = lane(bucket.clone());
    for _ in 0..3 {
        call(&mut pacing, CALL, at(0));
    }
    for (ms, of_ten) in [(0, 3), (99, 3), (100, 2), (150, 2), (200, 1), (299, 1), (300, 0)] {
        assert_eq!(used(&mut pacing, at(ms)), of_ten, "after {ms} ms");
    }
    // With a credit of 90 ms it is back so much sooner.
    let (mut pacing, now) = with_credit(&bucket, 100);
    let permits = [(); 3].map(|()| pacing.take(CALL, now).unwrap());
    for permit in permits {
        pacing.finish(permit, now + 100 * MS);
    }
    for (ms, of_ten) in [(0, 3), (9, 3), (10, 2), (110, 1), (209, 1), (210, 0)] {
        assert_eq!(used(&mut pacing, now + (100 + ms) * MS), of_ten, "after {ms} ms");
    }
}

#[test]
fn a_queue_gets_its_tokens_as_they_come() {
    let bucket = Quota::token_bucket(2, 1000 * MS, 4);
    let mut pacing = lane(bucket.clone());
    for _ in 0..3 {
        call(&mut pacing, CALL, at(0));
    }
    let mut turn = |ahead| pacing.estimate(CALL, ahead, at(0));
    assert_eq!([turn(0), turn(1), turn(4)], [Some(at(0)), Some(at(500)), Some(at(2000))]);
    // One in flight holds its token.
    let _held = pacing.take(CALL, at(0)).unwrap();
    assert_eq!(pacing.estimate(CALL, 1, at(0)), Some(at(1000)));
    // Calls of 3 s keep four tokens for 3 s and half a second, while 2 s would fill them: with the
    // credit of 2.7 s it is 3 s and nothing.
    let (mut pacing, now) = with_credit(&bucket, 3000);
    let turn = pacing.estimate(CALL, 15, now).unwrap();
    let filled = 12 * 500 * MS - 2700 * MS;
    assert_eq!(turn, now + filled * 3 / 2);
    // Half of the tokens kept back: the others are so much longer on the way.
    let reserved = Budget::new(bucket).reserve(2);
    let mut pacing = super::pacing_state_tests::pacing(
        "1970-01-01T00:00:00Z",
        &[Quota::unlimited()],
        &[reserved],
    );
    let order = Cost { budgets: BudgetSet::of(&[0]), ..CALL };
    let permit = pacing.take(order, at(0)).unwrap();
    pacing.finish(permit, at(3000));
    let turn = pacing.estimate(order, 3, at(3000)).unwrap();
    // Three tokens are there; two calls more would need six. Of two tokens, each takes 3.5 s to come
    // back and 1 s to fill.
    assert_eq!(turn, at(3000) + 1500 * MS * 7 / 2);
}

#[test]
fn a_credit_brings_the_tokens_of_the_next_call_forward() {
    let (mut pacing, now) = with_credit(&Quota::token_bucket(1, 1000 * MS, 1), 100);
    let permit = pacing.take(CALL, now).unwrap();
    pacing.finish(permit, now + 100 * MS);
    let next = now + (100 + 1000 - 90) * MS;
    assert_eq!(pacing.available_at(CALL, now + 100 * MS), Err(NotYet::Until(next)));
    assert_eq!(pacing.available_at(CALL, next), Ok(()));
}

/// What is remembered does not reach back to when it stood full.
#[test]
fn a_bucket_that_was_never_full_again_is_not_taken_for_full() {
    let bucket = |burst| Quota::token_bucket(10, 1000 * MS, burst);
    let mut pacing = lane(bucket(10));
    (0..10).for_each(|_| call(&mut pacing, CALL, at(0)));
    for ms in (100..=3000).step_by(100) {
        call(&mut pacing, CALL, at(ms));
    }
    for burst in [10, 12] {
        pacing.set_lane(0, &bucket(burst), at(3000)).unwrap();
        assert_eq!(used(&mut pacing, at(3000)), 10);
    }
}

#[test]
fn a_queue_behind_used_slots_gets_them_as_they_come_free() {
    let mut pacing = lane(Quota::per_second(2));
    call(&mut pacing, CALL, at(0));
    call(&mut pacing, CALL, at(300));
    let mut turn = |ahead| pacing.estimate(CALL, ahead, at(400)).unwrap();
    assert_eq!([turn(0), turn(1), turn(2)], [at(1000), at(1300), at(2000)]);
}

#[test]
fn a_queue_longer_than_a_stretch_goes_on_at_the_rate_of_one() {
    let mut pacing = lane(Quota::sliding_counter(4, 1000 * MS));
    call(&mut pacing, CALL, at(0));
    let mut turn = |ahead| pacing.estimate(CALL, ahead, at(0)).unwrap();
    assert_eq!([turn(2), turn(3), turn(5)], [at(0), at(1250), at(1750)]);
}

#[test]
fn a_queue_longer_than_a_day_goes_on_for_days() {
    let quota = Quota::per_calendar_day(3, TimeZone::UTC);
    let mut pacing = strict_at("2026-03-02T23:00:00Z", quota);
    call(&mut pacing, CALL, at(0));
    let hour = 3_600_000 * MS;
    let midnight = at(0) + hour + 2000 * MS;
    let mut turn = |ahead| pacing.estimate(CALL, ahead, at(0)).unwrap();
    assert_eq!([turn(0), turn(1)], [at(0), at(0)]);
    assert_eq!([turn(2), turn(4)], [midnight, midnight]);
    assert_eq!([turn(5), turn(7)], [midnight + 24 * hour, midnight + 24 * hour]);
    assert_eq!(turn(8), midnight + 48 * hour);
}

#[test]
fn a_day_in_another_zone_or_with_another_guard_is_another_day() {
    let hour = 3_600_000 * MS;
    let guard = 2000 * MS;
    let utc = Quota::per_calendar_day(1, TimeZone::UTC);
    let full = || {
        let mut pacing = strict_at("2026-03-02T18:00:00Z", utc.clone());
        call(&mut pacing, CALL, at(0));
        assert_eq!(pacing.available_at(CALL, at(1)), Err(NotYet::Until(at(0) + 6 * hour + guard)));
        pacing
    };
    // 18:00 is half past eleven in India.
    let india = TimeZone::fixed(Offset::from_seconds(19_800).unwrap());
    let mut pacing = full();
    pacing.set_lane(0, &Quota::per_calendar_day(1, india), at(1)).unwrap();
    assert_eq!(pacing.available_at(CALL, at(1)), Err(NotYet::Until(at(0) + hour / 2 + guard)));
    let mut pacing = full();
    pacing.set_lane(0, &utc.clone().clock_guard(60_000 * MS), at(1)).unwrap();
    let midnight = at(0) + 6 * hour;
    assert_eq!(pacing.available_at(CALL, at(1)), Err(NotYet::Until(midnight + 60_000 * MS)));
    let mut pacing = full();
    pacing.set_lane(0, &Quota::per_calendar_day(2, TimeZone::UTC), at(1)).unwrap();
    call(&mut pacing, CALL, at(1));
    assert_eq!(pacing.available_at(CALL, at(2)), Err(NotYet::Until(midnight + guard)));
}

#[test]
fn a_counter_of_another_length_counts_in_its_own_stretches() {
    let mut pacing = lane(Quota::sliding_counter(4, 1000 * MS));
    for ms in [100, 200, 300, 400] {
        call(&mut pacing, CALL, at(ms));
    }
    pacing.set_lane(0, &Quota::sliding_counter(4, 4000 * MS), at(500)).unwrap();
    // All four are in the stretch that ends at 4 s, and one has to fade from the next.
    assert_eq!(pacing.available_at(CALL, at(500)), Err(NotYet::Until(at(5000))));
    pacing.set_lane(0, &Quota::sliding_counter(5, 4000 * MS), at(500)).unwrap();
    call(&mut pacing, CALL, at(500));
    assert_eq!(used(&mut pacing, at(500)), 5);
}

#[test]
fn what_is_in_flight_will_be_answered_as_late_as_its_average() {
    let (mut pacing, now) = with_credit(&Quota::per_second(10), 50);
    let _first = pacing.take(CALL, now).unwrap();
    let second = pacing.take(CALL, now + 20 * MS).unwrap();
    let asked = now + 25 * MS;
    assert_eq!(pacing.typical_call(0, asked), Some((now + 60 * MS, 50 * MS)));
    pacing.give_back(second);
    assert_eq!(pacing.typical_call(0, asked), Some((now + 50 * MS, 50 * MS)));
}
