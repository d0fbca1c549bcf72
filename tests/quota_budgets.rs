//! Lanes that share budgets, in virtual time: every kind of window, weights, reserves, and changes of the quotas
//! while calls are in flight.

#![allow(clippy::unwrap_used)] // Helpers of tests may panic as tests do.
mod support;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::jiff::Timestamp;
use lanekeeper::jiff::tz::{Offset, TimeZone};
use lanekeeper::quota::{
    Budget, BudgetSet, Cost, Moment, NotYet, PacingState, Permit, Quota, RttCredit,
    WallClockSample, Window, WindowKind,
};
use proptest::prelude::*;
use support::cases::cases;
use support::latency::Latency;
use support::oracle::{Arrival, Count, count_excess};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const INDIA: i32 = 19_800;
const DAY: u64 = 86_400_000_000_000;
const NO_BUDGETS: &[usize] = &[];
/// The budgets that a call may cost. One entry names a budget twice.
const BUDGETS: [&[usize]; 5] = [NO_BUDGETS, &[0], &[1], &[0, 1], &[1, 0, 1]];

fn india() -> TimeZone {
    TimeZone::fixed(Offset::from_seconds(INDIA).unwrap())
}

/// One window of any kind. None allows fewer than four calls, so that there is room for a reserve and for weights.
fn windows() -> impl Strategy<Value = Quota> {
    let length = prop_oneof![50..=2_000_u64, 2_000..=30_000_u64];
    (4..=30_u32, length, 0..8, 4..=20_u32).prop_map(|(limit, length, kind, burst)| match kind {
        0..=2 => Quota::new(limit, ms(length)),
        3 | 4 => Quota::token_bucket(limit, ms(length), burst),
        5 => Quota::sliding_counter(limit, ms(length)),
        _ => Quota::per_calendar_day(limit * 5, india()),
    })
}

fn quotas() -> impl Strategy<Value = Quota> {
    prop::collection::vec(windows(), 1..=3)
        .prop_map(|windows| windows.into_iter().fold(Quota::unlimited(), Quota::and))
}

fn paths() -> impl Strategy<Value = Latency> {
    (0..=300_u64, 0..=200_u64, 500..=20_000_u64, 0..4).prop_map(|(base, jitter, every, kind)| {
        let (base, jitter, every) = (ms(base), ms(jitter), ms(every));
        match kind {
            0 => Latency::Constant { base },
            1 => Latency::Exponential { base, jitter, late: 0.03 },
            2 => Latency::HeavyTailed { base, jitter },
            _ => Latency::Jumping { base, jitter, every },
        }
    })
}

#[derive(Debug, Clone)]
struct Plan {
    lanes: Vec<(Quota, Latency)>,
    budgets: Vec<(Quota, u32)>,
    /// What the wall clock shows at the start, before or after midnight in India.
    before_midnight: i64,
    /// By how many milliseconds the broker's clock is ahead.
    skew: i64,
    seed: u64,
}

fn plans() -> impl Strategy<Value = Plan> {
    let lanes = prop::collection::vec((quotas(), paths()), 1..=3);
    let budgets = prop::collection::vec((quotas(), 0..=3_u32), 2);
    (lanes, budgets, -5_000..=50_000_i64, -2_000..=2_000_i64, any::<u64>()).prop_map(
        |(lanes, budgets, before_midnight, skew, seed)| Plan {
            lanes,
            budgets,
            before_midnight,
            skew,
            seed,
        },
    )
}

/// A call that was sent: when the broker counted it, its cost, and how many slots of hung calls it took.
type Sent = (u64, Cost, u64);

struct Run {
    plan: Plan,
    pacing_state: PacingState,
    rng: Rng,
    wall: WallClockSample,
    now: u64,
    answers: BinaryHeap<Reverse<(u64, usize)>>,
    permits: Vec<Option<Permit>>,
    sent: Vec<Sent>,
    assumption_held: bool,
}

impl Run {
    fn new(plan: Plan, credit: RttCredit) -> Self {
        let midnight = 1_767_205_800_000_i64; // 2026-01-01 00:00 in India
        let timestamp = Timestamp::from_millisecond(midnight - plan.before_midnight).unwrap();
        let wall = WallClockSample { moment: Moment::ORIGIN, timestamp };
        let mut pacing_state = PacingState::new(wall);
        for (quota, _) in &plan.lanes {
            pacing_state.add_lane(quota, credit).unwrap();
        }
        for (quota, reserve) in &plan.budgets {
            pacing_state.add_budget(&Budget::new(quota.clone()).reserve(*reserve)).unwrap();
        }
        let rng = Rng::with_seed(plan.seed);
        Self {
            plan,
            pacing_state,
            rng,
            wall,
            now: 0,
            answers: BinaryHeap::new(),
            permits: Vec::new(),
            sent: Vec::new(),
            assumption_held: true,
        }
    }

