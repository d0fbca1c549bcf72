//! The public API of the batch cache: queries, tracking and invalidation.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::{Key, Shared};
use super::builder::BatchBuilder;
use super::config::{BatchConfig, Freshness};
use super::core::Core;
use super::lookup::{BatchResult, Cached, FetchError, GetOptions, Origin};
use super::stats::CacheStats;
use super::store::{CacheEntry, CacheFull};
use super::subscription::BatchSubscription;
use super::wait::{FoundEntry, Query, QueryStep};
use super::watch::{NewerWait, Watch};
use crate::quota::Moment;

/// A read-through cache that fetches in batches.
///
/// One request is in flight at a time. A miss joins it if it carries the key and is young enough.
/// Otherwise the miss joins the next request, which accepts keys until it is sent. Each request
/// also carries all tracked keys that are due, up to the batch limit. A key is tracked from its
/// first lookup until it has been idle for [`time_to_idle`](BatchConfig::time_to_idle), or while
/// [`track`](Self::track) names it.
///
/// **Age** counts from just before the request was sent. A returned value is younger than the
/// allowed age, or its request was sent after the query began. It is never older than the hard
/// limit. If a deadline or an error ends the wait for other keys of the same query, a value may
/// have outgrown the allowed age meanwhile.
///
/// **An error** is returned once to every caller that waits for the request, and is not cached.
///
/// **A refusal** may be caused by a single key. The builder sets which errors [are
/// refusals](BatchBuilder::split_on). A refused request is sent again without the keys that no
/// caller waits for, then in halves, down to single keys. Only a key that is refused alone is a bad
/// key. Its callers get the refusal ([`FetchError::KeyFailed`]) from the cache for
/// [`negative_ttl`](BatchConfig::negative_ttl), and after that it is requested alone. All other
/// callers wait for their values, at most until their own deadline. One bad key among n costs at
/// most `2 log2 n + 2` more requests, and requests for trusted keys are sent in between. A source
/// that refuses everything is asked for each awaited key once.
///
/// A thread of the cache sends the requests, so that each caller can stop waiting at its own
/// deadline. The thread starts with the first miss.
///
/// ```
/// use std::collections::HashMap;
/// use lanekeeper::cache::{BatchCache, BatchConfig};
///
/// let cache = BatchCache::new(BatchConfig::default(), |keys: &[u32]| {
///     let known = keys.iter().filter(|key| **key < 10);
///     Ok::<_, String>(known.map(|key| (*key, format!("value {key}"))).collect())
/// });
/// let values = cache.get_many(&[1, 2, 99]).complete()?;
/// assert_eq!(*values[&1].value, "value 1");
/// assert!(!values.contains_key(&99));
/// # Ok::<(), lanekeeper::cache::FetchError<String>>(())
/// ```
pub struct BatchCache<K: Key, V: Shared, E: Shared> {
    pub(super) core: Arc<Core<K, V, E>>,
}

impl<K: Key, V: Shared, E: Shared + Clone> BatchCache<K, V, E> {
    /// Creates an empty cache in front of `fetch`. `fetch` must not query this cache, since it
    /// would wait for itself.
    pub fn new(
        settings: BatchConfig,
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E> + Send + Sync + 'static,
    ) -> Self {
        BatchBuilder::new(settings).build(fetch)
    }

    pub(super) fn from_core(core: Core<K, V, E>) -> Self {
        Self { core: Arc::new(core) }
    }

    /// Returns the value of a key, or `None` if the source has none.
    ///
    /// # Errors
    /// Fails if the request for the key failed, or if the source did not answer for the key.
    pub fn get(&self, key: &K) -> Result<Option<Cached<V>>, FetchError<E>> {
        self.get_with(key, &GetOptions::new())
    }

    /// Returns the value of a key like [`get`](Self::get), with options.
    ///
    /// # Errors
    /// Fails if the request for the key failed, if the source did not answer for the key, or if the
    /// deadline passed.
    pub fn get_with(
        &self,
        key: &K,
        options: &GetOptions,
    ) -> Result<Option<Cached<V>>, FetchError<E>> {
        self.get_cached(key, options, |entry, age, origin| Cached::from_entry(entry, age, origin))
            .unwrap_or_else(|| {
                Ok(self.get_many_with(std::slice::from_ref(key), options).complete()?.remove(key))
            })
    }

    /// Returns the values of `keys`, and an error for each key that has no answer.
    pub fn get_many(&self, keys: &[K]) -> BatchResult<K, V, E> {
        self.get_many_with(keys, &GetOptions::new())
    }

