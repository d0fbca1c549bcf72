//! What the callers and the workers of a lane share: what waits, what runs, and the way in.
//!
//! Locks are taken in this order: that of those who wait for the end (`settled.rs`), queue, allowance,
//! care, calls that are awaited from within (`within.rs`), what each worker has in hand (`hands.rs`), a call's life,
//! places, a manual clock's. The broker is called, the observer told, and what is
//! theirs dropped, with no lock held.

mod estimate;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Mutex, MutexGuard};

use super::band::Job;
use super::care::Care;
use super::config::ExpiredSessionPolicy;
use super::crew::Crew;
use super::down::OpenBreakerPolicy;
use super::error::LaneErrorKind;
use super::hands::Hands;
use super::job::{Attempt, Info, Refusal};
use super::look::Leftovers;
use super::observer::{FinishedCall, Watch};
use super::pace::Pace;
use super::places::{Place, Places};
use super::priority::Priority;
use super::rank::Rank;
use super::routes::Change;
use super::schedule::Schedule;
use super::settled::Settled;
use super::state::{LaneState, SharedState};
use super::within::Awaited;
use crate::Session;
use crate::clock::{Alarm, Clock};
use crate::contain::contain;
use crate::quota::Moment;

/// What the callers and workers of a lane share.
pub(crate) struct Shared {
    pub(super) name: &'static str,
    pub(super) index: usize,
    pub(super) clock: Clock,
    pub(super) places: Places,
    pub(super) pace: Arc<Pace>,
    pub(super) watch: Watch,
    /// How many fair waits a call waits at most.
    aging: Option<u32>,
    /// How many calls may be under way at once.
    pub(super) most_running: usize,
    /// How many urgent ones may be besides.
    pub(super) urgent_workers: usize,
    pub(super) queue: Mutex<Queue>,
    /// Taken last, within the lock of the allowance or alone.
    pub(super) care: Mutex<Care>,
    intake: Sender<Job>,
    pub(super) arrivals: Receiver<Job>,
    pub(super) crew: Crew<Alarm>,
    state: SharedState,
    /// Calls that were chosen and are not over.
    pub(super) running: AtomicUsize,
    /// Calls that are over, but for telling the observer or waking a task.
    pub(super) telling: AtomicUsize,
    /// Something was moved into the schedule by somebody who is no worker, and no worker has looked.
    pub(super) moved: AtomicBool,
    /// What looks have left to be done.
    pub(super) chores: Mutex<Vec<Leftovers>>,
    pub(super) has_chores: AtomicBool,
    pub(super) settled: Settled,
    pub(super) session: Session,
    pub(super) when_expired: ExpiredSessionPolicy,
    pub(super) when_down: OpenBreakerPolicy,
    pub(super) hands: Hands,
    pub(super) awaited: Awaited,
}

/// What waits, and what the leader waits for.
pub(super) struct Queue {
    pub(super) schedule: Schedule,
    /// When the leader looks again by itself, while one sleeps.
    pub(super) leader_wakes: Option<Moment>,
}

/// What a lane is made of.
pub(super) struct Parts {
    pub(super) name: &'static str,
    pub(super) index: usize,
    pub(super) clock: Clock,
    pub(super) pace: Arc<Pace>,
    pub(super) watch: Watch,
    pub(super) capacity: usize,
    pub(super) most_running: usize,
    pub(super) urgent_workers: usize,
    pub(super) interval: Duration,
    pub(super) aging: Option<u32>,
    pub(super) care: Care,
    pub(super) session: Session,
    pub(super) when_expired: ExpiredSessionPolicy,
    pub(super) when_down: OpenBreakerPolicy,
}

/// How many threads a lane has: one more than calls run, which keeps the deadlines while all of those hang.
pub(super) fn workers(most_running: usize, urgent_workers: usize) -> usize {
    most_running + urgent_workers + 1
}

