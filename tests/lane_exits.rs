//! The fourth promise, through the lanes: whatever fails, an exit goes out.
//!
//! The lanes have real threads, but go one step at a time: see `support/stepped.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::Effect;
use lanekeeper::lane::{
    LaneConfig, LaneErrorKind, LaneStatus, OpenBreakerPolicy, OverflowPolicy, Priority,
};
use lanekeeper::proxy::CallSpec;
use lanekeeper::quota::{Budget, Quota, RttCredit};
use lanekeeper::resilience::{BreakerMode, BreakerPolicy, BreakerState, RetryPolicy};
use lanekeeper::{ErrorClass, Failure as LaneFailure, Reachability};
use proptest::prelude::*;
use support::cases::cases;
use support::lanes::{options, priority, unlimited};
use support::oracle::{Arrival, Count, count_excess};
use support::stepped::{Course, End, Failure, Stepped};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

const READS: CallSpec =
    CallSpec { route: "order_reads", ..CallSpec::new(0, "orders", Effect::Read) };
const ACCOUNT: CallSpec =
    CallSpec { route: "account_reads", ..CallSpec::new(0, "margins", Effect::Read) };
const PLACE: CallSpec =
    CallSpec { route: "order_writes", ..CallSpec::new(0, "place", Effect::Write) };
const CANCEL: CallSpec =
    CallSpec { route: "order_writes", exit: true, ..CallSpec::new(0, "cancel", Effect::Write) };

/// A call that is answered after an hour.
const HANGS: Course = Course::answered_after(Duration::from_secs(3_600));

fn unanswered() -> Course {
    Course::fails(ErrorClass::Transient)
}

/// The broker answers, with an error of this class.
fn answered(class: ErrorClass) -> Course {
    Course::fails(LaneFailure::from(class).with_reachability(Reachability::Answered))
}

fn per_second(calls: u32) -> LaneConfig {
    LaneConfig::new(Quota::per_second(calls)).credit(RttCredit::STRICT).retry(RetryPolicy::none())
}

fn reason(answer: Option<Result<usize, Failure>>) -> Option<LaneErrorKind> {
    match answer {
        Some(Err(Failure::Lane(error))) => Some(error.kind),
        _ => None,
    }
}

/// Returns when the call was sent, in milliseconds from `began`.
fn sent(lane: &Stepped, call: usize, began: u64) -> Option<u64> {
    lane.sent_at(call).map(|at| (at - began) / MILLISECOND)
}

/// Advances in small steps: no status shows the moment at which a hung call gives up its slot.
fn creep(lane: &mut Stepped, end: u64) {
    while lane.now() < end {
        lane.move_to(lane.now() + 100 * MILLISECOND);
    }
}

#[test]
fn answers_that_cannot_be_decoded_open_no_breaker() {
    let mut lane = Stepped::new(&[unlimited(1).retry(RetryPolicy::none())], &[]);
    for class in
        [ErrorClass::Malformed, ErrorClass::Transient, ErrorClass::Rejected, ErrorClass::Fatal]
    {
        for _ in 0..12 {
            drop(lane.submit(READS, &options(), answered(class)));
        }
    }
    for _ in 0..12 {
        drop(lane.submit(PLACE, &options(), answered(ErrorClass::Unknown)));
    }
    let status = lane.lanes.status().lanes.remove(0);
    assert_eq!(status.breaker, BreakerState::Closed);
    assert_eq!(lane.sent.len(), 60);
}

#[test]
fn a_call_that_was_refused_on_this_side_says_nothing_of_the_broker() {
    let mut lane = Stepped::new(&[unlimited(1).retry(RetryPolicy::none())], &[]);
    let local = LaneFailure::from(ErrorClass::NotSent).with_reachability(Reachability::NotTried);
    (0..12).for_each(|_| drop(lane.submit(PLACE, &options(), Course::fails(local))));
    assert_eq!(lane.lanes.status().lanes[0].breaker, BreakerState::Closed);
    (0..5).for_each(|_| drop(lane.submit(PLACE, &options(), Course::fails(ErrorClass::NotSent))));
    assert_eq!(lane.lanes.status().lanes[0].breaker, BreakerState::Open);
}

