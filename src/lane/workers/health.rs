//! The lane's reaction to a failing broker: retry, slow down, or stop sending for a while.
//!
//! The policies are in [`resilience`](crate::resilience); this applies them to the calls of one lane. Every method is
//! passed the time. The lock around it is held for the length of a poll; see the lock order in `core/mod.rs`.

use std::time::Duration;

use super::route_breakers::{BlockedRoute, BreakerChange, RouteBreakers};
use crate::lane::call::pending_call::Disposition;
use crate::lane::call::{Attempt, CallMeta};
use crate::lane::resolved_config::ResolvedLaneConfig;
use crate::quota::{LaneLimits, Moment, Quota};
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
    /// When a call was last queued noticeably for a permit, and for how long.
    last_queued: Option<(Moment, Duration)>,
    /// Whether the cut binds urgent calls too: the broker throttled one of them since the cut, so the cut is no
    /// longer a guess.
    cut_holds_for_urgent: bool,
    /// Whether that has changed.
    limits_changed: bool,
}

/// The quotas that limit a lane at present.
pub(in crate::lane) struct CurrentLimits {
    configured: Quota,
    cut: Quota,
    cut_binds_urgent: bool,
}

impl CurrentLimits {
    pub(in crate::lane) fn limits(&self) -> LaneLimits<'_> {
        let Self { configured, cut, cut_binds_urgent } = self;
        LaneLimits { quota: configured, cut, cut_binds_urgent: *cut_binds_urgent }
    }
}

/// A call that waits at least this long was limited by the rate: it is more than a hand-over between threads takes.
const MIN_QUEUE_WAIT: Duration = Duration::from_millis(1);

/// The context of an attempt in flight.
pub(in crate::lane) struct AttemptContext {
    admission: Option<Admission>,
    send_stamp: SendStamp,
    /// The generation of the credentials that it uses.
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
    /// When the next attempt may be sent, if there is one.
    pub(in crate::lane) retry_at: Moment,
    /// Until when the lane pauses, if the broker has just asked for that.
    pub(in crate::lane) paused_until: Option<Moment>,
    /// What the breaker of the call's route became, if that is news.
    pub(in crate::lane) breaker_change: Option<BreakerChange>,
}

impl AttemptResult {
    /// The call is complete, whatever its answer.
    fn complete(now: Moment, breaker_change: Option<BreakerChange>) -> Self {
        let disposition = Disposition::Complete;
        Self { disposition, retry_at: now, paused_until: None, breaker_change }
    }
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

    /// Returns until when the lane pauses, because the broker asked for it.
    pub(in crate::lane) fn paused_until(&self, now: Moment) -> Option<Moment> {
        self.throttle.pause(now)
    }

    /// Returns the routes whose calls are refused now.
    pub(in crate::lane) fn blocked_routes(&mut self, now: Moment) -> Vec<BlockedRoute> {
        self.routes.blocked_routes(now)
    }

    /// Returns why this call is refused now, if it is.
    pub(in crate::lane) fn blocked_route(
        &mut self,
        meta: &CallMeta,
        now: Moment,
    ) -> Option<BlockedRoute> {
        self.routes.blocked_route(meta.route, meta.is_urgent(), now)
    }

    /// Returns whether a call may be sent that was dispatched a while ago: its route is not blocked since, except for calls
    /// that are no probe, and the broker has not asked for a pause.
    pub(in crate::lane) fn may_still_go(
        &mut self,
        context: &AttemptContext,
        meta: &CallMeta,
        now: Moment,
    ) -> bool {
        let is_probe = context.admission.as_ref().is_some_and(Admission::is_probe);
        let blocked = self.blocked_route(meta, now);
        self.paused_until(now).is_none() && blocked.is_none_or(|it| is_probe && !it.is_forced)
    }

    /// Ensures that a cut rate still has room for calls of this weight.
    pub(in crate::lane) fn ensure_room_for(&mut self, weight: u32) {
        self.throttle.ensure_room_for(weight);
    }

