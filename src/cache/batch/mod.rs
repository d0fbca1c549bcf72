//! A read-through cache that fetches in batches, for keys and values of any type.
//!
//! - `cache.rs` is the public API, `wait.rs` a query of a caller, `lookup.rs` the options and
//!   results.
//! - `watch.rs` is the wait for values newer than those that the caller has, `subscription.rs` an
//!   iterator over them.
//! - `core.rs` joins the parts below. `fetcher.rs` is the thread that sends the requests,
//!   `fetch.rs` what it shares with the source.
//! - `task_fetcher.rs` is in place of that thread for an asynchronous source: the tasks that wait send the requests. `task_cache.rs` has
//!   the lookups of tasks (feature `async`).
//! - `store.rs` holds the entries: one snapshot, read without a lock.
//! - `pending.rs` assigns keys to requests. `request.rs` is one request, `keys.rs` its keys, and
//!   `quarantine.rs` keeps the keys of refused requests.
//! - `sharing.rs` takes values that other processes fetched, from a store that `shared_store.rs` describes. The fetcher calls it,
//!   and for tasks the thread of `task_sharing.rs`.
//! - `builder.rs` and `config.rs` set the cache up, `stats.rs` counts, `bounds.rs` names the bounds
//!   on key and value types.

mod bounds;
pub(super) mod builder;
mod cache;
pub(super) mod config;
mod core;
pub(super) mod fetch;
mod fetcher;
mod keys;
pub(super) mod lookup;
mod pending;
mod quarantine;
mod request;
pub(crate) mod shared_store;
mod sharing;
pub(super) mod stats;
pub(super) mod store;
pub(super) mod subscription;
#[cfg(feature = "async")]
mod task_cache;
#[cfg(feature = "async")]
pub(super) mod task_fetcher;
#[cfg(feature = "async")]
mod task_sharing;
mod wait;
mod watch;

pub use bounds::{Key, Shared};
pub use builder::BatchBuilder;
pub use cache::BatchCache;
pub use config::BatchConfig;
pub use fetch::Batch;
pub use lookup::{BatchResult, Cached, FetchError, GetOptions, Origin};
pub use stats::CacheStats;
pub use store::CacheFull;
pub use subscription::BatchSubscription;
