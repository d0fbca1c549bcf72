//! The least round trip, and the credit that it gives.
//!
//! A slot may be used again one window after the broker *counted* the call, but a client sees only when it was sent
//! and answered. To wait one window from the answer is always safe, but wastes the time that the answer took to
//! return and that the next call takes to arrive. The least round trip bounds that time from below, so most of it can
//! be taken back: the credit.
//!
//! Two bounds keep it safe. The credit is never more than a set share of the least round trip, in case the path
//! becomes slightly faster. And it is smaller by `2 (mean - least) / sqrt(n)` after `n` round trips, because the
//! least of a few samples lies above the true one: a round trip is the sum of two delays, the density of such a sum
//! rises linearly from its least value, and so the excess of the least of `n` samples shrinks as `1 / sqrt(n)`. For
//! two exponential delays, the factor 2 leaves a chance of `exp(-8)`, one in 3000, that the true least lies below the
//! credit at all.
//!
//! Only round trips on warm connections are counted, see `warm_connections.rs`.

use std::time::Duration;

use super::moment::nanos;

/// How many samples are needed before their mean and minimum are used.
const MIN_SAMPLES: u64 = 16;

/// The percentage of the least round trip below which a shorter one shows that the path has become faster. It is also
/// the most that [`RttCredit`] uses by default.
const SAME_PATH_PERCENT: u32 = 95;

/// The credit policy: the largest share of the least round trip by which a slot is free earlier than one window after
/// its answer. It is about round-trip times, not money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RttCredit {
    percent: u8,
}

impl RttCredit {
    /// No credit, and no assumption: a slot is free a whole window after the answer.
    pub const STRICT: Self = Self { percent: 0 };

    /// At most `percent` of the least round trip. This assumes that no round trip is ever shorter than this share of
    /// the shortest one so far. More than 100 counts as 100.
    pub const fn percent(percent: u8) -> Self {
        Self { percent: if percent > 100 { 100 } else { percent } }
    }
}

impl Default for RttCredit {
    /// 95 %. With 90 % a lane whose round trip takes a quarter of its window stays more than 2 %
    /// below the best that a safe client can do; with 95 % it does not.
    fn default() -> Self {
        Self::percent(95)
    }
}

/// Statistics of round trips: the number and sum of those on warm connections, and the minimum of all. The minimum is
/// never forgotten. If the path becomes slower, the credit is smaller than it could be, which is safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundTrip {
    samples: u64,
    sum: Duration,
    min: Option<Duration>,
}

impl RoundTrip {
    /// Creates empty statistics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a round trip on a warm connection.
    pub fn record(&mut self, round_trip: Duration) {
        self.record_cold(round_trip);
        self.samples = self.samples.saturating_add(1);
        self.sum = self.sum.saturating_add(round_trip);
    }

    /// Adds a round trip that may have had to open its connection first. It is no evidence of how short a round trip
    /// can be, unless it is the shortest.
    ///
    /// A round trip that is more than 5 % shorter than the minimum shows that the path has changed. Then the earlier
    /// samples are dropped, as they do not show how far the new minimum can be trusted.
    pub fn record_cold(&mut self, round_trip: Duration) {
        if self.min.is_some_and(|least| round_trip < least * SAME_PATH_PERCENT / 100) {
            (self.samples, self.sum) = (0, Duration::ZERO);
        }
        self.min = Some(self.min.map_or(round_trip, |least| least.min(round_trip)));
    }

    /// Returns the minimum so far.
    pub fn min(&self) -> Option<Duration> {
        self.min
    }

    /// Returns the mean on warm connections, since the path last became faster.
    pub fn mean(&self) -> Option<Duration> {
        let mean = nanos(self.sum).checked_div(self.samples)?;
        Some(Duration::from_nanos(mean))
    }

    /// Returns the credit in force under the policy `credit`: zero until there are enough samples.
    pub fn credit(&self, credit: RttCredit) -> Duration {
        let Some(least) = self.min.filter(|_| self.samples >= MIN_SAMPLES) else {
            return Duration::ZERO;
        };
        let share = least * u32::from(credit.percent) / 100;
        share.min(least.saturating_sub(self.uncertainty(least)))
    }

    /// Returns by how much the minimum of the samples may lie above the true minimum.
    fn uncertainty(&self, least: Duration) -> Duration {
        let mean = nanos(self.sum) / self.samples.max(1);
        let above = mean.saturating_sub(nanos(least));
        Duration::from_nanos(above.saturating_mul(2) / self.samples.isqrt().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn no_credit_is_for_more_than_a_whole_round_trip() {
        assert_eq!(RttCredit::percent(101), RttCredit::percent(100));
        assert_ne!(RttCredit::percent(99), RttCredit::percent(100));
    }

    #[test]
    fn there_is_no_credit_before_enough_was_seen() {
        let mut round_trip = RoundTrip::new();
        for _ in 0..MIN_SAMPLES - 1 {
            round_trip.record(100 * MS);
            assert_eq!(round_trip.credit(RttCredit::default()), Duration::ZERO);
        }
        round_trip.record(100 * MS);
        assert_eq!(round_trip.credit(RttCredit::default()), 95 * MS);
        assert_eq!(round_trip.credit(RttCredit::STRICT), Duration::ZERO);
        assert_eq!(round_trip.credit(RttCredit::percent(255)), 100 * MS);
    }

    #[test]
    fn the_credit_waits_until_the_least_can_be_trusted() {
        // One in four takes 10 ms, the others 110 ms: the mean is 85 ms.
        let after = |seen: u32| {
            let mut round_trip = RoundTrip::new();
            (0..seen).for_each(|i| round_trip.record(if i % 4 == 0 { 10 * MS } else { 110 * MS }));
            round_trip.credit(RttCredit::default())
        };
        // 10 ms - 2 * 75 ms / sqrt(n)
        assert_eq!(after(100), Duration::ZERO);
        assert_eq!(after(400), Duration::from_micros(2_500));
        assert_eq!(after(10_000), Duration::from_micros(8_500));
        assert_eq!(after(1_000_000), Duration::from_micros(9_500));
    }

    #[test]
    fn round_trips_on_a_cold_path_are_no_evidence() {
        let mut round_trip = RoundTrip::new();
        (0..1_000).for_each(|_| round_trip.record_cold(300 * MS));
        assert_eq!(round_trip.credit(RttCredit::default()), Duration::ZERO);
        (0..100).for_each(|_| round_trip.record(100 * MS));
        assert_eq!(round_trip.credit(RttCredit::default()), 95 * MS);
        round_trip.record_cold(40 * MS);
        assert!(round_trip.credit(RttCredit::default()) < 40 * MS);
    }

    #[test]
    fn a_path_that_turns_faster_is_learned_anew() {
        let mut round_trip = RoundTrip::new();
        (0..1_000).for_each(|_| round_trip.record(300 * MS));
        assert!(round_trip.credit(RttCredit::default()) > 280 * MS);
        round_trip.record(20 * MS);
        assert_eq!(round_trip.credit(RttCredit::default()), Duration::ZERO);
        (0..MIN_SAMPLES).for_each(|_| round_trip.record(20 * MS));
        assert_eq!(round_trip.credit(RttCredit::default()), 19 * MS);
    }

    #[test]
    fn the_least_is_never_forgotten() {
        let mut round_trip = RoundTrip::new();
        round_trip.record(10 * MS);
        for _ in 0..10_000 {
            round_trip.record(500 * MS);
        }
        assert_eq!(round_trip.min(), Some(10 * MS));
        assert!(round_trip.credit(RttCredit::percent(100)) < 10 * MS);
    }
}
