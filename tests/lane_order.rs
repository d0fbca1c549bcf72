//! Which call goes next, and which does not go at all: priorities, users, budgets, deadlines.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;

use lanekeeper::Effect;
use lanekeeper::Sent;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{
    CallOptions, LaneConfig, LaneError, LaneErrorKind, LaneState, OverflowPolicy, Shutdown, Ticket,
};
use lanekeeper::proxy::{BuildError, CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota};
use support::lanes::{self, READ, SECOND, ms, options, priority, status, the};
#[cfg(target_os = "linux")]
use support::lanes::{WRITE, unlimited, within_reason};
#[cfg(target_os = "linux")]
use support::stepped::{Course, Stepped};

const ORDER: CallSpec = CallSpec { method: "order", effect: Effect::Write, budgets: &[0], ..READ };

fn build(config: LaneConfig, orders: Budget, clock: &ManualClock) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
    builder.lane(0, config);
    builder.budget(0, orders);
    builder.clock(clock.clone().into());
    builder.build(Limits::new()).unwrap()
}

/// Returns lanes of one call a second, and a budget that does not limit them.
fn once_a_second(clock: &ManualClock) -> Lanes {
    build(LaneConfig::new(Quota::per_second(1)), Quota::unlimited().into(), clock)
}

type Log = Arc<Mutex<Vec<String>>>;

/// Queues a call that logs its name when it runs.
fn submit(
    lanes: &Lanes,
    call: CallSpec,
    options: &CallOptions,
    log: &Log,
    name: impl Into<String>,
) -> Ticket<(), LaneError> {
    let (log, name) = (Arc::clone(log), name.into());
    lanes::submit(lanes, call, options, move || log.lock().unwrap().push(name))
}

/// Runs `queue` while the lane is paused, and returns the order in which the calls went.
fn order_of(lanes: &Lanes, queue: impl FnOnce(&Log) -> Vec<Ticket<(), LaneError>>) -> Vec<String> {
    let log = Log::default();
    the(lanes).pause();
    let tickets = queue(&log);
    the(lanes).resume();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let log = log.lock().unwrap();
    log.clone()
}

#[test]
fn the_more_urgent_goes_first_and_equals_in_order() {
    let lanes = once_a_second(&ManualClock::auto_advancing());
    let order = order_of(&lanes, |log| {
        [9, 5, 1, 5, 10, 1]
            .iter()
            .enumerate()
            .map(|(i, p)| submit(&lanes, READ, &priority(*p), log, format!("{p}.{i}")))
            .collect()
    });
    assert_eq!(order, ["1.2", "1.5", "5.1", "5.3", "9.0", "10.4"]);
}

#[test]
fn an_urgent_call_that_comes_while_the_lane_waits_is_the_next_one_sent() {
    let clock = ManualClock::new();
    let lanes = once_a_second(&clock);
    let log = Log::default();
    let first = submit(&lanes, READ, &options(), &log, "first");
    first.wait().unwrap();
    let waiting: Vec<_> =
        (0..5).map(|i| submit(&lanes, READ, &options(), &log, format!("{i}"))).collect();
    // The lane waits for its next second, with five calls before this one.
    let urgent = submit(&lanes, READ, &priority(1), &log, "urgent");
    assert_eq!(urgent.position(), Some(0));
    assert_eq!(waiting[4].position(), Some(5));
    clock.advance(SECOND);
    urgent.wait().unwrap();
    assert_eq!(*log.lock().unwrap(), ["first", "urgent"]);
    assert!(waiting.iter().all(Ticket::cancel));
}

#[test]
fn users_take_turns_however_much_one_asks_for() {
    let lanes = once_a_second(&ManualClock::auto_advancing());
    let order = order_of(&lanes, |log| {
        let (a, b) = (options().user("a"), options().user("b"));
        let mut tickets: Vec<_> =
            (0..20).map(|i| submit(&lanes, READ, &a, log, format!("a{i}"))).collect();
        tickets.extend((0..4).map(|i| submit(&lanes, READ, &b, log, format!("b{i}"))));
        tickets
    });
    for (turn, name) in ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3", "a4"].iter().enumerate() {
        assert_eq!(order[turn], *name, "{order:?}");
    }
}

