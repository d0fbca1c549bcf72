//! The builder of a batch cache.

use std::collections::HashMap;
use std::fmt;

use super::BatchCache;
use super::bounds::{Key, Shared};
use super::config::BatchConfig;
use super::core::{CacheHooks, Core};
use super::fetch::{Batch, FetchSource};
use super::shared_store::SharedStore;
#[cfg(feature = "redis")]
use crate::shared_quotes::SharedValues;

/// A builder for a [`BatchCache`] with optional hooks for key weights, split errors and refreshes.
#[must_use = "a builder makes nothing until it is built"]
pub struct BatchBuilder<K, E> {
    pub(super) config: BatchConfig,
    pub(super) hooks: CacheHooks<K, E>,
}

impl<K: Key, E: Shared + Clone> BatchBuilder<K, E> {
    /// Creates a builder with these settings and no hooks.
    pub fn new(settings: BatchConfig) -> Self {
        let hooks = CacheHooks {
            weigher: Box::new(|_| 0),
            split_on: Box::new(|_| false),
            refresh_if: Box::new(|| true),
        };
        Self { config: settings, hooks }
    }

    /// Sets the function that returns the weight of a key within a request. Zero by default.
    pub fn weigher(mut self, weigher: impl Fn(&K) -> usize + Send + Sync + 'static) -> Self {
        self.hooks.weigher = Box::new(weigher);
        self
    }

    /// Sets which errors may be caused by a single key. A request that fails with such an error is
    /// split until the key is found, see [`BatchCache`]. No error by default.
    pub fn split_on(mut self, split_on: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.hooks.split_on = Box::new(split_on);
        self
    }

    /// Sets whether the source has idle capacity for a refresh ahead of time. Always by default.
    pub fn refresh_if(mut self, refresh_if: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.hooks.refresh_if = Box::new(refresh_if);
        self
    }

    /// Builds a cache in front of `fetch`. It returns a value for each key, and omits the keys for
    /// which the source has none.
    pub fn build<V: Shared>(
        self,
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E> + Send + Sync + 'static,
    ) -> BatchCache<K, V, E> {
        self.build_late(move |batch| fetch(&batch.keys()))
    }

    /// Builds a cache like [`build`](Self::build), except that `fetch` decides when the keys are
    /// chosen, by calling [`Batch::keys`]. Use it if `fetch` has to wait before it can send the
    /// request.
    pub fn build_late<V: Shared>(
        self,
        fetch: impl Fn(&Batch<K>) -> Result<HashMap<K, V>, E> + Send + Sync + 'static,
    ) -> BatchCache<K, V, E> {
        self.build_each(move |batch| {
            Ok(fetch(batch)?.into_iter().map(|(key, value)| (key, Ok(value))).collect())
        })
    }

    /// Builds a cache like [`build_late`](Self::build_late), for a source that can fail for single
    /// keys of a request. Callers of such a key get its error as
    /// [`FetchError::KeyFailed`](crate::cache::FetchError::KeyFailed), callers of the other keys
    /// get their values.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use lanekeeper::cache::{BatchBuilder, BatchConfig, FetchError};
    ///
    /// let cache = BatchBuilder::new(BatchConfig::default()).build_each(|batch| {
    ///     let read = |key: &&str| key.parse::<u32>().map_err(|_| format!("{key} is no number"));
    ///     Ok(batch.keys().into_iter().map(|key| (key, read(&key))).collect())
    /// });
    /// let answers = cache.get_many(&["12", "x"]);
    /// assert_eq!(*answers.values["12"].value, 12);
    /// assert_eq!(answers.failed["x"], FetchError::KeyFailed("x is no number".to_owned()));
    /// ```
    pub fn build_each<V: Shared>(
        self,
        fetch: impl Fn(&Batch<K>) -> Result<HashMap<K, Result<V, E>>, E> + Send + Sync + 'static,
    ) -> BatchCache<K, V, E> {
        self.build_with(None, fetch)
    }

    /// Builds a cache like [`build_each`](Self::build_each), which shares its values with the caches of other processes: see
    /// [`SharedValues`].
    ///
    /// A value that another process fetched is used in place of a request if it is young enough for every caller that waits for
    /// it. Its [`Origin`](crate::cache::Origin) is `Shared`. No lookup fails because of Redis: without its answer the cache
    /// fetches for itself.
    #[cfg(feature = "redis")]
    pub fn build_shared<V: Shared>(
        self,
        values: SharedValues<K, V>,
        fetch: impl Fn(&Batch<K>) -> Result<HashMap<K, Result<V, E>>, E> + Send + Sync + 'static,
    ) -> BatchCache<K, V, E>
    where
        K: fmt::Display + std::str::FromStr,
    {
        let store = values.into_store(&self.config.clock, self.config.ttl);
        self.build_with(Some(store), fetch)
    }

    /// Builds a cache that shares its values through a store, if there is one and [`BatchConfig::share`] is on.
    pub(in crate::cache) fn build_with<V: Shared>(
        self,
        shared: Option<Box<dyn SharedStore<K, V>>>,
        fetch: impl Fn(&Batch<K>) -> Result<HashMap<K, Result<V, E>>, E> + Send + Sync + 'static,
    ) -> BatchCache<K, V, E> {
        let source = FetchSource::Thread(Box::new(fetch));
        BatchCache::from_core(Core::new(self.config, self.hooks, source, shared))
    }
}

impl<K, E> fmt::Debug for BatchBuilder<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder").field("settings", &self.config).finish_non_exhaustive()
    }
}
