//! The cache: lookups by tasks, and what it shares with a `QuoteCache`.

use std::fmt;
use std::future::Future;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::AsyncQuoteSubscription;
use super::fetch::Requests;
use crate::broker::{AsyncBroker, BrokerError, Instrument, Quote, Quotes};
use crate::cache::batch::lookup::GetOptions;
use crate::cache::batch::stats::CacheStats;
use crate::cache::batch::store::CacheFull;
use crate::cache::quote::cache::{QuoteCacheBuilder, QuoteRef, made_of, to_quotes};
use crate::cache::quote::{QuoteCache, QuoteSubscription};
use crate::proxy::{HasLanes, Lanes};

/// A [`QuoteCache`] for an [`AsyncBroker`]: it returns quotes from memory while they are fresh, and fetches many at once
/// otherwise. All other calls are forwarded to the inner broker.
///
/// Ages, batches, refused names, limits and counters are those of a [`QuoteCache`], and so are the settings of its
/// [builder](Self::builder). A clone shares the cache. Any executor will do, also one with a single thread.
///
/// **No thread makes the requests.** The tasks that wait for quotes poll the request, in place of a thread of the cache. If the
/// task that does so is dropped, or has reached its deadline, another one that waits goes on with the same request. If none
/// waits any more, the request is dropped: one that waits in its lane is not sent, one that was sent counts as lost, and its
/// quotes are not kept. If that task is alive but not polled, those that wait already may wait until their deadlines, and
/// a task that comes later takes over. A request begins after all tasks were polled that were ready to run, so a crowd of them
/// makes one request. Since any of the tasks may poll a request, let them run where the futures of the client can be polled: with
/// most clients, in one runtime.
///
/// **Refreshes that no caller waits for** need a task: [`refreshes`](Self::refreshes). Without it
/// [`stale_while_revalidate`](crate::cache::BatchConfig::stale_while_revalidate) counts as zero, and
/// [`refresh_ahead`](crate::cache::BatchConfig::refresh_ahead) waits for the next request.
///
/// **Several processes** share quotes through it as through a [`QuoteCache`]: if `quote_ttl` has put it in front of lanes that
/// share their quota, or with `QuoteCacheBuilder::shared_quotes`, unless
/// [`BatchConfig::share`](crate::cache::BatchConfig::share) is off. A thread of the cache makes the trips to Redis. It starts with
/// the first request, and ends with the last handle. A lookup that waits for Redis blocks no executor, and ends at its deadline.
/// **The drop of the last handle blocks** until quotes that have just come are shared: for the time limits of two trips, if Redis
/// hangs.
///
/// ```
/// # #[cfg(feature = "mock")] {
/// use lanekeeper::broker::{AsyncBroker, BrokerError, ImmediateBroker, Instrument, MockBroker, Quote};
/// use lanekeeper::AsyncQuoteCache;
///
/// # let block_on = |future: std::pin::Pin<Box<dyn Future<Output = Result<(), BrokerError>>>>| {
/// #     let mut future = future;
/// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop {
/// #         if let std::task::Poll::Ready(result) = future.as_mut().poll(&mut context) {
/// #             return result;
/// #         }
/// #     }
/// # };
/// let mut mock = MockBroker::new();
/// // Called once for two lookups.
/// mock.expect_quotes().times(1).returning(|instruments| {
///     Ok(instruments.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1500))).collect())
/// });
/// let broker = AsyncQuoteCache::new(ImmediateBroker(mock));
/// # block_on(Box::pin(async move {
/// let infy = Instrument::new("NSE", "INFY");
/// assert_eq!(broker.ltp(&infy).await?, broker.quote(&infy).await?.last_price);
/// assert!(broker.quote(&infy).await?.cached);
/// # Ok(())
/// # }))?;
/// # }
/// # Ok::<(), lanekeeper::broker::BrokerError>(())
/// ```
pub struct AsyncQuoteCache<B> {
    /// The broker of `cache`.
    pub(super) inner: Arc<B>,
    /// Its blocking methods are not called: no thread would make the requests.
    cache: QuoteCache<B>,
}

impl<B> Clone for AsyncQuoteCache<B> {
    fn clone(&self) -> Self {
        Self::from_cache(self.cache.clone())
    }
}

impl<B> fmt::Debug for AsyncQuoteCache<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncQuoteCache")
            .field("options", &self.cache.options)
            .finish_non_exhaustive()
    }
}

impl<B: HasLanes> HasLanes for AsyncQuoteCache<B> {
    fn lanes(&self) -> &Lanes {
        self.cache.lanes()
    }
}

impl<B: AsyncBroker + 'static> AsyncQuoteCache<B> {
    /// Creates a cache with the default settings: quotes are fresh for 5 s.
    pub fn new(inner: B) -> Self {
        Self::builder(inner).build_async()
    }

    /// Returns a builder of a cache, which [`build_async`](QuoteCacheBuilder::build_async) ends.
    pub fn builder(inner: B) -> QuoteCacheBuilder<B> {
        QuoteCacheBuilder::new(inner)
    }
}

