//! Quotes for a crowd: one request for everyone.
//!
//! A quote lane gives one request a second, and each request takes hundreds of instruments. So a
//! miss fetches not only what was asked for but everything that is tracked, and whoever waits for
//! the same instrument shares the answer.
//!
//! [`BatchCache`] is the machinery, for keys and values of any kind; [`QuoteCache`] puts it in
//! front of a [`Broker`](crate::broker::Broker).

mod batch;
mod board;
mod proxied;
mod quotes;

pub use batch::{BatchCache, BatchSettings, CacheStats, FetchError};
pub use proxied::CachedProxyBuilder;
pub use quotes::{QuoteCache, QuoteCacheBuilder};
