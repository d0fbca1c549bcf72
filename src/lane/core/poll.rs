//! One look at what waits and what is permitted.
//!
//! A look is under the lock of the queue, and within it that of the allowance: arrivals are moved into
//! the schedule, a permit is taken for the call whose turn it is, and the call is dispatched. What it
//! finds to be refused or dropped is code that is not ours: it is left over, and done later.

use std::sync::atomic::Ordering;

use super::LaneCore;
use crate::lane::call::rank::Rank;
use crate::lane::config::ExpiredSessionPolicy;
use crate::lane::error::LaneErrorKind;
use crate::lane::queue::priority_level::Job;
use crate::lane::queue::scheduler::{Scheduler, Selection};
use crate::lane::state::LaneState;
use crate::lane::workers::health::{AttemptContext, LaneHealth};
use crate::lane::workers::pool::{NextWork, Role, WorkSource};
use crate::panic::catch_panic;
use crate::quota::{BlockedBy, Moment, NoCapacity, NotYet, PacingState, Permit};

/// The right to send one call.
pub(crate) struct Dispatch {
    pub(super) permit: Permit,
    pub(super) context: AttemptContext,
}

/// Why a call was not dispatched.
enum NotDispatched {
    /// Its caller took it back, or somebody refused it.
    NoLongerQueued,
    /// There is no permit for it now.
    NoPermit,
}

/// What a look leaves to be done without its locks.
#[derive(Default)]
pub(in crate::lane) struct Deferred {
    /// Calls whose deadline has passed, as of this moment.
    expired: Vec<Job>,
    now: Moment,
    /// Calls that no window will ever have room for.
    too_heavy: Vec<Job>,
    /// Calls of routes whose breaker is open, and until when.
    breaker_open: Vec<(Job, Option<Moment>)>,
    /// Calls that find the session expired.
    unauthorized: Vec<Job>,
    /// Calls that were made from within their own lane, and would wait for themselves.
    reentrant: Vec<Job>,
    /// Calls that wait no more: what they hold is to be dropped.
    to_drop: Vec<Job>,
}

impl WorkSource for LaneCore {
    type Call = (Job, Dispatch);

    /// One look at what waits and what is permitted.
    fn poll(&self, role: Role) -> NextWork<(Job, Dispatch)> {
        let (work, ring) = {
            let mut deferred = Deferred::default();
            let mut queue = self.queue.lock();
            self.unseen_moves.store(false, Ordering::SeqCst);
            let work = self.poll_locked(&mut queue.scheduler, &mut deferred);
            let next = match &work {
                NextWork::Sleep(until) => *until,
                NextWork::Run(..) => queue.scheduler.next_deadline(),
                NextWork::Closed => None,
            };
            // There is work for another worker, or the leader sleeps for too long.
            let mut ring = false;
            match role {
                Role::Leader => queue.leader_wakes_at = next,
                // The leader may sleep for longer than is right now.
                Role::Other => {
                    let sooner = |at| queue.leader_wakes_at.is_none_or(|wakes| at < wakes);
                    let more =
                        matches!(work, NextWork::Run(..)) && self.can_take_more(&queue.scheduler);
                    ring = more || next.is_some_and(sooner);
                }
            }
            // Under the lock: who drains the lane sees what was taken out here or there.
            if !deferred.is_empty() {
                self.deferred.lock().push(deferred);
                self.has_deferred.store(true, Ordering::SeqCst);
            }
            (work, ring)
        };
        if ring {
            self.wake_one();
        }
        work
    }

    fn has_unseen_calls(&self) -> bool {
        // In this order: see `take_stock`.
        !self.arrivals.is_empty() || self.unseen_moves.load(Ordering::SeqCst)
    }

    fn has_deferred(&self) -> bool {
        self.has_deferred.load(Ordering::SeqCst)
    }

    fn run_deferred(&self) {
        // Who drains the lane waits for this too; one who does so from in here does not wait for itself.
        self.reporting.fetch_add(1, Ordering::SeqCst);
        self.has_deferred.store(false, Ordering::SeqCst);
        let deferred = std::mem::take(&mut *self.deferred.lock());
        self.complete_deferred(deferred);
        self.reporting.fetch_sub(1, Ordering::SeqCst);
        self.idle.notify();
    }

    fn needs_leader(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.leader_wakes_at = None;
        self.has_unseen_calls()
            || queue.scheduler.next_deadline().is_some()
            || self.can_take_more(&queue.scheduler)
    }
}

