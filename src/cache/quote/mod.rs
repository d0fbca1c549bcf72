//! A quote cache in front of a [`Broker`](crate::Broker).
//!
//! - `cache.rs` is the cache, `broker_impl.rs` its implementation of `Broker`.
//! - `fetch.rs` is one request to the inner broker.
//! - `shared.rs` writes and reads the quotes that several processes share (feature `redis`).
//! - `subscription.rs` is an iterator over new quotes.
//! - `proxied.rs` builds a cache together with the paced proxy behind it.
//! - `asynchronous/` is the same cache in front of an [`AsyncBroker`](crate::AsyncBroker) (feature `async`).

#[cfg(feature = "async")]
mod asynchronous;
mod broker_impl;
mod cache;
mod fetch;
mod proxied;
#[cfg(feature = "redis")]
mod shared;
mod subscription;

#[cfg(feature = "async")]
pub use asynchronous::{AsyncCachedProxyBuilder, AsyncQuoteCache, AsyncQuoteSubscription};
pub use cache::{QuoteCache, QuoteCacheBuilder};
pub use proxied::{CachedProxyBuilder, CachedStatus};
pub use subscription::QuoteSubscription;
