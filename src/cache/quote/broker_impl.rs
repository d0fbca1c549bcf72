//! A quote cache is a broker: quotes come from memory, and all else goes through.

use rust_decimal::Decimal;

use super::QuoteCache;
use crate::Session;
use crate::broker::{
    Broker, BrokerError, Candle, CandleRequest, Exchange, Holding, Instrument, InstrumentInfo,
    Margins, Ohlc, Order, OrderCancel, OrderChange, OrderId, OrderRequest, OrderTags, Partial,
    Positions, Profile, Quote, QuoteBatchLimit, Quotes, Rows, SlicedOrder, Trade,
};
use crate::quota::Limits;

impl<B: Broker + 'static> Broker for QuoteCache<B> {
    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        self.read_quotes(instruments)
    }

    fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError> {
        self.read_quote(instrument, |quoted| Some(quoted.to_quote()))
    }

    fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError> {
        self.read_quote(instrument, |quoted| Some(quoted.quote.last_price))
    }

    fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError> {
        self.read_quote(instrument, |quoted| quoted.quote.ohlc)
    }

    /// As many as are asked for: the cache divides them up.
    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        QuoteBatchLimit::default()
    }

    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.inner().place_order(order)
    }

    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        self.inner().place_sliced(order)
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        self.inner().modify_order(id, change)
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.inner().cancel_order(id)
    }

    fn cancel_order_with(&self, id: &OrderId, cancel: &OrderCancel) -> Result<(), BrokerError> {
        self.inner().cancel_order_with(id, cancel)
    }

    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        self.inner().order_history(id)
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        self.inner().orders()
    }

    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        self.inner().trades()
    }

    fn order_trades(&self, id: &OrderId) -> Result<Rows<Trade>, BrokerError> {
        self.inner().order_trades(id)
    }

    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        self.inner().positions()
    }

    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        self.inner().holdings()
    }

    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        self.inner().margins()
    }

    fn profile(&self) -> Result<Profile, BrokerError> {
        self.inner().profile()
    }

    fn instruments(
        &self,
        exchange: Option<&Exchange>,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.inner().instruments(exchange)
    }

    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        self.inner().candles(request)
    }

    fn order(&self, id: &OrderId) -> Result<Order, BrokerError> {
        self.inner().order(id)
    }

    fn session(&self) -> Option<Session> {
        self.inner().session()
    }

    fn order_tags(&self) -> OrderTags {
        self.inner().order_tags()
    }

    fn documented_limits(&self) -> Limits {
        self.inner().documented_limits()
    }
}
