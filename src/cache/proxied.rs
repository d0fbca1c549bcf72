//! The usual stack in one go: a quote cache in front of a proxy.

use std::time::Duration;

use super::quotes::QuoteCache;
use crate::broker::{Broker, BrokerProxy, BrokerProxyBuilder};
use crate::proxy::BuildError;

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
    ///     .lane("historical", Quota::per_second(3));
    /// let broker = BrokerProxy::builder(MockBroker::new())
    ///     .limits(limits)
    ///     .quote_ttl(Duration::from_secs(5))
    ///     .build()?;
    /// # }
    /// # Ok::<(), lanekeeper::proxy::BuildError>(())
    /// ```
    pub fn quote_ttl(self, ttl: Duration) -> CachedProxyBuilder<T> {
        CachedProxyBuilder { proxy: self, ttl }
    }
}

/// A proxy with a quote cache in front, to be built.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CachedProxyBuilder<T> {
    proxy: BrokerProxyBuilder<T>,
    ttl: Duration,
}

impl<T: Broker + Send + Sync + 'static> CachedProxyBuilder<T> {
    /// Starts the lanes.
    ///
    /// # Errors
    /// As for [`BrokerProxyBuilder::build`].
    pub fn build(self) -> Result<QuoteCache<BrokerProxy<T>>, BuildError> {
        let proxy = self.proxy.build()?;
        let clock = proxy.lanes().clock().clone();
        Ok(QuoteCache::builder(proxy).ttl(self.ttl).clock(clock).build())
    }
}
