//! The store of cached entries, and which of them are due for a refresh.
//!
//! All entries form one snapshot, which is replaced as a whole when a response arrives. Readers
//! take no lock and see the prices of one moment. A writer copies the map, which happens about once
//! a second and costs less than the request before it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::config::{AgePolicy, Freshness};
use super::lookup::{GetOptions, Origin};
use super::shared_store::Stamp;
use crate::quota::Moment;

/// What the source returned for a key.
#[derive(Debug)]
pub(super) enum EntryContent<V, E> {
    /// The value.
    Value(Arc<V>),
    /// The source has nothing for the key.
    Absent,
    /// The source could not answer for the key, in a response for other keys.
    Failed(Arc<E>),
    /// The source refused a request for this key alone.
    Refused(Arc<E>),
}

/// The cached entry of a key.
#[derive(Debug)]
pub(in crate::cache) struct CacheEntry<V, E> {
    pub(super) content: EntryContent<V, E>,
    /// The number of the request that brought it.
    pub(super) batch: u64,
    /// The moment just before the request was sent.
    pub(super) sent: Moment,
    /// When it was sent in the time that several processes share, if they do.
    pub(super) stamp: Option<Stamp>,
    /// Where callers that waited for the entry got it from.
    pub(super) origin: Origin,
    /// How long the entry is fresh.
    pub(super) ttl: Duration,
    /// The weight of the key in a request.
    pub(super) weight: usize,
    /// The last use, in nanoseconds. Approximate, see [`CacheEntry::touch`].
    last_used: AtomicU64,
}

impl<V, E> CacheEntry<V, E> {
    pub(super) fn new(
        content: EntryContent<V, E>,
        (batch, sent): (u64, Moment),
        ttl: Duration,
        weight: usize,
        last_use: Moment,
    ) -> Self {
        let last_used = AtomicU64::new(last_use.as_nanos());
        let (stamp, origin) = (None, Origin::Fetched);
        Self { content, batch, sent, stamp, origin, ttl, weight, last_used }
    }

    /// Returns the value, `None` if there is none, or why the source did not answer for the key.
    pub(in crate::cache) fn value(&self) -> Result<Option<&Arc<V>>, &E> {
        match &self.content {
            EntryContent::Value(value) => Ok(Some(value)),
            EntryContent::Absent => Ok(None),
            EntryContent::Failed(error) | EntryContent::Refused(error) => Err(error),
        }
    }

    /// Returns the age of the value, or zero for an error.
    pub(super) fn value_age(&self, now: Moment) -> Duration {
        if self.value().is_ok() { now.since(self.sent) } else { Duration::ZERO }
    }

