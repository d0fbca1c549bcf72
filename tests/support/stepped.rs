//! Lanes with real threads, one step at a time.
//!
//! The threads of a lane run until all of them sleep. Only then does the test do the next thing: submit or cancel a
//! call, advance time, give an answer. So events happen in a known order, the same each time, and a property that
//! fails shrinks.
//!
//! The operating system reports which threads sleep, so this is for Linux only. A thread that sleeps at two
//! readings and was not switched in between slept all the time. If all of them sleep at once, no thread is left to
//! wake any.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{CallOptions, Lane, LaneConfig, LaneError, Priority, Shutdown, Ticket};
use lanekeeper::proxy::{CallSpec, Classify, LaneCall, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits};
use lanekeeper::{Effect, ErrorClass, Session};

use super::notes::EventLog;

/// The answer of a call in these tests: its number, or how it failed.
pub type Answer = Result<usize, Failure>;

#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// It never left.
    NotSent,
    /// It left, and no answer came.
    Lost,
    /// The broker's failure.
    Broker(lanekeeper::Failure),
    Lane(LaneError),
}

impl From<LaneError> for Failure {
    fn from(error: LaneError) -> Self {
        Self::Lane(error)
    }
}

/// A loss is not classified elsewhere, and then is what the lane assumes.
impl Classify for Failure {
    fn class(&self) -> ErrorClass {
        Self::class(self).unwrap_or(ErrorClass::Unknown)
    }

    fn failure(&self) -> lanekeeper::Failure {
        self.classify().unwrap_or(ErrorClass::Unknown.into())
    }
}

impl Failure {
    pub fn class(&self) -> Option<ErrorClass> {
        self.classify().map(|failure| failure.class)
    }

    /// Returns the failure as the lane gets it.
    pub fn classify(&self) -> Option<lanekeeper::Failure> {
        match self {
            Self::NotSent => Some(ErrorClass::NotSent.into()),
            Self::Lost => None,
            Self::Broker(failure) => Some(*failure),
            Self::Lane(error) => Some(error.class().into()),
        }
    }
}

/// The course of a call once it is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Course {
    pub takes: Duration,
    pub ends: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Answered,
    NeverLeft,
    /// The adapter refuses the call before anything is tried.
    Local,
    Lost,
    Fails(lanekeeper::Failure),
}

impl Course {
    /// What the call with this number comes to.
    fn answer(self, number: usize) -> Answer {
        match self.ends {
            End::Answered => Ok(number),
            End::NeverLeft => Err(Failure::NotSent),
            End::Local => Err(Failure::Broker(lanekeeper::Failure::local())),
            End::Lost => Err(Failure::Lost),
            End::Fails(failure) => Err(Failure::Broker(failure)),
        }
    }

    pub const INSTANT: Self = Self { takes: Duration::ZERO, ends: End::Answered };

    pub const fn answered_after(takes: Duration) -> Self {
        Self { takes, ends: End::Answered }
    }

    /// The broker's answer comes at once, and is this failure.
    pub fn fails(failure: impl Into<lanekeeper::Failure>) -> Self {
        Self { takes: Duration::ZERO, ends: End::Fails(failure.into()) }
    }
}

/// A call that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    pub call: usize,
    /// In nanoseconds.
    pub at: u64,
    /// Which step it was sent in.
    pub step: usize,
}

/// A call that a worker has begun, and how to release it.
struct Begun {
    call: usize,
    at: u64,
    go: Sender<()>,
}

/// The way in which a call reaches the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Through the proxy that started the lanes.
    Owner,
    /// Through a proxy that was attached to them, whose lanes and budgets are in the reverse order.
    Attached,
    /// As a closure, by the names of its lane and budgets.
    Named,
    /// Like that, but its caller makes the call if the lane is idle.
    Turn,
}

impl Door {
    /// Those whose calls workers make.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Attached, Self::Named];
    pub const EVERY: [Self; 4] = [Self::Owner, Self::Attached, Self::Named, Self::Turn];
}

