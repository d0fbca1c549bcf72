//! The [`Broker`] trait, which strategies are written against, and the types of trading.
//!
//! Nothing here depends on HTTP or on a particular broker. [`Limits`](crate::Limits), in which an adapter
//! returns what its broker documents, and the attribute that writes [`BrokerProxy`] come from other modules.
//!
//! - `listing.rs` fetches through the lanes a listing that an adapter lacks, and `task_listing.rs` does so for tasks.
//! - `lane_errors.rs` is what any trait needs for that attribute: the conversion of a lane's error, and the class of each
//!   error.
//! - `AsyncBroker`, `AsyncBrokerProxy` and `ImmediateBroker` have no file. The key `asynchronous` of the attribute at
//!   [`Broker`] writes them (`macros/src/asynchronous.rs`).

pub mod lanes;

#[cfg(feature = "responses")]
mod closed_period;
mod error;
mod instrument;
mod lane_errors;
mod listing;
#[cfg(feature = "mock")]
mod mock;
mod open_enum;
mod order;
mod partial;
mod portfolio;
mod quote;
#[cfg(feature = "async")]
mod task_listing;
mod time;

pub use error::{Absence, BrokerError, ErrorDetail, LookupResult, OrderLookup};
pub use instrument::{Exchange, Instrument, InstrumentError, InstrumentInfo};
pub use listing::{MissingListing, MissingListings};
#[cfg(feature = "mock")]
pub use mock::MockBroker;
#[cfg(feature = "kite")]
pub(crate) use open_enum::open_enum;
pub(crate) use order::saturating_sum;
pub use order::{
    MarketProtection, MarketProtectionError, Order, OrderCancel, OrderChange, OrderId,
    OrderRequest, OrderStatus, OrderTags, OrderType, Product, Side, Slice, SliceCancel,
    SliceOutcome, SlicedOrder, SlicedState, TagSupport, TimeInForce, Trade, Variety,
};
pub use partial::{Partial, Quotes, RowProblem, Rows};
pub use portfolio::{Holding, Margin, MarginFunded, Margins, Position, Positions, Profile};
pub use quote::{
    Candle, CandleRequest, Depth, DepthLevel, Interval, Ohlc, Quote, QuoteBatch, QuoteBatchLimit,
};
pub use time::{BrokerTime, ParseBrokerTimeError};

