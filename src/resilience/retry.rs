//! Whether and when a failed call is retried.
//!
//! A write is retried only if the broker surely did not execute it: it never left this process, or
//! it was throttled. In every other case its outcome has to be looked up, and a retry could repeat
//! it. A read may be retried whenever the failure may be temporary.
//!
//! Delays double from a base to a maximum. After a failure on the way the whole delay is random
//! ("full jitter"), which best spreads callers that failed together. After a throttled call half of
//! it is random, because a zero delay would be throttled again. A wait that the broker asked for is
//! kept in full, with a random delay on top.

use std::time::Duration;

use super::random::scale;
use super::validate::{PolicyError, ensure, ensure_percent, ensure_time};
use crate::Effect;
use crate::ErrorClass;

/// The policy by which a lane retries failed calls.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::ErrorClass;
/// use lanekeeper::Effect;
/// use lanekeeper::resilience::RetryPolicy;
///
/// let policy = RetryPolicy::default().attempts(3).base_delay(Duration::from_millis(50));
/// policy.check()?;
///
/// // A write of unknown outcome is never retried. A write that never left is.
/// assert_eq!(policy.delay(ErrorClass::Unknown, Effect::Write, 1, 0), None);
/// assert!(policy.delay(ErrorClass::NotSent, Effect::Write, 1, 0).is_some());
/// // The third attempt was the last.
/// assert_eq!(policy.delay(ErrorClass::NotSent, Effect::Write, 3, 0), None);
/// # Ok::<(), lanekeeper::resilience::PolicyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    attempts: u32,
    base_delay: Duration,
    max_delay: Duration,
    max_wait: Duration,
    budget_percent: u32,
    budget_floor: u32,
    budget_life: Duration,
}

impl Default for RetryPolicy {
    /// Four attempts, delays from 100 ms to 5 s, waits of up to 1 min. Retries are at most 20 % of
    /// the calls of the last 10 s, plus 5.
    fn default() -> Self {
        Self {
            attempts: 4,
            base_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            max_wait: Duration::from_secs(60),
            budget_percent: 20,
            budget_floor: 5,
            budget_life: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// Creates a policy without retries.
    pub fn none() -> Self {
        Self { attempts: 1, budget_percent: 0, budget_floor: 0, ..Self::default() }
    }

    /// Sets the maximum number of attempts of a call, including the first. 4 by default.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the maximum delay before the second attempt. It doubles with every further attempt. 100
    /// ms by default.
    #[must_use]
    pub fn base_delay(mut self, base_delay: Duration) -> Self {
        self.base_delay = base_delay;
        self
    }

    /// Sets the maximum of the doubled delays. 5 s by default.
    #[must_use]
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = max_delay;
        self
    }

    /// Sets the longest wait that a call is kept for when the broker asks for one. A call with a
    /// longer wait is not retried, because an earlier retry would be throttled again. Its caller
    /// gets the throttling error with the wait. 1 min by default.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Sets how many retries 100 calls deposit. 20 by default.
    #[must_use]
    pub fn budget_percent(mut self, percent: u32) -> Self {
        self.budget_percent = percent;
        self
    }

    /// Sets how many retries a lane may make in each [`budget_life`](Self::budget_life) on top,
    /// however few its calls. 5 by default.
    #[must_use]
    pub fn budget_floor(mut self, retries: u32) -> Self {
        self.budget_floor = retries;
        self
    }

    /// Sets how long the deposit of a call is valid. 10 s by default.
    #[must_use]
    pub fn budget_life(mut self, life: Duration) -> Self {
        self.budget_life = life;
        self
    }

    /// Returns whether the policy is valid.
    ///
    /// # Errors
    /// Fails for less than 1 or more than 20 attempts, a time below 1 ms or above one day, a
    /// `max_delay` below `base_delay`, a percentage above 100, a floor above 1000, or retries
    /// without a budget.
    pub fn check(&self) -> Result<(), PolicyError> {
        let Self {
            attempts,
            base_delay,
            max_delay,
            max_wait,
            budget_percent: percent,
            budget_floor: floor,
            budget_life: life,
        } = *self;
        ensure((1..=20).contains(&attempts), "attempts", attempts, "a number from 1 to 20")?;
        ensure_time("base_delay", base_delay)?;
        ensure_time("max_delay", max_delay)?;
        ensure(base_delay <= max_delay, "max_delay", max_delay, "no less than base_delay")?;
        ensure_time("max_wait", max_wait)?;
        ensure_time("budget_life", life)?;
        ensure(floor <= 1000, "budget_floor", floor, "a number from 0 to 1000")?;
        if percent == 0 {
            let unused = floor > 0 || attempts == 1;
            let allowed = "1 to 100, or a floor, or RetryPolicy::none()";
            return ensure(unused, "budget_percent", percent, allowed);
        }
        ensure_percent("budget_percent", percent)
    }

    /// Returns how long after its failure a call is retried, or `None` if it is not.
    ///
    /// `attempt` is the number of the failed attempt, from 1. `random` is uniformly distributed.
    /// The retry also needs capacity in the [`RetryBudget`](super::RetryBudget) and time before the
    /// deadline.
    #[must_use]
    pub fn delay(
        &self,
        class: ErrorClass,
        effect: Effect,
        attempt: u32,
        random: u64,
    ) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let backoff = self.backoff(attempt);
        match (class, effect) {
            (ErrorClass::Throttled { retry_after: Some(wait) }, _) => {
                (wait <= self.max_wait).then(|| wait.saturating_add(scale(backoff, random)))
            }
            (ErrorClass::Throttled { retry_after: None }, _) => {
                let half = backoff / 2;
                Some(half + scale(backoff - half, random))
            }
            (ErrorClass::NotSent, _)
            | (ErrorClass::Transient | ErrorClass::Unknown, Effect::Read) => {
                Some(scale(backoff, random))
            }
            (ErrorClass::Transient | ErrorClass::Unknown, Effect::Write)
            | (
                ErrorClass::Malformed
                | ErrorClass::Unauthorized
                | ErrorClass::Rejected
                | ErrorClass::PartlyDone
                | ErrorClass::Fatal,
                _,
            ) => None,
        }
    }

