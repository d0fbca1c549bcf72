//! Going away from Redis, and coming back.
//!
//! `link.rs` decides the mode. Here the lanes are restricted to what may be sent in it, the user is told, and everything is told
//! again before this process takes part in the account again.

use std::time::Duration;

use super::{SharedPermits, State};
use crate::lane::SharedMode;
use crate::quota::{Moment, PacingState, Restriction, Share};
use crate::shared_quota::eviction::eviction_warning;
use crate::shared_quota::link::{SHORT_WINDOW, SILENT_FOR, allowance, is_short};
use crate::shared_quota::member::Retelling;
use crate::shared_quota::protocol::StepOutcome;

impl SharedPermits {
    /// Tries to reach Redis, once. Until it answers, only urgent calls are sent.
    pub(in crate::shared_quota) fn begin(&self) {
        self.change_mode(|_, _| true);
        if let Err(why) = self.come_back() {
            self.events.push_mode(SharedMode::Stopped, &why);
        }
    }

    /// Notes that Redis gave no answer, and goes away from it after a while.
    pub(super) fn on_failure(&self, why: &str) {
        let mode = self.change_mode(|state, now| {
            let is_changed = state.link.on_failure(now);
            if is_changed {
                state.clear_asks(now);
            }
            is_changed
        });
        if let Some(mode) = mode {
            self.events.push_mode(mode, why);
        }
    }

    /// Changes the mode, and what the lanes may send in it. That is one change: no call is sent in between. Returns the mode
    /// if it has changed.
    pub(super) fn change_mode(
        &self,
        change: impl FnOnce(&mut State, Moment) -> bool,
    ) -> Option<SharedMode> {
        let pacing = self.pacing();
        let mode = {
            let mut pacing_state = pacing.as_ref().map(|pacing| pacing.lock().0);
            let mut state = self.state();
            let now = self.clock.now();
            if !change(&mut state, now) {
                return None;
            }
            if let Some(pacing_state) = &mut pacing_state {
                state.restrict(pacing_state, self.settings.processes, now);
            }
            state.link.mode()
        };
        if let Some(pacing) = pacing {
            pacing.wake_all();
        }
        Some(mode)
    }

    /// Tells everything again, if Redis may have lost it.
    pub(super) fn retell_if_lost(&self) -> Result<(), ()> {
        let is_lost = self.state().member.retelling().is_some();
        if is_lost { self.retell(None) } else { Ok(()) }
    }

    /// Tells everything again.
    pub(super) fn retell(&self, least: Option<Retelling>) -> Result<(), ()> {
        let _one = self.retelling.lock();
        let (retelling, charges) = {
            let mut state = self.state();
            if least.is_none() && state.member.retelling().is_none() {
                return Ok(());
            }
            (state.member.begin_retelling(least), state.member.charges().to_vec())
        };
        for charge in charges {
            let sent =
                self.send(&self.step, |state, time| state.member.retell(charge, retelling, time));
            match self.on_step(None, sent) {
                Some(StepOutcome::Lost) | None => {
                    self.state().member.fail_retelling(retelling);
                    return Err(());
                }
                Some(_) => {}
            }
        }
        self.state().member.finish_retelling();
        Ok(())
    }

    /// Tries to return to Redis, and to join the others. Returns why that failed.
    pub(in crate::shared_quota) fn come_back(&self) -> Result<(), String> {
        // Redis answers before anything is told, so that the lanes go on while it does not.
        let is_there =
            self.pool.with_run(|connection, _| ::redis::cmd("PING").query::<()>(connection));
        if let Err(failure) = is_there {
            let why = failure.to_string();
            self.on_failure(&why);
            return Err(why);
        }
        let now = self.clock.now();
        let has_nothing = {
            let mut state = self.state();
            state.link.begin_return(now);
            state.link.answered().is_none() && !state.member.has_calls()
        };
        // First what was sent meanwhile, then that this process is alive: until then its share is left alone.
        let is_told = has_nothing || self.retell(Some(Retelling::Returned)).is_ok();
        if !is_told || !self.say_alive(false) || self.retell_if_lost().is_err() {
            let why = "it went away again";
            self.on_failure(why);
            return Err(why.to_owned());
        }
        if self.change_mode(|state, now| state.link.join(now)).is_some() {
            self.events.push_mode(SharedMode::Shared, "Redis answers");
            if let Some(warning) = eviction_warning(&self.pool) {
                self.events.push_warning(warning);
            }
        }
        Ok(())
    }
}

impl State {
    /// Gives back what is here, and asks for nothing more.
    pub(super) fn clear_asks(&mut self, now: Moment) {
        for lane in &mut self.lanes {
            for ask in lane.clear() {
                self.member.give_back(ask.number, now);
            }
        }
    }

    /// Restricts the lanes to what they may send in the present mode.
    pub(super) fn restrict(&self, pacing: &mut PacingState, processes: u32, now: Moment) {
        if self.link.mode() == SharedMode::Shared {
            return pacing.set_share(None);
        }
        let share = match self.share.filter(|_| self.link.has_share(now)) {
            Some((known, rank)) => Share::new(known.max(processes), rank),
            None => Share::NONE,
        };
        let lost_at = self.link.answered().map(|answered| answered + SILENT_FOR);
        let scopes = 0..self.member.scope_count();
        let rooms: Vec<_> = scopes.map(|scope| self.room_away(scope, share, lost_at)).collect();
        let unknown = lost_at.map(|lost_at| (lost_at, SHORT_WINDOW));
        pacing.set_share(Some(Restriction { share, rooms: &rooms, unknown }));
    }

    /// Returns how many slots of a quota may be taken until when, while its long windows have others' calls that are unknown.
    pub(super) fn room_away(
        &self,
        scope: usize,
        share: Share,
        lost_at: Option<Moment>,
    ) -> Option<(u64, Moment)> {
        let windows: Vec<_> = self.member.left(scope).map(|(window, _)| window.clone()).collect();
        let long = || self.member.left(scope).filter(|(window, _)| !is_short(window));
        let longest = long().map(|(window, _)| window.retention()).max()?;
        let left = long().map(|(_, left)| left).min()?;
        let room = u64::from(allowance(left, &windows, share));
        Some((room, lost_at? + Duration::from_nanos(longest)))
    }
}