/// A brokerage account.
///
/// Strategy code takes a `&dyn Broker` and does not know whether it talks to a bare adapter, a
/// paced [`BrokerProxy`], a paper broker or a mock.
///
/// The calls are in three lanes, as brokers limit them: `transactional` (orders and the account),
/// `quote`, and `historical`. See [`lanes`] for their names. A proxy returns each of them, as in
/// [`BrokerProxy::quote_lane`].
///
/// # Errors
///
/// What a caller may do after a failed call depends on the class of its error, so the class is the contract. An
/// adapter returns these for a read and for a write, and no others:
///
/// | | read | write |
/// |---|---|---|
/// | [`NotSent`](BrokerError::NotSent) | certainly not sent | certainly not sent |
/// | [`Throttled`](BrokerError::Throttled) | refused because calls come too fast | the same, and not executed |
/// | [`Rejected`](BrokerError::Rejected) | refused | refused, and not executed |
/// | [`Unauthorized`](BrokerError::Unauthorized) | the credentials are refused | the same, and not executed |
/// | [`PartlyPlaced`](BrokerError::PartlyPlaced) | never | only from `place_order`: some slices are in the market |
/// | [`Fatal`](BrokerError::Fatal) | no call will succeed until the cause is fixed | the same, and not executed |
/// | [`Transient`](BrokerError::Transient) | lost on the way, or answered without a result | never |
/// | [`Malformed`](BrokerError::Malformed) | an answer arrived that cannot be decoded | never |
/// | [`OutcomeUnknown`](BrokerError::OutcomeUnknown) | never | it may have been executed |
/// | [`Absent`](BrokerError::Absent) | never | only from an `OrderGuard`: the order book does not show the order |
/// | [`NoQuote`](BrokerError::NoQuote) | only from `quote`, `quote_after`, `ltp` and `ohlc` | never |
///
/// Answers of many rows are [`Partial`]: a row that cannot be read is listed among their problems, and does not fail
/// the call.
///
/// If it is open whether a write was executed, the error is `OutcomeUnknown`: after a cut connection, a
/// timeout, a 5xx, or an answer that cannot be read. An adapter sends a call once. It neither waits
/// nor retries. A [`BrokerProxy`] adds `NotSent` for a full or closed lane. If the adapter
/// panics, it returns `Transient` for a read and `OutcomeUnknown` for a write.
///
/// # Decorators
///
/// A decorator is a type that holds a broker and implements this trait itself, for example to log the orders.
/// [`delegate_broker!`](crate::delegate_broker) writes all methods that the decorator does not, so a method that
/// is added to the trait later is forwarded too. A provided method that is built on a method of the decorator must
/// be excepted as well, or it is forwarded past the decorator: `place_sliced` with `place_order`, `cancel_order_with`
/// with `cancel_order`, `order_trades` with `trades`, `order` with `order_history`, and `quotes_of`, `quote`,
/// `quote_after`, `ltp` and `ohlc` with `quotes`. It then keeps its default body, which calls the method of the decorator.
///
/// ```
/// use lanekeeper::broker::{Broker, BrokerError, OrderId, OrderRequest};
/// use lanekeeper::delegate_broker;
///
/// struct Logged<B> {
///     inner: B,
/// }
///
/// impl<B: Broker> Broker for Logged<B> {
///     delegate_broker! { to self.inner; except place_order, place_sliced }
///
///     fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
///         println!("places {order:?}");
///         self.inner.place_order(order)
///     }
/// }
/// # #[cfg(feature = "mock")] {
/// # let mut mock = lanekeeper::MockBroker::new();
/// # mock.expect_trades().times(1).returning(|| Ok(Vec::new().into()));
/// # mock.expect_place_order().times(1).returning(|_| Ok(OrderId::new("1")));
/// # let logged = Logged { inner: mock };
/// # assert!(logged.trades().is_ok());
/// # let infy = lanekeeper::Instrument::new("NSE", "INFY");
/// # let order = OrderRequest::market(infy, lanekeeper::Side::Buy, 1);
/// # assert!(logged.place_sliced(&order).is_ok(), "by `place_order` of the decorator");
/// # }
/// ```
#[crate::proxy(
    limits = documented_limits,
    session = session,
    reported = reported_limits,
    delegate = crate::broker::delegate_broker,
    asynchronous = AsyncBroker,
    asynchronous_delegate = crate::broker::delegate_async_broker
)]
pub trait Broker: Send + Sync {
    /// Places an order and returns the broker's id for it. An accepted order is not necessarily
    /// filled.
    ///
    /// If the broker divided the order into slices, an id is returned only if every slice was accepted. Otherwise
    /// the error is [`PartlyPlaced`](BrokerError::PartlyPlaced). [`place_sliced`](Self::place_sliced) returns the
    /// state of each slice instead.
    #[lane(transactional, write, priority = 4, budget = orders, route = order_writes)]
    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError>;

    /// Places an order that the broker may divide into slices
    /// ([`OrderRequest::autoslice`]), and returns the state of each slice. An order that the broker did not divide is
    /// one slice.
    ///
    /// `Ok` means that at least a part of the order is in the market, not necessarily all of it.
    ///
    /// ```
    /// use lanekeeper::{Broker, BrokerError, Instrument, OrderRequest, Side};
    ///
    /// fn sell_all(broker: &dyn Broker, lots: u64) -> Result<(), BrokerError> {
    ///     let nifty = Instrument::new("NFO", "NIFTY26FEBFUT");
    ///     let order = OrderRequest::market(nifty, Side::Sell, 75 * lots).autoslice(true);
    ///     let slices = broker.place_sliced(&order)?;
    ///     if !slices.is_placed() {
    ///         // Some slices are in the market, so the order must not be sent again as it is.
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

    /// Changes an order in the market. Returns the id of the order from then on, since some brokers assign
    /// a new one.
    #[lane(transactional, write, priority = 4, route = order_writes)]
    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError>;

    /// Cancels an order.
    #[lane(transactional, write, exit, route = order_writes)]
    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError>;

    /// Cancels an order like [`Broker::cancel_order`], with extra fields that are specific to one broker.
    ///
    /// ```
    /// use lanekeeper::{Broker, BrokerError, OrderCancel, OrderId};
    ///
    /// /// Kite needs the parent's id with the leg of a cover order.
    /// fn exit_leg(broker: &dyn Broker, leg: &OrderId, parent: &str) -> Result<(), BrokerError> {
    ///     broker.cancel_order_with(leg, &OrderCancel::new().extra("parent_order_id", parent))
    /// }
    /// # let _ = exit_leg;
    /// ```
    ///
    /// The default body refuses such fields with
    /// [`NotSent`](BrokerError::NotSent), because without them the call may cancel another order.
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

