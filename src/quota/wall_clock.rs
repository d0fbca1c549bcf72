//! One pairing of the clock that paces with the clock on the wall.

use std::time::Duration;

use jiff::Timestamp;

use super::moment::{Moment, nanos};

/// What the clock on the wall said at a moment of the clock that paces. Windows that begin at
/// midnight need it; no other does.
///
/// It is given from outside, since nothing in here reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClockSample {
    /// The moment.
    pub moment: Moment,
    /// What the clock on the wall said then.
    pub timestamp: Timestamp,
}

impl WallClockSample {
    /// What the clock on the wall says at `moment`, in nanoseconds since 1970.
    pub(super) fn nanos_at(&self, moment: Moment) -> i128 {
        let passed = i128::from(moment.as_nanos()) - i128::from(self.moment.as_nanos());
        self.timestamp.as_nanosecond() + passed
    }

    /// Whether by this pairing the clock on the wall says more than `other` does, by more than `least`.
    pub(super) fn is_ahead_of(&self, other: Self, least: Duration) -> bool {
        self.nanos_at(other.moment).saturating_sub(other.timestamp.as_nanosecond())
            > i128::from(nanos(least))
    }

    /// When the clock on the wall says `nanos`.
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
        let wall =
            WallClockSample { moment: Moment::from_nanos(5), timestamp: Timestamp::UNIX_EPOCH };
        assert_eq!(wall.nanos_at(Moment::from_nanos(7)), 2);
        assert_eq!(wall.moment_at(2), Moment::from_nanos(7));
        assert_eq!(wall.moment_at(-5), Moment::ORIGIN);
        // Before the first moment is the first, and after the last is the last.
        assert_eq!(wall.moment_at(-6), Moment::ORIGIN);
        assert_eq!(wall.moment_at(i128::MIN), Moment::ORIGIN);
        assert_eq!(wall.moment_at(i128::MAX), Moment::from_nanos(u64::MAX));
    }
}
