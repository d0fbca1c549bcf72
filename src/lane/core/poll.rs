//! Polling a lane for a call that may be sent now.
//!
//! The worker pool calls `poll`. Under the lock of the queue, and within it that of the pacing state, a poll moves
//! arrivals into the scheduler, takes a permit for the call whose turn it is, and dispatches the call.
//!
//! A permit of a quota that several processes share is asked for by a worker that holds no lock, as deferred work. A poll that
//! finds no such permit only notes what to ask for.
//!
//! Rejecting or dropping a call runs user code. A poll only collects such calls as deferred work, and a worker
//! that is not the leader completes it later, with no lock held.

use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::LaneCore;
use super::turn::OwnCall;
use crate::lane::attachment::AttachmentStage;
use crate::lane::call::CallMeta;
use crate::lane::call::worker_class::WorkerClass;
use crate::lane::config::ExpiredSessionPolicy;
use crate::lane::error::LaneErrorKind;
use crate::lane::permit_source::{PermitEnd, PermitRequest, SharedPermit};
use crate::lane::queue::priority_level::Job;
use crate::lane::queue::scheduler::{Scheduler, Selection};
use crate::lane::state::LaneState;
use crate::lane::workers::health::{AttemptContext, LaneHealth};
use crate::lane::workers::pool::{NextWork, Role, WorkSource};
use crate::panic::{catch_panic, wake_all};
use crate::quota::{BlockedBy, Moment, NoCapacity, NotYet, PacingState, Permit};

/// The permits and the context of a dispatched call.
pub(crate) struct Dispatch {
    pub(super) permit: Permit,
    /// The permit of the processes that share the quota.
    pub(super) shared: Option<SharedPermit>,
    pub(super) context: AttemptContext,
}

impl Dispatch {
    /// Returns the time from submission to dispatch.
    pub(super) fn queued(&self, meta: &CallMeta) -> Duration {
        self.permit.taken_at().since(meta.submitted_at)
    }
}

/// Why a call was not dispatched.
pub(super) enum NotDispatched {
    /// The caller cancelled or abandoned the call, or the lane rejected it.
    NoLongerQueued,
    /// No permit is available now.
    NoPermit,
    /// A worker has to ask for a permit first.
    Asking,
    /// The proxy of the call was shut down.
    Detached,
}

/// The work that a poll defers until its locks are released.
#[derive(Default)]
pub(in crate::lane) struct Deferred {
    /// Calls to reject, and why.
    rejected: Vec<(Job, LaneErrorKind)>,
    /// Calls that are not queued any more, to be dropped.
    to_drop: Vec<Job>,
    /// The wakers of alarms that are due.
    due_alarms: Vec<Waker>,
    /// Turns that were not taken in time.
    ended_offers: Vec<OwnCall>,
    /// Turns that were taken back for an urgent call.
    revoked_offers: Vec<OwnCall>,
}

impl WorkSource for LaneCore {
    type Call = (Job, Dispatch);

