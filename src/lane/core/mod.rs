//! The state that the callers and the workers of a lane share: the queue, the calls in flight, and admission.
//!
//! `handle.rs` submits calls and controls the lane through it. Workers run its loop (`execute.rs`).
//!
//! # Lock order
//!
//! Locks are taken in this order: the lock of the thread that tells Redis everything again (`retelling` in
//! `shared_quota/permits.rs`), the idle signal (`workers/idle.rs`), the queue, the pacing state, the permits of several
//! processes, lane health, the awaited calls (`reentrancy.rs`), the calls in flight (`workers/in_flight.rs`), the state of a
//! call, the queue capacity, what polls have deferred, the offered turns and parked calls (`offer.rs`), a manual clock. The first
//! is held during trips to Redis, and taken with no other lock held. The broker is called, observers are notified, and user
//! data is dropped with no lock held.

pub(super) mod admission;
mod alarm;
mod detach;
mod estimate;
mod execute;
pub(super) mod long_wait;
pub(super) mod offer;
mod poll;
pub(super) mod reentrancy;
pub(super) mod turn;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Mutex, MutexGuard};

use self::alarm::Alarms;
use self::offer::Offers;
use self::poll::Deferred;
use self::reentrancy::AwaitedCalls;
use super::attachment::AttachmentStage;
use super::call::pending_call::RejectResult;
use super::call::priority::Priority;
use super::call::worker_class::WorkerClass;
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
    /// The number of fair waits after which a call is overdue.
    aging: Option<u32>,
    /// The maximum number of normal calls in flight.
    pub(super) max_in_flight: usize,
    /// The number of urgent calls that may be in flight beyond that.
    pub(super) urgent_workers: usize,
    pub(super) queue: Mutex<Queue>,
    /// Taken within the lock of the pacing state, or alone. No other lock of the lane is taken within it.
    pub(super) health: Mutex<LaneHealth>,
    intake: Sender<Job>,
    pub(super) arrivals: Receiver<Job>,
    pub(super) pool: LeaderFollowers<Parker>,
    state: AtomicLaneState,
    /// The number of dispatched calls that are not done.
    pub(super) in_flight: AtomicUsize,
    /// The number of calls that are done, but still to be reported to the observer or to a task. Also counts workers
    /// that run deferred work.
    pub(super) reporting: AtomicUsize,
    /// Whether a thread that is not a worker has moved a call into the scheduler, and no worker has polled since.
    pub(super) unseen_moves: AtomicBool,
    /// What polls have deferred.
    pub(super) deferred: Mutex<Vec<Deferred>>,
    pub(super) has_deferred: AtomicBool,
    pub(super) idle: IdleSignal,
    pub(super) session: Session,
    pub(super) expired_session_policy: ExpiredSessionPolicy,
    pub(super) open_breaker_policy: OpenBreakerPolicy,
    pub(super) in_flight_calls: InFlightCalls,
    pub(super) offers: Offers,
    pub(super) awaited_calls: AwaitedCalls,
}

/// The queue of a lane.
pub(super) struct Queue {
    pub(super) scheduler: Scheduler,
    /// When the sleeping leader polls again without being woken.
    pub(super) leader_wakes_at: Option<Moment>,
    pub(super) alarms: Alarms,
}

/// The parts that a lane core is built from.
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

/// Returns the number of worker threads: one more than calls in flight. It keeps the deadlines while all of those hang.
pub(super) fn thread_count(max_in_flight: usize, urgent_workers: usize) -> usize {
    max_in_flight + urgent_workers + 1
}

