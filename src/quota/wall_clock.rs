//! A pairing of the monotonic clock with the wall clock.

use std::time::Duration;

use jiff::Timestamp;

use super::moment::{Moment, nanos};

/// A reading of the wall clock at a moment of the monotonic clock. Only windows that begin at times of the day need
/// it.
///
/// It is passed in, since nothing in `quota` reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClockSample {
    /// The moment.
    pub moment: Moment,
    /// The reading of the wall clock at that moment.
    pub timestamp: Timestamp,
}

impl WallClockSample {
    /// Returns the wall clock at `moment`, in nanoseconds since 1970.
    pub(crate) fn nanos_at(&self, moment: Moment) -> i128 {
        let passed = i128::from(moment.as_nanos()) - i128::from(self.moment.as_nanos());
        self.timestamp.as_nanosecond() + passed
    }

    /// Returns whether, by this pairing, the wall clock is ahead of the reading `other` by more than `least`.
    pub(super) fn is_ahead_of(&self, other: Self, least: Duration) -> bool {
        self.nanos_at(other.moment).saturating_sub(other.timestamp.as_nanosecond())
            > i128::from(nanos(least))
    }

    /// Returns when the wall clock reads `nanos`.
    pub(super) fn moment_at(&self, nanos: i128) -> Moment {
        let passed = nanos.saturating_sub(self.timestamp.as_nanosecond());
        let moment = i128::from(self.moment.as_nanos()).saturating_add(passed);
        let most = if moment < 0 { 0 } else { u64::MAX };
        Moment::from_nanos(u64::try_from(moment).unwrap_or(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clock_tells_what_the_other_says() {
        let wall_clock =
            WallClockSample { moment: Moment::from_nanos(5), timestamp: Timestamp::UNIX_EPOCH };
        assert_eq!(wall_clock.nanos_at(Moment::from_nanos(7)), 2);
        assert_eq!(wall_clock.moment_at(2), Moment::from_nanos(7));
        assert_eq!(wall_clock.moment_at(-5), Moment::ORIGIN);
        // Before the first moment is the first, and after the last is the last.
        assert_eq!(wall_clock.moment_at(-6), Moment::ORIGIN);
        assert_eq!(wall_clock.moment_at(i128::MIN), Moment::ORIGIN);
        assert_eq!(wall_clock.moment_at(i128::MAX), Moment::from_nanos(u64::MAX));
    }
}