#[test]
fn a_route_that_is_out_of_order_stops_no_other() {
    let config = unlimited(1).retry(RetryPolicy::none()).when_down(OpenBreakerPolicy::Refuse);
    let mut lane = Stepped::new(&[config], &[]);
    (0..5).for_each(|_| drop(lane.submit(READS, &options(), unanswered())));
    let mut refused = lane.submit(READS, &options(), Course::INSTANT);
    assert!(matches!(reason(refused.try_wait()), Some(LaneErrorKind::BrokerDown { .. })));
    for call in [PLACE, ACCOUNT, CANCEL] {
        assert!(lane.submit(call, &options(), Course::INSTANT).try_wait().unwrap().is_ok());
    }
    let status = lane.lanes.status().lanes.remove(0);
    assert_eq!(status.breaker, BreakerState::Open);
    assert_eq!(status.breakers["order_reads"], BreakerState::Open);
    assert_eq!(status.breakers["order_writes"], BreakerState::Closed);
}

#[test]
fn an_exit_passes_a_breaker_that_opened_automatically_and_its_answer_closes_it() {
    let config = unlimited(1).retry(RetryPolicy::none()).when_down(OpenBreakerPolicy::Refuse);
    let mut lane = Stepped::new(&[config], &[]);
    (0..5).for_each(|_| drop(lane.submit(PLACE, &options(), unanswered())));
    let is_down = |lane: &mut Stepped| {
        let mut refused = lane.submit(PLACE, &options(), Course::INSTANT);
        matches!(reason(refused.try_wait()), Some(LaneErrorKind::BrokerDown { .. }))
    };
    assert!(is_down(&mut lane));
    // One that fails changes nothing, and the next goes too.
    for _ in 0..20 {
        drop(lane.submit(CANCEL, &options(), unanswered()));
    }
    assert_eq!(lane.sent.len(), 25);
    assert!(is_down(&mut lane));
    // So does any call that its caller makes urgent.
    drop(lane.submit(PLACE, &priority(1), Course::INSTANT));
    assert_eq!(lane.lanes.status().lanes[0].breaker, BreakerState::HalfOpen);
    assert!(!is_down(&mut lane));
    assert_eq!(lane.lanes.status().lanes[0].breaker, BreakerState::Closed);
}

/// Calls that wait are refused. An exit among them is not.
#[test]
fn an_exit_that_waits_as_the_breaker_opens_is_sent() {
    let config = per_second(5).in_flight(5).when_down(OpenBreakerPolicy::Refuse);
    let mut lane = Stepped::new(&[config], &[]);
    let began = lane.now();
    let lost = Course { takes: Duration::from_millis(100), ends: End::Lost };
    let fails: Vec<_> = (0..5).map(|_| lane.submit(PLACE, &options(), lost)).collect();
    let mut waits = [PLACE, CANCEL].map(|call| lane.submit(call, &options(), Course::INSTANT));
    lane.run_to(began + 10 * SECOND);
    assert_eq!(fails.len(), 5);
    assert!(matches!(reason(waits[0].try_wait()), Some(LaneErrorKind::BrokerDown { .. })));
    assert_eq!(waits[1].try_wait(), Some(Ok(6)));
}

#[test]
fn a_breaker_forced_open_by_hand_refuses_an_exit_too() {
    let mut lane = Stepped::new(&[unlimited(1)], &[]);
    lane.lane(0).set_breaker(BreakerMode::ForcedOpen);
    let mut exit = lane.submit(CANCEL, &options(), Course::INSTANT);
    assert!(matches!(reason(exit.try_wait()), Some(LaneErrorKind::BrokerDown { retry_in: None })));
}

#[test]
fn an_exit_is_urgent_whatever_its_caller_says() {
    let mut lane = Stepped::new(&[per_second(1).in_flight(1)], &[]);
    drop(lane.submit(READS, &options(), Course::INSTANT));
    // A read whose ticket is dropped would be cancelled.
    let calls = [(READS, 2), (CANCEL, 10), (READS, 2)];
    let _tickets = calls.map(|(call, level)| lane.submit(call, &priority(level), Course::INSTANT));
    lane.run_to(lane.now() + 5 * SECOND);
    let order: Vec<usize> = lane.sent.iter().map(|sending| sending.call).collect();
    assert_eq!(order, [0, 2, 1, 3]);
}

