//! How long a call will wait: the lane's estimate, against the real wait.
//!
//! The lanes have real threads, but go one step at a time: see `support/stepped.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{LaneConfig, LaneErrorKind, Ticket};
use lanekeeper::proxy::CallSpec;
use lanekeeper::quota::{Budget, Quota};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use support::cases::cases;
use support::lanes::{WRITE, ms, one, options, submit, until, within_reason};
use support::stepped::{Course, Failure, Stepped};

const SECOND: u64 = 1_000_000_000;
const ORDER: CallSpec = CallSpec { budgets: &[0], ..WRITE };

/// `limit` calls in each `length`, and a budget that two calls an hour use up.
fn lane(limit: u32, length: u64, in_flight: usize) -> Stepped {
    let config = LaneConfig::new(Quota::new(limit, ms(length))).in_flight(in_flight).aging(None);
    Stepped::new(&[config], &[Budget::new(Quota::per_hour(2))])
}

/// Makes calls first, so that the lane knows how long they take.
fn warm_up(lane: &mut Stepped, course: Course) {
    for _ in 0..48 {
        drop(lane.submit(WRITE, &options(), course));
    }
    while lane.lane(0).queued() > 0 {
        let next = lane.next_moment().unwrap();
        lane.move_to(next);
    }
}

/// Returns by how much a slot is free earlier. A lane in which that changes is not steady yet.
fn credit(lane: &Stepped) -> Duration {
    lane.lane(0).status().credit
}

/// Checks that the estimate is within a tenth, or within `slack` where that is more.
fn check(estimate: Duration, began: u64, sent: u64, slack: Duration) -> Result<(), TestCaseError> {
    let real = Duration::from_nanos(sent - began);
    let off = estimate.abs_diff(real);
    prop_assert!(off <= (real / 10).max(slack), "estimated {estimate:?}, and it was {real:?}");
    Ok(())
}

