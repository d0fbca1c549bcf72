//! A quote cache is a broker: quotes come from memory, and all else goes through.

use rust_decimal::Decimal;

use super::quotes::QuoteCache;
use crate::Session;
use crate::broker::{
    Broker, BrokerError, Candle, CandleRequest, Exchange, Holding, Instrument, InstrumentInfo,
    Margins, Ohlc, Order, OrderCancel, OrderChange, OrderId, OrderRequest, OrderTags, Partial,
    Positions, Profile, Quote, QuoteChunk, Quotes, Rows, SlicedOrder, Trade,
};
use crate::quota::Limits;

impl<B: Broker + 'static> Broker for QuoteCache<B> {
    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        self.recall_many(instruments)
    }

    fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError> {
        self.recall(instrument, |quoted| Some(quoted.to_quote()))
    }

    fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError> {
        self.recall(instrument, |quoted| Some(quoted.quote.last_price))
    }

    fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError> {
        self.recall(instrument, |quoted| quoted.quote.ohlc)
    }

    /// As many as are asked for: the cache divides them up.
    fn quote_chunk(&self) -> QuoteChunk {
        QuoteChunk::default()
    }

    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.within().place_order(order)
    }

    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        self.within().place_sliced(order)
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        self.within().modify_order(id, change)
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.within().cancel_order(id)
    }

    fn cancel_order_with(&self, id: &OrderId, cancel: &OrderCancel) -> Result<(), BrokerError> {
        self.within().cancel_order_with(id, cancel)
    }

    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        self.within().order_history(id)
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        self.within().orders()
    }

    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        self.within().trades()
    }

    fn order_trades(&self, id: &OrderId) -> Result<Rows<Trade>, BrokerError> {
        self.within().order_trades(id)
    }

    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        self.within().positions()
    }

    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        self.within().holdings()
    }

    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        self.within().margins()
    }

    fn profile(&self) -> Result<Profile, BrokerError> {
        self.within().profile()
    }

    fn instruments(
        &self,
        exchange: Option<&Exchange>,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.within().instruments(exchange)
    }

    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        self.within().candles(request)
    }

    fn order(&self, id: &OrderId) -> Result<Order, BrokerError> {
        self.within().order(id)
    }

    fn session(&self) -> Option<Session> {
        self.within().session()
    }

    fn order_tags(&self) -> OrderTags {
        self.within().order_tags()
    }

    fn documented_limits(&self) -> Limits {
        self.within().documented_limits()
    }
}
