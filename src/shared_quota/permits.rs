//! Permits that Redis grants to the lanes of one process, and what they do while it is away.
//!
//! Workers of the lanes ask, each for one permit, and block for one trip. A thread of its own, the keeper (`keeper.rs`), tells
//! what ended, renews leases, says that the process is alive, and returns to Redis when it was away.
//!
//! `permits/away.rs` is what happens when Redis goes away or comes back.
//!
//! The lock of this state is taken within those of a lane, and never held during a trip. So whatever Redis does, a lane's
//! callers and its other workers are not held up. Another lock is held while everything is told again. Only threads that are
//! about to make a trip take it, and they hold no other lock then.

mod away;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::asks::LaneAsks;
use super::events::EventQueue;
use super::link::Link;
use super::member::{Ask, Member, Say, Time, Trip};
use super::place::Place;
use super::protocol::{BEAT, BeatReply, MAX_WEIGHT, OtherProcess, STEP, StepOutcome};
use crate::clock::{Clock, Parker};
use crate::lane::{
    ObserverHandle, PermitEnd, PermitRequest, SharedMode, SharedPacing, SharedPermit,
    SharedQuotaStatus,
};
use crate::quota::{
    BlockedBy, Budget, Cost, Moment, NoCapacity, NotYet, QuotaError, Reserve, Window,
};
use crate::redis::{RedisFailure, RedisPool, Script};

/// How this process takes part in the account.
#[derive(Debug, Clone)]
pub(super) struct PartSettings {
    pub(super) account: String,
    /// For how long the share of a silent process is left alone.
    pub(super) reserved_for: Duration,
    /// How many processes there are at least.
    pub(super) processes: u32,
    /// Whether the round trip credit is used.
    pub(super) has_credit: bool,
}

/// Permits that Redis grants, and what is done while it is away.
pub(super) struct SharedPermits {
    settings: PartSettings,
    pool: RedisPool,
    step: Script,
    beat: Script,
    pub(super) clock: Clock,
    events: EventQueue,
    pub(super) keeper: Parker,
    place: Place,
    state: Mutex<State>,
    /// Held while everything is told again, also during the trips: one thread does it. Taken with no other lock held.
    retelling: Mutex<()>,
    pacing: OnceLock<Weak<SharedPacing>>,
}

struct State {
    member: Member,
    lanes: Vec<LaneAsks>,
    link: Link,
    /// How many processes there are, and which of them this one is; once all know of it.
    share: Option<(u32, u32)>,
    processes: u32,
    /// For how long Redis has known all calls, as of the last answer.
    known_for: Option<Duration>,
    /// Until when each lane is to pause, until that was told.
    pauses: Vec<Moment>,
    /// Processes that ran on this machine and are no more.
    dead: Vec<String>,
    is_closing: bool,
}

/// A request, and what came of it. Without a connection there was none.
struct Answered {
    trip: Option<Trip>,
    reply: Result<::redis::Value, RedisFailure>,
}

/// After a request without an answer, a lane does not ask again for this long.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A process that was silent for so long is looked up, if it runs on this machine.
const LOOKED_UP_AFTER: Duration = Duration::from_secs(2);

/// For how long it counts that a breaker of another process refuses a route. Each heartbeat says so again.
const HINTS_FOR: Duration = Duration::from_secs(3);

/// What an error says of an answer that is none.
const UNUSABLE: &str = "Redis gave an answer that is none of lanekeeper's scripts";

impl SharedPermits {
    pub(super) fn new(
        settings: PartSettings,
        pool: RedisPool,
        member: Member,
        link: Link,
        clock: Clock,
        observer: ObserverHandle,
    ) -> Self {
        let lanes = member.lanes().len();
        Self {
            events: EventQueue::new(settings.account.clone(), observer),
            settings,
            pool,
            step: Script::new(STEP),
            beat: Script::new(BEAT),
            keeper: clock.parker(),
            clock,
            place: Place::here(),
            state: Mutex::new(State {
                member,
                lanes: std::iter::repeat_with(LaneAsks::default).take(lanes).collect(),
                link,
                share: None,
                processes: 0,
                known_for: None,
                pauses: vec![Moment::ORIGIN; lanes],
                dead: Vec::new(),
                is_closing: false,
            }),
            retelling: Mutex::new(()),
            pacing: OnceLock::new(),
        }
    }

    /// The lanes exist now.
    pub(super) fn set_pacing(&self, pacing: &Arc<SharedPacing>) {
        let _ = self.pacing.set(Arc::downgrade(pacing));
    }

