//! Promises 1 and 3 through the lanes: two of them and a shared budget, with everything that may happen to a call
//! mixed in, and an exact count of what the broker saw. The calls come by turns through the proxy that started the
//! lanes, through one that shares them, as closures by the names of lane and budget, and as calls that their caller makes
//! where a lane is idle.
//!
//! The lanes have real threads, but go one step at a time: see `support/stepped.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lanekeeper::lane::{
    LaneConfig, LaneError, LaneErrorKind, LaneState, OpenBreakerPolicy, OverflowPolicy, Shutdown,
    Ticket,
};
use lanekeeper::proxy::CallSpec;
use lanekeeper::quota::{Budget, Quota, RttCredit};
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::{ErrorClass, Sent};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use support::cases::cases;
use support::lanes::{READ, WRITE, ms, priority};
use support::notes::Event;
use support::oracle::{Count, CountedCall, count_excess, count_excess_in_force};
use support::stepped::{Answer, Course, Door, End, Failure, Stepped};

/// The minimum time of the way there, and of the way back, in nanoseconds.
const LEAST: u64 = 20_000_000;
const HEAVIEST: u32 = 3;
const USERS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Submit(Submit),
    /// Cancels, drops or awaits one of the tickets that the test holds.
    Cancel(usize),
    Drop(usize),
    Await(usize),
    Pass(u64),
    Pause(usize),
    Resume(usize),
    SetQuota(usize, Windows),
    SetBudget(Windows),
}

#[derive(Debug, Clone)]
struct Submit {
    lane: usize,
    costs_budget: bool,
    read: bool,
    weight: u32,
    priority: u8,
    user: usize,
    deadline: Option<u64>,
    /// The time beyond the minimum of the way there and of the way back, in milliseconds.
    forward: u64,
    back: u64,
    end: End,
}

/// Limits of 200 ms, of 1 s and of 3 s. The last is always there, so that no change makes a lane retain more than
/// before.
type Windows = (Option<u32>, Option<u32>, u32);

#[derive(Debug, Clone)]
struct Setting {
    windows: Windows,
    in_flight: usize,
    queue: usize,
    shed: bool,
    aging: Option<u32>,
    interval: u64,
    strict: bool,
}

fn windows() -> impl Strategy<Value = Windows> {
    let limit = || HEAVIEST..=8_u32;
    (prop::option::of(limit()), prop::option::of(limit()), HEAVIEST..=16_u32)
}

fn settings() -> impl Strategy<Value = Setting> {
    let aging = prop::option::of(1..=10_u32);
    let interval = prop_oneof![3 => Just(0), 1 => 50..=500_u64];
    (windows(), 1..=4_usize, 3..=30_usize, any::<bool>(), aging, interval, any::<bool>()).prop_map(
        |(windows, in_flight, queue, shed, aging, interval, strict)| Setting {
            windows,
            in_flight,
            queue,
            shed,
            aging,
            interval,
            strict,
        },
    )
}

fn submits() -> impl Strategy<Value = Submit> {
    let deadline = prop_oneof![2 => Just(None), 1 => (1..=3_000_u64).prop_map(Some)];
    let extra = || prop_oneof![1 => Just(0), 2 => 0..=60_u64];
    let end = prop_oneof![8 => Just(End::Answered), 1 => Just(End::NeverLeft), 1 => Just(End::Lost), 2 => Just(End::Local)];
    (
        (0..2_usize, any::<bool>(), any::<bool>(), 1..=HEAVIEST, 1..=10_u8, 0..3_usize),
        (deadline, extra(), extra(), end),
    )
        .prop_map(
            |(
                (lane, costs_budget, read, weight, priority, user),
                (deadline, forward, back, end),
            )| {
                Submit {
                    lane,
                    costs_budget,
                    read,
                    weight,
                    priority,
                    user,
                    deadline,
                    forward,
                    back,
                    end,
                }
            },
        )
}

