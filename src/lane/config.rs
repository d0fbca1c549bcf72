//! How a lane is set up.

use std::time::Duration;

use super::capacity::OverflowPolicy;
use super::open_breaker::OpenBreakerPolicy;
use crate::quota::{Quota, QuotaError, RttCredit};
use crate::resilience::{BreakerPolicy, PolicyError, RetryPolicy, ThrottlePolicy};

/// How fast a lane goes, how much of it at once, and how much may wait.
///
/// ```
/// use lanekeeper::lane::LaneConfig;
/// use lanekeeper::quota::Quota;
///
/// let orders = LaneConfig::new(Quota::per_second(10)).in_flight(4).queue(256);
/// assert_eq!(orders.quota(), &Quota::per_second(10));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneConfig {
    quota: Quota,
    credit: RttCredit,
    in_flight: Option<usize>,
    urgent_workers: Option<usize>,
    queue: usize,
    when_full: OverflowPolicy,
    user_interval: Duration,
    aging: Option<u32>,
    retry: RetryPolicy,
    breaker: BreakerPolicy,
    throttle: ThrottlePolicy,
    when_expired: ExpiredSessionPolicy,
    when_down: OpenBreakerPolicy,
}

/// What a lane does with calls while the broker does not take the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExpiredSessionPolicy {
    /// They wait until the [`Session`](crate::Session) is renewed, or until their deadline. A call without a
    /// deadline may so be sent hours after it was made: give one to orders that would be wrong by then.
    #[default]
    Hold,
    /// They are refused at once, as not sent.
    Refuse,
}

/// Threads are cheap but not free; a lane that needs more says so itself.
const DEFAULT_MAX_WORKERS: u32 = 16;
const MAX_WORKERS: usize = 1024;
/// Enough for a few positions to be closed at once beside calls that hang.
const DEFAULT_URGENT_WORKERS: usize = 4;
const MAX_URGENT_WORKERS: usize = 64;
const DEFAULT_QUEUE: usize = 1024;
/// Late enough for priorities to mean something, and soon enough to wait for.
const DEFAULT_AGING: u32 = 10;
/// More than a machine has memory for, and an absurd number must not pass.
const MAX_QUEUE: usize = 1 << 24;
/// A user who may call once a day is meant otherwise.
const MAX_USER_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

