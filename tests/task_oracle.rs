//! Promises 1 to 3 for calls that tasks make, mixed with those of threads: two lanes and a shared budget, tasks that are
//! polled at once, late or hardly ever, futures that are dropped at any moment, retries, and an exact count of what the
//! broker saw. At full load: all of the quota is used, and an urgent call of either kind is the next.
//!
//! The lanes have real threads, but go one step at a time: see `support/stepped.rs`, which is the executor of the tasks too.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastrand::Rng;
use lanekeeper::lane::{
    LaneConfig, LaneError, LaneErrorKind, LaneState, LaneStatus, OpenBreakerPolicy, OverflowPolicy,
    Shutdown, Ticket,
};
use lanekeeper::proxy::CallSpec;
use lanekeeper::quota::{Budget, Quota, RttCredit};
use lanekeeper::resilience::{BreakerState, RetryPolicy};
use lanekeeper::{ErrorClass, Sent};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use support::cases::cases;
use support::lanes::{READ, WRITE, ms, priority};
use support::notes::Event;
use support::oracle::{Count, CountedCall, count_excess, count_excess_in_force};
use support::stepped::{
    Answer, Course, Door, DroppedTask, End, Failure, Sending, Stepped, TaskState,
};

/// The minimum time of the way there, and of the way back, in nanoseconds.
const LEAST: u64 = 20_000_000;
const HEAVIEST: u32 = 3;
const USERS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Submit(Submit),
    /// Cancels one of the tickets.
    Cancel(usize),
    /// Drops one of the tickets and of the futures.
    Drop(usize),
    /// Drops a future that is in a given stage, if there is one.
    DropIn(Stage, usize),
    Pass(u64),
    Pause(usize),
    Resume(usize),
    SetQuota(usize, Windows),
    SetBudget(Windows),
}

/// Stages of a future that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits, and was not woken.
    Queued,
    /// It was woken and is not polled yet: by an offer of its turn, which may have ended, or by its answer.
    Woken,
    InFlight,
}

#[derive(Debug, Clone, Copy)]
enum Caller {
    /// A ticket, through one of the doors.
    Thread(Door),
    /// A future, polled so many milliseconds after it was woken.
    Task(u64),
}

#[derive(Debug, Clone)]
struct Submit {
    caller: Caller,
    lane: usize,
    costs_budget: bool,
    read: bool,
    weight: u32,
    priority: u8,
    user: usize,
    deadline: Option<u64>,
    /// How each attempt ends. The last entry is for all further ones.
    attempts: Vec<Attempt>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// The time beyond the minimum of the way there and of the way back, in milliseconds.
    forward: u64,
    back: u64,
    end: End,
}

impl Attempt {
    fn takes(self) -> u64 {
        2 * LEAST + (self.forward + self.back) * 1_000_000
    }

    /// Returns when the broker counts this attempt, if it does.
    fn counted_at(self, sent_at: u64, dropped_at: Option<u64>) -> Option<u64> {
        // What was given up may arrive as late as its slots are held for it.
        let at_any_time = |took: u64| sent_at + LEAST + 2 * took * self.forward / 61;
        match (dropped_at, self.end) {
            (_, End::NeverLeft | End::Local) => None,
            (Some(dropped_at), _) => Some(at_any_time(dropped_at - sent_at)),
            (None, End::Lost) => Some(at_any_time(self.takes() - LEAST / 2)),
            (None, End::Answered | End::Fails(_)) => {
                Some(sent_at + LEAST + self.forward * 1_000_000)
            }
        }
    }
}

/// Limits of 200 ms, of 1 s and of 3 s. The last is always there, so that no change makes a lane retain more than
/// before.
type Windows = (Option<u32>, Option<u32>, u32);

#[derive(Debug, Clone)]
struct Setting {
    windows: Windows,
    in_flight: usize,
    queue: usize,
    overflow: OverflowPolicy,
    aging: Option<u32>,
    strict: bool,
}

fn windows() -> impl Strategy<Value = Windows> {
    let limit = || HEAVIEST..=8_u32;
    (prop::option::of(limit()), prop::option::of(limit()), HEAVIEST..=16_u32)
}

fn settings() -> impl Strategy<Value = Setting> {
    let aging = prop::option::of(1..=10_u32);
    let overflow = prop_oneof![Just(OverflowPolicy::Shed), Just(OverflowPolicy::Refuse)];
    (windows(), 1..=4_usize, 3..=30_usize, overflow, aging, any::<bool>()).prop_map(
        |(windows, in_flight, queue, overflow, aging, strict)| Setting {
            windows,
            in_flight,
            queue,
            overflow,
            aging,
            strict,
        },
    )
}