impl LaneCore {
    /// Whether one more worker might find something to do.
    fn can_take_more(&self, scheduler: &Scheduler) -> bool {
        let may_go = |rank| rank != Rank::Normal || !self.session.is_expired();
        Rank::ALL
            .into_iter()
            .any(|rank| scheduler.has_waiting(rank) && self.may_run(rank) && may_go(rank))
    }

    fn poll_locked(
        &self,
        scheduler: &mut Scheduler,
        deferred: &mut Deferred,
    ) -> NextWork<(Job, Dispatch)> {
        match self.state() {
            LaneState::Closed => return NextWork::Closed,
            LaneState::Paused => {
                self.drain_arrivals(scheduler);
                deferred.collect_expired(scheduler, self.clock.now());
                return NextWork::Sleep(scheduler.next_deadline());
            }
            LaneState::Running | LaneState::Draining => {}
        }
        let may_run = self.may_run(Rank::Normal);
        if may_run && scheduler.is_idle() && self.arrivals.len() == 1 {
            if let Some(go) = self.try_fast_path(scheduler, deferred) {
                return go;
            }
        }
        self.drain_arrivals(scheduler);
        let (mut pacing_state, now) = self.pacing.lock();
        deferred.collect_expired(scheduler, now);
        let (blocked, pause) = {
            let mut health = self.health.lock();
            (health.blocked_routes(now), health.paused_until(now))
        };
        scheduler.release_held(|route| blocked.iter().any(|blocked| blocked.route == route));
        // When a route that calls are held for may be tried, or its trial is decided.
        let mut trial = None;
        for known in blocked {
            let calls = match known.is_forced {
                true => scheduler.drain(),
                false => scheduler.hold_or_refuse(&known, |meta| {
                    self.open_breaker_policy.should_hold(meta, &known)
                }),
            };
            deferred.breaker_open.extend(calls.into_iter().map(|job| (job, known.until)));
            trial = known
                .until
                .filter(|_| scheduler.holds_route(known.route))
                .into_iter()
                .chain(trial)
                .min();
        }
        let is_expired = self.session.is_expired();
        if is_expired && self.expired_session_policy == ExpiredSessionPolicy::Refuse {
            deferred.unauthorized = scheduler.drain_normal();
        }
        let least = match (may_run && !is_expired, self.may_run(Rank::UrgentRead)) {
            (true, _) => Rank::Normal,
            (false, true) => Rank::UrgentRead,
            (false, false) => Rank::UrgentWrite,
        };
        if least > Rank::Normal && !self.can_take_more(scheduler) {
            return NextWork::Sleep(scheduler.next_deadline());
        }
        if let Some(until) = pause.filter(|_| !scheduler.is_empty()) {
            return NextWork::Sleep(scheduler.next_deadline().into_iter().chain([until]).min());
        }
        let until = loop {
            match scheduler.select(now, least, |cost| pacing_state.check(cost, now)) {
                Selection::Next(job) => {
                    match self.dispatch(&job, &mut pacing_state, now, scheduler) {
                        Ok(turn) => {
                            // One of two hands on the same call: no code of a user's runs here.
                            drop(scheduler.take_dispatched(job.meta(), now));
                            return NextWork::Run((job, turn));
                        }
                        Err(NotDispatched::NoLongerQueued) => {
                            deferred.to_drop.extend(scheduler.remove(job.meta()));
                            deferred.to_drop.push(job);
                        }
                        Err(NotDispatched::NoPermit) => break Some(now),
                    }
                }
                Selection::Never(cost) => deferred.too_heavy.extend(scheduler.drain_cost(cost)),
                Selection::Wait(until) => break until,
            }
        };
        let release = pacing_state.next_release(now);
        // A call without an answer lets go of its slot by itself.
        if release.is_none() {
            // Nothing will go by itself, at a later time or after a trial of the broker.
            let is_stuck = until.is_none() && trial.is_none();
            let is_held = |job: &Job| match pacing_state.check(job.meta().cost, now) {
                // A heavier one before it waits for a slot.
                Ok(()) => is_stuck && job.meta().cost.budgets.is_empty(),
                // Who holds a budget may be of another lane.
                Err(NoCapacity { not_yet, by }) => {
                    not_yet == NotYet::InFlight && by == BlockedBy::Lane
                }
            };
            if let Some(job) = self.find_slot_starved(is_held) {
                deferred.reentrant.extend(scheduler.remove(job.meta()));
                deferred.to_drop.push(job);
            }
        }
        let deadline = scheduler.next_deadline().into_iter().chain(trial).min();
        let release = release.filter(|_| !scheduler.is_empty());
        let waits_for_the_wall = !scheduler.is_empty() && pacing_state.uses_wall_clock();
        let wall = self.clock.next_wall_check(now).filter(|_| waits_for_the_wall);
        NextWork::Sleep(until.into_iter().chain(release).chain(deadline).chain(wall).min())
    }

