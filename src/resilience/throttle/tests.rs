//! How a lane pauses, slows down and recovers, case by case.

use std::time::Duration;

use super::{SendStamp, Throttle, ThrottlePolicy};
use crate::quota::{Moment, Quota};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Moment {
    Moment::ORIGIN + ms(millis)
}

fn throttle(quota: Quota) -> Throttle {
    Throttle::new(ThrottlePolicy::default(), quota).unwrap()
}

fn send(throttle: &mut Throttle, count: u32, now: Moment) -> SendStamp {
    let mut last = throttle.on_send(now, 1, true);
    (1..count).for_each(|_| last = throttle.on_send(now, 1, true));
    last
}

#[test]
fn the_cut_is_of_what_was_really_sent() {
    let quota = Quota::per_second(10).and(Quota::per_day(5000));
    let mut throttle = throttle(quota.clone());
    let stamp = send(&mut throttle, 5, at(0));
    assert_eq!(throttle.take_new_quota(), None);
    throttle.on_throttled(stamp, at(40), None);
    assert_eq!(throttle.take_new_quota(), Some(quota.and(Quota::per_second(3))));
    assert_eq!(throttle.take_new_quota(), None);
    assert_eq!((throttle.percent(), throttle.pause(at(40))), (35, Some(at(1040))));
    assert_eq!(throttle.pause(at(1040)), None);
}

#[test]
fn weights_count() {
    let mut throttle = throttle(Quota::per_second(10));
    let stamp = throttle.on_send(at(0), 10, true);
    throttle.on_throttled(stamp, at(40), None);
    assert_eq!(throttle.percent(), 70);
}

#[test]
fn less_than_a_call_a_window_is_a_call_in_a_longer_one() {
    let mut throttle = throttle(Quota::per_second(1));
    let stamp = throttle.on_send(at(0), 1, true);
    throttle.on_throttled(stamp, at(40), None);
    let slower = Quota::new(1, Duration::from_nanos(1_428_571_429));
    assert_eq!(throttle.quota(), Quota::per_second(1).and(slower));
}

#[test]
fn a_storm_cuts_once_and_the_longest_wait_holds() {
    let mut throttle = throttle(Quota::per_second(10));
    let stamps: Vec<_> = (0..10).map(|_| throttle.on_send(at(0), 1, true)).collect();
    let waits = [Some(ms(2000)), Some(ms(9000)), Some(ms(1)), None, None];
    for (i, &stamp) in stamps.iter().enumerate() {
        throttle.on_throttled(stamp, at(500 * i as u64), waits[i % waits.len()]);
    }
    assert_eq!(throttle.percent(), 70);
    // The sixth and the seventh of ten: throttled at 3 s, for 9 s. Later ones asked for less.
    assert_eq!(throttle.pause(at(4500)), Some(at(12_000)));
}

#[test]
fn a_refusal_that_took_long_counts_what_was_sent_when_its_call_left() {
    let mut throttle = throttle(Quota::per_second(10));
    let stamp = send(&mut throttle, 10, at(0));
    throttle.on_throttled(stamp, at(5000), None);
    assert_eq!(throttle.percent(), 70);
}

#[test]
fn a_policy_that_keeps_everything_only_pauses() {
    let policy = ThrottlePolicy::default().keep_percent(100);
    let mut throttle = Throttle::new(policy, Quota::per_second(10)).unwrap();
    let stamp = send(&mut throttle, 10, at(0));
    throttle.on_throttled(stamp, at(0), None);
    assert_eq!(throttle.quota(), Quota::per_second(10));
    assert_eq!(throttle.pause(at(0)), Some(at(1000)));
}

#[test]
fn nothing_comes_back_during_a_pause_or_faster_than_a_step_a_window() {
    let mut throttle = throttle(Quota::per_second(10));
    let stamp = send(&mut throttle, 10, at(0));
    throttle.on_throttled(stamp, at(0), Some(ms(9500)));
    let percents: Vec<u32> = (0..130)
        .map(|tenth| {
            throttle.on_send(at(tenth * 100), 1, true);
            throttle.percent()
        })
        .collect();
    assert!(percents[..105].iter().all(|percent| *percent == 70));
    assert!(percents[105..115].iter().all(|percent| *percent == 75));
    assert!(percents[115..125].iter().all(|percent| *percent == 80));
}

