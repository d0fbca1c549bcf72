//! The configuration of a circuit breaker.

use std::time::Duration;

use super::types::{BreakerMode, CallCounts};
use crate::resilience::validate::{PolicyError, ensure, ensure_percent, ensure_time};

/// When a lane stops calling a broker that does not answer, and how it resumes. Each route class of
/// a lane has its own breaker with these settings.
///
/// A call fails here if it gets no answer ([`Reachability`](crate::Reachability)). A rejection is
/// an answer. The breaker opens if too many of the calls in the last [`window`](Self::window)
/// failed or were slow, or if a number of calls failed in a row. While it is open it admits only
/// urgent calls. Then it is half open: it admits a few calls as probes, and their outcomes decide.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::resilience::BreakerPolicy;
///
/// let breaker = BreakerPolicy::default()
///     .failures(Some(40))
///     .slow(Duration::from_secs(3), 80)
///     .open_for(Duration::from_secs(2));
/// assert_eq!(breaker.check(), Ok(()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    pub(super) window: Duration,
    minimum: u32,
    failures: Option<u32>,
    failures_in_a_row: Option<u32>,
    slow: Option<(Duration, u32)>,
    open_for: Duration,
    growth: u32,
    max_open: Duration,
    pub(super) probes: u32,
    pub(super) probe_deadline: Duration,
    pub(super) max_half_open: Duration,
    pub(super) mode: BreakerMode,
}

impl Default for BreakerPolicy {
    /// Opens if half of at least 10 calls in 30 s failed, or 5 in a row. Slow calls do not count.
    /// Stays open for 5 s, and twice as long each time that does not help, up to 1 min. Half open
    /// with 2 probes of 10 s each, for up to 30 s.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            minimum: 10,
            failures: Some(50),
            failures_in_a_row: Some(5),
            slow: None,
            open_for: Duration::from_secs(5),
            growth: 2,
            max_open: Duration::from_secs(60),
            probes: 2,
            probe_deadline: Duration::from_secs(10),
            max_half_open: Duration::from_secs(30),
            mode: BreakerMode::Automatic,
        }
    }
}

impl BreakerPolicy {
    /// Creates a policy that never opens and counts nothing.
    pub fn disabled() -> Self {
        Self::default().mode(BreakerMode::Disabled)
    }

    /// Sets the time over which calls are counted, less up to a tenth of it. 30 s by default.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets how many calls in the window are needed before a percentage of them counts. 10 by
    /// default, because a broker gets few calls.
    #[must_use]
    pub fn minimum(mut self, calls: u32) -> Self {
        self.minimum = calls;
        self
    }

    /// Sets the percentage of failed calls in the window that opens the breaker. 50 by default.
    /// `None` ignores the percentage.
    #[must_use]
    pub fn failures(mut self, percent: Option<u32>) -> Self {
        self.failures = percent;
        self
    }

    /// Sets the number of failures in a row that opens the breaker, however far apart they are. 5
    /// by default. `None` ignores them.
    #[must_use]
    pub fn failures_in_a_row(mut self, calls: Option<u32>) -> Self {
        self.failures_in_a_row = calls;
        self
    }

    /// Sets the percentage of slow calls in the window that opens the breaker. A call is slow if it
    /// takes `after` or longer from dispatch to answer. A slow probe has failed. Off by default,
    /// because what is slow depends on the broker.
    #[must_use]
    pub fn slow(mut self, after: Duration, percent: u32) -> Self {
        self.slow = Some((after, percent));
        self
    }

    /// Sets how long the breaker stays open the first time. The actual time is up to a quarter
    /// shorter, at random, so that many lanes do not resume at one moment. 5 s by default.
    #[must_use]
    pub fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// Sets the factor by which the open time grows each time the breaker opens without having been
    /// closed for a whole window. 2 by default. 1 does not grow.
    #[must_use]
    pub fn growth(mut self, factor: u32) -> Self {
        self.growth = factor;
        self
    }

    /// Sets the maximum open time. 1 min by default.
    #[must_use]
    pub fn max_open(mut self, time: Duration) -> Self {
        self.max_open = time;
        self
    }

    /// Sets how many probes may be in flight while the breaker is half open, and how many have to
    /// succeed to close it. 2 by default. With more than one, a probe that hangs does not delay the
    /// others.
    #[must_use]
    pub fn probes(mut self, calls: u32) -> Self {
        self.probes = calls;
        self
    }

    /// Sets how long a probe may take. A probe that does not return by then has failed, unless the
    /// others have closed the breaker meanwhile. 10 s by default.
    #[must_use]
    pub fn probe_deadline(mut self, time: Duration) -> Self {
        self.probe_deadline = time;
        self
    }

    /// Sets the maximum length of the half-open period, from the first probe on. If no probe failed
    /// in it, the breaker closes if any succeeded, and otherwise opens for as long as before. 30 s
    /// by default.
    #[must_use]
    pub fn max_half_open(mut self, time: Duration) -> Self {
        self.max_half_open = time;
        self
    }

    /// Sets the initial mode. [`BreakerMode::Automatic`] by default.
    #[must_use]
    pub fn mode(mut self, mode: BreakerMode) -> Self {
        self.mode = mode;
        self
    }

