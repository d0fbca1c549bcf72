//! What a lane does about a broker that fails: try again, slow down, or leave it alone for a while.
//!
//! The rules are in [`resilience`](crate::resilience); here they meet the calls of one lane. All of it
//! is told the time, under a lock that is taken last and held for the length of a look.

use std::time::Duration;

use super::config::LaneConfig;
use super::job::{Attempt, Next};
use crate::quota::{Moment, Quota};
use crate::resilience::{
    Admission, Breaker, BreakerMode, BreakerState, Departure, Outcome, Refused, RetryBudget,
    RetryPolicy, SettingError, Throttle,
};
use crate::{Effect, Throttling};

pub(crate) struct Care {
    retry: RetryPolicy,
    budget: RetryBudget,
    breaker: Breaker,
    throttle: Throttle,
    luck: fastrand::Rng,
    /// When a call was held up for a permit, and for how long.
    held_up: Option<(Moment, Duration)>,
    /// The state of the breaker that was told last.
    told: BreakerState,
}

/// A call that waits for as long would have gone sooner at a higher rate: it is more than a hop takes.
const HELD_UP: Duration = Duration::from_millis(1);

/// What a call carries along while it is under way.
pub(super) struct Pass {
    admission: Option<Admission>,
    departure: Departure,
    /// What the breaker became, if that is news.
    pub(super) breaker: Option<BreakerState>,
}

/// Why no call of the lane goes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// The broker asked for a pause: calls wait until this moment.
    Pause(Moment),
    /// The breaker is open: calls are refused until this moment, if it is known.
    Down(Option<Moment>),
}

/// What follows the end of an attempt.
pub(super) struct After {
    pub(super) next: Next,
    /// When the next attempt may go, if there is one.
    pub(super) again_at: Moment,
    /// Until when the lane pauses, if the broker has just asked for it.
    pub(super) pause: Option<Moment>,
    /// What the breaker became, if that is news.
    pub(super) breaker: Option<BreakerState>,
}

impl Care {
    pub(super) fn new(config: &LaneConfig) -> Result<Self, SettingError> {
        let mut luck = fastrand::Rng::new();
        let retry = *config.its_retry();
        retry.check()?;
        Ok(Self {
            retry,
            budget: RetryBudget::new(&retry)?,
            breaker: Breaker::new(*config.its_breaker(), luck.u64(..))?,
            throttle: Throttle::new(*config.its_throttle(), config.quota().clone())?,
            luck,
            held_up: None,
            told: BreakerState::Closed,
        })
    }

    /// Whether calls may go now, as far as the broker's state is concerned.
    pub(super) fn hold(&mut self, now: Moment) -> Option<Hold> {
        let down = self.breaker.when(now).err().map(Refused::until).map(Hold::Down);
        down.or_else(|| self.throttle.pause(now).map(Hold::Pause))
    }

    /// There are calls of so much weight: a rate that is cut leaves room for them.
    pub(super) fn weighs(&mut self, weight: u32) {
        self.throttle.weighs(weight);
    }

    /// A call leaves that has waited for so long. `others`: more wait.
    ///
    /// One caller that calls again and again leaves nobody waiting, but is held up itself: once in
    /// each window, for about as long. That is a busy lane too.
    pub(super) fn sent(
        &mut self,
        now: Moment,
        weight: u32,
        (others, waited): (bool, Duration),
    ) -> Pass {
        if waited >= HELD_UP {
            self.held_up = Some((now, waited));
        }
        let lately = |(at, waited): (Moment, Duration)| now.since(at) <= waited * 2;
        let waiting = others || self.held_up.is_some_and(lately);
        Pass {
            // It was not held a moment ago, under the same lock.
            admission: self.breaker.admit(now).ok(),
            departure: self.throttle.sent(now, weight, waiting),
            breaker: self.breaker_news(now),
        }
    }

    /// A call is over.
    pub(super) fn over(
        &mut self,
        pass: Pass,
        (now, took): (Moment, Duration),
        (attempt, effect): (Attempt, Effect),
        deadline: Option<Moment>,
    ) -> After {
        let Pass { admission, departure, .. } = pass;
        let outcome = match attempt.failure {
            Some(_) if attempt.panicked => Outcome::Ignored,
            failure => failure.map_or(Outcome::Success, Outcome::from),
        };
        if let Some(admission) = admission {
            self.breaker.record(admission, now, outcome, took);
        }
        if attempt.number == 1 {
            self.budget.earn(now);
        }
        let breaker = self.breaker_news(now);
        let mut after = After { next: Next::Answer, again_at: now, pause: None, breaker };
        let Some(failure) = attempt.failure else { return after };
        if let Some(Throttling { retry_after, .. }) = failure.throttling {
            self.throttle.heard(departure, now, retry_after);
            after.pause = self.throttle.pause(now);
        }
        if !attempt.is_repeatable {
            return after;
        }
        let delay = self.retry.delay(failure.class, effect, attempt.number, self.luck.u64(..));
        if let Some(delay) = delay {
            let at = now + delay;
            let is_in_time = deadline.is_none_or(|deadline| at < deadline);
            if is_in_time && self.budget.spend(now) {
                after = After { next: Next::Again, again_at: at, ..after };
            }
        }
        after
    }

    /// The quota that holds from now on, if it has changed.
    pub(super) fn take_change(&mut self) -> Option<Quota> {
        self.throttle.take_change()
    }

    /// Gives the lane another quota. Gives the one that holds, which a cut may keep below it.
    pub(super) fn set_quota(&mut self, quota: &Quota) -> Quota {
        self.throttle.set_quota(quota.clone());
        let _ = self.throttle.take_change();
        self.throttle.quota()
    }

    pub(super) fn pause(&self, now: Moment) -> Option<Moment> {
        self.throttle.pause(now)
    }

    /// How many percent of the configured rate the lane goes at, at most.
    pub(super) fn percent(&self) -> u32 {
        self.throttle.percent()
    }

    pub(super) fn configured(&self) -> &Quota {
        self.throttle.configured()
    }

    pub(super) fn breaker(&mut self, now: Moment) -> BreakerState {
        self.breaker.state(now)
    }

    /// The state of the breaker, if it is not the one that was told last.
    pub(super) fn breaker_news(&mut self, now: Moment) -> Option<BreakerState> {
        let state = self.breaker.state(now);
        let is_news = state != self.told;
        self.told = state;
        is_news.then_some(state)
    }

    pub(super) fn set_breaker(&mut self, mode: BreakerMode, now: Moment) {
        self.breaker.set_mode(mode, now);
    }
}
