//! How a breaker opens and closes, case by case.

use std::time::Duration;

use lanekeeper::quota::Moment;
use lanekeeper::resilience::{
    BreakerMode, BreakerPolicy, BreakerState, CallCounts, CallNotPermitted, CallOutcome,
    CircuitBreaker,
};

use crate::days::{QUICK, at, ms};

fn fails_at(breaker: &mut CircuitBreaker, now: Moment) {
    let admission = breaker.admit(now).unwrap();
    breaker.record(admission, now, CallOutcome::Failure, QUICK);
}

fn open_time(breaker: &mut CircuitBreaker, now: Moment) -> u64 {
    let until = breaker.when(now).unwrap_err().until().unwrap();
    until.since(now).as_millis() as u64
}

fn one_failure_opens() -> BreakerPolicy {
    BreakerPolicy::default().failures_in_a_row(Some(1)).probes(1)
}

#[test]
fn the_time_open_grows_until_it_stayed_closed_for_a_window() {
    let mut breaker = CircuitBreaker::new(one_failure_opens(), 1).unwrap();
    let mut now = at(0);
    for seconds in [5, 10, 20, 40, 60, 60] {
        fails_at(&mut breaker, now);
        let open = open_time(&mut breaker, now);
        assert!((seconds * 750..=seconds * 1000).contains(&open), "{open} ms of {seconds} s");
        now = breaker.next_change(now).unwrap();
    }
    // Closed for less than a window: it continues where it was.
    let probe = breaker.admit(now).unwrap();
    breaker.record(probe, now, CallOutcome::Success, QUICK);
    now = now + ms(29_999);
    fails_at(&mut breaker, now);
    assert!(open_time(&mut breaker, now) >= 45_000);
    // Closed for a whole window: it begins again.
    now = breaker.next_change(now).unwrap();
    let probe = breaker.admit(now).unwrap();
    breaker.record(probe, now, CallOutcome::Success, QUICK);
    now = now + ms(30_000);
    fails_at(&mut breaker, now);
    assert!(open_time(&mut breaker, now) <= 5000);
}

#[test]
fn breakers_that_open_together_come_back_apart() {
    let mut times: Vec<u64> = (0..32_u64)
        .map(|number| {
            let random = number.wrapping_mul(0xD134_2543_DE82_EF95);
            let mut breaker = CircuitBreaker::new(one_failure_opens(), random).unwrap();
            fails_at(&mut breaker, at(0));
            open_time(&mut breaker, at(0))
        })
        .collect();
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 28, "{times:?}");
}

#[test]
fn a_breaker_that_opens_again_and_again_is_not_always_as_long_open() {
    let mut breaker = CircuitBreaker::new(one_failure_opens().growth(1), 0).unwrap();
    let mut now = at(0);
    let mut times = Vec::new();
    for _ in 0..16 {
        fails_at(&mut breaker, now);
        times.push(open_time(&mut breaker, now));
        now = breaker.next_change(now).unwrap();
    }
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 16, "{times:?}");
}

#[test]
fn a_probe_that_is_due_at_the_end_of_the_time_half_open_has_failed() {
    let config = one_failure_opens().probes(2).max_half_open(ms(10_000));
    let mut breaker = CircuitBreaker::new(config, 0).unwrap();
    fails_at(&mut breaker, at(0));
    let due = breaker.next_change(at(0)).unwrap();
    let _hung = breaker.admit(due).unwrap();
    let other = breaker.admit(due).unwrap();
    breaker.record(other, due, CallOutcome::Success, QUICK);
    assert_eq!(breaker.state(due + ms(10_000)), BreakerState::Open);
}

#[test]
fn calls_without_evidence_are_not_counted() {
    let mut breaker = CircuitBreaker::new(BreakerPolicy::default(), 0).unwrap();
    for millis in 0..100 {
        let admission = breaker.admit(at(millis)).unwrap();
        breaker.record(admission, at(millis), CallOutcome::Ignored, Duration::MAX);
    }
    assert_eq!(breaker.counts(at(100)), CallCounts::default());
}