    pub(super) fn has_value(&self) -> bool {
        matches!(self.content, EntryContent::Value(_))
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.content, EntryContent::Refused(_))
    }

    /// Returns this refusal with its time expired, or `None` if the entry is no refusal.
    fn expired_refusal(&self) -> Option<Self> {
        let EntryContent::Refused(error) = &self.content else { return None };
        let content = EntryContent::Refused(Arc::clone(error));
        let Self { batch, sent, weight, .. } = *self;
        Some(Self::new(content, (batch, sent), Duration::ZERO, weight, self.last_used()))
    }

    /// Returns whether an entry of this `age` satisfies `options`. A refusal is kept for its own
    /// time, which no caller can shorten: it is not a price, and each retry costs the other callers
    /// a request.
    pub(super) fn freshness(
        &self,
        age: Duration,
        age_policy: &AgePolicy,
        options: &GetOptions,
    ) -> Freshness {
        match (&self.content, age_policy.freshness(age, self.ttl, options)) {
            (EntryContent::Refused(_), _) if age < self.ttl => Freshness::Fresh,
            (EntryContent::Refused(_), _) | (EntryContent::Failed(_), Freshness::Stale) => {
                Freshness::TooOld
            }
            (_, freshness) => freshness,
        }
    }

    /// Returns when a caller that has this entry, and waits for a newer one, requests that.
    pub(super) fn renewed_at(&self, age_policy: &AgePolicy, options: &GetOptions) -> Moment {
        let limit = if self.is_refused() {
            self.ttl
        } else {
            age_policy.max_age_for(self.ttl, options).min(self.ttl)
        };
        self.sent + limit
    }

    /// Records a use. Writes only every 100 ms, because threads that write to the same location
    /// contend.
    pub(super) fn touch(&self, now: Moment) {
        const TOUCH_RESOLUTION: Duration = Duration::from_millis(100);
        if now.since(self.last_used()) >= TOUCH_RESOLUTION {
            self.last_used.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn last_used(&self) -> Moment {
        Moment::from_nanos(self.last_used.load(Ordering::Relaxed))
    }

    /// Returns whether a request with capacity left should carry the key. A value is due after half
    /// its `ttl`, so that keys that were first requested one after another are soon fetched
    /// together. An absent or failed key is due only when its `ttl` is over. A refused key is never
    /// piggybacked.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        let age = now.since(self.sent);
        match self.content {
            EntryContent::Value(_) => age >= self.ttl / 2,
            EntryContent::Absent | EntryContent::Failed(_) => age >= self.ttl,
            EntryContent::Refused(_) => false,
        }
    }

    /// Returns whether to keep this entry in place of `newer`: a row that could not be read does
    /// not replace a fresh price.
    fn outlasts(&self, newer: &Self, now: Moment) -> bool {
        matches!((&self.content, &newer.content), (EntryContent::Value(_), EntryContent::Failed(_)))
            && now.since(self.sent) < self.ttl
    }
}

/// All entries at one moment.
pub(super) type Snapshot<K, V, E> = HashMap<K, Arc<CacheEntry<V, E>>>;

/// The error for tracking more keys than the cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} keys to be tracked are more than the cache may remember, which is {capacity}: \
         raise its capacity, or untrack some"
)]
#[non_exhaustive]
pub struct CacheFull {
    /// How many keys would be tracked.
    pub wanted: usize,
    /// How many keys may be tracked.
    pub capacity: usize,
}

/// The snapshot that was replaced. Drop it without holding a lock: the values' `Drop` is user code
/// and may query the cache.
type Replaced<K, V, E> = Arc<Snapshot<K, V, E>>;

pub(super) struct Store<K, V, E> {
    current: ArcSwap<Snapshot<K, V, E>>,
    /// The keys named to `track`, with their weights. Writers of `current` hold this lock.
    tracked: Mutex<HashMap<K, usize>>,
    time_to_idle: Duration,
    max_capacity: usize,
}

impl<K: Clone + Eq + Hash, V, E> Store<K, V, E> {
    pub(super) fn new(time_to_idle: Duration, max_capacity: usize) -> Self {
        Self { current: ArcSwap::default(), tracked: Mutex::default(), time_to_idle, max_capacity }
    }

    /// Returns the current snapshot.
    pub(super) fn snapshot(&self) -> Guard<Arc<Snapshot<K, V, E>>> {
        self.current.load()
    }

