//! Scheduling order, as properties: urgency, fairness, and an end to every wait.
//!
//! The lanes have real threads, but go one step at a time: see `support/stepped.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::lane::LaneConfig;
use lanekeeper::proxy::CallSpec;
use lanekeeper::quota::{Budget, Quota, RttCredit};
use lanekeeper::resilience::BreakerMode;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use support::cases::cases;
use support::lanes::{READ, WRITE, options, priority, unlimited};
use support::stepped::{Course, End, Failure, Stepped};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
const STEP: u64 = 10 * MILLISECOND;
const USERS: [&str; 3] = ["a", "b", "c"];

/// Budgets of a call, its weight, its priority, and the time until the next call is submitted.
fn calls() -> impl Strategy<Value = (&'static [usize], u32, u8, u64)> {
    const SETS: [&[usize]; 7] = [&[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 2], &[0, 1, 2]];
    let set = prop::sample::select(&SETS[..]);
    let pause = prop_oneof![2 => Just(0), 1 => 0..=300_u64];
    (set, 1..=3_u32, 2..=9_u8, pause)
}

/// A lane, and three budgets, with capacity for all those calls.
fn settings() -> impl Strategy<Value = (LaneConfig, [Budget; 3])> {
    let tenths = |tenths: u32| Duration::from_millis(100) * tenths;
    let quota =
        (3..=6_u32, 2..=20_u32, any::<bool>()).prop_map(
            move |(limit, length, bucket)| match bucket {
                true => Quota::token_bucket(limit, tenths(length), limit),
                false => Quota::new(limit, tenths(length)),
            },
        );
    let budgets = prop::array::uniform3(quota.clone().prop_map(Budget::new));
    let quota = prop_oneof![1 => Just(Quota::unlimited()), 3 => quota];
    let aging = prop::option::of(1..=3_u32);
    let interval = prop_oneof![2 => Just(0), 1 => 1..=3_u32];
    (quota, budgets, 1..=3_usize, aging, interval, any::<bool>()).prop_map(
        move |(quota, budgets, in_flight, aging, interval, strict)| {
            let config = LaneConfig::new(quota).in_flight(in_flight).aging(aging);
            let credit = if strict { RttCredit::STRICT } else { RttCredit::default() };
            (config.user_interval(tenths(interval)).credit(credit), budgets)
        },
    )
}

fn courses() -> impl Strategy<Value = Course> {
    let takes = prop_oneof![1 => Just(0), 2 => 1..=400_u64];
    let ends =
        prop_oneof![6 => Just(End::Answered), 1 => Just(End::NeverLeft), 1 => Just(End::Lost)];
    (takes, ends).prop_map(|(takes, ends)| Course { takes: Duration::from_millis(takes), ends })
}

fn deadlines() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => (100..=3_000_u64).prop_map(Some)]
}

/// Returns a lane of `limit` calls a second, one at a time, so that the order of sending shows.
fn lane(limit: u32, aging: Option<u32>) -> Stepped {
    Stepped::new(&[LaneConfig::new(Quota::per_second(limit)).in_flight(1).aging(aging)], &[])
}

/// Advances time.
fn advance(lane: &mut Stepped, nanos: u64) {
    let end = lane.now() + nanos;
    lane.run_to(end);
}

/// Advances time in small steps: not every event can be seen from outside.
fn creep(lane: &mut Stepped, nanos: u64) {
    (0..nanos / STEP).for_each(|_| lane.move_to(lane.now() + STEP));
}

/// Advances time, and wakes the lane all the while: there is nothing to send that was not sent.
fn creep_and_ring(lane: &mut Stepped, nanos: u64) -> Result<(), TestCaseError> {
    for _ in 0..nanos / STEP {
        creep(lane, STEP);
        let sent = lane.sent.len();
        lane.lane(0).set_breaker(BreakerMode::Disabled);
        lane.run_until_idle();
        prop_assert_eq!(lane.sent.len(), sent, "rung at {} ms", lane.now() / MILLISECOND);
    }
    Ok(())
}

/// Returns a lane of three slots in six seconds, taken one after the other, and when the first was taken.
fn three_taken(gap: u64) -> (Stepped, u64) {
    let quota = Quota::new(3, Duration::from_secs(6));
    let mut lane = Stepped::new(&[LaneConfig::new(quota).in_flight(1).aging(Some(1))], &[]);
    let began = lane.now();
    for _ in 0..3 {
        drop(lane.submit(WRITE, &options(), Course::INSTANT));
        advance(&mut lane, gap);
    }
    (lane, began)
}