#[test]
fn a_slow_broker_is_a_failing_one_if_so_configured() {
    let config = BreakerPolicy::default().slow(ms(500), 50).minimum(4).probes(1);
    let mut breaker = CircuitBreaker::new(config, 0).unwrap();
    for took in [10, 499, 500, 2000] {
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        let admission = breaker.admit(at(0)).unwrap();
        breaker.record(admission, at(0), CallOutcome::Success, ms(took));
    }
    assert_eq!(breaker.state(at(0)), BreakerState::Open);
    // A probe that is slow has failed.
    let due = breaker.next_change(at(0)).unwrap();
    let probe = breaker.admit(due).unwrap();
    breaker.record(probe, due + ms(500), CallOutcome::Success, ms(500));
    assert_eq!(breaker.state(due + ms(500)), BreakerState::Open);
}

#[test]
fn at_the_end_of_the_time_half_open_a_success_closes_it() {
    let mut breaker = CircuitBreaker::new(one_failure_opens().probes(2), 0).unwrap();
    fails_at(&mut breaker, at(0));
    let due = breaker.next_change(at(0)).unwrap();
    // It waits for the first probe, however long none comes.
    let due = due + ms(3_600_000);
    assert_eq!(breaker.state(due), BreakerState::HalfOpen);
    assert_eq!(breaker.next_change(due), None);
    let probe = breaker.admit(due).unwrap();
    breaker.record(probe, due, CallOutcome::Success, QUICK);
    assert_eq!(breaker.next_change(due), Some(due + ms(30_000)));
    assert_eq!(breaker.state(due + ms(29_999)), BreakerState::HalfOpen);
    assert_eq!(breaker.state(due + ms(30_000)), BreakerState::Closed);
}

#[test]
fn at_the_end_of_the_time_half_open_nothing_opens_it_for_as_long_as_before() {
    let mut breaker = CircuitBreaker::new(one_failure_opens().probes(2), 0).unwrap();
    fails_at(&mut breaker, at(0));
    let due = breaker.next_change(at(0)).unwrap();
    let probe = breaker.admit(due).unwrap();
    breaker.record(probe, due, CallOutcome::Ignored, QUICK);
    let over = due + ms(30_000);
    assert_eq!(breaker.state(over), BreakerState::Open);
    assert!(open_time(&mut breaker, over) <= 5000);
}

#[test]
fn a_forced_mode_decides() {
    let mut breaker = CircuitBreaker::new(one_failure_opens(), 0).unwrap();
    breaker.set_mode(BreakerMode::ForcedOpen, at(0));
    assert_eq!(breaker.admit(at(0)), Err(CallNotPermitted::Forced));
    assert_eq!(breaker.admit(at(1 << 40)), Err(CallNotPermitted::Forced));
    assert_eq!(breaker.next_change(at(1 << 40)), None);
    assert_eq!(breaker.state(at(1 << 40)), BreakerState::Open);

    let now = at(1 << 40);
    for (mode, calls) in [(BreakerMode::ForcedClosed, 50), (BreakerMode::Disabled, 0)] {
        breaker.set_mode(mode, now);
        for _ in 0..50 {
            fails_at(&mut breaker, now);
        }
        assert_eq!(breaker.counts(now).failures, calls);
        assert_eq!((breaker.state(now), breaker.mode()), (BreakerState::Closed, mode));
    }

    // A call that was let through before does not count for the breaker that decides again.
    let before = breaker.admit(now).unwrap();
    breaker.set_mode(BreakerMode::Automatic, now);
    breaker.record(before, now, CallOutcome::Failure, QUICK);
    assert_eq!(breaker.state(now), BreakerState::Closed);
    fails_at(&mut breaker, now);
    assert_eq!(breaker.state(now), BreakerState::Open);
}

#[test]
fn a_disabled_breaker_lets_everything_through() {
    let mut breaker = CircuitBreaker::new(BreakerPolicy::disabled(), 0).unwrap();
    (0..1000).for_each(|_| fails_at(&mut breaker, at(0)));
}
