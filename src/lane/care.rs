//! What a lane does about a broker that fails: try again, slow down, or leave it alone for a while.
//!
//! The rules are in [`resilience`](crate::resilience); here they meet the calls of one lane. All of it
//! is told the time, under a lock that is taken last and held for the length of a look.

use std::time::Duration;

use super::config::LaneConfig;
use super::job::{Attempt, Info, Next};
use super::routes::{Change, Down, Routes};
use crate::quota::{Moment, Quota};
use crate::resilience::{
    Admission, BreakerMode, CallOutcome, PolicyError, RetryBudget, RetryPolicy, SendStamp, Throttle,
};
use crate::{ErrorClass, Session, Throttling};

pub(crate) struct Care {
    retry: RetryPolicy,
    budget: RetryBudget,
    routes: Routes,
    throttle: Throttle,
    rng: fastrand::Rng,
    /// When a call was held up for a permit, and for how long.
    held_up: Option<(Moment, Duration)>,
    /// Whether the cut holds for urgent calls too: one of them was refused for coming too fast since it was made,
    /// so that it is no guess any more.
    holds_for_all: bool,
    /// That has changed.
    changed: bool,
}

/// What limits a lane at present.
pub(super) struct Limits {
    /// For all calls.
    pub(super) firm: Quota,
    /// Besides, for those that are not urgent.
    pub(super) lesser: Quota,
}

/// A call that waits for as long would have gone sooner at a higher rate: it is more than a hop takes.
const HELD_UP: Duration = Duration::from_millis(1);

/// What a call carries along while it is under way.
pub(super) struct Pass {
    admission: Option<Admission>,
    departure: SendStamp,
    /// The generation of the credentials that it is made with.
    pub(super) made_with: u64,
    /// What the breaker of its route became, if that is news.
    pub(super) breaker: Option<Change>,
}

/// What follows the end of an attempt.
pub(super) struct After {
    pub(super) next: Next,
    /// When the next attempt may go, if there is one.
    pub(super) again_at: Moment,
    /// Until when the lane pauses, if the broker has just asked for it.
    pub(super) pause: Option<Moment>,
    /// What the breaker of the call's route became, if that is news.
    pub(super) breaker: Option<Change>,
}

impl Care {
    pub(super) fn new(config: &LaneConfig) -> Result<Self, PolicyError> {
        let mut rng = fastrand::Rng::new();
        let retry = *config.its_retry();
        retry.check()?;
        Ok(Self {
            retry,
            budget: RetryBudget::new(&retry)?,
            routes: Routes::new(*config.its_breaker(), rng.fork())?,
            throttle: Throttle::new(*config.its_throttle(), config.quota().clone())?,
            rng,
            held_up: None,
            holds_for_all: false,
            changed: false,
        })
    }

    /// Until when no call of the lane goes, because the broker asked for a pause.
    pub(super) fn pause(&self, now: Moment) -> Option<Moment> {
        self.throttle.pause(now)
    }

    /// The routes whose calls are refused now.
    pub(super) fn down(&mut self, now: Moment) -> Vec<Down> {
        self.routes.down(now)
    }

    /// Why this call is refused now, if it is.
    pub(super) fn refusal(&mut self, info: &Info, now: Moment) -> Option<Down> {
        self.routes.refusal(info.route, info.is_urgent(), now)
    }

    /// There are calls of so much weight: a rate that is cut leaves room for them.
    pub(super) fn weighs(&mut self, weight: u32) {
        self.throttle.ensure_room_for(weight);
    }

    /// A call leaves that has waited since it entered. `others`: more wait.
    ///
    /// One caller that calls again and again leaves nobody waiting, but is held up itself: once in
    /// each window, for about as long. That is a busy lane too.
    pub(super) fn sent(&mut self, now: Moment, info: &Info, others: bool, made_with: u64) -> Pass {
        let waited = now.since(info.entered);
        if waited >= HELD_UP {
            self.held_up = Some((now, waited));
        }
        let lately = |(at, waited): (Moment, Duration)| now.since(at) <= waited * 2;
        let waiting = others || self.held_up.is_some_and(lately);
        Pass {
            // It was not refused a moment ago, under the same lock.
            admission: self.routes.admit(info.route, info.is_urgent(), now),
            departure: self.throttle.on_send(now, info.charge.weight, waiting),
            made_with,
            breaker: self.routes.change(info.route, now),
        }
    }

