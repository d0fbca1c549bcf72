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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
use super::tasks::Task;

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

/// An attempt that has begun, and how to release it.
struct Begun {
    call: usize,
    at: u64,
    takes: Duration,
    go: Sender<()>,
}

/// What makes the attempts of a call, one after the other, on a worker or on a task of the test.
#[derive(Clone)]
struct Attempts {
    call: usize,
    /// Of the first attempt, the second, and so on. Those after the last have its course.
    courses: Arc<[Course]>,
    made: Arc<AtomicUsize>,
    /// A future of an attempt has begun, and has not ended.
    is_future_begun: Arc<AtomicBool>,
    begin: Sender<Begun>,
    clock: ManualClock,
}

impl Attempts {
    /// Begins the next attempt. The receiver is told when it is over.
    fn begin(&self) -> (Course, Receiver<()>) {
        let course = course_of(&self.courses, self.made.fetch_add(1, Ordering::SeqCst));
        let (go, held) = mpsc::channel();
        let (call, at, takes) = (self.call, self.clock.now().as_nanos(), course.takes);
        let _ = self.begin.send(Begun { call, at, takes, go });
        (course, held)
    }

    /// Makes the next attempt on this thread, which is blocked meanwhile.
    fn block(&self) -> Answer {
        let (course, held) = self.begin();
        if !course.takes.is_zero() {
            let _ = held.recv();
        }
        course.answer(self.call)
    }

    /// Makes the next attempt as a future, which begins when it is first polled.
    fn future(&self) -> impl Future<Output = Answer> + use<> {
        let (attempts, mut begun) = (self.clone(), None);
        poll_fn(move |_| {
            let (course, held) = begun.get_or_insert_with(|| attempts.begin());
            let is_over = course.takes.is_zero() || held.try_recv().is_ok();
            attempts.is_future_begun.store(!is_over, Ordering::SeqCst);
            if is_over { Poll::Ready(course.answer(attempts.call)) } else { Poll::Pending }
        })
    }
}

fn course_of(courses: &[Course], attempt: usize) -> Course {
    courses[attempt.min(courses.len() - 1)]
}

/// A task that makes one call, and the executor that polls it.
struct CallingTask {
    call: usize,
    task: Task<Answer>,
    is_under_way: Arc<AtomicBool>,
    /// How long after it was woken it is polled, in nanoseconds.
    late: u64,
    /// When it is polled, if it was woken.
    polled_at: Option<u64>,
    woken_at: u64,
    /// How often it was polled.
    polls: u32,
}

impl CallingTask {
    /// Returns until when it may be offered a turn, if it was woken by that. Each poll but the first and the last may have
    /// come too late for a turn, and the next one is offered for twice as long.
    fn offered_until(&self) -> u64 {
        self.woken_at + (100_000_000 << (self.polls - 1).min(6))
    }
}

/// The state of a task that has not ended.
#[derive(Debug, Clone, Copy)]
pub struct TaskState {
    pub call: usize,
    /// It was woken, and is not polled yet.
    pub is_woken: bool,
    pub is_under_way: bool,
    /// It may have a turn that it has not taken.
    pub may_be_offered: bool,
}

