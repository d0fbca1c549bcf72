//! What the fetcher and the fetch function share: the batch to fetch, and where its keys come from.
//!
//! `core.rs` implements [`KeySource`]. `fetcher.rs` hands a [`Batch`] to the [`Fetch`] function, and `task_fetcher.rs` one to a
//! function that returns a future. The keys are chosen when the function calls [`Batch::keys`], and not before.

use std::collections::HashMap;
use std::fmt;
use std::sync::Weak;

#[cfg(feature = "async")]
use super::task_fetcher::TaskFetcher;
use crate::quota::Moment;

/// What a fetch returns. A key with neither a value nor an error is one that the source has nothing
/// for.
pub(super) type Fetched<K, V, E> = Result<HashMap<K, Result<V, E>>, E>;

/// The fetch function.
pub(super) type Fetch<K, V, E> = dyn Fn(&Batch<K>) -> Fetched<K, V, E> + Send + Sync + 'static;

/// What makes the fetches.
pub(super) enum FetchSource<K, V, E> {
    /// A thread of the cache, which calls this function.
    Thread(Box<Fetch<K, V, E>>),
    /// The tasks that wait. They poll the futures of a function.
    #[cfg(feature = "async")]
    Tasks(TaskFetcher<K, V, E>),
}

/// The source of the keys of a fetch.
pub(super) trait KeySource<K>: Send + Sync {
    fn take_keys(&self, generation: u64) -> Vec<K>;
    /// Returns the keys that were handed out.
    fn taken_keys(&self, generation: u64) -> Vec<K>;
    fn sent(&self, generation: u64) -> Option<Moment>;
}

/// A request to be sent. [`keys`](Self::keys) chooses its keys, so call it as late as possible.
pub struct Batch<K> {
    // Weak, because a queue that the cache keeps alive may hold the batch for long.
    source: Weak<dyn KeySource<K>>,
    generation: u64,
}

impl<K> Batch<K> {
    pub(super) fn new(source: Weak<dyn KeySource<K>>, generation: u64) -> Self {
        Self { source, generation }
    }

    /// Chooses and returns the keys. Send the request at once, because the age of its values counts
    /// from here. A repeated call, for a repeated request, returns the same keys. If no key is
    /// wanted any more, the result is empty, and no request need be sent.
    pub fn keys(&self) -> Vec<K> {
        self.source.upgrade().map(|source| source.take_keys(self.generation)).unwrap_or_default()
    }

    /// Returns the keys that were chosen, if any. Does not choose them.
    pub(in crate::cache) fn taken_keys(&self) -> Vec<K> {
        self.source.upgrade().map(|source| source.taken_keys(self.generation)).unwrap_or_default()
    }

    /// Returns when the keys were chosen, or `None` if they were not.
    pub fn sent(&self) -> Option<Moment> {
        self.source.upgrade()?.sent(self.generation)
    }
}

impl<K> Clone for Batch<K> {
    fn clone(&self) -> Self {
        Self { source: Weak::clone(&self.source), generation: self.generation }
    }
}

impl<K> fmt::Debug for Batch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("generation", &self.generation).finish_non_exhaustive()
    }
}