proptest! {
    #![proptest_config(cases(64))]

    /// However long the others have waited, however overdue they are, and whatever it weighs.
    #[test]
    fn an_urgent_call_that_comes_while_the_lane_waits_is_the_next_one_sent(
        limit in 1..=3_u32,
        queue in prop::collection::vec((2..=10_u8, 0..3_usize, 0..=900_u64), 1..24),
        runs in 0..=12_000_u64, weight in 1..=3_u32,
    ) {
        let mut lane = lane(limit, Some(1));
        for (number, user, gap) in queue {
            // A write goes on without its ticket.
            drop(lane.submit(WRITE, &priority(number).user(USERS[user]), Course::INSTANT));
            advance(&mut lane, gap * MILLISECOND / u64::from(limit));
        }
        advance(&mut lane, runs * MILLISECOND);
        // If no call waits, there is no next one.
        prop_assume!(lane.lane(0).queued() > 0);
        let (before, number) = (lane.sent.len(), lane.submitted());
        let call = CallSpec { weight: weight.min(limit), ..WRITE };
        drop(lane.submit(call, &priority(1).user("d"), Course::INSTANT));
        advance(&mut lane, 2 * SECOND);
        prop_assert_eq!(lane.sent[before].call, number);
    }

    /// Over any interval in which both have work, whatever the pattern of their calls.
    #[test]
    fn two_users_are_served_within_one_call_of_each_other_however_one_floods(
        limit in 1..=3_u32,
        pattern in prop::collection::vec((0..=6_usize, 0..=2_usize, 0..=2_u64), 1..14),
    ) {
        let mut lane = lane(limit, Some(10));
        let mut shares = Shares::default();
        for (of_a, of_b, seconds) in pattern {
            for (user, calls) in [(0, of_a), (1, of_b)] {
                for _ in 0..calls {
                    shares.waiting.push((lane.submitted(), user));
                    drop(lane.submit(WRITE, &options().user(USERS[user]), Course::INSTANT));
                    shares.follow(&lane)?;
                }
            }
            advance(&mut lane, seconds * SECOND);
            shares.follow(&lane)?;
        }
        advance(&mut lane, 120 * SECOND);
        shares.follow(&lane)?;
        prop_assert!(shares.waiting.is_empty());
    }

    /// A lane sleeps no longer than until a call may go: a wake-up in between finds nothing to send.
    #[test]
    fn a_lane_needs_no_reminder(
        setting in settings(),
        calls in prop::collection::vec((calls(), 0..3_usize, courses(), deadlines()), 1..30),
    ) {
        let (config, budgets) = setting;
        let mut lane = Stepped::new(&[config], &budgets);
        lane.lane(0).set_breaker(BreakerMode::Disabled);
        for ((budgets, weight, number, millis), user, course, deadline) in calls {
            let call = CallSpec { budgets, weight, ..WRITE };
            let of_call = priority(number).user(USERS[user]);
            let of_call = match deadline {
                Some(deadline) => of_call.deadline(Duration::from_millis(deadline)),
                None => of_call,
            };
            drop(lane.submit(call, &of_call, course));
            creep_and_ring(&mut lane, millis * MILLISECOND)?;
        }
        creep_and_ring(&mut lane, 5 * SECOND)?;
    }

    /// The rule of `LaneConfig::aging`, checked at every call that is sent: an overdue call goes before all that
    /// became overdue after it, and before all that are not. So once overdue, it waits one turn for each that was
    /// overdue before it, and one for the call that has just gone.
    #[test]
    fn no_call_starves_under_an_endless_flood_of_higher_priority(
        aging in 1..=4_u32,
        calls in prop::collection::vec(
            (prop_oneof![6 => 2..=4_u8, 1 => 5..=10_u8], 0..3_usize, 1..=1_000_u64), 1..80,
        ),
    ) {
        let mut lane = lane(1, Some(aging));
        let mut ages = Ages::new(aging);
        // Two calls a second come, and one goes.
        for (number, user, gap) in calls {
            ages.submitted(&lane, number);
            drop(lane.submit(WRITE, &priority(number).user(USERS[user]), Course::INSTANT));
            ages.follow(&lane)?;
            advance(&mut lane, gap * MILLISECOND);
            ages.follow(&lane)?;
        }
        advance(&mut lane, 100 * SECOND);
        ages.follow(&lane)?;
        prop_assert!(ages.waiting.is_empty());
    }

    /// Whatever waits, and whatever comes after it, at its budget and at others.
    #[test]
    fn an_urgent_call_is_sent_when_it_was_to_be(
        limits in prop::array::uniform3((3..=5_u32, 2..=12_u32)),
        before in prop::collection::vec(calls(), 1..20), urgent in calls(),
        after in prop::collection::vec(calls(), 1..40),
    ) {
        let budget = |(limit, tenths)| {
            Budget::new(Quota::new(limit, Duration::from_millis(100) * tenths))
        };
        let mut lane = Stepped::new(&[unlimited(1).aging(Some(1))], &limits.map(budget));
        let submit = |lane: &mut Stepped, (budgets, weight, number, millis)| {
            let call = CallSpec { budgets, weight, ..WRITE };
            let ticket = lane.submit(call, &priority(number), Course::INSTANT);
            let wait = ticket.estimated_wait();
            drop(ticket);
            creep(lane, millis * MILLISECOND);
            wait
        };
        for call in before {
            submit(&mut lane, call);
        }
        let (came, number) = (lane.now(), lane.submitted());
        // One of several budgets may be taken by other calls while it waits for the next.
        let (budgets, weight, _, millis) = urgent;
        let wait = submit(&mut lane, (&budgets[..1], weight, 1, millis));
        for call in after {
            submit(&mut lane, call);
        }
        creep(&mut lane, 2 * SECOND);
        let due = came + wait.unwrap_or_default().as_nanos() as u64;
        let sent = lane.sent_at(number);
        prop_assert!(sent.is_some_and(|sent| sent <= due), "{sent:?}, and not by {due}");
    }
}

