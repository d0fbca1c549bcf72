//! Batched read-through caching: one request for many callers.
//!
//! A quote lane allows one request a second, and each request takes hundreds of instruments. So a
//! miss fetches not only the keys that the caller asked for, but all tracked keys that are due.
//! Callers that wait for the same instrument share one response. Keys that are requested while a
//! request waits in its lane still join it.
//!
//! - `batch/` holds [`BatchCache`], the machinery, for keys and values of any type.
//! - `quote/` holds [`QuoteCache`], which puts it in front of a [`Broker`](crate::broker::Broker), and with the feature `async`
//!   `AsyncQuoteCache`, which puts it in front of an `AsyncBroker`.
//! - `response/` (feature `responses`) keeps the answers of any proxied method, by its arguments.

mod batch;
mod quote;
#[cfg(feature = "responses")]
pub(crate) mod response;
mod stripe;

#[cfg(feature = "redis")]
pub use crate::shared_quotes::SharedValues;
#[cfg(feature = "redis")]
pub(crate) use batch::shared_store::{
    Claim, Departure, FoundValues, SharedStore, SharedValue, Stamp, Version,
};
pub use batch::{
    Batch, BatchBuilder, BatchCache, BatchConfig, BatchResult, BatchSubscription, CacheFull,
    CacheStats, Cached, FetchError, GetOptions, Key, Origin, Shared,
};
#[cfg(feature = "async")]
pub use quote::{AsyncCachedProxyBuilder, AsyncQuoteCache, AsyncQuoteSubscription};
pub use quote::{
    CachedProxyBuilder, CachedStatus, QuoteCache, QuoteCacheBuilder, QuoteSubscription,
};
#[cfg(feature = "responses")]
pub use response::{ResponseCache, UncachedMethod};
