//! Processes, their ways to Redis and to the broker, and what goes wrong.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use ::redis::{Connection, Value, cmd};
use jiff::Timestamp;

use super::super::asks::LaneAsks;
use super::super::member::{Ask, Member, Say, Time, Trip};
use super::super::protocol::{BEAT, STEP, Scope, StepOutcome};
use super::broker::{Counted, excess};
use crate::quota::{Budget, BudgetSet, Cost, Moment, Quota, RoundTrip, RttCredit, WallClockSample};

/// The first moment of a run: eight seconds before a midnight in UTC, so that a run passes it.
pub(super) const BEGIN: u64 = 1_700_006_392_000_000;

/// What a run is made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) lanes: Vec<Budget>,
    pub(super) budgets: Vec<Budget>,
    pub(super) processes: usize,
    /// How long a way to Redis or back takes, in microseconds.
    pub(super) to_redis: (u64, u64),
    /// How long a way to the broker or back takes.
    pub(super) to_broker: (u64, u64),
    pub(super) lease: Duration,
    /// How many calls of a process are in flight at most.
    pub(super) in_flight: usize,
    /// One in so many answers of Redis is lost; 0 is none.
    pub(super) lost: u64,
    /// Whether processes use the round trip credit.
    pub(super) has_credit: bool,
}

impl Plan {
    pub(super) fn new(seed: u64, lane: Quota, processes: usize) -> Self {
        Self {
            seed,
            lanes: vec![Budget::new(lane)],
            budgets: Vec::new(),
            processes,
            to_redis: (100, 400),
            to_broker: (20_000, 35_000),
            lease: Duration::from_secs(3),
            in_flight: 64,
            lost: 0,
            has_credit: false,
        }
    }
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The process is no more. Its calls in flight go on to the broker.
    Kill(usize),
    /// It does nothing for so many microseconds.
    Stop(usize, u64),
    /// Redis forgets everything.
    Flush,
    /// Redis was started again, and knows nothing.
    Restart,
    /// It forgets one kind of key of a scope: 0 the log, 1 the counts, 2 both, 3 what is known of the account.
    Evict(usize, u8),
    /// The clock of its host jumps by so many microseconds.
    Jump(i64),
    /// It has no scripts any more.
    ForgetScripts,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Pump(usize),
    Keep(usize),
    Arrive(usize, u64),
    Return(usize, u64),
    Counted(usize, Cost_),
    /// A call of a lane was answered, and took so long.
    End(usize, u64, usize, u64),
    Fault(Fault),
    /// A call of a lane with this priority comes.
    Call(usize, usize, u8, u32, u64),
}

/// The cost of a call, as numbers.
type Cost_ = (usize, u64, u32);

struct Waiting {
    cost: Cost,
    priority: u8,
    since: u64,
    /// How many calls had been sent from its lane when it came.
    sent_before: u64,
}

pub(super) struct Process {
    member: Member,
    asks: Vec<LaneAsks>,
    round_trips: Vec<RoundTrip>,
    queues: Vec<VecDeque<Waiting>>,
    in_flight: usize,
    offset: u64,
    is_alive: bool,
    stands_still_until: u64,
    trips: Vec<Way>,
    retelling: Vec<super::super::member::Charge>,
    pub(super) sent: u64,
}

/// A request on its way to Redis, or its answer on the way back.
struct Way {
    number: u64,
    trip: Trip,
    ask: Option<Ask>,
    kind: Kind,
    reply: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Step,
    Retell,
    Beat,
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    connection: Connection,
    rng: fastrand::Rng,
    pub(super) processes: Vec<Process>,
    /// For each scope.
    counted: Vec<Vec<Counted>>,
    jump: i64,
    run: u32,
    /// For each lane, how many calls that are not urgent were sent.
    sent: Vec<u64>,
    /// For each urgent call, how many others were sent while it waited, and how long.
    pub(super) passed: Vec<(u64, u64)>,
    /// Whether each process always has calls, and with which costs.
    pub(super) supply: Vec<Cost>,
    pub(super) commands: u64,
    durations: (u64, u64),
}

