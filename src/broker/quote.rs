//! Prices: quotes with market depth, and candles.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::error::BrokerError;
use super::instrument::Instrument;
use super::open_enum::open_enum;
use super::time::BrokerTime;

/// The open, high, low and close of a period, in the instrument's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ohlc {
    /// The first price.
    pub open: Decimal,
    /// The highest price.
    pub high: Decimal,
    /// The lowest price.
    pub low: Decimal,
    /// The last price. In a live quote, Kite puts the previous day's close here.
    pub close: Decimal,
}

/// One price level of the order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepthLevel {
    /// The price.
    pub price: Decimal,
    /// The quantity bid or offered at this price.
    pub quantity: Decimal,
    /// The number of orders, if the broker reports it.
    pub orders: u32,
}

/// The top of the order book, best prices first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// The prices that others would buy at.
    pub bids: Vec<DepthLevel>,
    /// The prices that others would sell at.
    pub asks: Vec<DepthLevel>,
}

/// The price data of an instrument at one moment. Indices lack most fields.
///
/// A clone does not allocate: long fields are shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Quote {
    /// The instrument.
    pub instrument: Instrument,
    /// The price of the last trade.
    pub last_price: Decimal,
    /// The quantity of the last trade.
    pub last_quantity: Option<Decimal>,
    /// When the last trade happened.
    pub last_trade_at: Option<Zoned>,
    /// The prices of the day so far.
    pub ohlc: Option<Ohlc>,
    /// The day's average price, weighted by volume.
    pub average_price: Option<Decimal>,
    /// The quantity traded today.
    pub volume: Option<Decimal>,
    /// The total quantity bid in the order book.
    pub buy_quantity: Option<Decimal>,
    /// The total quantity offered in the order book.
    pub sell_quantity: Option<Decimal>,
    /// The change from the previous day, in currency.
    pub net_change: Option<Decimal>,
    /// The open interest in contracts.
    pub open_interest: Option<Decimal>,
    /// The lowest price that the exchange allows today.
    pub lower_circuit: Option<Decimal>,
    /// The highest price that the exchange allows today.
    pub upper_circuit: Option<Decimal>,
    /// The top of the order book. Shared, so a clone of a quote does not allocate.
    pub depth: Option<Arc<Depth>>,
    /// The broker's own number or id for the instrument, if the answer contained it.
    pub token: Option<Arc<str>>,
    /// When the exchange sent the quote.
    pub at: Option<Zoned>,
    /// When this process sent the request for the quote, by this machine's wall clock. The quote is
    /// no older than that. `None` if it did not come from a
    /// [`QuoteCache`](crate::cache::QuoteCache). The wall clock can be set, so a newer quote may have
    /// an earlier time; see [`Broker::quote_after`](super::Broker::quote_after).
    #[serde(default)]
    pub fetched_at: Option<Timestamp>,
    /// Whether the quote came from the cache, without its own request.
    #[serde(default, alias = "from_memory")]
    pub cached: bool,
}

impl Quote {
    /// Creates a quote with only a last price, which is enough for most unit tests.
    pub fn new(instrument: Instrument, last_price: impl Into<Decimal>) -> Self {
        Self {
            instrument,
            last_price: last_price.into(),
            last_quantity: None,
            last_trade_at: None,
            ohlc: None,
            average_price: None,
            volume: None,
            buy_quantity: None,
            sell_quantity: None,
            net_change: None,
            open_interest: None,
            lower_circuit: None,
            upper_circuit: None,
            depth: None,
            token: None,
            at: None,
            fetched_at: None,
            cached: false,
        }
    }
}

/// The maximum size of one quote request.
///
/// Both bounds apply. The second bound limits the URL, because servers reject long URLs before they
/// count the instruments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteBatchLimit {
    /// The maximum number of instruments.
    pub count: usize,
    /// The maximum number of bytes in the query string.
    pub bytes: usize,
    /// The bytes of each instrument in the query string beside its own encoded text (`i=` and `&`).
    pub overhead: usize,
}

impl QuoteBatchLimit {
    /// Limits the number of instruments, whatever the length of their names.
    pub const fn of(count: usize) -> Self {
        Self { count, bytes: usize::MAX, overhead: 0 }
    }

    /// Returns the bytes of `instrument` in the query string: its encoded text and the overhead.
    ///
    /// Counts three bytes for each character that some encoder escapes. Form encoding writes a
    /// space as one byte and path encoding as three, so the larger count is safe for both.
    ///
    /// ```
    /// use lanekeeper::broker::{Instrument, QuoteBatchLimit};
    ///
    /// let chunk = QuoteBatchLimit { count: 500, bytes: 7500, overhead: 3 };
    /// // i=NSE%3AM%26M&
    /// assert_eq!(chunk.cost(&Instrument::new("NSE", "M&M")), 14);
    /// ```
    pub fn cost(&self, instrument: &Instrument) -> usize {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let text: usize = instrument.as_str().bytes().map(|b| if plain(b) { 1 } else { 3 }).sum();
        text + self.overhead
    }
}

impl Default for QuoteBatchLimit {
    /// Sets no limits, which suits a broker in memory.
    fn default() -> Self {
        Self::of(usize::MAX)
    }
}