/// Bounds the intake channel, which is the fast path into the queue. A caller that finds it full puts its call into the
/// scheduler itself, so it need not hold as many calls as the queue.
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
            queue: Mutex::new(Queue {
                scheduler: Scheduler::new(interval),
                leader_wakes_at: None,
                alarms: Alarms::new(),
            }),
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
            offers: Offers::default(),
            awaited_calls: AwaitedCalls::default(),
        }
    }

    /// Wakes the leader or a follower, after a change that a sleeping worker may wait for.
    pub(super) fn wake_one(&self) {
        self.pool.wake_one();
    }

    /// Submits a call that holds a queue slot.
    pub(super) fn submit(&self, job: Job) {
        let (has_deadline, class) = (job.meta().deadline.is_some(), job.meta().worker_class());
        match self.intake.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                let mut queue = self.lock_queue();
                self.unseen_moves.store(true, Ordering::SeqCst);
                self.enqueue(&mut queue.scheduler, job);
            }
        }
        // At the maximum of calls in flight no call can be sent before one is done, and its worker polls then.
        self.pool.notify_arrival(|| has_deadline || self.may_run(class));
        // A lane that was closed in between may have no worker left to poll.
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

    /// Returns whether one more call of this class may be in flight.
    pub(super) fn may_run(&self, class: WorkerClass) -> bool {
        self.in_flight() < class.max_in_flight(self.max_in_flight, self.urgent_workers)
    }

    /// Locks the lane's health.
    pub(super) fn health(&self) -> MutexGuard<'_, LaneHealth> {
        self.health.lock()
    }

    /// Locks the queue and drains arrivals into it, on a thread that is not a worker.
    pub(super) fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue.lock();
        if !self.arrivals.is_empty() {
            // Set the flag before draining: a worker that finds the channel empty must see that the calls moved.
            self.unseen_moves.store(true, Ordering::SeqCst);
            self.drain_arrivals(&mut queue.scheduler);
        }
        queue
    }

    /// Moves arrivals into the scheduler.
    pub(super) fn drain_arrivals(&self, scheduler: &mut Scheduler) {
        for job in self.arrivals.try_iter() {
            self.enqueue(scheduler, job);
        }
    }

    /// Puts a call into the scheduler.
    pub(super) fn enqueue(&self, scheduler: &mut Scheduler, job: Job) {
        let overdue = self.overdue_at(scheduler, job.meta(), job.meta().submitted_at);
        scheduler.push(job, overdue);
    }

    /// Puts a call back into the scheduler: after a failed attempt to be retried from `at` on, or at its place, if no attempt was
    /// made.
    pub(super) fn requeue(&self, job: Job, at: Moment) {
        self.requeue_in(&mut self.queue.lock().scheduler, &job, at);
    }

    /// Does the same under the lock of the queue.
    pub(super) fn requeue_in(&self, scheduler: &mut Scheduler, job: &Job, at: Moment) {
        // A caller that cancelled before found nothing to remove here. One that cancels later waits for this lock.
        if !job.is_queued() {
            return;
        }
        if job.meta().attempts() == 0 {
            return self.enqueue(scheduler, Job::clone(job));
        }
        let overdue = self.overdue_at(scheduler, job.meta(), at);
        scheduler.push_retry(Job::clone(job), at, overdue);
    }

    /// Changes the state of the lane, if that transition is allowed.
    pub(super) fn set_state(&self, next: LaneState) {
        if self.state.transition(next) {
            // With the lock: a poll that saw the old state has ended after this.
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

    /// Removes a cancelled call from the scheduler.
    pub(super) fn remove(&self, meta: &CallMeta) {
        let removed = self.lock_queue().scheduler.remove(meta);
        // Calls that waited behind it may go now.
        self.wake_one();
        let _ = catch_panic(|| drop(removed));
        self.idle.notify();
    }

    /// Answers calls that were removed from the scheduler, and then reports them. All are answered first: an observer
    /// may close the lane, and would wait for the others. Returns how many were still queued.
    pub(super) fn reject(&self, calls: impl IntoIterator<Item = (Job, LaneErrorKind)>) -> usize {
        let reject = |(job, kind): (Job, LaneErrorKind)| {
            let result = job.reject(kind.clone(), None);
            RejectedCall { job, kind, result }
        };
        self.report_all_rejected(calls.into_iter().map(reject).collect())
    }

    /// Reports rejected calls, which are all answered. Returns how many were never sent, or will not be retried.
    fn report_all_rejected(&self, calls: Vec<RejectedCall>) -> usize {
        let reported = calls.into_iter().map(|call| self.report_rejected(call));
        reported.filter(|is_unsent| *is_unsent).count()
    }

    /// Reports a rejected call. Returns whether it was never sent, or will not be retried.
    fn report_rejected(&self, call: RejectedCall) -> bool {
        let RejectedCall { job, kind, result } = call;
        let meta = job.meta();
        let is_unsent = match result {
            RejectResult::AlreadyDispatched => false,
            RejectResult::Unanswered => {
                self.observer.notify(|observer| observer.deadline_missed(&meta.to_call_info()));
                false
            }
            RejectResult::NeverSent => {
                self.observer.notify(|observer| match &kind {
                    LaneErrorKind::DeadlinePassed { .. } => observer.expired(&meta.to_call_info()),
                    kind => observer.refused(&meta.to_call_info(), kind),
                });
                true
            }
            RejectResult::AfterAttempt(attempt, late_answer) => {
                self.report_last_attempt(meta, attempt);
                self.report_late_result(meta, late_answer);
                true
            }
        };
        let _ = catch_panic(|| drop(job));
        is_unsent
    }

    /// Sheds a call of lower priority, and returns its queue slot.
    pub(super) fn shed(&self, priority: Priority) -> Option<QueueSlot> {
        loop {
            let job = {
                let mut queue = self.lock_queue();
                // A slot may have been freed since.
                if let Some(slot) = self.queue_capacity.try_acquire() {
                    return Some(slot);
                }
                let job = queue.scheduler.shed_candidate(priority)?;
                // Whether the call is still queued, `reject` finds below.
                let _removed = queue.scheduler.remove(job.meta());
                job
            };
            let mut slot = None;
            let result = job.reject(LaneErrorKind::Shed, Some(&mut slot));
            self.report_rejected(RejectedCall { job, kind: LaneErrorKind::Shed, result });
            if slot.is_some() {
                self.wake_one();
                return slot;
            }
        }
    }

    /// Reports a call that waited for a retry, and was answered with the result of this attempt.
    pub(super) fn report_last_attempt(&self, meta: &CallMeta, attempt: Attempt) {
        let call = FinishedCall::last_attempt(meta, attempt);
        self.observer.notify(|observer| observer.finished(&call));
    }

    /// Reports a late answer, if there is one: its caller has detached.
    pub(super) fn report_late_result(&self, meta: &CallMeta, answer: Option<Box<dyn Any + Send>>) {
        if let Some(answer) = answer {
            self.observer.notify(|observer| observer.late_result(&meta.to_call_info(), &*answer));
            let _ = catch_panic(|| drop(answer));
        }
    }

    /// Reports breakers that have changed their state. Call it with no lock held.
    pub(super) fn report_breakers(&self, changes: impl IntoIterator<Item = BreakerChange>) {
        for BreakerChange { route, state } in changes {
            self.observer.notify(|observer| observer.breaker(self.name, route, state));
        }
    }

    /// Rejects all queued calls. Returns how many.
    pub(super) fn reject_all(&self) -> usize {
        let mut queued = self.lock_queue().scheduler.drain();
        queued.extend(self.offers.take_parked(|_| true));
        queued.extend(self.take_back_offers(|_| true));
        let rejected = self.reject(queued.into_iter().map(|job| (job, LaneErrorKind::Closed)));
        self.ring_all();
        self.idle.notify();
        rejected
    }

    /// Answers the callers of all calls in flight, except the call of the worker `own`. Calls dispatched from now on
    /// are answered likewise. Returns how many had not begun, and so were not sent.
    pub(super) fn cut_off_all(&self, own: Option<usize>) -> usize {
        let calls = self.in_flight_calls.cut_off(own).into_iter();
        let unsent = self.report_all_rejected(calls.map(cut_off).collect());
        self.idle.notify();
        unsent
    }

    /// Cuts off a call that a worker starts after the others were cut off.
    pub(super) fn cut_off_one(&self, job: &Job) {
        self.report_rejected(cut_off(Job::clone(job)));
    }

    /// Returns how many calls in flight were cut off, apart from that of the worker `own`. Their callers are answered,
    /// and the broker may never return.
    pub(super) fn cut_off_calls(&self, own: Option<usize>) -> usize {
        self.in_flight_calls.still_running(own, |job| self.is_cut_off(job))
    }

    /// Returns how many workers, apart from the worker `own`, still run a call that was cut off.
    pub(super) fn hanging_workers(&self, own: Option<usize>) -> usize {
        self.in_flight_calls.hanging_workers(own, |job| self.is_cut_off(job))
    }

    fn is_cut_off(&self, job: &Job) -> bool {
        job.meta().attachment.stage(self.index) == AttachmentStage::CutOff
    }

    /// Blocks until no call is queued and none is in flight, apart from that of the worker `own` and those that were
    /// cut off, or until `deadline`. Returns whether the lane became idle.
    pub(super) fn wait_until_idle(&self, own: Option<usize>, deadline: Moment) -> bool {
        let is_idle = || {
            // A call is dispatched under this lock, and counts as in flight until it is done or queued again.
            let queue = self.lock_queue();
            let has_deferred = self.has_deferred.load(Ordering::SeqCst);
            let in_flight = self.in_flight() + self.reporting.load(Ordering::SeqCst);
            !has_deferred
                && queue.scheduler.is_empty()
                && !self.offers.has_parked(|_| true)
                && self.queue_capacity.queued() == 0
                && in_flight <= usize::from(own.is_some()) + self.cut_off_calls(own)
        };
        self.idle.wait(&self.clock, deadline, is_idle)
    }
}

/// A call that was rejected or cut off, and is to be reported.
struct RejectedCall {
    job: Job,
    kind: LaneErrorKind,
    result: RejectResult,
}

/// Answers the caller of a call in flight. A call that has not begun is reported as rejected by a closed lane.
fn cut_off(job: Job) -> RejectedCall {
    let result = job.cut_off(LaneErrorKind::CutOff);
    RejectedCall { job, kind: LaneErrorKind::Closed, result }
}

impl fmt::Debug for LaneCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("name", &self.name).finish_non_exhaustive()
    }
}
