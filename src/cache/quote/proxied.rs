//! The usual stack in one go: a quote cache in front of a proxy.

use std::time::Duration;

use serde::Serialize;

use super::QuoteCache;
use crate::broker::{Broker, BrokerProxy, BrokerProxyBuilder, lanes};
use crate::cache::batch::config::BatchConfig;
use crate::cache::batch::lookup::GetOptions;
use crate::cache::batch::stats::CacheStats;
use crate::proxy::{BuildError, CallOptions, Status};

impl<T: Broker + Send + Sync + 'static> BrokerProxyBuilder<T> {
    /// Puts a [`QuoteCache`] in front of the proxy, in which quotes are fresh for `ttl`. Set the
    /// lanes before.
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
    ///     // Renewed after 4 s, if the quote lane has nothing else to do.
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

/// How a proxy and the quote cache in front of it are doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CachedStatus {
    /// The proxy: its `lanes` and `budgets`.
    #[serde(flatten)]
    pub proxy: Status,
    /// The cache.
    pub quotes: CacheStats,
}

impl<T: Broker + Send + Sync + 'static> QuoteCache<BrokerProxy<T>> {
    /// How the lanes, the budgets and the quotes are doing.
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

/// A proxy with a quote cache in front, to be built.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CachedProxyBuilder<T> {
    proxy: BrokerProxyBuilder<T>,
    config: BatchConfig,
    request_deadline: Option<Duration>,
}

impl<T: Broker + Send + Sync + 'static> CachedProxyBuilder<T> {
    /// Sets whatever else can be set of the cache. The clock is the one of the proxy, and how much
    /// goes into one request, the broker says itself.
    pub fn configure(mut self, tune: impl FnOnce(&mut BatchConfig)) -> Self {
        tune(&mut self.config);
        self
    }

    /// How long a request for quotes may take, with its wait in the lane. One that takes longer
    /// fails for all who wait for it, and the next can go. As long as the broker lets it, by default.
    pub fn request_deadline(mut self, deadline: Duration) -> Self {
        self.request_deadline = Some(deadline);
        self
    }

    /// Starts the lanes.
    ///
    /// # Errors
    /// As for [`BrokerProxyBuilder::build`].
    pub fn build(self) -> Result<QuoteCache<BrokerProxy<T>>, BuildError> {
        let Self { proxy, config: settings, request_deadline: deadline } = self;
        let proxy = proxy.build()?;
        let quote_lane = proxy.lanes().clone();
        let spare = move || {
            let status = quote_lane.lane(lanes::QUOTE).map(|lane| lane.status());
            status
                .is_some_and(|lane| lane.queued == 0 && lane.estimated_wait == Some(Duration::ZERO))
        };
        let options = CallOptions { deadline, ..CallOptions::new() };
        let fetching = proxy.with(options);
        let clock = proxy.lanes().clock().clone();
        let cache = QuoteCache::builder(proxy).configure(|own| *own = settings).clock(clock);
        Ok(cache.fetch_with(fetching).refresh_if(spare).build())
    }
}

impl<T> QuoteCache<BrokerProxy<T>> {
    /// The same proxy and the same memory, with these options for each call that is made through it.
    ///
    /// Of a quote they say how old it may be and how long the caller waits for it. A request for
    /// quotes is everybody's, so it has neither the user nor the priority of one.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use std::time::Duration;
    /// use lanekeeper::broker::{Broker, BrokerProxy, Instrument, MockBroker, Quote};
    /// use lanekeeper::proxy::CallOptions;
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
        let ask = GetOptions { max_age: options.max_age, deadline: options.deadline };
        self.with_broker(self.inner().with(options), ask)
    }
}
