//! What the callers and the workers of a lane share: what waits, what runs, and the way in.
//!
//! Locks are taken in this order: that of those who wait for the end (`settled.rs`), queue, allowance,
//! care, calls that are awaited from within (`within.rs`), what each worker has in hand (`hands.rs`), a call's life,
//! places, a manual clock's. The broker is called, the observer told, and what is
//! theirs dropped, with no lock held.

pub(super) mod admission;
mod estimate;
mod execute;
mod poll;
pub(super) mod reentrancy;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Mutex, MutexGuard};

use self::poll::Deferred;
use self::reentrancy::AwaitedCalls;
use super::call::priority::Priority;
use super::call::rank::Rank;
use super::call::task::RejectResult;
use super::call::{Attempt, CallMeta};
use super::capacity::{QueueCapacity, QueueSlot};
use super::config::ExpiredSessionPolicy;
use super::error::LaneErrorKind;
use super::observer::{FinishedCall, ObserverHandle};
use super::open_breaker::OpenBreakerPolicy;
use super::pacing::SharedPacing;
use super::queue::priority_level::Job;
use super::queue::scheduler::Scheduler;
use super::state::{AtomicLaneState, LaneState};
use super::workers::health::LaneHealth;
use super::workers::idle::IdleSignal;
use super::workers::in_flight::InFlightCalls;
use super::workers::pool::LeaderFollowers;
use super::workers::route_breakers::BreakerChange;
use crate::Session;
use crate::clock::{Clock, Parker};
use crate::panic::catch_panic;
use crate::quota::Moment;

/// What the callers and workers of a lane share.
pub(crate) struct LaneCore {
    pub(super) name: &'static str,
    pub(super) index: usize,
    pub(super) clock: Clock,
    pub(super) queue_capacity: QueueCapacity,
    pub(super) pacing: Arc<SharedPacing>,
    pub(super) observer: ObserverHandle,
    /// How many fair waits a call waits at most.
    aging: Option<u32>,
    /// How many calls may be under way at once.
    pub(super) max_in_flight: usize,
    /// How many urgent ones may be besides.
    pub(super) urgent_workers: usize,
    pub(super) queue: Mutex<Queue>,
    /// Taken last, within the lock of the allowance or alone.
    pub(super) health: Mutex<LaneHealth>,
    intake: Sender<Job>,
    pub(super) arrivals: Receiver<Job>,
    pub(super) pool: LeaderFollowers<Parker>,
    state: AtomicLaneState,
    /// Calls that were chosen and are not over.
    pub(super) in_flight: AtomicUsize,
    /// Calls that are over, but for telling the observer or waking a task.
    pub(super) reporting: AtomicUsize,
    /// Something was moved into the schedule by somebody who is no worker, and no worker has looked.
    pub(super) unseen_moves: AtomicBool,
    /// What looks have left to be done.
    pub(super) deferred: Mutex<Vec<Deferred>>,
    pub(super) has_deferred: AtomicBool,
    pub(super) idle: IdleSignal,
    pub(super) session: Session,
    pub(super) expired_session_policy: ExpiredSessionPolicy,
    pub(super) open_breaker_policy: OpenBreakerPolicy,
    pub(super) in_flight_calls: InFlightCalls,
    pub(super) awaited_calls: AwaitedCalls,
}

/// What waits, and what the leader waits for.
pub(super) struct Queue {
    pub(super) scheduler: Scheduler,
    /// When the leader looks again by itself, while one sleeps.
    pub(super) leader_wakes_at: Option<Moment>,
}

/// What a lane is made of.
pub(super) struct CoreConfig {
    pub(super) name: &'static str,
    pub(super) index: usize,
    pub(super) clock: Clock,
    pub(super) pacing: Arc<SharedPacing>,
    pub(super) observer: ObserverHandle,
    pub(super) queue_capacity: usize,
    pub(super) max_in_flight: usize,
    pub(super) urgent_workers: usize,
    pub(super) user_interval: Duration,
    pub(super) aging: Option<u32>,
    pub(super) health: LaneHealth,
    pub(super) session: Session,
    pub(super) expired_session_policy: ExpiredSessionPolicy,
    pub(super) open_breaker_policy: OpenBreakerPolicy,
}

/// How many threads a lane has: one more than calls run, which keeps the deadlines while all of those hang.
pub(super) fn thread_count(max_in_flight: usize, urgent_workers: usize) -> usize {
    max_in_flight + urgent_workers + 1
}

/// The channel is the quick way in; callers who find it full carry their call into the schedule
/// themselves. So it need not have all the places of the queue.
const MAX_INTAKE_CAPACITY: usize = 256;

