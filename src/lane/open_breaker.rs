//! The policy of a lane for calls whose circuit breaker is open.
//!
//! A caller that is refused at once tends to call again at once: a strategy in a loop turns an open breaker into
//! millions of refusals a minute. So a call that has time is held until the breaker lets calls through again. It is not
//! held for ever: if a half-open period that began while the call waited fails, the call is rejected. So its caller
//! gets one error for each time that the breaker stays open.

use super::call::CallMeta;
use super::workers::route_breakers::BlockedRoute;

/// What a lane does with calls of a route class whose [circuit breaker](crate::resilience::BreakerPolicy) is open.
/// [Urgent](super::Priority::URGENT) calls are sent anyway. A breaker that was forced open refuses every call at once.
///
/// ```
/// use lanekeeper::Quota;
/// use lanekeeper::lane::{LaneConfig, OpenBreakerPolicy};
///
/// // For a strategy that prefers an error to a wait.
/// let orders = LaneConfig::new(Quota::per_second(10)).when_down(OpenBreakerPolicy::Refuse);
/// assert!(orders.check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OpenBreakerPolicy {
    /// Holds a call without a deadline until the breaker has probed the broker again, and sends it if that succeeded.
    /// It applies only before the first attempt, and at admission only while less than half of the queue is in use. Any
    /// other call is refused at once with a time to retry: a caller with a deadline can retry or give up by itself.
    #[default]
    HoldWithoutDeadline,
    /// Also holds a call with a deadline, if the next half-open period begins before it.
    Hold,
    /// Refuses every call at once, with a time to retry.
    Refuse,
}

impl OpenBreakerPolicy {
    /// Returns whether a call waits for the breaker.
    pub(super) fn should_hold(self, meta: &CallMeta, blocked: &BlockedRoute) -> bool {
        let Some(retry_at) = blocked.until.filter(|_| !blocked.is_forced) else { return false };
        let has_time = match (self, meta.deadline) {
            (Self::Refuse, _) | (Self::HoldWithoutDeadline, Some(_)) => false,
            (Self::HoldWithoutDeadline | Self::Hold, None) => true,
            (Self::Hold, Some(deadline)) => retry_at < deadline,
        };
        // A call that was already tried is answered with the result of its last attempt.
        let is_untried = meta.attempts() == 0;
        has_time
            && is_untried
            && blocked.last_failed_half_open.is_none_or(|failed_at| failed_at <= meta.submitted_at)
    }
}
