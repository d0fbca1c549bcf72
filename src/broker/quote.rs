//! Prices: quotes, their depth, and candles.

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
    /// The highest.
    pub high: Decimal,
    /// The lowest.
    pub low: Decimal,
    /// The last; in a live quote, Kite puts the close of the day before here.
    pub close: Decimal,
}

/// One price of the order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepthLevel {
    /// The price.
    pub price: Decimal,
    /// How much is wanted or offered at it.
    pub quantity: Decimal,
    /// By how many orders, where the broker says.
    pub orders: u32,
}

/// The top of the order book, best prices first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// What others would buy at.
    pub bids: Vec<DepthLevel>,
    /// What others would sell at.
    pub asks: Vec<DepthLevel>,
}

/// What is known of an instrument's price at one moment. Indices lack most of it.
///
/// A clone allocates nothing: what is long is shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Quote {
    /// Of what.
    pub instrument: Instrument,
    /// The price of the last trade.
    pub last_price: Decimal,
    /// The quantity of the last trade.
    pub last_quantity: Option<Decimal>,
    /// When the last trade was.
    pub last_trade_at: Option<Zoned>,
    /// The day so far.
    pub ohlc: Option<Ohlc>,
    /// The day's mean price, weighted by volume.
    pub average_price: Option<Decimal>,
    /// The quantity traded today.
    pub volume: Option<Decimal>,
    /// The quantity wanted, over the whole book.
    pub buy_quantity: Option<Decimal>,
    /// The quantity offered, over the whole book.
    pub sell_quantity: Option<Decimal>,
    /// The change since the day before, in currency.
    pub net_change: Option<Decimal>,
    /// Contracts open.
    pub open_interest: Option<Decimal>,
    /// The lowest price that the exchange allows today.
    pub lower_circuit: Option<Decimal>,
    /// The highest price that the exchange allows today.
    pub upper_circuit: Option<Decimal>,
    /// The top of the book. Shared: a clone of a quote allocates nothing.
    pub depth: Option<Arc<Depth>>,
    /// The broker's own number or id for the instrument, where the answer carried one.
    pub token: Option<Arc<str>>,
    /// When the exchange sent it.
    pub at: Option<Zoned>,
    /// When this process sent the request that brought it, by this machine's clock: it is no older
    /// than that. `None`: it came by no [`QuoteCache`](crate::cache::QuoteCache).
    #[serde(default)]
    pub fetched_at: Option<Timestamp>,
    /// Whether this answer came from memory, without a request of its own.
    #[serde(default)]
    pub cached: bool,
}

impl Quote {
    /// A quote of which only the last price is known. Enough for most unit tests.
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

/// How many instruments one quote request may name.
///
/// Both bounds hold. The second one is of the address: servers refuse long ones before they count
/// what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteBatchLimit {
    /// The most instruments.
    pub count: usize,
    /// The most bytes of query string.
    pub bytes: usize,
    /// What each instrument costs in the query string beside its own encoded text (`i=` and `&`).
    pub overhead: usize,
}

impl QuoteBatchLimit {
    /// At most `count` instruments, however long their names.
    pub const fn of(count: usize) -> Self {
        Self { count, bytes: usize::MAX, overhead: 0 }
    }

    /// What `instrument` costs in the query string: its encoded text and the overhead.
    ///
    /// Counted as three bytes for whatever some encoder escapes. A form writes a blank as one byte
    /// and a path as three; the dearer of the two is right for both.
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
    /// As many as are asked for: right for a broker in memory.
    fn default() -> Self {
        Self::of(usize::MAX)
    }
}

/// Instruments that are chosen when the request for them goes, and not before.
///
/// A request may wait a second for its turn in a quote lane. What others ask for in that second
/// still fits into it, if its instruments are chosen at the end of the wait: see
/// [`Broker::quotes_of`](super::Broker::quotes_of).
#[derive(Clone)]
pub struct QuoteBatch(Arc<dyn Fn() -> Vec<Instrument> + Send + Sync>);

impl QuoteBatch {
    /// A batch that asks `choose`. It may be asked again, when the request is made again: then it is
    /// to name the same instruments.
    pub fn new(choose: impl Fn() -> Vec<Instrument> + Send + Sync + 'static) -> Self {
        Self(Arc::new(choose))
    }

    /// Chooses. Whoever asks makes the request at once.
    pub fn instruments(&self) -> Vec<Instrument> {
        (self.0)()
    }
}

impl fmt::Debug for QuoteBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Looking is not choosing.
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
        /// A quarter of an hour.
        FifteenMinutes = "15minute",
        /// Half an hour.
        ThirtyMinutes = "30minute",
        /// An hour.
        Hour = "60minute",
        /// A trading day.
        Day = "day",
    }
}

/// Which candles are asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CandleRequest {
    /// Of what.
    pub instrument: Instrument,
    /// How long each is.
    pub interval: Interval,
    /// From here on.
    pub from: BrokerTime,
    /// Up to here.
    pub to: BrokerTime,
    /// Join the contracts of a future into one series.
    pub continuous: bool,
    /// With open interest.
    pub open_interest: bool,
}

impl CandleRequest {
    /// The candles of `instrument` from `from` to `to`: instants, or times without a zone, which are
    /// read in the broker's own.
    ///
    /// ```
    /// use lanekeeper::Instrument;
    /// use lanekeeper::broker::{CandleRequest, Interval};
    /// use lanekeeper::jiff::Zoned;
    /// use lanekeeper::jiff::civil::date;
    ///
    /// let infy = Instrument::new("NSE", "INFY");
    /// // From 09:15 to 15:30 in India, wherever this runs, if the broker is in India.
    /// let day = date(2026, 1, 5);
    /// let (opening, close) = (day.at(9, 15, 0, 0), day.at(15, 30, 0, 0));
    /// let session = CandleRequest::new(infy.clone(), Interval::Minute, opening, close);
    /// // The last hour.
    /// let now = Zoned::now();
    /// let hour = now.timestamp() - lanekeeper::jiff::SignedDuration::from_hours(1);
    /// let last = CandleRequest::new(infy, Interval::Minute, hour, now.timestamp());
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

    /// From when to when, in the zone of the broker, which an adapter names.
    ///
    /// # Errors
    /// As for [`BrokerTime::at_broker`].
    pub fn range(&self, zone: &TimeZone) -> Result<(Zoned, Zoned), BrokerError> {
        Ok((self.from.at_broker(zone)?, self.to.at_broker(zone)?))
    }

    /// Joins the contracts of a future into one series.
    #[must_use]
    pub fn continuous(mut self) -> Self {
        self.continuous = true;
        self
    }

    /// Asks for open interest too.
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
    /// When it began.
    pub at: Zoned,
    /// Its prices.
    pub ohlc: Ohlc,
    /// The quantity traded in it.
    pub volume: Decimal,
    /// Contracts open at its end, if asked for.
    pub open_interest: Option<Decimal>,
}

impl Candle {
    /// A candle that began at `at`.
    pub fn new(at: Zoned, ohlc: Ohlc, volume: impl Into<Decimal>) -> Self {
        Self { at, ohlc, volume: volume.into(), open_interest: None }
    }
}
