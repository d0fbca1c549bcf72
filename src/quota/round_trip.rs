//! The least round trip, and the credit that it gives.
//!
//! A slot may be used again one window after the broker *counted* the call, but only the sending
//! and the answer are seen from here. Waiting a window from the answer is always safe; it gives
//! away the time that the answer took to come back and that the next call takes to get there. The
//! least round trip bounds that time from below, so most of it can be taken back: the credit.

use std::time::Duration;

/// How many round trips must have been seen before the least of them is trusted.
///
/// The least of few may lie far above the true one when the jitter is as large as the distance. Of
/// 32 exponential samples the least is on the average a thirtieth of the mean jitter too high,
/// which the tenth that the default credit leaves covers.
const ENOUGH: u32 = 32;

/// The share of the least round trip by which a slot is free earlier than a window after its
/// answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    percent: u8,
}

impl Credit {
    /// No credit, and no assumption at all: a slot is free a whole window after the answer.
    pub const STRICT: Self = Self { percent: 0 };

    /// `percent` of the least round trip. It assumes that no round trip is ever shorter than this
    /// share of the shortest one so far. More than 100 is taken as 100.
    pub const fn percent(percent: u8) -> Self {
        Self { percent: if percent > 100 { 100 } else { percent } }
    }
}

impl Default for Credit {
    /// 90 %, which leaves a tenth for a path that turns a little faster than it ever was.
    fn default() -> Self {
        Self::percent(90)
    }
}

/// The least round trip ever seen. It is never forgotten: a path that got slower makes the credit
/// smaller than it could be, which is safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundTrip {
    least: Option<Duration>,
    seen: u32,
}

impl RoundTrip {
    /// None seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another one was seen.
    pub fn saw(&mut self, round_trip: Duration) {
        self.seen = self.seen.saturating_add(1);
        self.least = Some(self.least.map_or(round_trip, |least| least.min(round_trip)));
    }

    /// The least so far.
    pub fn least(&self) -> Option<Duration> {
        self.least
    }

    /// What `credit` comes to now: zero until enough round trips were seen.
    pub fn credit(&self, credit: Credit) -> Duration {
        match self.least {
            Some(least) if self.seen >= ENOUGH => least * u32::from(credit.percent) / 100,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn there_is_no_credit_before_enough_was_seen() {
        let mut round_trip = RoundTrip::new();
        for _ in 0..ENOUGH - 1 {
            round_trip.saw(100 * MS);
            assert_eq!(round_trip.credit(Credit::default()), Duration::ZERO);
        }
        round_trip.saw(200 * MS);
        assert_eq!(round_trip.credit(Credit::default()), 90 * MS);
        assert_eq!(round_trip.credit(Credit::STRICT), Duration::ZERO);
        assert_eq!(round_trip.credit(Credit::percent(255)), 100 * MS);
    }

    #[test]
    fn the_least_is_never_forgotten() {
        let mut round_trip = RoundTrip::new();
        round_trip.saw(10 * MS);
        for _ in 0..10_000 {
            round_trip.saw(500 * MS);
        }
        assert_eq!(round_trip.least(), Some(10 * MS));
        assert_eq!(round_trip.credit(Credit::default()), 9 * MS);
    }
}