    /// A call is over, after so long.
    pub(super) fn over(
        &mut self,
        pass: Pass,
        (now, took): (Moment, Duration),
        attempt: Attempt,
        info: &Info,
        session: &Session,
    ) -> After {
        let Pass { admission, departure, made_with, .. } = pass;
        let outcome = match attempt.failure {
            Some(_) if attempt.panicked => CallOutcome::Ignored,
            failure => failure.map_or(CallOutcome::Success, CallOutcome::from),
        };
        if let Some(admission) = admission {
            self.routes.record(info.route, admission, now, (outcome, took));
        }
        if attempt.number == 1 {
            self.budget.deposit(now);
        }
        let breaker = self.routes.change(info.route, now);
        let mut after = After { next: Next::Answer, again_at: now, pause: None, breaker };
        let Some(failure) = attempt.failure else { return after };
        if let Some(Throttling { retry_after, .. }) = failure.throttling {
            self.throttle.on_throttled(departure, now, retry_after);
            if info.is_urgent() && !self.holds_for_all {
                (self.holds_for_all, self.changed) = (true, true);
            }
            after.pause = self.throttle.pause(now);
        }
        if !attempt.is_repeatable {
            return after;
        }
        // Refused with the old credentials, and so not executed. There are new ones now.
        let is_outdated =
            failure.class == ErrorClass::Unauthorized && made_with != session.generation();
        if is_outdated && attempt.number < self.retry.max_attempts() {
            return After { next: Next::Again, ..after };
        }
        let delay = self.retry.delay(failure.class, info.effect, attempt.number, self.rng.u64(..));
        if let Some(delay) = delay {
            let at = now + delay;
            let is_in_time = info.deadline.is_none_or(|deadline| at < deadline);
            // What the retries of lesser calls have spent must not keep an urgent one from going.
            if is_in_time && (info.is_urgent() || self.budget.withdraw(now)) {
                after = After { next: Next::Again, again_at: at, ..after };
            }
        }
        after
    }

    /// A call that was let through never began, which tells nothing.
    pub(super) fn was_not_begun(&mut self, pass: Pass, now: Moment, info: &Info) {
        if let Some(admission) = pass.admission {
            self.routes.record(info.route, admission, now, (CallOutcome::Ignored, Duration::ZERO));
        }
    }

    /// What limits the lane from now on, if it has changed.
    pub(super) fn take_change(&mut self) -> Option<Limits> {
        let changed = self.throttle.take_new_quota().is_some();
        (changed || self.changed).then(|| self.limits())
    }

    /// Gives the lane another quota. Gives what limits it now.
    pub(super) fn set_quota(&mut self, quota: &Quota) -> Limits {
        self.throttle.set_quota(quota.clone());
        let _ = self.throttle.take_new_quota();
        self.limits()
    }

    fn limits(&mut self) -> Limits {
        self.changed = false;
        let cut = self.throttle.cut();
        self.holds_for_all &= !cut.windows().is_empty();
        match self.holds_for_all {
            true => Limits { firm: self.throttle.quota(), lesser: Quota::unlimited() },
            false => Limits { firm: self.throttle.configured().clone(), lesser: cut },
        }
    }

    /// How many percent of the configured rate the lane goes at, at most.
    pub(super) fn percent(&self) -> u32 {
        self.throttle.percent()
    }

    pub(super) fn configured(&self) -> &Quota {
        self.throttle.configured()
    }

    /// What the breaker of each route does.
    pub(super) fn breakers(&mut self, now: Moment) -> Vec<Change> {
        self.routes.states(now)
    }

    /// What the breaker of a route has become, if it was not told.
    pub(super) fn breaker_news(&mut self, route: &'static str, now: Moment) -> Option<Change> {
        self.routes.change(route, now)
    }

    /// Forces the breakers, or leaves them to themselves. Gives what they became.
    pub(super) fn set_breaker(&mut self, mode: BreakerMode, now: Moment) -> Vec<Change> {
        self.routes.set_mode(mode, now);
        self.routes.changes(now)
    }
}