/// Threads and tasks. Most tasks are polled at once; others miss their turns, once or always.
fn callers(are_prompt: bool) -> impl Strategy<Value = Caller> {
    let late = if are_prompt { 0 } else { 1 };
    prop_oneof![
        4 => prop::sample::select(Door::EVERY.to_vec()).prop_map(Caller::Thread),
        6 => Just(Caller::Task(0)),
        2 * late => (1..=99_u64).prop_map(Caller::Task),
        6 * late => (100..=1_000_u64).prop_map(Caller::Task),
        late => Just(Caller::Task(20_000)),
    ]
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let extra = || prop_oneof![1 => Just(0), 2 => 0..=60_u64];
    let ends = |ends: &[(u32, End)]| {
        let ends = ends.iter().map(|(weight, end)| (*weight, Just(*end).boxed()));
        prop::strategy::Union::new_weighted(ends.collect())
    };
    let transient = End::Fails(ErrorClass::Transient.into());
    let fails = ends(&[(3, End::NeverLeft), (2, transient), (1, End::Lost)]);
    let last = ends(&[(9, End::Answered), (1, End::NeverLeft), (1, End::Lost), (2, End::Local)]);
    let failed = prop_oneof![5 => Just(0), 2 => Just(1_usize), 1 => Just(2)];
    (failed, prop::collection::vec((extra(), extra(), fails), 2), (extra(), extra(), last))
        .prop_map(|(failed, fails, last)| {
            let all = fails.into_iter().take(failed).chain([last]);
            all.map(|(forward, back, end)| Attempt { forward, back, end }).collect()
        })
}

fn submits(are_prompt: bool) -> impl Strategy<Value = Submit> {
    let deadline = prop_oneof![2 => Just(None), 1 => (1..=3_000_u64).prop_map(Some)];
    (
        (0..2_usize, any::<bool>(), any::<bool>(), 1..=HEAVIEST, 1..=10_u8, 0..3_usize),
        (callers(are_prompt), deadline, attempts()),
    )
        .prop_map(
            |((lane, costs_budget, read, weight, priority, user), (caller, deadline, attempts))| {
                Submit {
                    caller,
                    lane,
                    costs_budget,
                    read,
                    weight,
                    priority,
                    user,
                    deadline,
                    attempts,
                }
            },
        )
}

/// Steps. While quotas change all tasks are prompt: a turn that is offered was taken of the quota before.
fn steps(changes: bool) -> impl Strategy<Value = Vec<Step>> {
    let rare = if changes { 1 } else { 0 };
    let stage = prop::sample::select(vec![Stage::Queued, Stage::Woken, Stage::InFlight]);
    let step = prop_oneof![
        24 => submits(changes).prop_map(Step::Submit),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Drop),
        3 => (stage, any::<usize>()).prop_map(|(stage, which)| Step::DropIn(stage, which)),
        10 => (0..=400_u64).prop_map(Step::Pass),
        1 => (0..2_usize).prop_map(Step::Pause),
        2 => (0..2_usize).prop_map(Step::Resume),
        rare => (0..2_usize, windows()).prop_map(|(lane, windows)| Step::SetQuota(lane, windows)),
        rare => windows().prop_map(Step::SetBudget),
    ];
    prop::collection::vec(step, 1..90)
}

fn limits((short, second, long): Windows) -> Vec<(u64, u64)> {
    let of = |limit: Option<u32>, length: u64| Some((limit?.into(), length * 1_000_000));
    let all = [of(short, 200), of(second, 1_000), of(Some(long), 3_000)];
    all.into_iter().flatten().collect()
}

fn quota(windows: Windows) -> Quota {
    limits(windows).into_iter().fold(Quota::unlimited(), |quota, (limit, length)| {
        quota.and(Quota::new(limit as u32, Duration::from_nanos(length)))
    })
}

/// What the test holds of a call.
enum Hold {
    Ticket(Ticket<usize, Failure>),
    Task,
    Nothing,
}

/// A future that was dropped.
struct Dropped {
    at: u64,
    stage: DroppedTask,
    /// How many attempts had begun.
    attempts: usize,
}

/// A call, and everything that became of it.
struct SubmittedCall {
    what: Submit,
    /// Its number in its lane.
    number: u64,
    hold: Hold,
    answer: Option<Answer>,
    /// Its caller was told that it had not been sent.
    cancelled: bool,
    dropped: Option<Dropped>,
}