/// Ten slots and ten workers are held by calls that hang. An exit is at the broker within one window, and so are
/// others, up to one for each slot. Every other call waits.
#[test]
fn beside_calls_that_hang_an_exit_is_at_the_broker_within_one_window() {
    for (limit, length, call) in [(10, 1_000, READS), (10, 1_000, PLACE), (3, 2_500, ACCOUNT)] {
        for wait in [0, 400, 5_000] {
            let quota = Quota::new(limit, Duration::from_millis(length));
            let config = LaneConfig::new(quota).retry(RetryPolicy::none());
            let mut lane = Stepped::new(&[config], &[]);
            let _tickets: Vec<_> =
                (0..limit + 6).map(|_| lane.submit(call, &options(), HANGS)).collect();
            assert_eq!(lane.sent.len(), limit as usize);
            lane.run_to(lane.now() + wait * MILLISECOND);
            let (began, first) = (lane.now(), lane.submitted());
            let few = (limit as usize).min(4);
            for _ in 0..few {
                drop(lane.submit(
                    CANCEL,
                    &options(),
                    Course::answered_after(Duration::from_millis(9)),
                ));
            }
            creep(&mut lane, began + 10 * SECOND);
            let expected = length.saturating_sub(wait);
            for exit in first..first + few {
                assert_eq!(sent(&lane, exit, began), Some(expected), "{limit} {length} {wait}");
            }
            // No other call took the slot of a hung call.
            assert_eq!(lane.sent.len(), limit as usize + few);
        }
    }
}

/// The hung calls are not urgent, and hold only their own workers.
#[test]
fn a_worker_is_there_for_an_exit_when_all_others_hang() {
    let mut lane = Stepped::new(&[unlimited(2).urgent_workers(1)], &[]);
    let _tickets: Vec<_> = (0..5).map(|_| lane.submit(READS, &options(), HANGS)).collect();
    assert_eq!(lane.sent.len(), 2);
    let quick = Course::answered_after(Duration::from_millis(10));
    drop(lane.submit(CANCEL, &options(), quick));
    drop(lane.submit(PLACE, &priority(2), Course::INSTANT));
    drop(lane.submit(CANCEL, &options(), quick));
    let calls = |lane: &Stepped| lane.sent.iter().map(|sending| sending.call).collect::<Vec<_>>();
    assert_eq!(calls(&lane), [0, 1, 5]);
    lane.run_to(lane.now() + SECOND);
    assert_eq!(calls(&lane), [0, 1, 5, 7]);
}

#[test]
fn a_deadline_is_judged_by_the_slots_of_hung_calls_too() {
    let mut lane = Stepped::new(&[per_second(10)], &[]);
    let _tickets: Vec<_> = (0..16).map(|_| lane.submit(READS, &options(), HANGS)).collect();
    lane.run_to(lane.now() + 5 * SECOND);
    let soon = options().deadline(Duration::from_millis(100));
    assert_eq!(lane.submit(CANCEL, &soon, Course::INSTANT).try_wait(), Some(Ok(16)));
    let mut read = lane.submit(READS, &soon, Course::INSTANT);
    assert!(matches!(reason(read.try_wait()), Some(LaneErrorKind::TooLate { .. })));
}

/// The queries of a guard for lost orders are urgent reads.
#[test]
fn urgent_reads_that_hang_leave_a_worker_to_an_exit() {
    let mut lane = Stepped::new(&[unlimited(4).urgent_workers(4)], &[]);
    let urgencies = (0..16).map(|call| if call < 8 { options() } else { priority(1) });
    let _reads: Vec<_> = urgencies.map(|urgency| lane.submit(READS, &urgency, HANGS)).collect();
    assert_eq!(lane.sent.len(), 6, "the others have half of the workers for urgent calls");
    for _ in 0..2 {
        drop(lane.submit(CANCEL, &options(), HANGS));
        let last = lane.submitted() - 1;
        assert!(lane.sent_at(last).is_some(), "it waits behind urgent reads");
    }
    drop(lane.submit(CANCEL, &options(), Course::INSTANT));
    assert_eq!(lane.sent.len(), 8);
}