    fn pacing(&self) -> Option<Arc<SharedPacing>> {
        self.pacing.get().and_then(Weak::upgrade)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn close(&self) {
        self.state().is_closing = true;
        self.keeper.unpark();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().is_closing
    }

    /// Returns whether something of a call is to be told.
    pub(super) fn has_untold(&self) -> bool {
        self.state().member.charge_to_tell().is_some()
    }

    /// Tries again to deliver events for which no thread could be started.
    pub(super) fn deliver_waiting_events(&self) {
        self.events.deliver_waiting();
    }

    /// Returns whether the others are to hear of a pause.
    pub(super) fn has_pause(&self) -> bool {
        let now = self.clock.now();
        self.state().pauses.iter().any(|until| *until > now)
    }

    pub(super) fn mode(&self) -> SharedMode {
        self.state().link.mode()
    }

    pub(super) fn status(&self) -> SharedQuotaStatus {
        let state = self.state();
        let mode_for = self.clock.now().since(state.link.since());
        let (account, process) = (&self.settings.account, state.member.process());
        SharedQuotaStatus::new(account, process, state.link.mode(), mode_for, state.processes)
    }

    /// Returns for how long Redis has known all calls of the account. `None` if it has not answered.
    pub(super) fn known_for(&self) -> Option<Duration> {
        self.state().known_for
    }

    /// Replaces the windows of a lane or a budget.
    pub(super) fn set_windows(
        &self,
        scope: usize,
        windows: &[Window],
        reserve: Option<Reserve>,
    ) -> Result<(), QuotaError> {
        let mut state = self.state();
        state.lanes.iter_mut().for_each(LaneAsks::forget_denials);
        state.member.set_windows(scope, windows, reserve)
    }

    pub(super) fn set_budget(&self, budget: usize, to: &Budget) -> Result<(), QuotaError> {
        let scope = self.state().lanes.len() + budget;
        self.set_windows(scope, to.quota().windows(), Some(to.reserved()))
    }

    /// Locks the state, in which the round trip credits are those of this moment. Call it with no lock held.
    fn state_with_credits(&self) -> MutexGuard<'_, State> {
        let pacing = if self.settings.has_credit { self.pacing() } else { None };
        let pacing_state = pacing.as_ref().map(|pacing| pacing.lock().0);
        let mut state = self.state();
        if let Some(pacing_state) = pacing_state {
            state.member.set_credits(|lane| pacing_state.credit(lane));
        }
        state
    }