    fn moment(&self) -> Moment {
        Moment::from_nanos(self.now)
    }

    fn any_charge(&mut self) -> Cost {
        Cost {
            lane: self.rng.usize(..self.plan.lanes.len()),
            budgets: BudgetSet::of(BUDGETS[self.rng.usize(..BUDGETS.len())]),
            weight: if self.rng.u8(..3) == 0 { self.rng.u32(..=5) } else { 1 },
            urgent: self.rng.u8(..4) == 0,
        }
    }

    /// Makes calls for `length` of virtual time, 500 at most: the oracle is naive.
    fn go(&mut self, length: Duration, changes: bool) -> Result<(), TestCaseError> {
        let end = length.as_nanos() as u64;
        let mut idle = 0;
        while self.now < end && self.sent.len() < 500 {
            if changes && self.rng.u8(..20) == 0 {
                self.change()?;
            }
            let cost = self.any_charge();
            let mut next = None;
            match self.pacing_state.clone().take(cost, self.moment()) {
                Ok(_) if self.answers.len() < 64 => self.send(cost),
                Ok(_) => {}
                Err(refused) => {
                    self.check_refusal(cost, refused)?;
                    if let NotYet::Until(moment) = refused {
                        next = Some(moment.as_nanos());
                    }
                }
            }
            idle += 1;
            // Several calls at one moment, then on to the next one at which something happens.
            if self.rng.u8(..3) == 0 || idle > 1000 {
                let pause = self.rng.u64(..400_000_000);
                let answer = self.answers.peek().map(|Reverse((at, _))| *at);
                let soon = self.now + pause;
                let slot = next.filter(|_| self.rng.u8(..4) != 0);
                self.now = answer.into_iter().chain(slot).chain([soon]).min().unwrap();
                self.answer();
            }
        }
        Ok(())
    }

    fn send(&mut self, cost: Cost) {
        prop_assert_ok(self.pacing_state.available_at(cost, self.moment()));
        let permit = self.pacing_state.take(cost, self.moment()).unwrap();
        if self.rng.u8(..20) == 0 {
            self.pacing_state.give_back(permit);
            return;
        }
        let path = self.plan.lanes[cost.lane].1;
        let arrival = self.now + path.draw(self.now, &mut self.rng);
        let answer = arrival + path.draw(arrival, &mut self.rng);
        self.sent.push((arrival, cost, permit.borrowed()));
        self.answers.push(Reverse((answer, self.permits.len())));
        self.permits.push(Some(permit));
    }

    fn answer(&mut self) {
        while let Some(&Reverse((at, call))) = self.answers.peek() {
            if at > self.now {
                break;
            }
            self.answers.pop();
            let permit = self.permits[call].take().unwrap();
            let lane = permit.cost().lane;
            // A call without a recorded answer may still have been counted.
            if self.rng.u8(..20) == 0 {
                self.pacing_state.finish_unsent(permit, self.moment());
            } else {
                self.pacing_state.finish(permit, self.moment());
            }
            let sure = 2 * self.plan.lanes[lane].1.min();
            self.assumption_held &= self.pacing_state.credit(lane).as_nanos() as u64 <= sure;
        }
    }

    /// Checks that a refusal changes nothing, and is right to the nanosecond.
    fn check_refusal(&mut self, cost: Cost, refused: NotYet) -> Result<(), TestCaseError> {
        let now = self.moment();
        let before = self.uses();
        prop_assert_eq!(self.pacing_state.take(cost, now), Err(refused));
        prop_assert_eq!(self.pacing_state.available_at(cost, now), Err(refused));
        prop_assert_eq!(self.uses(), before);
        let take = |at: Moment| self.pacing_state.clone().take(cost, at).map(drop);
        match refused {
            NotYet::Until(moment) => {
                prop_assert!(moment > now);
                let span = self.now..moment.as_nanos();
                let earlier = Moment::from_nanos(self.rng.u64(span));
                prop_assert_eq!(take(earlier), Err(refused));
                prop_assert_eq!(take(moment - Duration::from_nanos(1)), Err(refused));
                prop_assert_eq!(take(moment), Ok(()));
            }
            NotYet::InFlight => {
                prop_assert!(!self.answers.is_empty());
                let later = now + ms(200_000_000_000);
                prop_assert_eq!(take(later), Err(NotYet::InFlight));
            }
            NotYet::Never => {
                // The present windows of the lane and then of the budgets.
                let max_of = |window: &Window| match window.kind {
                    WindowKind::TokenBucket { burst } => burst,
                    _ => window.limit,
                };
                let of_lane = self.pacing_state.lane_use(cost.lane, now);
                let mut min_limit = of_lane.iter().map(|one| max_of(&one.window)).min().unwrap();
                for budget in cost.budgets.iter() {
                    let kept = if cost.urgent { 0 } else { self.plan.budgets[budget].1 };
                    let used = self.pacing_state.budget_use(budget, now);
                    let here = used.iter().map(|one| max_of(&one.window) - kept).min().unwrap();
                    min_limit = min_limit.min(here);
                }
                prop_assert!(cost.weight > min_limit);
            }
        }
        Ok(())
    }