    /// Returns the states that an order went through, oldest first, and at least one. For a broker that keeps no
    /// history, this is the present state alone.
    #[lane(transactional, read, route = order_reads)]
    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError>;

    /// Returns all orders of the day.
    #[lane(transactional, read, route = order_reads)]
    fn orders(&self) -> Result<Rows<Order>, BrokerError>;

    /// Returns all trades of the day.
    #[lane(transactional, read, route = order_reads)]
    fn trades(&self) -> Result<Rows<Trade>, BrokerError>;

    /// Returns the trades of one order.
    #[lane(transactional, read, route = order_reads)]
    fn order_trades(&self, id: &OrderId) -> Result<Rows<Trade>, BrokerError> {
        let mut trades = self.trades()?;
        trades.retain(|trade| trade.order_id == *id);
        Ok(trades)
    }

    /// Returns the net positions, and those of the day.
    #[lane(transactional, read, route = account_reads)]
    fn positions(&self) -> Result<Partial<Positions>, BrokerError>;

    /// Returns the shares that are held beyond the day.
    #[lane(transactional, read, route = account_reads, cache = off)]
    fn holdings(&self) -> Result<Rows<Holding>, BrokerError>;

    /// Returns the funds and margins of the account.
    #[lane(transactional, read, route = account_reads)]
    fn margins(&self) -> Result<Partial<Margins>, BrokerError>;

    /// Returns the profile of the account's owner.
    #[lane(transactional, read, route = account_reads, cache = off)]
    fn profile(&self) -> Result<Profile, BrokerError>;

    /// Returns the instruments that the broker lists, of one exchange or of all.
    #[lane(transactional, read, route = instruments, cache = off)]
    fn instruments(&self, exchange: Option<&Exchange>)
    -> Result<Rows<InstrumentInfo>, BrokerError>;

    /// Returns quotes for `instruments`, in one request. An instrument without data is absent from the
    /// answer. More instruments than [`Broker::quote_batch_limit`] allows are an error. A
    /// [`QuoteCache`](crate::cache::QuoteCache) in front divides them into batches.
    #[lane(quote, read)]
    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError>;

    /// Returns quotes like [`Broker::quotes`], but chooses the instruments when the call is sent. So instruments that
    /// are requested while the call waits in its lane can still join it. If none are chosen, nothing is sent.
    ///
    /// The default body in a decorator chooses the instruments earlier than necessary, which does no harm.
    #[lane(quote, read)]
    fn quotes_of(&self, batch: &QuoteBatch) -> Result<Quotes, BrokerError> {
        match batch.instruments() {
            none if none.is_empty() => Ok(Quotes::default()),
            instruments => self.quotes(&instruments),
        }
    }

    /// Returns historical prices. A [`CandleRequest`] takes instants, and times and days without a zone, which
    /// are read in the broker's zone.
    ///
    /// Some adapters need the listing of the instrument's exchange first ([`Broker::missing_listing`]). A
    /// [`BrokerProxy`] then calls [`instruments`](Self::instruments) through its lane, once for all calls that need
    /// the same listing at that time. If that call fails, its error is the answer to all of them, and the next call
    /// tries again. A caller waits for the listing before its call is queued, and its deadline spans both. A listing
    /// that the broker refuses is not fetched again for a minute, except for urgent calls. A call that is submitted
    /// for a ticket fetches no listing: call `instruments` first.
    ///
    /// An instrument that is not in the listing is [`NotSent`](BrokerError::NotSent).
    ///
    /// With the feature `responses` and `response_ttl("candles", ..)` on the builder of the proxy, the candles of a range
    /// that ended before today at the broker are kept.
    #[lane(historical, read, first = fetch_missing_listing, cache = off, cache_for = closed_period)]
    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError>;

    /// Returns one quote, or [`BrokerError::NoQuote`].
    fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError> {
        let mut quotes = self.quotes(std::slice::from_ref(instrument))?;
        if let Some(quote) = quotes.remove(instrument) {
            return Ok(quote);
        }
        // An unreadable quote is an error of its own, not a missing quote.
        quotes.complete()?;
        Err(BrokerError::NoQuote { instrument: instrument.clone() })
    }

