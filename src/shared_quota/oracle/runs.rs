//! The runs: full load, priorities, and everything that can go wrong.

#![allow(clippy::unwrap_used)]

use ::redis::Client;

use super::world::{Fault, Plan, World};
use crate::quota::{Budget, BudgetSet, Cost, Quota, WindowKind};

#[path = "../../../tests/support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the limiter use more of it")]
pub(super) mod server;

use server::RedisServer;

const SECOND: u64 = 1_000_000;

fn world(server: &RedisServer, plan: Plan) -> World {
    World::new(plan, Client::open(server.url()).unwrap().get_connection().unwrap())
}

#[test]
fn at_full_load_processes_use_all_of_the_quota_and_no_more_in_equal_shares() {
    let Some(server) = RedisServer::start() else { return };
    for processes in [1, 2, 5, 20] {
        let mut world = world(&server, Plan::new(1, Quota::per_second(10), processes));
        world.supply = vec![Cost::to_lane(0)];
        world.run(5 * SECOND);
        let (from, before) = (world.now, world.commands);
        let sent: Vec<u64> = world.processes.iter().map(|process| process.sent).collect();
        let seconds = 60;
        world.run(seconds * SECOND);
        assert_eq!(world.excess(), []);
        let bound = 10.0 * seconds as f64 / (1.0 + world.mean_call());
        let used = world.counted_since(0, from) as f64 / bound;
        let shares: Vec<u64> = world
            .processes
            .iter()
            .zip(sent)
            .map(|(process, before)| process.sent - before)
            .collect();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        println!(
            "{processes} processes: {:.1} % of the bound, shares {least} to {most}, {:.1} commands a call",
            used * 100.0,
            (world.commands - before) as f64 / world.counted_since(0, from) as f64
        );
        assert!(used >= 0.97, "{used}");
        let mean = shares.iter().sum::<u64>() as f64 / processes as f64;
        assert!(
            shares.iter().all(|share| (*share as f64 - mean).abs() <= (mean * 0.1).max(1.5)),
            "{shares:?}"
        );
    }
}

#[test]
fn with_one_path_processes_use_the_least_of_their_credits() {
    let Some(server) = RedisServer::start() else { return };
    for processes in [1, 2, 5, 20] {
        let plan = Plan {
            has_credit: true,
            budgets: vec![Budget::new(Quota::per_second(10))],
            ..Plan::new(11, Quota::per_second(10), processes)
        };
        let mut world = world(&server, plan);
        let mut budgets = BudgetSet::EMPTY;
        assert!(budgets.insert(0));
        world.supply = vec![Cost { budgets, ..Cost::to_lane(0) }];
        // Each process needs sixteen round trips, and some more until it trusts the least of them.
        world.run((30 + 20 * processes as u64) * SECOND);
        let (from, before) = (world.now, world.least_credit(0));
        assert!(before > 0.025, "{before}");
        let seconds = 60;
        world.run(seconds * SECOND);
        assert_eq!(world.excess(), []);
        let strict = 10.0 * seconds as f64 / (1.0 + world.mean_call());
        let bound = 10.0 * seconds as f64 / (1.0 + world.mean_call() - world.least_credit(0));
        let counted = world.counted_since(0, from) as f64;
        println!(
            "{processes} processes: {:.1} % of the bound with the credit, {:.1} % of the strict one",
            counted / bound * 100.0,
            counted / strict * 100.0
        );
        assert!(counted / bound >= 0.97, "{}", counted / bound);
        assert!(counted / strict >= 1.015, "{}", counted / strict);
    }
}

#[test]
fn an_urgent_call_of_any_process_is_the_next_or_the_next_but_one() {
    let Some(server) = RedisServer::start() else { return };
    let mut world = world(&server, Plan::new(7, Quota::per_second(10), 4));
    world.supply = vec![Cost::to_lane(0)];
    let urgent = Cost { urgent: true, ..Cost::to_lane(0) };
    for number in 0..60 {
        world.call(4 * SECOND + number * 437_011, number as usize % 4, urgent, 1);
    }
    world.run(34 * SECOND);
    assert_eq!(world.excess(), []);
    assert_eq!(world.passed.len(), 60);
    let most = world.passed.iter().map(|(passed, _)| *passed).max().unwrap();
    println!("an urgent call was passed by {most} at most");
    assert!(most <= 1, "{:?}", world.passed);
}

#[test]
fn a_clock_that_is_set_by_an_hour_stops_nothing_and_opens_nothing() {
    let Some(server) = RedisServer::start() else { return };
    for by in [-3600, 3600] {
        let mut world = world(&server, Plan::new(3, Quota::per_second(10), 3));
        world.supply = vec![Cost::to_lane(0)];
        world.fault(5 * SECOND, Fault::Jump(by * 1_000_000));
        world.run(7 * SECOND);
        let from = world.now;
        world.run(20 * SECOND);
        assert_eq!(world.excess(), [], "{by}");
        let bound = 10.0 * 20.0 / (1.0 + world.mean_call());
        let used = world.counted_since(0, from) as f64 / bound;
        assert!(used >= 0.97, "{by}: {used}");
    }
}

