//! Passes the settings of a file to the builders of the layers.

use super::Config;
#[cfg(feature = "async")]
use crate::broker::{AsyncBroker, AsyncBrokerProxyBuilder};
use crate::broker::{Broker, BrokerProxyBuilder};
#[cfg(feature = "async")]
use crate::cache::AsyncCachedProxyBuilder;
use crate::cache::{BatchConfig, CachedProxyBuilder, QuoteCacheBuilder};
use crate::order_guard::OrderGuardBuilder;
use crate::proxy::ProxyConfig;
use crate::stack::StackBuilder;

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

    /// Makes the whole [`Stack`](crate::Stack) of a file: the lanes and budgets, a quote cache, and an order guard. A
    /// table that the file leaves out has its defaults.
    ///
    /// A setter of the lanes before this call is overridden by what the file sets. What a file cannot set, such as a
    /// callback, is set before or after it.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::{BrokerProxy, Config, PaperBroker};
    ///
    /// let config = Config::from_toml(r#"
    ///     preset = "kite"
    ///     [cache]
    ///     ttl = "2s"
    ///     [guard]
    ///     settle_time = "30s"
    ///     [users.alpha]
    ///     deadline = "2s"
    /// "#)?;
    /// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
    ///     .stack(&config)
    ///     .order_guard(|guard| guard.on_turned_up(|late| eprintln!("{} is in the market", late.tag)))
    ///     .build()?;
    /// let alpha = broker.with(config.user("alpha")?);
    /// # let _ = alpha;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stack(self, config: &Config) -> StackBuilder<CachedProxyBuilder<T>> {
        let proxy = self.config(config);
        proxy.quote_cache(config).order_guard(|guard| guard.config(config))
    }
}

#[cfg(feature = "async")]
impl<T: AsyncBroker + 'static> AsyncBrokerProxyBuilder<T> {
    /// Puts an [`AsyncQuoteCache`](crate::AsyncQuoteCache) in front of the proxy, as [`BrokerProxyBuilder::quote_cache`] does
    /// with a [`QuoteCache`](crate::QuoteCache).
    pub fn quote_cache(self, config: &Config) -> AsyncCachedProxyBuilder<T> {
        let changes = &config.cache;
        let cached = self.quote_ttl(BatchConfig::default().ttl);
        let cached = cached.configure(|settings| changes.apply(settings));
        match changes.request_deadline {
            Some(deadline) => cached.request_deadline(deadline),
            None => cached,
        }
    }

    /// Makes the whole [`AsyncStack`](crate::AsyncStack) of a file, as [`BrokerProxyBuilder::stack`] makes a
    /// [`Stack`](crate::Stack).
    pub fn stack(self, config: &Config) -> StackBuilder<AsyncCachedProxyBuilder<T>> {
        let proxy = self.config(config);
        proxy.quote_cache(config).order_guard(|guard| guard.config(config))
    }
}

impl<T: Broker + 'static> StackBuilder<BrokerProxyBuilder<T>> {
    /// Puts a [`QuoteCache`](crate::QuoteCache) between the guard and the proxy, as
    /// [`BrokerProxyBuilder::quote_cache`] does in front of the proxy.
    pub fn quote_cache(self, config: &Config) -> StackBuilder<CachedProxyBuilder<T>> {
        self.map(|proxy| proxy.quote_cache(config))
    }
}

#[cfg(feature = "async")]
impl<T: AsyncBroker + 'static> StackBuilder<AsyncBrokerProxyBuilder<T>> {
    /// Puts an [`AsyncQuoteCache`](crate::AsyncQuoteCache) between the guard and the proxy, as
    /// [`AsyncBrokerProxyBuilder::quote_cache`] does in front of the proxy.
    pub fn quote_cache(self, config: &Config) -> StackBuilder<AsyncCachedProxyBuilder<T>> {
        self.map(|proxy| proxy.quote_cache(config))
    }
}

impl<B> QuoteCacheBuilder<B> {
    /// Applies the table `cache` of a file, except `request_deadline`, which needs a proxy. See
    /// [`BrokerProxyBuilder::quote_cache`].
    pub fn config(self, config: &Config) -> Self {
        self.configure(|settings| config.cache.apply(settings))
    }
}

impl<B, L: ?Sized> OrderGuardBuilder<B, L> {
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