    /// Waits for a quote that is newer than the one that the caller has, and returns it. `seen` is the
    /// [`fetched_at`](Quote::fetched_at) of that quote. With `None` the call returns what
    /// [`quote`](Self::quote) does.
    ///
    /// A strategy that follows a price loops over this call. A loop over [`ltp`](Self::ltp) at a
    /// [`QuoteCache`](crate::QuoteCache) keeps a core busy, because a fresh price is returned at once.
    ///
    /// ```
    /// use lanekeeper::{Broker, BrokerError, Instrument};
    ///
    /// fn follow(broker: &dyn Broker, rounds: usize) -> Result<(), BrokerError> {
    ///     let infy = Instrument::new("NSE", "INFY");
    ///     let mut seen = None;
    ///     for _ in 0..rounds {
    ///         let quote = broker.quote_after(&infy, seen)?;
    ///         seen = quote.fetched_at;
    ///         println!("{}", quote.last_price);
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = follow;
    /// ```
    ///
    /// - A **`QuoteCache`** waits until the quote in the cache is due, or until the request of another
    ///   caller brings a newer one. Then it requests the instrument. So there is one request in each
    ///   `ttl`, whatever the number of callers. The wait ends at the
    ///   [deadline](crate::CallOptions::deadline) of the handle, if it has one.
    /// - A **broker without a cache** fetches a quote for each call, as in `quote`. If a
    ///   [`BrokerProxy`] is in front, the call waits for its turn in the quote lane.
    ///
    /// In a cache the order of the requests decides which quote is newer, and not the wall clock. The
    /// next quote is returned even if its `fetched_at` is not later than `seen`, because the wall clock
    /// stepped back or `seen` is in the future. A caller that was between two calls when the clock
    /// stepped back may miss one quote.
    ///
    /// # Errors
    /// Fails like `quote`. A request that fails is answered once to each caller that waits for it. In
    /// a cache, the next call then waits for one `ttl`, and 1 s at least, before it requests again, so that a loop over
    /// errors is no busy loop.
    fn quote_after(
        &self,
        instrument: &Instrument,
        seen: Option<crate::jiff::Timestamp>,
    ) -> Result<Quote, BrokerError> {
        // Without a cache each quote is a new one.
        let _ = seen;
        self.quote(instrument)
    }

    /// Returns the last traded price, or [`BrokerError::NoQuote`].
    fn ltp(&self, instrument: &Instrument) -> Result<crate::rust_decimal::Decimal, BrokerError> {
        Ok(self.quote(instrument)?.last_price)
    }

    /// Returns the day's open, high, low and close, or [`BrokerError::NoQuote`].
    fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError> {
        self.quote(instrument)?
            .ohlc
            .ok_or_else(|| BrokerError::NoQuote { instrument: instrument.clone() })
    }

    /// Returns the present state of an order: the last of its history. If the last state cannot be read, the error is
    /// [`BrokerError::Malformed`], and no earlier state is returned instead.
    fn order(&self, id: &OrderId) -> Result<Order, BrokerError> {
        let history = self.order_history(id)?;
        let states = history.len() + history.problems.len();
        let is_last_unreadable = history.problems.iter().any(|problem| problem.row + 1 == states);
        let mut states = if is_last_unreadable { history.complete()? } else { history.rows };
        states.pop().ok_or_else(|| {
            BrokerError::Rejected(ErrorDetail::new(format!("the broker knows no order {id}")))
        })
    }

    /// Returns the limits that the broker documents. A [`BrokerProxy`] keeps to them unless it is configured
    /// otherwise. If nothing is documented, each lane must be configured.
    #[direct]
    fn documented_limits(&self) -> crate::Limits {
        crate::Limits::new()
    }

    /// Returns the session that the calls are made in, if the adapter can receive new credentials at run time. The
    /// lanes of a [`BrokerProxy`] hold their calls while it is expired.
    #[direct]
    fn session(&self) -> Option<crate::Session> {
        None
    }

    /// Returns where the adapter reports the broker's own count of the calls, if its answers have it. The lanes of a
    /// [`BrokerProxy`] keep to it beside their quotas.
    #[direct]
    fn reported_limits(&self) -> Option<crate::ReportedLimits> {
        None
    }

    /// Returns how the broker supports tags, by which an
    /// [`OrderGuard`](crate::OrderGuard) finds an order of unknown outcome. By default there is no support.
    #[direct]
    fn order_tags(&self) -> OrderTags {
        OrderTags::none()
    }

    /// Returns the listing that the adapter needs before it can make the call [`candles`](Self::candles) with
    /// `request`, if it lacks one. The adapter sends nothing for this. By default no listing is needed.
    ///
    /// An adapter keeps the listings that it lacks in a [`MissingListings`]. It learns a listing in
    /// [`instruments`](Self::instruments), and must not report it missing for an instrument that is not in it: each
    /// call would fetch it again.
    #[direct]
    fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        let _ = request;
        None
    }

    /// Returns how many instruments [`Broker::quotes`] accepts in one request.
    #[direct]
    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        QuoteBatchLimit::default()
    }
}
