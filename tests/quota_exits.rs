//! The cost of letting an urgent call take the slot of a call that hangs, see `src/quota/quota_state.rs`.
#![allow(clippy::unwrap_used)]

mod support;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::jiff::Timestamp;
use lanekeeper::quota::{
    Cost, Moment, NotYet, PacingState, Permit, Quota, RttCredit, WallClockSample,
};
use proptest::prelude::*;
use support::cases::cases;
use support::oracle::{Arrival, Count, count_excess};

const MS: u64 = 1_000_000;
const ORDINARY: Cost = Cost::to_lane(0);
const URGENT: Cost = Cost { urgent: true, ..ORDINARY };

/// An hour of a lane in which calls hang.
#[derive(Debug, Clone, Copy)]
struct Plan {
    limit: u32,
    /// The length of the window, in milliseconds.
    length: u64,
    /// The way to the broker: the minimum, and the maximum on top of it, in milliseconds.
    base: u64,
    jitter: u64,
    /// How many percent of the calls hang, and for how long, in milliseconds.
    hang: u32,
    hangs: u64,
    strict: bool,
    seed: u64,
}

fn plans(jitter: impl Strategy<Value = u64>) -> impl Strategy<Value = Plan> {
    let quota = (1..=12_u32, 100..=3_000_u64);
    let path = (0..=300_u64, jitter);
    let hang = (5..=60_u32, 2_000..=30_000_u64);
    (quota, path, hang, any::<bool>(), any::<u64>()).prop_map(
        |((limit, length), (base, jitter), (hang, hangs), strict, seed)| Plan {
            limit,
            length,
            base,
            jitter,
            hang,
            hangs,
            strict,
            seed,
        },
    )
}

/// What the broker counted: when, and whether the call took the slot of another.
struct Day {
    arrivals: Vec<(u64, bool)>,
}

impl Day {
    fn count_excess(&self, plan: &Plan, with_borrowed: bool) -> usize {
        let counted = self.arrivals.iter().filter(|(_, borrowed)| with_borrowed || !borrowed);
        let arrivals: Vec<Arrival> = counted.map(|(at, _)| (*at, 1)).collect();
        count_excess(&arrivals, Count::Log { limit: plan.limit.into(), length: plan.length * MS })
    }

    fn borrowed(&self) -> usize {
        self.arrivals.iter().filter(|(_, borrowed)| *borrowed).count()
    }
}

/// Runs a day on which the lane is always busy, and now and then an urgent call comes.
fn day(plan: Plan) -> Result<Day, TestCaseError> {
    let wall_clock = WallClockSample { moment: Moment::ORIGIN, timestamp: Timestamp::UNIX_EPOCH };
    let mut pacing_state = PacingState::new(wall_clock);
    let credit = if plan.strict { RttCredit::STRICT } else { RttCredit::default() };
    let length = Duration::from_millis(plan.length);
    pacing_state.add_lane(&Quota::new(plan.limit, length), credit).unwrap();
    let mut rng = Rng::with_seed(plan.seed);
    let mut answers: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut permits: Vec<Option<Permit>> = Vec::new();
    let mut day = Day { arrivals: Vec::new() };
    let mut now = 0_u64;
    // The moment at which the waiting urgent call came.
    let mut waits: Option<u64> = None;
    while day.arrivals.len() < 300 {
        let moment = Moment::from_nanos(now);
        if waits.is_none() && rng.u8(..5) == 0 {
            waits = Some(now);
        }
        let cost = if waits.is_some() { URGENT } else { ORDINARY };
        let mut next = now + 50 * MS;
        match pacing_state.take(cost, moment) {
            Ok(permit) => {
                let way = |rng: &mut Rng| (plan.base + rng.u64(..=plan.jitter)) * MS;
                let arrival = now + way(&mut rng);
                let hangs = !cost.urgent && rng.u32(..100) < plan.hang;
                let works = if hangs { plan.hangs * MS } else { 0 };
                day.arrivals.push((arrival, permit.borrowed() > 0));
                answers.push(Reverse((arrival + works + way(&mut rng), permits.len())));
                permits.push(Some(permit));
                waits = waits.filter(|_| !cost.urgent);
                continue;
            }
            Err(NotYet::Until(free)) => next = next.min(free.as_nanos()),
            Err(NotYet::InFlight) => prop_assert!(!cost.urgent, "an exit waits for an answer"),
            Err(NotYet::Never) => prop_assert!(false),
        }
        if let Some(came) = waits {
            // A hung call gives its slot up after two seconds or a window. One that is answered meanwhile keeps it for
            // another window.
            let hung_after = plan.length.max(2_000) + plan.length;
            let bound = (hung_after + 2 * (plan.base + plan.jitter)) * MS;
            prop_assert!(now - came <= bound, "an exit waits for {} ms", (now - came) / MS);
        }
        now = answers.peek().map_or(next, |Reverse((at, _))| next.min(*at));
        while let Some(&Reverse((at, call))) = answers.peek().filter(|Reverse((at, _))| *at <= now)
        {
            answers.pop();
            let permit = permits[call].take().unwrap();
            match rng.u8(..10) {
                0 => pacing_state.finish_unanswered(permit, Moment::from_nanos(at)),
                _ => pacing_state.finish(permit, Moment::from_nanos(at)),
            }
        }
    }
    Ok(day)
}

proptest! {
    #![proptest_config(cases(200))]

    /// On a path whose way there always takes the same time, the broker refuses nothing at all.
    #[test]
    fn on_a_steady_path_the_slot_of_a_hung_call_costs_nothing(plan in plans(Just(0))) {
        let day = day(plan)?;
        prop_assert_eq!(day.count_excess(&plan, true), 0);
    }

    /// On any other path, at most as many calls are too many as took such a slot, and without them none is.
    #[test]
    fn it_costs_one_call_too_many_at_most_and_no_other_call(plan in plans(0..=1_500_u64)) {
        // The credit relies on an assumption of its own.
        let plan = Plan { strict: true, ..plan };
        let day = day(plan)?;
        prop_assert_eq!(day.count_excess(&plan, false), 0);
        prop_assert!(day.count_excess(&plan, true) <= day.borrowed());
    }
}

/// The properties above are not vacuous: calls hang, exits take their slots, and that can cost a refusal.
#[test]
fn slots_are_taken_and_a_late_arrival_is_one_too_many() {
    let plan = Plan {
        limit: 3,
        length: 1_000,
        base: 10,
        jitter: 1_500,
        hang: 60,
        hangs: 20_000,
        strict: true,
        seed: 1,
    };
    let day = day(plan).unwrap();
    assert!(day.borrowed() > 20, "{}", day.borrowed());
    assert!((1..day.borrowed()).contains(&day.count_excess(&plan, true)));
}
