//! One look at what waits and what is permitted.
//!
//! A look is under the lock of the queue, and within it that of the allowance: arrivals are moved into
//! the schedule, a permit is taken for the call whose turn it is, and the call is dispatched. What it
//! finds to be refused or dropped is code that is not ours: it is left over, and done later.

use std::sync::atomic::Ordering;

use super::band::Job;
use super::care::{Care, Pass};
use super::config::ExpiredSessionPolicy;
use super::crew::{Look, Lookout, Role};
use super::error::LaneErrorKind;
use super::rank::Rank;
use super::schedule::{Choice, Schedule};
use super::shared::Shared;
use super::state::LaneState;
use crate::contain::contain;
use crate::quota::{BlockedBy, Moment, NoCapacity, NotYet, PacingState, Permit};

/// The right to send one call.
pub(crate) struct Turn {
    pub(super) permit: Permit,
    pub(super) pass: Pass,
}

/// Why a call was not dispatched.
enum Undispatched {
    /// Its caller took it back, or somebody refused it.
    Gone,
    /// There is no permit for it now.
    NoRoom,
}

/// What a look leaves to be done without its locks.
#[derive(Default)]
pub(super) struct Leftovers {
    /// Calls whose deadline has passed, as of this moment.
    expired: Vec<Job>,
    now: Moment,
    /// Calls that no window will ever have room for.
    too_heavy: Vec<Job>,
    /// Calls of routes whose breaker is open, and until when.
    down: Vec<(Job, Option<Moment>)>,
    /// Calls that find the session expired.
    unauthorized: Vec<Job>,
    /// Calls that were made from within their own lane, and would wait for themselves.
    reentrant: Vec<Job>,
    /// Calls that wait no more: what they hold is to be dropped.
    dead: Vec<Job>,
}

impl Lookout for Shared {
    type Chosen = (Job, Turn);

    /// One look at what waits and what is permitted.
    fn look(&self, role: Role) -> Look<(Job, Turn)> {
        let (look, ring) = {
            let mut left = Leftovers::default();
            let mut queue = self.queue.lock();
            self.moved.store(false, Ordering::SeqCst);
            let look = self.look_into(&mut queue.schedule, &mut left);
            let next = match &look {
                Look::Wait(until) => *until,
                Look::Go(..) => queue.schedule.next_deadline(),
                Look::Closed => None,
            };
            // There is work for another worker, or the leader sleeps for too long.
            let mut ring = false;
            match role {
                Role::Leader => queue.leader_wakes = next,
                // The leader may sleep for longer than is right now.
                Role::Other => {
                    let sooner = |at| queue.leader_wakes.is_none_or(|wakes| at < wakes);
                    let more = matches!(look, Look::Go(..)) && self.can_take_more(&queue.schedule);
                    ring = more || next.is_some_and(sooner);
                }
            }
            // Under the lock: who drains the lane sees what was taken out here or there.
            if !left.is_empty() {
                self.chores.lock().push(left);
                self.has_chores.store(true, Ordering::SeqCst);
            }
            (look, ring)
        };
        if ring {
            self.ring();
        }
        look
    }

    fn has_news(&self) -> bool {
        // In this order: see `take_stock`.
        !self.arrivals.is_empty() || self.moved.load(Ordering::SeqCst)
    }

    fn has_chores(&self) -> bool {
        self.has_chores.load(Ordering::SeqCst)
    }

    fn do_chores(&self) {
        // Who drains the lane waits for this too; one who does so from in here does not wait for itself.
        self.telling.fetch_add(1, Ordering::SeqCst);
        self.has_chores.store(false, Ordering::SeqCst);
        let chores = std::mem::take(&mut *self.chores.lock());
        self.settle(chores);
        self.telling.fetch_sub(1, Ordering::SeqCst);
        self.settled.tell();
    }

    fn wants_leader(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.leader_wakes = None;
        self.has_news()
            || queue.schedule.next_deadline().is_some()
            || self.can_take_more(&queue.schedule)
    }
}

