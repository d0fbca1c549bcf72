//! The paper broker: the order book behind the [`Broker`] trait.

use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;
use parking_lot::Mutex;
use rust_decimal::Decimal;

use crate::broker::{
    Broker, BrokerError, Candle, CandleRequest, ErrorDetail, Exchange, Holding, Instrument,
    InstrumentInfo, Margins, Order, OrderCancel, OrderChange, OrderId, OrderRequest, OrderTags,
    Partial, Positions, Product, Profile, Quote, Quotes, Rows, Side, Trade, lanes,
};
use crate::clock::Clock;
use crate::quota::{Limits, Moment, Quota};

use super::book::{OrderBook, OrderEntry};
use super::builder::PaperBuilder;
use super::candles;
use super::error::PaperError;
use super::instruments::InstrumentTable;
use super::quotes::{CircuitLimits, circuit_limits, quote};

/// A broker in memory; see the [module](crate::brokers::paper). Cheap to clone; clones are the
/// same account.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::broker::{Broker, Instrument, OrderRequest, OrderStatus, Side};
/// use lanekeeper::brokers::PaperBroker;
/// use lanekeeper::clock::ManualClock;
///
/// let clock = ManualClock::new();
/// let paper = PaperBroker::builder().clock(clock.clone()).build()?;
/// let yes = Instrument::new("NSE", "YESBANK");
///
/// let price = paper.ltp(&yes)?;
/// let id = paper.place_order(&OrderRequest::market(yes, Side::Buy, 10))?;
/// let order = paper.order(&id)?;
/// assert_eq!(order.status, OrderStatus::Filled);
/// assert_eq!(order.average_price, Some(price));
///
/// clock.advance(Duration::from_secs(60)); // an hour of bars
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PaperBroker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    book: Mutex<OrderBook>,
    clock: Clock,
    started: Moment,
    tokens: InstrumentTable,
    holdings: Vec<Holding>,
}

impl PaperBroker {
    /// Returns a builder.
    pub fn builder() -> PaperBuilder {
        PaperBuilder::new()
    }

    pub(super) fn new(book: OrderBook, clock: Clock, holdings: Vec<Holding>) -> Self {
        let tokens = InstrumentTable::new(book.replay().prices());
        let started = clock.now();
        Self(Arc::new(Inner { book: Mutex::new(book), clock, started, tokens, holdings }))
    }

    /// Returns the time at the broker.
    pub fn now(&self) -> Zoned {
        let elapsed = self.elapsed();
        self.0.book.lock().wall_time(elapsed)
    }

    fn elapsed(&self) -> Duration {
        self.0.clock.now().since(self.0.started)
    }

    /// Calls a closure with the order book, at the current time.
    fn with_book<R>(&self, look: impl FnOnce(&mut OrderBook, Duration) -> R) -> R {
        let mut book = self.0.book.lock();
        // Read under the lock, so that the book gets the times in order.
        let elapsed = self.elapsed();
        book.advance(elapsed);
        look(&mut book, elapsed)
    }

    pub(crate) fn place(&self, order: &OrderRequest) -> Result<OrderId, PaperError> {
        self.with_book(|book, now| book.place(order, now))
    }

    /// Places a slice of an order, the first of them without a parent. One that lacks funds is refused, and
    /// leaves no trace.
    pub(crate) fn place_slice(
        &self,
        slice: &OrderRequest,
        parent: Option<OrderId>,
    ) -> Result<OrderId, PaperError> {
        self.with_book(|book, now| book.place_slice(slice, parent, now))
    }

    pub(crate) fn modify(&self, id: &OrderId, change: &OrderChange) -> Result<(), PaperError> {
        self.with_book(|book, now| book.modify(id, change, now))
    }

    pub(crate) fn cancel(&self, id: &OrderId) -> Result<(), PaperError> {
        self.with_book(|book, now| book.cancel(id, now))
    }

    pub(crate) fn convert_position(
        &self,
        instrument: &Instrument,
        side: Side,
        quantity: Decimal,
        products: [&Product; 2],
    ) -> Result<(), PaperError> {
        self.with_book(|book, now| book.convert(instrument, side, quantity, products, now))
    }

    /// Reads an order, with what the trait does not show.
    pub(crate) fn read_entry<R>(
        &self,
        id: &OrderId,
        read: impl FnOnce(&OrderEntry, Option<&Trade>) -> R,
    ) -> Result<R, PaperError> {
        self.with_book(|book, _| {
            let entry = book.entry(id).ok_or_else(|| PaperError::UnknownOrder(id.clone()))?;
            Ok(read(entry, book.trade_of(entry)))
        })
    }

    pub(crate) fn map_entries<R>(&self, read: impl FnMut(&OrderEntry) -> R) -> Vec<R> {
        self.with_book(|book, _| book.entries().iter().map(read).collect())
    }