#[test]
fn a_user_keeps_the_minimum_interval_and_holds_up_no_other() {
    let clock = ManualClock::auto_advancing();
    let config = LaneConfig::new(Quota::per_second(10)).user_interval(SECOND).in_flight(1);
    let lanes = build(config, Quota::unlimited().into(), &clock);
    let began = clock.now();
    let order = order_of(&lanes, |log| {
        let (a, b) = (options().user("a"), options().user("b"));
        let a = (0..3).map(|i| submit(&lanes, READ, &a, log, format!("a{i}")));
        let mut tickets: Vec<_> = a.collect();
        tickets.push(submit(&lanes, READ, &b, log, "b0"));
        tickets
    });
    assert_eq!(order, ["a0", "b0", "a1", "a2"]);
    assert_eq!(clock.now().since(began), 2 * SECOND);
}

#[test]
fn a_user_keeps_the_interval_though_its_calls_are_overdue() {
    let clock = ManualClock::auto_advancing();
    let config = LaneConfig::new(Quota::per_second(1)).user_interval(10 * SECOND).in_flight(1);
    let lanes = build(config.aging(Some(1)), Quota::unlimited().into(), &clock);
    let began = clock.now();
    let order = order_of(&lanes, |log| {
        let users = ["a", "a", "b", "c", "d"].into_iter().enumerate();
        let call =
            |(i, user)| submit(&lanes, READ, &options().user(user), log, format!("{user}{i}"));
        users.map(call).collect()
    });
    assert_eq!(order, ["a0", "b2", "c3", "d4", "a1"]);
    assert_eq!(clock.now().since(began), 10 * SECOND);
}

#[test]
fn an_overdue_call_lets_those_of_its_user_that_came_before_it_go_first() {
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1).aging(Some(2));
    let lanes = build(config, Quota::unlimited().into(), &ManualClock::auto_advancing());
    let order = order_of(&lanes, |log| {
        let queue = |priority_of, name: &str| {
            let ticket = submit(&lanes, READ, &priority(priority_of), log, name);
            // The fair wait is only known once the call is in the queue.
            let _ = status(&lanes);
            ticket
        };
        let crowd: Vec<_> = (0..30).map(|_| queue(5, "crowd")).collect();
        let first = queue(10, "first");
        drop(crowd);
        let second = queue(10, "second");
        let rest = (0..60).map(|_| queue(2, "higher"));
        [first, second].into_iter().chain(rest).collect()
    });
    let at = |name| order.iter().position(|went| went == name).unwrap();
    // A fair wait of two seconds makes the second overdue after four. That of the first was half a minute.
    assert!(at("first") < 10, "{}", at("first"));
    assert_eq!(at("second"), at("first") + 1);
}

#[test]
fn a_position_counts_the_turns_of_others() {
    let lanes = once_a_second(&ManualClock::new());
    the(&lanes).pause();
    let log = Log::default();
    let call = |user: &str| submit(&lanes, READ, &options().user(user), &log, user);
    let tickets = ["a", "a", "a", "b", "c"].map(call);
    let positions = tickets.each_ref().map(Ticket::position);
    assert_eq!(positions, [0, 3, 4, 1, 2].map(Some));
}

#[test]
fn a_call_whose_budget_is_spent_holds_up_no_other() {
    let clock = ManualClock::new();
    let config = LaneConfig::new(Quota::per_second(100));
    let lanes = build(config, Quota::per_minute(2).into(), &clock);
    let log = Log::default();
    let orders: Vec<_> =
        (0..3).map(|i| submit(&lanes, ORDER, &options(), &log, format!("o{i}"))).collect();
    let read = submit(&lanes, READ, &options(), &log, "read");
    read.wait().unwrap();
    let mut orders = orders.into_iter();
    orders.next().unwrap().wait().unwrap();
    orders.next().unwrap().wait().unwrap();
    let mut third = orders.next().unwrap();
    assert!(third.try_wait().is_none());
    assert_eq!(third.estimated_wait(), Some(60 * SECOND));
    // And one that is submitted later still goes.
    submit(&lanes, READ, &options(), &log, "later").wait().unwrap();
    clock.advance(60 * SECOND);
    third.wait().unwrap();
    assert_eq!(log.lock().unwrap().last().unwrap(), "o2");
}

