//! A read-through cache that fetches in batches: the machinery, for keys and values of any kind.
//!
//! - `cache.rs` is what callers see, `wait.rs` how they wait, `lookup.rs` what they ask for and get.
//! - `core.rs` joins the parts below; `fetcher.rs` is the thread that makes the requests.
//! - `store.rs` holds the values: one snapshot, read without a lock.
//! - `pending.rs` decides which request carries which key; `request.rs` is one request, `keys.rs` its keys, and
//!   `quarantine.rs` remembers keys that a refused request casts doubt on.
//! - `builder.rs` and `config.rs` set it up; `stats.rs` counts; `bounds.rs` names what keys must be able to do.

mod bounds;
pub(super) mod builder;
mod cache;
pub(super) mod config;
mod core;
pub(super) mod fetcher;
mod keys;
pub(super) mod lookup;
mod pending;
mod quarantine;
mod request;
pub(super) mod stats;
pub(super) mod store;
mod wait;

pub use bounds::{Key, Shared};
pub use builder::BatchBuilder;
pub use cache::BatchCache;
pub use config::BatchConfig;
pub use fetcher::Batch;
pub use lookup::{BatchResult, Cached, FetchError, GetOptions, Origin};
pub use stats::CacheStats;
pub use store::CacheFull;
