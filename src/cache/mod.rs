//! Quotes for a crowd: one request for everyone.
//!
//! A quote lane gives one request a second, and each request takes hundreds of instruments. So a
//! miss fetches not only what was asked for but everything that is tracked and due, whoever waits
//! for the same instrument shares the answer, and what is asked for while the request waits for its
//! turn still goes with it.
//!
//! [`BatchCache`] is the machinery, for keys and values of any kind; [`QuoteCache`] puts it in
//! front of a [`Broker`](crate::broker::Broker).
//!
//! - `memory.rs` is what is known and what is due: one snapshot, read without a lock.
//! - `board.rs` is who asks for what, and which request carries it; `flight.rs` is one request, and
//!   `seats.rs` are its keys.
//! - `doubts.rs` is what a refused request says of its keys and of the source.
//! - `core.rs` joins the two; `fetcher.rs` is the thread that makes the requests.
//! - `batch.rs` is what callers see of it; `wait.rs` is how they wait.
//! - `quotes.rs` is the broker in front; `quote_request.rs` is one request to the broker within.

mod batch;
mod quote;

pub use batch::{
    Batch, BatchBuilder, BatchCache, BatchConfig, BatchResult, CacheFull, CacheStats, Cached,
    FetchError, GetOptions, Key, Origin, Shared,
};
pub use quote::{CachedProxyBuilder, CachedStatus, QuoteCache, QuoteCacheBuilder};
