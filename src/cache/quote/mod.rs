//! A [`Broker`](crate::Broker) with a quote cache in front.
//!
//! - `cache.rs` is the cache, `broker_impl.rs` its implementation of `Broker`.
//! - `fetch.rs` is one request to the broker behind it.
//! - `proxied.rs` builds a cache and the paced proxy behind it in one go.

mod broker_impl;
mod cache;
mod fetch;
mod proxied;

pub use cache::{QuoteCache, QuoteCacheBuilder};
pub use proxied::{CachedProxyBuilder, CachedStatus};