struct Run {
    lanes: Stepped,
    submitted: Vec<SubmittedCall>,
    numbers: [u64; 2],
    /// The windows in force in the lanes and in the budget, now and as each attempt was sent.
    force: [Windows; 3],
    forces: Vec<[Windows; 3]>,
    /// The assumption of the credit about the path holds.
    assumption_held: bool,
    /// No idle lane could have sent anything, as far as can be seen from outside.
    busy: bool,
}

impl Run {
    fn new(settings: &[Setting; 2], budget: Windows) -> Self {
        let config = |setting: &Setting| {
            LaneConfig::new(quota(setting.windows))
                // A lane that holds calls for a failing broker is idle with capacity, and rightly so.
                .when_down(OpenBreakerPolicy::Refuse)
                .in_flight(setting.in_flight)
                .retry(RetryPolicy::default().attempts(3).budget_floor(100))
                .queue(setting.queue)
                .when_full(setting.overflow)
                .aging(setting.aging)
                .credit(if setting.strict { RttCredit::STRICT } else { RttCredit::default() })
        };
        let budget_config = Budget::new(quota(budget));
        let mut lanes = Stepped::new(&settings.each_ref().map(config), &[budget_config]);
        lanes.attach();
        Self {
            lanes,
            submitted: Vec::new(),
            numbers: [0; 2],
            force: [settings[0].windows, settings[1].windows, budget],
            forces: Vec::new(),
            assumption_held: true,
            busy: true,
        }
    }

    /// Makes as many calls as the lanes need to learn how long the way is.
    fn warm_up(&mut self) {
        for lane in [0, 1].repeat(20) {
            self.submit(Submit {
                caller: Caller::Task(0),
                lane,
                costs_budget: false,
                read: false,
                weight: 1,
                priority: 5,
                user: lane,
                deadline: None,
                attempts: vec![Attempt { forward: 0, back: 0, end: End::Answered }],
            });
            while self.lanes.lane(lane).queued() > 0 {
                let next = self.lanes.next_moment().unwrap();
                self.lanes.move_to(next);
            }
            self.collect();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit(what) => self.submit(what),
            Step::Cancel(which) => {
                let tickets = self.open(|_, submitted| matches!(submitted.hold, Hold::Ticket(_)));
                if let Some(call) = pick(&tickets, which) {
                    let submitted = &mut self.submitted[call];
                    let Hold::Ticket(ticket) = &submitted.hold else { return };
                    submitted.cancelled = ticket.cancel();
                }
            }
            Step::Drop(which) => {
                if let Some(call) = pick(&self.open(|_, _| true), which) {
                    self.drop_call(call);
                }
            }
            Step::DropIn(stage, which) => {
                let is_in = |task: &TaskState| match stage {
                    Stage::Queued => !task.is_woken && !task.is_under_way,
                    Stage::Woken => task.is_woken && !task.is_under_way,
                    Stage::InFlight => task.is_under_way,
                };
                let meant: Vec<usize> =
                    self.lanes.tasks().filter(is_in).map(|task| task.call).collect();
                let is_meant = |call: usize, _: &SubmittedCall| meant.contains(&call);
                if let Some(call) = pick(&self.open(is_meant), which) {
                    self.drop_call(call);
                }
            }
            Step::Pass(millis) => {
                let end = self.lanes.now() + millis * 1_000_000;
                while self.lanes.now() < end {
                    let next = self.lanes.next_moment().map_or(end, |next| next.min(end));
                    self.lanes.move_to(next);
                    self.collect();
                }
            }
            Step::Pause(lane) => self.lanes.lane(lane).pause(),
            Step::Resume(lane) => self.lanes.lane(lane).resume(),
            Step::SetQuota(lane, windows) => {
                self.lanes.lane(lane).set_quota(&quota(windows)).unwrap();
                self.force[lane] = windows;
            }
            Step::SetBudget(windows) => {
                self.lanes.lanes.set_budget("one", &Budget::new(quota(windows))).unwrap();
                self.force[2] = windows;
            }
        }
        self.lanes.run_until_idle();
        self.collect();
    }