#[test]
fn whatever_goes_wrong_the_broker_counts_no_call_too_many() {
    let Some(server) = RedisServer::start() else { return };
    // A single seed, or `FIRST..END`.
    let range = std::env::var("LANEKEEPER_SEEDS").unwrap_or_else(|_| "0..60".to_owned());
    let (first, end) = range.split_once("..").unwrap_or((&range, ""));
    let first: u64 = first.parse().unwrap();
    for seed in first..end.parse().unwrap_or(first + 1) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut plan = Plan::new(seed, random_quota(&mut rng), rng.usize(1..=5));
        if rng.bool() {
            plan.lanes.push(Budget::new(random_quota(&mut rng)));
        }
        for _ in 0..rng.usize(0..3) {
            plan.budgets.push(Budget::new(random_quota(&mut rng)));
        }
        plan.to_redis = (50, [400, 4000, 30_000][rng.usize(0..3)]);
        plan.to_broker = (100, [5000, 60_000, 400_000][rng.usize(0..3)]);
        plan.lost = [0, 0, 30][rng.usize(0..3)];
        plan.in_flight = rng.usize(1..20);
        plan.has_credit = seed % 2 == 1;
        let (lanes, budgets) = (plan.lanes.len(), plan.budgets.len());
        let processes = plan.processes;
        let mut windows =
            plan.lanes.iter().chain(&plan.budgets).flat_map(|it| it.quota().windows());
        let has_days = windows.any(|window| matches!(window.kind, WindowKind::Calendar { .. }));
        let mut world = world(&server, plan);
        for lane in 0..lanes {
            for _ in 0..rng.usize(1..4) {
                let mut set = BudgetSet::EMPTY;
                for budget in (0..budgets).filter(|_| rng.bool()) {
                    assert!(set.insert(budget));
                }
                let weight = if rng.u8(0..4) == 0 { 2 } else { 1 };
                world.supply.push(Cost { lane, budgets: set, weight, urgent: false });
            }
        }
        let mut faults = Vec::new();
        for _ in 0..rng.usize(0..4) {
            let process = rng.usize(..processes);
            let fault = match rng.u8(0..8) {
                0 if processes > 1 => Fault::Kill(process),
                1 => Fault::Stop(process, rng.u64(0..6 * SECOND)),
                2 => Fault::Flush,
                3 => Fault::Restart,
                4 | 5 => Fault::Evict(rng.usize(..lanes + budgets), rng.u8(0..4)),
                // A step forward is seen if it is more than a tenth of a second and the way to Redis. For days the clock of the
                // host has to agree with the broker's about midnight, within the guard of two seconds.
                6 => {
                    let most = if has_days { 600_000 } else { 5_000_000 };
                    let by = rng.i64(200_000..most);
                    Fault::Jump(if rng.bool() { by } else { -by })
                }
                _ => Fault::ForgetScripts,
            };
            let at = rng.u64(SECOND..18 * SECOND);
            faults.push((at, fault));
            world.fault(at, fault);
        }
        world.run(22 * SECOND);
        // What only Redis and a process knew that is dead, or stands still, is lost with both.
        let is_lost = faults.iter().any(|(at, fault)| {
            let is_loss = matches!(fault, Fault::Flush | Fault::Restart | Fault::Evict(..));
            is_loss
                && faults.iter().any(|(since, other)| match other {
                    Fault::Kill(_) => true,
                    Fault::Stop(_, micros) => at + 2 * SECOND > *since && *at < since + micros,
                    _ => false,
                })
        });
        if is_lost {
            continue;
        }
        assert_eq!(world.excess(), [], "seed {seed}: {:?}, {faults:?}", world.plan);
        let counted: u64 = (0..lanes).map(|lane| world.counted_since(lane, 0)).sum();
        assert!(counted > 0, "seed {seed}: nothing was sent, {faults:?}");
    }
}

fn random_quota(rng: &mut fastrand::Rng) -> Quota {
    let zone = jiff::tz::TimeZone::UTC;
    let short = Quota::per_second(rng.u32(2..12));
    match rng.u8(0..6) {
        0 => short.and(Quota::new(rng.u32(5..40), std::time::Duration::from_secs(5))),
        1 => short.and(Quota::per_calendar_day(rng.u32(20..200), zone)),
        2 => Quota::token_bucket(rng.u32(2..8), std::time::Duration::from_secs(1), rng.u32(2..8)),
        3 => short.spaced(),
        _ => short,
    }
}
