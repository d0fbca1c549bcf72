//! The paper broker behind a server that speaks a broker's wire, such as the crate `lanekeeper-simulator`.
//!
//! Such a server needs more than the [`Broker`](crate::broker::Broker) trait shows: errors by kind, the
//! request that an order was placed with, slices, and instrument tokens.

use rust_decimal::Decimal;

use crate::broker::{
    Candle, CandleRequest, Instrument, OrderChange, OrderId, OrderRequest, Product, Quote, Side,
    Trade,
};

use super::book::OrderEntry;
use super::broker::PaperBroker;
use super::error::PaperError;
use super::quotes::CircuitLimits;

/// The account of a [`PaperBroker`] with typed errors and complete order records; made by
/// [`PaperBroker::backend`].
///
/// ```
/// use lanekeeper::broker::{Instrument, OrderRequest, Side};
/// use lanekeeper::brokers::PaperBroker;
/// use lanekeeper::brokers::paper::PaperError;
///
/// let paper = PaperBroker::builder().build()?;
/// let unknown = OrderRequest::market(Instrument::new("NSE", "NONE"), Side::Buy, 1);
/// let error = paper.backend().place(&unknown).unwrap_err();
/// assert!(matches!(error, PaperError::UnknownInstrument(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PaperBackend<'a>(&'a PaperBroker);

impl PaperBroker {
    /// Returns the account as a server of a broker's wire needs it.
    pub fn backend(&self) -> PaperBackend<'_> {
        PaperBackend(self)
    }
}

impl PaperBackend<'_> {
    /// Places an order. An order without funds is recorded as rejected.
    ///
    /// # Errors
    /// The order is invalid. It is not recorded.
    pub fn place(self, order: &OrderRequest) -> Result<OrderId, PaperError> {
        self.0.place(order)
    }

    /// Places a slice of an order. The first slice has no parent, and the others name the first.
    ///
    /// # Errors
    /// The slice is invalid, or the account lacks funds for it. It is not recorded.
    pub fn place_slice(
        self,
        slice: &OrderRequest,
        parent: Option<OrderId>,
    ) -> Result<OrderId, PaperError> {
        self.0.place_slice(slice, parent)
    }

    /// Changes an open order.
    ///
    /// # Errors
    /// The order is unknown or closed, or the change is invalid.
    pub fn modify(self, id: &OrderId, change: &OrderChange) -> Result<(), PaperError> {
        self.0.modify(id, change)
    }

    /// Cancels an open order.
    ///
    /// # Errors
    /// The order is unknown or closed.
    pub fn cancel(self, id: &OrderId) -> Result<(), PaperError> {
        self.0.cancel(id)
    }

    /// Converts `quantity` of the position in the product `old`, which `side` opened, to the product `new`, at its
    /// average price. Where the account has the opposite position in `new`, both are closed against each other.
    ///
    /// # Errors
    /// The position is smaller than `quantity`, or on the other side.
    ///
    /// ```
    /// use lanekeeper::broker::{Broker, Instrument, OrderRequest, Product, Side};
    /// use lanekeeper::brokers::PaperBroker;
    ///
    /// let paper = PaperBroker::builder().build()?;
    /// let yes = Instrument::new("NSE", "YESBANK");
    /// paper.place_order(&OrderRequest::market(yes.clone(), Side::Buy, 10).product(Product::Mis))?;
    /// paper.backend().convert_position(&yes, Side::Buy, 10.into(), &Product::Mis, &Product::Cnc)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn convert_position(
        self,
        instrument: &Instrument,
        side: Side,
        quantity: Decimal,
        old: &Product,
        new: &Product,
    ) -> Result<(), PaperError> {
        self.0.convert_position(instrument, side, quantity, [old, new])
    }

    /// Reads the record of an order, and its trade if it was filled. `read` runs under the lock of the
    /// account: of the broker it may call only `token`, `instrument` and `tick_size`.
    ///
    /// # Errors
    /// The order is unknown.
    pub fn read_entry<R>(
        self,
        id: &OrderId,
        read: impl FnOnce(&OrderEntry, Option<&Trade>) -> R,
    ) -> Result<R, PaperError> {
        self.0.read_entry(id, read)
    }

    /// Reads the records of all orders, the oldest first. `read` runs under the lock of the account: of the
    /// broker it may call only `token`, `instrument` and `tick_size`.
    pub fn map_entries<R>(self, read: impl FnMut(&OrderEntry) -> R) -> Vec<R> {
        self.0.map_entries(read)
    }

    /// Returns the candles of `request`.
    ///
    /// # Errors
    /// The instrument is unknown, or the request is invalid.
    pub fn candles(self, request: &CandleRequest) -> Result<Vec<Candle>, PaperError> {
        self.0.find_candles(request)
    }

    /// Returns the quote of `instrument`, or `None` if it is not listed.
    pub fn quote(self, instrument: &Instrument) -> Option<Quote> {
        self.0.find_quote(instrument)
    }

    /// Returns the token of `instrument`, or `None` if it is not listed.
    pub fn token(self, instrument: &Instrument) -> Option<u32> {
        self.0.token(instrument)
    }

    /// Returns the instrument with this token.
    pub fn instrument(self, token: u32) -> Option<Instrument> {
        self.0.instrument(token)
    }

    /// Returns the circuit limits of `instrument` now, as its quote shows them; `None` if it is not listed, or is an
    /// index. The broker itself accepts any price.
    pub fn circuit_limits(self, instrument: &Instrument) -> Option<CircuitLimits> {
        self.0.circuit_limits(instrument)
    }

    /// Returns whether the prices of `instrument` are invented; see [`Prices::synthetic`](super::Prices::synthetic).
    pub fn is_synthetic(self, instrument: &Instrument) -> bool {
        self.0.is_synthetic(instrument)
    }

    /// Returns the tick size of `instrument`, or `None` if it is not listed, or is an index. The broker itself
    /// accepts any price.
    pub fn tick_size(self, instrument: &Instrument) -> Option<Decimal> {
        self.0.tick_size(instrument)
    }
}