#[test]
fn a_call_that_cannot_be_in_time_is_refused_with_when_it_could_be() {
    let clock = ManualClock::new();
    let lanes = build(LaneConfig::new(Quota::per_second(100)), Quota::per_minute(1).into(), &clock);
    let log = Log::default();
    submit(&lanes, ORDER, &options(), &log, "first").wait().unwrap();
    let soon = options().deadline(SECOND);
    let error = submit(&lanes, ORDER, &soon, &log, "second").wait().unwrap_err();
    assert_eq!(error.kind, LaneErrorKind::TooLate { retry_in: 60 * SECOND });
    assert_eq!(error.was_sent(), Sent::No);
    // A call that does not cost the budget goes.
    submit(&lanes, READ, &soon, &log, "read").wait().unwrap();
}

#[test]
fn a_deadline_that_passes_in_the_queue_is_never_sent() {
    let clock = ManualClock::new();
    let lanes = once_a_second(&clock);
    let log = Log::default();
    submit(&lanes, READ, &options(), &log, "first").wait().unwrap();
    let late = options().deadline(ms(1_500)).user("late");
    let ticket = submit(&lanes, READ, &late, &log, "late");
    // More urgent calls are submitted and take its second.
    let _urgent: Vec<_> = (0..9).map(|_| submit(&lanes, ORDER, &priority(1), &log, "u")).collect();
    clock.advance(ms(1_500));
    let error = ticket.wait().unwrap_err();
    assert!(matches!(error.kind, LaneErrorKind::DeadlinePassed { .. }), "{error}");
    for _ in 0..20 {
        clock.advance(SECOND);
        thread::yield_now();
    }
    assert!(!log.lock().unwrap().contains(&"late".to_owned()));
}

#[test]
fn a_call_too_heavy_for_any_window_is_refused_at_once() {
    let lanes = once_a_second(&ManualClock::new());
    // Not only when its turn comes.
    the(&lanes).pause();
    let heavy = CallSpec { weight: 2, ..READ };
    let ticket = submit(&lanes, heavy, &options(), &Log::default(), "heavy");
    assert_eq!(ticket.wait().unwrap_err().kind, LaneErrorKind::TooHeavy);
}

#[test]
fn a_call_costs_its_weight() {
    let clock = ManualClock::auto_advancing();
    let lanes = build(LaneConfig::new(Quota::per_second(10)), Quota::unlimited().into(), &clock);
    let heavy = CallSpec { weight: 5, ..READ };
    let began = clock.now();
    let log = Log::default();
    for _ in 0..5 {
        submit(&lanes, heavy, &options(), &log, "heavy").wait().unwrap();
    }
    assert_eq!(clock.now().since(began), 2 * SECOND);
}