    fn submit(&mut self, what: Submit) {
        let mut options = priority(what.priority).user(USERS[what.user]);
        if let Some(deadline) = what.deadline {
            options = options.deadline(ms(deadline));
        }
        let budgets: &[usize] = if what.costs_budget { &[0] } else { &[] };
        let kind = if what.read { READ } else { WRITE };
        let call = CallSpec { lane: what.lane, weight: what.weight, budgets, ..kind };
        let course = |attempt: &Attempt| Course {
            takes: Duration::from_nanos(attempt.takes()),
            ends: attempt.end,
        };
        let courses: Vec<Course> = what.attempts.iter().map(course).collect();
        let hold = match what.caller {
            Caller::Thread(door) => {
                Hold::Ticket(self.lanes.submit_repeatable(door, call, &options, &courses))
            }
            Caller::Task(late) => {
                self.lanes.run_task(call, &options, &courses, ms(late));
                Hold::Task
            }
        };
        let number = self.numbers[what.lane];
        self.numbers[what.lane] += 1;
        let (answer, cancelled, dropped) = (None, false, None);
        self.submitted.push(SubmittedCall { what, number, hold, answer, cancelled, dropped });
    }

    /// Returns the calls which have no answer yet, as far as the test knows, and for which `is_meant` holds.
    fn open(&self, is_meant: impl Fn(usize, &SubmittedCall) -> bool) -> Vec<usize> {
        let is_open = |&call: &usize| {
            let submitted = &self.submitted[call];
            let is_held = !matches!(submitted.hold, Hold::Nothing);
            is_held
                && submitted.answer.is_none()
                && !submitted.cancelled
                && is_meant(call, submitted)
        };
        (0..self.submitted.len()).filter(is_open).collect()
    }

    fn drop_call(&mut self, call: usize) {
        let hold = std::mem::replace(&mut self.submitted[call].hold, Hold::Nothing);
        if matches!(hold, Hold::Task) {
            let (at, attempts) = (self.lanes.now(), self.attempts_of(call).len());
            let stage = self.lanes.drop_task(call);
            self.submitted[call].dropped = Some(Dropped { at, stage, attempts });
        }
    }

    fn attempts_of(&self, call: usize) -> Vec<Sending> {
        self.lanes.sent.iter().filter(|sending| sending.call == call).copied().collect()
    }

    /// Reads what was answered, and checks that no lane is idle that need not be.
    fn collect(&mut self) {
        self.forces.resize(self.lanes.sent.len(), self.force);
        for (call, answer) in std::mem::take(&mut self.lanes.answers) {
            let submitted = &mut self.submitted[call];
            assert!(submitted.answer.is_none(), "answered twice");
            submitted.answer = Some(answer);
        }
        for submitted in &mut self.submitted {
            let Hold::Ticket(ticket) = &mut submitted.hold else { continue };
            match ticket.try_wait() {
                None
                | Some(Err(Failure::Lane(LaneError {
                    kind: LaneErrorKind::AlreadyTaken | LaneErrorKind::Cancelled,
                    ..
                }))) => {}
                Some(answer) => {
                    assert!(submitted.answer.is_none() && !submitted.cancelled, "answered twice");
                    submitted.answer = Some(answer);
                }
            }
        }
        let status = self.lanes.lanes.status();
        for (index, lane) in status.lanes.iter().enumerate() {
            // The assumption of the credit: no round trip is shorter than this share of the minimum.
            let min = lane.min_round_trip.unwrap_or_default().as_nanos() as u64;
            self.assumption_held &= min * 95 / 100 <= 2 * LEAST;
            // The status of a budget uses the credits of the lanes whose calls have cost it so far.
            let was_charged = self.lanes.sent.iter().any(|sending| {
                let what = &self.submitted[sending.call].what;
                what.lane == index && what.costs_budget
            });
            let is_as_it_says =
                was_charged || status.lanes.iter().all(|other| lane.credit >= other.credit);
            let is_budget_free =
                status.budgets[0].windows.iter().all(|window| window.left >= HEAVIEST);
            let may_send = is_as_it_says && is_budget_free && has_room(lane, HEAVIEST);
            // Queued, but with no place in the queue: a call whose task has missed its turn, and was not polled since.
            let is_here = |call: usize| self.submitted[call].what.lane == index;
            let tasks = || self.lanes.tasks().filter(|task| is_here(task.call));
            let parked = tasks().filter(|task| task.is_woken);
            self.busy &= !(may_send && lane.queued > parked.count());
            // What is in flight and not under way is offered to a task, which must be there, and not for long.
            let under_way = self.lanes.under_way().filter(|call| is_here(*call)).count();
            let offered = tasks().filter(|task| task.may_be_offered).count();
            assert!(lane.in_flight as usize <= under_way + offered, "turns that no task has");
        }
    }