    /// Makes a request with the words that `make` returns for a run of Redis.
    fn send(&self, script: &Script, make: impl FnOnce(&mut State, Time<'_>) -> Trip) -> Answered {
        let mut made = None;
        let reply = self.pool.with_run(|connection, run| {
            let wall = self.clock.wall_clock();
            let time = Time { wall, moment: None, account: &self.settings.account, run };
            let trip = made.insert(make(&mut self.state_with_credits(), time));
            script.run(connection, |command| {
                for word in &trip.words {
                    command.arg(word);
                }
            })
        });
        Answered { trip: made, reply }
    }

    /// Says that this process is alive. Returns whether Redis answered.
    pub(super) fn say_alive(&self, is_leaving: bool) -> bool {
        // Not held during the trip: to drop a proxy waits for this thread, unless the proxy is dropped on it.
        let read = |pacing: Arc<SharedPacing>| (pacing.rates(), pacing.refused_routes());
        let (rates, refused) = self.pacing().map(read).unwrap_or_default();
        let mut told_pauses = Vec::new();
        let sent = self.send(&self.beat, |state, time| {
            told_pauses.clone_from(&state.pauses);
            let percent = |lane: usize| rates.get(lane).copied().unwrap_or(100);
            let lanes = state.pauses.iter().enumerate();
            let now = time.wall.moment;
            let lanes: Vec<_> =
                lanes.map(|(lane, until)| (until.since(now), percent(lane))).collect();
            let say = Say {
                place: self.place.as_str(),
                is_leaving,
                dead: &state.dead,
                reserved_for: self.settings.reserved_for,
                lanes: &lanes,
                refused: &refused,
            };
            state.member.beat(&say, time)
        });
        match (sent.reply, sent.trip) {
            (Ok(value), Some(trip)) => {
                let reply = {
                    let mut state = self.state();
                    let reply = state.member.on_beat(&trip, &value);
                    if let Ok(reply) = &reply {
                        state.on_beat(&trip, reply, &told_pauses);
                    }
                    reply
                };
                let Ok(reply) = reply else {
                    self.on_failure(UNUSABLE);
                    return false;
                };
                if let Some(pacing) = self.pacing() {
                    pacing.set_hints(&reply.refused, self.clock.now() + HINTS_FOR);
                }
                // It reads files, so without the lock.
                let dead = self.dead_among(&reply.others);
                self.state().dead = dead;
                true
            }
            (Err(failure), _) => {
                self.on_failure(&failure.to_string());
                false
            }
            (Ok(_), None) => false,
        }
    }

    /// Returns which of the silent processes are surely no more.
    fn dead_among(&self, others: &[OtherProcess]) -> Vec<String> {
        let silent = others.iter().filter(|other| other.silent_for >= LOOKED_UP_AFTER);
        let dead = silent.filter(|other| self.place.is_dead(&other.place));
        dead.map(|other| other.name.clone()).collect()
    }

    /// Tells what ended, for one charge after the other. Returns whether Redis heard all of it.
    pub(super) fn tell(&self) -> bool {
        while self.state().member.charge_to_tell().is_some() {
            if self.retell_if_lost().is_err() || !self.tell_one() {
                return false;
            }
        }
        true
    }

    fn tell_one(&self) -> bool {
        let Some(charge) = self.state().member.charge_to_tell() else { return true };
        let sent = self.send(&self.step, |state, time| state.member.step(charge, None, time));
        self.on_step(None, sent).is_some()
    }

    /// Hears what is used of all quotas, and renews leases. Tells everything again if Redis has lost it: a process with calls
    /// in flight may have nothing else to tell, and must have told it before anything is granted again.
    pub(super) fn look(&self) {
        if self.retell_if_lost().is_err() {
            return;
        }
        let charges = {
            let mut state = self.state();
            state.member.renew(self.clock.now());
            state.member.charges().to_vec()
        };
        for charge in charges {
            let sent = self.send(&self.step, |state, time| state.member.step(charge, None, time));
            if self.on_step(None, sent).is_none() {
                return;
            }
        }
        // A failure is tried again after the next beat.
        let _ = self.retell_if_lost();
    }

    /// Takes the answer to a step. Returns its outcome.
    fn on_step(&self, ask: Option<&Ask>, sent: Answered) -> Option<StepOutcome> {
        let now = self.clock.now();
        let failure = match (sent.reply, sent.trip) {
            (Ok(value), Some(trip)) => {
                let mut state = self.state();
                let sent_at = trip.sent_at();
                match state.member.on_step(trip, ask, &value) {
                    Ok(reply) => {
                        state.link.on_answer();
                        if let Some(ask) = ask {
                            state.on_asked(ask, &reply, sent_at, now);
                        }
                        return Some(reply.outcome);
                    }
                    Err(_) => UNUSABLE.to_owned(),
                }
            }
            (Err(failure), trip) => {
                if let Some(trip) = trip {
                    self.state().member.on_no_answer(trip, ask);
                }
                failure.to_string()
            }
            (Ok(_), None) => UNUSABLE.to_owned(),
        };
        if let Some(ask) = ask {
            let mut state = self.state();
            if let Some(lane) = state.lanes.get_mut(ask.cost.lane) {
                lane.on_failed(ask, now + AGAIN_AFTER);
            }
        }
        self.on_failure(&failure);
        None
    }
}

impl State {
    fn on_asked(
        &mut self,
        ask: &Ask,
        reply: &super::protocol::StepReply,
        sent_at: Moment,
        now: Moment,
    ) {
        let is_away = self.link.mode() != SharedMode::Shared;
        let Some(lane) = self.lanes.get_mut(ask.cost.lane) else { return };
        match reply.outcome {
            StepOutcome::Granted if is_away => {
                lane.on_failed(ask, now);
                self.member.give_back(ask.number, now);
            }
            StepOutcome::Granted => lane.on_granted(*ask),
            StepOutcome::Denied => lane.on_denied(ask, reply, sent_at, now),
            // It is told everything, and asked again.
            StepOutcome::Heard | StepOutcome::Lost => lane.on_failed(ask, now),
        }
    }

