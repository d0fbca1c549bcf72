//! What is said of a lane whose quota may be known from elsewhere: only what is to be otherwise.

use std::time::Duration;

use super::capacity::OverflowPolicy;
use super::config::{ExpiredSessionPolicy, LaneConfig};
use super::open_breaker::OpenBreakerPolicy;
use crate::quota::{Quota, RttCredit};
use crate::resilience::{BreakerPolicy, RetryPolicy, ThrottlePolicy};

/// Changes to a [`LaneConfig`]: what is `None` stays as it is.
///
/// ```
/// use lanekeeper::lane::{LaneConfig, LaneSettings};
/// use lanekeeper::quota::Quota;
///
/// let mut settings = LaneSettings::default();
/// settings.in_flight = Some(4);
/// let documented = LaneConfig::new(Quota::per_second(10));
/// assert_eq!(settings.apply_to(documented), LaneConfig::new(Quota::per_second(10)).in_flight(4));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneSettings {
    /// How fast, see [`LaneConfig::new`].
    pub quota: Option<Quota>,
    /// See [`LaneConfig::credit`].
    pub credit: Option<RttCredit>,
    /// See [`LaneConfig::in_flight`].
    pub in_flight: Option<usize>,
    /// See [`LaneConfig::urgent_workers`].
    pub urgent_workers: Option<usize>,
    /// See [`LaneConfig::queue`].
    pub queue: Option<usize>,
    /// See [`LaneConfig::when_full`].
    pub when_full: Option<OverflowPolicy>,
    /// See [`LaneConfig::user_interval`].
    pub user_interval: Option<Duration>,
    /// See [`LaneConfig::aging`].
    pub aging: Option<Option<u32>>,
    /// See [`LaneConfig::retry`]. The policy is replaced as a whole.
    pub retry: Option<RetryPolicy>,
    /// See [`LaneConfig::breaker`]. It is replaced as a whole.
    pub breaker: Option<BreakerPolicy>,
    /// See [`LaneConfig::throttle`]. The policy is replaced as a whole.
    pub throttle: Option<ThrottlePolicy>,
    /// See [`LaneConfig::when_expired`].
    pub when_expired: Option<ExpiredSessionPolicy>,
    /// See [`LaneConfig::when_down`].
    pub when_down: Option<OpenBreakerPolicy>,
}

impl LaneSettings {
    /// `config`, with these changes.
    #[must_use]
    pub fn apply_to(&self, config: LaneConfig) -> LaneConfig {
        // Taken apart, so that a field that is new cannot be forgotten.
        let Self {
            quota,
            credit,
            in_flight,
            urgent_workers,
            queue,
            when_full,
            user_interval,
            aging,
            retry,
            breaker,
            throttle,
            when_expired,
            when_down,
        } = self;
        let config = apply_override(config, quota.clone(), LaneConfig::with_quota);
        let config = apply_override(config, *credit, LaneConfig::credit);
        let config = apply_override(config, *in_flight, LaneConfig::in_flight);
        let config = apply_override(config, *urgent_workers, LaneConfig::urgent_workers);
        let config = apply_override(config, *queue, LaneConfig::queue);
        let config = apply_override(config, *when_full, LaneConfig::when_full);
        let config = apply_override(config, *user_interval, LaneConfig::user_interval);
        let config = apply_override(config, *aging, LaneConfig::aging);
        let config = apply_override(config, *retry, LaneConfig::retry);
        let config = apply_override(config, *breaker, LaneConfig::breaker);
        let config = apply_override(config, *throttle, LaneConfig::throttle);
        let config = apply_override(config, *when_expired, LaneConfig::when_expired);
        apply_override(config, *when_down, LaneConfig::when_down)
    }
}

fn apply_override<T>(
    config: LaneConfig,
    to: Option<T>,
    set: fn(LaneConfig, T) -> LaneConfig,
) -> LaneConfig {
    match to {
        None => config,
        Some(value) => set(config, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_gets_there() {
        let settings = LaneSettings {
            quota: Some(Quota::per_minute(2)),
            credit: Some(RttCredit::STRICT),
            in_flight: Some(3),
            urgent_workers: Some(2),
            queue: Some(4),
            when_full: Some(OverflowPolicy::Shed),
            user_interval: Some(Duration::from_millis(5)),
            aging: Some(None),
            retry: Some(RetryPolicy::none()),
            breaker: Some(BreakerPolicy::disabled()),
            throttle: Some(ThrottlePolicy::default().keep_percent(6)),
            when_expired: Some(ExpiredSessionPolicy::Refuse),
            when_down: Some(OpenBreakerPolicy::Hold),
        };
        let same = LaneConfig::new(Quota::per_minute(2))
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
        let plain = LaneConfig::new(Quota::per_second(1));
        assert_eq!(settings.apply_to(plain.clone()), same);
        assert_eq!(LaneSettings::default().apply_to(plain.clone()), plain);
        assert_eq!(LaneSettings::default().apply_to(same.clone()), same);
    }
}