    /// Lets everything come to its end, and checks every caller's answer. If `is_drained`, all calls end by themselves, and
    /// otherwise a shutdown ends some.
    fn end(&mut self, is_drained: bool) -> Result<(), TestCaseError> {
        self.lanes.hurry_tasks();
        if is_drained {
            self.drain()?;
        } else {
            let end = self.lanes.now() + 500_000_000;
            self.lanes.run_to(end);
        }
        self.collect();
        self.lanes.lanes.shutdown(Shutdown::Now);
        self.lanes.attached.as_ref().unwrap().shutdown(Shutdown::Now);
        // Between the two, calls of the second proxy may have been sent in place of those of the first.
        self.lanes.run_until_idle();
        while let Some(next) = self.lanes.next_answer() {
            self.lanes.move_to(next);
        }
        self.collect();
        prop_assert_eq!(self.lanes.tasks().count(), 0, "tasks without an answer");
        // Every slot comes free again, those of calls that were given up too.
        self.lanes.move_to(self.lanes.now() + 600_000_000_000);
        let status = self.lanes.lanes.status();
        for lane in &status.lanes {
            prop_assert_eq!((lane.queued, lane.retrying, lane.in_flight), (0, 0, 0));
        }
        let windows = status.lanes.iter().flat_map(|lane| &lane.windows);
        for window in windows.chain(&status.budgets[0].windows) {
            prop_assert_eq!(window.used, 0, "slots that are never free: {:?}", window);
        }
        for (call, submitted) in self.submitted.iter().enumerate() {
            self.check(call, submitted)?;
        }
        Ok(())
    }

    /// Runs until no call waits, or for ten minutes.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        let end = self.lanes.now() + 600_000_000_000;
        self.lanes.lane(0).resume();
        self.lanes.lane(1).resume();
        self.lanes.run_until_idle();
        let is_busy = |lane: &LaneStatus| lane.queued + lane.retrying > 0 || lane.in_flight > 0;
        while self.lanes.lanes.status().lanes.iter().any(is_busy) && self.lanes.now() < end {
            let soon = self.lanes.now() + 500_000_000;
            let next = self.lanes.next_moment().map_or(soon, |next| next.min(soon));
            self.lanes.move_to(next);
            self.collect();
        }
        prop_assert!(!self.lanes.lanes.status().lanes.iter().any(is_busy), "calls that never end");
        Ok(())
    }

    fn check(&self, call: usize, submitted: &SubmittedCall) -> Result<(), TestCaseError> {
        let attempts = self.attempts_of(call).len();
        let end_of = |attempt: usize| self.lanes.course(call, attempt).ends;
        // An attempt is made again only if that cannot send a write twice.
        for attempt in 1..attempts {
            let end = end_of(attempt - 1);
            let may_be_repeated = end == End::NeverLeft || submitted.what.read;
            prop_assert!(may_be_repeated && end != End::Answered, "repeated after {:?}", end);
        }
        let last = attempts.checked_sub(1).map(end_of);
        match &submitted.answer {
            Some(Ok(number)) => {
                prop_assert_eq!(*number, call, "the answer of another");
                prop_assert_eq!(last, Some(End::Answered));
            }
            Some(Err(Failure::NotSent)) => prop_assert_eq!(last, Some(End::NeverLeft)),
            Some(Err(Failure::Lost)) => prop_assert_eq!(last, Some(End::Lost)),
            Some(Err(Failure::Broker(failure))) => {
                let ends = [End::Local, End::Fails(*failure)];
                prop_assert!(last.is_some_and(|last| ends.contains(&last)), "{last:?}");
            }
            Some(Err(Failure::Lane(error))) => {
                // Nothing is cut off here, and no one detaches without being asked.
                prop_assert_eq!(error.class().was_sent(), Sent::No, "{}", error);
                prop_assert_eq!(attempts, 0, "{} and sent", error);
            }
            None if submitted.cancelled => prop_assert_eq!(attempts, 0, "cancelled and sent"),
            None => {
                let is_held = !matches!(submitted.hold, Hold::Nothing);
                prop_assert!(!is_held, "no answer to {:?}", submitted.what);
            }
        }
        if let Some(dropped) = &submitted.dropped {
            prop_assert_eq!(attempts, dropped.attempts, "sent after it was dropped");
            let is_under_way = dropped.stage == DroppedTask::InFlight;
            prop_assert!(attempts > 0 || !is_under_way);
        }
        self.check_events(submitted, attempts)
    }

    /// Checks that the observer got the events in order, with one end, and a late answer if no caller took it.
    fn check_events(
        &self,
        submitted: &SubmittedCall,
        attempts: usize,
    ) -> Result<(), TestCaseError> {
        use Event::{Cancelled, Dispatched, Expired, Finished, Late, Refused, Submitted};
        let name = self.lanes.lane(submitted.what.lane).name();
        let events = self.lanes.event_log.of(name, submitted.number);
        let unheard = matches!(submitted.hold, Hold::Nothing) && submitted.answer.is_none();
        let expected: Vec<Event> = if attempts > 0 {
            let each = std::iter::repeat_n(Dispatched, attempts);
            let late = unheard.then_some(Late);
            [Submitted].into_iter().chain(each).chain([Finished]).chain(late).collect()
        } else {
            let last = events.last().copied();
            prop_assert!(matches!(last, Some(Cancelled | Expired | Refused)), "{events:?}");
            // If it was refused at admission, it was never submitted.
            let came_in = events.len() == 2;
            let first = came_in.then_some(Submitted);
            first.into_iter().chain(last).collect()
        };
        prop_assert_eq!(events, expected, "{:?} to {:?}", submitted.answer, submitted.what);
        // Each attempt but the last failed and was made again. The last one may have been about to be.
        let retries = self.lanes.event_log.retries_of(name, submitted.number);
        prop_assert!(retries + 1 == attempts || retries == attempts, "{retries} of {attempts}");
        Ok(())
    }

    /// Returns what the broker saw of the lanes and of the budget.
    fn seen(&self) -> [Vec<CountedCall>; 3] {
        let mut seen: [Vec<CountedCall>; 3] = Default::default();
        let mut attempts = vec![0; self.submitted.len()];
        for (sending, force) in self.lanes.sent.iter().zip(&self.forces) {
            let SubmittedCall { what, dropped, .. } = &self.submitted[sending.call];
            let made = &mut attempts[sending.call];
            let attempt = what.attempts[(*made).min(what.attempts.len() - 1)];
            *made += 1;
            let is_dropped = |dropped: &&Dropped| {
                dropped.stage == DroppedTask::InFlight && dropped.attempts == *made
            };
            let dropped_at = dropped.as_ref().filter(is_dropped).map(|dropped| dropped.at);
            let Some(arrived) = attempt.counted_at(sending.at, dropped_at) else { continue };
            let counted_in = [Some(what.lane), what.costs_budget.then_some(2)];
            for index in counted_in.into_iter().flatten() {
                let (step, weight, windows) =
                    (sending.step, what.weight.into(), limits(force[index]));
                seen[index].push(CountedCall { step, arrived, weight, windows });
            }
        }
        seen
    }
}

