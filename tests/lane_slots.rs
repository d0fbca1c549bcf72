//! Which slots a call takes in a lane, and when they come back.

#![allow(clippy::unwrap_used)]

mod support;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{CallOptions, LaneConfig, LaneErrorKind, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota, RttCredit};
use lanekeeper::resilience::RetryPolicy;
use support::failing::{Failed, Gated, TOO_FAST, class, ended};
use support::lanes::{
    SECOND, WRITE, ms, one, options, priority, status, submit, unlimited, until, within_reason,
};
#[cfg(target_os = "linux")]
use support::stepped::{Course, Stepped};

/// Two slots a minute, one of which is for urgent calls.
fn with_reserve(clock: &ManualClock) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
    builder.lane(0, unlimited(1));
    builder.budget(0, Budget::new(Quota::per_minute(2)).reserve(1));
    builder.clock(clock.clone().into());
    builder.build(Limits::new()).unwrap()
}

#[test]
fn the_reserve_is_for_calls_that_are_urgent_whatever_their_method_is() {
    within_reason(|| {
        let method = |priority| CallSpec { priority, budgets: &[0], ..WRITE };
        let ways: [(CallSpec, CallOptions); 2] = [(method(1), options()), (method(5), priority(1))];
        for (urgent, its_options) in ways {
            let clock = ManualClock::auto_advancing();
            let (lanes, began) = (with_reserve(&clock), clock.now());
            let call = |call, options: &CallOptions| {
                submit(&lanes, call, options, || ()).wait().unwrap();
                clock.now().since(began)
            };
            assert_eq!(call(method(5), &options()), ms(0));
            // An urgent method that is called with a normal priority: the remaining slot is not for it.
            assert_eq!(call(method(1), &priority(5)), 60 * SECOND);
            assert_eq!(call(urgent, &its_options), 60 * SECOND);
            // It is part of the limit, not on top of it.
            assert_eq!(lanes.status().budget("orders").unwrap().windows[0].limit, 2);
        }
    });
}

