//! The settings of a lane.

use std::time::Duration;

use super::capacity::OverflowPolicy;
use super::open_breaker::OpenBreakerPolicy;
use super::resolved_config::{LaneConfigError, ResolvedLaneConfig};
use crate::quota::{Quota, Reserve, RttCredit};
use crate::resilience::{BreakerPolicy, RetryPolicy, ThrottlePolicy};

/// How fast a lane sends calls, how many run at once, and how many may wait.
///
/// A setting that is not set inherits: from what was set for the lane before, then from the quota that the broker
/// documents, then from the default. So [`LaneConfig::default`], which sets nothing, is the start of a change to a
/// lane whose quota is known from elsewhere.
///
/// ```
/// use lanekeeper::lane::LaneConfig;
/// use lanekeeper::quota::Quota;
///
/// let orders = LaneConfig::new(Quota::per_second(10)).in_flight(4).queue(256);
/// assert_eq!(orders.quota(), Some(&Quota::per_second(10)));
///
/// let change = LaneConfig::default().in_flight(8);
/// let changed = LaneConfig::new(Quota::per_second(10)).in_flight(8).queue(256);
/// assert_eq!(change.or(orders), changed);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneConfig {
    pub(super) quota: Option<Quota>,
    pub(super) reserve: Option<Reserve>,
    pub(super) credit: Option<RttCredit>,
    pub(super) in_flight: Option<usize>,
    pub(super) urgent_workers: Option<usize>,
    pub(super) queue: Option<usize>,
    pub(super) when_full: Option<OverflowPolicy>,
    pub(super) user_interval: Option<Duration>,
    /// `Some(None)` is no aging.
    pub(super) aging: Option<Option<u32>>,
    pub(super) retry: Option<RetryPolicy>,
    pub(super) breaker: Option<BreakerPolicy>,
    pub(super) throttle: Option<ThrottlePolicy>,
    pub(super) when_expired: Option<ExpiredSessionPolicy>,
    pub(super) when_down: Option<OpenBreakerPolicy>,
}

/// What a lane does with calls while the broker does not accept the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExpiredSessionPolicy {
    /// Calls wait until the [`Session`](crate::Session) is renewed, or until their deadline. A call without a
    /// deadline may therefore be sent hours after it was made. Set a deadline on orders that would be wrong by then.
    #[default]
    Hold,
    /// Calls are refused at once, as not sent.
    Refuse,
}

impl LaneConfig {
    /// Returns the settings of a lane that keeps to `quota`.
    pub fn new(quota: Quota) -> Self {
        Self { quota: Some(quota), ..Self::default() }
    }

    /// Reserves the last `slots` of each window of the lane's quota for [urgent](super::Priority::URGENT) calls. The
    /// default is none. A reserve that leaves nothing of a window to other calls is an error when the lane is built. A
    /// call that weighs more than what is left is refused unless it is urgent.
    ///
    /// The window of a [rate cut](Self::throttle) has no reserve, because urgent calls do not wait for it.
    ///
    /// ```
    /// use lanekeeper::Quota;
    /// use lanekeeper::lane::LaneConfig;
    ///
    /// // Two of ten calls a second, and two of 400 a minute.
    /// let orders = LaneConfig::new(Quota::per_second(10).and(Quota::per_minute(400))).reserve(2);
    /// assert!(orders.check().is_ok());
    /// assert!(orders.reserve(10).check().is_err());
    /// ```
    #[must_use]
    pub fn reserve(self, slots: u32) -> Self {
        self.with_reserve(Reserve::Slots(slots))
    }

    /// Reserves the last `percent` of each window, 50 at most, for urgent calls, rounded up. Otherwise like
    /// [`reserve`](Self::reserve).
    #[must_use]
    pub fn reserve_percent(self, percent: u32) -> Self {
        self.with_reserve(Reserve::Percent(percent))
    }

    pub(crate) fn with_reserve(mut self, reserve: Reserve) -> Self {
        self.reserve = Some(reserve);
        self
    }

