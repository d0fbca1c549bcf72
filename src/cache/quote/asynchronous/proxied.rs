//! A cache and the paced proxy behind it, built together.

use std::time::Duration;

use super::AsyncQuoteCache;
use crate::broker::{AsyncBroker, AsyncBrokerProxy, AsyncBrokerProxyBuilder};
use crate::cache::batch::config::BatchConfig;
use crate::cache::batch::lookup::GetOptions;
use crate::cache::quote::proxied::{CachedStatus, is_quote_lane_idle};
use crate::lane::CallOptions;
use crate::proxy::BuildError;

impl<T: AsyncBroker + 'static> AsyncBrokerProxyBuilder<T> {
    /// Puts an [`AsyncQuoteCache`] in front of the proxy, in which quotes are fresh for `ttl`. Configure the lanes before this
    /// call. If the lanes share their quota with other processes, the quotes are shared as well, unless
    /// [`BatchConfig::share`] is off.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use std::time::Duration;
    /// use lanekeeper::{AsyncBrokerProxy, ImmediateBroker, PaperBroker};
    ///
    /// let broker = AsyncBrokerProxy::builder(ImmediateBroker(PaperBroker::builder().build()?))
    ///     .quote_ttl(Duration::from_secs(5))
    ///     .configure(|cache| cache.max_age = Some(Duration::from_secs(30)))
    ///     .request_deadline(Duration::from_secs(10))
    ///     .build()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quote_ttl(self, ttl: Duration) -> AsyncCachedProxyBuilder<T> {
        let settings = BatchConfig { ttl, ..BatchConfig::default() };
        AsyncCachedProxyBuilder { proxy: self, config: settings, request_deadline: None }
    }
}

/// A builder for a proxy of an [`AsyncBroker`] with a quote cache in front.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AsyncCachedProxyBuilder<T> {
    proxy: AsyncBrokerProxyBuilder<T>,
    config: BatchConfig,
    request_deadline: Option<Duration>,
}

impl<T: AsyncBroker + 'static> AsyncCachedProxyBuilder<T> {
    /// Sets any other setting of the cache. The clock is that of the proxy, and the broker's batch
    /// limit bounds a request.
    pub fn configure(mut self, configure: impl FnOnce(&mut BatchConfig)) -> Self {
        configure(&mut self.config);
        self
    }

    /// Sets how long a request for quotes may take, including its wait in the lane. A request that
    /// takes longer is dropped and fails for all its waiters, and the next one can be sent. Not set by default.
    pub fn request_deadline(mut self, deadline: Duration) -> Self {
        self.request_deadline = Some(deadline);
        self
    }

    /// Starts the lanes.
    ///
    /// # Errors
    /// Fails like [`AsyncBrokerProxyBuilder::build`].
    pub fn build(self) -> Result<AsyncQuoteCache<AsyncBrokerProxy<T>>, BuildError> {
        let Self { proxy, config: settings, request_deadline: deadline } = self;
        let proxy = proxy.build()?;
        let is_idle = is_quote_lane_idle(proxy.lanes());
        let fetch_broker = proxy.with(CallOptions { deadline, ..CallOptions::new() });
        let lanes = proxy.lanes().clone();
        let cache = AsyncQuoteCache::builder(proxy).configure(|own| *own = settings);
        let cache = cache.clock(lanes.clock().clone()).shared_by(&lanes);
        Ok(cache.fetch_with(fetch_broker).refresh_if(is_idle).build_with_deadline(deadline))
    }
}

impl<T: AsyncBroker + 'static> AsyncQuoteCache<AsyncBrokerProxy<T>> {
    /// Returns a snapshot of the lanes, the budgets and the cache.
    pub fn status(&self) -> CachedStatus {
        CachedStatus { proxy: self.inner().status(), quotes: self.stats() }
    }
}

impl<T> AsyncQuoteCache<AsyncBrokerProxy<T>> {
    /// Returns a handle to the same proxy and cache that applies these options to each call, like
    /// [`QuoteCache::with`](crate::QuoteCache::with).
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use std::time::Duration;
    /// use lanekeeper::{AsyncBrokerProxy, CallOptions, ImmediateBroker, PaperBroker};
    ///
    /// let broker = AsyncBrokerProxy::builder(ImmediateBroker(PaperBroker::builder().build()?))
    ///     .quote_ttl(Duration::from_secs(5))
    ///     .build()?;
    /// // A price no older than 1 s, and an error after 3 s.
    /// let second = Duration::from_secs(1);
    /// let careful = broker.with(CallOptions::new().max_age(second).deadline(3 * second));
    /// # let _ = careful;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the cache itself keeps the options it has"]
    pub fn with(&self, options: CallOptions) -> Self {
        let get_options = GetOptions { max_age: options.max_age, deadline: options.deadline };
        self.with_broker(self.inner().with(options), get_options)
    }
}