impl Shared {
    /// Whether one more worker might find something to do.
    fn can_take_more(&self, schedule: &Schedule) -> bool {
        let may_go = |rank| rank != Rank::Lesser || !self.session.is_expired();
        Rank::ALL.into_iter().any(|rank| schedule.has(rank) && self.may_run(rank) && may_go(rank))
    }

    fn look_into(&self, schedule: &mut Schedule, left: &mut Leftovers) -> Look<(Job, Turn)> {
        match self.state() {
            LaneState::Closed => return Look::Closed,
            LaneState::Paused => {
                self.take_in(schedule);
                left.expire(schedule, self.clock.now());
                return Look::Wait(schedule.next_deadline());
            }
            LaneState::Running | LaneState::Draining => {}
        }
        let may_run = self.may_run(Rank::Lesser);
        if may_run && schedule.is_idle() && self.arrivals.len() == 1 {
            if let Some(go) = self.lone_arrival(schedule, left) {
                return go;
            }
        }
        self.take_in(schedule);
        let (mut allowance, now) = self.pace.allowance();
        left.expire(schedule, now);
        let (down, pause) = {
            let mut care = self.care.lock();
            (care.down(now), care.pause(now))
        };
        schedule.release(|route| down.iter().any(|down| down.route == route));
        // When a route that calls are held for may be tried, or its trial is decided.
        let mut trial = None;
        for known in down {
            let calls = match known.is_forced {
                true => schedule.drain(),
                false => schedule.hold_back(&known, |info| self.when_down.holds(info, &known)),
            };
            left.down.extend(calls.into_iter().map(|job| (job, known.until)));
            trial =
                known.until.filter(|_| schedule.holds(known.route)).into_iter().chain(trial).min();
        }
        let is_expired = self.session.is_expired();
        if is_expired && self.when_expired == ExpiredSessionPolicy::Refuse {
            left.unauthorized = schedule.drain_lesser();
        }
        let least = match (may_run && !is_expired, self.may_run(Rank::UrgentRead)) {
            (true, _) => Rank::Lesser,
            (false, true) => Rank::UrgentRead,
            (false, false) => Rank::UrgentWrite,
        };
        if least > Rank::Lesser && !self.can_take_more(schedule) {
            return Look::Wait(schedule.next_deadline());
        }
        if let Some(until) = pause.filter(|_| !schedule.is_empty()) {
            return Look::Wait(schedule.next_deadline().into_iter().chain([until]).min());
        }
        let until = loop {
            match schedule.choose(now, least, |charge| allowance.check(charge, now)) {
                Choice::Next(job) => match self.dispatch(&job, &mut allowance, now, schedule) {
                    Ok(turn) => {
                        // One of two hands on the same call: no code of a user's runs here.
                        drop(schedule.sent(job.info(), now));
                        return Look::Go((job, turn));
                    }
                    Err(Undispatched::Gone) => {
                        left.dead.extend(schedule.remove(job.info()));
                        left.dead.push(job);
                    }
                    Err(Undispatched::NoRoom) => break Some(now),
                },
                Choice::Never(charge) => left.too_heavy.extend(schedule.drain_kind(charge)),
                Choice::Wait(until) => break until,
            }
        };
        let release = allowance.next_release(now);
        // A call without an answer lets go of its slot by itself.
        if release.is_none() {
            // Nothing will go by itself, at a later time or after a trial of the broker.
            let is_stuck = until.is_none() && trial.is_none();
            let is_held = |job: &Job| match allowance.check(job.info().charge, now) {
                // A heavier one before it waits for a slot.
                Ok(()) => is_stuck && job.info().charge.budgets.is_empty(),
                // Who holds a budget may be of another lane.
                Err(NoCapacity { not_yet, by }) => {
                    not_yet == NotYet::InFlight && by == BlockedBy::Lane
                }
            };
            if let Some(job) = self.without_slot(is_held) {
                left.reentrant.extend(schedule.remove(job.info()));
                left.dead.push(job);
            }
        }
        let deadline = schedule.next_deadline().into_iter().chain(trial).min();
        let release = release.filter(|_| !schedule.is_empty());
        let waits_for_the_wall = !schedule.is_empty() && allowance.uses_wall_clock();
        let wall = self.clock.looks_at_the_wall_again(now).filter(|_| waits_for_the_wall);
        Look::Wait(until.into_iter().chain(release).chain(deadline).chain(wall).min())
    }