    /// Sets how many calls may be in flight at once. The default is as many as the quota allows, and at most 16. The
    /// lane has a thread for each, one for each of [`urgent_workers`](Self::urgent_workers), and one more that
    /// expires the deadlines of waiting calls.
    ///
    /// A lane needs about `calls per second x round trip` to use all of its quota.
    #[must_use]
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = Some(calls);
        self
    }

    /// Sets how many [urgent](super::Priority::URGENT) calls may be in flight beside those of
    /// [`in_flight`](Self::in_flight) when all of these are taken, so that urgent calls have a thread if all others
    /// hang. Urgent reads may use half of these workers, rounded down, so that reads that hang leave a thread to an
    /// exit. 0 to 64. The default is the same as `in_flight`, and at most 4.
    #[must_use]
    pub fn urgent_workers(mut self, calls: usize) -> Self {
        self.urgent_workers = Some(calls);
        self
    }

    /// Sets how many calls may wait. The default is 1024. An urgent call that finds the queue full takes the place in
    /// the queue of a call of lower priority. If there is none, it is queued beyond the limit. The calls of a
    /// [`Scan`](crate::Scan) do not count.
    #[must_use]
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = Some(calls);
        self
    }

    /// Sets the share of the shortest round trip by which the wait for a slot may be shortened. The default is 95 %.
    /// [`RttCredit::STRICT`] makes no assumption about the network.
    #[must_use]
    pub fn credit(mut self, credit: RttCredit) -> Self {
        self.credit = Some(credit);
        self
    }

    /// Sets what happens to a call that finds the queue full and is not urgent. By default it is refused.
    #[must_use]
    pub fn when_full(mut self, when_full: OverflowPolicy) -> Self {
        self.when_full = Some(when_full);
        self
    }

    /// Sets the minimum time between two calls of one user at the same priority. The default is none.
    #[must_use]
    pub fn user_interval(mut self, interval: Duration) -> Self {
        self.user_interval = Some(interval);
        self
    }

    /// Sets after how many times its fair wait a call is overdue. The fair wait is how long the call would have
    /// waited in a queue without priorities and users, and at least one second. The default is 10. `None` lets calls
    /// of higher priority starve the others.
    ///
    /// An overdue call is sent before all calls but these: calls that were overdue before it, calls of
    /// [`Priority::URGENT`](super::Priority::URGENT), and, while a budget that it is charged to is exhausted, calls
    /// that are not charged to that budget.
    #[must_use]
    pub fn aging(mut self, multiple: Option<u32>) -> Self {
        self.aging = Some(multiple);
        self
    }

    /// Sets whether and when a failed call is sent again: a read after a fault on the way, a write only if it
    /// certainly was not executed. [`RetryPolicy::none`] leaves retries to the caller.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets when calls are held or refused because the broker fails. [`BreakerPolicy::disabled`] lets all through.
    #[must_use]
    pub fn breaker(mut self, breaker: BreakerPolicy) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Sets how the lane pauses and slows down when the broker reports that calls come too fast.
    #[must_use]
    pub fn throttle(mut self, throttle: ThrottlePolicy) -> Self {
        self.throttle = Some(throttle);
        self
    }

    /// Sets what happens to calls while the broker does not accept the credentials, for example after the end of the
    /// day's session. By default they wait for new ones. An urgent call is sent in any case. If the broker accepts
    /// it, the others follow.
    ///
    /// ```
    /// use lanekeeper::lane::{LaneConfig, ExpiredSessionPolicy};
    /// use lanekeeper::Quota;
    ///
    /// // An order would be wrong by the time of the next login, so it is refused at once. Urgent ones are sent.
    /// let orders = LaneConfig::new(Quota::per_second(10))
    ///     .urgent_workers(8)
    ///     .when_expired(ExpiredSessionPolicy::Refuse);
    /// assert!(orders.check().is_ok());
    /// ```
    #[must_use]
    pub fn when_expired(mut self, when_expired: ExpiredSessionPolicy) -> Self {
        self.when_expired = Some(when_expired);
        self
    }

    /// Sets what happens to calls of a route class whose circuit breaker is open. By default calls without a
    /// deadline are held until the breaker lets calls through again, and the others are refused.
    #[must_use]
    pub fn when_down(mut self, when_down: OpenBreakerPolicy) -> Self {
        self.when_down = Some(when_down);
        self
    }

    /// Returns the quota of the lane, if it is set.
    pub fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    /// Fills in each unset setting from `inherited`. A policy is one setting, and is taken as a whole.
    #[must_use]
    pub fn or(self, inherited: Self) -> Self {
        Self {
            quota: self.quota.or(inherited.quota),
            reserve: self.reserve.or(inherited.reserve),
            credit: self.credit.or(inherited.credit),
            in_flight: self.in_flight.or(inherited.in_flight),
            urgent_workers: self.urgent_workers.or(inherited.urgent_workers),
            queue: self.queue.or(inherited.queue),
            when_full: self.when_full.or(inherited.when_full),
            user_interval: self.user_interval.or(inherited.user_interval),
            aging: self.aging.or(inherited.aging),
            retry: self.retry.or(inherited.retry),
            breaker: self.breaker.or(inherited.breaker),
            throttle: self.throttle.or(inherited.throttle),
            when_expired: self.when_expired.or(inherited.when_expired),
            when_down: self.when_down.or(inherited.when_down),
        }
    }

    /// Checks that a lane can run with these settings, with the default for each one that is not set.
    ///
    /// # Errors
    /// The quota cannot be kept, or a setting is out of range. The error says which values are allowed.
    pub fn check(&self) -> Result<(), LaneConfigError> {
        let quota = self.quota.clone().unwrap_or_else(Quota::unlimited);
        ResolvedLaneConfig::new(self, quota).map(drop)
    }
}

impl From<Quota> for LaneConfig {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unset_inherits() {
        let all = LaneConfig::new(Quota::per_minute(2))
            .reserve(1)
            .credit(RttCredit::STRICT)
            .in_flight(3)
            .urgent_workers(2)
            .queue(4)
            .when_full(OverflowPolicy::Shed)
            .user_interval(Duration::from_millis(5))
            .aging(None)
            .retry(RetryPolicy::none())
            .breaker(BreakerPolicy::disabled())
            .throttle(ThrottlePolicy::default().keep_percent(6))
            .when_expired(ExpiredSessionPolicy::Refuse)
            .when_down(OpenBreakerPolicy::Hold);
        let other = LaneConfig::new(Quota::per_second(1)).in_flight(9).queue(9).aging(Some(9));
        assert_eq!(LaneConfig::default().or(all.clone()), all);
        assert_eq!(all.clone().or(LaneConfig::default()), all);
        assert_eq!(all.clone().or(other), all);
    }
}
