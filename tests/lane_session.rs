//! Calls at a broker that no longer accepts the credentials.
//!
//! The lanes have real threads, but go one step at a time: see `support/stepped.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::ErrorClass;
use lanekeeper::lane::{ExpiredSessionPolicy, LaneConfig, LaneErrorKind};
use lanekeeper::proxy::LanesBuilder;
use lanekeeper::quota::{Limits, Quota};
use support::lanes::{WRITE, options, priority, unlimited};
use support::stepped::{Course, End, Failure, Stepped};

fn refused_after(millis: u64) -> Course {
    let ends = End::Fails(ErrorClass::Unauthorized.into());
    Course { takes: Duration::from_millis(millis), ends }
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_lane_holds_its_calls_until_the_session_is_renewed() {
    let config = LaneConfig::new(Quota::per_second(10)).in_flight(4);
    let mut lane = Stepped::new(&[config], &[]);
    let mut tickets: Vec<_> =
        (0..40).map(|_| lane.submit(WRITE, &options(), refused_after(50))).collect();
    lane.run_to(lane.now() + 30 * SECOND);
    // The calls in flight when the first refusal came.
    assert_eq!(lane.sent.len(), 4);
    assert!(lane.lanes.status().session_expired);
    assert_eq!(lane.lane(0).queued(), 36);
    let answers = tickets.iter_mut().filter_map(|ticket| ticket.try_wait());
    assert_eq!(answers.count(), 4);
    // A call with a deadline is answered when that passes.
    let soon = options().deadline(Duration::from_secs(20));
    let mut impatient = lane.submit(WRITE, &soon, Course::INSTANT);
    lane.run_to(lane.now() + 30 * SECOND);
    let answer = impatient.try_wait().unwrap().unwrap_err();
    assert!(
        matches!(answer, Failure::Lane(error) if matches!(error.kind, LaneErrorKind::DeadlinePassed { .. }))
    );

    lane.lanes.session().renew();
    lane.run_until_idle();
    lane.run_to(lane.now() + 30 * SECOND);
    // The new credentials are no better, and it takes another few calls to find out.
    assert_eq!(lane.sent.len(), 8);
    assert!(lane.lanes.status().session_expired);
}

#[test]
fn what_was_held_goes_in_its_order_and_within_the_pace() {
    let config = LaneConfig::new(Quota::per_second(2)).in_flight(1);
    let mut lane = Stepped::new(&[config], &[]);
    drop(lane.submit(WRITE, &options(), refused_after(10)));
    lane.run_to(lane.now() + SECOND);
    for level in [5, 3, 5, 2] {
        drop(lane.submit(WRITE, &priority(level), Course::INSTANT));
    }
    lane.run_to(lane.now() + 5 * SECOND);
    assert_eq!(lane.sent.len(), 1);
    let renewed = lane.now();
    lane.lanes.session().renew();
    lane.run_until_idle();
    lane.run_to(renewed + 10 * SECOND);
    let sent: Vec<_> = lane.sent[1..].iter().map(|one| (one.call, one.at - renewed)).collect();
    assert_eq!(sent, [(4, 0), (2, 0), (1, SECOND), (3, SECOND)]);
    assert!(!lane.lanes.status().session_expired);
}

#[test]
fn a_lane_that_is_to_refuses_what_waits_and_what_comes() {
    let config = LaneConfig::new(Quota::per_second(1)).when_expired(ExpiredSessionPolicy::Refuse);
    let mut lane = Stepped::new(&[config, unlimited(1)], &[]);
    let mut first = lane.submit(WRITE, &options(), refused_after(10));
    let mut waits = lane.submit(WRITE, &options(), Course::INSTANT);
    lane.run_to(lane.now() + SECOND / 2);
    assert_eq!(first.try_wait(), Some(Err(Failure::Broker(ErrorClass::Unauthorized.into()))));
    let mut comes = lane.submit(WRITE, &options(), Course::INSTANT);
    for ticket in [&mut waits, &mut comes] {
        let answer = ticket.try_wait().unwrap().unwrap_err();
        assert!(
            matches!(answer, Failure::Lane(error) if error.kind == LaneErrorKind::SessionExpired)
        );
    }
    // The other lane of the same session holds its own.
    let elsewhere = lanekeeper::proxy::CallSpec { lane: 1, ..WRITE };
    let mut held = lane.submit(elsewhere, &options(), Course::INSTANT);
    assert_eq!(held.try_wait(), None);
    lane.lanes.session().renew();
    lane.run_until_idle();
    assert!(held.try_wait().unwrap().is_ok());
}

/// The call is still sent: the broker may have been wrong.
#[test]
fn an_urgent_call_goes_and_if_the_broker_takes_it_so_do_the_others() {
    let mut lane = Stepped::new(&[unlimited(1)], &[]);
    drop(lane.submit(WRITE, &options(), refused_after(0)));
    let mut held = lane.submit(WRITE, &options(), Course::INSTANT);
    let mut urgent = lane.submit(WRITE, &priority(1), refused_after(0));
    assert_eq!(urgent.try_wait(), Some(Err(Failure::Broker(ErrorClass::Unauthorized.into()))));
    assert_eq!(held.try_wait(), None);
    let mut urgent = lane.submit(WRITE, &priority(1), Course::INSTANT);
    assert_eq!(urgent.try_wait(), Some(Ok(3)));
    assert_eq!(held.try_wait(), Some(Ok(1)));
    assert!(!lane.lanes.status().session_expired);
}

/// Its call was in flight as the session was renewed, so nothing is known against the new one.
#[test]
fn a_late_refusal_of_the_old_credentials_holds_nothing_up_and_is_retried() {
    let mut lane = Stepped::new(&[unlimited(2)], &[]);
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counted, session) = (Arc::clone(&attempts), lane.lanes.session().clone());
    let work = move || {
        // The session is renewed during the first attempt.
        if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            session.renew();
            return Err(Failure::Broker(ErrorClass::Unauthorized.into()));
        }
        Ok(7_usize)
    };
    let mut ticket = lane.lanes.submit_spec_repeatable(WRITE, &options(), work, Failure::classify);
    lane.run_until_idle();
    assert_eq!(ticket.try_wait(), Some(Ok(7)));
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    assert!(!lane.lanes.status().session_expired);
}

/// Nothing would end the wait of the calls that were held.
#[test]
fn without_a_session_a_refusal_is_the_answer_of_one_call_alone() {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, unlimited(1));
    let lanes = builder.build(Limits::new()).unwrap();
    let refused = || Err::<u8, _>(Failure::Broker(ErrorClass::Unauthorized.into()));
    assert!(lanes.call_spec(WRITE, &options(), refused, Failure::classify).is_err());
    // The deadline ends the test if the call is held.
    let soon = options().deadline(Duration::from_secs(10));
    assert_eq!(lanes.call_spec(WRITE, &soon, || Ok::<_, Failure>(1), Failure::classify), Ok(1));
    assert!(!lanes.status().session_expired);
}