    /// The one call that there is: if it may go, it needs no place in the schedule.
    fn try_fast_path(
        &self,
        scheduler: &mut Scheduler,
        deferred: &mut Deferred,
    ) -> Option<NextWork<(Job, Dispatch)>> {
        let job = self.arrivals.try_recv().ok()?;
        let (mut pacing_state, now) = self.pacing.lock();
        let is_in_time = job.meta().deadline.is_none_or(|deadline| now < deadline);
        let may_go = || {
            let mut health = self.health.lock();
            let has_session = job.meta().is_urgent() || !self.session.is_expired();
            has_session
                && health.paused_until(now).is_none()
                && health.blocked_route(job.meta(), now).is_none()
        };
        if is_in_time && may_go() {
            match self.dispatch(&job, &mut pacing_state, now, scheduler) {
                Ok(turn) => return Some(NextWork::Run((job, turn))),
                Err(NotDispatched::NoLongerQueued) => {
                    deferred.to_drop.push(job);
                    return None;
                }
                Err(NotDispatched::NoPermit) => {}
            }
        }
        drop(pacing_state);
        self.enqueue(scheduler, job);
        None
    }

    /// Takes a permit and dispatches the call with it: both or neither.
    fn dispatch(
        &self,
        job: &Job,
        pacing_state: &mut PacingState,
        now: Moment,
        scheduler: &Scheduler,
    ) -> Result<Dispatch, NotDispatched> {
        let permit =
            pacing_state.take(job.meta().cost, now).map_err(|_| NotDispatched::NoPermit)?;
        if !job.dispatch() {
            pacing_state.give_back(permit);
            return Err(NotDispatched::NoLongerQueued);
        }
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let context = {
            let mut health = self.health.lock();
            // The call itself may still be in there.
            let others = scheduler.load().calls() > 1;
            let context = health.on_dispatch(now, job.meta(), others, self.session.generation());
            self.apply_rate_change(&mut health, pacing_state, now);
            context
        };
        Ok(Dispatch { permit, context })
    }

    /// Tells the allowance of a rate that was cut, or grew back.
    pub(super) fn apply_rate_change(
        &self,
        health: &mut LaneHealth,
        pacing_state: &mut PacingState,
        now: Moment,
    ) {
        if let Some(limits) = health.take_new_limits() {
            // What was configured is valid, and a cut of it is.
            let _ = pacing_state.set_lane_and_cut(
                self.index,
                &limits.all_calls,
                &limits.normal_calls,
                now,
            );
        }
    }

    /// Does what looks have left over: all calls are answered before anybody is told.
    fn complete_deferred(&self, deferred: Vec<Deferred>) {
        let (mut refused, mut gone) = (Vec::new(), Vec::new());
        for Deferred {
            expired,
            now,
            too_heavy,
            breaker_open: blocked,
            unauthorized,
            reentrant,
            to_drop: dead,
        } in deferred
        {
            refused.extend(reentrant.into_iter().map(|job| (job, LaneErrorKind::Reentrant)));
            refused.extend(expired.into_iter().map(|job| {
                let waited = now.since(job.meta().submitted_at);
                (job, LaneErrorKind::DeadlinePassed { waited })
            }));
            refused.extend(too_heavy.into_iter().map(|job| (job, LaneErrorKind::TooHeavy)));
            refused.extend(blocked.into_iter().map(|(job, until)| {
                let retry_in = until.map(|until| until.since(now));
                (job, LaneErrorKind::BrokerDown { retry_in })
            }));
            refused
                .extend(unauthorized.into_iter().map(|job| (job, LaneErrorKind::SessionExpired)));
            gone.extend(dead);
        }
        self.reject(refused);
        for job in gone {
            let _ = catch_panic(|| drop(job));
        }
    }
}

impl Deferred {
    fn is_empty(&self) -> bool {
        let Self {
            expired,
            now: _,
            too_heavy,
            breaker_open: blocked,
            unauthorized,
            reentrant,
            to_drop: dead,
        } = self;
        let lists = [expired, too_heavy, unauthorized, reentrant, dead];
        blocked.is_empty() && lists.iter().all(|calls| calls.is_empty())
    }

    fn collect_expired(&mut self, scheduler: &mut Scheduler, now: Moment) {
        self.now = now;
        self.expired.extend(scheduler.take_expired(now));
    }
}
