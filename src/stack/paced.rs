//! The broker behind the guard of a stack: the lanes, with or without a quote cache.

use std::fmt;

use crate::broker::{Broker, BrokerProxy, delegate_broker};
use crate::cache::QuoteCache;
use crate::lane::CallOptions;

/// The lanes, with or without a quote cache in front. One type for both, so that a stack is one type too.
pub(super) enum PacedBroker<T> {
    Uncached(BrokerProxy<T>),
    Cached(QuoteCache<BrokerProxy<T>>),
}

impl<T> PacedBroker<T> {
    pub(super) fn proxy(&self) -> &BrokerProxy<T> {
        match self {
            Self::Uncached(proxy) => proxy,
            Self::Cached(cache) => cache.inner(),
        }
    }

    pub(super) fn cache(&self) -> Option<&QuoteCache<BrokerProxy<T>>> {
        match self {
            Self::Uncached(_) => None,
            Self::Cached(cache) => Some(cache),
        }
    }
}

impl<T: Broker + 'static> PacedBroker<T> {
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

impl<T> Clone for PacedBroker<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Uncached(proxy) => Self::Uncached(proxy.clone()),
            Self::Cached(cache) => Self::Cached(cache.clone()),
        }
    }
}

impl<T> fmt::Debug for PacedBroker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncached(proxy) => proxy.fmt(f),
            Self::Cached(cache) => cache.fmt(f),
        }
    }
}

impl<T: Broker + 'static> Broker for PacedBroker<T> {
    delegate_broker! { to self.outermost() }
}
