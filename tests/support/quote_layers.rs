//! A quote cache for threads and one for tasks, behind one interface: a case that is written for both runs in front of a broker
//! whose calls block, and in front of one whose calls are futures.
//!
//! Each thread of a case is then an executor of one task.
#![allow(dead_code)] // Each test binary uses its own part.
#![allow(clippy::unwrap_used, unreachable_pub)]

use std::time::Duration;

#[cfg(feature = "redis")]
use lanekeeper::SharedQuota;
use lanekeeper::broker::{Broker, BrokerError, BrokerProxy, Instrument, MockBroker, Quotes};
use lanekeeper::cache::{BatchConfig, CacheStats, GetOptions, QuoteCache};
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{Lane, Shutdown};
use lanekeeper::quota::Limits;
#[cfg(feature = "redis")]
use lanekeeper::quota::PriorUsage;
use lanekeeper::{CallOptions, LaneConfig};

/// For how long a quote is fresh in a cache in front of lanes with a shared quota: longer than a test takes.
#[cfg(feature = "redis")]
const TTL: Duration = Duration::from_secs(600);

/// How the lanes and the cache are set.
pub struct Setup<'a> {
    pub clock: &'a ManualClock,
    pub limits: Limits,
    pub quote_lane: Option<LaneConfig>,
    pub ttl: Duration,
    pub configure: fn(&mut BatchConfig),
}

/// Threads or tasks.
pub trait Kind {
    type Paced: PacedQuotes;
    type Bare: Quoted;

    fn paced(mock: MockBroker, setup: Setup<'_>) -> Self::Paced;
    /// Returns a cache without a proxy.
    fn bare(mock: MockBroker, clock: &ManualClock, configure: fn(&mut BatchConfig)) -> Self::Bare;
    /// Returns a cache without a proxy that shares its quotes.
    #[cfg(feature = "redis")]
    fn sharing(
        mock: MockBroker,
        clock: &ManualClock,
        quota: &SharedQuota,
        configure: impl FnOnce(&mut BatchConfig),
    ) -> Self::Bare;
    /// Returns a cache in front of lanes that share their quota, in real time.
    #[cfg(feature = "redis")]
    fn paced_by(
        mock: MockBroker,
        limits: Limits,
        quota: SharedQuota,
        configure: impl FnOnce(&mut BatchConfig),
    ) -> Self::Paced;
}

/// A quote cache.
pub trait Quoted: Broker + Clone + Send + Sync + 'static {
    fn with_options(&self, options: GetOptions) -> Self;
    fn stats(&self) -> CacheStats;
    fn subscribe(&self, instruments: &[Instrument]) -> impl News;
    fn invalidate(&self, instrument: &Instrument);
}

/// A subscription.
pub trait News: Iterator<Item = Result<Quotes, BrokerError>> + Send + 'static {
    fn try_next(&mut self) -> Option<Result<Quotes, BrokerError>>;
    fn is_closed(&self) -> bool;
}

/// A quote cache in front of lanes.
pub trait PacedQuotes: Quoted {
    fn with(&self, options: CallOptions) -> Self;
    fn quote_lane(&self) -> &Lane;
    fn shutdown(&self, how: Shutdown);
}

/// Threads that block, and a thread of the cache that fetches.
pub struct Threads;

impl Kind for Threads {
    type Paced = QuoteCache<BrokerProxy<MockBroker>>;
    type Bare = QuoteCache<MockBroker>;

    fn paced(mock: MockBroker, setup: Setup<'_>) -> Self::Paced {
        let Setup { clock, limits, quote_lane, ttl, configure } = setup;
        let proxy = BrokerProxy::builder(mock).limits(limits).clock(clock.clone());
        let proxy = match quote_lane {
            Some(lane) => proxy.quote(lane),
            None => proxy,
        };
        proxy.quote_ttl(ttl).configure(configure).build().unwrap()
    }

    fn bare(mock: MockBroker, clock: &ManualClock, configure: fn(&mut BatchConfig)) -> Self::Bare {
        QuoteCache::builder(mock).configure(configure).clock(clock.clone()).build()
    }