impl World {
    pub(super) fn new(plan: Plan, mut connection: Connection) -> Self {
        cmd("FLUSHALL").exec(&mut connection).unwrap();
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let lanes: Vec<String> = (0..plan.lanes.len()).map(|lane| format!("l{lane}")).collect();
        let of = |kind: &str, (index, budget): (usize, &Budget)| {
            Scope::new(format!("{kind}:{index}"), budget.quota().windows(), budget.reserved())
                .unwrap()
        };
        let scopes: Vec<Scope> = (plan.lanes.iter().enumerate().map(|it| of("lane", it)))
            .chain(plan.budgets.iter().enumerate().map(|it| of("budget", it)))
            .collect();
        let process = |number: usize| Process {
            member: Member::new(format!("p{number}"), lanes.clone(), scopes.clone(), plan.lease),
            asks: lanes.iter().map(|_| LaneAsks::default()).collect(),
            round_trips: vec![RoundTrip::new(); lanes.len()],
            queues: lanes.iter().map(|_| VecDeque::new()).collect(),
            in_flight: 0,
            // Clocks of processes have nothing to do with each other.
            offset: rng.u64(0..1 << 40),
            is_alive: true,
            stands_still_until: 0,
            trips: Vec::new(),
            retelling: Vec::new(),
            sent: 0,
        };
        let processes: Vec<Process> = (0..plan.processes).map(process).collect();
        let (counted, sent) = (vec![Vec::new(); scopes.len()], vec![0; lanes.len()]);
        let mut world = Self {
            now: BEGIN,
            events: BinaryHeap::new(),
            sequence: 0,
            connection,
            rng,
            processes,
            counted,
            jump: 0,
            run: 1,
            sent,
            passed: Vec::new(),
            supply: Vec::new(),
            commands: 0,
            durations: (0, 0),
            plan,
        };
        for process in 0..world.processes.len() {
            let first = world.rng.u64(0..1000);
            world.push(first, Event::Keep(process));
        }
        world
    }

