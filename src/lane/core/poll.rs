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
        let (look, ring) = {
            let mut left = Deferred::default();
            let mut queue = self.queue.lock();
            self.unseen_moves.store(false, Ordering::SeqCst);
            let look = self.poll_locked(&mut queue.scheduler, &mut left);
            let next = match &look {
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
                        matches!(look, NextWork::Run(..)) && self.can_take_more(&queue.scheduler);
                    ring = more || next.is_some_and(sooner);
                }
            }
            // Under the lock: who drains the lane sees what was taken out here or there.
            if !left.is_empty() {
                self.deferred.lock().push(left);
                self.has_deferred.store(true, Ordering::SeqCst);
            }
            (look, ring)
        };
        if ring {
            self.wake_one();
        }
        look
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
        let chores = std::mem::take(&mut *self.deferred.lock());
        self.complete_deferred(chores);
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
    fn can_take_more(&self, schedule: &Scheduler) -> bool {
        let may_go = |rank| rank != Rank::Normal || !self.session.is_expired();
        Rank::ALL
            .into_iter()
            .any(|rank| schedule.has_waiting(rank) && self.may_run(rank) && may_go(rank))
    }

    fn poll_locked(
        &self,
        schedule: &mut Scheduler,
        left: &mut Deferred,
    ) -> NextWork<(Job, Dispatch)> {
        match self.state() {
            LaneState::Closed => return NextWork::Closed,
            LaneState::Paused => {
                self.drain_arrivals(schedule);
                left.collect_expired(schedule, self.clock.now());
                return NextWork::Sleep(schedule.next_deadline());
            }
            LaneState::Running | LaneState::Draining => {}
        }
        let may_run = self.may_run(Rank::Normal);
        if may_run && schedule.is_idle() && self.arrivals.len() == 1 {
            if let Some(go) = self.try_fast_path(schedule, left) {
                return go;
            }
        }
        self.drain_arrivals(schedule);
        let (mut allowance, now) = self.pacing.lock();
        left.collect_expired(schedule, now);
        let (down, pause) = {
            let mut care = self.health.lock();
            (care.blocked_routes(now), care.paused_until(now))
        };
        schedule.release_held(|route| down.iter().any(|down| down.route == route));
        // When a route that calls are held for may be tried, or its trial is decided.
        let mut trial = None;
        for known in down {
            let calls = match known.is_forced {
                true => schedule.drain(),
                false => schedule.hold_or_refuse(&known, |info| {
                    self.open_breaker_policy.should_hold(info, &known)
                }),
            };
            left.breaker_open.extend(calls.into_iter().map(|job| (job, known.until)));
            trial = known
                .until
                .filter(|_| schedule.holds_route(known.route))
                .into_iter()
                .chain(trial)
                .min();
        }
        let is_expired = self.session.is_expired();
        if is_expired && self.expired_session_policy == ExpiredSessionPolicy::Refuse {
            left.unauthorized = schedule.drain_normal();
        }
        let least = match (may_run && !is_expired, self.may_run(Rank::UrgentRead)) {
            (true, _) => Rank::Normal,
            (false, true) => Rank::UrgentRead,
            (false, false) => Rank::UrgentWrite,
        };
        if least > Rank::Normal && !self.can_take_more(schedule) {
            return NextWork::Sleep(schedule.next_deadline());
        }
        if let Some(until) = pause.filter(|_| !schedule.is_empty()) {
            return NextWork::Sleep(schedule.next_deadline().into_iter().chain([until]).min());
        }
        let until = loop {
            match schedule.select(now, least, |charge| allowance.check(charge, now)) {
                Selection::Next(job) => match self.dispatch(&job, &mut allowance, now, schedule) {
                    Ok(turn) => {
                        // One of two hands on the same call: no code of a user's runs here.
                        drop(schedule.take_dispatched(job.meta(), now));
                        return NextWork::Run((job, turn));
                    }
                    Err(NotDispatched::NoLongerQueued) => {
                        left.to_drop.extend(schedule.remove(job.meta()));
                        left.to_drop.push(job);
                    }
                    Err(NotDispatched::NoPermit) => break Some(now),
                },
                Selection::Never(charge) => left.too_heavy.extend(schedule.drain_cost(charge)),
                Selection::Wait(until) => break until,
            }
        };
        let release = allowance.next_release(now);
        // A call without an answer lets go of its slot by itself.
        if release.is_none() {
            // Nothing will go by itself, at a later time or after a trial of the broker.
            let is_stuck = until.is_none() && trial.is_none();
            let is_held = |job: &Job| match allowance.check(job.meta().cost, now) {
                // A heavier one before it waits for a slot.
                Ok(()) => is_stuck && job.meta().cost.budgets.is_empty(),
                // Who holds a budget may be of another lane.
                Err(NoCapacity { not_yet, by }) => {
                    not_yet == NotYet::InFlight && by == BlockedBy::Lane
                }
            };
            if let Some(job) = self.find_slot_starved(is_held) {
                left.reentrant.extend(schedule.remove(job.meta()));
                left.to_drop.push(job);
            }
        }
        let deadline = schedule.next_deadline().into_iter().chain(trial).min();
        let release = release.filter(|_| !schedule.is_empty());
        let waits_for_the_wall = !schedule.is_empty() && allowance.uses_wall_clock();
        let wall = self.clock.next_wall_check(now).filter(|_| waits_for_the_wall);
        NextWork::Sleep(until.into_iter().chain(release).chain(deadline).chain(wall).min())
    }

    /// The one call that there is: if it may go, it needs no place in the schedule.
    fn try_fast_path(
        &self,
        schedule: &mut Scheduler,
        left: &mut Deferred,
    ) -> Option<NextWork<(Job, Dispatch)>> {
        let job = self.arrivals.try_recv().ok()?;
        let (mut allowance, now) = self.pacing.lock();
        let is_in_time = job.meta().deadline.is_none_or(|deadline| now < deadline);
        let may_go = || {
            let mut care = self.health.lock();
            let has_session = job.meta().is_urgent() || !self.session.is_expired();
            has_session
                && care.paused_until(now).is_none()
                && care.blocked_route(job.meta(), now).is_none()
        };
        if is_in_time && may_go() {
            match self.dispatch(&job, &mut allowance, now, schedule) {
                Ok(turn) => return Some(NextWork::Run((job, turn))),
                Err(NotDispatched::NoLongerQueued) => {
                    left.to_drop.push(job);
                    return None;
                }
                Err(NotDispatched::NoPermit) => {}
            }
        }
        drop(allowance);
        self.enqueue(schedule, job);
        None
    }

    /// Takes a permit and dispatches the call with it: both or neither.
    fn dispatch(
        &self,
        job: &Job,
        allowance: &mut PacingState,
        now: Moment,
        schedule: &Scheduler,
    ) -> Result<Dispatch, NotDispatched> {
        let permit = allowance.take(job.meta().cost, now).map_err(|_| NotDispatched::NoPermit)?;
        if !job.dispatch() {
            allowance.give_back(permit);
            return Err(NotDispatched::NoLongerQueued);
        }
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let pass = {
            let mut care = self.health.lock();
            // The call itself may still be in there.
            let others = schedule.load().calls() > 1;
            let pass = care.on_dispatch(now, job.meta(), others, self.session.generation());
            self.apply_rate_change(&mut care, allowance, now);
            pass
        };
        Ok(Dispatch { permit, context: pass })
    }

    /// Tells the allowance of a rate that was cut, or grew back.
    pub(super) fn apply_rate_change(
        &self,
        care: &mut LaneHealth,
        allowance: &mut PacingState,
        now: Moment,
    ) {
        if let Some(limits) = care.take_new_limits() {
            // What was configured is valid, and a cut of it is.
            let _ = allowance.set_lane_and_cut(
                self.index,
                &limits.all_calls,
                &limits.normal_calls,
                now,
            );
        }
    }

    /// Does what looks have left over: all calls are answered before anybody is told.
    fn complete_deferred(&self, chores: Vec<Deferred>) {
        let (mut refused, mut gone) = (Vec::new(), Vec::new());
        for Deferred {
            expired,
            now,
            too_heavy,
            breaker_open: down,
            unauthorized,
            reentrant,
            to_drop: dead,
        } in chores
        {
            refused.extend(reentrant.into_iter().map(|job| (job, LaneErrorKind::Reentrant)));
            refused.extend(expired.into_iter().map(|job| {
                let waited = now.since(job.meta().submitted_at);
                (job, LaneErrorKind::DeadlinePassed { waited })
            }));
            refused.extend(too_heavy.into_iter().map(|job| (job, LaneErrorKind::TooHeavy)));
            refused.extend(down.into_iter().map(|(job, until)| {
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
            breaker_open: down,
            unauthorized,
            reentrant,
            to_drop: dead,
        } = self;
        let lists = [expired, too_heavy, unauthorized, reentrant, dead];
        down.is_empty() && lists.iter().all(|calls| calls.is_empty())
    }

    fn collect_expired(&mut self, schedule: &mut Scheduler, now: Moment) {
        self.now = now;
        self.expired.extend(schedule.take_expired(now));
    }
}