/// Returns whether nothing that can be seen from outside keeps a lane from sending a call of this weight.
fn has_room(lane: &LaneStatus, weight: u32) -> bool {
    lane.state == LaneState::Running
        && lane.breaker == BreakerState::Closed
        && (lane.in_flight as usize) < lane.max_in_flight
        && lane.windows.iter().all(|window| window.left >= weight)
}

fn pick(calls: &[usize], which: usize) -> Option<usize> {
    Some(calls[which.checked_rem(calls.len())?])
}

fn run(
    settings: [Setting; 2],
    budget: Windows,
    (warm, is_drained): (bool, bool),
    steps: Vec<Step>,
) -> Result<[Vec<CountedCall>; 3], TestCaseError> {
    let mut run = Run::new(&settings, budget);
    if warm {
        run.warm_up();
    }
    for step in steps {
        run.step(step);
        prop_assume!(run.assumption_held);
    }
    run.end(is_drained)?;
    prop_assert!(run.busy, "idle with room");
    Ok(run.seen())
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn however_tasks_are_polled_and_dropped_nothing_is_over_the_quota_and_every_answer_is_true(
        settings in [settings(), settings()], budget in windows(), how in any::<(bool, bool)>(),
        steps in steps(false),
        offset in 0..3_000_000_000_i128,
    ) {
        let force = [settings[0].windows, settings[1].windows, budget];
        let seen = run(settings, budget, how, steps)?;
        for (windows, seen) in force.into_iter().zip(seen) {
            let arrivals: Vec<_> = seen.iter().map(|seen| (seen.arrived, seen.weight)).collect();
            for (limit, length) in limits(windows) {
                prop_assert_eq!(count_excess(&arrivals, Count::Log { limit, length }), 0);
                prop_assert_eq!(count_excess(&arrivals, Count::Days { limit, length, offset }), 0);
                prop_assert_eq!(count_excess(&arrivals, Count::Bucket { limit, length, burst: limit }), 0);
            }
        }
    }

    #[test]
    fn a_quota_that_changes_while_tasks_call_is_kept_as_it_is_in_force(
        settings in [settings(), settings()], budget in windows(), how in any::<(bool, bool)>(),
        steps in steps(true),
    ) {
        for seen in run(settings, budget, how, steps)? {
            prop_assert_eq!(count_excess_in_force(&seen), 0);
        }
    }
}

