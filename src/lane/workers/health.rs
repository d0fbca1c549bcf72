//! What a lane does about a broker that fails: try again, slow down, or leave it alone for a while.
//!
//! The rules are in [`resilience`](crate::resilience); here they meet the calls of one lane. All of it
//! is told the time, under a lock that is taken last and held for the length of a look.

use std::time::Duration;

use super::route_breakers::{BlockedRoute, BreakerChange, RouteBreakers};
use crate::lane::call::task::Disposition;
use crate::lane::call::{Attempt, CallMeta};
use crate::lane::resolved_config::ResolvedLaneConfig;
use crate::quota::{Moment, Quota};
use crate::resilience::{
    Admission, BreakerMode, CallOutcome, PolicyError, RetryBudget, RetryPolicy, SendStamp, Throttle,
};
use crate::{ErrorClass, Session, Throttling};

pub(crate) struct LaneHealth {
    retry: RetryPolicy,
    retry_budget: RetryBudget,
    routes: RouteBreakers,
    throttle: Throttle,
    rng: fastrand::Rng,
    /// When a call was held up for a permit, and for how long.
    last_queued: Option<(Moment, Duration)>,
    /// Whether the cut holds for urgent calls too: one of them was refused for coming too fast since it was made,
    /// so that it is no guess any more.
    cut_holds_for_urgent: bool,
    /// That has changed.
    limits_changed: bool,
}

/// What limits a lane at present.
pub(in crate::lane) struct LaneLimits {
    /// For all calls.
    pub(in crate::lane) all_calls: Quota,
    /// Besides, for those that are not urgent.
    pub(in crate::lane) normal_calls: Quota,
}

/// A call that waits for as long would have gone sooner at a higher rate: it is more than a hop takes.
const MIN_QUEUE_WAIT: Duration = Duration::from_millis(1);

/// What a call carries along while it is under way.
pub(in crate::lane) struct AttemptContext {
    admission: Option<Admission>,
    send_stamp: SendStamp,
    /// The generation of the credentials that it is made with.
    pub(in crate::lane) session_generation: u64,
    /// What the breaker of its route became, if that is news.
    pub(in crate::lane) breaker_change: Option<BreakerChange>,
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy)]
pub(in crate::lane) struct AttemptEnd {
    pub(in crate::lane) attempt: Attempt,
    pub(in crate::lane) at: Moment,
    /// How long the attempt took.
    pub(in crate::lane) took: Duration,
}

/// What follows the end of an attempt.
pub(in crate::lane) struct AttemptResult {
    pub(in crate::lane) disposition: Disposition,
    /// When the next attempt may go, if there is one.
    pub(in crate::lane) retry_at: Moment,
    /// Until when the lane pauses, if the broker has just asked for it.
    pub(in crate::lane) paused_until: Option<Moment>,
    /// What the breaker of the call's route became, if that is news.
    pub(in crate::lane) breaker_change: Option<BreakerChange>,
}

impl LaneHealth {
    pub(in crate::lane) fn new(config: &ResolvedLaneConfig) -> Result<Self, PolicyError> {
        let mut rng = fastrand::Rng::new();
        let retry = config.retry;
        retry.check()?;
        Ok(Self {
            retry,
            retry_budget: RetryBudget::new(&retry)?,
            routes: RouteBreakers::new(config.breaker, rng.fork())?,
            throttle: Throttle::new(config.throttle, config.quota.clone())?,
            rng,
            last_queued: None,
            cut_holds_for_urgent: false,
            limits_changed: false,
        })
    }

    /// Until when no call of the lane goes, because the broker asked for a pause.
    pub(in crate::lane) fn paused_until(&self, now: Moment) -> Option<Moment> {
        self.throttle.pause(now)
    }

    /// The routes whose calls are refused now.
    pub(in crate::lane) fn blocked_routes(&mut self, now: Moment) -> Vec<BlockedRoute> {
        self.routes.blocked_routes(now)
    }

    /// Why this call is refused now, if it is.
    pub(in crate::lane) fn blocked_route(
        &mut self,
        meta: &CallMeta,
        now: Moment,
    ) -> Option<BlockedRoute> {
        self.routes.blocked_route(meta.route, meta.is_urgent(), now)
    }

    /// There are calls of so much weight: a rate that is cut leaves room for them.
    pub(in crate::lane) fn ensure_room_for(&mut self, weight: u32) {
        self.throttle.ensure_room_for(weight);
    }

    /// A call leaves that has waited since it entered. `others`: more wait.
    ///
    /// One caller that calls again and again leaves nobody waiting, but is held up itself: once in
    /// each window, for about as long. That is a busy lane too.
    pub(in crate::lane) fn on_dispatch(
        &mut self,
        now: Moment,
        meta: &CallMeta,
        others: bool,
        made_with: u64,
    ) -> AttemptContext {
        let waited = now.since(meta.submitted_at);
        if waited >= MIN_QUEUE_WAIT {
            self.last_queued = Some((now, waited));
        }
        let lately = |(at, waited): (Moment, Duration)| now.since(at) <= waited * 2;
        let waiting = others || self.last_queued.is_some_and(lately);
        AttemptContext {
            // It was not refused a moment ago, under the same lock.
            admission: self.routes.admit(meta.route, meta.is_urgent(), now),
            send_stamp: self.throttle.on_send(now, meta.cost.weight, waiting),
            session_generation: made_with,
            breaker_change: self.routes.take_change(meta.route, now),
        }
    }