/// The fair wait is derived from the slots, also for a call with none queued behind it.
#[test]
fn the_first_call_to_wait_for_a_far_slot_is_not_overdue_before_it() {
    let quota = Quota::new(1, Duration::from_secs(3_600));
    let mut lane = Stepped::new(&[LaneConfig::new(quota).in_flight(1).aging(Some(2))], &[]);
    for number in [5, 9, 2] {
        drop(lane.submit(WRITE, &priority(number), Course::INSTANT));
        advance(&mut lane, 60 * SECOND);
    }
    advance(&mut lane, 3_600 * SECOND);
    assert!(lane.sent_at(2).is_some() && lane.sent_at(1).is_none());
}

/// A lane sleeps no longer than until a call may pass that may not now.
#[test]
fn a_call_with_capacity_goes_before_a_heavier_one_as_soon_as_it_is_overdue() {
    let (mut lane, began) = three_taken(1_500 * MILLISECOND);
    advance(&mut lane, 1_400 * MILLISECOND);
    // Its fair wait is taken as a second: it is overdue at 6.9 s.
    drop(lane.submit(WRITE, &options(), Course::INSTANT));
    // From 6 s on there is capacity for one, from 9 s on for this.
    drop(lane.submit(CallSpec { weight: 3, ..WRITE }, &priority(2), Course::INSTANT));
    advance(&mut lane, 950 * MILLISECOND);
    assert_eq!(lane.sent_at(3), None);
    advance(&mut lane, 100 * MILLISECOND);
    assert_eq!(lane.sent_at(3).map(|at| at - began), Some(6_950 * MILLISECOND));
}