    /// Returns the values of `keys` like [`get_many`](Self::get_many), with options.
    ///
    /// Fresh values come from one snapshot of the cache. For the other keys the caller waits once.
    /// If it has to wait, it takes the fresh keys from the same request too, if the batch limit
    /// allows. Then all values are of one moment.
    ///
    /// The call waits until each key is answered or refused alone. At the deadline it returns the
    /// values that have arrived, and [`TimedOut`](FetchError::TimedOut) for the other keys. If a
    /// request for one of the keys fails, the wait ends, and all keys without an answer get the
    /// error of that request.
    pub fn get_many_with(&self, keys: &[K], options: &GetOptions) -> BatchResult<K, V, E> {
        let mut query = Query::new(&self.core, keys, options);
        loop {
            match query.advance() {
                QueryStep::Wait(request, until) => request.wait(&self.core.config.clock, until),
                QueryStep::Done(result) => return result,
            }
        }
    }

    /// Returns the values of `keys` if all of them are in the cache and young enough. Otherwise it returns
    /// `None`, requests nothing, and counts no lookup. It never waits.
    ///
    /// ```
    /// use lanekeeper::cache::{BatchCache, BatchConfig, GetOptions};
    ///
    /// let cache = BatchCache::new(BatchConfig::default(), |keys: &[&str]| {
    ///     Ok::<_, String>(keys.iter().map(|key| (*key, 7)).collect())
    /// });
    /// let cached = || cache.cached_many(&["a"], &GetOptions::new());
    /// assert!(cached().is_none());
    /// cache.get(&"a")?;
    /// assert_eq!(cached().map(|result| *result.values["a"].value), Some(7));
    /// # Ok::<(), lanekeeper::cache::FetchError<String>>(())
    /// ```
    pub fn cached_many(&self, keys: &[K], options: &GetOptions) -> Option<BatchResult<K, V, E>> {
        let now = self.core.now();
        let snapshot = self.core.store.snapshot();
        let is_usable = |key: &K| {
            snapshot.get(key).is_some_and(|entry| {
                let age = now.since(entry.sent);
                entry.freshness(age, &self.core.age_policy, options) != Freshness::TooOld
            })
        };
        if !keys.iter().all(is_usable) {
            return None;
        }
        let mut found = HashMap::with_capacity(keys.len());
        for key in keys {
            let make = |entry: &Arc<_>, _, origin| FoundEntry::from_memory(entry, origin);
            let entry = self.core.read_snapshot(&snapshot, key, now, options, make)?;
            found.insert(key.clone(), entry);
        }
        Some(self.core.to_result(found, HashMap::new(), now))
    }

    /// Waits for a value of `key` that is newer than one that the caller has, and returns it.
    ///
    /// `seen` is the [`batch`](Cached::batch) of that value. With `None` the call returns what
    /// [`get`](Self::get) does. Otherwise it waits until the value that the cache holds is due: its
    /// `ttl` is over, or the caller's `max_age` if that is less. Then the key is requested as by a
    /// lookup that misses. So any number of callers make one request in each `ttl`. A value that
    /// another caller's request brings meanwhile ends the wait.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use lanekeeper::cache::{BatchCache, BatchConfig};
    /// use lanekeeper::clock::ManualClock;
    ///
    /// let mut settings = BatchConfig::default();
    /// // In virtual time. It advances as soon as all callers wait.
    /// settings.clock = ManualClock::auto_advancing().into();
    /// let cache = BatchCache::new(settings, |keys: &[&str]| {
    ///     Ok::<_, String>(keys.iter().map(|key| (*key, 7)).collect())
    /// });
    /// let mut seen = None;
    /// for _ in 0..3 {
    ///     let value = cache.get_after(&"a", seen)?.expect("the source has it");
    ///     seen = Some(value.batch);
    /// }
    /// assert_eq!((cache.stats().lookups(), cache.stats().batches), (3, 3));
    /// # Ok::<(), lanekeeper::cache::FetchError<String>>(())
    /// ```
    ///
    /// # Errors
    /// Fails like [`get`](Self::get). A loop over a key that fails is no busy loop either. After a
    /// request that failed as a whole, such calls wait for one `ttl` before they request again: at
    /// least 1 s, and no longer than [`negative_ttl`](BatchConfig::negative_ttl) if that is more. An
    /// error that the cache holds for the key, or that the source has nothing for it, is returned
    /// after the same pause.
    pub fn get_after(
        &self,
        key: &K,
        seen: Option<u64>,
    ) -> Result<Option<Cached<V>>, FetchError<E>> {
        self.get_after_with(key, seen, &GetOptions::new())
    }