    /// Stores the results of a request. A key that was only piggybacked keeps its last use, because
    /// it would be tracked for ever otherwise. `had_waiter` returns whether a caller waited for a
    /// key.
    pub(super) fn insert_batch(
        &self,
        entries: &Snapshot<K, V, E>,
        had_waiter: impl Fn(&K) -> bool,
        is_invalidated: impl Fn(&K) -> bool,
        now: Moment,
    ) -> Replaced<K, V, E> {
        let tracked = self.tracked.lock();
        let mut next = Snapshot::clone(&self.current.load());
        for (key, entry) in entries.iter().filter(|(key, _)| !is_invalidated(key)) {
            if let Some(before) = next.get(key).filter(|before| before.outlasts(entry, now)) {
                if had_waiter(key) {
                    before.touch(now);
                }
                continue;
            }
            let before = next.insert(key.clone(), Arc::clone(entry));
            let used_before = before.filter(|_| !had_waiter(key)).map(|before| before.last_used());
            if let Some(used_before) = used_before {
                entry.last_used.store(used_before.as_nanos(), Ordering::Relaxed);
            }
        }
        // A refused key is kept while there is capacity, because it must not be requested with
        // others.
        next.retain(|key, entry| {
            entry.is_refused() || !self.is_idle(entry, now) || tracked.contains_key(key)
        });
        if let Some(too_many) = next.len().checked_sub(self.max_capacity).filter(|many| *many > 0) {
            let free = next.iter().filter(|(key, _)| !tracked.contains_key(*key));
            let mut free: Vec<_> = free.map(|(key, e)| (e.last_used(), key.clone())).collect();
            free.sort_by_key(|(last_use, _)| *last_use);
            for (_, key) in free.iter().take(too_many) {
                next.remove(key);
            }
        }
        self.current.swap(Arc::new(next))
    }

    fn is_idle(&self, entry: &CacheEntry<V, E>, now: Moment) -> bool {
        now.since(entry.last_used()) > self.time_to_idle
    }

    /// Removes the entry of `key`. For a refused key only the time of the refusal ends: the key is
    /// still requested alone.
    pub(super) fn invalidate(&self, key: &K) -> Replaced<K, V, E> {
        let _writing = self.tracked.lock();
        let snapshot = self.current.load();
        let Some(expired) = snapshot.get(key).and_then(|entry| entry.expired_refusal()) else {
            return self.remove(std::slice::from_ref(key));
        };
        let mut next = Snapshot::clone(&snapshot);
        next.insert(key.clone(), Arc::new(expired));
        self.current.swap(Arc::new(next))
    }

    fn remove(&self, keys: &[K]) -> Replaced<K, V, E> {
        let mut next = Snapshot::clone(&self.current.load());
        for key in keys {
            next.remove(key);
        }
        self.current.swap(Arc::new(next))
    }

    /// Tracks keys, each with its weight.
    pub(super) fn track(&self, keys: HashMap<K, usize>) -> Result<(), CacheFull> {
        let mut tracked = self.tracked.lock();
        let new = keys.keys().filter(|key| !tracked.contains_key(*key)).count();
        let wanted = tracked.len() + new;
        if wanted > self.max_capacity {
            return Err(CacheFull { wanted, capacity: self.max_capacity });
        }
        tracked.extend(keys);
        Ok(())
    }

    pub(super) fn untrack(&self, keys: &[K]) -> Replaced<K, V, E> {
        let mut tracked = self.tracked.lock();
        for key in keys {
            tracked.remove(key);
        }
        self.remove(keys)
    }

    /// Returns the weight of `key`, if it is in the store and due.
    pub(super) fn weight_if_due(&self, key: &K, now: Moment) -> Option<usize> {
        let snapshot = self.current.load();
        let entry = snapshot.get(key)?;
        entry.is_due(now).then_some(entry.weight)
    }

    /// Returns all keys that are due with their weights, oldest first. Keys without an entry come
    /// first.
    pub(super) fn due_keys(&self, now: Moment) -> Vec<(K, usize)> {
        let tracked = self.tracked.lock();
        let snapshot = self.current.load();
        let due = |(key, entry): &(&K, &Arc<CacheEntry<V, E>>)| {
            entry.is_due(now) && (!self.is_idle(entry, now) || tracked.contains_key(*key))
        };
        let mut known: Vec<_> = snapshot.iter().filter(due).collect();
        known.sort_by_key(|(_, entry)| entry.sent);
        let unknown = tracked.iter().filter(|(key, _)| !snapshot.contains_key(*key));
        let unknown = unknown.map(|(key, weight)| (key.clone(), *weight));
        unknown.chain(known.into_iter().map(|(key, e)| (key.clone(), e.weight))).collect()
    }
}
