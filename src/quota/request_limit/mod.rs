//! Limits that are counted when a request arrives: the algorithms of the keyed limiter.
//!
//! The rest of `quota` paces the calls that we send, and counts a call when its answer arrives. Here we are
//! the server: a request arrives, and is admitted or refused at once. One [`LimitState`] holds what one key has used.
//! A [`RequestLimit`] says what is allowed, and has the functions of time. Nothing here reads a clock or takes a lock.
//!
//! Times are whole microseconds since the Unix epoch ([`UnixMicros`]), because that is what Redis's `TIME` has. A limit
//! in Redis runs through the same steps as a limit in memory, so both give the same verdict.
//!
//! # What each algorithm promises
//!
//! `N` requests a period `P`, and the weight of a request is how many it counts for.
//!
//! | algorithm | admits at most | state of a key |
//! |---|---|---|
//! | `TokenBucket` with burst `B` | `B + N t / P` in any time `t` | one moment |
//! | `FixedWindow` | `N` in each window that begins at a multiple of `P`, so up to `2 N` in a time `P` across two | one count |
//! | `SlidingWindowLog` | `N` in any time `P` | a moment for each request |
//! | `SlidingWindowCounter` | `N`, if the requests of the window before were spread evenly; up to `2 N` in a time `P` if they were not | two counts |
//! | `Backoff` | `N` failures, and then one after each delay, which doubles | a count and a moment |
//!
//! # Refusals are exact
//!
//! [`RequestLimit::read`] names the first microsecond at which the request would be admitted if nothing else arrives.
//! Each algorithm is monotonic without further requests: from that microsecond on it admits. So for several limits at
//! once the latest of these moments is exact too.
//!
//! # A clock that is set back
//!
//! A state can then lie in the future. The functions take it for a state of the present: what was counted stays
//! counted, and no key is refused for longer than its limit can ever ask for.

mod backoff;
mod fixed_window;
mod sliding_counter;
mod sliding_log;
mod token_bucket;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

pub use backoff::Backoff;
use token_bucket::Span;

/// A moment: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMicros(u64);

impl UnixMicros {
    /// Returns the moment this many microseconds after the Unix epoch.
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the Unix epoch.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    pub(super) const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

impl From<Timestamp> for UnixMicros {
    /// A moment before 1970 becomes the epoch.
    fn from(timestamp: Timestamp) -> Self {
        Self(u64::try_from(timestamp.as_microsecond()).unwrap_or_default())
    }
}

/// How requests are counted. See the table in [the module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Tokens are added at an even rate, up to a burst. A request takes as many as it weighs.
    TokenBucket,
    /// A count that begins anew at each multiple of the period since 1970, in UTC.
    FixedWindow,
    /// The moment of each request of the last period. Exact.
    SlidingWindowLog,
    /// The counts of this window and of the one before, which weighs less the further this one is. An estimate.
    SlidingWindowCounter,
    /// A delay after failures, which doubles with each one: [`RequestLimit::backoff`].
    Backoff,
}

impl Algorithm {
    /// Returns the name by which rules call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenBucket => "token_bucket",
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindowLog => "sliding_window_log",
            Self::SlidingWindowCounter => "sliding_window_counter",
            Self::Backoff => "backoff",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A limit that cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestLimitError {
    /// The period is not from one millisecond to 366 days.
    #[error("a period is from 1 ms to 366 days")]
    Period,
    /// The period of a sliding window counter is longer than a day: the numbers of Redis are not exact beyond.
    #[error("the period of a sliding window counter is at most a day")]
    CounterPeriod,
    /// A sliding window log keeps a moment for each request, so it has a bound.
    #[error(
        "a sliding window log keeps each request, so it allows at most 100000: use another algorithm"
    )]
    LogTooLong,
    /// The burst is not from 1 to 1,000,000,000.
    #[error("a burst is from 1 to 1000000000")]
    Burst,
    /// The algorithm has no burst.
    #[error("only a token bucket has a burst")]
    NoBurst,
    /// More requests than any state can count.
    #[error("at most 1000000000 requests in a period")]
    TooMany,
    /// The longest delay of a backoff is shorter than its first one.
    #[error("the longest delay is at least as long as the first one")]
    Delays,
    /// A backoff has delays, and no period.
    #[error("a backoff is made by `RequestLimit::backoff`")]
    NoPeriod,
    /// The burst takes longer than 366 days to be filled: the numbers of Redis are not exact beyond.
    #[error("the burst takes longer than 366 days to fill")]
    SlowBurst,
}

