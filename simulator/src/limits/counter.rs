//! Counters that refuse exactly what a broker with the same algorithm would refuse.
//!
//! They are pure functions of the arrival times, in whole nanoseconds and without rounding. `limits::ledger` reads
//! the clock and calls them.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use lanekeeper::quota::{Moment, Quota, Window};

/// How requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// At most N in any interval of length W. The interval is half open: an arrival exactly W after another is not
    /// in one interval with it.
    #[default]
    SlidingLog,
    /// At most N between two consecutive multiples of W since the counter's origin.
    FixedWindow,
    /// A bucket of N tokens, full at the start, that refills at N per W.
    TokenBucket,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::SlidingLog, Self::FixedWindow, Self::TokenBucket];

    fn as_str(self) -> &'static str {
        match self {
            Self::SlidingLog => "sliding-log",
            Self::FixedWindow => "fixed-window",
            Self::TokenBucket => "token-bucket",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an algorithm: write sliding-log, fixed-window or token-bucket")]
pub struct AlgorithmError {
    /// The text.
    pub text: String,
}

impl FromStr for Algorithm {
    type Err = AlgorithmError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| AlgorithmError { text: text.to_owned() })
    }
}

/// The counter of one window.
///
/// Times are expected in order: an earlier time counts as the latest one so far.
#[derive(Debug, Clone)]
struct WindowCounter {
    limit: u64,
    length: u64,
    last_arrival: u64,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// The latest counted arrivals, at most as many as the limit: older ones do not affect a decision.
    Log(VecDeque<u64>),
    Fixed {
        window: u64,
        count: u64,
    },
    /// In units of 1/W tokens, so that the N/W tokens of a nanosecond are a whole number.
    Bucket {
        level: u128,
    },
}

impl WindowCounter {
    /// Returns a counter of `window` that has counted nothing. Its origin is [`Moment::ORIGIN`].
    fn new(algorithm: Algorithm, window: Window) -> Self {
        let limit = u64::from(window.limit);
        // A window of length zero would divide by zero, so the minimum is 1 ns.
        let length = u64::try_from(window.length.as_nanos()).unwrap_or(u64::MAX).max(1);
        let state = match algorithm {
            Algorithm::SlidingLog => State::Log(VecDeque::new()),
            Algorithm::FixedWindow => State::Fixed { window: 0, count: 0 },
            Algorithm::TokenBucket => {
                State::Bucket { level: u128::from(limit) * u128::from(length) }
            }
        };
        Self { limit, length, last_arrival: 0, state }
    }

    /// Returns whether an arrival at `at` would be admitted. Does not count it.
    fn admits(&mut self, at: Moment) -> bool {
        self.advance(at);
        match &self.state {
            State::Log(log) => (log.len() as u64) < self.limit,
            State::Fixed { count, .. } => *count < self.limit,
            State::Bucket { level } => *level >= u128::from(self.length),
        }
    }

    /// Counts an arrival at `at`, admitted or not.
    fn count(&mut self, at: Moment) {
        self.advance(at);
        match &mut self.state {
            State::Log(log) => {
                log.push_back(self.last_arrival);
                if log.len() as u64 > self.limit {
                    log.pop_front();
                }
            }
            State::Fixed { count, .. } => *count += 1,
            State::Bucket { level } => *level = level.saturating_sub(u128::from(self.length)),
        }
    }

    fn advance(&mut self, at: Moment) {
        let now = at.as_nanos().max(self.last_arrival);
        let elapsed = now - self.last_arrival;
        self.last_arrival = now;
        match &mut self.state {
            State::Log(log) => {
                while log.front().is_some_and(|&counted| now - counted >= self.length) {
                    log.pop_front();
                }
            }
            State::Fixed { window, count } => {
                let current = now / self.length;
                if current != *window {
                    (*window, *count) = (current, 0);
                }
            }
            State::Bucket { level } => {
                let capacity = u128::from(self.limit) * u128::from(self.length);
                let refill = u128::from(elapsed) * u128::from(self.limit);
                *level = level.saturating_add(refill).min(capacity);
            }
        }
    }
}

/// The counters of a quota. A request counts in all of its windows or in none.
#[derive(Debug, Clone)]
pub(crate) struct StrictCounter {
    counters: Vec<WindowCounter>,
    count_refused: bool,
}

impl StrictCounter {
    /// Returns counters for the windows of `quota`.
    pub(crate) fn new(algorithm: Algorithm, quota: &Quota) -> Self {
        let counters =
            quota.windows().iter().map(|window| WindowCounter::new(algorithm, window.clone()));
        Self { counters: counters.collect(), count_refused: false }
    }

    /// Sets whether a refused request uses the quota too. By default it does not.
    #[must_use]
    pub(crate) fn count_refused(mut self, count_refused: bool) -> Self {
        self.count_refused = count_refused;
        self
    }

    /// Counts an arrival at `at`, and returns whether it is admitted.
    pub(crate) fn admit(&mut self, at: Moment) -> bool {
        let admitted = self.counters.iter_mut().all(|counter| counter.admits(at));
        if admitted || self.count_refused {
            for counter in &mut self.counters {
                counter.count(at);
            }
        }
        admitted
    }
}

#[cfg(test)]
mod tests;