    /// Returns whether the policy is valid.
    ///
    /// # Errors
    /// Fails for a time below 1 ms or above one day, a `max_open` below `open_for`, a count outside
    /// 1 to 10,000, a percentage outside 1 to 100, a number of probes outside 1 to 100, a growth
    /// outside 1 to 10, or a policy without any condition to open.
    pub fn check(&self) -> Result<(), PolicyError> {
        const COUNT: &str = "a number from 1 to 10000";
        let is_count = |calls: u32| (1..=10_000).contains(&calls);
        ensure_time("window", self.window)?;
        ensure(is_count(self.minimum), "minimum", self.minimum, COUNT)?;
        if let Some(percent) = self.failures {
            ensure_percent("failures", percent)?;
        }
        if let Some(calls) = self.failures_in_a_row {
            ensure(is_count(calls), "failures_in_a_row", calls, COUNT)?;
        }
        if let Some((after, percent)) = self.slow {
            ensure_time("slow", after)?;
            ensure_percent("slow", percent)?;
        }
        let can_open =
            self.failures.is_some() || self.failures_in_a_row.is_some() || self.slow.is_some();
        let allowed = "a share or a number, or BreakerPolicy::disabled()";
        ensure(can_open, "failures", self.failures, allowed)?;
        ensure_time("open_for", self.open_for)?;
        ensure((1..=10).contains(&self.growth), "growth", self.growth, "a factor from 1 to 10")?;
        ensure_time("max_open", self.max_open)?;
        let grows = self.max_open >= self.open_for;
        ensure(grows, "max_open", self.max_open, "no less than open_for")?;
        ensure((1..=100).contains(&self.probes), "probes", self.probes, "a number from 1 to 100")?;
        ensure_time("probe_deadline", self.probe_deadline)?;
        ensure_time("max_half_open", self.max_half_open)
    }

    /// Returns the initial mode.
    pub(crate) fn initial_mode(&self) -> BreakerMode {
        self.mode
    }

    /// Returns whether a call that took this long was slow.
    pub(super) fn is_slow(&self, took: Duration) -> bool {
        self.slow.is_some_and(|(after, _)| took >= after)
    }

    /// Returns whether the statistics are enough to open.
    pub(super) fn trips(&self, counts: &CallCounts, failures_in_a_row: u32) -> bool {
        let reached = |seen: u32, percent: u32| {
            u64::from(seen) * 100 >= u64::from(percent) * u64::from(counts.calls)
        };
        let in_a_row = self.failures_in_a_row.is_some_and(|limit| failures_in_a_row >= limit);
        let failing = self.failures.is_some_and(|percent| reached(counts.failures, percent));
        let slow = self.slow.is_some_and(|(_, percent)| reached(counts.slow, percent));
        in_a_row || (counts.calls >= self.minimum && (failing || slow))
    }

    /// Returns whether failures can open a breaker, and not only slow calls.
    pub(super) fn counts_failures(&self) -> bool {
        self.failures.is_some() || self.failures_in_a_row.is_some()
    }

    /// Returns the time it stays open when it opens for the `nth` time in a row, before randomness.
    pub(super) fn open_duration(&self, nth: u32) -> Duration {
        let factor = self.growth.saturating_pow(nth.saturating_sub(1));
        self.open_for.saturating_mul(factor).min(self.max_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_say_what_would() {
        let refused = |breaker: BreakerPolicy| breaker.check().unwrap_err().to_string();
        let breaker = BreakerPolicy::default();
        let (zero, ever) = (Duration::ZERO, Duration::MAX);
        assert_eq!(refused(breaker.window(zero)), "window(0ns): write a time from 1 ms to a day");
        assert_eq!(refused(breaker.minimum(0)), "minimum(0): write a number from 1 to 10000");
        assert!(refused(breaker.failures(Some(101))).starts_with("failures(101)"));
        assert!(refused(breaker.failures_in_a_row(Some(0))).starts_with("failures_in_a_row(0)"));
        assert!(refused(breaker.slow(zero, 50)).starts_with("slow(0ns)"));
        assert!(refused(breaker.slow(Duration::from_secs(1), 0)).starts_with("slow(0)"));
        assert!(refused(breaker.open_for(zero)).starts_with("open_for(0ns)"));
        assert!(refused(breaker.max_open(ever)).starts_with("max_open("));
        let longer = breaker.open_for(Duration::from_secs(61));
        assert_eq!(refused(longer), "max_open(60s): write no less than open_for");
        assert!(refused(breaker.growth(0)).starts_with("growth(0)"));
        assert!(refused(breaker.growth(11)).starts_with("growth(11)"));
        assert!(refused(breaker.probes(0)).starts_with("probes(0)"));
        assert!(refused(breaker.probe_deadline(zero)).starts_with("probe_deadline(0ns)"));
        assert!(refused(breaker.max_half_open(ever)).starts_with("max_half_open("));
        let never = breaker.failures(None).failures_in_a_row(None);
        assert!(refused(never).contains("BreakerPolicy::disabled()"));
        for fine in [breaker, BreakerPolicy::disabled(), never.slow(Duration::from_secs(1), 50)] {
            assert_eq!(fine.check(), Ok(()));
        }
    }

    #[test]
    fn a_share_says_nothing_of_too_few_calls() {
        let breaker = BreakerPolicy::default().minimum(4).failures(Some(50));
        let counts = |calls, failures| CallCounts { calls, failures, slow: 0 };
        assert!(!breaker.trips(&counts(3, 3), 3));
        assert!(!breaker.trips(&counts(5, 2), 0));
        assert!(breaker.trips(&counts(4, 2), 0));
        assert!(breaker.trips(&counts(3, 3), 5));
    }

    #[test]
    fn the_time_open_grows_up_to_the_longest() {
        let seconds: Vec<u64> =
            (1..=6).map(|nth| BreakerPolicy::default().open_duration(nth).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
    }
}