    fn push(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + after, self.sequence, event)));
    }

    pub(super) fn fault(&mut self, after: u64, fault: Fault) {
        self.push(after, Event::Fault(fault));
    }

    pub(super) fn call(&mut self, after: u64, process: usize, cost: Cost, priority: u8) {
        let budgets = cost.budgets.iter().fold(0, |bits, budget| bits | 1 << budget);
        self.push(after, Event::Call(process, cost.lane, priority, cost.weight, budgets));
    }

    fn between(&mut self, (least, most): (u64, u64)) -> u64 {
        self.rng.u64(least..=most)
    }

    fn local(&self, process: usize) -> Moment {
        Moment::from_nanos((self.now - BEGIN + self.processes[process].offset) * 1000)
    }

    /// Returns the time of this process, in `now`, of a moment of its own.
    fn moment_after(&self, process: usize, at: Moment) -> u64 {
        let micros = at.as_nanos().div_ceil(1000);
        (micros - self.processes[process].offset + BEGIN).max(self.now) - self.now
    }

    /// Runs for so many microseconds.
    pub(super) fn run(&mut self, micros: u64) {
        let end = self.now + micros;
        while let Some(Reverse((at, _, _))) = self.events.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            self.now = at;
            self.on(event);
        }
        self.now = end;
    }

    fn on(&mut self, event: Event) {
        let of = match event {
            Event::Pump(process) | Event::Keep(process) | Event::Return(process, _) => {
                Some(process)
            }
            Event::End(process, ..) | Event::Call(process, ..) => Some(process),
            Event::Arrive(..) | Event::Counted(..) | Event::Fault(_) => None,
        };
        if let Some(process) = of {
            if !self.processes[process].is_alive {
                return;
            }
            let until = self.processes[process].stands_still_until;
            if until > self.now {
                let after = until - self.now;
                return self.push(after, event);
            }
        }
        match event {
            Event::Pump(process) => self.pump(process),
            Event::Keep(process) => {
                let (now, every) = (self.local(process), 1_000_000);
                self.processes[process].member.renew(now);
                self.send_beat(process);
                self.tell(process);
                self.push(every, Event::Keep(process));
                self.pump(process);
            }
            Event::Arrive(process, number) => self.arrive(process, number),
            Event::Return(process, number) => self.on_return(process, number),
            Event::Counted(process, (lane, budgets, weight)) => {
                let _ = process;
                let call = Counted { at: self.now, weight: weight.into() };
                let lanes = self.plan.lanes.len();
                self.counted[lane].push(call);
                for budget in 0..self.plan.budgets.len() {
                    if budgets & (1 << budget) != 0 {
                        self.counted[lanes + budget].push(call);
                    }
                }
            }
            Event::End(process, number, lane, took) => {
                let now = self.local(process);
                let of = &mut self.processes[process];
                of.round_trips[lane].record(Duration::from_micros(took));
                if self.plan.has_credit {
                    let credit = of.round_trips[lane].credit(RttCredit::default());
                    of.member.set_credit(lane, credit);
                }
                self.processes[process].member.end(number, now, now);
                self.processes[process].in_flight -= 1;
                self.pump(process);
                self.push(500, Event::Pump(process));
                self.tell(process);
            }
            Event::Call(process, lane, priority, weight, budgets) => {
                let mut set = BudgetSet::EMPTY;
                for budget in (0..64).filter(|budget| budgets & (1 << budget) != 0) {
                    assert!(set.insert(budget));
                }
                let cost = Cost { lane, budgets: set, weight, urgent: priority == 1 };
                let (since, sent_before) = (self.now, self.sent[lane]);
                let waiting = Waiting { cost, priority, since, sent_before };
                let queue = &mut self.processes[process].queues[lane];
                let place =
                    queue.iter().position(|it| it.priority > priority).unwrap_or(queue.len());
                queue.insert(place, waiting);
                self.pump(process);
            }
            Event::Fault(fault) => self.go_wrong(fault),
        }
    }

    fn go_wrong(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(process) => self.processes[process].is_alive = false,
            Fault::Stop(process, micros) => {
                self.processes[process].stands_still_until = self.now + micros;
            }
            Fault::Flush => cmd("FLUSHALL").exec(&mut self.connection).unwrap(),
            Fault::Restart => {
                cmd("FLUSHALL").exec(&mut self.connection).unwrap();
                self.run += 1;
            }
            Fault::ForgetScripts => cmd("SCRIPT").arg("FLUSH").exec(&mut self.connection).unwrap(),
            Fault::Evict(scope, what) => {
                let lanes = self.plan.lanes.len();
                let name = match scope.checked_sub(lanes) {
                    None => format!("lane:{scope}"),
                    Some(budget) => format!("budget:{budget}"),
                };
                let key = |kind: &str| super::super::protocol::key("a", &format!("{kind}:{name}"));
                let keys = match what {
                    0 => vec![key("log")],
                    1 => vec![key("counts")],
                    2 => vec![key("log"), key("counts")],
                    _ => vec![super::super::protocol::key("a", "meta")],
                };
                cmd("DEL").arg(keys).exec(&mut self.connection).unwrap();
            }
            Fault::Jump(by) => self.jump += by,
        }
    }

    fn time(&self, process: usize, run: &'static str) -> Time<'static> {
        let wall = i64::try_from(self.now).unwrap();
        let timestamp = Timestamp::from_microsecond(wall).unwrap();
        let wall = WallClockSample { moment: self.local(process), timestamp };
        Time::for_tests(wall, "a", run)
    }

    /// Sends calls, or asks for permits, as a lane does.
    fn pump(&mut self, process: usize) {
        let now = self.local(process);
        for lane in 0..self.plan.lanes.len() {
            loop {
                let supply: Vec<Cost> =
                    self.supply.iter().copied().filter(|cost| cost.lane == lane).collect();
                let of = &mut self.processes[process];
                if of.queues[lane].is_empty() && !supply.is_empty() {
                    let cost = supply[self.rng.usize(..supply.len())];
                    let (since, sent_before) = (self.now, self.sent[lane]);
                    of.queues[lane].push_back(Waiting { cost, priority: 5, since, sent_before });
                }
                let is_busy = of.in_flight >= self.plan.in_flight;
                let Some(head) = of.queues[lane].front().filter(|_| !is_busy) else { break };
                let (cost, priority) = (head.cost, head.priority);
                if let Err(why) = of.asks[lane].check(cost, now) {
                    let at = why.next_change();
                    if let Some(at) = at {
                        let after = self.moment_after(process, at);
                        self.push(after.max(1), Event::Pump(process));
                    }
                    break;
                }
                if let Some(ask) = of.asks[lane].take(cost) {
                    if !of.member.is_fresh(ask.number, now) {
                        of.member.give_back(ask.number, now);
                        continue;
                    }
                    let waiting = of.queues[lane].pop_front().unwrap();
                    of.in_flight += 1;
                    of.sent += 1;
                    if waiting.priority == 1 {
                        let passed = self.sent[lane] - waiting.sent_before;
                        self.passed.push((passed, self.now - waiting.since));
                    }
                    self.sent[lane] += u64::from(waiting.priority != 1);
                    let (there, back) =
                        (self.between(self.plan.to_broker), self.between(self.plan.to_broker));
                    self.durations = (self.durations.0 + there + back, self.durations.1 + 1);
                    let budgets = cost.budgets.iter().fold(0, |bits, budget| bits | 1 << budget);
                    self.push(there, Event::Counted(process, (lane, budgets, cost.weight.max(1))));
                    self.push(there + back, Event::End(process, ask.number, lane, there + back));
                    continue;
                }
                if !of.retelling.is_empty() || of.member.retelling().is_some() {
                    self.retell(process);
                    break;
                }
                let of = &mut self.processes[process];
                let waiting = of.queues[lane].len() + if supply.is_empty() { 0 } else { 100 };
                if of.asks[lane].has_room(priority, waiting) {
                    let ask = of.member.ask(cost, priority, waiting > 1, now);
                    of.asks[lane].push(ask);
                    if let Some(ask) = of.asks[lane].next() {
                        self.send_step(process, ask);
                    }
                }
                break;
            }
            for ask in self.processes[process].asks[lane].take_unused() {
                self.processes[process].member.give_back(ask.number, now);
            }
        }
    }

    fn run_name(&self) -> &'static str {
        ["", "r1", "r2", "r3", "r4", "r5"][self.run as usize]
    }

    fn send_step(&mut self, process: usize, ask: Ask) {
        let time = self.time(process, self.run_name());
        let trip = self.processes[process].member.step(ask.cost.into(), Some(&ask), time);
        self.send(process, trip, Some(ask), Kind::Step);
    }

    fn send_beat(&mut self, process: usize) {
        let time = self.time(process, self.run_name());
        let say = Say {
            place: "unknown",
            is_leaving: false,
            dead: &[],
            reserved_for: Duration::from_secs(10),
            lanes: &[],
            refused: &[],
        };
        let trip = self.processes[process].member.beat(&say, time);
        self.send(process, trip, None, Kind::Beat);
    }

    /// Tells what ended, if no ask has taken it along.
    fn tell(&mut self, process: usize) {
        if self.processes[process].member.retelling().is_some() {
            return self.retell(process);
        }
        let Some(charge) = self.processes[process].member.charge_to_tell() else { return };
        let time = self.time(process, self.run_name());
        let trip = self.processes[process].member.step(charge, None, time);
        self.send(process, trip, None, Kind::Step);
    }

    fn retell(&mut self, process: usize) {
        let time = self.time(process, self.run_name());
        let of = &mut self.processes[process];
        if !of.retelling.is_empty() {
            return;
        }
        let retelling = of.member.begin_retelling(None);
        of.retelling = of.member.charges().to_vec();
        for charge in of.retelling.clone() {
            let trip = self.processes[process].member.retell(charge, retelling, time);
            self.send(process, trip, None, Kind::Retell);
        }
    }

    fn send(&mut self, process: usize, trip: Trip, ask: Option<Ask>, kind: Kind) {
        self.sequence += 1;
        let number = self.sequence;
        let after = self.between(self.plan.to_redis);
        self.processes[process].trips.push(Way { number, trip, ask, kind, reply: None });
        self.push(after, Event::Arrive(process, number));
    }

    fn arrive(&mut self, process: usize, number: u64) {
        let raw = self.now.saturating_add_signed(self.jump);
        let of = &mut self.processes[process];
        let Some(sent) = of.trips.iter_mut().find(|way| way.number == number) else { return };
        let code = if sent.kind == Kind::Beat { BEAT } else { STEP };
        let mut eval = cmd("EVAL");
        eval.arg(code);
        let keys: usize = std::str::from_utf8(&sent.trip.words[0]).unwrap().parse().unwrap();
        for (index, word) in sent.trip.words.iter().enumerate() {
            // The moment is that of the arrival.
            match index == keys + 1 {
                true => eval.arg(raw),
                false => eval.arg(word),
            };
        }
        sent.reply = Some(eval.query(&mut self.connection).unwrap());
        self.commands += 1;
        let after = self.between(self.plan.to_redis);
        self.push(after, Event::Return(process, number));
    }

    fn on_return(&mut self, process: usize, number: u64) {
        let now = self.local(process);
        let is_lost = self.plan.lost > 0 && self.rng.u64(..self.plan.lost) == 0;
        let of = &mut self.processes[process];
        let index = of.trips.iter().position(|way| way.number == number).unwrap();
        let Way { trip, ask, kind, reply, .. } = of.trips.swap_remove(index);
        let value = reply.unwrap();
        let sent_at = trip.sent_at();
        if is_lost {
            if kind == Kind::Retell {
                of.retelling.clear();
                of.member.fail_retelling(super::super::member::Retelling::Lost);
            } else if kind == Kind::Step {
                of.member.on_no_answer(trip, ask.as_ref());
            }
            if let Some(ask) = ask {
                of.asks[ask.cost.lane].on_failed(&ask, now + Duration::from_millis(20));
            }
            return self.push(20_000, Event::Pump(process));
        }
        match kind {
            Kind::Beat => {
                of.member.on_beat(&trip, &value).unwrap();
            }
            Kind::Retell => {
                let reply = of.member.on_step(trip, None, &value).unwrap();
                of.retelling.pop();
                if reply.outcome == StepOutcome::Lost {
                    of.retelling.clear();
                } else if of.retelling.is_empty() {
                    of.member.finish_retelling();
                }
            }
            Kind::Step => {
                let reply = of.member.on_step(trip, ask.as_ref(), &value).unwrap();
                if let Some(ask) = ask {
                    let lane = &mut of.asks[ask.cost.lane];
                    match reply.outcome {
                        StepOutcome::Granted => lane.on_granted(ask),
                        StepOutcome::Denied => lane.on_denied(&ask, &reply, sent_at, now),
                        StepOutcome::Heard | StepOutcome::Lost => lane.on_failed(&ask, now),
                    }
                }
            }
        }
        self.pump(process);
        // A call may have given its permit back, or ended, since.
        self.push(2000, Event::Pump(process));
        if self.processes[process].member.charge_to_tell().is_some() {
            self.tell(process);
        }
    }

    /// Returns by how much the broker counted too many, over all windows.
    pub(super) fn excess(&self) -> Vec<(String, u64)> {
        let quotas = self.plan.lanes.iter().chain(&self.plan.budgets);
        let mut found = Vec::new();
        for (index, (budget, calls)) in quotas.zip(&self.counted).enumerate() {
            for window in budget.quota().windows() {
                let by = excess(window, calls);
                if by > 0 {
                    found.push((format!("scope {index}, {window}"), by));
                }
            }
        }
        found
    }

    /// Returns how many calls the broker has counted in a scope from a moment on.
    pub(super) fn counted_since(&self, scope: usize, from: u64) -> u64 {
        self.counted[scope].iter().filter(|call| call.at >= from).map(|call| call.weight).sum()
    }

    /// Returns the least credit of the processes that are alive, in seconds.
    pub(super) fn least_credit(&self, lane: usize) -> f64 {
        let alive = self.processes.iter().filter(|process| process.is_alive);
        let credits = alive.map(|process| process.round_trips[lane].credit(RttCredit::default()));
        credits.min().unwrap_or_default().as_secs_f64()
    }

    /// Returns the mean time from sending a call to its answer, in seconds.
    pub(super) fn mean_call(&self) -> f64 {
        self.durations.0 as f64 / self.durations.1.max(1) as f64 / 1e6
    }
}
