//! What callers see of the batched cache: questions, and the wait for their answers.

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
/// One request is under way at a time. A miss joins it if it carries the key and is young enough, or
/// else the next one, which takes keys until it is really sent. Each request takes along all that is
/// tracked and due, as long as there is room. A key is tracked from the first time that somebody asks
/// for it until nobody has for a while, or for as long as [`track`](Self::track) says.
///
/// **Age** counts from before the request was sent. An answer is either younger than what is allowed,
/// or to a request that was sent after the question; and it is never older than the hard limit. If a
/// deadline or an error ends the wait for other keys of the same question, an answer may have grown older
/// than what is allowed meanwhile.
///
/// **An error** is told to all who waited for that request, once, and is not kept.
///
/// **A refusal** may be for the sake of one key. Where the builder says which errors
/// [are refusals](BatchBuilder::split_on), a request that is refused is made again without the keys that
/// nobody waits for, and then in halves, down to single keys. Only a key that is refused when it is asked
/// for alone is a bad one: those who ask for it are told the refusal ([`FetchError::KeyFailed`]), for
/// [`negative_ttl`](BatchConfig::negative_ttl) from memory, and after that it is asked for alone. All others
/// wait until they are answered, or until their own deadline. One bad key among n costs `2 log2 n + 2` more
/// requests at most, and requests for keys of which nothing bad is known go in between. A source that
/// refuses everything is asked for each key that somebody waits for, once.
///
/// The requests are made by a thread of the cache's own, so that whoever waits can leave at a
/// deadline. It starts with the first miss.
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
    /// An empty cache in front of `fetch`. It must not ask this cache in its turn: it would wait for
    /// itself.
    pub fn new(
        settings: BatchConfig,
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E> + Send + Sync + 'static,
    ) -> Self {
        BatchBuilder::new(settings).build(fetch)
    }

    pub(super) fn from_core(core: Core<K, V, E>) -> Self {
        Self { core: Arc::new(core), fetcher: Mutex::default() }
    }

    /// The value of one key: `None` if the source has none.
    ///
    /// # Errors
    /// The request for it failed, or the source did not answer for it.
    pub fn get(&self, key: &K) -> Result<Option<Cached<V>>, FetchError<E>> {
        self.get_with(key, &GetOptions::new())
    }

    /// As [`get`](Self::get), with demands.
    ///
    /// # Errors
    /// The request for it failed, or the source did not answer for it, or not in time.
    pub fn get_with(&self, key: &K, ask: &GetOptions) -> Result<Option<Cached<V>>, FetchError<E>> {
        self.get_cached(key, ask, |entry, age, origin| Cached::from_entry(entry, age, origin))
            .unwrap_or_else(|| {
                Ok(self.get_many_with(std::slice::from_ref(key), ask).complete()?.remove(key))
            })
    }

    /// The values of `keys`, and why a key has no answer.
    pub fn get_many(&self, keys: &[K]) -> BatchResult<K, V, E> {
        self.get_many_with(keys, &GetOptions::new())
    }

    /// As [`get_many`](Self::get_many), with demands.
    ///
    /// What is fresh in memory is answered from there, all of one moment; for the rest it waits once.
    /// If it has to wait, it takes the others from the same request too, where that has room for
    /// them: then all are of one moment.
    ///
    /// It waits until each key is answered, or refused alone. At the deadline it gives what has come, and
    /// the other keys have [`TimedOut`](FetchError::TimedOut). If a request for one of the keys fails, it
    /// waits no longer, and all that have no answer yet have the error of that request.
    pub fn get_many_with(&self, keys: &[K], ask: &GetOptions) -> BatchResult<K, V, E> {
        let ages = &self.core.age_policy;
        let mut now = self.core.now();
        let until = ask.deadline.map(|limit| now + limit);
        let mut asking =
            Query { options: ask, started_at: now, deadline: until, was_request_sent: false };
        let mut known = HashMap::with_capacity(keys.len());
        let mut missing = Vec::new();
        {
            let shown = self.core.store.snapshot();
            for key in keys {
                let held = |entry: &Arc<_>, _, origin| FoundEntry::from_memory(entry, origin);
                match self.read_snapshot(&shown, key, now, ask, held) {
                    Some(held) => drop(known.insert(key.clone(), held)),
                    None => missing.push(key.clone()),
                }
            }
        }
        let mut failed = HashMap::new();
        let mut outgrown = HashMap::new();
        let mut may_be_late = true;
        while !missing.is_empty() {
            let stopped = match self.ensure_fetcher_running() {
                Ok(()) => self.core.await_missing(&missing, &mut known, &mut asking),
                Err(error) => Some(error),
            };
            now = self.core.now();
            if let Some(error) = stopped {
                // What was young enough when it was asked for is given, unless it is too old for anyone.
                for (key, held) in outgrown {
                    known.entry(key).or_insert(held);
                }
                known.retain(|_, held| !self.exceeds_hard_limit(held, now));
                let unanswered = keys.iter().filter(|key| !known.contains_key(*key));
                failed.extend(unanswered.map(|key| (key.clone(), error.clone())));
                break;
            }
            // It took its time. What is too old by now, and is not the answer to a request that was
            // sent after the question, is asked for again; no later request can be older than that.
            // What came in time, and grew too old while it waited for the others, is asked for once more.
            let too_old = |(key, held): (&K, &FoundEntry<V, E>)| {
                let age = now.since(held.entry.sent);
                let old = held.entry.sent < asking.started_at
                    && held.entry.freshness(age, ages, ask) == Freshness::TooOld;
                let late =
                    may_be_late && held.arrived_in_time && self.exceeds_hard_limit(held, now);
                (old || late).then(|| key.clone())
            };
            missing = known.iter().filter_map(too_old).collect();
            outgrown.extend(missing.iter().filter_map(|key| known.remove_entry(key)));
            may_be_late = false;
        }
        let mut values = HashMap::with_capacity(known.len());
        for (key, held) in known {
            let FoundEntry { entry, origin, .. } = &held;
            let age = now.since(entry.sent);
            let answer = match self.exceeds_hard_limit(&held, now) {
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

    /// Whether it may not be given to anyone any more. What the source said of its own failure has no
    /// such limit.
    fn exceeds_hard_limit(&self, held: &FoundEntry<V, E>, now: Moment) -> bool {
        held.entry.value().is_ok() && now.since(held.entry.sent) > self.core.age_policy.hard_limit()
    }

    /// What is made of the answer for `key`, if memory has one that satisfies `ask`. Allocates
    /// nothing, takes no lock, and copies nothing that `make` does not.
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

    /// Starts the fetcher, if none runs.
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

    /// Fetches `keys` along with every request from now on that has room, whether anybody asks for
    /// them or not. It makes no request by itself.
    ///
    /// # Errors
    /// There would be more of them than the cache may remember; none was added.
    pub fn track(&self, keys: &[K]) -> Result<(), CacheFull> {
        self.core.track(keys)
    }

    /// Forgets `keys`, and what is known of them. They are tracked again once somebody asks. Whoever
    /// waits for one already is answered, which does not count as asking.
    pub fn untrack(&self, keys: &[K]) {
        self.core.untrack(keys);
    }

    /// Forgets the value of a key, and the one that is on its way: the next one to ask waits for a
    /// request that is sent after this. Whoever waits already is answered. Costs a copy of all that
    /// is remembered.
    pub fn invalidate(&self, key: &K) {
        self.core.invalidate(key);
    }

    /// How often it was asked, and what it took.
    pub fn stats(&self) -> CacheStats {
        self.core.counters.snapshot(self.core.store.snapshot().len())
    }
}

impl<K: Key, V: Shared, E: Shared> Drop for BatchCache<K, V, E> {
    fn drop(&mut self) {
        let fetching = {
            let mut board = self.core.pending.lock();
            board.closed = true;
            board.fetching
        };
        self.core.work_available.notify_all();
        // A request that is under way is not waited for: its thread ends with it.
        if let Some(fetcher) = self.fetcher.get_mut().take().filter(|_| !fetching) {
            if fetcher.thread().id() != std::thread::current().id() {
                // It ends by itself, and has contained what could panic.
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