    #[cfg(feature = "redis")]
    fn sharing(
        mock: MockBroker,
        clock: &ManualClock,
        quota: &SharedQuota,
        configure: impl FnOnce(&mut BatchConfig),
    ) -> Self::Bare {
        let cache = QuoteCache::builder(mock).configure(configure).clock(clock.clone());
        cache.shared_quotes(quota).build()
    }

    #[cfg(feature = "redis")]
    fn paced_by(
        mock: MockBroker,
        limits: Limits,
        quota: SharedQuota,
        configure: impl FnOnce(&mut BatchConfig),
    ) -> Self::Paced {
        let proxy = BrokerProxy::builder(mock).limits(limits).prior_usage(PriorUsage::None);
        proxy.shared(quota).quote_ttl(TTL).configure(configure).build().unwrap()
    }
}

impl<B: Broker + 'static> Quoted for QuoteCache<B> {
    fn with_options(&self, options: GetOptions) -> Self {
        Self::with_options(self, options)
    }

    fn stats(&self) -> CacheStats {
        Self::stats(self)
    }

    fn subscribe(&self, instruments: &[Instrument]) -> impl News {
        Self::subscribe(self, instruments)
    }

    fn invalidate(&self, instrument: &Instrument) {
        Self::invalidate(self, instrument);
    }
}

impl News for lanekeeper::cache::QuoteSubscription {
    fn try_next(&mut self) -> Option<Result<Quotes, BrokerError>> {
        Self::try_next(self)
    }

    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }
}

impl PacedQuotes for QuoteCache<BrokerProxy<MockBroker>> {
    fn with(&self, options: CallOptions) -> Self {
        Self::with(self, options)
    }

    fn quote_lane(&self) -> &Lane {
        self.inner().quote_lane()
    }

    fn shutdown(&self, how: Shutdown) {
        self.inner().shutdown(how);
    }
}

#[cfg(feature = "async")]
pub use tasks::Tasks;