// ---- at full load -------------------------------------------------------------------------------

/// How many calls wait for their turn at any time.
const WAITING: usize = 12;

/// One lane in which calls of tasks and of threads wait all the time.
struct FullLoad {
    lanes: Stepped,
    rng: Rng,
    tasks_percent: u32,
    /// How many of the tasks are polled late. Those of urgent calls never are.
    late_percent: u32,
    /// How late the broker counts each call, whether its future is dropped or not.
    calls: Vec<u64>,
    tickets: Vec<(usize, Ticket<usize, Failure>)>,
    urgent: Vec<Urgent>,
    busy: bool,
}

/// An urgent call.
struct Urgent {
    call: usize,
    /// How many attempts had begun when it was submitted, and how many turns were offered to tasks that come late.
    sent_before: usize,
    offered: usize,
}

impl FullLoad {
    fn new(config: LaneConfig, (tasks_percent, late_percent): (u32, u32), seed: u64) -> Self {
        Self {
            lanes: Stepped::new(&[config], &[]),
            rng: Rng::with_seed(seed),
            tasks_percent,
            late_percent,
            calls: Vec::new(),
            tickets: Vec::new(),
            urgent: Vec::new(),
            busy: true,
        }
    }

    fn status(&self) -> LaneStatus {
        self.lanes.lane(0).status()
    }

