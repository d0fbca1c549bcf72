//! Lanes with real threads, one step at a time.
//!
//! The threads of a lane are left alone until all of them sleep; only then is the next thing done:
//! a call submitted or cancelled, time moved on, an answer given. So whatever happens is in a known
//! order, the same each time, and a property that fails shrinks.
//!
//! Whether all sleep is asked of the system, which is why this is for Linux: a thread that sleeps in
//! two looks and was not switched in between slept all the time, and with all of them asleep at once
//! there is nobody left to wake any.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{CallOptions, Lane, LaneConfig, LaneError, Shutdown, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits};
use lanekeeper::{ErrorClass, Session};

use super::notes::Notes;

/// What a call in these tests answers: its number, or what became of it.
pub type Answer = Result<usize, Failure>;

#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// It never left.
    NotSent,
    /// It left, and no answer came.
    Lost,
    /// As the broker has it.
    Broker(lanekeeper::Failure),
    Lane(LaneError),
}

impl From<LaneError> for Failure {
    fn from(error: LaneError) -> Self {
        Self::Lane(error)
    }
}

impl Failure {
    pub fn class(&self) -> Option<ErrorClass> {
        self.known().map(|failure| failure.class)
    }

    /// What a lane is told of it.
    pub fn known(&self) -> Option<lanekeeper::Failure> {
        match self {
            Self::NotSent => Some(ErrorClass::NotSent.into()),
            Self::Lost => None,
            Self::Broker(failure) => Some(*failure),
            Self::Lane(error) => Some(error.class().into()),
        }
    }
}

/// How a call goes once it is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Course {
    pub takes: Duration,
    pub ends: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Answered,
    NeverLeft,
    Lost,
    Fails(lanekeeper::Failure),
}

impl Course {
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

/// What a worker says as it makes a call, and how it is let go.
struct Begun {
    call: usize,
    at: u64,
    go: Sender<()>,
}

pub struct Stepped {
    pub lanes: Lanes,
    pub clock: ManualClock,
    pub notes: Arc<Notes>,
    /// Everything that was sent, in order where one call at a time is under way.
    pub sent: Vec<Sending>,
    names: &'static [&'static str],
    threads: Vec<PathBuf>,
    step: usize,
    courses: Vec<Course>,
    begin: Sender<Begun>,
    begun: Receiver<Begun>,
    under_way: BinaryHeap<Reverse<(u64, usize)>>,
    gates: Vec<(usize, Sender<()>)>,
}

/// So that the threads of one test are told from those of another.
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
        let notes = Arc::new(Notes::default());
        let mut builder = LanesBuilder::new("Test", names, &BUDGETS[..budgets.len()]);
        for (index, config) in configs.iter().enumerate() {
            builder.lane(index, config.clone());
        }
        for (index, budget) in budgets.iter().enumerate() {
            builder.budget(index, budget.clone());
        }
        builder.clock(clock.clone().into());
        builder.session(Session::new());
        builder.observer(notes.clone());
        let lanes = builder.build(Limits::new()).unwrap();
        let threads = threads_of(&lanes);
        let (begin, begun) = mpsc::channel();
        let stepped = Self {
            lanes,
            clock,
            notes,
            sent: Vec::new(),
            names,
            threads,
            step: 0,
            courses: Vec::new(),
            begin,
            begun,
            under_way: BinaryHeap::new(),
            gates: Vec::new(),
        };
        stepped.settle();
        stepped
    }

    pub fn lane(&self, index: usize) -> &Lane {
        self.lanes.lane(self.names[index]).unwrap()
    }

    pub fn now(&self) -> u64 {
        self.clock.now().as_nanos()
    }

    /// Queues a call, and lets the lanes do what they do about it. Calls count from zero.
    pub fn submit(
        &mut self,
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
            match course.ends {
                End::Answered => Ok(number),
                End::NeverLeft => Err(Failure::NotSent),
                End::Lost => Err(Failure::Lost),
                End::Fails(failure) => Err(Failure::Broker(failure)),
            }
        };
        let ticket = self.lanes.submit(call, options, work, Failure::known);
        self.look();
        ticket
    }

    /// Does something on a thread of its own, which from now on is left alone like the others.
    pub fn beside<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Lanes) -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let (tell, told) = mpsc::channel();
        let lanes = self.lanes.clone();
        let thread = thread::spawn(move || {
            tell.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            work(&lanes)
        });
        self.threads.push(Path::new("/proc").join(told.recv().unwrap()).join("status"));
        self.look();
        thread
    }

    /// How many calls were submitted so far.
    pub fn submitted(&self) -> usize {
        self.courses.len()
    }

    /// Lets the lanes do what there is to do, and sees what they sent.
    pub fn look(&mut self) {
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

    /// When the next answer comes.
    pub fn next_answer(&self) -> Option<u64> {
        self.under_way.peek().map(|Reverse((at, _))| *at)
    }

    /// Moves time to `moment`, and gives the answers that come then. None may have come before.
    pub fn move_to(&mut self, moment: u64) {
        let by = moment.saturating_sub(self.now());
        self.clock.advance(Duration::from_nanos(by));
        while let Some(Reverse((_, call))) =
            self.under_way.peek().copied().filter(|Reverse((at, _))| *at <= moment)
        {
            self.under_way.pop();
            let index = self.gates.iter().position(|(held, _)| *held == call).unwrap();
            let _ = self.gates.swap_remove(index).1.send(());
            self.look();
        }
        self.look();
    }

    /// When something may happen next, as far as can be told from outside: an answer, or a window
    /// that has room again.
    pub fn next_moment(&self) -> Option<u64> {
        let now = self.now();
        let status = self.lanes.status();
        let lanes = status.lanes.iter().flat_map(|lane| &lane.windows);
        let windows = lanes.chain(status.budgets.iter().flat_map(|budget| &budget.windows));
        let free = windows.flat_map(|window| [window.next_free, window.resets]).flatten();
        let free = free.filter(|wait| !wait.is_zero()).map(|wait| now + wait.as_nanos() as u64);
        free.chain(self.next_answer()).min()
    }

    /// Goes on, from one thing that may happen to the next, until `end`.
    pub fn run_to(&mut self, end: u64) {
        while self.now() < end {
            let next = self.next_moment().map_or(end, |next| next.min(end));
            self.move_to(next.max(self.now() + 1));
        }
    }

    /// Goes on until `ticket` is answered, or for an hour.
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

    /// When the call was sent.
    pub fn sent_at(&self, call: usize) -> Option<u64> {
        self.sent.iter().find(|sending| sending.call == call).map(|sending| sending.at)
    }

    /// Comes back when every thread of the lanes sleeps, and nobody is about to wake one.
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
        // The lanes wait for what is under way, so nothing may be, and nothing more begin.
        self.lanes.shutdown(Shutdown::Now);
        self.look();
        self.gates.clear();
    }
}

/// The threads of the lanes, once all of them have their names.
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
        .flat_map(|lane| of_lane(lane.lane, lane.workers + lane.urgent_workers + 1));
    all.map(|path| path.join("status")).collect()
}

/// How often a thread that sleeps has been switched away from; nothing if it does not sleep. One that
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