    fn uses(&mut self) -> Vec<Vec<lanekeeper::quota::WindowUse>> {
        let now = self.moment();
        let lanes = 0..self.plan.lanes.len();
        let lanes: Vec<_> = lanes.map(|lane| self.pacing_state.lane_use(lane, now)).collect();
        let budgets = (0..2).map(|budget| self.pacing_state.budget_use(budget, now));
        lanes.into_iter().chain(budgets).collect()
    }

    /// Narrows a quota, adds a window to it, or restores it, but never above the plan.
    fn change(&mut self) -> Result<(), TestCaseError> {
        let now = self.moment();
        let before = self.uses();
        let lane = self.rng.usize(..self.plan.lanes.len());
        let budget = self.rng.usize(..2);
        let (of_lane, of_budget) = (&self.plan.lanes[lane].0, &self.plan.budgets[budget]);
        let extra = match self.rng.u8(..4) {
            0 => Quota::new(5, ms(700)),
            1 => Quota::token_bucket(6, ms(900), 5),
            2 => Quota::sliding_counter(9, ms(1_000)),
            _ => Quota::unlimited(),
        };
        let of_budget_now = Budget::new(extra.clone().and(of_budget.0.clone()));
        self.pacing_state.set_lane(lane, &of_lane.clone().and(extra), now).unwrap();
        self.pacing_state.set_budget(budget, &of_budget_now.reserve(of_budget.1), now).unwrap();
        if self.rng.bool() {
            self.pacing_state.set_lane(lane, of_lane, now).unwrap();
            let whole = Budget::new(of_budget.0.clone()).reserve(of_budget.1);
            self.pacing_state.set_budget(budget, &whole, now).unwrap();
        }
        // The windows that stayed have the same counts.
        let after = self.uses();
        for (before, after) in before.iter().zip(&after) {
            for one in before.iter().filter(|one| self.plan.has(&one.window)) {
                prop_assert!(after.contains(one), "{:?} is not in {:?}", one, after);
            }
        }
        Ok(())
    }

    /// Returns how often the broker would have refused, without urgent calls that took the slots of hung ones: those
    /// may be one too many.
    fn refusals(&self) -> usize {
        let all = |counts: &dyn Fn(&Cost) -> bool| -> Vec<Arrival> {
            let is_counted = |sent: &&Sent| counts(&sent.1) && sent.2 == 0;
            let counted = self.sent.iter().filter(is_counted);
            counted.map(|(at, cost, _)| (*at, u64::from(cost.weight.max(1)))).collect()
        };
        let mut wrong = 0;
        for (lane, (quota, _)) in self.plan.lanes.iter().enumerate() {
            wrong += self.count_excess(&all(&|cost| cost.lane == lane), quota, 0);
        }
        for (budget, (quota, reserve)) in self.plan.budgets.iter().enumerate() {
            wrong += self.count_excess(&all(&|cost| cost.budgets.contains(budget)), quota, 0);
            let modest = |cost: &Cost| cost.budgets.contains(budget) && !cost.urgent;
            wrong += self.count_excess(&all(&modest), quota, (*reserve).into());
        }
        wrong
    }

    fn count_excess(&self, arrivals: &[Arrival], quota: &Quota, reserve: u64) -> usize {
        let wall = self.wall.timestamp.as_nanosecond();
        let one = |window: &Window| {
            let (limit, length) = (u64::from(window.limit), window.length.as_nanos() as u64);
            let less = limit - reserve.min(limit);
            let count = match &window.kind {
                WindowKind::SlidingLog => Count::Log { limit: less, length },
                WindowKind::TokenBucket { burst } => {
                    Count::Bucket { limit, length, burst: u64::from(*burst) - reserve }
                }
                WindowKind::SlidingCounter => Count::Counter { limit: less, length, offset: wall },
                WindowKind::Calendar { .. } => {
                    let skew = i128::from(self.plan.skew) * 1_000_000;
                    let offset = wall + i128::from(INDIA) * 1_000_000_000 + skew;
                    Count::Days { limit: less, length: DAY, offset }
                }
                other => panic!("no oracle for {other:?}"),
            };
            count_excess(arrivals, count)
        };
        quota.windows().iter().map(one).sum()
    }
}