#[test]
fn a_full_queue_sheds_the_least_urgent() {
    let clock = ManualClock::new();
    let config = LaneConfig::new(Quota::per_second(1)).queue(2).when_full(OverflowPolicy::Shed);
    let lanes = build(config, Quota::unlimited().into(), &clock);
    let log = Log::default();
    the(&lanes).pause();
    let low = submit(&lanes, READ, &priority(9), &log, "low");
    let lower = submit(&lanes, READ, &priority(10), &log, "lower");
    let high = submit(&lanes, READ, &priority(2), &log, "high");
    assert_eq!(lower.wait().unwrap_err().kind, LaneErrorKind::Shed);
    assert_eq!((high.position(), low.position()), (Some(0), Some(1)));
    // A full queue sheds no call for one of equal priority.
    for number in [9, 10] {
        let late = submit(&lanes, READ, &priority(number), &log, "late");
        assert_eq!(late.wait().unwrap_err().kind, LaneErrorKind::QueueFull { capacity: 2 });
    }
    assert_eq!(low.position(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_queue_blocks_until_there_is_a_slot() {
    within_reason(|| {
        let config = unlimited(1).queue(1).when_full(OverflowPolicy::Block);
        let mut lane = Stepped::new(&[config], &[]);
        lane.lane(0).pause();
        let mut first = lane.submit(WRITE, &options(), Course::INSTANT);
        let second = lane.beside(|lanes| lanes::submit(lanes, WRITE, &options(), || 2).wait());
        // It sleeps, with neither a queue slot nor an answer.
        assert_eq!((lane.lane(0).queued(), second.is_finished()), (1, false));
        lane.lane(0).resume();
        assert_eq!(second.join().unwrap(), Ok(2));
        assert_eq!(first.try_wait(), Some(Ok(0)));
    });
}

#[test]
fn a_shutdown_answers_every_caller_and_admits_none() {
    let clock = ManualClock::new();
    let lanes = once_a_second(&clock);
    let log = Log::default();
    submit(&lanes, READ, &options(), &log, "first").wait().unwrap();
    let waiting: Vec<_> =
        (0..3).map(|_| submit(&lanes, ORDER, &options(), &log, "waits")).collect();
    let drained = lanes.shutdown(Shutdown::Now);
    assert_eq!((drained.rejected, drained.in_flight), (3, 0));
    for ticket in waiting {
        assert_eq!(ticket.wait().unwrap_err().kind, LaneErrorKind::Closed);
    }
    let after = submit(&lanes, READ, &options(), &log, "after");
    assert_eq!(after.wait().unwrap_err().kind, LaneErrorKind::Closed);
    assert_eq!(status(&lanes).state, LaneState::Closed);
    assert_eq!(*log.lock().unwrap(), ["first"]);
}

#[test]
fn a_drain_lets_what_waits_go() {
    let lanes = once_a_second(&ManualClock::auto_advancing());
    let log = Log::default();
    let waiting: Vec<_> =
        (0..5).map(|i| submit(&lanes, ORDER, &options(), &log, format!("{i}"))).collect();
    let drained = lanes.shutdown(Shutdown::Drain(3600 * SECOND));
    assert_eq!((drained.rejected, drained.in_flight), (0, 0));
    assert_eq!(log.lock().unwrap().len(), 5);
    assert!(waiting.into_iter().all(|ticket| ticket.wait().is_ok()));
}

#[test]
fn a_quota_is_changed_at_once_and_loses_no_count() {
    let clock = ManualClock::new();
    let lanes = build(LaneConfig::new(Quota::per_minute(2)), Quota::unlimited().into(), &clock);
    let log = Log::default();
    for _ in 0..2 {
        submit(&lanes, READ, &options(), &log, "read").wait().unwrap();
    }
    let mut third = submit(&lanes, READ, &options(), &log, "third");
    let mut fourth = submit(&lanes, READ, &options(), &log, "fourth");
    assert!(third.try_wait().is_none());
    the(&lanes).set_quota(&Quota::per_minute(3)).unwrap();
    while third.try_wait().is_none() {
        thread::yield_now();
    }
    assert!(fourth.try_wait().is_none(), "three of three are used");
    assert!(the(&lanes).set_quota(&Quota::per_minute(0)).is_err());
}

#[test]
fn the_calls_of_a_user_are_counted_in_each_priority_and_in_all() {
    let lanes = once_a_second(&ManualClock::new());
    the(&lanes).pause();
    let log = Log::default();
    let of = |number| priority(number).user("a");
    let _calls = [5, 5, 5, 9].map(|number| submit(&lanes, READ, &of(number), &log, "a"));
    let lane = status(&lanes);
    assert_eq!(lane.queued_by_priority, BTreeMap::from([(5, 3), (9, 1)]));
    assert_eq!(lane.queued_by_user, BTreeMap::from([("a".to_owned(), 4)]));
}

#[test]
fn the_status_shows_which_calls_wait_and_what_is_left() {
    let clock = ManualClock::new();
    let lanes = once_a_second(&clock);
    let log = Log::default();
    submit(&lanes, ORDER, &options(), &log, "first").wait().unwrap();
    let _a = submit(&lanes, READ, &options().user("a"), &log, "a");
    let _b = submit(&lanes, READ, &priority(2), &log, "b");
    let _c = submit(&lanes, READ, &priority(9).user("a"), &log, "c");
    clock.advance(ms(400));
    let status = lanes.status();
    let lane = status.lane("test").unwrap();
    assert_eq!((lane.queued, lane.in_flight, lane.state), (3, 0, LaneState::Running));
    assert_eq!(lane.queued_by_priority, BTreeMap::from([(2, 1), (5, 1), (9, 1)]));
    let by_user = [("a", 2), ("", 1)].map(|(user, calls)| (user.to_owned(), calls));
    assert_eq!(lane.queued_by_user, BTreeMap::from(by_user));
    assert_eq!(lane.oldest_wait, Some(ms(400)));
    assert_eq!(lane.windows[0].used, 1);
    assert_eq!(lane.windows[0].next_free, Some(ms(600)));
    assert_eq!(lane.estimated_wait, Some(ms(2_600)));
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["lanes"][0]["state"], "running");
}

#[test]
fn a_budget_without_a_quota_is_an_error_when_built() {
    let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
    builder.lane(0, Quota::per_second(1).into());
    assert_eq!(
        builder.build(Limits::new()).unwrap_err(),
        BuildError::NoBudget { proxy: "Test", budget: "orders" }
    );
}