#[test]
fn a_call_with_capacity_goes_as_soon_as_a_heavier_one_waits_for_another_budget_alone() {
    let budgets = [Quota::per_hour(2), Quota::per_second(2)].map(Budget::new);
    let mut lane = Stepped::new(&[unlimited(1)], &budgets);
    let began = lane.now();
    let kinds: [(&'static [usize], u32); 4] = [(&[0], 1), (&[1], 1), (&[0, 1], 2), (&[1], 1)];
    for (budgets, weight) in kinds {
        drop(lane.submit(CallSpec { budgets, weight, ..WRITE }, &options(), Course::INSTANT));
    }
    advance(&mut lane, 1_500 * MILLISECOND);
    assert_eq!(lane.sent_at(3).map(|at| at - began), Some(SECOND));
    assert_eq!(lane.sent_at(2), None);
}

/// Though it takes the slot of the lane that the other could use half a second later.
#[test]
fn a_call_that_costs_no_budget_passes_one_that_waits_for_a_budget() {
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let mut lane = Stepped::new(&[config], &[Budget::new(Quota::new(1, Duration::from_secs(10)))]);
    let (began, order) = (lane.now(), CallSpec { budgets: &[0], ..WRITE });
    for number in [5, 1] {
        drop(lane.submit(order, &priority(number), Course::INSTANT));
    }
    advance(&mut lane, 1_500 * MILLISECOND);
    for _ in 0..9 {
        drop(lane.submit(WRITE, &options(), Course::INSTANT));
    }
    creep(&mut lane, 10 * SECOND);
    let sent = |call| lane.sent_at(call).map(|at| (at - began) / MILLISECOND);
    assert_eq!((sent(10), sent(1)), (Some(9_500), Some(10_500)));
}

#[test]
fn an_urgent_call_passes_a_heavier_one_that_waits_for_a_budget() {
    let mut lane = Stepped::new(&[unlimited(1)], &[Budget::new(Quota::per_second(2))]);
    for (weight, number) in [(1, 5), (2, 1), (1, 1)] {
        let call = CallSpec { budgets: &[0], weight, ..WRITE };
        drop(lane.submit(call, &priority(number), Course::INSTANT));
    }
    assert_eq!(lane.sent.iter().map(|sending| sending.call).collect::<Vec<_>>(), [0, 2]);
}

/// A call that failed lets the first attempts of its priority pass for ten seconds.
#[test]
fn a_retry_goes_before_a_heavier_one_when_it_has_let_it_pass_for_long_enough() {
    let quota = Quota::new(3, Duration::from_secs(60));
    let mut lane = Stepped::new(&[LaneConfig::new(quota).in_flight(1).aging(None)], &[]);
    let began = lane.now();
    let tries = Arc::new(Mutex::new(Vec::new()));
    let (clock, seen) = (lane.clock.clone(), Arc::clone(&tries));
    let fails_once = move || {
        let mut seen = seen.lock().unwrap();
        seen.push((clock.now().as_nanos() - began) / MILLISECOND);
        if seen.len() == 1 { Err(Failure::NotSent) } else { Ok(0) }
    };
    let _call = lane.lanes.submit_spec_repeatable(READ, &options(), fails_once, Failure::class);
    lane.run_until_idle();
    drop(lane.submit(CallSpec { weight: 3, ..WRITE }, &options(), Course::INSTANT));
    creep(&mut lane, 15 * SECOND);
    let tries = tries.lock().unwrap().clone();
    // A delay of at most 100 ms, and ten seconds.
    assert!(matches!(tries[..], [0, 10_000..=10_110]), "{tries:?}");
}

/// A lane that waits for a heavy call polls again when a light one goes before it.
#[test]
fn an_overdue_call_does_not_wait_for_the_slots_of_a_heavier_one() {
    let (mut lane, began) = three_taken(2 * SECOND);
    // The first slot is free again, and goes to the first of these.
    drop(lane.submit(WRITE, &priority(3), Course::INSTANT));
    drop(lane.submit(WRITE, &options(), Course::INSTANT));
    advance(&mut lane, 200 * MILLISECOND);
    drop(lane.submit(CallSpec { weight: 3, ..WRITE }, &priority(2), Course::INSTANT));
    creep(&mut lane, 8 * SECOND);
    let sent = |call| lane.sent_at(call).map(|at| (at - began) / SECOND);
    assert_eq!((sent(3), sent(4), sent(5)), (Some(6), Some(8), Some(14)));
}

#[test]
fn a_call_that_waits_at_one_budget_for_a_hung_call_keeps_no_other() {
    let two_seconds = Quota::new(1, Duration::from_secs(2));
    let budgets = [Quota::per_second(1), two_seconds].map(Budget::new);
    let mut lane = Stepped::new(&[unlimited(2).aging(Some(2))], &budgets);
    let hangs = Course::answered_after(Duration::from_secs(3_600));
    drop(lane.submit(CallSpec { budgets: &[0], ..WRITE }, &options(), hangs));
    let both = CallSpec { budgets: &[0, 1], ..WRITE };
    drop(lane.submit(both, &priority(2), Course::INSTANT));
    for _ in 0..10 {
        drop(lane.submit(CallSpec { budgets: &[1], ..WRITE }, &options(), Course::INSTANT));
        advance(&mut lane, 2 * SECOND);
    }
    assert_eq!(lane.sent.len(), 11);
}

#[test]
fn a_call_that_waits_for_one_budget_for_hours_keeps_no_other() {
    let budgets = [Quota::per_hour(1), Quota::per_second(1)].map(Budget::new);
    let mut lane = Stepped::new(&[unlimited(1).aging(Some(2))], &budgets);
    drop(lane.submit(CallSpec { budgets: &[0], ..WRITE }, &options(), Course::INSTANT));
    let both = CallSpec { budgets: &[0, 1], ..WRITE };
    drop(lane.submit(both, &priority(1), Course::INSTANT));
    for _ in 0..10 {
        drop(lane.submit(CallSpec { budgets: &[1], ..WRITE }, &options(), Course::INSTANT));
        advance(&mut lane, SECOND);
    }
    assert_eq!(lane.sent.len(), 11);
}

/// The fast path is for a lane in which no call waits.
#[test]
fn a_lone_call_does_not_pass_one_that_waits_for_more_capacity() {
    let config = LaneConfig::new(Quota::per_second(3)).in_flight(2);
    let mut lane = Stepped::new(&[config], &[]);
    let began = lane.now();
    for weight in [1, 3, 1] {
        drop(lane.submit(CallSpec { weight, ..WRITE }, &options(), Course::INSTANT));
        advance(&mut lane, MILLISECOND);
    }
    advance(&mut lane, 4 * SECOND);
    let sent = [0, 1, 2].map(|call| (lane.sent_at(call).unwrap() - began) / SECOND);
    assert_eq!(sent, [0, 1, 2]);
}

#[test]
fn a_lone_call_keeps_its_interval() {
    let config = LaneConfig::new(Quota::unlimited()).user_interval(Duration::from_secs(10));
    let mut lane = Stepped::new(&[config], &[]);
    let began = lane.now();
    for user in ["a", "a", "b"] {
        drop(lane.submit(WRITE, &options().user(user), Course::INSTANT));
        advance(&mut lane, SECOND);
    }
    // An interval is no window: the steps do not see it.
    (0..20).for_each(|_| advance(&mut lane, SECOND));
    let sent = [0, 1, 2].map(|call| (lane.sent_at(call).unwrap() - began) / SECOND);
    assert_eq!(sent, [0, 10, 2]);
}

/// What each of two users got, while both had work.
#[derive(Default)]
struct Shares {
    /// Calls that were not sent yet, and their users.
    waiting: Vec<(usize, usize)>,
    seen: usize,
    /// How many more calls the first user had than the second: the minimum, the present number and the maximum.
    ahead: (i64, i64, i64),
}

impl Shares {
    fn follow(&mut self, lane: &Stepped) -> Result<(), TestCaseError> {
        for sending in &lane.sent[self.seen..] {
            let both = [0, 1].iter().all(|user| self.waiting.iter().any(|(_, of)| of == user));
            let index = self.waiting.iter().position(|(call, _)| *call == sending.call).unwrap();
            let (_, user) = self.waiting.remove(index);
            if both {
                let (least, now, most) = self.ahead;
                let now = now + if user == 0 { 1 } else { -1 };
                self.ahead = (least.min(now), now, most.max(now));
                prop_assert!(self.ahead.2 - self.ahead.0 <= 1, "{:?}", self.ahead);
            } else {
                self.ahead = (0, 0, 0);
            }
        }
        self.seen = lane.sent.len();
        Ok(())
    }
}

/// When each call is overdue, by the definition in the documentation, for a lane of one call a second.
struct Ages {
    aging: u64,
    /// Calls that were not sent yet: when each is overdue, its number, and its priority.
    waiting: Vec<(u64, usize, u8)>,
    seen: usize,
}

impl Ages {
    fn new(aging: u32) -> Self {
        Self { aging: aging.into(), waiting: Vec::new(), seen: 0 }
    }

    /// Records a call that is submitted now.
    fn submitted(&mut self, lane: &Stepped, priority: u8) {
        let now = lane.now();
        let free = lane.sent.last().map_or(now, |last| now.max(last.at + SECOND));
        let turn = free + self.waiting.len() as u64 * SECOND;
        let overdue = now + self.aging * (turn - now).max(SECOND);
        self.waiting.push((overdue, lane.submitted(), priority));
    }

    fn follow(&mut self, lane: &Stepped) -> Result<(), TestCaseError> {
        for sending in &lane.sent[self.seen..] {
            let index = self.waiting.iter().position(|waits| waits.1 == sending.call).unwrap();
            let sent = self.waiting[index];
            let first = self.waiting.iter().min().filter(|waits| waits.0 <= sending.at);
            prop_assert!(first.is_none_or(|first| *first == sent), "{sent:?} before {first:?}");
            // And before that, priorities hold.
            let highest = self.waiting.iter().map(|waits| waits.2).min();
            prop_assert!(first.is_some() || highest == Some(sent.2), "{sent:?} out of turn");
            // The bound: a second for each call that was overdue before it, and one for the last turn.
            let before = lane.sent[..self.seen].iter().filter(|other| other.at > sent.0).count();
            let bound = sent.0 + (before as u64 + 1) * SECOND;
            prop_assert!(sending.at <= bound, "{sent:?} sent at {}", sending.at);
            self.waiting.remove(index);
            self.seen += 1;
        }
        Ok(())
    }
}