impl LaneCore {
    pub(super) fn new(parts: CoreConfig) -> Self {
        let CoreConfig {
            name,
            index,
            clock,
            pacing,
            observer,
            session,
            expired_session_policy,
            open_breaker_policy,
            ..
        } = parts;
        let CoreConfig {
            queue_capacity: capacity,
            max_in_flight,
            urgent_workers,
            user_interval: interval,
            aging,
            health,
            ..
        } = parts;
        let (intake, arrivals) = bounded(capacity.min(MAX_INTAKE_CAPACITY));
        let pool = LeaderFollowers::new(clock.parker());
        Self {
            name,
            index,
            clock,
            queue_capacity: QueueCapacity::new(capacity),
            pacing,
            observer,
            aging,
            max_in_flight,
            urgent_workers,
            health: Mutex::new(health),
            queue: Mutex::new(Queue { scheduler: Scheduler::new(interval), leader_wakes_at: None }),
            intake,
            arrivals,
            pool,
            state: AtomicLaneState::new(),
            in_flight: AtomicUsize::new(0),
            reporting: AtomicUsize::new(0),
            unseen_moves: AtomicBool::new(false),
            deferred: Mutex::default(),
            has_deferred: AtomicBool::new(false),
            idle: IdleSignal::default(),
            session,
            expired_session_policy,
            open_breaker_policy,
            in_flight_calls: InFlightCalls::new(thread_count(max_in_flight, urgent_workers)),
            awaited_calls: AwaitedCalls::default(),
        }
    }

    /// Something changed that a sleeping worker may wait for.
    pub(super) fn wake_one(&self) {
        self.pool.wake_one();
    }