pub struct Stepped {
    pub lanes: Lanes,
    /// A proxy that shares the lanes, once there is one.
    pub attached: Option<Lanes>,
    pub clock: ManualClock,
    pub event_log: Arc<EventLog>,
    /// Everything that was sent, in order if one call at a time is in flight.
    pub sent: Vec<Sending>,
    names: &'static [&'static str],
    budget_names: &'static [&'static str],
    threads: Vec<PathBuf>,
    step: usize,
    courses: Vec<Course>,
    begin: Sender<Begun>,
    begun: Receiver<Begun>,
    under_way: BinaryHeap<Reverse<(u64, usize)>>,
    gates: Vec<(usize, Sender<()>)>,
    /// The calls that this test makes itself, by their turns.
    turns: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    /// How many calls were made by a turn.
    pub own_calls: usize,
}

/// Distinguishes the threads of one test from those of another.
static LANES: AtomicUsize = AtomicUsize::new(0);

impl Stepped {
    pub fn new(configs: &[LaneConfig], budgets: &[Budget]) -> Self {
        const BUDGETS: &[&str] = &["one", "two", "three"];
        let leak = |name: String| -> &'static str { Box::leak(name.into_boxed_str()) };
        let names =
            configs.iter().map(|_| leak(format!("{}", LANES.fetch_add(1, Ordering::SeqCst))));
        let names: &'static [&'static str] =
            Box::leak(names.collect::<Vec<_>>().into_boxed_slice());
        let clock = ManualClock::new();
        let event_log = Arc::new(EventLog::default());
        let mut builder = LanesBuilder::new("Test", names, &BUDGETS[..budgets.len()]);
        for (index, config) in configs.iter().enumerate() {
            builder.lane(index, config.clone());
        }
        for (index, budget) in budgets.iter().enumerate() {
            builder.budget(index, budget.clone());
        }
        builder.clock(clock.clone().into());
        builder.session(Session::new());
        builder.observer(event_log.clone());
        let lanes = builder.build(Limits::new()).unwrap();
        let threads = threads_of(&lanes);
        let (begin, begun) = mpsc::channel();
        let stepped = Self {
            lanes,
            attached: None,
            clock,
            event_log,
            sent: Vec::new(),
            names,
            budget_names: &BUDGETS[..budgets.len()],
            threads,
            step: 0,
            courses: Vec::new(),
            begin,
            begun,
            under_way: BinaryHeap::new(),
            gates: Vec::new(),
            turns: Vec::new(),
            own_calls: 0,
        };
        stepped.settle();
        stepped
    }

    /// Builds a second proxy over the lanes, with its lanes and budgets in the reverse order.
    pub fn attach(&mut self) -> &Lanes {
        let reversed = |names: &'static [&'static str]| -> &'static [&'static str] {
            names.iter().rev().copied().collect::<Vec<_>>().leak()
        };
        let mut builder =
            LanesBuilder::new("Attached", reversed(self.names), reversed(self.budget_names));
        builder.lanes_of(self.lanes.clone());
        self.attached.insert(builder.build(Limits::new()).unwrap())
    }

    pub fn lane(&self, index: usize) -> &Lane {
        self.lanes.lane(self.names[index]).unwrap()
    }

    pub fn now(&self) -> u64 {
        self.clock.now().as_nanos()
    }

    /// Queues a call, and lets the lanes process it. Calls count from zero.
    pub fn submit(
        &mut self,
        call: CallSpec,
        options: &CallOptions,
        course: Course,
    ) -> Ticket<usize, Failure> {
        self.submit_by(Door::Owner, call, options, course)
    }

    /// Queues a call like `submit`, through one of the doors.
    pub fn submit_by(
        &mut self,
        door: Door,
        call: CallSpec,
        options: &CallOptions,
        course: Course,
    ) -> Ticket<usize, Failure> {
        let number = self.courses.len();
        self.courses.push(course);
        let (begin, clock) = (self.begin.clone(), self.clock.clone());
        let work = move || {
            let (go, held) = mpsc::channel();
            let at = clock.now().as_nanos();
            let _ = begin.send(Begun { call: number, at, go });
            if !course.takes.is_zero() {
                let _ = held.recv();
            }
            course.answer(number)
        };
        let ticket = match door {
            Door::Owner => self.lanes.submit_spec(call, options, work, Failure::classify),
            Door::Attached => {
                let budgets = call.budgets.iter().map(|own| self.budget_names.len() - 1 - own);
                let budgets = budgets.collect::<Vec<_>>().leak();
                let call = CallSpec { lane: self.names.len() - 1 - call.lane, budgets, ..call };
                let attached = self.attached.as_ref().unwrap();
                attached.submit_spec(call, options, work, Failure::classify)
            }
            Door::Named | Door::Turn => {
                let lane = self.names[call.lane];
                let named = match call.effect {
                    Effect::Read => LaneCall::read(lane),
                    Effect::Write => LaneCall::write(lane),
                };
                let named = named.name(call.method).route_class(call.route).weight(call.weight);
                let named = named.priority(Priority::new(call.priority).unwrap());
                let named = if call.exit { named.exit() } else { named };
                let charge = |named: LaneCall, own: &usize| named.budget(self.budget_names[*own]);
                let named = call.budgets.iter().fold(named, charge);
                match door {
                    Door::Turn => self.submit_or_begin(number, &named, options, work),
                    _ => self.lanes.submit_once(&named, options, work),
                }
            }
        };
        self.run_until_idle();
        ticket
    }

    /// Queues a call, or begins it if it is its turn. The lanes must not retry it.
    fn submit_or_begin(
        &mut self,
        number: usize,
        call: &LaneCall,
        options: &CallOptions,
        work: impl FnMut() -> Answer + Send + 'static,
    ) -> Ticket<usize, Failure> {
        let (ticket, turn) = self.lanes.submit_or_begin(call, options, work);
        if let Some(turn) = turn {
            let (begin, clock) = (self.begin.clone(), self.clock.clone());
            let course = self.courses[number];
            let mut held = None;
            let call = poll_fn(move |_| {
                let held = held.get_or_insert_with(|| {
                    let (go, held) = mpsc::channel();
                    let at = clock.now().as_nanos();
                    let _ = begin.send(Begun { call: number, at, go });
                    held
                });
                match course.takes.is_zero() || held.try_recv().is_ok() {
                    true => Poll::Ready(course.answer(number)),
                    false => Poll::Pending,
                }
            });
            self.turns.push(Box::pin(turn.run(call)));
            self.own_calls += 1;
            self.poll_turns();
        }
        ticket
    }

    fn poll_turns(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        self.turns.retain_mut(|turn| turn.as_mut().poll(&mut context).is_pending());
    }

    /// Runs `does` on a thread of its own, which the test waits for like the others.
    pub fn beside<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Lanes) -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let (thread_tx, thread_rx) = mpsc::channel();
        let lanes = self.lanes.clone();
        let thread = thread::spawn(move || {
            thread_tx.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            work(&lanes)
        });
        self.threads.push(Path::new("/proc").join(thread_rx.recv().unwrap()).join("status"));
        self.run_until_idle();
        thread
    }

    /// Returns how many calls were submitted so far.
    pub fn submitted(&self) -> usize {
        self.courses.len()
    }

    /// Lets the lanes run until they are idle, and collects what they sent.
    pub fn run_until_idle(&mut self) {
        self.settle();
        self.step += 1;
        while let Ok(Begun { call, at, go }) = self.begun.try_recv() {
            self.sent.push(Sending { call, at, step: self.step });
            let takes = self.courses[call].takes.as_nanos() as u64;
            if takes > 0 {
                self.under_way.push(Reverse((at + takes, call)));
                self.gates.push((call, go));
            }
        }
    }

    /// Returns when the next answer comes.
    pub fn next_answer(&self) -> Option<u64> {
        self.under_way.peek().map(|Reverse((at, _))| *at)
    }

    /// Advances time to `moment`, and gives the answers that are due then. None may be due before.
    pub fn move_to(&mut self, moment: u64) {
        let by = moment.saturating_sub(self.now());
        self.clock.advance(Duration::from_nanos(by));
        while let Some(Reverse((_, call))) =
            self.under_way.peek().copied().filter(|Reverse((at, _))| *at <= moment)
        {
            self.under_way.pop();
            let index = self.gates.iter().position(|(held, _)| *held == call).unwrap();
            let _ = self.gates.swap_remove(index).1.send(());
            self.poll_turns();
            self.run_until_idle();
        }
        self.run_until_idle();
    }

    /// Returns when something may happen next, as far as can be seen from outside: an answer, or a window with
    /// capacity again.
    pub fn next_moment(&self) -> Option<u64> {
        let now = self.now();
        let status = self.lanes.status();
        let lanes = status.lanes.iter().flat_map(|lane| &lane.windows);
        let windows = lanes.chain(status.budgets.iter().flat_map(|budget| &budget.windows));
        let free = windows.flat_map(|window| [window.next_free, window.resets]).flatten();
        let free = free.filter(|wait| !wait.is_zero()).map(|wait| now + wait.as_nanos() as u64);
        free.chain(self.next_answer()).min()
    }

    /// Advances time, from one possible event to the next, until `end`.
    pub fn run_to(&mut self, end: u64) {
        while self.now() < end {
            let next = self.next_moment().map_or(end, |next| next.min(end));
            self.move_to(next.max(self.now() + 1));
        }
    }

    /// Advances time until `ticket` is answered, or for an hour.
    pub fn run_until_answered(&mut self, ticket: &mut Ticket<usize, Failure>) -> Option<Answer> {
        let end = self.now() + 3_600_000_000_000;
        loop {
            if let Some(answer) = ticket.try_wait() {
                return Some(answer);
            }
            let next = self.next_moment().filter(|next| *next < end)?;
            self.move_to(next);
        }
    }

    /// Returns when the call was sent.
    pub fn sent_at(&self, call: usize) -> Option<u64> {
        self.sent.iter().find(|sending| sending.call == call).map(|sending| sending.at)
    }

    /// Returns when every thread of the lanes sleeps, and none is about to wake another.
    fn settle(&self) {
        let mut before = None;
        loop {
            let switches: Option<Vec<u64>> = self.threads.iter().map(asleep).collect();
            if switches.is_some() && switches == before {
                return;
            }
            if switches.is_none() {
                thread::yield_now();
            }
            before = switches;
        }
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        // The lanes wait for calls in flight, so there must be none, and none may begin.
        self.lanes.shutdown(Shutdown::Now);
        if let Some(attached) = &self.attached {
            attached.shutdown(Shutdown::Now);
        }
        self.run_until_idle();
        self.gates.clear();
        self.turns.clear();
    }
}

/// Returns the threads of the lanes, once all of them have their names.
fn threads_of(lanes: &Lanes) -> Vec<PathBuf> {
    let status = lanes.status();
    let of_lane = |name: &str, count: usize| loop {
        let prefix = format!("lane-{name}-");
        let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let named = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.starts_with(&prefix))
        };
        let found: Vec<PathBuf> = tasks.filter(named).collect();
        if found.len() == count {
            return found;
        }
        thread::yield_now();
    };
    let all = status
        .lanes
        .iter()
        .flat_map(|lane| of_lane(lane.lane, lane.max_in_flight + lane.urgent_workers + 1));
    all.map(|path| path.join("status")).collect()
}

/// Returns how often a sleeping thread has been switched away from, or `None` if it does not sleep. A thread that
/// has ended sleeps for good.
fn asleep(status: &PathBuf) -> Option<u64> {
    let Ok(status) = fs::read_to_string(status) else { return Some(u64::MAX) };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()
    };
    (field("State:") == Some("S")).then_some(())?;
    let number = |name: &str| field(name)?.parse::<u64>().ok();
    Some(number("voluntary_ctxt_switches:")? + number("nonvoluntary_ctxt_switches:")?)
}
