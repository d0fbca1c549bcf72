//! The trait that strategies are written against, and the nouns of trading.
//!
//! Nothing here knows of HTTP or of any one broker. Two things are taken from outside: [`Limits`], by
//! which an adapter tells what its broker documents, and the attribute that makes [`BrokerProxy`],
//! with what a trait of anybody's needs for it (`lane.rs`).

pub mod lanes;

mod error;
mod instrument;
mod lane_errors;
#[cfg(feature = "mock")]
mod mock;
mod open_enum;
mod order;
mod partial;
mod portfolio;
mod quote;
mod time;

use rust_decimal::Decimal;

pub use error::{Absence, BrokerError, ErrorDetail, LookupResult, OrderLookup};
pub use instrument::{Exchange, Instrument, InstrumentError, InstrumentInfo};
#[cfg(feature = "mock")]
pub use mock::MockBroker;
pub(crate) use order::saturating_sum;
pub use order::{
    MarketProtection, MarketProtectionError, Order, OrderCancel, OrderChange, OrderId,
    OrderRequest, OrderStatus, OrderTags, OrderType, Product, Side, Slice, SliceCancel,
    SliceOutcome, SlicedOrder, SlicedState, TagSupport, TimeInForce, Trade, Variety,
};
pub use partial::{Partial, Quotes, RowProblem, Rows};
pub use portfolio::{Holding, Margin, Margins, Position, Positions, Profile};
pub use quote::{
    Candle, CandleRequest, Depth, DepthLevel, Interval, Ohlc, Quote, QuoteBatch, QuoteBatchLimit,
};
pub use time::BrokerTime;

use crate::Session;
use crate::quota::Limits;

/// A brokerage account.
///
/// Strategy code takes a `&dyn Broker` and does not know whether it talks to a bare adapter, a
/// paced [`BrokerProxy`], a paper broker or a mock.
///
/// The calls are in three lanes, as brokers limit them: `transactional` (orders and the account),
/// `quote`, and `historical`; see [`lanes`].
///
/// # Errors
///
/// What a failed call may do next is in the class of its error, so the class is the contract. An
/// adapter gives a read and a write these, and no others:
///
/// | | read | write |
/// |---|---|---|
/// | [`NotSent`](BrokerError::NotSent) | it surely never left | it surely never left |
/// | [`Throttled`](BrokerError::Throttled) | refused for coming too fast | the same, and not done |
/// | [`Rejected`](BrokerError::Rejected) | refused | refused, and not done |
/// | [`Unauthorized`](BrokerError::Unauthorized) | the credentials are refused | the same, and not done |
/// | [`PartlyPlaced`](BrokerError::PartlyPlaced) | never | from `place_order` alone: some slices are in the market |
/// | [`Fatal`](BrokerError::Fatal) | nothing will work until mended | the same, and not done |
/// | [`Transient`](BrokerError::Transient) | lost on the way, or not answered with a result | never |
/// | [`Malformed`](BrokerError::Malformed) | an answer came that cannot be decoded | never |
/// | [`OutcomeUnknown`](BrokerError::OutcomeUnknown) | never | it may have been done |
/// | [`Absent`](BrokerError::Absent) | never | only from an `OrderGuard`: the book does not show it |
/// | [`NoQuote`](BrokerError::NoQuote) | from `quote`, `ltp` and `ohlc` alone | never |
///
/// Answers of many rows are [`Partial`]: a row that cannot be read is among their problems, and fails
/// nothing.
///
/// Whatever leaves it open whether a write was done is `OutcomeUnknown`: a cut connection, a
/// timeout, a 5xx, an answer that cannot be read. An adapter sends a call once, and neither waits
/// nor tries again. A [`BrokerProxy`] adds `NotSent` for a full or closed lane; and if the adapter
/// panics, `Transient` for a read and `OutcomeUnknown` for a write.
#[crate::proxy(limits = documented_limits, session = session)]
pub trait Broker: Send + Sync {
    /// Places an order and gives the broker's name for it. That it was taken does not mean that it
    /// was filled.
    ///
    /// An order that the broker divided into slices has one name only if every slice was taken. If not,
    /// the error is [`PartlyPlaced`](BrokerError::PartlyPlaced); place it by
    /// [`place_sliced`](Self::place_sliced) to be told of each slice.
    #[lane(transactional, write, priority = 4, budget = orders, route = order_writes)]
    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError>;