impl<B: AsyncBroker + 'static> QuoteCacheBuilder<B> {
    /// Builds a cache in front of an [`AsyncBroker`].
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use std::time::Duration;
    /// use lanekeeper::AsyncQuoteCache;
    /// use lanekeeper::broker::{ImmediateBroker, MockBroker};
    ///
    /// let broker = AsyncQuoteCache::builder(ImmediateBroker(MockBroker::new()))
    ///     .ttl(Duration::from_secs(2))
    ///     .max_capacity(500)
    ///     .build_async();
    /// # }
    /// ```
    pub fn build_async(self) -> AsyncQuoteCache<B> {
        self.build_with_deadline(None)
    }

    /// Builds a cache whose requests take `deadline` at most.
    pub(super) fn build_with_deadline(self, deadline: Option<Duration>) -> AsyncQuoteCache<B> {
        let (clock, limit) = (self.config.clock.clone(), self.inner.quote_batch_limit());
        let shared = self.shared_store();
        let (builder, inner, fetch_broker) = self.into_parts(limit);
        let requests = Requests::new(fetch_broker, clock, deadline);
        let cache = builder.build_for_tasks(shared, move |batch| requests.send(batch));
        AsyncQuoteCache::from_cache(QuoteCache::from_parts(inner, cache))
    }
}

impl<B> AsyncQuoteCache<B> {
    fn from_cache(cache: QuoteCache<B>) -> Self {
        Self { inner: cache.shared_inner(), cache }
    }

    /// Returns a handle to the same cache, with another handle to the same broker.
    pub(super) fn with_broker(&self, inner: B, options: GetOptions) -> Self {
        Self::from_cache(self.cache.with_broker(inner, options))
    }

    /// Returns the inner broker.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Returns the lanes of the proxy behind the cache, for example to send a call that no trait declares.
    pub fn lanes(&self) -> &Lanes
    where
        B: HasLanes,
    {
        self.cache.lanes()
    }

    /// Returns the lookup and request counters.
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Returns a handle to the same cache that applies these options to each quote.
    #[must_use = "the cache itself keeps the options it has"]
    pub fn with_options(&self, options: GetOptions) -> Self {
        Self::from_cache(self.cache.with_options(options))
    }

    /// Adds `instruments` to every later request that has capacity left, like [`QuoteCache::track`].
    ///
    /// # Errors
    /// Fails if more instruments would be tracked than the cache may hold. None is added then.
    pub fn track(&self, instruments: &[Instrument]) -> Result<(), CacheFull> {
        self.cache.track(instruments)
    }

    /// Stops tracking `instruments` and removes their quotes. A later lookup tracks them again.
    pub fn untrack(&self, instruments: &[Instrument]) {
        self.cache.untrack(instruments);
    }

    /// Invalidates a quote. The next lookup waits for a request that is sent after this call.
    pub fn invalidate(&self, instrument: &Instrument) {
        self.cache.invalidate(instrument);
    }

    /// Returns a subscription to the quotes of `instruments`, like [`QuoteCache::subscribe`]: it is awaited for the quotes that are
    /// new since its last item.
    ///
    /// ```
    /// # use lanekeeper::broker::{AsyncBroker, BrokerError};
    /// use lanekeeper::{AsyncQuoteCache, Instrument};
    ///
    /// async fn follow<B: AsyncBroker>(broker: AsyncQuoteCache<B>) -> Result<(), BrokerError> {
    ///     let watched = ["YESBANK", "JUNIORBEES"].map(|symbol| Instrument::new("NSE", symbol));
    ///     let mut news = broker.subscribe(&watched);
    ///     while let Some(quotes) = news.next().await {
    ///         println!("{} new quotes", quotes?.len());
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = follow::<lanekeeper::ImmediateBroker<Box<dyn lanekeeper::Broker>>>;
    /// ```
    pub fn subscribe(&self, instruments: &[Instrument]) -> AsyncQuoteSubscription {
        let updates = self.cache.cache.subscribe_with(instruments, &self.cache.options);
        AsyncQuoteSubscription(QuoteSubscription::new(instruments, updates))
    }

    /// Returns a future that makes the refreshes that no caller waits for: those of
    /// [`stale_while_revalidate`](crate::cache::BatchConfig::stale_while_revalidate) and
    /// [`refresh_ahead`](crate::cache::BatchConfig::refresh_ahead). Spawn it on your executor. It is ready when the last handle to
    /// the cache is dropped, and keeps the broker until then.
    ///
    /// ```
    /// # use lanekeeper::AsyncQuoteCache;
    /// # use lanekeeper::broker::AsyncBroker;
    /// # fn start<B: AsyncBroker + 'static>(broker: &AsyncQuoteCache<B>) {
    /// tokio::spawn(broker.refreshes());
    /// # }
    /// ```
    pub fn refreshes(&self) -> impl Future<Output = ()> + Send + use<B> {
        self.cache.cache.task_refresh()
    }

    pub(super) async fn read_quote<R>(
        &self,
        instrument: &Instrument,
        make: impl Fn(QuoteRef<'_>) -> Option<R>,
    ) -> Result<R, BrokerError> {
        if let Some(cached) = self.cache.cached_quote(instrument, &make) {
            return cached;
        }
        let result =
            self.cache.cache.task_get_many(from_ref(instrument), &self.cache.options).await;
        made_of(instrument, result.complete().map(|mut values| values.remove(instrument)), make)
    }

    pub(super) async fn read_quotes(
        &self,
        instruments: &[Instrument],
    ) -> Result<Quotes, BrokerError> {
        let result = self.cache.cache.task_get_many(instruments, &self.cache.options).await;
        to_quotes(instruments, result)
    }

    pub(super) async fn read_quote_after(
        &self,
        instrument: &Instrument,
        seen: Option<Timestamp>,
    ) -> Result<Quote, BrokerError> {
        let (began, cache) = (self.cache.cache.now(), &self.cache.cache);
        let known = self.cache.seen_batch(instrument, seen);
        let mut newer = cache.task_get_after(instrument, known, &self.cache.options).await;
        if let Some((known, options)) = self.cache.wait_again(&newer, seen, began) {
            newer = cache.task_get_after(instrument, Some(known), &options).await;
        }
        made_of(instrument, newer, |quoted| Some(quoted.to_quote()))
    }
}