/// The channel is the quick way in; callers who find it full carry their call into the schedule
/// themselves. So it need not have all the places of the queue.
const LONGEST_CHANNEL: usize = 256;

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, index, clock, pace, watch, session, when_expired, when_down, .. } = parts;
        let Parts { capacity, most_running, urgent_workers, interval, aging, care, .. } = parts;
        let (intake, arrivals) = bounded(capacity.min(LONGEST_CHANNEL));
        let crew = Crew::new(clock.alarm());
        Self {
            name,
            index,
            clock,
            places: Places::new(capacity),
            pace,
            watch,
            aging,
            most_running,
            urgent_workers,
            care: Mutex::new(care),
            queue: Mutex::new(Queue { schedule: Schedule::new(interval), leader_wakes: None }),
            intake,
            arrivals,
            crew,
            state: SharedState::new(),
            running: AtomicUsize::new(0),
            telling: AtomicUsize::new(0),
            moved: AtomicBool::new(false),
            chores: Mutex::default(),
            has_chores: AtomicBool::new(false),
            settled: Settled::default(),
            session,
            when_expired,
            when_down,
            hands: Hands::new(workers(most_running, urgent_workers)),
            awaited: Awaited::default(),
        }
    }

    /// Something changed that a sleeping worker may wait for.
    pub(super) fn ring(&self) {
        self.crew.ring();
    }

    /// Hands a job in. It has a place.
    pub(super) fn send(&self, job: Job) {
        let (has_deadline, rank) = (job.info().deadline.is_some(), job.info().rank());
        match self.intake.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                let mut queue = self.take_stock();
                self.moved.store(true, Ordering::SeqCst);
                self.put(&mut queue.schedule, job);
            }
        }
        // If as many calls run as may, the next worker to be done looks: nothing can go before that.
        self.crew.arrived(|| has_deadline || self.may_run(rank));
        // A lane that was shut meanwhile may have nobody left to look.
        if self.state() == LaneState::Closed {
            self.refuse_all();
        }
    }

    pub(super) fn state(&self) -> LaneState {
        self.state.get()
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Whether one more call of this rank may run.
    pub(super) fn may_run(&self, rank: Rank) -> bool {
        self.running() < rank.most(self.most_running, self.urgent_workers)
    }

    /// What is to be done about a broker that fails.
    pub(super) fn care(&self) -> MutexGuard<'_, Care> {
        self.care.lock()
    }

    /// The queue, with everything in it that has arrived; for whoever is no worker.
    pub(super) fn take_stock(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue.lock();
        if !self.arrivals.is_empty() {
            // First the word, and then the deed: a worker that misses the arrivals sees this.
            self.moved.store(true, Ordering::SeqCst);
            self.take_in(&mut queue.schedule);
        }
        queue
    }

    /// Moves arrivals into the schedule.
    pub(super) fn take_in(&self, schedule: &mut Schedule) {
        for job in self.arrivals.try_iter() {
            self.put(schedule, job);
        }
    }

    pub(super) fn put(&self, schedule: &mut Schedule, job: Job) {
        let overdue = self.overdue(schedule, job.info(), job.info().entered);
        schedule.push(job, overdue);
    }

    /// Takes a call in that failed, and may be sent again from `at` on.
    pub(super) fn put_again(&self, job: Job, at: Moment) {
        let mut queue = self.queue.lock();
        // Who took it back meanwhile found nothing to take out; who does from now on waits for this lock.
        if job.is_queued() {
            let overdue = self.overdue(&queue.schedule, job.info(), at);
            queue.schedule.push_again(job, at, overdue);
        }
    }

    /// Goes from one state to another, if that is a way it can go.
    pub(super) fn enter(&self, next: LaneState) {
        if self.state.enter(next) {
            // Through the lock: a look that saw the old state is over after this.
            drop(self.queue.lock());
            match next {
                LaneState::Closed => self.crew.shut(),
                _ => self.ring(),
            }
            self.places.wake();
            self.settled.tell();
            self.watch.tell(|observer| observer.lane_state(self.name, next));
        }
    }

    /// A caller took its call back: it keeps no place here.
    pub(super) fn forget(&self, info: &Info) {
        let dead = self.take_stock().schedule.remove(info);
        // What it held up may go now.
        self.ring();
        let _ = contain(|| drop(dead));
        self.settled.tell();
    }

    /// Answers calls that were taken out of the schedule, and then tells of them: who is told may shut
    /// the lane, and would wait for the others. Gives how many were still queued.
    pub(super) fn refuse(&self, calls: impl IntoIterator<Item = (Job, LaneErrorKind)>) -> usize {
        let refuse = |(job, reason): (Job, LaneErrorKind)| {
            let refusal = job.refuse(reason.clone(), None);
            (job, reason, refusal)
        };
        self.tell_of_all(calls.into_iter().map(refuse).collect())
    }

    /// Tells of calls that were all answered before. Gives how many were never sent, or will not be again.
    fn tell_of_all(&self, refused: Vec<(Job, LaneErrorKind, Refusal)>) -> usize {
        let told = refused.into_iter().map(|refused| self.tell_of_refused(refused));
        told.filter(|is_unsent| *is_unsent).count()
    }

    /// Says whether it was never sent, or will not be again.
    fn tell_of_refused(&self, (job, reason, refusal): (Job, LaneErrorKind, Refusal)) -> bool {
        let info = job.info();
        let was_queued = match refusal {
            Refusal::TooLate => false,
            Refusal::Unanswered => {
                self.watch.tell(|observer| observer.deadline_missed(&info.seen()));
                false
            }
            Refusal::Unsent => {
                self.watch.tell(|observer| match &reason {
                    LaneErrorKind::DeadlinePassed { .. } => observer.expired(&info.seen()),
                    reason => observer.refused(&info.seen(), reason),
                });
                true
            }
            Refusal::Tried(attempt, unheard) => {
                self.tell_of_the_last(info, attempt);
                self.tell_of_the_late(info, unheard);
                true
            }
        };
        let _ = contain(|| drop(job));
        was_queued
    }

    /// Refuses a call of lower priority, and gives its place.
    pub(super) fn shed(&self, priority: Priority) -> Option<Place> {
        loop {
            let job = {
                let mut queue = self.take_stock();
                // Somebody may have left since.
                if let Some(place) = self.places.take() {
                    return Some(place);
                }
                let job = queue.schedule.to_shed(priority)?;
                // Another call takes its place: whether it is still queued shows itself below.
                let _same = queue.schedule.remove(job.info());
                job
            };
            let mut place = None;
            let refusal = job.refuse(LaneErrorKind::Shed, Some(&mut place));
            self.tell_of_refused((job, LaneErrorKind::Shed, refusal));
            if place.is_some() {
                self.ring();
                return place;
            }
        }
    }

    /// Tells of a call that waited for another attempt, and has been answered with this one.
    pub(super) fn tell_of_the_last(&self, info: &Info, attempt: Attempt) {
        let call = FinishedCall::the_last(info, attempt);
        self.watch.tell(|observer| observer.finished(&call));
    }

    /// Tells of an answer whose caller has left, if there is one.
    pub(super) fn tell_of_the_late(&self, info: &Info, answer: Option<Box<dyn Any + Send>>) {
        if let Some(answer) = answer {
            self.watch.tell(|observer| observer.late_result(&info.seen(), &*answer));
            let _ = contain(|| drop(answer));
        }
    }

    /// Tells of breakers that changed their state. No lock is held.
    pub(super) fn tell_of_breakers(&self, changes: impl IntoIterator<Item = Change>) {
        for Change { route, state } in changes {
            self.watch.tell(|observer| observer.breaker(self.name, route, state));
        }
    }

    /// Refuses everything that waits.
    pub(super) fn refuse_all(&self) -> usize {
        let waiting = self.take_stock().schedule.drain();
        let refused = self.refuse(waiting.into_iter().map(|job| (job, LaneErrorKind::Closed)));
        self.settled.tell();
        refused
    }

    /// Answers those whose calls are under way; but for a call that the worker `own` makes. Whatever is
    /// dispatched from now on is answered likewise. Gives how many had not begun, and so were not sent.
    pub(super) fn cut_off_all(&self, own: Option<usize>) -> usize {
        let calls = self.hands.cut_off(own).into_iter();
        let unsent = self.tell_of_all(calls.map(cut_off).collect());
        self.settled.tell();
        unsent
    }

    /// Cuts off the call that a worker takes up after the others were.
    pub(super) fn cut_off_one(&self, job: &Job) {
        self.tell_of_refused(cut_off(Job::clone(job)));
    }

    /// Waits until nothing waits and no more than `running` calls run, or until `until`. Says whether
    /// it came to that.
    pub(super) fn wait_until_settled(&self, running: usize, until: Moment) -> bool {
        let is_settled = || {
            // A call is dispatched under this lock, and counts as running until it waits again.
            let queue = self.take_stock();
            let has_chores = self.has_chores.load(Ordering::SeqCst);
            let under_way = self.running() + self.telling.load(Ordering::SeqCst);
            !has_chores
                && queue.schedule.is_empty()
                && self.places.taken() == 0
                && under_way <= running
        };
        self.settled.wait(&self.clock, until, is_settled)
    }
}

/// Answers the caller of a call that is under way; if that has not begun, as of one that was refused.
fn cut_off(job: Job) -> (Job, LaneErrorKind, Refusal) {
    let refusal = job.cut_off(LaneErrorKind::CutOff);
    (job, LaneErrorKind::Closed, refusal)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("name", &self.name).finish_non_exhaustive()
    }
}