/// What one key is allowed.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::quota::request_limit::{Algorithm, LimitState, RequestLimit, UnixMicros};
///
/// let limit = RequestLimit::new(Algorithm::TokenBucket, 10, Duration::from_secs(1))?.with_burst(2)?;
/// let mut state = LimitState::default();
/// let now = UnixMicros::new(1_800_000_000_000_000);
/// for _ in 0..2 {
///     assert!(limit.read(&mut state, 1, now).is_admitted());
///     limit.charge(&mut state, 1, now);
/// }
/// let reading = limit.read(&mut state, 1, now);
/// assert_eq!(reading.retry_at, Some(UnixMicros::new(now.get() + 100_000)));
/// # Ok::<(), lanekeeper::quota::request_limit::RequestLimitError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestLimit {
    algorithm: Algorithm,
    requests: u32,
    /// In microseconds.
    period: u64,
    /// The same as `requests` where the algorithm has no burst.
    burst: u32,
    backoff: Backoff,
    /// The time in which a token bucket adds one token. Kept, because a division takes as long as the rest of a verdict.
    token: Span,
    /// The time in which a token bucket adds its whole burst.
    burst_time: Span,
    /// The longest time to which a token bucket may be in debt, in microseconds. Beyond, the clock was set back, or the
    /// limit was raised.
    max_debt: u64,
}

const MAX_REQUESTS: u32 = 1_000_000_000;
const MAX_LOG: u32 = 100_000;
const DAY: u64 = 86_400_000_000;
const MAX_PERIOD: u64 = 366 * DAY;
/// The least time to which a token bucket of several processes may be in debt, in microseconds.
#[cfg(feature = "redis")]
const MAX_DEBT: u64 = 10_000_000;

impl RequestLimit {
    /// Returns a limit of `requests` in each `period`. The burst of a token bucket is `requests`. A limit of 0 admits
    /// nothing.
    ///
    /// # Errors
    /// The numbers are beyond what can be counted exactly. [`Algorithm::Backoff`] has a constructor of its own.
    pub fn new(
        algorithm: Algorithm,
        requests: u32,
        period: Duration,
    ) -> Result<Self, RequestLimitError> {
        let micros = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        if algorithm == Algorithm::Backoff {
            return Err(RequestLimitError::NoPeriod);
        }
        if !(1000..=MAX_PERIOD).contains(&micros) {
            return Err(RequestLimitError::Period);
        }
        match algorithm {
            _ if requests > MAX_REQUESTS => Err(RequestLimitError::TooMany),
            Algorithm::SlidingWindowLog if requests > MAX_LOG => Err(RequestLimitError::LogTooLong),
            Algorithm::SlidingWindowCounter if micros > DAY => {
                Err(RequestLimitError::CounterPeriod)
            }
            _ => Ok(Self {
                algorithm,
                requests,
                period: micros,
                burst: requests,
                backoff: Backoff::default(),
                token: Span::of(1, requests, micros),
                burst_time: Span::of(requests, requests, micros),
                max_debt: 0,
            }),
        }
    }

    /// Returns a delay after failures. The requests that are charged to it are failures: `free` of them have no
    /// delay, the next one has `backoff.base_delay`, and each further one twice the delay of the one before.
    ///
    /// # Errors
    /// There are too many free failures, a time is not from one millisecond to 366 days, or the longest delay is shorter
    /// than the first.
    pub fn backoff(free: u32, backoff: Backoff) -> Result<Self, RequestLimitError> {
        if free > MAX_REQUESTS {
            return Err(RequestLimitError::TooMany);
        }
        let in_range = |time: Duration| (1000..=u128::from(MAX_PERIOD)).contains(&time.as_micros());
        let times = [backoff.base_delay, backoff.max_delay, backoff.forget_after];
        if !times.into_iter().all(in_range) {
            return Err(RequestLimitError::Period);
        }
        if backoff.max_delay < backoff.base_delay {
            return Err(RequestLimitError::Delays);
        }
        let period = micros(backoff.forget_after);
        let (token, burst_time) = (Span::of(1, free, period), Span::of(free, free, period));
        let algorithm = Algorithm::Backoff;
        Ok(Self {
            algorithm,
            requests: free,
            period,
            burst: free,
            backoff,
            token,
            burst_time,
            max_debt: 0,
        })
    }

    /// Returns the limit with another burst: how many requests a token bucket admits at once.
    ///
    /// # Errors
    /// The algorithm has no burst, or the burst is 0, too large, or takes longer than 366 days to fill.
    pub fn with_burst(mut self, burst: u32) -> Result<Self, RequestLimitError> {
        if self.algorithm != Algorithm::TokenBucket {
            return Err(RequestLimitError::NoBurst);
        }
        if !(1..=MAX_REQUESTS).contains(&burst) {
            return Err(RequestLimitError::Burst);
        }
        let fills = u128::from(burst) * u128::from(self.period);
        if fills > u128::from(MAX_PERIOD) * u128::from(self.requests.max(1)) {
            return Err(RequestLimitError::SlowBurst);
        }
        self.burst = burst;
        self.burst_time = Span::of(burst, self.requests, self.period);
        Ok(self)
    }