    /// Hands a job in. It has a place.
    pub(super) fn submit(&self, job: Job) {
        let (has_deadline, rank) = (job.meta().deadline.is_some(), job.meta().rank());
        match self.intake.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                let mut queue = self.lock_queue();
                self.unseen_moves.store(true, Ordering::SeqCst);
                self.enqueue(&mut queue.scheduler, job);
            }
        }
        // If as many calls run as may, the next worker to be done looks: nothing can go before that.
        self.pool.notify_arrival(|| has_deadline || self.may_run(rank));
        // A lane that was shut meanwhile may have nobody left to look.
        if self.state() == LaneState::Closed {
            self.reject_all();
        }
    }

    pub(super) fn state(&self) -> LaneState {
        self.state.get()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether one more call of this rank may run.
    pub(super) fn may_run(&self, rank: Rank) -> bool {
        self.in_flight() < rank.max_in_flight(self.max_in_flight, self.urgent_workers)
    }

    /// What is to be done about a broker that fails.
    pub(super) fn health(&self) -> MutexGuard<'_, LaneHealth> {
        self.health.lock()
    }

    /// The queue, with everything in it that has arrived; for whoever is no worker.
    pub(super) fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue.lock();
        if !self.arrivals.is_empty() {
            // First the word, and then the deed: a worker that misses the arrivals sees this.
            self.unseen_moves.store(true, Ordering::SeqCst);
            self.drain_arrivals(&mut queue.scheduler);
        }
        queue
    }

    /// Moves arrivals into the schedule.
    pub(super) fn drain_arrivals(&self, scheduler: &mut Scheduler) {
        for job in self.arrivals.try_iter() {
            self.enqueue(scheduler, job);
        }
    }

    pub(super) fn enqueue(&self, scheduler: &mut Scheduler, job: Job) {
        let overdue = self.overdue_at(scheduler, job.meta(), job.meta().submitted_at);
        scheduler.push(job, overdue);
    }

    /// Takes a call in that failed, and may be sent again from `at` on.
    pub(super) fn requeue(&self, job: Job, at: Moment) {
        let mut queue = self.queue.lock();
        // Who took it back meanwhile found nothing to take out; who does from now on waits for this lock.
        if job.is_queued() {
            let overdue = self.overdue_at(&queue.scheduler, job.meta(), at);
            queue.scheduler.push_retry(job, at, overdue);
        }
    }

    /// Goes from one state to another, if that is a way it can go.
    pub(super) fn set_state(&self, next: LaneState) {
        if self.state.transition(next) {
            // Through the lock: a look that saw the old state is over after this.
            drop(self.queue.lock());
            match next {
                LaneState::Closed => self.pool.close(),
                _ => self.wake_one(),
            }
            self.queue_capacity.wake_waiters();
            self.idle.notify();
            self.observer.notify(|observer| observer.lane_state(self.name, next));
        }
    }

    /// A caller took its call back: it keeps no place here.
    pub(super) fn remove(&self, meta: &CallMeta) {
        let dead = self.lock_queue().scheduler.remove(meta);
        // What it held up may go now.
        self.wake_one();
        let _ = catch_panic(|| drop(dead));
        self.idle.notify();
    }

    /// Answers calls that were taken out of the schedule, and then tells of them: who is told may shut
    /// the lane, and would wait for the others. Gives how many were still queued.
    pub(super) fn reject(&self, calls: impl IntoIterator<Item = (Job, LaneErrorKind)>) -> usize {
        let refuse = |(job, reason): (Job, LaneErrorKind)| {
            let refusal = job.reject(reason.clone(), None);
            (job, reason, refusal)
        };
        self.report_all_rejected(calls.into_iter().map(refuse).collect())
    }

    /// Tells of calls that were all answered before. Gives how many were never sent, or will not be again.
    fn report_all_rejected(&self, refused: Vec<(Job, LaneErrorKind, RejectResult)>) -> usize {
        let told = refused.into_iter().map(|refused| self.report_rejected(refused));
        told.filter(|is_unsent| *is_unsent).count()
    }

    /// Says whether it was never sent, or will not be again.
    fn report_rejected(&self, (job, reason, refusal): (Job, LaneErrorKind, RejectResult)) -> bool {
        let meta = job.meta();
        let was_queued = match refusal {
            RejectResult::AlreadyDispatched => false,
            RejectResult::Unanswered => {
                self.observer.notify(|observer| observer.deadline_missed(&meta.to_call_info()));
                false
            }
            RejectResult::NeverSent => {
                self.observer.notify(|observer| match &reason {
                    LaneErrorKind::DeadlinePassed { .. } => observer.expired(&meta.to_call_info()),
                    reason => observer.refused(&meta.to_call_info(), reason),
                });
                true
            }
            RejectResult::AfterAttempt(attempt, unheard) => {
                self.report_last_attempt(meta, attempt);
                self.report_late_result(meta, unheard);
                true
            }
        };
        let _ = catch_panic(|| drop(job));
        was_queued
    }

    /// Refuses a call of lower priority, and gives its place.
    pub(super) fn shed(&self, priority: Priority) -> Option<QueueSlot> {
        loop {
            let job = {
                let mut queue = self.lock_queue();
                // Somebody may have left since.
                if let Some(slot) = self.queue_capacity.try_acquire() {
                    return Some(slot);
                }
                let job = queue.scheduler.shed_candidate(priority)?;
                // Another call takes its place: whether it is still queued shows itself below.
                let _same = queue.scheduler.remove(job.meta());
                job
            };
            let mut slot = None;
            let refusal = job.reject(LaneErrorKind::Shed, Some(&mut slot));
            self.report_rejected((job, LaneErrorKind::Shed, refusal));
            if slot.is_some() {
                self.wake_one();
                return slot;
            }
        }
    }

    /// Tells of a call that waited for another attempt, and has been answered with this one.
    pub(super) fn report_last_attempt(&self, meta: &CallMeta, attempt: Attempt) {
        let call = FinishedCall::last_attempt(meta, attempt);
        self.observer.notify(|observer| observer.finished(&call));
    }

    /// Tells of an answer whose caller has left, if there is one.
    pub(super) fn report_late_result(&self, meta: &CallMeta, answer: Option<Box<dyn Any + Send>>) {
        if let Some(answer) = answer {
            self.observer.notify(|observer| observer.late_result(&meta.to_call_info(), &*answer));
            let _ = catch_panic(|| drop(answer));
        }
    }

    /// Tells of breakers that changed their state. No lock is held.
    pub(super) fn report_breakers(&self, changes: impl IntoIterator<Item = BreakerChange>) {
        for BreakerChange { route, state } in changes {
            self.observer.notify(|observer| observer.breaker(self.name, route, state));
        }
    }

    /// Refuses everything that waits.
    pub(super) fn reject_all(&self) -> usize {
        let waiting = self.lock_queue().scheduler.drain();
        let refused = self.reject(waiting.into_iter().map(|job| (job, LaneErrorKind::Closed)));
        self.idle.notify();
        refused
    }

    /// Answers those whose calls are under way; but for a call that the worker `own` makes. Whatever is
    /// dispatched from now on is answered likewise. Gives how many had not begun, and so were not sent.
    pub(super) fn cut_off_all(&self, own: Option<usize>) -> usize {
        let calls = self.in_flight_calls.cut_off(own).into_iter();
        let unsent = self.report_all_rejected(calls.map(cut_off).collect());
        self.idle.notify();
        unsent
    }

    /// Cuts off the call that a worker takes up after the others were.
    pub(super) fn cut_off_one(&self, job: &Job) {
        self.report_rejected(cut_off(Job::clone(job)));
    }

    /// Waits until nothing waits and no more than `running` calls run, or until `until`. Says whether
    /// it came to that.
    pub(super) fn wait_until_idle(&self, in_flight_left: usize, until: Moment) -> bool {
        let is_settled = || {
            // A call is dispatched under this lock, and counts as running until it waits again.
            let queue = self.lock_queue();
            let has_chores = self.has_deferred.load(Ordering::SeqCst);
            let under_way = self.in_flight() + self.reporting.load(Ordering::SeqCst);
            !has_chores
                && queue.scheduler.is_empty()
                && self.queue_capacity.in_use() == 0
                && under_way <= in_flight_left
        };
        self.idle.wait(&self.clock, until, is_settled)
    }
}

/// Answers the caller of a call that is under way; if that has not begun, as of one that was refused.
fn cut_off(job: Job) -> (Job, LaneErrorKind, RejectResult) {
    let refusal = job.cut_off(LaneErrorKind::CutOff);
    (job, LaneErrorKind::Closed, refusal)
}

impl fmt::Debug for LaneCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("name", &self.name).finish_non_exhaustive()
    }
}