/// Reads took 12 s each, and as many of them hang as may be in flight: estimated by that, an exit with a deadline
/// of 3 s goes too late. Two quick exits are before it.
#[test]
fn no_estimate_refuses_an_exit() {
    let slow = Course::answered_after(Duration::from_secs(12));
    let quick = Course::answered_after(Duration::from_millis(50));
    let mut lane = Stepped::new(&[unlimited(4).urgent_workers(2)], &[]);
    for _ in 0..5 {
        (0..4).for_each(|_| drop(lane.submit(READS, &options(), slow)));
        lane.run_to(lane.now() + 13 * SECOND);
    }
    (0..4).for_each(|_| drop(lane.submit(READS, &options(), slow)));
    (0..2).for_each(|_| drop(lane.submit(CANCEL, &options(), quick)));
    let hasty = options().deadline(Duration::from_secs(3));
    let mut exit = lane.submit(CANCEL, &hasty, quick);
    let mut read = lane.submit(READS, &hasty, quick);
    assert!(matches!(reason(read.try_wait()), Some(LaneErrorKind::TooLate { .. })));
    lane.run_to(lane.now() + SECOND);
    assert!(exit.try_wait().unwrap().is_ok());
    // It is refused when the deadline has passed, and no sooner.
    (0..2).for_each(|_| drop(lane.submit(CANCEL, &options(), slow)));
    let mut late = lane.submit(CANCEL, &hasty, quick);
    assert_eq!(late.try_wait(), None);
    lane.run_to(lane.now() + 4 * SECOND);
    assert!(matches!(reason(late.try_wait()), Some(LaneErrorKind::DeadlinePassed { .. })));
}

/// Only one call was really sent, so the lane goes at 70 % of that.
#[test]
fn a_rate_that_was_cut_holds_up_no_exit() {
    let mut lane = Stepped::new(&[per_second(10)], &[]);
    lane.run_to(lane.now() + 5 * SECOND);
    let too_fast = ErrorClass::Throttled { retry_after: Some(Duration::from_secs(1)) };
    drop(lane.submit(READS, &options(), Course::fails(too_fast)));
    let (began, first) = (lane.now(), lane.submitted());
    let calls = std::iter::repeat_n(CANCEL, 10).chain(std::iter::repeat_n(READS, 10));
    let _tickets: Vec<_> =
        calls.map(|call| lane.submit(call, &options(), Course::INSTANT)).collect();
    creep(&mut lane, began + 60 * SECOND);
    let exits: Vec<_> = (first..first + 10).map(|call| sent(&lane, call, began)).collect();
    // The refused call holds one of the ten slots, and no exit goes before the pause ends.
    assert!(exits.iter().all(|at| at.is_some_and(|at| (1000..=2100).contains(&at))), "{exits:?}");
    let reads: Vec<_> = (first + 10..first + 20).map(|call| sent(&lane, call, began)).collect();
    // Without a cut, they would all go in the next second.
    assert!(reads[9].is_some_and(|at| at >= 5000), "{reads:?}");
}

/// The broker admits two calls a second, whatever was configured, and refuses the others with a wait of a second.
#[test]
fn exits_that_are_refused_for_speed_slow_down_and_all_go() {
    let config = LaneConfig::new(Quota::per_second(10)).credit(RttCredit::STRICT);
    let mut lane = Stepped::new(&[config], &[]);
    let (taken, clock) = (Arc::new(Mutex::new(Vec::new())), lane.clock.clone());
    let exit = || {
        let (taken, clock) = (Arc::clone(&taken), clock.clone());
        move || {
            let (now, mut taken) = (clock.now().as_nanos(), taken.lock().unwrap());
            if taken.iter().filter(|at| now - **at < SECOND).count() < 2 {
                taken.push(now);
                return Ok(0_usize);
            }
            let second = Some(Duration::from_secs(1));
            Err(Failure::Broker(ErrorClass::Throttled { retry_after: second }.into()))
        }
    };
    let mut exits: Vec<_> = (0..60)
        .map(|_| lane.lanes.submit_spec_repeatable(CANCEL, &options(), exit(), Failure::classify))
        .collect();
    lane.run_until_idle();
    let end = lane.now() + 120 * SECOND;
    creep(&mut lane, end);
    let gone = exits.iter_mut().map(|exit| exit.try_wait().is_some_and(|answer| answer.is_ok()));
    assert_eq!(gone.filter(|gone| *gone).count(), 60);
}

