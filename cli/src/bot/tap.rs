//! A decorator that reports each call to a listener, so that the bot measures itself through the trait alone.

use std::sync::Arc;
use std::time::Instant;

use lanekeeper::broker::{
    Broker, BrokerError, Candle, CandleRequest, Exchange, Holding, Instrument, InstrumentInfo,
    Margins, Order, OrderCancel, OrderChange, OrderId, OrderRequest, Partial, Positions, Profile,
    Quote, Quotes, Rows, SlicedOrder, Trade,
};
use lanekeeper::jiff::Timestamp;
use rust_decimal::Decimal;

/// Callbacks for the calls that go through a [`Tap`].
pub trait CallListener: Send + Sync {
    /// Called before each write. An error refuses the write.
    fn allow_write(&self) -> Result<(), BrokerError> {
        Ok(())
    }
    /// Called after each call.
    fn on_call(&self, lane: &'static str, began: Instant, error: Option<&BrokerError>);
    /// Called after each order, in addition to [`on_call`](Self::on_call).
    fn on_order(
        &self,
        _order: &OrderRequest,
        _began: Instant,
        _result: &Result<OrderId, BrokerError>,
    ) {
    }
}

/// A broker whose calls are reported to a listener.
pub struct Tap<B, L> {
    inner: B,
    listener: Arc<L>,
}

impl<B: Broker, L: CallListener> Tap<B, L> {
    pub fn new(inner: B, listener: Arc<L>) -> Self {
        Self { inner, listener }
    }

    pub fn inner(&self) -> &B {
        &self.inner
    }

    fn call<R>(
        &self,
        lane: &'static str,
        call: impl FnOnce(&B) -> Result<R, BrokerError>,
    ) -> Result<R, BrokerError> {
        let began = Instant::now();
        let result = call(&self.inner);
        self.listener.on_call(lane, began, result.as_ref().err());
        result
    }

    fn write<R>(&self, call: impl FnOnce(&B) -> Result<R, BrokerError>) -> Result<R, BrokerError> {
        self.call("transactional", |broker| {
            self.listener.allow_write()?;
            call(broker)
        })
    }
}

impl<B: Broker, L: CallListener> Broker for Tap<B, L> {
    // Only the methods without a lane are forwarded. Those that are neither forwarded nor written here keep their
    // default body, whose calls are reported.
    lanekeeper::delegate_broker! {
        to self.inner;
        except place_order, place_sliced, modify_order, cancel_order, cancel_order_with, order_history, orders,
            trades, order_trades, positions, holdings, margins, profile, instruments, quotes, quotes_of, quote,
            quote_after, ltp, ohlc, candles, order
    }

    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        let began = Instant::now();
        let result = self.write(|broker| broker.place_order(order));
        self.listener.on_order(order, began, &result);
        result
    }
    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        let began = Instant::now();
        let result = self.write(|broker| broker.place_sliced(order));
        self.listener.on_order(order, began, &result.clone().and_then(SlicedOrder::complete));
        result
    }
    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        self.write(|broker| broker.modify_order(id, change))
    }
    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.write(|broker| broker.cancel_order(id))
    }
    fn cancel_order_with(&self, id: &OrderId, cancel: &OrderCancel) -> Result<(), BrokerError> {
        self.write(|broker| broker.cancel_order_with(id, cancel))
    }
    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        self.call("transactional", |broker| broker.order_history(id))
    }
    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        self.call("transactional", |broker| broker.orders())
    }
    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        self.call("transactional", |broker| broker.trades())
    }
    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        self.call("transactional", |broker| broker.positions())
    }
    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        self.call("transactional", |broker| broker.holdings())
    }
    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        self.call("transactional", |broker| broker.margins())
    }
    fn profile(&self) -> Result<Profile, BrokerError> {
        self.call("transactional", |broker| broker.profile())
    }
    fn instruments(
        &self,
        exchange: Option<&Exchange>,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.call("transactional", |broker| broker.instruments(exchange))
    }
    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        self.call("quote", |broker| broker.quotes(instruments))
    }
    fn quote_after(
        &self,
        instrument: &Instrument,
        seen: Option<Timestamp>,
    ) -> Result<Quote, BrokerError> {
        self.call("quote", |broker| broker.quote_after(instrument, seen))
    }
    fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError> {
        self.call("quote", |broker| broker.ltp(instrument))
    }
    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        self.call("historical", |broker| broker.candles(request))
    }
}
