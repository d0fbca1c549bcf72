//! The settings of a lane with all defaults filled in and checked, as the lane core uses them.

use std::time::Duration;

use super::capacity::OverflowPolicy;
use super::config::{ExpiredSessionPolicy, LaneConfig};
use super::open_breaker::OpenBreakerPolicy;
use crate::quota::{Quota, QuotaError, Reserve, RttCredit};
use crate::resilience::{BreakerPolicy, PolicyError, RetryPolicy, ThrottlePolicy};

/// Upper bound for the default of `in_flight`. Threads are cheap but not free, so a lane that needs more sets it.
const DEFAULT_MAX_WORKERS: u32 = 16;
/// Upper bound for `in_flight`. Each call in flight has a thread, so a larger number is almost certainly a mistake.
const MAX_WORKERS: usize = 1024;
/// Upper bound for the default of `urgent_workers`: enough to close a few positions at once while other calls hang.
const DEFAULT_URGENT_WORKERS: usize = 4;
/// Upper bound for `urgent_workers`, each of which is a thread.
const MAX_URGENT_WORKERS: usize = 64;
const DEFAULT_QUEUE: usize = 1024;
/// Late enough for priorities to have an effect, and soon enough to wait for.
const DEFAULT_AGING: u32 = 10;
/// Upper bound for `queue`. A longer queue would exhaust the memory of most machines.
const MAX_QUEUE: usize = 1 << 24;
/// Upper bound for `user_interval`. A longer one is almost certainly a mistake.
const MAX_USER_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// A [`LaneConfig`] with a value for each setting, all within their ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedLaneConfig {
    pub(crate) quota: Quota,
    pub(crate) reserve: Reserve,
    pub(crate) credit: RttCredit,
    pub(super) in_flight: usize,
    pub(super) urgent_workers: usize,
    pub(super) queue: usize,
    pub(super) when_full: OverflowPolicy,
    pub(super) user_interval: Duration,
    pub(super) aging: Option<u32>,
    pub(super) retry: RetryPolicy,
    pub(super) breaker: BreakerPolicy,
    pub(super) throttle: ThrottlePolicy,
    pub(super) when_expired: ExpiredSessionPolicy,
    pub(super) when_down: OpenBreakerPolicy,
}

impl ResolvedLaneConfig {
    /// Fills in the defaults of what `config` leaves unset, for a lane that keeps to `quota`.
    ///
    /// # Errors
    /// The quota cannot be kept, the reserve leaves nothing of it, or a setting is out of range.
    pub(crate) fn new(config: &LaneConfig, quota: Quota) -> Result<Self, LaneConfigError> {
        quota.check()?;
        let reserve = config.reserve.unwrap_or(Reserve::NONE);
        reserve.check(quota.windows())?;
        let by_quota = quota.max_in_flight().unwrap_or(DEFAULT_MAX_WORKERS);
        let default_in_flight = by_quota.clamp(1, DEFAULT_MAX_WORKERS) as usize;
        let in_flight = match config.in_flight.unwrap_or(default_in_flight) {
            calls @ 1..=MAX_WORKERS => calls,
            calls => return Err(LaneConfigError::InFlight { calls }),
        };
        let default_urgent_workers = in_flight.min(DEFAULT_URGENT_WORKERS);
        let urgent_workers = match config.urgent_workers.unwrap_or(default_urgent_workers) {
            calls @ 0..=MAX_URGENT_WORKERS => calls,
            calls => return Err(LaneConfigError::UrgentWorkers { calls }),
        };
        let queue = match config.queue.unwrap_or(DEFAULT_QUEUE) {
            calls @ 1..=MAX_QUEUE => calls,
            calls => return Err(LaneConfigError::Queue { calls }),
        };
        let user_interval = match config.user_interval.unwrap_or_default() {
            interval if interval <= MAX_USER_INTERVAL => interval,
            interval => return Err(LaneConfigError::UserInterval { interval }),
        };
        let aging = match config.aging.unwrap_or(Some(DEFAULT_AGING)) {
            Some(0) => return Err(LaneConfigError::Aging),
            aging => aging,
        };
        let retry = config.retry.unwrap_or_default();
        let breaker = config.breaker.unwrap_or_default();
        let throttle = config.throttle.unwrap_or_default();
        retry.check()?;
        breaker.check()?;
        throttle.check()?;
        Ok(Self {
            quota,
            reserve,
            credit: config.credit.unwrap_or_default(),
            in_flight,
            urgent_workers,
            queue,
            when_full: config.when_full.unwrap_or_default(),
            user_interval,
            aging,
            retry,
            breaker,
            throttle,
            when_expired: config.when_expired.unwrap_or_default(),
            when_down: config.when_down.unwrap_or_default(),
        })
    }
}

/// An error in the settings of a lane, or in starting it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneConfigError {
    /// The quota cannot be kept, or the reserve leaves nothing of it.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The number of calls in flight is out of range.
    #[error("in_flight({calls}): write a number from 1 to {MAX_WORKERS}")]
    InFlight {
        /// The number that was set.
        calls: usize,
    },
    /// The number of workers for urgent calls is out of range.
    #[error("urgent_workers({calls}): write a number from 0 to {MAX_URGENT_WORKERS}")]
    UrgentWorkers {
        /// The number that was set.
        calls: usize,
    },
    /// The length of the queue is out of range.
    #[error("queue({calls}): write a number from 1 to {MAX_QUEUE}")]
    Queue {
        /// The number that was set.
        calls: usize,
    },
    /// A setting of the retry, breaker or throttle policy is out of range.
    #[error(transparent)]
    Setting(#[from] PolicyError),
    /// The interval between two calls of a user is too long.
    #[error("user_interval({interval:?}): write a day at most")]
    UserInterval {
        /// The interval that was set.
        interval: Duration,
    },
    /// Every call would be overdue at once, and priorities would have no effect.
    #[error("aging(Some(0)): write a multiple of at least 1, or None to let calls starve")]
    Aging,
    /// The operating system did not start a thread.
    #[error("a worker thread could not be started: {error}")]
    Thread {
        /// The error of the operating system.
        error: String,
    },
}