#[test]
fn a_window_has_one_cut_even_if_the_rate_after_it_is_too_high_as_well() {
    let mut throttle = throttle(Quota::per_second(10));
    let first = send(&mut throttle, 10, at(0));
    throttle.on_throttled(first, at(10), Some(Duration::ZERO));
    let second = send(&mut throttle, 7, at(20));
    throttle.on_throttled(second, at(1009), Some(Duration::ZERO));
    assert_eq!(throttle.percent(), 70);
    throttle.on_throttled(second, at(1010), Some(Duration::ZERO));
    assert_eq!(throttle.percent(), 49);
}

#[test]
fn an_absurd_wait_is_cut_short() {
    let mut throttle = throttle(Quota::per_second(10));
    let stamp = throttle.on_send(at(0), 1, true);
    throttle.on_throttled(stamp, at(0), Some(Duration::MAX));
    assert_eq!(throttle.pause(at(0)), Some(at(300_000)));
}

#[test]
fn the_rate_comes_back_while_calls_wait_and_not_otherwise() {
    let mut throttle = throttle(Quota::per_second(10));
    let stamp = send(&mut throttle, 10, at(0));
    throttle.on_throttled(stamp, at(0), None);
    assert_eq!(throttle.percent(), 70);
    // No call waits: an hour changes nothing.
    for second in 1..3600 {
        throttle.on_send(at(second * 1000), 1, false);
    }
    assert_eq!(throttle.percent(), 70);
    // A call waits now and then.
    for second in 3600..3700 {
        throttle.on_send(at(second * 1000), 1, second % 2 == 0);
    }
    assert_eq!(throttle.percent(), 70);
    let mut seen = Vec::new();
    for second in 3700..3708 {
        throttle.on_send(at(second * 1000), 1, true);
        seen.push(throttle.percent());
    }
    assert_eq!(seen, [70, 75, 80, 85, 90, 95, 100, 100]);
    assert_eq!(throttle.quota(), Quota::per_second(10));
}

#[test]
fn a_long_window_is_cut_in_a_short_one() {
    for (quota, window) in [(Quota::per_hour(1000), ms(60_000)), (Quota::unlimited(), ms(1000))] {
        let mut throttle = throttle(quota.clone());
        let stamp = send(&mut throttle, 100, at(0));
        throttle.on_throttled(stamp, at(0), None);
        assert_eq!(throttle.quota(), quota.clone().and(Quota::new(70, window)));
        for window_number in 0..20 {
            throttle.on_send(at(1000) + window * window_number, 1, true);
        }
        assert_eq!(throttle.quota(), quota);
    }
}

#[test]
fn another_quota_keeps_the_share() {
    let mut throttle = throttle(Quota::per_second(10));
    let stamp = send(&mut throttle, 10, at(0));
    throttle.on_throttled(stamp, at(0), None);
    throttle.set_quota(Quota::per_minute(200));
    let cut = Quota::per_minute(200).and(Quota::per_minute(140));
    assert_eq!(throttle.take_new_quota(), Some(cut));
    assert_eq!(throttle.percent(), 70);
}

#[test]
fn a_call_that_was_not_sent_counts_for_no_cut() {
    let mut throttle = throttle(Quota::per_second(10));
    let unsent: Vec<_> = (0..6).map(|_| throttle.on_send(at(0), 1, true)).collect();
    let late = throttle.on_send(at(0), 1, true);
    unsent.into_iter().for_each(|stamp| throttle.on_not_sent(stamp, at(1)));
    let stamp = send(&mut throttle, 4, at(1));
    throttle.on_throttled(stamp, at(40), None);
    // Five calls were sent, and 70 % of them is 3.5.
    assert_eq!(throttle.percent(), 35);
    // Its bucket has expired.
    throttle.on_not_sent(late, at(5_000));
    assert_eq!(throttle.percent(), 35);
}

#[test]
fn a_recovery_step_for_a_call_that_was_not_sent_is_taken_back() {
    let mut throttle = throttle(Quota::per_second(10));
    let stamp = send(&mut throttle, 10, at(0));
    throttle.on_throttled(stamp, at(40), None);
    assert_eq!(throttle.percent(), 70);
    send(&mut throttle, 1, at(1_500));
    let unsent = throttle.on_send(at(2_600), 1, true);
    assert!(throttle.percent() > 70);
    let _ = throttle.take_new_quota();
    throttle.on_not_sent(unsent, at(2_601));
    assert_eq!(throttle.percent(), 70);
    assert!(throttle.take_new_quota().is_some());
    // The next call that is sent makes the step.
    send(&mut throttle, 1, at(2_602));
    assert!(throttle.percent() > 70);
}
