//! The public API of the batch cache: queries, tracking and invalidation.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::bounds::{Key, Shared};
use super::builder::BatchBuilder;
use super::config::{BatchConfig, Freshness};
use super::core::Core;
use super::fetcher;
use super::lookup::{BatchResult, Cached, FetchError, GetOptions, Origin};
use super::pending::Refresh;
use super::stats::CacheStats;
use super::store::{CacheEntry, CacheFull, Snapshot};
use super::wait::{FoundEntry, Query};
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
    core: Arc<Core<K, V, E>>,
    fetcher: Mutex<Option<JoinHandle<()>>>,
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
        Self { core: Arc::new(core), fetcher: Mutex::default() }
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
        let age_policy = &self.core.age_policy;
        let mut now = self.core.now();
        let deadline = options.deadline.map(|limit| now + limit);
        let mut query = Query { options, started_at: now, deadline, was_request_sent: false };
        let mut found = HashMap::with_capacity(keys.len());
        let mut missing = Vec::new();
        {
            let snapshot = self.core.store.snapshot();
            for key in keys {
                let make = |entry: &Arc<_>, _, origin| FoundEntry::from_memory(entry, origin);
                match self.read_snapshot(&snapshot, key, now, options, make) {
                    Some(found_entry) => drop(found.insert(key.clone(), found_entry)),
                    None => missing.push(key.clone()),
                }
            }
        }
        let mut failed = HashMap::new();
        let mut outgrown = HashMap::new();
        let mut first_pass = true;
        while !missing.is_empty() {
            let stopped = match self.ensure_fetcher_running() {
                Ok(()) => self.core.await_missing(&missing, &mut found, &mut query),
                Err(error) => Some(error),
            };
            now = self.core.now();
            if let Some(error) = stopped {
                // Return a value that was young enough at the query, unless it exceeds the hard
                // limit by now.
                for (key, found_entry) in outgrown {
                    found.entry(key).or_insert(found_entry);
                }
                found.retain(|_, found_entry| !self.exceeds_hard_limit(found_entry, now));
                let unanswered = keys.iter().filter(|key| !found.contains_key(*key));
                failed.extend(unanswered.map(|key| (key.clone(), error.clone())));
                break;
            }
            // The wait took time. A value that is too old by now is fetched again, unless its
            // request was sent after the query began: no later request can be older than that. A
            // value that arrived within the hard limit and outgrew it while the caller waited for
            // other keys is fetched again once.
            let too_old = |(key, found_entry): (&K, &FoundEntry<V, E>)| {
                let age = now.since(found_entry.entry.sent);
                let is_too_old = found_entry.entry.sent < query.started_at
                    && found_entry.entry.freshness(age, age_policy, options) == Freshness::TooOld;
                let outgrew_limit = first_pass
                    && found_entry.arrived_in_time
                    && self.exceeds_hard_limit(found_entry, now);
                (is_too_old || outgrew_limit).then(|| key.clone())
            };
            missing = found.iter().filter_map(too_old).collect();
            outgrown.extend(missing.iter().filter_map(|key| found.remove_entry(key)));
            first_pass = false;
        }
        let mut values = HashMap::with_capacity(found.len());
        for (key, found_entry) in found {
            let FoundEntry { entry, origin, .. } = &found_entry;
            let age = now.since(entry.sent);
            let answer = match self.exceeds_hard_limit(&found_entry, now) {
                true => Err(FetchError::TooOld { age }),
                false => Cached::from_entry(entry, age, *origin),
            };
            if *origin == Origin::Fetched && answer.is_ok() {
                self.core.counters.record_answer(*origin, age);
            }
            match answer {
                Ok(answer) => values.extend(answer.map(|answer| (key, answer))),
                Err(error) => drop(failed.insert(key, error)),
            }
        }
        BatchResult { values, failed }
    }

    /// Returns whether a value exceeds the hard limit and must not be returned to any caller. An
    /// error of the source has no such limit.
    fn exceeds_hard_limit(&self, found_entry: &FoundEntry<V, E>, now: Moment) -> bool {
        found_entry.entry.value().is_ok()
            && now.since(found_entry.entry.sent) > self.core.age_policy.hard_limit()
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
        self.read_snapshot(&self.core.store.snapshot(), key, now, options, make)
    }

    fn read_snapshot<R>(
        &self,
        snapshot: &Snapshot<K, V, E>,
        key: &K,
        now: Moment,
        options: &GetOptions,
        make: impl FnOnce(&Arc<CacheEntry<V, E>>, Duration, Origin) -> R,
    ) -> Option<R> {
        let entry = snapshot.get(key)?;
        let age = now.since(entry.sent);
        let origin = match entry.freshness(age, &self.core.age_policy, options) {
            Freshness::Fresh => Origin::Memory,
            Freshness::RefreshAhead => {
                self.core.request_refresh(key, now, Refresh::Ahead);
                Origin::Memory
            }
            Freshness::Stale => {
                self.core.request_refresh(key, now, Refresh::Stale);
                Origin::Stale
            }
            Freshness::TooOld => return None,
        };
        entry.touch(now);
        self.core.counters.record_answer(origin, entry.value_age(now));
        Some(make(entry, age, origin))
    }

    /// Starts the fetcher thread, if none is running.
    fn ensure_fetcher_running(&self) -> Result<(), FetchError<E>> {
        let mut fetcher = self.fetcher.lock();
        if fetcher.as_ref().is_none_or(JoinHandle::is_finished) {
            let started = fetcher::spawn(&self.core);
            let thread =
                started.map_err(|error| FetchError::NoThread { error: error.to_string() })?;
            *fetcher = Some(thread);
        }
        Ok(())
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
        let fetching = {
            let mut pending = self.core.pending.lock();
            pending.closed = true;
            pending.fetching
        };
        self.core.work_available.notify_all();
        // Do not wait for a request in flight: the thread ends after it.
        if let Some(fetcher) = self.fetcher.get_mut().take().filter(|_| !fetching) {
            if fetcher.thread().id() != std::thread::current().id() {
                // The thread ends on its own, and has caught any panic.
                let _ = fetcher.join();
            }
        }
    }
}

impl<K: Key, V: Shared, E: Shared> fmt::Debug for BatchCache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("BatchCache");
        debug.field("settings", &self.core.config).finish_non_exhaustive()
    }
}
