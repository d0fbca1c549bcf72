//! From settings to a cache.

use std::collections::HashMap;
use std::fmt;

use super::BatchCache;
use super::bounds::{Key, Shared};
use super::config::BatchConfig;
use super::core::{CacheHooks, Core};
use super::fetcher::Batch;

/// Sets up a [`BatchCache`] that is told more of its keys and its source.
#[must_use = "a builder makes nothing until it is built"]
pub struct BatchBuilder<K, E> {
    config: BatchConfig,
    hooks: CacheHooks<K, E>,
}

impl<K: Key, E: Shared + Clone> BatchBuilder<K, E> {
    /// Nothing is told yet beside the settings.
    pub fn new(settings: BatchConfig) -> Self {
        let hooks = CacheHooks {
            weigher: Box::new(|_| 0),
            split_on: Box::new(|_| false),
            refresh_if: Box::new(|| true),
        };
        Self { config: settings, hooks }
    }

    /// What a key adds to the weight of a request. Nothing by default.
    pub fn weigher(mut self, weigh: impl Fn(&K) -> usize + Send + Sync + 'static) -> Self {
        self.hooks.weigher = Box::new(weigh);
        self
    }

    /// Which errors may be for the sake of one key. A request that fails with one is made again in
    /// parts, until the key is found; see [`BatchCache`]. None by default.
    pub fn split_on(mut self, refuses: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.hooks.split_on = Box::new(refuses);
        self
    }

    /// Whether the source has capacity to spare for a refresh in advance. Always, by default.
    pub fn refresh_if(mut self, spare: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.hooks.refresh_if = Box::new(spare);
        self
    }

    /// A cache in front of `fetch`, which gives a value for each key that it is asked for, and none
    /// where there is none.
    pub fn build<V: Shared>(
        self,
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E> + Send + Sync + 'static,
    ) -> BatchCache<K, V, E> {
        self.build_late(move |batch| fetch(&batch.keys()))
    }

    /// As [`build`](Self::build), but `fetch` chooses when the keys are chosen, by
    /// [`Batch::keys`]: for one that has to wait before it can ask.
    pub fn build_late<V: Shared>(
        self,
        fetch: impl Fn(&Batch<K>) -> Result<HashMap<K, V>, E> + Send + Sync + 'static,
    ) -> BatchCache<K, V, E> {
        self.build_each(move |batch| {
            Ok(fetch(batch)?.into_iter().map(|(key, value)| (key, Ok(value))).collect())
        })
    }

    /// As [`build_late`](Self::build_late), for a source that may fail for one key and answer for the
    /// others of the same request. Those who ask for that key are told its error, as
    /// [`FetchError::KeyFailed`](crate::cache::FetchError::KeyFailed), and the others have their values.
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
        BatchCache::from_core(Core::new(self.config, self.hooks, Box::new(fetch)))
    }
}

impl<K, E> fmt::Debug for BatchBuilder<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder").field("settings", &self.config).finish_non_exhaustive()
    }
}
