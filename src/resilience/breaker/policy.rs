//! What users set of a circuit breaker.

use std::time::Duration;

use super::types::{BreakerMode, CallCounts};
use crate::resilience::validate::{PolicyError, ensure, ensure_percent, ensure_time};

/// When a lane stops calling a broker that does not answer, and how it finds its way back. Each route class of the
/// lane has a breaker of its own, by these settings.
///
/// A call fails here if it gets no answer ([`Reachability`](crate::Reachability)): an answer that says no is
/// one. The breaker opens when, of the calls of the last [`window`](Self::window), too large a share failed or was
/// slow, or when a number of calls failed one after the other. Open, it lets nothing through for a while but urgent
/// calls. Then it is half open: a few calls go through as probes, and decide.
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
    /// Opens when half of at least 10 calls in 30 s failed, or 5 in a row; slowness is not looked at.
    /// Open for 5 s, twice as long each time it does not help, a minute at most. Half open with 2
    /// probes of 10 s each, for 30 s at most.
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
    /// One that never opens and counts nothing.
    pub fn disabled() -> Self {
        Self::default().mode(BreakerMode::Disabled)
    }

    /// The time over which calls are counted, less up to a tenth of it. 30 s by default.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How many calls in the window it takes before a share of them says anything. 10 by default:
    /// a broker sees few calls.
    #[must_use]
    pub fn minimum(mut self, calls: u32) -> Self {
        self.minimum = calls;
        self
    }

    /// Opens when so many percent of the calls in the window failed. 50 by default; `None` does not
    /// look at the share.
    #[must_use]
    pub fn failures(mut self, percent: Option<u32>) -> Self {
        self.failures = percent;
        self
    }

    /// Opens when so many calls failed one after the other, however few and far between. 5 by
    /// default; `None` does not look at that.
    #[must_use]
    pub fn failures_in_a_row(mut self, calls: Option<u32>) -> Self {
        self.failures_in_a_row = calls;
        self
    }

    /// Opens when so many percent of the calls in the window took `after` or longer, from dispatch to
    /// answer. And a probe that slow has failed. Not looked at by default: what is slow depends on
    /// the broker.
    #[must_use]
    pub fn slow(mut self, after: Duration, percent: u32) -> Self {
        self.slow = Some((after, percent));
        self
    }

    /// How long it stays open the first time, less up to a quarter by luck, so that many lanes do not
    /// come back at one moment. 5 s by default.
    #[must_use]
    pub fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// How many times longer it stays open each time it opens without having been closed for a whole
    /// window. 2 by default; 1 does not grow.
    #[must_use]
    pub fn growth(mut self, factor: u32) -> Self {
        self.growth = factor;
        self
    }

    /// What the time open grows to at most. A minute by default.
    #[must_use]
    pub fn max_open(mut self, time: Duration) -> Self {
        self.max_open = time;
        self
    }

    /// How many probes may be under way at once while it is half open, and how many have to succeed
    /// to close it. 2 by default. With more than one, a probe that hangs does not hold up the others.
    #[must_use]
    pub fn probes(mut self, calls: u32) -> Self {
        self.probes = calls;
        self
    }

    /// How long a probe may take. One that is not back by then has failed, unless the others have
    /// closed the breaker meanwhile. 10 s by default.
    #[must_use]
    pub fn probe_deadline(mut self, time: Duration) -> Self {
        self.probe_deadline = time;
        self
    }

    /// The longest time half open, from the first probe on. No probe failed in it, or it would have
    /// ended: so it closes if any succeeded, and opens for as long as before if none did. 30 s by
    /// default.
    #[must_use]
    pub fn max_half_open(mut self, time: Duration) -> Self {
        self.max_half_open = time;
        self
    }

    /// Who decides at first: the breaker itself, unless this says otherwise.
    #[must_use]
    pub fn mode(mut self, mode: BreakerMode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// A time of less than a millisecond or more than a day; a longest time open below the first; a
    /// count of none, or of more than 10,000; a percentage that is not one; no more than 100 probes;
    /// growth of 1 to 10; nothing that could ever open it, where it is not disabled.
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
        let idle = "a share or a number, or BreakerPolicy::disabled()";
        ensure(can_open, "failures", self.failures, idle)?;
        ensure_time("open_for", self.open_for)?;
        ensure((1..=10).contains(&self.growth), "growth", self.growth, "a factor from 1 to 10")?;
        ensure_time("max_open", self.max_open)?;
        let grows = self.max_open >= self.open_for;
        ensure(grows, "max_open", self.max_open, "no less than open_for")?;
        ensure((1..=100).contains(&self.probes), "probes", self.probes, "a number from 1 to 100")?;
        ensure_time("probe_deadline", self.probe_deadline)?;
        ensure_time("max_half_open", self.max_half_open)
    }

    /// Who decides at first.
    pub(crate) fn initial_mode(&self) -> BreakerMode {
        self.mode
    }

    /// Whether a call that took so long was slow.
    pub(super) fn is_slow(&self, took: Duration) -> bool {
        self.slow.is_some_and(|(after, _)| took >= after)
    }

    /// Whether what was seen is enough to open.
    pub(super) fn trips(&self, counts: &CallCounts, run: u32) -> bool {
        let reached = |seen: u32, percent: u32| {
            u64::from(seen) * 100 >= u64::from(percent) * u64::from(counts.calls)
        };
        let in_a_row = self.failures_in_a_row.is_some_and(|most| run >= most);
        let failing = self.failures.is_some_and(|percent| reached(counts.failures, percent));
        let slow = self.slow.is_some_and(|(_, percent)| reached(counts.slow, percent));
        in_a_row || (counts.calls >= self.minimum && (failing || slow))
    }

    /// How long it stays open when it opens for the `nth` time in a row, before luck.
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
