//! The configuration of a throttle.

use std::time::Duration;

use crate::resilience::validate::{PolicyError, ensure, ensure_percent, ensure_time};

/// How a lane pauses and slows down after the broker throttled a call.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::resilience::ThrottlePolicy;
///
/// let policy = ThrottlePolicy::default().default_pause(Duration::from_secs(2)).keep_percent(50);
/// assert_eq!(policy.check(), Ok(()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottlePolicy {
    default_pause: Duration,
    max_pause: Duration,
    keep_percent: u32,
    step_percent: u32,
    min_percent: u32,
}

impl Default for ThrottlePolicy {
    /// A pause of 1 s if the broker names none, and of at most 5 min. A cut keeps 70 % of the rate,
    /// and at least 10 % of the full rate. It recovers in steps of 5 %.
    fn default() -> Self {
        Self {
            default_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(300),
            keep_percent: 70,
            step_percent: 5,
            min_percent: 10,
        }
    }
}

impl ThrottlePolicy {
    /// Sets how long the lane pauses if the broker names no wait. 1 s by default.
    #[must_use]
    pub fn default_pause(mut self, pause: Duration) -> Self {
        self.default_pause = pause;
        self
    }

    /// Sets the longest pause for one throttled call, whatever wait the broker names. After it a
    /// call is sent, and if that is throttled too, the lane pauses again. 5 min by default.
    #[must_use]
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.max_pause = pause;
        self
    }

    /// Sets the percentage of the calls really sent in the last window that a cut keeps. 70 by
    /// default. 100 does not cut.
    #[must_use]
    pub fn keep_percent(mut self, percent: u32) -> Self {
        self.keep_percent = percent;
        self
    }

    /// Sets the percentage of the full rate that is restored for each window in which calls were
    /// waiting all the time. 5 by default.
    #[must_use]
    pub fn step_percent(mut self, percent: u32) -> Self {
        self.step_percent = percent;
        self
    }

    /// Sets the minimum percentage of the full rate that remains after any number of cuts. 10 by
    /// default.
    #[must_use]
    pub fn min_percent(mut self, percent: u32) -> Self {
        self.min_percent = percent;
        self
    }

    /// Returns whether the policy is valid.
    ///
    /// # Errors
    /// Fails for a time below 1 ms or above one day, a `max_pause` below `default_pause`, or a
    /// percentage outside 1 to 100.
    pub fn check(&self) -> Result<(), PolicyError> {
        let Self {
            default_pause,
            max_pause,
            keep_percent: keep,
            step_percent: step,
            min_percent: min,
        } = *self;
        ensure_time("default_pause", default_pause)?;
        ensure_time("max_pause", max_pause)?;
        let allowed = "no less than default_pause";
        ensure(default_pause <= max_pause, "max_pause", max_pause, allowed)?;
        ensure_percent("keep_percent", keep)?;
        ensure_percent("step_percent", step)?;
        ensure_percent("min_percent", min)
    }

    pub(super) fn pause(&self, retry_after: Option<Duration>) -> Duration {
        retry_after.unwrap_or(self.default_pause).min(self.max_pause)
    }

    /// Returns what remains of `limit` after a cut, in the unit of `limit`.
    pub(super) fn cut_limit(&self, limit: u64, full: u64) -> u64 {
        percent(limit, self.keep_percent).max(percent(full, self.min_percent)).max(1)
    }

    /// Returns the part of `full` that one step restores.
    pub(super) fn recovery_step(&self, full: u64) -> u64 {
        percent(full, self.step_percent).max(1)
    }
}

fn percent(of: u64, percent: u32) -> u64 {
    of.saturating_mul(percent.into()) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_makes_no_sense_says_what_would() {
        let refused = |policy: ThrottlePolicy| policy.check().unwrap_err().to_string();
        let policy = ThrottlePolicy::default();
        let (zero, ever) = (Duration::ZERO, Duration::MAX);
        assert!(refused(policy.default_pause(zero)).starts_with("default_pause(0ns)"));
        assert!(refused(policy.max_pause(ever)).starts_with("max_pause("));
        let long = policy.default_pause(Duration::from_secs(301));
        assert_eq!(refused(long), "max_pause(300s): write no less than default_pause");
        assert_eq!(
            refused(policy.keep_percent(0)),
            "keep_percent(0): write a percentage from 1 to 100"
        );
        assert!(refused(policy.keep_percent(101)).starts_with("keep_percent(101)"));
        assert!(refused(policy.step_percent(0)).starts_with("step_percent(0)"));
        assert!(refused(policy.min_percent(0)).starts_with("min_percent(0)"));
        assert_eq!(policy.check(), Ok(()));
    }
}
