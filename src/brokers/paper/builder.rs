//! The builder of a paper broker.

use std::time::Duration;

use jiff::{Timestamp, Zoned};
use rust_decimal::Decimal;

use crate::broker::Holding;
use crate::brokers::india::zone;
use crate::clock::Clock;

use super::book::OrderBook;
use super::broker::PaperBroker;
use super::prices::{MAX_SUM, MAX_VALUE, Prices};
use super::replay::Replay;

/// Settings of a [`PaperBroker`], from [`PaperBroker::builder`].
#[derive(Debug, Clone)]
pub struct PaperBuilder {
    prices: Option<Prices>,
    synthetic_seed: Option<u64>,
    cash: Decimal,
    bar_every: Duration,
    clock: Clock,
    starts_at: Option<Zoned>,
    holdings: Vec<Holding>,
}

/// Why a paper broker cannot be built from these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaperBuildError {
    /// Each bar would last no time.
    #[error("bar_every is zero; give each bar some time")]
    NoTime,
    /// The start has an unknown time zone, so orders would be stamped as if it were UTC.
    #[error("starts_at is of a zone that is not known; give it in one, as Asia/Kolkata or +05:30")]
    NoZone,
    /// The cash is negative, or too large for the arithmetic.
    #[error("the cash {cash} is not between 0 and {MAX_SUM}")]
    Cash {
        /// What was set.
        cash: Decimal,
    },
    /// A holding is too large for the arithmetic.
    #[error("the holding of {instrument} is too large to count with")]
    Holding {
        /// The instrument.
        instrument: crate::broker::Instrument,
    },
}

impl PaperBuilder {
    pub(super) fn new() -> Self {
        Self {
            prices: None,
            synthetic_seed: None,
            cash: Decimal::from(10_000_000),
            bar_every: Duration::from_secs(1),
            clock: Clock::system(),
            starts_at: None,
            holdings: Vec::new(),
        }
    }

    /// Sets the bars to replay. Default: [`Prices::sample`].
    #[must_use]
    pub fn prices(mut self, prices: Prices) -> Self {
        self.prices = Some(prices);
        self
    }

    /// Adds the symbols of [`Prices::synthetic`], for the day in India at which the broker starts. An instrument that
    /// has prices already keeps them.
    ///
    /// ```
    /// use lanekeeper::broker::{Broker, Instrument};
    /// use lanekeeper::brokers::PaperBroker;
    ///
    /// let paper = PaperBroker::builder().synthetic(1).build()?;
    /// // The real sample is still there, and INFY beside it.
    /// assert!(paper.ltp(&Instrument::new("NSE", "YESBANK")).is_ok());
    /// assert!(paper.ltp(&Instrument::new("NSE", "INFY")).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn synthetic(mut self, seed: u64) -> Self {
        self.synthetic_seed = Some(seed);
        self
    }

    /// Sets the initial cash. Default: 10,000,000.
    #[must_use]
    pub fn cash(mut self, cash: impl Into<Decimal>) -> Self {
        self.cash = cash.into();
        self
    }

    /// Sets how long each bar is the current one. Default: one second.
    #[must_use]
    pub fn bar_every(mut self, bar_every: Duration) -> Self {
        self.bar_every = bar_every;
        self
    }

    /// Sets the clock that moves the tape. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Sets the wall-clock time at the start, in the zone that orders are stamped in. Default: now, in India.
    #[must_use]
    pub fn starts_at(mut self, starts_at: Zoned) -> Self {
        self.starts_at = Some(starts_at);
        self
    }

    /// Adds shares that are held from before. May be called more than once.
    #[must_use]
    pub fn holding(mut self, holding: Holding) -> Self {
        self.holdings.push(holding);
        self
    }

    /// Builds the broker. Its tape starts now.
    ///
    /// # Errors
    /// A setting makes no sense; the error says which.
    pub fn build(self) -> Result<PaperBroker, PaperBuildError> {
        if self.bar_every.is_zero() {
            return Err(PaperBuildError::NoTime);
        }
        if self.starts_at.as_ref().is_some_and(|start| start.time_zone().is_unknown()) {
            return Err(PaperBuildError::NoZone);
        }
        if self.cash.is_sign_negative() || self.cash > MAX_SUM {
            return Err(PaperBuildError::Cash { cash: self.cash });
        }
        for holding in &self.holdings {
            if holding.quantity.abs() > MAX_VALUE || holding.average_price.abs() > MAX_VALUE {
                let instrument = holding.instrument.clone();
                return Err(PaperBuildError::Holding { instrument });
            }
        }
        let origin = self.starts_at.unwrap_or_else(|| Timestamp::now().to_zoned(zone()));
        let mut prices = self.prices.unwrap_or_else(Prices::sample);
        if let Some(seed) = self.synthetic_seed {
            let today = origin.with_time_zone(zone()).date();
            prices = prices.and(Prices::synthetic(seed, today));
        }
        let replay = Replay::new(prices, self.bar_every);
        let book = OrderBook::new(replay, origin, self.cash);
        Ok(PaperBroker::new(book, self.clock, self.holdings))
    }
}