    fn is_one_of(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    /// Makes a call from a thread or from a task.
    fn call(&mut self, spec: CallSpec, number: u8) {
        let (forward, back) = (self.rng.u64(0..LEAST), self.rng.u64(0..LEAST));
        let takes = Duration::from_nanos(2 * LEAST + forward + back);
        let course = [Course::answered_after(takes)];
        let options = priority(number);
        let call = self.calls.len();
        self.calls.push(LEAST + forward);
        if self.is_one_of(self.tasks_percent) {
            let is_late = spec.priority != 1 && self.is_one_of(self.late_percent);
            let late = if is_late { self.rng.u64(1..=400) } else { 0 };
            self.lanes.run_task(spec, &options, &course, ms(late));
        } else {
            let door = [Door::Owner, Door::Named, Door::Turn][self.rng.usize(0..3)];
            let ticket = self.lanes.submit_repeatable(door, spec, &options, &course);
            self.tickets.push((call, ticket));
        }
    }

    /// Makes as many calls as there may wait.
    fn refill(&mut self) {
        while self.status().queued < WAITING {
            let (spec, number) = (if self.rng.bool() { READ } else { WRITE }, self.rng.u8(4..=10));
            self.call(spec, number);
        }
        let status = self.status();
        self.busy &= !(has_room(&status, 1) && status.queued > self.woken());
    }

    /// Returns how many tasks were woken and not polled since.
    fn woken(&self) -> usize {
        self.lanes.tasks().filter(|task| task.is_woken).count()
    }

    /// Makes an urgent call.
    fn call_urgently(&mut self) {
        let under_way = self.lanes.under_way().count();
        let offered = (self.status().in_flight as usize).saturating_sub(under_way);
        let (call, sent_before) = (self.calls.len(), self.lanes.sent.len());
        self.urgent.push(Urgent { call, sent_before, offered });
        let spec = if self.rng.bool() { READ } else { WRITE };
        self.call(CallSpec { priority: 1, ..spec }, 1);
    }

    /// Drops a future that has not ended and whose attempt has begun, or has not.
    fn drop_one(&mut self, under_way: bool) {
        let is_urgent = |call: usize| self.urgent.iter().any(|urgent| urgent.call == call);
        let meant = self.lanes.tasks().filter(|task| task.is_under_way == under_way);
        let meant: Vec<usize> =
            meant.map(|task| task.call).filter(|call| !is_urgent(*call)).collect();
        if !meant.is_empty() {
            let call = meant[self.rng.usize(0..meant.len())];
            let dropped = self.lanes.drop_task(call);
            assert_eq!(dropped == DroppedTask::InFlight, under_way);
        }
    }

    /// Advances time to the next event.
    fn pass(&mut self) {
        let soon = self.lanes.now() + 100_000_000;
        let next = self.lanes.next_moment().map_or(soon, |next| next.min(soon));
        self.lanes.move_to(next);
    }

    /// Lets all calls come to their ends, and checks that each was answered.
    fn end(&mut self) {
        self.lanes.hurry_tasks();
        let end = self.lanes.now() + 600_000_000_000;
        while self.lanes.now() < end && self.status().queued + self.status().in_flight as usize > 0
        {
            self.pass();
        }
        assert_eq!(self.lanes.tasks().count(), 0, "tasks without an answer");
        for (call, ticket) in &mut self.tickets {
            assert_eq!(ticket.try_wait(), Some(Ok(*call)));
        }
        assert!(self.lanes.answers.iter().all(|(call, answer)| *answer == Ok(*call)));
    }

    /// Returns when the broker counted each call.
    fn arrivals(&self) -> Vec<(u64, u64)> {
        let arrival = |sending: &Sending| (sending.at + self.calls[sending.call], 1);
        self.lanes.sent.iter().map(arrival).collect()
    }

    /// Returns the calls that passed an urgent one, and were not begun or offered when it came.
    fn passed(&self) -> Vec<(usize, usize)> {
        let is_urgent = |call: usize| self.urgent.iter().any(|urgent| urgent.call == call);
        let passed = self.urgent.iter().filter_map(|urgent| {
            let sent = &self.lanes.sent[urgent.sent_before..];
            let own = sent.iter().find(|sending| sending.call == urgent.call);
            // Of two that go at the same moment the later dispatched may begin first: a task has to be polled by its executor.
            let is_before = |sending: &&Sending| own.is_none_or(|own| sending.at < own.at);
            let others = sent.iter().filter(is_before).filter(|it| !is_urgent(it.call)).count();
            (others > urgent.offered).then_some((urgent.call, others))
        });
        passed.collect()
    }
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn at_full_load_an_urgent_call_of_a_task_or_a_thread_is_the_next(
        windows in windows(), in_flight in 1..=4_usize, tasks in 0..=100_u32,
        late in prop_oneof![Just(0), 1..=50_u32], seed in any::<u64>(),
    ) {
        // Without the credit: round trips that become shorter later are against its assumption.
        let config = LaneConfig::new(quota(windows)).in_flight(in_flight).queue(100);
        let mut load = FullLoad::new(config.credit(RttCredit::STRICT), (tasks, late), seed);
        for _ in 0..80 {
            load.refill();
            match load.rng.u32(0..10) {
                0 | 1 => load.call_urgently(),
                2 => load.drop_one(false),
                3 => load.drop_one(true),
                _ => {}
            }
            load.pass();
        }
        load.end();
        prop_assert!(load.busy, "idle with room");
        prop_assert_eq!(load.passed(), []);
        for (limit, length) in limits(windows) {
            prop_assert_eq!(count_excess(&load.arrivals(), Count::Log { limit, length }), 0);
        }
    }
}

#[test]
fn at_full_load_tasks_use_98_percent_of_what_a_safe_client_can() {
    const LIMIT: u64 = 10;
    const SECOND: u64 = 1_000_000_000;
    let (from, to) = (10 * SECOND, 40 * SECOND);
    // The mean round trip is 20 ms above the minimum.
    let bound = 1.0 / (1.0 + 0.020);
    for tasks_percent in [0, 50, 100] {
        let config = LaneConfig::new(Quota::per_second(LIMIT as u32)).in_flight(6).queue(100);
        let mut load = FullLoad::new(config, (tasks_percent, 0), 7);
        let begin = load.lanes.now();
        while load.lanes.now() < begin + to {
            load.refill();
            if load.is_one_of(20) {
                load.drop_one(false);
            }
            load.pass();
        }
        load.end();
        let arrivals = load.arrivals();
        let count = Count::Log { limit: LIMIT, length: SECOND };
        assert_eq!(count_excess(&arrivals, count), 0);
        let within = begin + from..begin + to;
        let calls = arrivals.iter().filter(|(at, _)| within.contains(at)).count();
        let used = calls as f64 / (LIMIT * (to - from) / SECOND) as f64;
        println!(
            "{tasks_percent} % tasks: {:.1} % used, {:.1} % of the bound",
            100.0 * used,
            100.0 * used / bound
        );
        assert!(load.busy, "idle with room");
        assert!(used >= 0.98 * bound, "{tasks_percent} % tasks: used {used}, bound {bound}");
    }
}
