//! The quote cache in front of an [`AsyncBroker`](crate::AsyncBroker).
//!
//! It is the batch cache of a [`QuoteCache`](super::QuoteCache), made for tasks. A type of its own, because its subscriptions
//! are awaited, and because a broker that implements both traits would leave open which one is meant.
//!
//! - `cache.rs` is the cache and how it is built, `broker_impl.rs` its implementation of `AsyncBroker`.
//! - `fetch.rs` is one request to the inner broker.
//! - `subscription.rs` waits for new quotes.
//! - `proxied.rs` builds a cache together with the paced proxy behind it.

mod broker_impl;
mod cache;
mod fetch;
mod proxied;
mod subscription;

pub use cache::AsyncQuoteCache;
pub use proxied::AsyncCachedProxyBuilder;
pub use subscription::AsyncQuoteSubscription;