impl Plan {
    fn has(&self, window: &Window) -> bool {
        let lanes = self.lanes.iter().map(|(quota, _)| quota);
        let mut quotas = lanes.chain(self.budgets.iter().map(|(quota, _)| quota));
        quotas.any(|quota| quota.windows().contains(window))
    }
}

fn prop_assert_ok(result: Result<(), NotYet>) {
    assert_eq!(result, Ok(()), "take would have let it go");
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_strict_setting_is_never_over_any_quota(plan in plans(), changes in any::<bool>()) {
        let mut run = Run::new(plan, RttCredit::STRICT);
        run.go(ms(90_000), changes)?;
        prop_assert_eq!(run.refusals(), 0);
    }

    #[test]
    fn with_the_credit_it_is_never_over_while_its_assumption_holds(
        plan in plans(), percent in 1..=100_u8, changes in any::<bool>(),
    ) {
        let mut run = Run::new(plan, RttCredit::percent(percent));
        run.go(ms(90_000), changes)?;
        prop_assume!(run.assumption_held);
        prop_assert_eq!(run.refusals(), 0);
    }
}

/// Returns by how much the estimates of a lane that is always busy are wrong.
fn estimates(quota: &Quota, base: u64, jitter: u64, weight: u32) -> f64 {
    let wall = WallClockSample { moment: Moment::ORIGIN, timestamp: Timestamp::UNIX_EPOCH };
    let mut pacing_state = PacingState::new(wall);
    pacing_state.add_lane(quota, RttCredit::default()).unwrap();
    pacing_state.add_budget(&quota.clone().into()).unwrap();
    let cost = Cost { lane: 0, budgets: BudgetSet::of(&[0]), weight, urgent: false };
    let path = Latency::Exponential { base: ms(base) / 2, jitter: ms(jitter) / 2, late: 0.0 };
    let mut rng = Rng::with_seed(11);
    let mut answers: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
    let mut flying: std::collections::HashMap<u64, Permit> = Default::default();
    let (mut now, mut gone) = (0, 0_u64);
    let mut asked: Vec<(u64, u64, u64)> = Vec::new();
    let mut worst: f64 = 0.0;
    while gone < 6_000 {
        match pacing_state.take(cost, Moment::from_nanos(now)) {
            Ok(permit) => {
                for (due, at, estimate) in &asked {
                    if *due == gone {
                        let (real, estimate) = ((now - at) as f64, (*estimate - at) as f64);
                        worst = worst.max((estimate - real).abs() / real);
                    }
                }
                asked.retain(|(due, ..)| *due != gone);
                gone += 1;
                let mut answer = now + path.draw(now, &mut rng) + path.draw(now, &mut rng);
                while flying.contains_key(&answer) {
                    answer += 1;
                }
                flying.insert(answer, permit);
                answers.push(Reverse(answer));
            }
            Err(refused) => {
                // Far enough ahead that the wait is some windows long.
                if gone > 1_000 && gone < 5_000 && rng.u8(..4) == 0 {
                    let ahead = rng.u64(60..400);
                    let weight = ahead * u64::from(weight);
                    let estimate =
                        pacing_state.estimate(cost, weight, Moment::from_nanos(now)).unwrap();
                    asked.push((gone + ahead, now, estimate.as_nanos()));
                }
                let answer = answers.peek().map(|Reverse(at)| *at);
                let slot = match refused {
                    NotYet::Until(moment) => Some(moment.as_nanos()),
                    NotYet::InFlight | NotYet::Never => None,
                };
                now = answer.into_iter().chain(slot).min().unwrap();
                while answers.peek().is_some_and(|Reverse(at)| *at <= now) {
                    let Reverse(at) = answers.pop().unwrap();
                    pacing_state.finish(flying.remove(&at).unwrap(), Moment::from_nanos(now));
                }
            }
        }
    }
    worst
}

#[test]
fn an_estimate_is_within_a_tenth_of_the_wait_in_a_steady_lane() {
    let cases = [
        (Quota::per_second(10), 1),
        (Quota::per_second(10), 3),
        (Quota::per_second(10).and(Quota::per_minute(400)), 1),
        (Quota::per_second(10).and(Quota::new(1, ms(100))), 1),
        (Quota::token_bucket(10, ms(1_000), 5), 1),
        (Quota::token_bucket(10, ms(1_000), 1), 1),
        (Quota::sliding_counter(10, ms(1_000)), 1),
    ];
    for (quota, weight) in cases {
        for (base, jitter) in [(10, 2), (50, 20), (250, 50)] {
            let worst = estimates(&quota, base, jitter, weight);
            println!("{quota} by {weight}, {base} ms: off by {:.1} % at most", 100.0 * worst);
            assert!(worst < 0.1, "{quota} by {weight}, {base} ms: off by {worst}");
        }
    }
}