    /// Dispatches the next call, if one may be sent now.
    fn poll(&self, role: Role) -> NextWork<(Job, Dispatch)> {
        let (work, needs_wakeup) = {
            let mut deferred = Deferred::default();
            let mut queue = self.queue.lock();
            self.unseen_moves.store(false, Ordering::SeqCst);
            let mut work = self.poll_locked(&mut queue.scheduler, &mut deferred);
            if let Some(source) = self.pacing.source() {
                if !matches!(work, NextWork::Run(..)) {
                    source.give_back_unused(self.index, self.clock.now());
                }
                if source.has_ask(self.index) {
                    self.has_deferred.store(true, Ordering::SeqCst);
                }
            }
            deferred.due_alarms = self.take_due_alarms(&mut queue);
            self.end_timed_turns(&mut deferred);
            if matches!(work, NextWork::Sleep(_)) {
                self.take_turns_for_urgent(&queue.scheduler, &mut deferred);
            }
            let next = match &mut work {
                NextWork::Sleep(until) => {
                    let timed = queue.next_alarm().into_iter().chain(self.offers.next_end());
                    *until = until.iter().copied().chain(timed).min();
                    *until
                }
                NextWork::Run(..) => self.next_timed(&queue),
                NextWork::Closed => None,
            };
            let mut needs_wakeup = false;
            match role {
                Role::Leader => queue.leader_wakes_at = next,
                // Another worker has work to do too, or the leader would sleep for too long.
                Role::Other => {
                    let sooner = |at| queue.leader_wakes_at.is_none_or(|wakes| at < wakes);
                    let more =
                        matches!(work, NextWork::Run(..)) && self.can_take_more(&queue.scheduler);
                    needs_wakeup = more || next.is_some_and(sooner);
                }
            }
            // Under the lock of the queue: a drain sees each call in the queue or in the deferred work.
            if !deferred.is_empty() {
                self.deferred.lock().push(deferred);
                self.has_deferred.store(true, Ordering::SeqCst);
            }
            (work, needs_wakeup)
        };
        if needs_wakeup {
            self.wake_one();
        }
        work
    }

    fn has_unseen_calls(&self) -> bool {
        // In this order: `LaneCore::lock_queue` sets the flag before it drains the arrivals.
        !self.arrivals.is_empty() || self.unseen_moves.load(Ordering::SeqCst)
    }

    fn has_deferred(&self) -> bool {
        self.has_deferred.load(Ordering::SeqCst)
    }

    fn run_deferred(&self) {
        // A drain waits for this too. A drain from within an observer here does not wait for its own worker.
        self.reporting.fetch_add(1, Ordering::SeqCst);
        self.has_deferred.store(false, Ordering::SeqCst);
        let deferred = std::mem::take(&mut *self.deferred.lock());
        self.complete_deferred(deferred);
        if let Some(source) = self.pacing.source() {
            source.ask(self.index);
            if source.has_ask(self.index) {
                self.has_deferred.store(true, Ordering::SeqCst);
            }
        }
        self.reporting.fetch_sub(1, Ordering::SeqCst);
        self.idle.notify();
    }

    fn needs_leader(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.leader_wakes_at = None;
        self.has_unseen_calls()
            || self.next_timed(&queue).is_some()
            || self.can_take_more(&queue.scheduler)
    }
}

impl LaneCore {
    /// Returns whether one more worker might find a call to dispatch.
    fn can_take_more(&self, scheduler: &Scheduler) -> bool {
        let may_go = |class| class != WorkerClass::Normal || !self.session.is_expired();
        WorkerClass::ALL
            .into_iter()
            .any(|class| scheduler.has_waiting(class) && self.may_run(class) && may_go(class))
    }