    /// Records a dispatch, and returns the context of the attempt.
    ///
    /// A single caller in a loop leaves no call waiting, but its own calls wait about one window each. Such a lane is
    /// busy too.
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
            // The breaker did not refuse it a moment ago, under the same lock.
            admission: self.routes.admit(meta.route, meta.is_urgent(), now),
            send_stamp: self.throttle.on_send(now, meta.cost.weight, waiting),
            session_generation: made_with,
            breaker_change: self.routes.take_change(meta.route, now),
        }
    }

    /// Records the end of an attempt, and returns what follows.
    pub(in crate::lane) fn on_attempt_end(
        &mut self,
        context: AttemptContext,
        AttemptEnd { attempt, at: now, took }: AttemptEnd,
        meta: &CallMeta,
        session: &Session,
    ) -> AttemptResult {
        let AttemptContext { admission, send_stamp, session_generation: made_with, .. } = context;
        let outcome = match attempt.failure {
            Some(_) if attempt.is_broken => CallOutcome::Ignored,
            failure => failure.map_or(CallOutcome::Success, CallOutcome::from),
        };
        if let Some(admission) = admission {
            self.routes.record(meta.route, admission, now, outcome, took);
        }
        if attempt.number == 1 {
            self.retry_budget.deposit(now);
        }
        let breaker = self.routes.take_change(meta.route, now);
        let mut after = AttemptResult::complete(now, breaker);
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
        // It was refused with the old credentials, and so not executed. There are new ones now.
        let is_outdated =
            failure.class == ErrorClass::Unauthorized && made_with != session.generation();
        if is_outdated && attempt.number < self.retry.max_attempts() {
            return AttemptResult { disposition: Disposition::Retry, ..after };
        }
        let delay = self.retry.delay(failure.class, meta.effect, attempt.number, self.rng.u64(..));
        if let Some(delay) = delay {
            let at = now + delay;
            let is_in_time = meta.deadline.is_none_or(|deadline| at < deadline);
            // Retries of normal calls must not use up the budget for an urgent one.
            if is_in_time && (meta.is_urgent() || self.retry_budget.withdraw(now)) {
                after = AttemptResult { disposition: Disposition::Retry, retry_at: at, ..after };
            }
        }
        after
    }

    /// Records that an admitted call never began, or that its adapter refused it before anything was tried. That is no
    /// evidence, and no reason for a retry: the adapter would refuse the call again.
    pub(in crate::lane) fn on_not_tried(
        &mut self,
        context: AttemptContext,
        now: Moment,
        meta: &CallMeta,
    ) -> AttemptResult {
        let AttemptContext { admission, send_stamp, .. } = context;
        if let Some(admission) = admission {
            self.routes.record(meta.route, admission, now, CallOutcome::Ignored, Duration::ZERO);
        }
        self.throttle.on_not_sent(send_stamp, now);
        AttemptResult::complete(now, self.routes.take_change(meta.route, now))
    }

    /// Returns the new limits of the lane, if they have changed.
    pub(in crate::lane) fn take_new_limits(&mut self) -> Option<CurrentLimits> {
        let changed = self.throttle.take_new_quota().is_some();
        (changed || self.limits_changed).then(|| self.current_limits())
    }

    /// Replaces the quota. Returns the new limits.
    pub(in crate::lane) fn set_quota(&mut self, quota: &Quota) -> CurrentLimits {
        self.throttle.set_quota(quota.clone());
        let _ = self.throttle.take_new_quota();
        self.current_limits()
    }

    fn current_limits(&mut self) -> CurrentLimits {
        self.limits_changed = false;
        let cut = self.throttle.cut();
        self.cut_holds_for_urgent &= !cut.windows().is_empty();
        CurrentLimits {
            configured: self.throttle.configured().clone(),
            cut,
            cut_binds_urgent: self.cut_holds_for_urgent,
        }
    }

    /// Returns the current rate in percent of the configured one.
    pub(in crate::lane) fn rate_percent(&self) -> u32 {
        self.throttle.percent()
    }

    pub(in crate::lane) fn configured_quota(&self) -> &Quota {
        self.throttle.configured()
    }

    /// Returns the breaker state of each route.
    pub(in crate::lane) fn breaker_states(&mut self, now: Moment) -> Vec<BreakerChange> {
        self.routes.states(now)
    }

    /// Returns the routes of which the calls of this process say that the broker fails.
    #[cfg(feature = "redis")]
    pub(in crate::lane) fn troubled_routes(&mut self, now: Moment) -> Vec<&'static str> {
        self.routes.troubled(now)
    }

    /// Hears which routes the breakers of other processes refuse, until the given moment.
    #[cfg(feature = "redis")]
    pub(in crate::lane) fn set_hints(&mut self, routes: Vec<String>, until: Moment) {
        self.routes.set_hints(routes, until);
    }

    /// Returns the state change of the breaker of a route, if it was not reported yet.
    pub(in crate::lane) fn take_breaker_change(
        &mut self,
        route: &'static str,
        now: Moment,
    ) -> Option<BreakerChange> {
        self.routes.take_change(route, now)
    }

    /// Sets the mode of all breakers. Returns their state changes.
    pub(in crate::lane) fn set_breaker(
        &mut self,
        mode: BreakerMode,
        now: Moment,
    ) -> Vec<BreakerChange> {
        self.routes.set_mode(mode, now);
        self.routes.take_changes(now)
    }
}