    pub(crate) fn find_candles(&self, request: &CandleRequest) -> Result<Vec<Candle>, PaperError> {
        // A copy of the handle, so that a long history is computed without the lock.
        let (replay, now) = self.with_book(|book, now| (book.replay().clone(), now));
        match replay.series(&request.instrument) {
            Some(series) => candles::candles(series, replay.position(now), request),
            None => Err(PaperError::UnknownInstrument(request.instrument.clone())),
        }
    }

    pub(crate) fn find_quote(&self, instrument: &Instrument) -> Option<Quote> {
        self.with_book(|book, now| {
            let series = book.replay().series(instrument)?;
            let position = book.replay().position(now);
            let moved_at = book.wall_time(book.replay().moved_at(position));
            Some(quote(instrument, series, position, self.token(instrument), moved_at))
        })
    }

    pub(crate) fn circuit_limits(&self, instrument: &Instrument) -> Option<CircuitLimits> {
        self.with_book(|book, now| {
            let series = book.replay().series(instrument)?;
            circuit_limits(series, book.replay().position(now))
        })
    }

    pub(crate) fn is_synthetic(&self, instrument: &Instrument) -> bool {
        self.0.tokens.is_synthetic(instrument)
    }

    pub(crate) fn token(&self, instrument: &Instrument) -> Option<u32> {
        self.0.tokens.token(instrument)
    }

    /// The step of its prices, as it is listed; `None` if it is not listed, or is an index.
    pub(crate) fn tick_size(&self, instrument: &Instrument) -> Option<Decimal> {
        self.0.tokens.tick_size(instrument)
    }

    pub(crate) fn instrument(&self, token: u32) -> Option<Instrument> {
        self.0.tokens.instrument(token).cloned()
    }

    fn price(&self, instrument: &Instrument) -> Option<Decimal> {
        self.with_book(|book, _| book.price(instrument))
    }
}

impl Broker for PaperBroker {
    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        if order.autoslice {
            let words = "the paper broker divides no orders: it has no freeze quantities";
            return Err(BrokerError::NotSent(ErrorDetail::new(words).local()));
        }
        Ok(self.place(order)?)
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        self.modify(id, change)?;
        Ok(id.clone())
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        Ok(self.cancel(id)?)
    }

    /// Extra fields have no meaning here, and are ignored like those of a placement.
    fn cancel_order_with(&self, id: &OrderId, _: &OrderCancel) -> Result<(), BrokerError> {
        self.cancel_order(id)
    }

    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        Ok(self.read_entry(id, |entry, _| entry.history.clone())?.into())
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        Ok(self
            .with_book(|book, _| book.entries().iter().map(|entry| entry.order.clone()).collect()))
    }

    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        Ok(self.with_book(|book, _| book.trades().to_vec()).into())
    }

    fn order_trades(&self, id: &OrderId) -> Result<Rows<Trade>, BrokerError> {
        Ok(self.read_entry(id, |_, trade| trade.cloned().into_iter().collect::<Vec<_>>())?.into())
    }

    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        Ok(self
            .with_book(|book, _| book.account().positions(|instrument| book.price(instrument)))
            .into())
    }

    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        let mut holdings = self.0.holdings.clone();
        for holding in &mut holdings {
            if let Some(price) = self.price(&holding.instrument) {
                holding.last_price = Some(price);
                holding.pnl = Some((price - holding.average_price) * holding.quantity);
            }
        }
        Ok(holdings.into())
    }

    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        Ok(self.with_book(|book, _| book.account().margins()).into())
    }

    fn profile(&self) -> Result<Profile, BrokerError> {
        let mut exchanges: Vec<String> = self.with_book(|book, _| {
            let instruments = book.replay().prices().instruments();
            instruments.map(|instrument| instrument.exchange().to_owned()).collect()
        });
        exchanges.dedup();
        Ok(Profile {
            user_id: "PAPER1".to_owned(),
            user_name: "Paper Trader".to_owned(),
            email: "paper@example.com".to_owned(),
            broker: "PAPER".to_owned(),
            exchanges,
            products: ["CNC", "MIS", "NRML"].map(str::to_owned).into(),
        })
    }

    fn instruments(
        &self,
        exchange: Option<&Exchange>,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        let wanted = |info: &InstrumentInfo| {
            exchange.is_none_or(|exchange| exchange.as_str() == info.instrument.exchange())
        };
        Ok(self.0.tokens.listing().filter(wanted).collect())
    }

    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        let quotes = instruments.iter().filter_map(|instrument| self.find_quote(instrument));
        Ok(quotes.map(|quote| (quote.instrument.clone(), quote)).collect())
    }

    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        Ok(self.find_candles(request)?.into())
    }

    fn order_tags(&self) -> OrderTags {
        // Longer tags would work, but a strategy tried here must work at a real broker. The tape is one day.
        OrderTags::echoed(20).changed_in_place()
    }

    fn documented_limits(&self) -> Limits {
        // Explicit, so that a proxy in front of this broker needs no settings, and does not pace.
        lanes::ALL
            .into_iter()
            .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
            .budget(lanes::ORDERS, Quota::unlimited())
    }
}
