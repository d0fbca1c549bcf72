//! One window: how many calls, in how long a time, and how the count is reset.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::moment::nanos;

/// The default clock guard: how much the clock of the broker may differ from ours. Clocks synchronised over the network
/// (NTP) differ by well under this.
pub(super) const DEFAULT_CLOCK_GUARD: Duration = Duration::from_secs(2);

/// How a window counts, and how its count is reset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WindowKind {
    /// At most `limit` calls in any span of `length`, wherever it begins.
    SlidingLog,
    /// A bucket of tokens that gains `limit` tokens per `length`. A call takes one.
    TokenBucket {
        /// How many tokens it holds, at first and at most.
        burst: u32,
    },
    /// Two counts: the calls of the current interval of `length`, and those of the interval before. The older count is
    /// weighted by the share of its interval that a window ending now still covers. Their sum is at most `limit`. It
    /// lets more than `limit` calls through in some spans of `length`, so it is only for brokers that count like this.
    SlidingCounter,
    /// From one midnight to the next.
    Calendar {
        /// The time zone that defines midnight.
        zone: TimeZone,
        /// By how much the broker's clock may differ from ours.
        guard: Duration,
    },
}

/// At most `limit` calls in a time of `length`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// How many calls.
    pub limit: u32,
    /// The length. A calendar day has 24 hours here.
    pub length: Duration,
    /// How they are counted.
    pub kind: WindowKind,
    /// Whether calls that are not urgent also keep a gap of `length / limit`; see
    /// [`Quota::spaced`](super::Quota::spaced).
    pub spaced: bool,
}

impl Window {
    /// Returns the most slots that can be used at one moment.
    pub(crate) fn capacity(&self) -> u32 {
        match self.kind {
            WindowKind::TokenBucket { burst } => burst,
            _ => self.limit,
        }
    }

    /// Returns the time in nanoseconds between two calls, if the window is spaced. It is rounded up, so that spaced
    /// calls alone never exceed the limit.
    pub(crate) fn gap(&self) -> Option<u64> {
        let length = match self.kind {
            // The shortest day has 23 hours.
            WindowKind::Calendar { .. } => nanos(self.length) / 24 * 23,
            _ => nanos(self.length),
        };
        self.spaced.then(|| length.div_ceil(u64::from(self.limit.max(1))))
    }

    /// Returns whether the window begins at times of the wall clock.
    pub(super) fn uses_wall_clock(&self) -> bool {
        match self.kind {
            WindowKind::SlidingCounter | WindowKind::Calendar { .. } => true,
            WindowKind::SlidingLog | WindowKind::TokenBucket { .. } => false,
        }
    }

    /// Returns for how many nanoseconds a call counts in it, at most.
    pub(crate) fn retention(&self) -> u64 {
        let length = nanos(self.length);
        match self.kind {
            WindowKind::SlidingLog => length,
            // Until the bucket is full again.
            WindowKind::TokenBucket { burst } => {
                let fill = u128::from(burst) * u128::from(length);
                let fill = fill.div_ceil(u128::from(self.limit.max(1)));
                u64::try_from(fill).unwrap_or(u64::MAX)
            }
            WindowKind::SlidingCounter => length.saturating_mul(2),
            // The longest day has 25 hours.
            WindowKind::Calendar { guard, .. } => {
                length.saturating_add(length / 24).saturating_add(nanos(guard).saturating_mul(2))
            }
        }
    }
}
