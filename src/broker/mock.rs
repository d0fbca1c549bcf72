//! A broker for unit tests, made by mockall.

use mockall::mock;
use rust_decimal::Decimal;

use super::{
    Broker, BrokerError, Candle, CandleRequest, Exchange, Holding, Instrument, InstrumentInfo,
    Margins, Ohlc, Order, OrderCancel, OrderChange, OrderId, OrderRequest, OrderTags, Partial,
    Positions, Profile, Quote, Quotes, Rows, SlicedOrder, Trade,
};

mock! {
    /// A [`Broker`] that answers what a test tells it to.
    ///
    /// Every call must be expected, `quote`, `ltp`, `ohlc` and `order` too, and any other panics. So
    /// test a strategy on the bare mock: the test says what the strategy may do, and fails when it
    /// does something else.
    ///
    /// ```
    /// use lanekeeper::broker::{Broker, Instrument, MockBroker};
    /// use lanekeeper::rust_decimal::Decimal;
    ///
    /// let mut broker = MockBroker::new();
    /// broker.expect_ltp().returning(|_| Ok(Decimal::from(1490)));
    ///
    /// let infy = Instrument::new("NSE", "INFY");
    /// assert_eq!(broker.ltp(&infy), Ok(Decimal::from(1490)));
    /// ```
    ///
    /// # Behind a proxy
    ///
    /// A [`BrokerProxy`](super::BrokerProxy) in front changes three things:
    ///
    /// - It contains a panic of its broker. A call that was not expected comes back as an error
    ///   ([`Transient`](BrokerError::Transient) for a read,
    ///   [`OutcomeUnknown`](BrokerError::OutcomeUnknown) for a write), and fails the test only if
    ///   the test looks at the result. What was said by `times(..)` or `never()` is checked again
    ///   as the last clone of the proxy is dropped, and does fail the test there.
    /// - Its `quote`, `ltp` and `ohlc` call `quotes`, and its `order` calls `order_history`: expect
    ///   those.
    /// - A mock documents no limits, so give the proxy some.
    ///
    /// ```
    /// use lanekeeper::broker::{
    ///     Broker, BrokerError, BrokerProxy, Instrument, MockBroker, Quote, lanes,
    /// };
    /// use lanekeeper::rust_decimal::Decimal;
    /// use lanekeeper::{Limits, Quota};
    ///
    /// let infy = Instrument::new("NSE", "INFY");
    /// let quote = Quote::new(infy.clone(), Decimal::from(1490));
    /// let mut mock = MockBroker::new();
    /// mock.expect_quotes().returning(move |_| {
    ///     Ok([(quote.instrument.clone(), quote.clone())].into_iter().collect())
    /// });
    ///
    /// let unlimited = |limits: Limits, lane| limits.lane(lane, Quota::unlimited());
    /// let limits = lanes::ALL.into_iter().fold(Limits::new(), unlimited);
    /// let limits = limits.budget(lanes::ORDERS, Quota::unlimited());
    /// let broker = BrokerProxy::builder(mock).limits(limits).build()?;
    /// assert_eq!(broker.ltp(&infy), Ok(Decimal::from(1490)));
    /// // Not expected, and no panic here:
    /// assert!(matches!(broker.orders(), Err(BrokerError::Transient(_))));
    /// # Ok::<(), lanekeeper::proxy::BuildError>(())
    /// ```
    #[derive(Debug)]
    pub Broker {}

    impl Broker for Broker {
        fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError>;
        fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError>;
        fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError>;
        fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError>;
        fn cancel_order_with(
            &self,
            id: &OrderId,
            cancel: &OrderCancel,
        ) -> Result<(), BrokerError>;
        fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError>;
        fn orders(&self) -> Result<Rows<Order>, BrokerError>;
        fn trades(&self) -> Result<Rows<Trade>, BrokerError>;
        fn order_trades(&self, id: &OrderId) -> Result<Rows<Trade>, BrokerError>;
        fn positions(&self) -> Result<Partial<Positions>, BrokerError>;
        fn holdings(&self) -> Result<Rows<Holding>, BrokerError>;
        fn margins(&self) -> Result<Partial<Margins>, BrokerError>;
        fn profile(&self) -> Result<Profile, BrokerError>;
        fn instruments<'a>(
            &self,
            exchange: Option<&'a Exchange>,
        ) -> Result<Rows<InstrumentInfo>, BrokerError>;
        fn quotes(
            &self,
            instruments: &[Instrument],
        ) -> Result<Quotes, BrokerError>;
        fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError>;
        fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError>;
        fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError>;
        fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError>;
        fn order(&self, id: &OrderId) -> Result<Order, BrokerError>;
        fn order_tags(&self) -> OrderTags;
    }
}
