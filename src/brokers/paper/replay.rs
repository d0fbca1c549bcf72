//! Selects the current bar: a pure function of the time since the start.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Candle, Instrument};

use super::prices::{BarSeries, Prices};

/// A tape of [`Prices`] that advances by one bar per period, and starts again at its end.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::broker::Instrument;
/// use lanekeeper::brokers::paper::{Prices, Replay};
///
/// let replay = Replay::new(Prices::sample(), Duration::from_secs(1));
/// let yes = Instrument::new("NSE", "YESBANK");
/// let first = replay.bar(&yes, Duration::ZERO).unwrap();
/// let later = replay.bar(&yes, Duration::from_millis(2500)).unwrap();
/// assert_eq!(later.at.duration_since(&first.at).as_secs(), 120);
/// ```
#[derive(Debug, Clone)]
pub struct Replay {
    prices: Arc<Prices>,
    bar_every: Duration,
}

impl Replay {
    /// Creates a tape that shows each bar for `bar_every`. With zero it shows the first bar for ever.
    pub fn new(prices: impl Into<Arc<Prices>>, bar_every: Duration) -> Self {
        Self { prices: prices.into(), bar_every }
    }

    /// Returns the bar of `instrument` at `elapsed` since the start, or `None` if the instrument is unknown.
    pub fn bar(&self, instrument: &Instrument, elapsed: Duration) -> Option<&Candle> {
        Some(self.prices.series(instrument)?.bar(self.position(elapsed)))
    }

    /// Returns the bars.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    pub(super) fn series(&self, instrument: &Instrument) -> Option<&BarSeries> {
        self.prices.series(instrument)
    }

    /// Returns the position of the tape: how often it has advanced.
    pub(super) fn position(&self, elapsed: Duration) -> u64 {
        match elapsed.as_nanos().checked_div(self.bar_every.as_nanos()) {
            Some(moves) => u64::try_from(moves).unwrap_or(u64::MAX),
            None => 0,
        }
    }

    /// Returns when the tape reached `position`.
    pub(super) fn moved_at(&self, position: u64) -> Duration {
        let nanos = self.bar_every.as_nanos().saturating_mul(u128::from(position));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

    fn replay() -> (Replay, Instrument) {
        let prices = Prices::from_csv(
            "time,exchange,symbol,open,high,low,close,volume\n\
             2019-01-01T09:15:00+05:30,NSE,X,1,1,1,1,5\n\
             2019-01-01T09:16:00+05:30,NSE,X,2,2,2,2,5\n\
             2019-01-01T09:19:00+05:30,NSE,X,3,3,3,3,5\n",
        );
        (Replay::new(prices.unwrap(), Duration::from_secs(1)), Instrument::new("NSE", "X"))
    }

    #[test]
    fn each_bar_is_shown_for_as_long_as_asked_and_the_tape_loops() {
        let (replay, x) = replay();
        let close = |millis| replay.bar(&x, Duration::from_millis(millis)).unwrap().ohlc.close;
        let seen: Vec<_> = [0, 999, 1000, 1999, 2000, 2999, 3000, 4000].map(close).into();
        assert_eq!(seen, [1, 1, 2, 2, 3, 3, 1, 2].map(Decimal::from));
    }

    #[test]
    fn a_position_begins_when_it_says() {
        let (replay, _) = replay();
        for position in [0, 1, 2, 1000] {
            assert_eq!(replay.position(replay.moved_at(position)), position);
        }
        assert_eq!(replay.position(replay.moved_at(7) - Duration::from_nanos(1)), 6);
    }

    #[test]
    fn absurd_times_are_bars_too() {
        let (replay, x) = replay();
        assert!(replay.bar(&x, Duration::MAX).is_some());
        let still = Replay::new(Prices::sample(), Duration::ZERO);
        let yes = Instrument::new("NSE", "YESBANK");
        assert_eq!(still.bar(&yes, Duration::MAX), still.bar(&yes, Duration::ZERO));
        assert_eq!(replay.bar(&yes, Duration::ZERO), None);
    }
}