    /// Returns the limit as several processes keep it that exchange their counts: together they may admit more than there
    /// is, so that a token bucket is in debt.
    #[cfg(feature = "redis")]
    #[must_use]
    pub(crate) const fn with_debt(mut self) -> Self {
        self.max_debt = if self.period > MAX_DEBT { self.period } else { MAX_DEBT };
        self
    }

    /// Returns how requests are counted.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns how many requests a period allows.
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// Returns the period.
    pub const fn period(&self) -> Duration {
        Duration::from_micros(self.period)
    }

    /// Returns how many requests are admitted at once. It is [`requests`](Self::requests) unless the algorithm has a
    /// burst.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// Returns how many requests a key that was not used can have at once.
    pub const fn capacity(&self) -> u32 {
        if self.requests == 0 { 0 } else { self.burst }
    }

    /// Reads what a key has used: whether a request of this weight is admitted now, and if not, when. A weight of 0
    /// is always admitted, unless the limit is 0.
    ///
    /// The state changes only if it lies in the future, because the clock was set back.
    #[inline]
    pub fn read(&self, state: &mut LimitState, weight: u32, now: UnixMicros) -> Reading {
        if self.requests == 0 && self.algorithm != Algorithm::Backoff {
            return Reading::closed(now);
        }
        self.set_back(state, now);
        match self.algorithm {
            Algorithm::TokenBucket => token_bucket::read(self, state, weight, now),
            Algorithm::FixedWindow => fixed_window::read(self, state, weight, now),
            Algorithm::SlidingWindowLog => sliding_log::read(self, state, weight, now),
            Algorithm::SlidingWindowCounter => sliding_counter::read(self, state, weight, now),
            Algorithm::Backoff => backoff::read(self, state, weight, now),
        }
    }

    /// Reads a sliding window log that is kept elsewhere: the weight that counts, the newest moment, and the moment after
    /// whose end a request of this weight is admitted, if it is not now.
    #[cfg(feature = "redis")]
    pub(crate) fn read_log(
        &self,
        used: u32,
        newest: UnixMicros,
        blocking: UnixMicros,
        weight: u32,
        now: UnixMicros,
    ) -> Reading {
        if self.requests == 0 {
            return Reading::closed(now);
        }
        sliding_log::reading(self, used, newest.plus(self.period), weight, now, || {
            Some(blocking.plus(self.period))
        })
    }

    /// Returns the end of the window of a moment, or 0 for an algorithm without windows.
    #[cfg(feature = "redis")]
    pub(crate) fn window_end(&self, now: UnixMicros) -> u64 {
        match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindowCounter => {
                window_end(now.get(), self.period)
            }
            Algorithm::TokenBucket | Algorithm::SlidingWindowLog | Algorithm::Backoff => 0,
        }
    }

    /// Returns the time in which a token bucket adds these tokens: microseconds, and a fraction of one whose denominator
    /// is the number of requests.
    #[cfg(feature = "redis")]
    pub(crate) fn token_time(&self, tokens: u32) -> (u64, u32) {
        let time = token_bucket::time_of(self, tokens);
        (time.whole, time.fraction)
    }

    /// Counts a request, whether or not it was admitted.
    #[inline]
    pub fn charge(&self, state: &mut LimitState, weight: u32, now: UnixMicros) {
        if weight == 0 || (self.requests == 0 && self.algorithm != Algorithm::Backoff) {
            return;
        }
        self.set_back(state, now);
        match self.algorithm {
            Algorithm::TokenBucket => token_bucket::charge(self, state, weight, now),
            Algorithm::FixedWindow => fixed_window::charge(self, state, weight, now),
            Algorithm::SlidingWindowLog => sliding_log::charge(self, state, weight, now),
            Algorithm::SlidingWindowCounter => sliding_counter::charge(self, state, weight, now),
            Algorithm::Backoff => backoff::charge(self, state, weight, now),
        }
    }

    /// Takes a state that lies in the future, since the clock was set back, for one of the present. It is changed once,
    /// and not read so each time: otherwise it would not end before the clock is where it was.
    #[inline]
    fn set_back(&self, state: &mut LimitState, now: UnixMicros) {
        match self.algorithm {
            Algorithm::TokenBucket => token_bucket::set_back(self, state, now),
            Algorithm::FixedWindow => fixed_window::set_back(self, state, now),
            Algorithm::SlidingWindowLog => sliding_log::set_back(state, now),
            Algorithm::SlidingWindowCounter => sliding_counter::set_back(self, state, now),
            Algorithm::Backoff => backoff::set_back(self, state, now),
        }
    }

    /// Returns the longest time to which a token bucket may be in debt, in microseconds.
    #[cfg(feature = "redis")]
    pub(crate) const fn max_debt(&self) -> u64 {
        self.max_debt
    }

    /// Takes back one failure of a [`Backoff`], because it was none. Does nothing for the other algorithms.
    pub fn forgive(&self, state: &mut LimitState, now: UnixMicros) {
        if self.algorithm == Algorithm::Backoff {
            self.set_back(state, now);
            backoff::forgive(self, state, now);
        }
    }

    /// Returns when the state is the same as that of a key that was never used. It can be forgotten from then on.
    #[inline]
    pub fn fresh_at(&self, state: &LimitState) -> UnixMicros {
        match self.algorithm {
            Algorithm::TokenBucket => token_bucket::fresh_at(state),
            Algorithm::FixedWindow => fixed_window::fresh_at(state),
            Algorithm::SlidingWindowLog => sliding_log::fresh_at(self, state),
            Algorithm::SlidingWindowCounter => sliding_counter::fresh_at(self, state),
            Algorithm::Backoff => backoff::fresh_at(self, state),
        }
    }
}