#[cfg(feature = "async")]
pub mod tasks {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};

    use lanekeeper::broker::{
        Candle, CandleRequest, Exchange, Holding, InstrumentInfo, Margins, Ohlc, Order,
        OrderChange, OrderId, OrderRequest, OrderTags, Partial, Positions, Profile, Quote, Rows,
        Trade,
    };
    use lanekeeper::cache::{AsyncQuoteCache, AsyncQuoteSubscription};
    use lanekeeper::jiff::Timestamp;
    use lanekeeper::rust_decimal::Decimal;
    use lanekeeper::{AsyncBroker, AsyncBrokerProxy, ImmediateBroker};

    use super::*;

    /// Tasks, which make the requests themselves.
    pub struct Tasks;

    type Inner = ImmediateBroker<MockBroker>;

    impl Kind for Tasks {
        type Paced = Awaited<AsyncQuoteCache<AsyncBrokerProxy<Inner>>>;
        type Bare = Awaited<AsyncQuoteCache<Inner>>;

        fn paced(mock: MockBroker, setup: Setup<'_>) -> Self::Paced {
            let Setup { clock, limits, quote_lane, ttl, configure } = setup;
            let proxy = AsyncBrokerProxy::builder(ImmediateBroker(mock));
            let proxy = proxy.limits(limits).clock(clock.clone());
            let proxy = match quote_lane {
                Some(lane) => proxy.quote(lane),
                None => proxy,
            };
            Awaited(proxy.quote_ttl(ttl).configure(configure).build().unwrap())
        }

        fn bare(
            mock: MockBroker,
            clock: &ManualClock,
            configure: fn(&mut BatchConfig),
        ) -> Self::Bare {
            let cache = AsyncQuoteCache::builder(ImmediateBroker(mock)).configure(configure);
            Awaited(cache.clock(clock.clone()).build_async())
        }

        #[cfg(feature = "redis")]
        fn sharing(
            mock: MockBroker,
            clock: &ManualClock,
            quota: &SharedQuota,
            configure: impl FnOnce(&mut BatchConfig),
        ) -> Self::Bare {
            let cache = AsyncQuoteCache::builder(ImmediateBroker(mock)).configure(configure);
            Awaited(cache.clock(clock.clone()).shared_quotes(quota).build_async())
        }

        #[cfg(feature = "redis")]
        fn paced_by(
            mock: MockBroker,
            limits: Limits,
            quota: SharedQuota,
            configure: impl FnOnce(&mut BatchConfig),
        ) -> Self::Paced {
            let proxy = AsyncBrokerProxy::builder(ImmediateBroker(mock)).limits(limits);
            let proxy = proxy.prior_usage(PriorUsage::None).shared(quota);
            Awaited(proxy.quote_ttl(TTL).configure(configure).build().unwrap())
        }
    }

    struct Unparks(Thread);

    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Runs a future on this thread.
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let waker = Waker::from(Arc::new(Unparks(thread::current())));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            thread::park();
        }
    }

    /// An [`AsyncBroker`] whose calls are awaited on the thread that makes them.
    #[derive(Clone)]
    pub struct Awaited<B>(pub B);

    impl<B: AsyncBroker> Broker for Awaited<B> {
        fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
            block_on(self.0.place_order(order))
        }

        fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
            block_on(self.0.modify_order(id, change))
        }

        fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
            block_on(self.0.cancel_order(id))
        }

        fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
            block_on(self.0.order_history(id))
        }

        fn orders(&self) -> Result<Rows<Order>, BrokerError> {
            block_on(self.0.orders())
        }

        fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
            block_on(self.0.trades())
        }

        fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
            block_on(self.0.positions())
        }

        fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
            block_on(self.0.holdings())
        }

        fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
            block_on(self.0.margins())
        }

        fn profile(&self) -> Result<Profile, BrokerError> {
            block_on(self.0.profile())
        }

        fn instruments(
            &self,
            exchange: Option<&Exchange>,
        ) -> Result<Rows<InstrumentInfo>, BrokerError> {
            block_on(self.0.instruments(exchange))
        }

        fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
            block_on(self.0.candles(request))
        }

        fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
            block_on(self.0.quotes(instruments))
        }

        fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError> {
            block_on(self.0.quote(instrument))
        }

        fn quote_after(
            &self,
            instrument: &Instrument,
            seen: Option<Timestamp>,
        ) -> Result<Quote, BrokerError> {
            block_on(self.0.quote_after(instrument, seen))
        }

        fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError> {
            block_on(self.0.ltp(instrument))
        }

        fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError> {
            block_on(self.0.ohlc(instrument))
        }

        fn order_tags(&self) -> OrderTags {
            self.0.order_tags()
        }
    }

    impl<B: AsyncBroker + 'static> Quoted for Awaited<AsyncQuoteCache<B>> {
        fn with_options(&self, options: GetOptions) -> Self {
            Self(self.0.with_options(options))
        }

        fn stats(&self) -> CacheStats {
            self.0.stats()
        }

        fn subscribe(&self, instruments: &[Instrument]) -> impl News {
            AwaitedNews(self.0.subscribe(instruments))
        }

        fn invalidate(&self, instrument: &Instrument) {
            self.0.invalidate(instrument);
        }
    }

    /// A subscription that is awaited on the thread that asks for its next item.
    struct AwaitedNews(AsyncQuoteSubscription);

    impl Iterator for AwaitedNews {
        type Item = Result<Quotes, BrokerError>;

        fn next(&mut self) -> Option<Self::Item> {
            block_on(self.0.next())
        }
    }

    impl News for AwaitedNews {
        fn try_next(&mut self) -> Option<Result<Quotes, BrokerError>> {
            self.0.try_next()
        }

        fn is_closed(&self) -> bool {
            self.0.is_closed()
        }
    }

    impl PacedQuotes for Awaited<AsyncQuoteCache<AsyncBrokerProxy<Inner>>> {
        fn with(&self, options: CallOptions) -> Self {
            Self(self.0.with(options))
        }

        fn quote_lane(&self) -> &Lane {
            self.0.inner().quote_lane()
        }

        fn shutdown(&self, how: Shutdown) {
            self.0.inner().shutdown(how);
        }
    }
}

/// Makes two tests of each case.
macro_rules! over_threads_and_tasks {
    ($($case:ident)*) => {
        mod over_threads {
            $(#[test]
            fn $case() {
                super::$case::<super::quote_layers::Threads>();
            })*
        }

        #[cfg(feature = "async")]
        mod over_tasks {
            $(#[test]
            fn $case() {
                super::$case::<super::quote_layers::Tasks>();
            })*
        }
    };
}