    /// A call is over, after so long.
    pub(in crate::lane) fn on_attempt_end(
        &mut self,
        context: AttemptContext,
        AttemptEnd { attempt, at: now, took }: AttemptEnd,
        meta: &CallMeta,
        session: &Session,
    ) -> AttemptResult {
        let AttemptContext { admission, send_stamp, session_generation: made_with, .. } = context;
        let outcome = match attempt.failure {
            Some(_) if attempt.panicked => CallOutcome::Ignored,
            failure => failure.map_or(CallOutcome::Success, CallOutcome::from),
        };
        if let Some(admission) = admission {
            self.routes.record(meta.route, admission, now, outcome, took);
        }
        if attempt.number == 1 {
            self.retry_budget.deposit(now);
        }
        let breaker = self.routes.take_change(meta.route, now);
        let mut after = AttemptResult {
            disposition: Disposition::Complete,
            retry_at: now,
            paused_until: None,
            breaker_change: breaker,
        };
        let Some(failure) = attempt.failure else { return after };
        if let Some(Throttling { retry_after, .. }) = failure.throttling {
            self.throttle.on_throttled(send_stamp, now, retry_after);
            if meta.is_urgent() && !self.cut_holds_for_urgent {
                (self.cut_holds_for_urgent, self.limits_changed) = (true, true);
            }
            after.paused_until = self.throttle.pause(now);
        }
        if !attempt.is_repeatable {
            return after;
        }
        // Refused with the old credentials, and so not executed. There are new ones now.
        let is_outdated =
            failure.class == ErrorClass::Unauthorized && made_with != session.generation();
        if is_outdated && attempt.number < self.retry.max_attempts() {
            return AttemptResult { disposition: Disposition::Retry, ..after };
        }
        let delay = self.retry.delay(failure.class, meta.effect, attempt.number, self.rng.u64(..));
        if let Some(delay) = delay {
            let at = now + delay;
            let is_in_time = meta.deadline.is_none_or(|deadline| at < deadline);
            // What the retries of lesser calls have spent must not keep an urgent one from going.
            if is_in_time && (meta.is_urgent() || self.retry_budget.withdraw(now)) {
                after = AttemptResult { disposition: Disposition::Retry, retry_at: at, ..after };
            }
        }
        after
    }

    /// A call that was let through never began, which tells nothing.
    pub(in crate::lane) fn on_not_started(
        &mut self,
        context: AttemptContext,
        now: Moment,
        meta: &CallMeta,
    ) {
        if let Some(admission) = context.admission {
            self.routes.record(meta.route, admission, now, CallOutcome::Ignored, Duration::ZERO);
        }
    }

    /// What limits the lane from now on, if it has changed.
    pub(in crate::lane) fn take_new_limits(&mut self) -> Option<LaneLimits> {
        let changed = self.throttle.take_new_quota().is_some();
        (changed || self.limits_changed).then(|| self.current_limits())
    }

    /// Gives the lane another quota. Gives what limits it now.
    pub(in crate::lane) fn set_quota(&mut self, quota: &Quota) -> LaneLimits {
        self.throttle.set_quota(quota.clone());
        let _ = self.throttle.take_new_quota();
        self.current_limits()
    }

    fn current_limits(&mut self) -> LaneLimits {
        self.limits_changed = false;
        let cut = self.throttle.cut();
        self.cut_holds_for_urgent &= !cut.windows().is_empty();
        match self.cut_holds_for_urgent {
            true => {
                LaneLimits { all_calls: self.throttle.quota(), normal_calls: Quota::unlimited() }
            }
            false => {
                LaneLimits { all_calls: self.throttle.configured().clone(), normal_calls: cut }
            }
        }
    }

    /// How many percent of the configured rate the lane goes at, at most.
    pub(in crate::lane) fn rate_percent(&self) -> u32 {
        self.throttle.percent()
    }

    pub(in crate::lane) fn configured_quota(&self) -> &Quota {
        self.throttle.configured()
    }

    /// What the breaker of each route does.
    pub(in crate::lane) fn breaker_states(&mut self, now: Moment) -> Vec<BreakerChange> {
        self.routes.states(now)
    }

    /// What the breaker of a route has become, if it was not told.
    pub(in crate::lane) fn take_breaker_change(
        &mut self,
        route: &'static str,
        now: Moment,
    ) -> Option<BreakerChange> {
        self.routes.take_change(route, now)
    }

    /// Forces the breakers, or leaves them to themselves. Gives what they became.
    pub(in crate::lane) fn set_breaker(
        &mut self,
        mode: BreakerMode,
        now: Moment,
    ) -> Vec<BreakerChange> {
        self.routes.set_mode(mode, now);
        self.routes.take_changes(now)
    }
}
