//! Whether a call that failed is sent again, and when.
//!
//! A `write` is sent again only if the broker surely did not execute it: it never left, or it was
//! refused for coming too fast. Everything else that may have happened to it is for somebody to find
//! out, not for a loop to repeat. A `read` may be asked again whenever there is hope.
//!
//! Delays double from a base to a cap. After a fault on the way the whole delay is luck ("full
//! jitter"), which spreads callers that failed together best. After a refusal for coming too fast half
//! of it is (a delay of nothing would be the next refusal). And a wait that the broker asked for is
//! kept in full, with the luck on top.

use std::time::Duration;

use super::random::scale;
use super::validate::{PolicyError, ensure, ensure_percent, ensure_time};
use crate::Effect;
use crate::ErrorClass;

/// How a lane sends calls again that failed.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::ErrorClass;
/// use lanekeeper::lane::Effect;
/// use lanekeeper::resilience::RetryPolicy;
///
/// let policy = RetryPolicy::default().attempts(3).base_delay(Duration::from_millis(50));
/// policy.check()?;
///
/// // An order of which nobody knows what became is never sent again; one that never left is.
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
    /// Four attempts, delays from 100 ms to 5 s, waits of a minute at most; retries are 20 % of the
    /// calls of the last 10 s, and 5 more.
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
    /// Nothing is ever sent again.
    pub fn none() -> Self {
        Self { attempts: 1, budget_percent: 0, budget_floor: 0, ..Self::default() }
    }

    /// How often a call is sent at most, the first time included. 4 by default.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The delay before the second attempt, at most. It doubles with every further one. 100 ms by
    /// default.
    #[must_use]
    pub fn base_delay(mut self, base: Duration) -> Self {
        self.base_delay = base;
        self
    }

    /// What a delay grows to at most. 5 s by default.
    #[must_use]
    pub fn max_delay(mut self, cap: Duration) -> Self {
        self.max_delay = cap;
        self
    }

    /// The longest wait asked for by the broker that a call is kept for. One that is asked to wait
    /// longer is not sent again, since going earlier would be the next refusal: its caller is told
    /// that it was throttled, and for how long. A minute by default.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// How many retries a hundred calls earn. 20 by default.
    #[must_use]
    pub fn budget_percent(mut self, percent: u32) -> Self {
        self.budget_percent = percent;
        self
    }

    /// How many retries a lane may make in each [`budget_life`](Self::budget_life) besides, however
    /// few its calls. 5 by default.
    #[must_use]
    pub fn budget_floor(mut self, retries: u32) -> Self {
        self.budget_floor = retries;
        self
    }

    /// For how long a call's share of a retry is good. 10 s by default.
    #[must_use]
    pub fn budget_life(mut self, life: Duration) -> Self {
        self.budget_life = life;
        self
    }

    /// Whether the policy makes sense.
    ///
    /// # Errors
    /// No attempt at all, or more than 20; a time of less than a millisecond or more than a day; a
    /// cap below the base; a percentage above 100; retries without a budget.
    pub fn check(&self) -> Result<(), PolicyError> {
        let Self {
            attempts,
            base_delay: base,
            max_delay: cap,
            max_wait,
            budget_percent: percent,
            budget_floor: floor,
            budget_life: life,
        } = *self;
        ensure((1..=20).contains(&attempts), "attempts", attempts, "a number from 1 to 20")?;
        ensure_time("base_delay", base)?;
        ensure_time("max_delay", cap)?;
        ensure(base <= cap, "max_delay", cap, "no less than base_delay")?;
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

    /// How long after its failure a call is sent again; `None` if it is not.
    ///
    /// `attempt` is the number of the attempt that failed, from 1. `luck` is any number, each as
    /// likely as the others. There has to be room in the [`RetryBudget`](super::RetryBudget) too, and
    /// before the call's deadline.
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

    /// How often a call is sent at most.
    pub(crate) fn max_attempts(&self) -> u32 {
        self.attempts
    }

    /// The share in percent, the floor, and the life.
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

    /// All but the last nanosecond.
    const MOST: u64 = u64::MAX;

    #[test]
    fn delays_double_up_to_the_cap() {
        let policy = RetryPolicy::default().attempts(20).base_delay(ms(100)).max_delay(ms(500));
        let most: Vec<u128> = (1..=5)
            .filter_map(|attempt| policy.delay(ErrorClass::NotSent, Effect::Read, attempt, MOST))
            .map(|delay| (delay + Duration::from_nanos(1)).as_millis())
            .collect();
        assert_eq!(most, [100, 200, 400, 500, 500]);
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
        let delay = |wait, luck| {
            let throttled = ErrorClass::Throttled { retry_after: Some(ms(wait)) };
            policy.delay(throttled, Effect::Write, 1, luck)
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