/// Instruments that are chosen only when their request is sent.
///
/// A request may wait a second for its turn in a quote lane. If the instruments are chosen at the
/// end of the wait, those that other callers request meanwhile still fit into it, see
/// [`Broker::quotes_of`](super::Broker::quotes_of).
#[derive(Clone)]
pub struct QuoteBatch(Arc<dyn Fn() -> Vec<Instrument> + Send + Sync>);

impl QuoteBatch {
    /// Creates a batch that calls `choose`. If the request is repeated, `choose` is called again
    /// and must return the same instruments.
    pub fn new(choose: impl Fn() -> Vec<Instrument> + Send + Sync + 'static) -> Self {
        Self(Arc::new(choose))
    }

    /// Chooses the instruments. The caller must send the request at once.
    pub fn instruments(&self) -> Vec<Instrument> {
        (self.0)()
    }
}

impl fmt::Debug for QuoteBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Formatting must not choose the instruments.
        f.write_str("QuoteBatch")
    }
}

open_enum! {
    /// The length of a candle.
    pub enum Interval {
        /// One minute.
        Minute = "minute",
        /// Three minutes.
        ThreeMinutes = "3minute",
        /// Five minutes.
        FiveMinutes = "5minute",
        /// Ten minutes.
        TenMinutes = "10minute",
        /// 15 minutes.
        FifteenMinutes = "15minute",
        /// 30 minutes.
        ThirtyMinutes = "30minute",
        /// One hour.
        Hour = "60minute",
        /// One trading day.
        Day = "day",
    }
}

/// A request for candles.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CandleRequest {
    /// The instrument.
    pub instrument: Instrument,
    /// The length of each candle.
    pub interval: Interval,
    /// The start of the range.
    pub from: BrokerTime,
    /// The end of the range.
    pub to: BrokerTime,
    /// Whether to join the contracts of a future into one series.
    pub continuous: bool,
    /// Whether to include open interest.
    pub open_interest: bool,
}

impl CandleRequest {
    /// Requests the candles of `instrument` from `from` to `to`. Each is a [`BrokerTime`]: an instant,
    /// or a time or a day without a zone, which is read in the broker's zone.
    ///
    /// ```
    /// use lanekeeper::Instrument;
    /// use lanekeeper::broker::{BrokerTime, CandleRequest, Interval};
    /// use lanekeeper::jiff::civil::date;
    /// use lanekeeper::jiff::{SignedDuration, Timestamp, Zoned};
    ///
    /// let infy = || Instrument::new("NSE", "INFY");
    /// // From 09:15 to 15:30 in India, wherever this runs, if the broker is in India.
    /// let day = date(2026, 1, 5);
    /// let (opening, close) = (day.at(9, 15, 0, 0), day.at(15, 30, 0, 0));
    /// let session = CandleRequest::new(infy(), Interval::Minute, opening, close);
    /// // The last hour.
    /// let now = Timestamp::now();
    /// let hour = CandleRequest::new(infy(), Interval::Minute, now - SignedDuration::from_hours(1), now);
    /// // The whole of two days: the end of a range is the end of its day.
    /// let days = CandleRequest::new(infy(), Interval::Day, date(2026, 1, 5), date(2026, 1, 6));
    /// // From a time with the name of its zone.
    /// let from: Zoned = "2026-01-05T09:15:00+05:30[Asia/Kolkata]".parse()?;
    /// let since = CandleRequest::new(infy(), Interval::Minute, from, now);
    /// // From a text, for example of a command line.
    /// let from: BrokerTime = "2026-01-05T09:15:00+05:30".parse()?;
    /// let since = CandleRequest::new(infy(), Interval::Minute, from, now);
    /// # let _ = (session, hour, days, since);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        instrument: Instrument,
        interval: Interval,
        from: impl Into<BrokerTime>,
        to: impl Into<BrokerTime>,
    ) -> Self {
        let (from, to) = (from.into(), to.into());
        Self { instrument, interval, from, to, continuous: false, open_interest: false }
    }

    /// Returns the start and end in the zone of the broker, which the adapter passes. A day as the
    /// end is its last second.
    ///
    /// # Errors
    /// Fails like [`BrokerTime::at_broker`].
    pub fn range(&self, zone: &TimeZone) -> Result<(Zoned, Zoned), BrokerError> {
        Ok((self.from.at_broker(zone)?, self.to.end_at_broker(zone)?))
    }

    /// Joins the contracts of a future into one series.
    #[must_use]
    pub fn continuous(mut self) -> Self {
        self.continuous = true;
        self
    }

    /// Includes open interest.
    #[must_use]
    pub fn open_interest(mut self) -> Self {
        self.open_interest = true;
        self
    }
}

/// The prices of one interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candle {
    /// The start of the interval.
    pub at: Zoned,
    /// The prices.
    pub ohlc: Ohlc,
    /// The quantity traded in the interval.
    pub volume: Decimal,
    /// The open interest in contracts at the end of the interval, if requested.
    pub open_interest: Option<Decimal>,
}

impl Candle {
    /// Creates a candle that begins at `at`.
    pub fn new(at: Zoned, ohlc: Ohlc, volume: impl Into<Decimal>) -> Self {
        Self { at, ohlc, volume: volume.into(), open_interest: None }
    }
}
