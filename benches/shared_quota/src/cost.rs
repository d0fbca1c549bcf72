//! What a decision costs Redis: microseconds of the script by Redis's own count.
//!
//! The moment of each ask is set, a millisecond after the one before, so that a log holds as many slots as its limit all the time.

use std::time::Duration;

use lanekeeper::shared_quota::bench::{BenchAsk, StepBench};
use lanekeeper::{Budget, Quota};

use crate::Size;
use crate::contenders::SORTED_SET;
use crate::server::{Server, median};

/// The first moment.
const BEGIN: u64 = 1_700_000_000_000_000;

/// The account waits for so long after its first use.
const SETTLED: u64 = BEGIN + 2_000_000;

/// In microseconds.
const SECOND: u64 = 1_000_000;

/// What is asked of Redis.
struct Case {
    name: String,
    lane: Quota,
    budgets: Vec<Budget>,
    weight: u32,
    /// How many lines of other processes are in the queue, if that is what it is about.
    lines: Option<usize>,
}

pub fn run(server: &Server, size: Size) {
    println!(
        "\nmicroseconds of Redis in a call of the script, by its own count, and beside the usual recipe with a sorted set; \
         a granted one also tells one that ended"
    );
    println!("  {:<52} {:>16} {:>16}", "", "granted", "denied");
    let calls = size.decisions / 4;
    let recipe = rounds(size, || recipe(server, 10, calls));
    print("the recipe, 10 slots", recipe, recipe);
    for case in cases() {
        let costs = rounds(size, || {
            let granted = match case.lines {
                Some(lines) => granted_before_lines(server, &case, lines, calls),
                None => granted(server, &case, calls),
            };
            (granted, denied(server, &case, calls))
        });
        print(&case.name, costs, recipe);
    }
}

/// Returns the medians of what was granted and what was denied.
fn rounds(size: Size, measure: impl Fn() -> (f64, f64)) -> (f64, f64) {
    let (granted, denied): (Vec<f64>, Vec<f64>) = (0..size.rounds).map(|_| measure()).unzip();
    (median(granted), median(denied))
}

fn print(name: &str, costs: (f64, f64), recipe: (f64, f64)) {
    let text = |cost: f64, recipe: f64| format!("{cost:.1} = {:.1} x", cost / recipe);
    println!("  {name:<52} {:>16} {:>16}", text(costs.0, recipe.0), text(costs.1, recipe.1));
}

/// Returns what a call of the usual recipe costs, with a call each second in a window that it fills: keys expire by the time
/// of Redis, which must not happen meanwhile.
fn recipe(server: &Server, limit: u64, calls: usize) -> (f64, f64) {
    server.flush();
    let (script, mut connection) = (redis::Script::new(SORTED_SET), server.connect());
    let mut now = BEGIN;
    let mut ask = |now: u64| {
        let mut call = script.key("orders");
        call.arg(now).arg(limit * SECOND).arg(limit).arg(format!("1-{now}"));
        call.invoke::<u64>(&mut connection).unwrap() == 0
    };
    let mut cost = |calls, step, is_granted| {
        server.reset();
        for _ in 0..calls {
            now += step;
            assert_eq!(ask(now), is_granted);
        }
        server.counts().command("evalsha").1
    };
    cost(2 * limit as usize, SECOND, true);
    (cost(calls, SECOND, true), cost(calls, 0, false))
}

/// A window that is full when there is a call of this weight each millisecond.
fn full(limit: u32, weight: u32) -> Quota {
    Quota::new(limit, Duration::from_millis(u64::from(limit / weight - 1)))
}