    /// The one call that there is: if it may go, it needs no place in the schedule.
    fn lone_arrival(
        &self,
        schedule: &mut Schedule,
        left: &mut Leftovers,
    ) -> Option<Look<(Job, Turn)>> {
        let job = self.arrivals.try_recv().ok()?;
        let (mut allowance, now) = self.pace.allowance();
        let is_in_time = job.info().deadline.is_none_or(|deadline| now < deadline);
        let may_go = || {
            let mut care = self.care.lock();
            let has_session = job.info().is_urgent() || !self.session.is_expired();
            has_session && care.pause(now).is_none() && care.refusal(job.info(), now).is_none()
        };
        if is_in_time && may_go() {
            match self.dispatch(&job, &mut allowance, now, schedule) {
                Ok(turn) => return Some(Look::Go((job, turn))),
                Err(Undispatched::Gone) => {
                    left.dead.push(job);
                    return None;
                }
                Err(Undispatched::NoRoom) => {}
            }
        }
        drop(allowance);
        self.put(schedule, job);
        None
    }

    /// Takes a permit and dispatches the call with it: both or neither.
    fn dispatch(
        &self,
        job: &Job,
        allowance: &mut PacingState,
        now: Moment,
        schedule: &Schedule,
    ) -> Result<Turn, Undispatched> {
        let permit = allowance.take(job.info().charge, now).map_err(|_| Undispatched::NoRoom)?;
        if !job.dispatch() {
            allowance.give_back(permit);
            return Err(Undispatched::Gone);
        }
        self.running.fetch_add(1, Ordering::SeqCst);
        let pass = {
            let mut care = self.care.lock();
            // The call itself may still be in there.
            let others = schedule.tally().calls() > 1;
            let pass = care.sent(now, job.info(), others, self.session.generation());
            self.apply(&mut care, allowance, now);
            pass
        };
        Ok(Turn { permit, pass })
    }

    /// Tells the allowance of a rate that was cut, or grew back.
    pub(super) fn apply(&self, care: &mut Care, allowance: &mut PacingState, now: Moment) {
        if let Some(limits) = care.take_change() {
            // What was configured is valid, and a cut of it is.
            let _ = allowance.set_lane_and_cut(self.index, &limits.firm, &limits.lesser, now);
        }
    }

    /// Does what looks have left over: all calls are answered before anybody is told.
    fn settle(&self, chores: Vec<Leftovers>) {
        let (mut refused, mut gone) = (Vec::new(), Vec::new());
        for Leftovers { expired, now, too_heavy, down, unauthorized, reentrant, dead } in chores {
            refused.extend(reentrant.into_iter().map(|job| (job, LaneErrorKind::Reentrant)));
            refused.extend(expired.into_iter().map(|job| {
                let waited = now.since(job.info().entered);
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
        self.refuse(refused);
        for job in gone {
            let _ = contain(|| drop(job));
        }
    }
}

impl Leftovers {
    fn is_empty(&self) -> bool {
        let Self { expired, now: _, too_heavy, down, unauthorized, reentrant, dead } = self;
        let lists = [expired, too_heavy, unauthorized, reentrant, dead];
        down.is_empty() && lists.iter().all(|calls| calls.is_empty())
    }

    fn expire(&mut self, schedule: &mut Schedule, now: Moment) {
        self.now = now;
        self.expired.extend(schedule.expired(now));
    }
}