    /// Places an order that the broker may divide into slices
    /// ([`OrderRequest::autoslice`]), and says what became of each. An order that it did not divide is
    /// one slice.
    ///
    /// An answer of `Ok` means that something of the order is in the market, not all of it.
    ///
    /// ```
    /// use lanekeeper::{Broker, BrokerError, Instrument, OrderRequest, Side};
    ///
    /// fn sell_all(broker: &dyn Broker, lots: u64) -> Result<(), BrokerError> {
    ///     let nifty = Instrument::new("NFO", "NIFTY26FEBFUT");
    ///     let order = OrderRequest::market(nifty, Side::Sell, 75 * lots).autoslice(true);
    ///     let slices = broker.place_sliced(&order)?;
    ///     if !slices.is_placed() {
    ///         // Some are in the market: this is not to be sent again as it is.
    ///         println!("{slices}");
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = sell_all;
    /// ```
    #[lane(transactional, write, priority = 4, budget = orders, route = order_writes)]
    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        match self.place_order(order) {
            Ok(id) => Ok(SlicedOrder::single(id, order.quantity)),
            Err(BrokerError::PartlyPlaced(sliced)) => Ok(*sliced),
            Err(error) => Err(error),
        }
    }

    /// Changes an order in the market. The answer names the order from then on: some brokers give
    /// it a new id.
    #[lane(transactional, write, priority = 4, route = order_writes)]
    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError>;

    /// Takes an order out of the market.
    #[lane(transactional, write, exit, route = order_writes)]
    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError>;

    /// As [`Broker::cancel_order`], with fields that only one broker knows.
    ///
    /// ```
    /// use lanekeeper::{Broker, BrokerError, OrderCancel, OrderId};
    ///
    /// /// Kite wants the parent with the leg of a cover order.
    /// fn exit_leg(broker: &dyn Broker, leg: &OrderId, parent: &str) -> Result<(), BrokerError> {
    ///     broker.cancel_order_with(leg, &OrderCancel::new().extra("parent_order_id", parent))
    /// }
    /// # let _ = exit_leg;
    /// ```
    ///
    /// An adapter that leaves this out refuses such fields as
    /// [`NotSent`](BrokerError::NotSent), for without them another order may be meant.
    #[lane(transactional, write, exit, route = order_writes)]
    fn cancel_order_with(&self, id: &OrderId, cancel: &OrderCancel) -> Result<(), BrokerError> {
        match cancel.extra.keys().next() {
            None => self.cancel_order(id),
            Some(field) => Err(BrokerError::NotSent(
                ErrorDetail::new(format!(
                    "this adapter sends no field {field:?} with a cancellation"
                ))
                .local(),
            )),
        }
    }

    /// The states an order went through, oldest first; at least one. A broker that keeps no
    /// history gives the present state alone.
    #[lane(transactional, read, route = order_reads)]
    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError>;

    /// All orders of the day.
    #[lane(transactional, read, route = order_reads)]
    fn orders(&self) -> Result<Rows<Order>, BrokerError>;

    /// All trades of the day.
    #[lane(transactional, read, route = order_reads)]
    fn trades(&self) -> Result<Rows<Trade>, BrokerError>;

    /// The trades of one order.
    #[lane(transactional, read, route = order_reads)]
    fn order_trades(&self, id: &OrderId) -> Result<Rows<Trade>, BrokerError> {
        let mut trades = self.trades()?;
        trades.retain(|trade| trade.order_id == *id);
        Ok(trades)
    }

    /// What is held and what the day did.
    #[lane(transactional, read, route = account_reads)]
    fn positions(&self) -> Result<Partial<Positions>, BrokerError>;

    /// Shares held beyond the day.
    #[lane(transactional, read, route = account_reads)]
    fn holdings(&self) -> Result<Rows<Holding>, BrokerError>;

    /// The account's money.
    #[lane(transactional, read, route = account_reads)]
    fn margins(&self) -> Result<Partial<Margins>, BrokerError>;

    /// Whose account it is.
    #[lane(transactional, read, route = account_reads)]
    fn profile(&self) -> Result<Profile, BrokerError>;

    /// The instruments that the broker lists, of one exchange or of all.
    #[lane(transactional, read, route = instruments)]
    fn instruments(&self, exchange: Option<&Exchange>)
    -> Result<Rows<InstrumentInfo>, BrokerError>;

    /// Quotes for `instruments`, in one request. An instrument without data is absent from the
    /// answer. More than [`Broker::quote_batch_limit`] allows is an error; a
    /// [`QuoteCache`](crate::cache::QuoteCache) in front divides them up.
    #[lane(quote, read)]
    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError>;

    /// As [`Broker::quotes`], but the instruments are chosen when the call goes: what is asked for
    /// while it waits in its lane can still be in it. None chosen, nothing asked.
    ///
    /// A decorator that leaves this out chooses too early, and no harm is done.
    #[lane(quote, read)]
    fn quotes_of(&self, batch: &QuoteBatch) -> Result<Quotes, BrokerError> {
        match batch.instruments() {
            none if none.is_empty() => Ok(Quotes::default()),
            instruments => self.quotes(&instruments),
        }
    }

    /// Prices of the past. A [`CandleRequest`] takes instants, and times without a zone, which are read
    /// in the broker's own.
    #[lane(historical, read)]
    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError>;

    /// One quote, or [`BrokerError::NoQuote`].
    fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError> {
        let mut quotes = self.quotes(std::slice::from_ref(instrument))?;
        if let Some(quote) = quotes.remove(instrument) {
            return Ok(quote);
        }
        // What the broker has of it may be unreadable, which is not the same as nothing.
        quotes.complete()?;
        Err(BrokerError::NoQuote { instrument: instrument.clone() })
    }

    /// The last traded price, or [`BrokerError::NoQuote`].
    fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError> {
        Ok(self.quote(instrument)?.last_price)
    }

    /// The day's open, high, low and close, or [`BrokerError::NoQuote`].
    fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError> {
        self.quote(instrument)?
            .ohlc
            .ok_or_else(|| BrokerError::NoQuote { instrument: instrument.clone() })
    }

    /// The present state of an order: the last of its history. If that cannot be read, an earlier state
    /// does not pass for it: the answer is [`BrokerError::Malformed`].
    fn order(&self, id: &OrderId) -> Result<Order, BrokerError> {
        let history = self.order_history(id)?;
        let states = history.len() + history.problems.len();
        let hides_the_last = history.problems.iter().any(|problem| problem.row + 1 == states);
        let mut states = if hides_the_last { history.complete()? } else { history.rows };
        states.pop().ok_or_else(|| {
            BrokerError::Rejected(ErrorDetail::new(format!("the broker knows no order {id}")))
        })
    }

    /// What the broker documents of its limits. A [`BrokerProxy`] keeps to them unless told
    /// otherwise; where nothing is documented, it asks for a setting of each lane.
    #[direct]
    fn documented_limits(&self) -> Limits {
        Limits::new()
    }

    /// The session that the calls are made in, if the adapter can be given new credentials at run time. The
    /// lanes of a [`BrokerProxy`] hold their calls while it is expired.
    #[direct]
    fn session(&self) -> Option<Session> {
        None
    }

    /// What the broker does with the tag of an order, by which an
    /// [`OrderGuard`](crate::OrderGuard) finds an order of unknown outcome again. Nothing, unless the
    /// adapter says otherwise.
    #[direct]
    fn order_tags(&self) -> OrderTags {
        OrderTags::none()
    }

    /// How many instruments [`Broker::quotes`] takes at once.
    #[direct]
    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        QuoteBatchLimit::default()
    }
}
