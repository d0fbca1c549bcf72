//! Counters that refuse exactly what a broker with that algorithm would refuse.
//!
//! They are pure functions of the times of arrival, in whole nanoseconds, without rounding: the
//! clock and the HTTP of the [`Exchange`](super::Exchange) are elsewhere.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use crate::quota::{Moment, Quota, Window};

/// How calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// At most N in any span of length W, however it is laid. The span is open at one end: an
    /// arrival exactly W after another no longer shares a span with it.
    #[default]
    SlidingLog,
    /// At most N between two multiples of W since the counter's origin.
    FixedWindow,
    /// A bucket of N tokens, full at the start, that refills at N per W.
    TokenBucket,
}

impl Algorithm {
    /// All of them.
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
    /// What was given.
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

/// The count of one window.
///
/// Times must not run backwards: an earlier one is taken for the latest seen.
#[derive(Debug, Clone)]
struct WindowCounter {
    limit: u64,
    length: u64,
    last_arrival: u64,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// The latest arrivals that counted, never more than the limit: older ones decide nothing.
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
    /// A counter of `window` that has counted nothing. Its origin is [`Moment::ORIGIN`].
    fn new(algorithm: Algorithm, window: Window) -> Self {
        let limit = u64::from(window.limit);
        // A window without length would divide by zero; one nanosecond is as good as none.
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

    /// Whether an arrival at `at` would be admitted. Counts nothing.
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
        let passed = now - self.last_arrival;
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
                let refill = u128::from(passed) * u128::from(self.limit);
                *level = level.saturating_add(refill).min(capacity);
            }
        }
    }
}

/// The counters of a quota: all of its windows admit a call, or none counts it.
#[derive(Debug, Clone)]
pub(super) struct StrictCounter {
    counters: Vec<WindowCounter>,
    count_refused: bool,
}

impl StrictCounter {
    /// Counters for the windows of `quota`.
    pub(super) fn new(algorithm: Algorithm, quota: &Quota) -> Self {
        let counters =
            quota.windows().iter().map(|window| WindowCounter::new(algorithm, window.clone()));
        Self { counters: counters.collect(), count_refused: false }
    }

    /// Whether a refused call uses the quota too. By default it does not.
    #[must_use]
    pub(super) fn count_refused(mut self, count_refused: bool) -> Self {
        self.count_refused = count_refused;
        self
    }

    /// A call arrives. Gives whether it is admitted.
    pub(super) fn admit(&mut self, at: Moment) -> bool {
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