    /// Polls under the lock of the queue.
    fn poll_locked(
        &self,
        scheduler: &mut Scheduler,
        deferred: &mut Deferred,
    ) -> NextWork<(Job, Dispatch)> {
        match self.state() {
            LaneState::Closed => return NextWork::Closed,
            LaneState::Paused => {
                self.drain_arrivals(scheduler);
                deferred.reject_expired(scheduler, self.clock.now());
                return NextWork::Sleep(scheduler.next_deadline());
            }
            LaneState::Running | LaneState::Draining => {}
        }
        let may_run = self.may_run(WorkerClass::Normal);
        if may_run && scheduler.is_idle() && self.arrivals.len() == 1 {
            if let Some(go) = self.try_fast_path(scheduler, deferred) {
                return go;
            }
        }
        self.drain_arrivals(scheduler);
        let (mut pacing_state, now) = self.pacing.lock();
        deferred.reject_expired(scheduler, now);
        let (blocked, pause) = {
            let mut health = self.health.lock();
            (health.blocked_routes(now), health.paused_until(now))
        };
        scheduler.release_held(|route| blocked.iter().any(|blocked| blocked.route == route));
        // When a route with held calls becomes half open, or its half-open period ends.
        let mut next_probe = None;
        for route in blocked {
            let calls = match route.is_forced {
                true => scheduler.drain(),
                false => scheduler.hold_or_refuse(&route, |meta| {
                    self.open_breaker_policy.should_hold(meta, &route)
                }),
            };
            let retry_in = route.until.map(|until| until.since(now));
            deferred.reject(calls, |_| LaneErrorKind::BrokerDown { retry_in });
            next_probe = route
                .until
                .filter(|_| scheduler.holds_route(route.route))
                .into_iter()
                .chain(next_probe)
                .min();
        }
        let is_expired = self.session.is_expired();
        if is_expired && self.expired_session_policy == ExpiredSessionPolicy::Refuse {
            deferred.reject(scheduler.drain_normal(), |_| LaneErrorKind::SessionExpired);
        }
        let min_class = match (may_run && !is_expired, self.may_run(WorkerClass::UrgentRead)) {
            (true, _) => WorkerClass::Normal,
            (false, true) => WorkerClass::UrgentRead,
            (false, false) => WorkerClass::UrgentWrite,
        };
        if min_class > WorkerClass::Normal && !self.can_take_more(scheduler) {
            return NextWork::Sleep(scheduler.next_deadline());
        }
        if let Some(until) = pause.filter(|_| !scheduler.is_empty()) {
            return NextWork::Sleep(scheduler.next_deadline().into_iter().chain([until]).min());
        }
        let mut is_asking = false;
        let until = loop {
            let check = |cost| self.pacing.check(&mut pacing_state, cost, now);
            match scheduler.select(now, min_class, check) {
                Selection::Next(job) => {
                    match self.dispatch(&job, &mut pacing_state, now, scheduler) {
                        Ok(dispatch) => {
                            // Drops one of two references to the call, so no user code runs here.
                            drop(scheduler.take_dispatched(job.meta(), now));
                            return NextWork::Run((job, dispatch));
                        }
                        Err(NotDispatched::NoLongerQueued) => {
                            deferred.to_drop.extend(scheduler.remove(job.meta()));
                            deferred.to_drop.push(job);
                        }
                        Err(NotDispatched::Detached) => {
                            let removed = scheduler.remove(job.meta());
                            deferred.reject(removed, |_| LaneErrorKind::Closed);
                            deferred.to_drop.push(job);
                        }
                        Err(NotDispatched::NoPermit) => break Some(now),
                        // The worker that asks polls again.
                        Err(NotDispatched::Asking) => {
                            is_asking = true;
                            break None;
                        }
                    }
                }
                Selection::Never(cost) => {
                    deferred.reject(scheduler.drain_cost(cost), |_| LaneErrorKind::TooHeavy);
                }
                Selection::Wait(until) => break until,
            }
        };
        let release = pacing_state.next_release(now);
        // A slot of an unanswered call is released at a known time. Without such a time, calls may starve each other.
        if release.is_none() {
            // No call can be sent at a later time or after a half-open period, unless a call in flight ends.
            let is_stuck = until.is_none() && next_probe.is_none() && !is_asking;
            // Redis may return, and frees slots that no call in flight holds.
            let may_ask = |cost| self.pacing.source().is_none_or(|it| it.check(cost, now).is_ok());
            let is_held = |job: &Job| match pacing_state.check(job.meta().cost, now) {
                // A heavier call ahead of it waits for a slot.
                Ok(()) => {
                    is_stuck && job.meta().cost.budgets.is_empty() && may_ask(job.meta().cost)
                }
                // The calls that hold a budget may be of another lane.
                Err(NoCapacity { not_yet, by }) => {
                    not_yet == NotYet::InFlight && by == BlockedBy::Lane
                }
            };
            if let Some(job) = self.find_slot_starved(is_held) {
                // Reentrant calls would wait for each other's slots for ever.
                deferred.reject(scheduler.remove(job.meta()), |_| LaneErrorKind::Reentrant);
                deferred.to_drop.push(job);
            }
        }
        let deadline = scheduler.next_deadline().into_iter().chain(next_probe).min();
        let release = release.filter(|_| !scheduler.is_empty());
        let waits_for_wall_clock = !scheduler.is_empty() && pacing_state.uses_wall_clock();
        let wall_check = self.clock.next_wall_check(now).filter(|_| waits_for_wall_clock);
        NextWork::Sleep(until.into_iter().chain(release).chain(deadline).chain(wall_check).min())
    }