    /// Returns the maximum number of attempts of a call.
    pub(crate) fn max_attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the budget's percentage, floor and life.
    pub(super) fn budget(&self) -> (u32, u32, Duration) {
        (self.budget_percent, self.budget_floor, self.budget_life)
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.base_delay.saturating_mul(doubled).min(self.max_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The random number for the maximum delay, which is 1 ns below the whole.
    const MAX_RANDOM: u64 = u64::MAX;

    #[test]
    fn delays_double_up_to_the_cap() {
        let policy = RetryPolicy::default().attempts(20).base_delay(ms(100)).max_delay(ms(500));
        let max_delays: Vec<u128> = (1..=5)
            .filter_map(|attempt| {
                policy.delay(ErrorClass::NotSent, Effect::Read, attempt, MAX_RANDOM)
            })
            .map(|delay| (delay + Duration::from_nanos(1)).as_millis())
            .collect();
        assert_eq!(max_delays, [100, 200, 400, 500, 500]);
        assert_eq!(policy.delay(ErrorClass::NotSent, Effect::Read, 5, 0), Some(ms(0)));
    }

    #[test]
    fn a_refusal_for_coming_too_fast_keeps_half_the_delay() {
        let policy = RetryPolicy::default();
        let throttled = ErrorClass::Throttled { retry_after: None };
        assert_eq!(policy.delay(throttled, Effect::Write, 1, 0), Some(ms(50)));
        assert_eq!(policy.delay(throttled, Effect::Write, 1, 1 << 63), Some(ms(75)));
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept_in_full_or_not_at_all() {
        let policy = RetryPolicy::default().max_wait(ms(2000));
        let delay = |wait, random| {
            let throttled = ErrorClass::Throttled { retry_after: Some(ms(wait)) };
            policy.delay(throttled, Effect::Write, 1, random)
        };
        assert_eq!(delay(2000, 0), Some(ms(2000)));
        assert_eq!(delay(2000, 1 << 63), Some(ms(2050)));
        assert_eq!(delay(2001, 0), None);
    }

    #[test]
    fn a_policy_that_makes_no_sense_says_what_would() {
        let refused = |policy: RetryPolicy| policy.check().unwrap_err().to_string();
        let policy = RetryPolicy::default();
        assert_eq!(refused(policy.attempts(0)), "attempts(0): write a number from 1 to 20");
        assert_eq!(refused(policy.attempts(21)), "attempts(21): write a number from 1 to 20");
        assert_eq!(
            refused(policy.base_delay(ms(0))),
            "base_delay(0ns): write a time from 1 ms to a day"
        );
        assert!(refused(policy.max_delay(Duration::MAX)).starts_with("max_delay("));
        assert_eq!(
            refused(policy.max_delay(ms(99))),
            "max_delay(99ms): write no less than base_delay"
        );
        assert!(refused(policy.max_wait(ms(0))).starts_with("max_wait(0ns)"));
        assert!(refused(policy.budget_life(ms(0))).starts_with("budget_life(0ns)"));
        assert!(refused(policy.budget_floor(1001)).starts_with("budget_floor(1001)"));
        assert!(refused(policy.budget_percent(101)).starts_with("budget_percent(101)"));
        let nothing = policy.budget_percent(0).budget_floor(0);
        assert!(refused(nothing).contains("RetryPolicy::none()"));
        for fine in [policy, RetryPolicy::none(), policy.budget_percent(0)] {
            assert_eq!(fine.check(), Ok(()));
        }
    }
}