/// What a limit says of a key at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The weight that would be admitted now. Of a backoff, the failures that have no delay.
    pub remaining: u32,
    /// When the key has its whole limit again, if nothing else arrives.
    pub reset_at: UnixMicros,
    /// The first microsecond at which the request is admitted, if nothing else arrives. `None` if it never is: the
    /// limit is 0, or the request weighs more than the limit. The present, if it is admitted now.
    pub retry_at: Option<UnixMicros>,
    /// Whether the request is admitted now.
    admitted: bool,
}

impl Reading {
    /// Returns whether the request is admitted.
    #[inline]
    pub const fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// Returns what the limit says after a request of this weight, which it admits, was charged. `fresh_at` is that of
    /// the state by then.
    #[inline]
    #[must_use]
    pub const fn after_charge(self, weight: u32, fresh_at: UnixMicros) -> Self {
        let reset_at = if weight == 0 { self.reset_at } else { fresh_at };
        Self { remaining: self.remaining.saturating_sub(weight), reset_at, ..self }
    }

    /// A limit of 0.
    const fn closed(now: UnixMicros) -> Self {
        Self { remaining: 0, reset_at: now, retry_at: None, admitted: false }
    }

    fn admitted(remaining: u32, reset_at: UnixMicros, now: UnixMicros) -> Self {
        Self { remaining, reset_at, retry_at: Some(now), admitted: true }
    }

    fn refused(remaining: u32, reset_at: UnixMicros, retry_at: Option<UnixMicros>) -> Self {
        Self { remaining, reset_at, retry_at, admitted: false }
    }
}

/// What one key has used. The default is a key that was never used.
///
/// A state belongs to the [`RequestLimit`] that made it. A limit of another algorithm takes it for unused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitState(pub(in crate::quota) Used);

/// The state of each algorithm. Small, because a store holds one for each key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::quota) enum Used {
    #[default]
    Nothing,
    /// When the bucket is full again: `full_at + fraction / requests` microseconds.
    TokenBucket {
        full_at: u64,
        fraction: u32,
    },
    FixedWindow {
        end: u64,
        count: u32,
    },
    /// Boxed, so that it does not make the other states larger.
    Log(Box<Log>),
    Counter {
        end: u64,
        previous: u32,
        current: u32,
    },
    Backoff {
        open_at: u64,
        failures: u32,
    },
}

/// The requests of the last period, the oldest first, with their total weight.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::quota) struct Log {
    requests: VecDeque<(u64, u32)>,
    total: u32,
}

impl LimitState {
    /// Returns the state that is kept elsewhere as these numbers: a moment, and counts.
    #[cfg(feature = "redis")]
    pub(crate) fn of(algorithm: Algorithm, moment: u64, a: u32, b: u32) -> Self {
        Self(match algorithm {
            Algorithm::TokenBucket => Used::TokenBucket { full_at: moment, fraction: a },
            Algorithm::FixedWindow => Used::FixedWindow { end: moment, count: a },
            Algorithm::SlidingWindowCounter => {
                Used::Counter { end: moment, previous: a, current: b }
            }
            Algorithm::Backoff => Used::Backoff { open_at: moment, failures: a },
            // It is no such state.
            Algorithm::SlidingWindowLog => Used::Nothing,
        })
    }

    /// Returns the bytes that the state has on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Used::Log(log) => size_of::<Log>() + log.requests.capacity() * size_of::<(u64, u32)>(),
            _ => 0,
        }
    }
}

const fn micros(time: Duration) -> u64 {
    let micros = time.as_micros();
    if micros > u64::MAX as u128 { u64::MAX } else { micros as u64 }
}

/// Returns the end of the window of `now`, of the windows that begin at multiples of `period`.
const fn window_end(now: u64, period: u64) -> u64 {
    (now - now % period).saturating_add(period)
}

#[cfg(test)]
mod tests;