/// What became of a task that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DroppedTask {
    /// No attempt was under way.
    Waiting,
    InFlight,
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
    courses: Vec<Arc<[Course]>>,
    begin: Sender<Begun>,
    begun: Receiver<Begun>,
    under_way: BinaryHeap<Reverse<(u64, usize)>>,
    gates: Vec<(usize, Sender<()>)>,
    /// The calls that this test makes itself, by their turns.
    turns: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    /// How many calls were made by a turn.
    pub own_calls: usize,
    /// The tasks of `run_task` that have not ended. Sorted by their calls.
    tasks: Vec<CallingTask>,
    /// What the tasks that ended were answered.
    pub answers: Vec<(usize, Answer)>,
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
            tasks: Vec::new(),
            answers: Vec::new(),
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
        self.enqueue(door, call, options, &[course], false)
    }

    /// Queues a call like `submit_by`, which the lanes may retry: its attempts have the courses of `courses` in turn.
    pub fn submit_repeatable(
        &mut self,
        door: Door,
        call: CallSpec,
        options: &CallOptions,
        courses: &[Course],
    ) -> Ticket<usize, Failure> {
        self.enqueue(door, call, options, courses, true)
    }

    fn enqueue(
        &mut self,
        door: Door,
        call: CallSpec,
        options: &CallOptions,
        courses: &[Course],
        is_repeatable: bool,
    ) -> Ticket<usize, Failure> {
        let attempts = self.new_call(courses);
        let own = attempts.clone();
        let work = move || attempts.block();
        let ticket = match door {
            Door::Owner | Door::Attached => {
                let (lanes, call) = self.seen_from(door, call);
                let classify = Failure::classify;
                match is_repeatable {
                    true => lanes.submit_spec_repeatable(call, options, work, classify),
                    false => lanes.submit_spec(call, options, work, classify),
                }
            }
            Door::Named if is_repeatable => self.lanes.submit(&self.named(call), options, work),
            Door::Named => self.lanes.submit_once(&self.named(call), options, work),
            // A worker makes what is retried.
            Door::Turn => self.submit_or_begin(&own, &self.named(call), options, work),
        };
        self.run_until_idle();
        ticket
    }

    fn new_call(&mut self, courses: &[Course]) -> Attempts {
        let (call, courses): (_, Arc<[Course]>) = (self.courses.len(), courses.into());
        self.courses.push(Arc::clone(&courses));
        let (begin, clock) = (self.begin.clone(), self.clock.clone());
        let (made, is_future_begun) = (Arc::default(), Arc::default());
        Attempts { call, courses, made, is_future_begun, begin, clock }
    }

    /// Returns a proxy, and a call of the owner's as that proxy names it.
    fn seen_from(&self, door: Door, call: CallSpec) -> (&Lanes, CallSpec) {
        if door == Door::Owner {
            return (&self.lanes, call);
        }
        let budgets = call.budgets.iter().map(|own| self.budget_names.len() - 1 - own);
        let budgets = budgets.collect::<Vec<_>>().leak();
        let call = CallSpec { lane: self.names.len() - 1 - call.lane, budgets, ..call };
        (self.attached.as_ref().unwrap(), call)
    }

    /// Returns a call by the names of its lane and budgets.
    fn named(&self, call: CallSpec) -> LaneCall {
        let lane = self.names[call.lane];
        let named = match call.effect {
            Effect::Read => LaneCall::read(lane),
            Effect::Write => LaneCall::write(lane),
        };
        let named = named.name(call.method).route_class(call.route).weight(call.weight);
        let named = named.priority(Priority::new(call.priority).unwrap());
        let named = if call.exit { named.exit() } else { named };
        let charge = |named: LaneCall, own: &usize| named.budget(self.budget_names[*own]);
        call.budgets.iter().fold(named, charge)
    }

    /// Queues a call, or begins it if it is its turn.
    fn submit_or_begin(
        &mut self,
        attempts: &Attempts,
        call: &LaneCall,
        options: &CallOptions,
        work: impl FnMut() -> Answer + Send + 'static,
    ) -> Ticket<usize, Failure> {
        let (ticket, turn) = self.lanes.submit_or_begin(call, options, work);
        if let Some(turn) = turn {
            self.turns.push(Box::pin(turn.run(attempts.future())));
            self.own_calls += 1;
            self.poll_turns();
        }
        ticket
    }

    /// Makes a call from a task, by `Lanes::run`. The task is polled at once, and then each time that it was woken, `late`
    /// after that. Returns the call.
    pub fn run_task(
        &mut self,
        call: CallSpec,
        options: &CallOptions,
        courses: &[Course],
        late: Duration,
    ) -> usize {
        let attempts = self.new_call(courses);
        let (call_number, is_under_way) = (attempts.call, Arc::clone(&attempts.is_future_begun));
        let (lanes, named, options) = (self.lanes.clone(), self.named(call), options.clone());
        let task = async move { lanes.run(&named, &options, || attempts.future()).await };
        let (task, late) = (Task::new(task), late.as_nanos() as u64);
        let (now, call) = (self.now(), call_number);
        let (polled_at, woken_at, polls) = (Some(now), now, 0);
        let calling = CallingTask { call, task, is_under_way, late, polled_at, woken_at, polls };
        self.tasks.push(calling);
        self.run_until_idle();
        call_number
    }

    /// Drops the task of a call, which has not ended.
    pub fn drop_task(&mut self, call: usize) -> DroppedTask {
        let index = self.tasks.iter().position(|calling| calling.call == call).unwrap();
        let calling = self.tasks.remove(index);
        let is_under_way = calling.is_under_way.load(Ordering::SeqCst);
        drop(calling);
        self.gates.retain(|(held, _)| *held != call);
        self.under_way.retain(|Reverse((_, other))| *other != call);
        self.run_until_idle();
        if is_under_way { DroppedTask::InFlight } else { DroppedTask::Waiting }
    }

    /// Returns the tasks that have not ended.
    pub fn tasks(&self) -> impl Iterator<Item = TaskState> {
        let now = self.now();
        self.tasks.iter().map(move |calling| {
            let is_under_way = calling.is_under_way.load(Ordering::SeqCst);
            let is_woken = calling.polled_at.is_some();
            let may_be_offered = is_woken && !is_under_way && now < calling.offered_until();
            TaskState { call: calling.call, is_woken, is_under_way, may_be_offered }
        })
    }

    /// Returns the calls that have an attempt under way.
    pub fn under_way(&self) -> impl Iterator<Item = usize> {
        let of_task = |call: usize| self.tasks.iter().any(|calling| calling.call == call);
        let others = self.under_way.iter().map(|Reverse((_, call))| *call);
        let others = others.filter(move |call| !of_task(*call));
        // A task that is late has not seen yet that its attempt is over.
        let tasks = self.tasks().filter(|task| task.is_under_way).map(|task| task.call);
        others.chain(tasks)
    }

    /// Has no task be polled late from now on.
    pub fn hurry_tasks(&mut self) {
        let now = self.now();
        for calling in &mut self.tasks {
            (calling.late, calling.polled_at) = (0, calling.polled_at.map(|_| now));
        }
        self.run_until_idle();
    }

    /// Polls one task that was woken, as its executor does. Returns whether there was one.
    fn poll_task(&mut self) -> bool {
        let now = self.now();
        for calling in &mut self.tasks {
            if calling.polled_at.is_none() && calling.task.is_woken() {
                (calling.polled_at, calling.woken_at) = (Some(now + calling.late), now);
            }
        }
        let is_due = |calling: &CallingTask| calling.polled_at.is_some_and(|at| at <= now);
        let Some(index) = self.tasks.iter().position(is_due) else { return false };
        let calling = &mut self.tasks[index];
        (calling.polled_at, calling.polls) = (None, calling.polls + 1);
        if let Poll::Ready(answer) = calling.task.poll() {
            self.answers.push((calling.call, answer));
            self.tasks.remove(index);
        }
        true
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

    /// Lets the lanes and the tasks run until they are idle, and collects what they sent.
    pub fn run_until_idle(&mut self) {
        loop {
            self.settle();
            self.step += 1;
            self.collect_sent();
            if !self.poll_task() {
                return;
            }
        }
    }

    fn collect_sent(&mut self) {
        while let Ok(Begun { call, at, takes, go }) = self.begun.try_recv() {
            self.sent.push(Sending { call, at, step: self.step });
            let takes = takes.as_nanos() as u64;
            if takes > 0 {
                self.under_way.push(Reverse((at + takes, call)));
                self.gates.push((call, go));
            }
        }
    }

    /// Returns the course of an attempt of a call. Both count from zero.
    pub fn course(&self, call: usize, attempt: usize) -> Course {
        course_of(&self.courses[call], attempt)
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
            if let Some(calling) = self.tasks.iter_mut().find(|calling| calling.call == call) {
                calling.polled_at.get_or_insert(moment + calling.late);
            }
            self.run_until_idle();
        }
        self.run_until_idle();
    }

    /// Returns when something may happen next, as far as can be seen from outside: an answer, or a window with
    /// capacity again, or a task that is polled.
    pub fn next_moment(&self) -> Option<u64> {
        let now = self.now();
        let status = self.lanes.status();
        let lanes = status.lanes.iter().flat_map(|lane| &lane.windows);
        let windows = lanes.chain(status.budgets.iter().flat_map(|budget| &budget.windows));
        let free = windows.flat_map(|window| [window.next_free, window.resets]).flatten();
        let free = free.filter(|wait| !wait.is_zero()).map(|wait| now + wait.as_nanos() as u64);
        let polls = self.tasks.iter().filter_map(|calling| calling.polled_at);
        free.chain(self.next_answer()).chain(polls).min()
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
        self.tasks.clear();
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
