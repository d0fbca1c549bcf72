//! The broker behind the guard of a stack: the lanes, with or without a quote cache.

#[cfg(feature = "async")]
use crate::broker::{AsyncBroker, AsyncBrokerProxy, delegate_async_broker};
use crate::broker::{Broker, BrokerProxy, delegate_broker};
#[cfg(feature = "async")]
use crate::cache::AsyncQuoteCache;
use crate::cache::QuoteCache;
use crate::lane::CallOptions;

/// A proxy, with or without a quote cache in front. One type for both, so that a stack is one type too.
#[derive(Debug, Clone)]
pub(super) enum Paced<P, C> {
    Uncached(P),
    Cached(C),
}

impl<P, C> Paced<P, C> {
    pub(super) fn cache(&self) -> Option<&C> {
        match self {
            Self::Uncached(_) => None,
            Self::Cached(cache) => Some(cache),
        }
    }
}

/// What is behind the guard of a `Stack`.
pub(super) type PacedBroker<T> = Paced<BrokerProxy<T>, QuoteCache<BrokerProxy<T>>>;

impl<T: Broker + 'static> PacedBroker<T> {
    pub(super) fn proxy(&self) -> &BrokerProxy<T> {
        match self {
            Self::Uncached(proxy) => proxy,
            Self::Cached(cache) => cache.inner(),
        }
    }

    /// Returns a handle to the same lanes and cache that applies these options to each call.
    pub(super) fn with(&self, options: CallOptions) -> Self {
        match self {
            Self::Uncached(proxy) => Self::Uncached(proxy.with(options)),
            Self::Cached(cache) => Self::Cached(cache.with(options)),
        }
    }

    fn outermost(&self) -> &dyn Broker {
        match self {
            Self::Uncached(proxy) => proxy,
            Self::Cached(cache) => cache,
        }
    }
}

impl<T: Broker + 'static> Broker for PacedBroker<T> {
    delegate_broker! { to self.outermost() }
}

/// What is behind the guard of an `AsyncStack`.
#[cfg(feature = "async")]
pub(super) type AsyncPacedBroker<T> =
    Paced<AsyncBrokerProxy<T>, AsyncQuoteCache<AsyncBrokerProxy<T>>>;

#[cfg(feature = "async")]
impl<T: AsyncBroker + 'static> AsyncPacedBroker<T> {
    pub(super) fn proxy(&self) -> &AsyncBrokerProxy<T> {
        match self {
            Self::Uncached(proxy) => proxy,
            Self::Cached(cache) => cache.inner(),
        }
    }

    /// Returns a handle to the same lanes and cache that applies these options to each call.
    pub(super) fn with(&self, options: CallOptions) -> Self {
        match self {
            Self::Uncached(proxy) => Self::Uncached(proxy.with(options)),
            Self::Cached(cache) => Self::Cached(cache.with(options)),
        }
    }

    fn outermost(&self) -> &dyn AsyncBroker {
        match self {
            Self::Uncached(proxy) => proxy,
            Self::Cached(cache) => cache,
        }
    }
}

#[cfg(feature = "async")]
#[allow(renamed_and_removed_lints)] // In what async-trait writes for the methods that are forwarded.
#[crate::async_trait]
impl<T: AsyncBroker + 'static> AsyncBroker for AsyncPacedBroker<T> {
    delegate_async_broker! { to self.outermost() }
}