#[test]
fn at_a_full_queue_an_exit_takes_the_slot_of_a_normal_call() {
    for when_full in [OverflowPolicy::Refuse, OverflowPolicy::Shed] {
        let config = per_second(1).in_flight(1).queue(3).when_full(when_full);
        let mut lane = Stepped::new(&[config], &[]);
        drop(lane.submit(READS, &options(), Course::INSTANT));
        let mut waiting: Vec<_> =
            [5, 7, 6].map(|level| lane.submit(READS, &priority(level), Course::INSTANT)).into();
        let mut late = lane.submit(READS, &priority(8), Course::INSTANT);
        assert!(matches!(reason(late.try_wait()), Some(LaneErrorKind::QueueFull { .. })));
        let mut exits: Vec<_> =
            (0..5).map(|_| lane.submit(CANCEL, &options(), Course::INSTANT)).collect();
        // The normal calls are gone, the lowest priority first, and exits are always admitted.
        let gone: Vec<_> = waiting.iter_mut().map(|ticket| reason(ticket.try_wait())).collect();
        assert_eq!(gone, vec![Some(LaneErrorKind::Shed); 3]);
        assert_eq!(lane.lane(0).queued(), 5);
        lane.run_to(lane.now() + 10 * SECOND);
        assert!(exits.iter_mut().all(|exit| matches!(exit.try_wait(), Some(Ok(_)))));
    }
}

#[test]
fn an_interval_of_its_user_holds_up_no_exit() {
    let config = unlimited(1).user_interval(Duration::from_secs(3_600));
    let mut lane = Stepped::new(&[config], &[]);
    let alpha = || options().user("alpha");
    for call in [CANCEL, PLACE, CANCEL, PLACE] {
        drop(lane.submit(call, &alpha(), Course::INSTANT));
    }
    let calls: Vec<usize> = lane.sent.iter().map(|sending| sending.call).collect();
    assert_eq!(calls, [0, 1, 2]);
}

/// Reads that fail have spent the retry budget of the lane. An exit that comes too fast is still sent again.
#[test]
fn retries_of_normal_calls_keep_no_exit_from_another_attempt() {
    let none_left = RetryPolicy::default().budget_percent(0).budget_floor(1);
    let mut lane = Stepped::new(&[unlimited(1).retry(none_left)], &[]);
    let tried = |lane: &mut Stepped, call: CallSpec| {
        let mut attempts = 0;
        let work = move || {
            attempts += 1;
            let throttled = ErrorClass::Throttled { retry_after: Some(Duration::from_secs(1)) };
            if attempts < 3 { Err(Failure::Broker(throttled.into())) } else { Ok(attempts) }
        };
        let mut ticket =
            lane.lanes.submit_spec_repeatable(call, &options(), work, Failure::classify);
        lane.run_until_idle();
        for _ in 0..40 {
            lane.move_to(lane.now() + SECOND / 2);
        }
        ticket.try_wait()
    };
    assert!(matches!(tried(&mut lane, READS), Some(Err(_))));
    assert_eq!(tried(&mut lane, CANCEL), Some(Ok(3)));
}

/// A step of a day of failures.
#[derive(Debug, Clone)]
enum Step {
    /// A call, how long it takes in milliseconds, and how it ends.
    Call(usize, u64, End),
    Pass(u64),
    Exit,
}