impl LaneConfig {
    /// A lane that keeps to `quota`.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            credit: RttCredit::default(),
            in_flight: None,
            urgent_workers: None,
            queue: DEFAULT_QUEUE,
            when_full: OverflowPolicy::default(),
            user_interval: Duration::ZERO,
            aging: Some(DEFAULT_AGING),
            retry: RetryPolicy::default(),
            breaker: BreakerPolicy::default(),
            throttle: ThrottlePolicy::default(),
            when_expired: ExpiredSessionPolicy::default(),
            when_down: OpenBreakerPolicy::default(),
        }
    }

    /// How many calls may be under way at once. By default as many as the quota lets be in flight,
    /// 16 at most. The lane has a thread for each, one for each of
    /// [`urgent_workers`](Self::urgent_workers), and one more that keeps the deadlines of those that wait.
    ///
    /// A lane needs about `calls per second x round trip` to use all of its quota.
    #[must_use]
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = Some(calls);
        self
    }

    /// How many [urgent](super::Priority::URGENT) calls may be under way beside those of
    /// [`in_flight`](Self::in_flight), when as many of these run as may: so that there is a thread for
    /// them if all others hang. Urgent reads may take half of them, rounded down, so that reads which hang
    /// leave a thread to an exit. By default as many as `in_flight`, 4 at most. 0 to 64.
    #[must_use]
    pub fn urgent_workers(mut self, calls: usize) -> Self {
        self.urgent_workers = Some(calls);
        self
    }

    /// How many calls may wait. 1024 by default. An urgent call that finds the queue full takes the place of a lesser
    /// one, and comes on top if there is none.
    #[must_use]
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// The share of the least round trip that shortens the wait for a slot, at most. 95 % by default;
    /// [`RttCredit::STRICT`] rests on no assumption at all.
    #[must_use]
    pub fn credit(mut self, credit: RttCredit) -> Self {
        self.credit = credit;
        self
    }

    /// What happens to a call that finds the queue full and is not urgent. By default it is refused.
    #[must_use]
    pub fn when_full(mut self, when_full: OverflowPolicy) -> Self {
        self.when_full = when_full;
        self
    }

    /// The least time between two calls of one user of the same priority. None by default.
    #[must_use]
    pub fn user_interval(mut self, interval: Duration) -> Self {
        self.user_interval = interval;
        self
    }

    /// A call that has waited `multiple` times as long as it would have in a queue without
    /// priorities and users (which is taken for a second at the least) is overdue: from then on only
    /// calls that were overdue before it are sent before it, and those of
    /// [`Priority::URGENT`](super::Priority::URGENT); and while a budget is spent that it is charged to, those
    /// that are not charged to that. 10 by default; `None` lets calls of higher priority starve the others.
    #[must_use]
    pub fn aging(mut self, multiple: Option<u32>) -> Self {
        self.aging = multiple;
        self
    }

    /// Whether and when a call that failed is sent again: a read after a fault on the way, a write
    /// only if it surely was not done. [`RetryPolicy::none`] leaves it all to the caller.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// When calls are held or refused because the broker fails. [`BreakerPolicy::disabled`] lets all through.
    #[must_use]
    pub fn breaker(mut self, breaker: BreakerPolicy) -> Self {
        self.breaker = breaker;
        self
    }

    /// How the lane pauses and slows down when the broker says that calls come too fast.
    #[must_use]
    pub fn throttle(mut self, throttle: ThrottlePolicy) -> Self {
        self.throttle = throttle;
        self
    }

    /// What happens to calls while the broker does not take the credentials, as after the end of the
    /// day's session. By default they wait for new ones. An urgent call goes all the same: if the broker takes
    /// it, the others follow.
    ///
    /// ```
    /// use lanekeeper::lane::{LaneConfig, ExpiredSessionPolicy};
    /// use lanekeeper::Quota;
    ///
    /// // An order would be wrong by the time somebody has logged in: refused at once, and urgent ones go.
    /// let orders = LaneConfig::new(Quota::per_second(10))
    ///     .urgent_workers(8)
    ///     .when_expired(ExpiredSessionPolicy::Refuse);
    /// assert!(orders.check().is_ok());
    /// ```
    #[must_use]
    pub fn when_expired(mut self, when_expired: ExpiredSessionPolicy) -> Self {
        self.when_expired = when_expired;
        self
    }

    /// What happens to calls of a route class whose circuit breaker is open. By default those without a
    /// deadline are held until it lets calls through again, and the others are refused.
    #[must_use]
    pub fn when_down(mut self, when_down: OpenBreakerPolicy) -> Self {
        self.when_down = when_down;
        self
    }

    /// The quota that the lane keeps to.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    pub(super) fn with_quota(mut self, quota: Quota) -> Self {
        self.quota = quota;
        self
    }

    /// Whether a lane can work like this.
    ///
    /// # Errors
    /// Its quota cannot be kept, or a setting makes no sense; the error says what would.
    pub fn check(&self) -> Result<(), LaneConfigError> {
        self.quota.check()?;
        self.checked_in_flight()?;
        self.checked_urgent_workers()?;
        self.checked_queue()?;
        self.checked_user_interval()?;
        self.checked_aging()?;
        self.retry.check()?;
        self.breaker.check()?;
        Ok(self.throttle.check()?)
    }

    pub(super) fn checked_in_flight(&self) -> Result<usize, LaneConfigError> {
        let by_default = || {
            let most = self.quota.max_in_flight().unwrap_or(DEFAULT_MAX_WORKERS);
            most.clamp(1, DEFAULT_MAX_WORKERS) as usize
        };
        match self.in_flight.unwrap_or_else(by_default) {
            calls @ 1..=MAX_WORKERS => Ok(calls),
            calls => Err(LaneConfigError::InFlight { calls }),
        }
    }

    pub(super) fn checked_urgent_workers(&self) -> Result<usize, LaneConfigError> {
        let by_default = self.checked_in_flight()?.min(DEFAULT_URGENT_WORKERS);
        match self.urgent_workers.unwrap_or(by_default) {
            calls @ 0..=MAX_URGENT_WORKERS => Ok(calls),
            calls => Err(LaneConfigError::UrgentWorkers { calls }),
        }
    }

    pub(super) fn checked_queue(&self) -> Result<usize, LaneConfigError> {
        match self.queue {
            1..=MAX_QUEUE => Ok(self.queue),
            calls => Err(LaneConfigError::Queue { calls }),
        }
    }

    pub(crate) fn rtt_credit(&self) -> RttCredit {
        self.credit
    }

    pub(super) fn retry_policy(&self) -> &RetryPolicy {
        &self.retry
    }

    pub(super) fn breaker_policy(&self) -> &BreakerPolicy {
        &self.breaker
    }

    pub(super) fn throttle_policy(&self) -> &ThrottlePolicy {
        &self.throttle
    }

    pub(super) fn expired_session_policy(&self) -> ExpiredSessionPolicy {
        self.when_expired
    }

    pub(super) fn open_breaker_policy(&self) -> OpenBreakerPolicy {
        self.when_down
    }

    pub(super) fn overflow_policy(&self) -> OverflowPolicy {
        self.when_full
    }

    pub(super) fn checked_user_interval(&self) -> Result<Duration, LaneConfigError> {
        match self.user_interval {
            interval if interval <= MAX_USER_INTERVAL => Ok(interval),
            interval => Err(LaneConfigError::UserInterval { interval }),
        }
    }

    pub(super) fn checked_aging(&self) -> Result<Option<u32>, LaneConfigError> {
        match self.aging {
            Some(0) => Err(LaneConfigError::Aging),
            aging => Ok(aging),
        }
    }
}

impl From<Quota> for LaneConfig {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}

/// A lane that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneConfigError {
    /// Its quota cannot be kept.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// No calls at once, or absurdly many.
    #[error("in_flight({calls}): write a number from 1 to {MAX_WORKERS}")]
    InFlight {
        /// What was asked for.
        calls: usize,
    },
    /// More threads than anybody has exits.
    #[error("urgent_workers({calls}): write a number from 0 to {MAX_URGENT_WORKERS}")]
    UrgentWorkers {
        /// What was asked for.
        calls: usize,
    },
    /// No place to wait, or absurdly many.
    #[error("queue({calls}): write a number from 1 to {MAX_QUEUE}")]
    Queue {
        /// What was asked for.
        calls: usize,
    },
    /// What is to be done about a failing broker makes no sense.
    #[error(transparent)]
    Setting(#[from] PolicyError),
    /// Users would wait for ever.
    #[error("user_interval({interval:?}): write a day at most")]
    UserInterval {
        /// What was asked for.
        interval: Duration,
    },
    /// Every call would be overdue as it comes in, and priorities would mean nothing.
    #[error("aging(Some(0)): write a multiple of at least 1, or None to let calls starve")]
    Aging,
    /// The system gave no thread.
    #[error("a worker thread could not be started: {error}")]
    Thread {
        /// What the system said.
        error: String,
    },
}