    /// Waits for a newer value like [`get_after`](Self::get_after), with options.
    ///
    /// # Errors
    /// Fails like [`get_after`](Self::get_after), or if the deadline passed.
    pub fn get_after_with(
        &self,
        key: &K,
        seen: Option<u64>,
        options: &GetOptions,
    ) -> Result<Option<Cached<V>>, FetchError<E>> {
        let mut wait = NewerWait::new(&self.core, key, seen, options);
        loop {
            let outcome = wait.watch.wait(wait.until());
            if let Some(answer) = wait.answer(outcome) {
                return answer;
            }
        }
    }

    pub(in crate::cache) fn now(&self) -> Moment {
        self.core.now()
    }

    /// Returns the number of the request that brought the value of `key`, if the cache holds one for
    /// which `is_seen` holds.
    pub(in crate::cache) fn batch_of(
        &self,
        key: &K,
        is_seen: impl FnOnce(&V) -> bool,
    ) -> Option<u64> {
        let snapshot = self.core.store.snapshot();
        let entry = snapshot.get(key)?;
        entry.value().ok().flatten().is_some_and(|value| is_seen(value)).then_some(entry.batch)
    }

    /// Returns a subscription to the values of `keys`: an iterator that waits, and yields the values
    /// that are new since its last item.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use lanekeeper::cache::{BatchCache, BatchConfig};
    /// use lanekeeper::clock::ManualClock;
    ///
    /// let mut settings = BatchConfig::default();
    /// // In virtual time. It advances as soon as all callers wait.
    /// settings.clock = ManualClock::auto_advancing().into();
    /// let cache = BatchCache::new(settings, |keys: &[&str]| {
    ///     Ok::<_, String>(keys.iter().map(|key| (*key, 7)).collect())
    /// });
    /// for news in cache.subscribe(&["a", "b"]).take(3) {
    ///     assert_eq!(news.values.len(), 2);
    /// }
    /// assert_eq!(cache.stats().batches, 3);
    /// ```
    pub fn subscribe(&self, keys: &[K]) -> BatchSubscription<K, V, E> {
        self.subscribe_with(keys, &GetOptions::new())
    }

    /// Returns a subscription like [`subscribe`](Self::subscribe), with options. Keys are requested
    /// at the rate of `max_age` if that is less than the `ttl`. If nothing is new by the deadline,
    /// which counts from each call of [`next`](Iterator::next), the item has
    /// [`TimedOut`](FetchError::TimedOut) for each key.
    pub fn subscribe_with(&self, keys: &[K], options: &GetOptions) -> BatchSubscription<K, V, E> {
        BatchSubscription::new(Watch::new(&self.core, keys, *options), options.deadline)
    }

    /// Returns the result of `make` for the entry of `key`, if the cache holds one that satisfies
    /// `options`. On a fresh hit it does not allocate or lock, and copies only what `make` copies.
    pub(in crate::cache) fn get_cached<R>(
        &self,
        key: &K,
        options: &GetOptions,
        make: impl FnOnce(&Arc<CacheEntry<V, E>>, Duration, Origin) -> R,
    ) -> Option<R> {
        let now = self.core.now();
        self.core.read_snapshot(&self.core.store.snapshot(), key, now, options, make)
    }

    /// Adds `keys` to every later request that has capacity left, even if no caller asks for them.
    /// Does not send a request.
    ///
    /// # Errors
    /// Fails if more keys would be tracked than [`max_capacity`](BatchConfig::max_capacity). No key
    /// is added then.
    pub fn track(&self, keys: &[K]) -> Result<(), CacheFull> {
        self.core.track(keys)
    }

    /// Stops tracking `keys` and removes their entries. A later lookup tracks a key again. A caller
    /// that already waits for a key gets its value, and its lookup does not count as use.
    pub fn untrack(&self, keys: &[K]) {
        self.core.untrack(keys);
    }

    /// Invalidates a key: its entry, and its value in the request in flight. The next lookup waits
    /// for a request that is sent after this call. A caller that already waits gets the value in
    /// flight. Costs a copy of the whole snapshot.
    pub fn invalidate(&self, key: &K) {
        self.core.invalidate(key);
    }

    /// Returns the lookup and request counters.
    pub fn stats(&self) -> CacheStats {
        self.core.counters.snapshot(self.core.store.snapshot().len())
    }
}

impl<K: Key, V: Shared, E: Shared> Drop for BatchCache<K, V, E> {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl<K: Key, V: Shared, E: Shared> fmt::Debug for BatchCache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("BatchCache");
        debug.field("settings", &self.core.config).finish_non_exhaustive()
    }
}