    /// Dispatches the only arrival at an idle lane, without a detour through the scheduler. Returns `None` if it may
    /// not be sent now: then it is enqueued, or deferred.
    fn try_fast_path(
        &self,
        scheduler: &mut Scheduler,
        deferred: &mut Deferred,
    ) -> Option<NextWork<(Job, Dispatch)>> {
        let job = self.arrivals.try_recv().ok()?;
        let (mut pacing_state, now) = self.pacing.lock();
        if self.may_go(job.meta(), now) {
            match self.dispatch(&job, &mut pacing_state, now, scheduler) {
                Ok(dispatch) => return Some(NextWork::Run((job, dispatch))),
                Err(NotDispatched::NoLongerQueued) => {
                    deferred.to_drop.push(job);
                    return None;
                }
                Err(NotDispatched::Detached) => {
                    deferred.reject([job], |_| LaneErrorKind::Closed);
                    return None;
                }
                Err(NotDispatched::NoPermit | NotDispatched::Asking) => {}
            }
        }
        drop(pacing_state);
        self.enqueue(scheduler, job);
        None
    }

    /// Returns whether nothing but the pacing state can hold up a call for which no other one waits.
    pub(super) fn may_go(&self, meta: &CallMeta, now: Moment) -> bool {
        let is_in_time = meta.deadline.is_none_or(|deadline| now < deadline);
        let has_session = meta.is_urgent() || !self.session.is_expired();
        is_in_time && has_session && {
            let mut health = self.health.lock();
            health.paused_until(now).is_none() && health.blocked_route(meta, now).is_none()
        }
    }

    /// Takes a permit and dispatches the call, or does neither.
    pub(super) fn dispatch(
        &self,
        job: &Job,
        pacing_state: &mut PacingState,
        now: Moment,
        scheduler: &Scheduler,
    ) -> Result<Dispatch, NotDispatched> {
        // Under the lock of the queue: a shutdown takes it after it has set the stage, so no call is sent after that.
        if job.meta().attachment.stage(self.index) >= AttachmentStage::Closed {
            return Err(NotDispatched::Detached);
        }
        let permit =
            pacing_state.take(job.meta().cost, now).map_err(|_| NotDispatched::NoPermit)?;
        let mut shared = None;
        if let Some(source) = self.pacing.source() {
            // A new call may not be in the scheduler yet.
            let waiting = scheduler.load().calls().max(1);
            let (cost, priority) = (job.meta().cost, job.meta().priority.get());
            shared = source.take(PermitRequest { cost, priority, waiting }, now);
            if shared.is_none() {
                pacing_state.give_back(permit);
                return Err(NotDispatched::Asking);
            }
        }
        if !job.dispatch() {
            pacing_state.give_back(permit);
            self.end_shared(shared, PermitEnd::Unused, now);
            return Err(NotDispatched::NoLongerQueued);
        }
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        job.meta().attachment.begin_call(self.index);
        let context = {
            let mut health = self.health.lock();
            // The scheduler may still hold this call.
            let others_wait = scheduler.load().calls() > 1;
            let context =
                health.on_dispatch(now, job.meta(), others_wait, self.session.generation());
            self.apply_rate_change(&mut health, pacing_state, now);
            context
        };
        Ok(Dispatch { permit, shared, context })
    }

