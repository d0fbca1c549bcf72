//! A broker for unit tests, made by mockall.
//!
//! Every call must be expected, `quote`, `ltp` and `ohlc` too: a strategy's test says what the
//! strategy may do, and fails when it does something else.

use std::collections::HashMap;

use mockall::mock;
use rust_decimal::Decimal;

use super::{
    Broker, BrokerError, Candle, CandleRequest, Exchange, Holding, Instrument, InstrumentInfo,
    Margins, Ohlc, Order, OrderChange, OrderId, OrderRequest, Positions, Profile, Quote, Trade,
};

mock! {
    /// A [`Broker`] that answers what a test tells it to.
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
    #[derive(Debug)]
    pub Broker {}

    impl Broker for Broker {
        fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError>;
        fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError>;
        fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError>;
        fn order_history(&self, id: &OrderId) -> Result<Vec<Order>, BrokerError>;
        fn orders(&self) -> Result<Vec<Order>, BrokerError>;
        fn trades(&self) -> Result<Vec<Trade>, BrokerError>;
        fn order_trades(&self, id: &OrderId) -> Result<Vec<Trade>, BrokerError>;
        fn positions(&self) -> Result<Positions, BrokerError>;
        fn holdings(&self) -> Result<Vec<Holding>, BrokerError>;
        fn margins(&self) -> Result<Margins, BrokerError>;
        fn profile(&self) -> Result<Profile, BrokerError>;
        fn instruments<'a>(
            &self,
            exchange: Option<&'a Exchange>,
        ) -> Result<Vec<InstrumentInfo>, BrokerError>;
        fn quotes(
            &self,
            instruments: &[Instrument],
        ) -> Result<HashMap<Instrument, Quote>, BrokerError>;
        fn candles(&self, request: &CandleRequest) -> Result<Vec<Candle>, BrokerError>;
        fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError>;
        fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError>;
        fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError>;
        fn order(&self, id: &OrderId) -> Result<Order, BrokerError>;
    }
}