/// An estimate knows when the calls in flight began on average, not each. So the wait for one of them may be wrong
/// by as long as the first has been in flight. Otherwise a millisecond is tolerated.
fn slack(lane: &Stepped, course: Course) -> Duration {
    let takes = u64::try_from(course.takes.as_nanos()).unwrap();
    let all_sent = (0..lane.submitted()).filter_map(|call| lane.sent_at(call));
    let first = all_sent.filter(|sent| sent + takes > lane.now()).min();
    first.map_or(ms(1), |sent| Duration::from_nanos(lane.now() - sent).max(ms(1)))
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn in_a_steady_lane_the_estimates_come_true_within_a_tenth(
        limit in 1..=10_u32, length in 200..=2_000_u64, takes in 0..=150_u64,
        depth in 1..=40_usize, after in 0..=3_000_u64,
    ) {
        let mut lane = lane(limit, length, limit as usize);
        let course = Course::answered_after(ms(takes));
        warm_up(&mut lane, course);
        let began = lane.now() + after * 1_000_000;
        lane.run_to(began);
        let (first, knew) = (lane.submitted(), credit(&lane));
        let slack = slack(&lane, course);
        let one_more = |lane: &Stepped| lane.lane(0).status().estimated_wait.unwrap();
        let mut estimate = vec![one_more(&lane)];
        let mut tickets: Vec<Ticket<usize, Failure>> = Vec::new();
        for _ in 0..depth {
            tickets.push(lane.submit(WRITE, &options(), course));
            estimate.push(one_more(&lane));
        }
        let by_ticket: Vec<_> = tickets.iter().map(Ticket::estimated_wait).collect();
        lane.run_until_answered(tickets.last_mut().unwrap());
        // Calls so rare that each counts as opening a connection of its own have a test below.
        prop_assume!(credit(&lane) == knew && (takes == 0 || !knew.is_zero()));
        for (index, by_ticket) in by_ticket.into_iter().enumerate() {
            let sent = lane.sent_at(first + index).unwrap();
            // The estimate before it was submitted, and its ticket's estimate with all of them queued.
            check(estimate[index], began, sent, slack)?;
            check(by_ticket.unwrap_or_default(), began, sent, slack)?;
        }
    }

    #[test]
    fn calls_that_wait_for_a_spent_budget_are_no_part_of_the_wait_of_others(
        limit in 1..=10_u32, takes in 0..=90_u64, orders in 3..=12_usize, depth in 1..=20_usize,
    ) {
        let mut lane = lane(limit, 1_000, limit as usize);
        let course = Course::answered_after(ms(takes));
        for _ in 0..2 {
            drop(lane.submit(ORDER, &options(), course));
        }
        warm_up(&mut lane, course);
        let (began, knew) = (lane.now(), credit(&lane));
        let slack = slack(&lane, course);
        let mut waiting: Vec<_> =
            (0..orders).map(|_| lane.submit(ORDER, &options(), course)).collect();
        let first = lane.submitted();
        let mut others: Vec<_> =
            (0..depth).map(|_| lane.submit(WRITE, &options(), course)).collect();
        let estimate: Vec<_> = others.iter().map(|other| other.estimated_wait()).collect();
        let order = waiting[0].estimated_wait().unwrap();
        lane.run_until_answered(others.last_mut().unwrap());
        prop_assume!(credit(&lane) == knew);
        for (index, estimate) in estimate.into_iter().enumerate() {
            check(estimate.unwrap_or_default(), began, lane.sent_at(first + index).unwrap(), slack)?;
        }
        let end = began + 3_700 * SECOND;
        lane.run_to(end);
        check(order, began, lane.sent_at(first - orders).unwrap(), slack)?;
        prop_assert!(waiting.iter_mut().take(2).all(|order| order.try_wait().is_some()));
    }

    /// Fewer calls may be in flight than the quota lets through in the time that they take. Then a call waits for a
    /// worker.
    #[test]
    fn where_calls_wait_for_a_worker_the_estimates_count_that_in(
        limit in 5..=10_u32, in_flight in 1..=2_usize, takes in 400..=800_u64, depth in 3..=12_usize,
    ) {
        let mut lane = lane(limit, 1_000, in_flight);
        let course = Course::answered_after(ms(takes));
        warm_up(&mut lane, course);
        let began = lane.now() + 5 * SECOND;
        lane.run_to(began);
        let first = lane.submitted();
        let mut tickets: Vec<_> =
            (0..depth).map(|_| lane.submit(WRITE, &options(), course)).collect();
        let estimate = tickets.last().unwrap().estimated_wait();
        lane.run_until_answered(tickets.last_mut().unwrap());
        let sent = lane.sent_at(first + depth - 1).unwrap();
        check(estimate.unwrap_or_default(), began, sent, ms(1))?;
    }

    /// Both ways: refused with any deadline up to the moment that the refusal names, admitted and sent in time with
    /// any after that.
    #[test]
    fn what_is_refused_as_too_late_is_possible_when_the_refusal_says(
        limit in 1..=5_u32, length in 200..=2_000_u64, depth in 0..=12_usize,
        after in 0..=1_500_u64, order in any::<bool>(),
    ) {
        let mut lane = lane(limit, length, 1);
        for _ in 0..2 {
            drop(lane.submit(ORDER, &options(), Course::INSTANT));
        }
        let moment = lane.now() + after * 1_000_000;
        lane.run_to(moment);
        for _ in 0..depth + limit as usize {
            drop(lane.submit(WRITE, &options(), Course::INSTANT));
        }
        let call = if order { ORDER } else { WRITE };
        let too_late = |lane: &mut Stepped, deadline| {
            let mut ticket =
                lane.submit(call, &options().deadline(deadline), Course::INSTANT);
            match ticket.try_wait() {
                Some(Err(Failure::Lane(error))) => match error.kind {
                    LaneErrorKind::TooLate { retry_in } => Ok(retry_in),
                    other => panic!("{other}"),
                },
                _ => Err(ticket),
            }
        };
        let retry_in = too_late(&mut lane, Duration::from_nanos(1)).unwrap();
        prop_assert_eq!(too_late(&mut lane, retry_in).unwrap(), retry_in);
        let just = retry_in + Duration::from_nanos(1);
        let mut ticket = too_late(&mut lane, just).unwrap_err();
        let (call, began) = (lane.submitted() - 1, lane.now());
        prop_assert_eq!(lane.run_until_answered(&mut ticket), Some(Ok(call)));
        let sent = lane.sent_at(call).map(|at| Duration::from_nanos(at - began));
        prop_assert_eq!(sent, Some(retry_in));
    }
}

