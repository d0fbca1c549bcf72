//! Passes the settings of a file to the builders of the layers.

use super::Config;
use crate::broker::{Broker, BrokerProxyBuilder};
use crate::cache::{BatchConfig, CachedProxyBuilder, QuoteCacheBuilder};
use crate::order_guard::OrderGuardBuilder;
use crate::proxy::ProxyConfig;

/// The settings of lanes and budgets, for the method `config` of any proxy's builder.
impl From<&Config> for ProxyConfig {
    fn from(config: &Config) -> Self {
        config.settings.clone()
    }
}

impl<T: Broker + Send + Sync + 'static> BrokerProxyBuilder<T> {
    /// Puts a [`QuoteCache`](crate::QuoteCache) in front of the proxy, with the settings of the table `cache` of a
    /// file. What the table leaves out has its default. Set the lanes first.
    pub fn quote_cache(self, config: &Config) -> CachedProxyBuilder<T> {
        let changes = &config.cache;
        let cached = self.quote_ttl(BatchConfig::default().ttl);
        let cached = cached.configure(|settings| changes.apply(settings));
        match changes.request_deadline {
            Some(deadline) => cached.request_deadline(deadline),
            None => cached,
        }
    }
}

impl<B: Broker + 'static> QuoteCacheBuilder<B> {
    /// Applies the table `cache` of a file, except `request_deadline`, which needs a proxy. See
    /// [`BrokerProxyBuilder::quote_cache`].
    pub fn config(self, config: &Config) -> Self {
        self.configure(|settings| config.cache.apply(settings))
    }
}

impl<B: Broker> OrderGuardBuilder<B> {
    /// Applies the table `guard` of a file.
    pub fn config(self, config: &Config) -> Self {
        let changes = &config.guard;
        let guard = match changes.settle_time {
            Some(settle_time) => self.settle_time(settle_time),
            None => self,
        };
        let guard = match changes.caller_tags {
            Some(caller_tags) => guard.caller_tags(caller_tags),
            None => guard,
        };
        // Without the feature, a file that names a journal is refused as it is read.
        #[cfg(feature = "journal")]
        if let Some(path) = &changes.journal {
            return guard.journal(path);
        }
        guard
    }
}