fn ends() -> impl Strategy<Value = End> {
    let fails = |failure: LaneFailure| End::Fails(failure);
    let answered =
        |class| End::Fails(LaneFailure::from(class).with_reachability(Reachability::Answered));
    let too_fast = move |seconds: u64| {
        fails(ErrorClass::Throttled { retry_after: Some(Duration::from_secs(seconds)) }.into())
    };
    prop_oneof![
        Just(End::Answered),
        Just(End::Lost),
        Just(End::NeverLeft),
        Just(answered(ErrorClass::Malformed)),
        Just(answered(ErrorClass::Unknown)),
        Just(answered(ErrorClass::Transient)),
        Just(fails(ErrorClass::Rejected.into())),
        Just(fails(ErrorClass::Fatal.into())),
        (0..=2_u64).prop_map(too_fast),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let takes = prop_oneof![3 => 0..=300_u64, 1 => 5_000..=20_000_u64];
    let step = prop_oneof![
        8 => (0..3_usize, takes, ends()).prop_map(|(call, takes, end)| Step::Call(call, takes, end)),
        3 => prop_oneof![3 => 0..=400_u64, 1 => 1_000..=9_000_u64].prop_map(Step::Pass),
        1 => Just(Step::Exit),
    ];
    prop::collection::vec(step, 1..60)
}

/// Returns the longest of all windows that the lane keeps to, including that of a cut, in nanoseconds.
fn longest_window(status: &LaneStatus) -> u64 {
    let lengths = status.windows.iter().map(|window| {
        let quota: Quota = window.window.parse().unwrap();
        quota.windows()[0].length.as_nanos() as u64
    });
    lengths.max().unwrap()
}

proptest! {
    #![proptest_config(cases(40))]

    /// With any mix of failures on any routes, an exit is at the broker within the pace: two windows, or two seconds
    /// and one window where a call hangs, of time in which the broker has not asked for a pause. Where the broker made
    /// the lane slow down, the window is that of the slower rate.
    #[test]
    fn whatever_fails_an_exit_goes_out_within_the_pace(
        steps in steps(), limit in 2..=6_u32, length in 200..=2_000_u64, in_flight in 1..=4_usize,
        queue in 1..=8_usize, block in any::<bool>(), sensitive in any::<bool>(),
    ) {
        let breaker = match sensitive {
            true => BreakerPolicy::default().failures_in_a_row(Some(1)),
            false => BreakerPolicy::default(),
        };
        let config = LaneConfig::new(Quota::new(limit, Duration::from_millis(length)))
            .in_flight(in_flight)
            .queue(queue)
            .when_full(if block { OverflowPolicy::Shed } else { OverflowPolicy::Refuse })
            .breaker(breaker);
        let mut lane = Stepped::new(&[config], &[]);
        let (mut exits, mut tickets) = (HashSet::new(), Vec::new());
        let mut last_exit = 0;
        for step in steps {
            match step {
                Step::Call(which, takes, ends) => {
                    let (call, takes) = ([READS, ACCOUNT, PLACE][which], Duration::from_millis(takes));
                    tickets.push(lane.submit(call, &options(), Course { takes, ends }));
                }
                Step::Pass(millis) => lane.run_to(lane.now() + millis * MILLISECOND),
                Step::Exit => {
                    // One at a time: several exits are paced like any calls.
                    lane.run_to((last_exit + 3 * length * MILLISECOND).max(lane.now()));
                    let exit = lane.submitted();
                    drop(lane.submit(CANCEL, &options(), Course::INSTANT));
                    let (mut waited, mut max_window) = (0, 0);
                    while lane.sent_at(exit).is_none() {
                        let status = lane.lanes.status().lanes.remove(0);
                        max_window = max_window.max(longest_window(&status));
                        let step = 10 * MILLISECOND;
                        lane.move_to(lane.now() + step);
                        waited += if status.paused_for.is_some() { 0 } else { step };
                        let bound = max_window.max(2 * SECOND) + max_window;
                        prop_assert!(waited <= bound, "{exit} waits {status:?}");
                    }
                    exits.insert(exit);
                    last_exit = lane.now();
                }
            }
        }
        // What the broker counted as each call arrived, without the exits, which may be one too many.
        let all = lane.sent.iter().filter(|sending| !exits.contains(&sending.call));
        let arrivals: Vec<Arrival> = all.map(|sending| (sending.at, 1)).collect();
        let length = Duration::from_millis(length).as_nanos() as u64;
        prop_assert_eq!(count_excess(&arrivals, Count::Log { limit: limit.into(), length }), 0);
    }
}

/// The day's orders are spent except for the reserve, which is for exits that are placements.
#[test]
fn a_reserve_lets_urgent_placements_out() {
    let budget = Budget::new(Quota::per_day(20)).reserve_percent(10);
    let mut lane = Stepped::new(&[unlimited(1)], &[budget]);
    let placement = CallSpec { budgets: &[0], ..PLACE };
    let mut orders: Vec<_> =
        (0..19).map(|_| lane.submit(placement, &options(), Course::INSTANT)).collect();
    assert_eq!(lane.sent.len(), 18);
    assert_eq!(orders.pop().unwrap().try_wait(), None);
    let urgent = options().priority(Priority::URGENT);
    for exit in 0..2 {
        let mut exit_ticket = lane.submit(placement, &urgent, Course::INSTANT);
        assert_eq!(exit_ticket.try_wait(), Some(Ok(19 + exit)));
    }
}