#[test]
fn what_is_left_of_a_bucket_is_what_it_holds() {
    within_reason(|| {
        for burst in [1, 20] {
            let clock = ManualClock::new();
            let quota = Quota::token_bucket(10, SECOND, burst);
            let lanes = one(LaneConfig::new(quota).in_flight(1), clock);
            let left = || status(&lanes).windows[0].left;
            assert_eq!(left(), burst);
            submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
            until(|| status(&lanes).in_flight == 0);
            assert_eq!(left(), burst - 1);
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_lane_that_sleeps_until_a_budget_is_free_is_woken_when_it_is_changed() {
    within_reason(|| {
        let mut lane = Stepped::new(&[unlimited(1)], &[Budget::new(Quota::per_hour(1))]);
        let order = CallSpec { budgets: &[0], ..WRITE };
        let mut first = lane.submit(order, &options(), Course::INSTANT);
        assert_eq!(lane.run_until_answered(&mut first), Some(Ok(0)));
        // Now all of its threads sleep, and time does not advance.
        let next = lane.submit(order, &options(), Course::INSTANT);
        assert_eq!(next.position(), Some(0));
        lane.lanes.set_budget("one", &Budget::new(Quota::per_hour(5))).unwrap();
        until(|| next.position().is_none());
    });
}

#[test]
fn the_status_of_a_budget_shows_its_reserve() {
    let lanes = with_reserve(&ManualClock::new());
    let reserve = || lanes.status().budget("orders").unwrap().windows[0].reserve;
    assert_eq!(reserve(), 1);
    lanes.set_budget("orders", &Budget::new(Quota::per_minute(5)).reserve(3)).unwrap();
    assert_eq!(reserve(), 3);
}

#[test]
fn a_lane_has_the_credit_that_it_was_given() {
    within_reason(|| {
        for (credit, is_some) in [(RttCredit::STRICT, false), (RttCredit::default(), true)] {
            let clock = ManualClock::auto_advancing();
            let config = LaneConfig::new(Quota::per_second(10)).credit(credit);
            let lanes = one(config, clock.clone());
            for _ in 0..40 {
                let clock = clock.clone();
                submit(&lanes, WRITE, &options(), move || clock.advance(ms(50))).wait().unwrap();
            }
            assert_eq!(status(&lanes).credit > ms(0), is_some);
        }
    });
}

#[test]
fn a_lane_that_waits_for_the_slot_of_a_lost_call_wakes_by_itself() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
        let lanes = one(config.retry(RetryPolicy::none()), clock.clone());
        let began = clock.now();
        let lost = {
            let clock = clock.clone();
            move || {
                clock.advance(SECOND);
                Err::<(), _>(Failed::Broker(1, None))
            }
        };
        lanes.call_spec(WRITE, &options(), lost, class).unwrap_err();
        lanes.call_spec(WRITE, &options(), || Ok(()), class).unwrap();
        // It took a second, may be in transit for another, and its slot is in the window for one.
        assert_eq!(clock.now().since(began), 3 * SECOND);
    });
}

/// Ten slots a second, three of which are for urgent calls. The calls of the returned list are in flight.
fn full_but_for_the_reserve(clock: &ManualClock) -> (Lanes, Gated, Vec<Ticket<(), Failed>>) {
    let config = LaneConfig::new(Quota::per_second(10)).reserve(3).retry(RetryPolicy::none());
    let lanes = one(config.in_flight(10), clock.clone());
    let gated = Gated::new();
    let tickets = (0..12).map(|_| gated.submit(&lanes)).collect();
    until(|| gated.begun() == 7);
    (lanes, gated, tickets)
}

#[test]
fn an_exit_at_a_full_lane_takes_a_slot_of_its_reserve() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (lanes, gated, tickets) = full_but_for_the_reserve(&clock);
        let window = status(&lanes).windows[0].clone();
        assert_eq!((window.limit, window.used, window.left, window.reserve), (10, 7, 3, 3));
        assert_eq!(window.to_string(), "3 of 10/s (3 for urgent calls)");
        for left in [2, 1, 0] {
            // Each is answered while seven others hang and five wait.
            submit(&lanes, WRITE, &priority(1), || ()).wait().unwrap();
            until(|| status(&lanes).in_flight == 7);
            assert_eq!(status(&lanes).windows[0].left, left);
        }
        // It is part of the limit, not on top of it.
        let fourth = submit(&lanes, WRITE, &priority(1), || ());
        assert_eq!((fourth.position(), gated.begun()), (Some(0), 7));
        clock.advance(SECOND);
        fourth.wait().unwrap();
        (0..12).for_each(|_| gated.end(None));
        drop(tickets);
    });
}

#[test]
fn a_call_too_heavy_for_what_the_reserve_leaves_is_refused_unless_it_is_urgent() {
    within_reason(|| {
        let config = LaneConfig::new(Quota::per_second(10)).reserve_percent(30);
        let lanes = one(config, ManualClock::auto_advancing());
        let heavy = CallSpec { weight: 8, ..WRITE };
        let error = submit(&lanes, heavy, &options(), || ()).wait().unwrap_err();
        assert_eq!(error.kind, LaneErrorKind::TooHeavy);
        submit(&lanes, heavy, &priority(1), || ()).wait().unwrap();
        submit(&lanes, CallSpec { weight: 7, ..WRITE }, &options(), || ()).wait().unwrap();
    });
}

/// A cut is less than the reserve here. Kept free of it, the reserve would stop all other calls for ever.
#[test]
fn a_rate_cut_keeps_no_reserve() {
    within_reason(|| {
        for urgent_is_throttled_too in [false, true] {
            let clock = ManualClock::auto_advancing();
            let config = LaneConfig::new(Quota::per_second(10)).reserve(8);
            let lanes = one(config.retry(RetryPolicy::none()), clock.clone());
            let throttled = |options: &CallOptions| {
                lanes.call_spec(WRITE, options, || ended(Some(TOO_FAST)), class).unwrap_err()
            };
            throttled(&options());
            if urgent_is_throttled_too {
                clock.advance(SECOND * 30);
                throttled(&priority(1));
            }
            let seen = status(&lanes);
            let cut = seen.windows.iter().find(|window| window.is_cut).unwrap();
            assert_eq!((cut.limit, cut.reserve), (1, 0));
            assert_eq!(seen.windows[0].reserve, 8);
            for options in [options(), priority(1)] {
                submit(&lanes, WRITE, &options, || ()).wait().unwrap();
            }
        }
    });
}
