//! What a lane does with calls while the broker does not answer those of their route class.
//!
//! A caller that is refused at once calls again at once, and again: a strategy in a loop turns an open breaker into
//! millions of refusals a minute. So a call that has time is held until the breaker lets calls through again. It is
//! not held for ever: if a trial that began while the call waited fails, the call is refused. So its caller hears of
//! it once in each time that the breaker is open.

use super::call::CallMeta;
use super::workers::route_breakers::BlockedRoute;

/// What a lane does with calls of a route class whose [circuit breaker](crate::resilience::BreakerPolicy) is open.
/// [Urgent](super::Priority::URGENT) calls go all the same, and a breaker that was forced open by hand refuses
/// every call at once.
///
/// ```
/// use lanekeeper::Quota;
/// use lanekeeper::lane::{LaneConfig, OpenBreakerPolicy};
///
/// // A strategy that has something better to do than wait.
/// let orders = LaneConfig::new(Quota::per_second(10)).when_down(OpenBreakerPolicy::Refuse);
/// assert!(orders.check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OpenBreakerPolicy {
    /// A call without a deadline is held until the breaker has tried the broker again, and goes if that worked; but
    /// only while less than half of the queue is taken, and only before its first attempt. Any other is refused at
    /// once, with when to come back: a caller with a deadline has plans.
    #[default]
    HoldWithoutDeadline,
    /// A call with a deadline is held too, if the next trial comes before it.
    Hold,
    /// Every call is refused at once, with when to come back.
    Refuse,
}

impl OpenBreakerPolicy {
    /// Whether a call waits for the breaker.
    pub(super) fn should_hold(self, meta: &CallMeta, blocked: &BlockedRoute) -> bool {
        let Some(retry_at) = blocked.until.filter(|_| !blocked.is_forced) else { return false };
        let has_time = match (self, meta.deadline) {
            (Self::Refuse, _) | (Self::HoldWithoutDeadline, Some(_)) => false,
            (Self::HoldWithoutDeadline | Self::Hold, None) => true,
            (Self::Hold, Some(deadline)) => retry_at < deadline,
        };
        // Of one that was tried there is an answer to give.
        let is_untried = meta.attempts() == 0;
        has_time
            && is_untried
            && blocked.last_failed_half_open.is_none_or(|failed_at| failed_at <= meta.submitted_at)
    }
}