/// Calls so rare that each may have had to open its connection: these yield no mean, and without the time of the
/// last call the estimate would take them for instant.
#[test]
fn an_estimate_counts_the_time_that_rare_calls_take() {
    let mut lane = lane(1, 5_000, 1);
    let course = Course::answered_after(ms(2_000));
    warm_up(&mut lane, course);
    let end = lane.now() + 60 * SECOND;
    lane.run_to(end);
    drop(lane.submit(WRITE, &options(), course));
    let (began, call) = (lane.now(), lane.submitted());
    let mut waits = lane.submit(WRITE, &options(), course);
    let estimate = waits.estimated_wait().unwrap();
    lane.run_until_answered(&mut waits);
    check(estimate, began, lane.sent_at(call).unwrap(), ms(1)).unwrap();
}

/// Slots that come free together are used one after the other, if one call is executed at a time.
#[test]
fn a_call_that_waits_for_a_slot_waits_for_those_that_had_one_before() {
    let mut lane = lane(3, 60_000, 1);
    let course = Course::answered_after(ms(5_000));
    let mut heavy = lane.submit(CallSpec { weight: 3, ..WRITE }, &options(), course);
    lane.run_until_answered(&mut heavy);
    let (began, call) = (lane.now(), lane.submitted());
    let mut light: Vec<_> = (0..3).map(|_| lane.submit(WRITE, &options(), course)).collect();
    let estimate: Vec<_> = light.iter().map(|ticket| ticket.estimated_wait().unwrap()).collect();
    for ticket in &mut light {
        let _ = lane.run_until_answered(ticket);
    }
    let sent = (call..call + 3).map(|call| lane.sent_at(call).unwrap() - began);
    assert_eq!(estimate, sent.map(Duration::from_nanos).collect::<Vec<_>>());
    assert_eq!(estimate[2] - estimate[0], ms(10_000));
}

/// While a light call is executed, the slots come free that a heavy one waits for. The heavy one waits for the
/// later of the two, not for one after the other.
#[test]
fn slots_that_come_free_while_another_call_is_made_are_not_waited_for_twice() {
    let (estimate, real) = within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let config = LaneConfig::new(Quota::per_second(10)).in_flight(1);
        let lanes = one(config, clock.clone());
        let sleeps = Clock::from(clock.clone());
        let call = |weight, begins: Option<Receiver<()>>| {
            let (clock, sleeps) = (clock.clone(), sleeps.clone());
            submit(&lanes, CallSpec { weight, ..WRITE }, &options(), move || {
                let _ = begins.map(|begins| begins.recv());
                let now = clock.now();
                sleeps.sleep(ms(500));
                now
            })
        };
        for _ in 0..48 {
            call(1, None).wait().unwrap();
        }
        clock.advance(ms(5_000));
        let (begin, begins) = mpsc::channel();
        let first = call(6, Some(begins));
        let light = call(1, None);
        let heavy = call(5, None);
        until(|| light.position() == Some(0));
        let estimate = heavy.estimated_wait().unwrap();
        begin.send(()).unwrap();
        let began = first.wait().unwrap();
        light.wait().unwrap();
        (estimate, heavy.wait().unwrap().since(began))
    });
    assert_eq!(estimate, real);
}
