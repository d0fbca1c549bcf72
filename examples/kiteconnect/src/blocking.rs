//! A `Broker` of any `AsyncBroker`: each call blocks its thread until the future is completed. It knows no client, so an
//! adapter for another broker uses it as it is.
//!
//! The runtime has a thread of its own. A `current_thread` runtime would do with none, and makes progress only while a
//! call waits. Then the connections that the broker closed in between go unnoticed until the next call is written to
//! one of them, and such a call is lost with an unknown outcome.

use std::future::Future;
use std::io;
use std::sync::Arc;

use lanekeeper::broker::{
    AsyncBroker, Broker, BrokerError, Candle, CandleRequest, ErrorDetail, Exchange, Holding,
    Instrument, InstrumentInfo, Margins, MissingListing, Ohlc, Order, OrderCancel, OrderChange,
    OrderId, OrderRequest, OrderTags, Partial, Positions, Profile, Quote, QuoteBatch,
    QuoteBatchLimit, Quotes, Rows, SlicedOrder, Trade,
};
use lanekeeper::jiff::Timestamp;
use lanekeeper::rust_decimal::Decimal;
use lanekeeper::{Limits, ReportedLimits, Session};
use tokio::runtime::{Builder, Handle, Runtime};

/// An `AsyncBroker` as a `Broker`. A clone shares the runtime.
#[derive(Clone)]
pub struct Blocking<B> {
    broker: B,
    runtime: Arc<BlockingRuntime>,
}

impl<B> Blocking<B> {
    /// Starts the runtime of `broker`.
    ///
    /// # Errors
    /// No thread for it.
    pub fn new(broker: B) -> io::Result<Self> {
        Ok(Self { broker, runtime: Arc::new(BlockingRuntime::new()?) })
    }

    /// Returns the asynchronous broker, whose calls [`wait`](Self::wait) takes.
    pub fn broker(&self) -> &B {
        &self.broker
    }

    /// Blocks until `call` is completed. It is never dropped before: a call that is dropped after it was sent has an
    /// unknown outcome, so a timeout belongs into the client, which knows how far the call came.
    ///
    /// # Errors
    /// Those of `call`, and `NotSent` on a thread of an async runtime, where tokio would panic: await the call there.
    pub fn wait<T>(
        &self,
        call: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        self.runtime.wait(call)
    }
}

/// Writes methods that wait for those of the same name.
macro_rules! waiting {
    ($(fn $method:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {$(
        fn $method(&self $(, $argument: $kind)*) -> Result<$answer, BrokerError> {
            self.wait(self.broker.$method($($argument),*))
        }
    )*};
}

/// Every method is forwarded, those with a default body too, because `B` may have its own.
impl<B: AsyncBroker> Broker for Blocking<B> {
    waiting! {
        fn place_order(order: &OrderRequest) -> OrderId;
        fn place_sliced(order: &OrderRequest) -> SlicedOrder;
        fn modify_order(id: &OrderId, change: &OrderChange) -> OrderId;
        fn cancel_order(id: &OrderId) -> ();
        fn cancel_order_with(id: &OrderId, cancel: &OrderCancel) -> ();
        fn order_history(id: &OrderId) -> Rows<Order>;
        fn orders() -> Rows<Order>;
        fn trades() -> Rows<Trade>;
        fn order_trades(id: &OrderId) -> Rows<Trade>;
        fn positions() -> Partial<Positions>;
        fn holdings() -> Rows<Holding>;
        fn margins() -> Partial<Margins>;
        fn profile() -> Profile;
        fn instruments(exchange: Option<&Exchange>) -> Rows<InstrumentInfo>;
        fn quotes(instruments: &[Instrument]) -> Quotes;
        fn quotes_of(batch: &QuoteBatch) -> Quotes;
        fn candles(request: &CandleRequest) -> Rows<Candle>;
        fn quote(instrument: &Instrument) -> Quote;
        fn quote_after(instrument: &Instrument, seen: Option<Timestamp>) -> Quote;
        fn ltp(instrument: &Instrument) -> Decimal;
        fn ohlc(instrument: &Instrument) -> Ohlc;
        fn order(id: &OrderId) -> Order;
    }

    fn documented_limits(&self) -> Limits {
        self.broker.documented_limits()
    }

    fn session(&self) -> Option<Session> {
        self.broker.session()
    }

    fn reported_limits(&self) -> Option<ReportedLimits> {
        self.broker.reported_limits()
    }

    fn order_tags(&self) -> OrderTags {
        self.broker.order_tags()
    }

    fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        self.broker.missing_listing(request)
    }

    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        self.broker.quote_batch_limit()
    }
}

/// A runtime of one thread, which drives the connections and the timers. The futures of calls run on the threads that
/// wait for them.
struct BlockingRuntime {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl BlockingRuntime {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("broker")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    fn wait<T>(
        &self,
        call: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        let refused = |why: &str| BrokerError::NotSent(ErrorDetail::new(why).local());
        if Handle::try_current().is_ok() {
            return Err(refused("an async task may not block: await the call of an `AsyncBroker`"));
        }
        let runtime =
            self.runtime.as_ref().ok_or_else(|| refused("the adapter is being dropped"))?;
        runtime.block_on(call)
    }
}

impl Drop for BlockingRuntime {
    /// Does not wait for the runtime's thread. A runtime that is dropped within an async task panics if it waits, and
    /// the last clone of a proxy may be dropped anywhere. No call is under way, since each borrows the runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
