//! A guard for threads made of one for tasks: each call runs its future to the end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use library::broker::*;
use library::clock::Clock;
use library::jiff::Timestamp;
use library::order_guard::{
    AsyncOrderGuard, CallerTags, GuardBuildError, GuardStats, OrderGuardBuilder as LibraryBuilder,
    RecoveredOrder, Unrecorded,
};
use library::rust_decimal::Decimal;

struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future on this thread each time that it is woken.
fn run<T>(future: impl Future<Output = T> + Send) -> T {
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct OrderGuard<B>(AsyncOrderGuard<ImmediateBroker<B>>);

impl<B: Broker> OrderGuard<B> {
    pub fn builder(broker: B) -> OrderGuardBuilder<B> {
        OrderGuardBuilder(AsyncOrderGuard::builder(ImmediateBroker(broker)))
    }

    pub fn with_inner<C: Broker>(&self, broker: C) -> OrderGuard<C> {
        OrderGuard(self.0.with_inner(ImmediateBroker(broker)))
    }

    pub fn for_exits<C: Broker>(&self, broker: C) -> OrderGuard<C> {
        OrderGuard(self.0.for_exits(ImmediateBroker(broker)))
    }

    pub fn max_search_wait(self, wait: Duration) -> Self {
        Self(self.0.max_search_wait(wait))
    }

    pub fn recover(&self) -> Vec<RecoveredOrder> {
        run(self.0.recover())
    }

    pub fn recover_one(&self, tag: &str) -> Option<RecoveredOrder> {
        run(self.0.recover_one(tag))
    }

    pub fn abandon(&self, tag: &str) -> bool {
        self.0.abandon(tag)
    }

    pub fn order_update(&self, order: &Order) {
        self.0.order_update(order);
    }

    pub fn stats(&self) -> GuardStats {
        self.0.stats()
    }
}

#[derive(Debug)]
pub struct OrderGuardBuilder<B>(LibraryBuilder<ImmediateBroker<B>, dyn AsyncBroker>);

impl<B: Broker> OrderGuardBuilder<B> {
    pub fn settle_time(self, settle_time: Duration) -> Self {
        Self(self.0.settle_time(settle_time))
    }

    pub fn caller_tags(self, caller_tags: CallerTags) -> Self {
        Self(self.0.caller_tags(caller_tags))
    }

    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        Self(self.0.clock(clock))
    }

    pub fn lookup_broker(self, broker: impl Broker + 'static) -> Self {
        Self(self.0.lookup_broker(ImmediateBroker(broker)))
    }

    pub fn on_turned_up(self, callback: impl Fn(&RecoveredOrder) + Send + Sync + 'static) -> Self {
        Self(self.0.on_turned_up(callback))
    }

    pub fn on_unrecorded(self, callback: impl Fn(&Unrecorded) + Send + Sync + 'static) -> Self {
        Self(self.0.on_unrecorded(callback))
    }

    pub fn build(self) -> Result<OrderGuard<B>, GuardBuildError> {
        Ok(OrderGuard(self.0.build()?))
    }
}

/// Writes the methods of `Broker` that have a future in `AsyncBroker`.
macro_rules! run_each {
    ($($method:ident($($name:ident: $type:ty),*) -> $output:ty;)+) => {$(
        fn $method(&self, $($name: $type),*) -> Result<$output, BrokerError> {
            run(AsyncBroker::$method(&self.0, $($name),*))
        }
    )+};
}

impl<B: Broker> Broker for OrderGuard<B> {
    run_each! {
        place_order(order: &OrderRequest) -> OrderId;
        place_sliced(order: &OrderRequest) -> SlicedOrder;
        modify_order(id: &OrderId, change: &OrderChange) -> OrderId;
        cancel_order(id: &OrderId) -> ();
        cancel_order_with(id: &OrderId, cancel: &OrderCancel) -> ();
        order_history(id: &OrderId) -> Rows<Order>;
        orders() -> Rows<Order>;
        trades() -> Rows<Trade>;
        order_trades(id: &OrderId) -> Rows<Trade>;
        positions() -> Partial<Positions>;
        holdings() -> Rows<Holding>;
        margins() -> Partial<Margins>;
        profile() -> Profile;
        instruments(exchange: Option<&Exchange>) -> Rows<InstrumentInfo>;
        quotes(instruments: &[Instrument]) -> Quotes;
        quotes_of(batch: &QuoteBatch) -> Quotes;
        candles(request: &CandleRequest) -> Rows<Candle>;
        quote(instrument: &Instrument) -> Quote;
        quote_after(instrument: &Instrument, seen: Option<Timestamp>) -> Quote;
        ltp(instrument: &Instrument) -> Decimal;
        ohlc(instrument: &Instrument) -> Ohlc;
        order(id: &OrderId) -> Order;
    }

    fn documented_limits(&self) -> library::Limits {
        self.0.documented_limits()
    }

    fn session(&self) -> Option<library::Session> {
        self.0.session()
    }

    fn reported_limits(&self) -> Option<library::ReportedLimits> {
        self.0.reported_limits()
    }

    fn order_tags(&self) -> OrderTags {
        self.0.order_tags()
    }

    fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        self.0.missing_listing(request)
    }

    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        self.0.quote_batch_limit()
    }
}