    /// Ends the use of a permit of several processes, if there is one.
    pub(super) fn end_shared(&self, permit: Option<SharedPermit>, end: PermitEnd, now: Moment) {
        if let (Some(source), Some(permit)) = (self.pacing.source(), permit) {
            source.end(permit, end, now);
        }
    }

    /// Applies a rate cut, or its end, to the pacing state.
    pub(super) fn apply_rate_change(
        &self,
        health: &mut LaneHealth,
        pacing_state: &mut PacingState,
        now: Moment,
    ) {
        if let Some(limits) = health.take_new_limits() {
            // Cannot fail: the configured quota is valid, and so is a cut of it.
            let _ = pacing_state.set_lane_limits(self.index, &limits.limits(), now);
        }
    }

    /// Takes back the turns for whose slots an urgent call waits. No task has taken them, so nothing was sent.
    fn take_turns_for_urgent(&self, scheduler: &Scheduler, deferred: &mut Deferred) {
        if self.offers.is_empty() {
            return;
        }
        let Some(urgent) = scheduler.next_urgent_cost() else { return };
        let blocked = {
            let (mut pacing_state, now) = self.pacing.lock();
            pacing_state.check(urgent, now).err()
        };
        deferred.revoked_offers = self.offers.take_normal(|cost| match &blocked {
            // Slots of the lane, or too many calls in flight.
            None | Some(NoCapacity { by: BlockedBy::Lane, .. }) => true,
            Some(blocked) => {
                blocked.budgets().any(|budget| cost.budgets.iter().any(|it| it == budget))
            }
        });
    }

    /// Takes the turns that were not taken in time, and rejects the parked calls whose deadline has passed.
    fn end_timed_turns(&self, deferred: &mut Deferred) {
        if self.offers.is_empty() {
            return;
        }
        let now = self.clock.now();
        deferred.ended_offers = self.offers.take_ended(now);
        deferred.reject_late(self.offers.take_expired(now), now);
    }

    /// Completes deferred work. All calls are answered before the observer is notified of any.
    fn complete_deferred(&self, deferred: Vec<Deferred>) {
        let (mut rejected, mut dropped, mut due_alarms) = (Vec::new(), Vec::new(), Vec::new());
        for calls in deferred {
            calls.ended_offers.iter().for_each(OwnCall::miss);
            due_alarms.extend(self.end_offers(calls.ended_offers));
            due_alarms.extend(self.end_offers(calls.revoked_offers));
            rejected.extend(calls.rejected);
            dropped.extend(calls.to_drop);
            due_alarms.extend(calls.due_alarms);
        }
        self.reject(rejected);
        for job in dropped {
            let _ = catch_panic(|| drop(job));
        }
        wake_all(due_alarms);
    }
}

impl Deferred {
    fn is_empty(&self) -> bool {
        let Self { rejected, to_drop, due_alarms, ended_offers, revoked_offers } = self;
        rejected.is_empty()
            && to_drop.is_empty()
            && due_alarms.is_empty()
            && ended_offers.is_empty()
            && revoked_offers.is_empty()
    }

    fn reject(
        &mut self,
        calls: impl IntoIterator<Item = Job>,
        kind: impl Fn(&CallMeta) -> LaneErrorKind,
    ) {
        self.rejected.extend(calls.into_iter().map(|job| {
            let kind = kind(job.meta());
            (job, kind)
        }));
    }

    /// Rejects the calls whose deadline has passed.
    fn reject_expired(&mut self, scheduler: &mut Scheduler, now: Moment) {
        self.reject_late(scheduler.take_expired(now), now);
    }

    fn reject_late(&mut self, calls: Vec<Job>, now: Moment) {
        self.reject(calls, |meta| LaneErrorKind::DeadlinePassed {
            waited: now.since(meta.submitted_at),
        });
    }
}