fn cases() -> Vec<Case> {
    let lane = |name: String, limit, weight, lines| {
        let (lane, budgets) = (full(limit, weight), Vec::new());
        Case { name, lane, budgets, weight, lines }
    };
    let mut cases = Vec::new();
    for limit in [10, 400, 5000] {
        cases.push(lane(format!("{limit} slots in the log"), limit, 1, None));
    }
    for weight in [1, 10] {
        cases.push(lane(format!("400 slots, weight {weight}"), 400, weight, None));
    }
    cases.push(Case {
        name: "a lane of two windows (10, 400)".to_owned(),
        lane: full(10, 1).and(full(400, 1)),
        budgets: Vec::new(),
        weight: 1,
        lines: None,
    });
    cases.push(Case {
        name: "a lane of two windows (10, 400) and a budget (400)".to_owned(),
        lane: full(10, 1).and(full(400, 1)),
        budgets: vec![Budget::new(full(400, 1))],
        weight: 1,
        lines: None,
    });
    for lines in [0, 8, 20] {
        cases.push(lane(format!("10 slots, {lines} processes in line"), 10, 1, Some(lines)));
    }
    cases
}

impl Case {
    fn join(&self, server: &Server, process: &str, lane: &Quota) -> StepBench {
        StepBench::new(&server.url(), "cost", process, lane, &self.budgets, Some(BEGIN)).unwrap()
    }

    fn ask(&self, moment: u64) -> BenchAsk {
        BenchAsk { weight: self.weight, moment: Some(moment), ..BenchAsk::default() }
    }

    /// How many calls fill the log.
    fn calls(&self) -> u64 {
        let most = self.lane.windows().iter().map(|window| window.limit).max().unwrap_or(1);
        u64::from(most / self.weight)
    }
}

/// Waits until the account grants calls. Returns the moment.
fn settle(case: &Case, member: &StepBench) -> u64 {
    let mut moment = BEGIN;
    while moment < SETTLED {
        // By no more than the clock of a host may be ahead.
        moment += 50_000;
        let _ = member.ask(case.ask(moment)).unwrap();
    }
    moment
}

/// Fills the log by one call each millisecond. Returns the moment of the last.
fn fill(case: &Case, member: &StepBench) -> u64 {
    let mut moment = settle(case, member);
    for _ in 0..2 * case.calls() {
        moment += 1000;
        assert!(member.ask(case.ask(moment)).unwrap());
    }
    moment
}

/// Returns the cost of calls that are granted, in a log that is as full as it can be.
fn granted(server: &Server, case: &Case, calls: usize) -> f64 {
    server.flush();
    let member = case.join(server, "asker", &case.lane);
    let mut moment = fill(case, &member);
    server.reset();
    for _ in 0..calls {
        moment += 1000;
        assert!(member.ask(case.ask(moment)).unwrap());
    }
    server.counts().command("evalsha").1
}

/// Returns the cost of calls that are granted before others. These are so heavy that they have no room. The windows are of a
/// microsecond, and so long is it from call to call, so that the lines of the others stay.
fn granted_before_lines(server: &Server, case: &Case, lines: usize, calls: usize) -> f64 {
    server.flush();
    let lane = Quota::new(10, Duration::from_micros(1));
    let member = case.join(server, "asker", &lane);
    let mut moment = settle(case, &member) + 1000;
    assert!(member.ask(BenchAsk { ends: false, ..case.ask(moment) }).unwrap());
    for line in 0..lines {
        let other = case.join(server, &format!("other{line}"), &lane);
        assert!(!other.ask(BenchAsk { weight: 10, priority: 9, ..case.ask(moment) }).unwrap());
    }
    server.reset();
    for _ in 0..calls {
        moment += 1;
        assert!(member.ask(BenchAsk { priority: 1, ..case.ask(moment) }).unwrap());
    }
    server.counts().command("evalsha").1
}

/// Returns the cost of calls that are denied, behind the lines of others.
fn denied(server: &Server, case: &Case, calls: usize) -> f64 {
    server.flush();
    let member = case.join(server, "asker", &case.lane);
    let moment = fill(case, &member);
    for line in 0..case.lines.unwrap_or(0) {
        let other = case.join(server, &format!("other{line}"), &case.lane);
        assert!(!other.ask(case.ask(moment)).unwrap());
    }
    server.reset();
    for _ in 0..calls {
        // The others were there before.
        assert!(!member.ask(case.ask(moment + 1)).unwrap());
    }
    server.counts().command("evalsha").1
}
