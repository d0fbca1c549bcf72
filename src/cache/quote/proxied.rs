//! A quote cache and the paced proxy behind it, built together.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::QuoteCache;
use crate::broker::{Broker, BrokerProxy, BrokerProxyBuilder, lanes};
use crate::cache::batch::config::BatchConfig;
use crate::cache::batch::lookup::GetOptions;
use crate::cache::batch::stats::CacheStats;
use crate::lane::{CallOptions, Status, StatusText};
use crate::proxy::{BuildError, Lanes};

impl<T: Broker + Send + Sync + 'static> BrokerProxyBuilder<T> {
    /// Puts a [`QuoteCache`] in front of the proxy, in which quotes are fresh for `ttl`. Configure
    /// the lanes before this call. If the lanes share their quota with other processes, the quotes
    /// are shared as well, unless [`BatchConfig::share`] is off.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use std::time::Duration;
    /// use lanekeeper::broker::{BrokerProxy, MockBroker};
    /// use lanekeeper::quota::{Limits, Quota};
    ///
    /// let limits = Limits::new()
    ///     .lane("transactional", Quota::per_second(10))
    ///     .lane("quote", Quota::per_second(1))
    ///     .lane("historical", Quota::per_second(3))
    ///     .budget("orders", Quota::per_minute(400));
    /// let broker = BrokerProxy::builder(MockBroker::new())
    ///     .limits(limits)
    ///     .quote_ttl(Duration::from_secs(5))
    ///     // Refreshed after 4 s, if the quote lane is idle.
    ///     .configure(|cache| cache.refresh_ahead = Some(0.8))
    ///     .build()?;
    /// # }
    /// # Ok::<(), lanekeeper::proxy::BuildError>(())
    /// ```
    pub fn quote_ttl(self, ttl: Duration) -> CachedProxyBuilder<T> {
        let settings = BatchConfig { ttl, ..BatchConfig::default() };
        CachedProxyBuilder { proxy: self, config: settings, request_deadline: None }
    }
}

/// A point-in-time snapshot of a proxy and the quote cache in front of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CachedStatus {
    /// The proxy: its `lanes` and `budgets`.
    #[serde(flatten)]
    pub proxy: Status,
    /// The counters of the cache.
    pub quotes: CacheStats,
}

/// The lines of the [`Status`], then one for the cache.
impl fmt::Display for CachedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = StatusText::new(&self.proxy);
        text.push("quote cache", self.quotes.to_string());
        text.fmt(f)
    }
}

impl<T: Broker + Send + Sync + 'static> QuoteCache<BrokerProxy<T>> {
    /// Returns a snapshot of the lanes, the budgets and the cache.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use std::time::Duration;
    /// use lanekeeper::broker::{BrokerProxy, MockBroker, lanes};
    /// use lanekeeper::quota::{Limits, Quota};
    ///
    /// let once = |limits: Limits, lane| limits.lane(lane, Quota::per_second(1));
    /// let limits = lanes::ALL.into_iter().fold(Limits::new(), once);
    /// let limits = limits.budget(lanes::ORDERS, Quota::unlimited());
    /// let broker = BrokerProxy::builder(MockBroker::new())
    ///     .limits(limits)
    ///     .quote_ttl(Duration::from_secs(5))
    ///     .build()?;
    /// let status = broker.status();
    /// assert_eq!((status.proxy.lanes.len(), status.quotes.hits), (3, 0));
    /// # }
    /// # Ok::<(), lanekeeper::proxy::BuildError>(())
    /// ```
    pub fn status(&self) -> CachedStatus {
        CachedStatus { proxy: self.inner().status(), quotes: self.stats() }
    }
}

/// A builder for a proxy with a quote cache in front.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CachedProxyBuilder<T> {
    proxy: BrokerProxyBuilder<T>,
    config: BatchConfig,
    request_deadline: Option<Duration>,
}

impl<T: Broker + Send + Sync + 'static> CachedProxyBuilder<T> {
    /// Sets any other setting of the cache. The clock is that of the proxy, and the broker's batch
    /// limit bounds a request.
    pub fn configure(mut self, configure: impl FnOnce(&mut BatchConfig)) -> Self {
        configure(&mut self.config);
        self
    }

    /// Sets how long a request for quotes may take, including its wait in the lane. A request that
    /// takes longer fails for all its waiters, and the next one can be sent. Not set by default.
    pub fn request_deadline(mut self, deadline: Duration) -> Self {
        self.request_deadline = Some(deadline);
        self
    }

    /// Starts the lanes.
    ///
    /// # Errors
    /// Fails like [`BrokerProxyBuilder::build`].
    pub fn build(self) -> Result<QuoteCache<BrokerProxy<T>>, BuildError> {
        let Self { proxy, config: settings, request_deadline: deadline } = self;
        let proxy = proxy.build()?;
        let is_idle = is_quote_lane_idle(proxy.lanes());
        let options = CallOptions { deadline, ..CallOptions::new() };
        let fetch_broker = proxy.with(options);
        let lanes = proxy.lanes().clone();
        let cache = QuoteCache::builder(proxy).configure(|own| *own = settings);
        let cache = cache.clock(lanes.clock().clone()).shared_by(&lanes);
        Ok(cache.fetch_with(fetch_broker).refresh_if(is_idle).build())
    }
}

/// Returns a function that tells whether a request for quotes would be sent at once, ahead of no other call.
pub(super) fn is_quote_lane_idle(lanes: &Lanes) -> impl Fn() -> bool + Send + Sync + use<> {
    let lanes = lanes.clone();
    move || {
        let status = lanes.lane(lanes::QUOTE).map(|lane| lane.status());
        status.is_some_and(|lane| lane.queued == 0 && lane.estimated_wait == Some(Duration::ZERO))
    }
}

impl<T> QuoteCache<BrokerProxy<T>> {
    /// Returns a handle to the same proxy and cache that applies these options to each call.
    ///
    /// For a quote they set how old it may be and how long the caller waits for it. A request for
    /// quotes is shared by all callers, so it has neither the user nor the priority of a single
    /// caller.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use std::time::Duration;
    /// use lanekeeper::broker::{Broker, BrokerProxy, Instrument, MockBroker, Quote};
    /// use lanekeeper::CallOptions;
    /// use lanekeeper::quota::{Limits, Quota};
    /// # use lanekeeper::broker::lanes;
    /// # let unlimited = lanes::ALL.into_iter()
    /// #     .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
    /// #     .budget("orders", Quota::unlimited());
    /// # let mut mock = MockBroker::new();
    /// # mock.expect_quotes().returning(|instruments| {
    /// #     Ok(instruments.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1500))).collect())
    /// # });
    /// # let broker =
    /// #     BrokerProxy::builder(mock).limits(unlimited).quote_ttl(Duration::from_secs(60)).build()?;
    /// let infy = Instrument::new("NSE", "INFY");
    /// let careful = broker.with(CallOptions::new().max_age(Duration::ZERO));
    /// broker.ltp(&infy)?;
    /// assert!(broker.quote(&infy)?.cached);
    /// assert!(!careful.quote(&infy)?.cached);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the cache itself keeps the options it has"]
    pub fn with(&self, options: CallOptions) -> Self {
        let get_options = GetOptions { max_age: options.max_age, deadline: options.deadline };
        self.with_broker(self.inner().with(options), get_options)
    }
}