fn steps(changes: bool) -> impl Strategy<Value = Vec<Step>> {
    let rare = if changes { 1 } else { 0 };
    let step = prop_oneof![
        24 => submits().prop_map(Step::Submit),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Drop),
        1 => any::<usize>().prop_map(Step::Await),
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

/// A call, and everything that became of it.
struct SubmittedCall {
    what: Submit,
    /// Its number in its lane.
    number: u64,
    ticket: Option<Ticket<usize, Failure>>,
    answer: Option<Answer>,
    /// Its caller was told that it had not been sent.
    cancelled: bool,
}

struct Run {
    lanes: Stepped,
    submitted: Vec<SubmittedCall>,
    numbers: [u64; 2],
    /// The windows in force in the lanes and in the budget.
    force: [Windows; 3],
    /// What the broker saw of each of them.
    seen: [Vec<CountedCall>; 3],
    collected: usize,
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
                // Closures that run once are not retried anyway.
                .retry(RetryPolicy::none())
                .queue(setting.queue)
                .when_full(if setting.shed { OverflowPolicy::Shed } else { OverflowPolicy::Refuse })
                .aging(setting.aging)
                .user_interval(ms(setting.interval))
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
            seen: Default::default(),
            collected: 0,
            assumption_held: true,
            busy: true,
        }
    }

    /// Makes as many calls as the lanes need to learn how long the way is.
    fn warm_up(&mut self) {
        for lane in [0, 1].repeat(20) {
            let (min, end) = (0, End::Answered);
            self.submit(Submit {
                lane,
                costs_budget: false,
                read: false,
                weight: 1,
                priority: 5,
                user: lane,
                deadline: None,
                forward: min,
                back: min,
                end,
            });
            while self.lanes.lane(lane).queued() > 0 {
                let next = self.lanes.next_moment();
                // A user's interval is no window.
                let next = next.unwrap_or(self.lanes.now() + 10_000_000);
                self.lanes.move_to(next);
            }
            self.collect();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit(what) => self.submit(what),
            Step::Cancel(which) => {
                if let Some(submitted) = self.in_hand(which) {
                    submitted.cancelled = submitted.ticket.as_ref().unwrap().cancel();
                }
            }
            Step::Drop(which) => {
                if let Some(submitted) = self.in_hand(which) {
                    submitted.ticket = None;
                }
            }
            Step::Await(which) => self.wait_too_long(which),
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
        let takes = Duration::from_nanos(2 * LEAST) + ms(what.forward + what.back);
        // By turns, so that each way in has every kind of call.
        let door = Door::EVERY[self.submitted.len() % Door::EVERY.len()];
        let course = Course { takes, ends: what.end };
        let ticket = self.lanes.submit_by(door, call, &options, course);
        let number = self.numbers[what.lane];
        self.numbers[what.lane] += 1;
        let ticket = Some(ticket);
        self.submitted.push(SubmittedCall { what, number, ticket, answer: None, cancelled: false });
    }

    /// Returns one of the calls whose ticket the test holds and which has no answer yet.
    fn in_hand(&mut self, which: usize) -> Option<&mut SubmittedCall> {
        let open = |submitted: &&mut SubmittedCall| {
            submitted.ticket.is_some() && submitted.answer.is_none() && !submitted.cancelled
        };
        let count = self.submitted.iter_mut().filter(open).count();
        self.submitted.iter_mut().filter(open).nth(which.checked_rem(count)?)
    }

    /// Waits for a call whose deadline has passed: it is in flight, or has just ended.
    fn wait_too_long(&mut self, which: usize) {
        let now = self.lanes.now();
        let sent: Vec<Option<u64>> =
            (0..self.submitted.len()).map(|call| self.lanes.sent_at(call)).collect();
        let index = (0..self.submitted.len()).filter(|&call| {
            let (submitted, sent) = (&self.submitted[call], sent[call]);
            let deadline = submitted.what.deadline.map(|deadline| deadline * 1_000_000);
            // It was submitted before it was sent.
            let passed = sent.zip(deadline).is_some_and(|(sent, deadline)| sent + deadline <= now);
            passed && submitted.ticket.is_some() && submitted.answer.is_none()
        });
        let all: Vec<usize> = index.collect();
        if let Some(place) = which.checked_rem(all.len()) {
            let submitted = &mut self.submitted[all[place]];
            submitted.answer = Some(submitted.ticket.take().unwrap().wait());
        }
    }

    /// Reads what was sent and what was answered, and checks that no lane is idle that need not be.
    fn collect(&mut self) {
        for sending in &self.lanes.sent[self.collected..] {
            let what = &self.submitted[sending.call].what;
            let forward = LEAST + what.forward * 1_000_000;
            let takes = 2 * LEAST + (what.forward + what.back) * 1_000_000;
            let arrived = match what.end {
                End::Answered => sending.at + forward,
                // It may arrive as late as its slots are held for it.
                End::Lost => sending.at + LEAST + (2 * takes - LEAST) * what.forward / 61,
                End::NeverLeft | End::Local | End::Fails(_) => continue,
            };
            let counted_in = [Some(what.lane), what.costs_budget.then_some(2)];
            for index in counted_in.into_iter().flatten() {
                let windows = limits(self.force[index]);
                let (step, weight) = (sending.step, what.weight.into());
                self.seen[index].push(CountedCall { step, arrived, weight, windows });
            }
        }
        self.collected = self.lanes.sent.len();
        for submitted in &mut self.submitted {
            match submitted.ticket.as_mut().and_then(Ticket::try_wait) {
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
        let room = |windows: &[lanekeeper::lane::WindowStatus]| {
            windows.iter().all(|window| window.left >= HEAVIEST)
        };
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
            let may_send = lane.state == LaneState::Running
                && is_as_it_says
                && (lane.in_flight as usize) < lane.max_in_flight
                && room(&lane.windows)
                && room(&status.budgets[0].windows);
            self.busy &= !(may_send && lane.queued > 0);
        }
    }

    /// Lets everything come to its end, and checks every caller's answer.
    fn end(&mut self) -> Result<(), TestCaseError> {
        let end = self.lanes.now() + 500_000_000;
        self.lanes.run_to(end);
        self.collect();
        self.lanes.lanes.shutdown(Shutdown::Now);
        self.lanes.attached.as_ref().unwrap().shutdown(Shutdown::Now);
        // Between the two, calls of the second proxy may have been sent in place of those of the first.
        self.lanes.run_until_idle();
        while let Some(next) = self.lanes.next_answer() {
            self.lanes.move_to(next);
        }
        self.collect();
        for (call, submitted) in self.submitted.iter().enumerate() {
            self.check(call, submitted)?;
        }
        Ok(())
    }

    fn check(&self, call: usize, submitted: &SubmittedCall) -> Result<(), TestCaseError> {
        let times = self.lanes.sent.iter().filter(|sending| sending.call == call).count();
        prop_assert!(times <= 1, "sent {times} times");
        let was_sent = match &submitted.answer {
            _ if submitted.cancelled => Some(Sent::No),
            Some(Ok(number)) => {
                prop_assert_eq!(*number, call, "the answer of another");
                Some(Sent::Yes)
            }
            // It did not leave, but it was executed.
            Some(Err(Failure::NotSent | Failure::Broker(_))) => Some(Sent::Yes),
            Some(Err(failure)) => Some(failure.class().map_or(Sent::Unknown, ErrorClass::was_sent)),
            None => None,
        };
        match was_sent {
            Some(Sent::No) => prop_assert_eq!(times, 0, "{:?} and sent", submitted.answer),
            Some(Sent::Yes | Sent::Unknown) => prop_assert_eq!(times, 1),
            None => prop_assert!(submitted.ticket.is_none(), "no answer to {:?}", submitted.what),
        }
        if let Some(Err(Failure::Lane(LaneError { kind: reason, .. }))) = &submitted.answer {
            let is_wrong =
                matches!(reason, LaneErrorKind::AlreadyTaken | LaneErrorKind::Panicked { .. });
            prop_assert!(!is_wrong, "{reason}");
        }
        self.check_events(submitted, times == 1)
    }

    /// Checks that the observer got the events in order, with one end, and a late answer if no caller took it.
    fn check_events(&self, submitted: &SubmittedCall, sent: bool) -> Result<(), TestCaseError> {
        use Event::{Cancelled, Dispatched, Expired, Finished, Late, Refused, Submitted};
        let name = self.lanes.lane(submitted.what.lane).name();
        let events = self.lanes.event_log.of(name, submitted.number);
        let unheard = submitted.ticket.is_none()
            && matches!(submitted.answer, None | Some(Err(Failure::Lane(_))));
        let expected = match (sent, unheard) {
            (true, true) => vec![Submitted, Dispatched, Finished, Late],
            (true, false) => vec![Submitted, Dispatched, Finished],
            (false, _) => {
                let last = events.last().copied();
                prop_assert!(matches!(last, Some(Cancelled | Expired | Refused)), "{events:?}");
                // If it was refused at admission, it was never submitted.
                let came_in = events.len() == 2;
                let first = came_in.then_some(Submitted);
                first.into_iter().chain(last).collect()
            }
        };
        prop_assert_eq!(events, expected, "{:?}", submitted.answer);
        Ok(())
    }
}

fn run(
    settings: [Setting; 2],
    budget: Windows,
    warm: bool,
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
    run.end()?;
    // Only a user's interval may keep a lane idle.
    prop_assert!(run.busy || settings.iter().any(|setting| setting.interval > 0), "idle with room");
    Ok(run.seen)
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn however_the_broker_counts_nothing_is_over_the_quota_and_every_answer_is_true(
        settings in [settings(), settings()], budget in windows(), warm in any::<bool>(),
        steps in steps(false),
        offset in 0..3_000_000_000_i128,
    ) {
        let force = [settings[0].windows, settings[1].windows, budget];
        let seen = run(settings, budget, warm, steps)?;
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
    fn a_quota_that_changes_while_calls_go_is_kept_as_it_is_in_force(
        settings in [settings(), settings()], budget in windows(), warm in any::<bool>(),
        steps in steps(true),
    ) {
        for seen in run(settings, budget, warm, steps)? {
            prop_assert_eq!(count_excess_in_force(&seen), 0);
        }
    }
}