    fn on_beat(&mut self, trip: &Trip, reply: &BeatReply, told: &[Moment]) {
        self.link.on_beat(trip.sent_at());
        self.processes = reply.processes;
        self.known_for = reply.known_for();
        // A process that was forgotten has joined anew, and its old share is that of another one.
        self.share = reply.is_settled.then_some((reply.processes, reply.rank));
        for (until, told) in self.pauses.iter_mut().zip(told) {
            if until == told {
                *until = Moment::ORIGIN;
            }
        }
    }
}

/// What the lanes call: see [`PermitSource`](crate::lane::PermitSource).
impl SharedPermits {
    pub(super) fn check(&self, cost: Cost, now: Moment) -> Result<(), NoCapacity> {
        let refuse = |not_yet| Err(NoCapacity { not_yet, by: BlockedBy::Lane });
        if cost.weight > MAX_WEIGHT {
            return refuse(NotYet::Never);
        }
        let state = self.state();
        match state.link.mode() {
            SharedMode::Shared => {
                state.lanes.get(cost.lane).map_or(Ok(()), |lane| lane.check(cost, now))
            }
            SharedMode::Share if cost.urgent || state.link.has_share(now) => Ok(()),
            // The keeper has not noticed yet.
            SharedMode::Share => refuse(NotYet::InFlight),
            SharedMode::Stopped if cost.urgent => Ok(()),
            SharedMode::Stopped => refuse(NotYet::InFlight),
            SharedMode::Returning => refuse(NotYet::Until(now + AGAIN_AFTER)),
        }
    }

    pub(super) fn expected_at(&self, cost: Cost, now: Moment) -> Option<Moment> {
        self.state().lanes.get(cost.lane)?.expected_at(cost, now)
    }

    pub(super) fn take(&self, request: PermitRequest, now: Moment) -> Option<SharedPermit> {
        let PermitRequest { cost, priority, waiting } = request;
        let mut state = self.state();
        let State { member, lanes, link, .. } = &mut *state;
        match link.mode() {
            SharedMode::Shared => {}
            SharedMode::Share | SharedMode::Stopped => {
                return Some(SharedPermit(member.take_share(cost, now)));
            }
            SharedMode::Returning => return None,
        }
        let lane = lanes.get_mut(cost.lane)?;
        while let Some(ask) = lane.take(cost) {
            if member.is_fresh(ask.number, now) {
                return Some(SharedPermit(ask.number));
            }
            member.give_back(ask.number, now);
        }
        if lane.has_room(priority, waiting) {
            let ask = member.ask(cost, priority, waiting > 1, now);
            lane.push(ask);
        }
        None
    }

    pub(super) fn has_ask(&self, lane: usize) -> bool {
        self.state().lanes.get(lane).is_some_and(LaneAsks::has_waiting)
    }

    pub(super) fn ask(&self, lane: usize) {
        let next = |state: &mut State| state.lanes.get_mut(lane).and_then(LaneAsks::next);
        let Some(mut ask) = next(&mut self.state()) else { return };
        if self.retell_if_lost().is_err() {
            if let Some(lane) = self.state().lanes.get_mut(lane) {
                lane.on_failed(&ask, self.clock.now() + AGAIN_AFTER);
            }
            return;
        }
        let sent = self.send(&self.step, |state, time| {
            // By now: its age decides whether it may be used.
            state.member.postpone(&mut ask, time.wall.moment);
            state.member.step(ask.cost.into(), Some(&ask), time)
        });
        self.on_step(Some(&ask), sent);
    }

    pub(super) fn give_back_unused(&self, lane: usize, now: Moment) {
        let mut state = self.state();
        let State { member, lanes, .. } = &mut *state;
        let Some(lane) = lanes.get_mut(lane) else { return };
        let unused = lane.take_unused();
        if !unused.is_empty() {
            for ask in unused {
                member.give_back(ask.number, now);
            }
            drop(state);
            self.keeper.unpark();
        }
    }

    pub(super) fn is_fresh(&self, permit: &SharedPermit, now: Moment) -> bool {
        self.state().member.is_fresh(permit.0, now)
    }

    pub(super) fn end(&self, permit: SharedPermit, end: PermitEnd, now: Moment) {
        let mut state = self.state();
        match end {
            PermitEnd::Unused => state.member.give_back(permit.0, now),
            PermitEnd::At(at) => state.member.end(permit.0, at, now),
        }
        if matches!(end, PermitEnd::Unused) {
            state.lanes.iter_mut().for_each(LaneAsks::forget_denials);
        }
        drop(state);
        self.keeper.unpark();
    }

    pub(super) fn pause(&self, lane: usize, pause: Duration) {
        let until = self.clock.now() + pause;
        if let Some(known) = self.state().pauses.get_mut(lane) {
            *known = until.max(*known);
        }
        self.keeper.unpark();
    }
}
