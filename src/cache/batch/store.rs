//! What is known, and what of it is due.
//!
//! All of it is one snapshot that is replaced as a whole when a request comes back. Whoever reads
//! takes no lock and sees the prices of one moment; whoever writes copies the map, which is done
//! about once a second and costs less than the request that led to it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::config::{AgePolicy, Freshness};
use super::lookup::GetOptions;
use crate::quota::Moment;

/// What the source said of a key.
#[derive(Debug)]
pub(super) enum EntryContent<V, E> {
    /// Its value.
    Value(Arc<V>),
    /// The source has nothing for it.
    Absent,
    /// The source could not answer for it, in an answer for others.
    Failed(Arc<E>),
    /// The source refused a request for this key alone.
    Refused(Arc<E>),
}

/// What is remembered of a key.
#[derive(Debug)]
pub(in crate::cache) struct CacheEntry<V, E> {
    pub(super) content: EntryContent<V, E>,
    /// Just before the request was sent.
    pub(super) sent: Moment,
    /// How long it is fresh.
    pub(super) ttl: Duration,
    /// What its key adds to a request.
    pub(super) weight: usize,
    /// When somebody last wanted it, in nanoseconds; roughly, see [`Entry::touch`].
    last_used: AtomicU64,
}

impl<V, E> CacheEntry<V, E> {
    pub(super) fn new(
        content: EntryContent<V, E>,
        sent: Moment,
        ttl: Duration,
        weight: usize,
        last_use: Moment,
    ) -> Self {
        Self { content, sent, ttl, weight, last_used: AtomicU64::new(last_use.as_nanos()) }
    }

    /// The value, `None` if there is none, or why the source did not answer for this key.
    pub(in crate::cache) fn value(&self) -> Result<Option<&Arc<V>>, &E> {
        match &self.content {
            EntryContent::Value(value) => Ok(Some(value)),
            EntryContent::Absent => Ok(None),
            EntryContent::Failed(error) | EntryContent::Refused(error) => Err(error),
        }
    }

    /// How old its value is. What is no value has no age.
    pub(super) fn value_age(&self, now: Moment) -> Duration {
        if self.value().is_ok() { now.since(self.sent) } else { Duration::ZERO }
    }

    pub(super) fn has_value(&self) -> bool {
        matches!(self.content, EntryContent::Value(_))
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.content, EntryContent::Refused(_))
    }

    /// The same refusal with its time over, if it is one.
    fn expired_refusal(&self) -> Option<Self> {
        let EntryContent::Refused(error) = &self.content else { return None };
        let content = EntryContent::Refused(Arc::clone(error));
        let Self { sent, weight, .. } = *self;
        Some(Self::new(content, sent, Duration::ZERO, weight, self.last_used()))
    }

    /// Whether an answer of this `age` may be given to `ask`. A refusal has a time of its own, which no
    /// caller shortens: it is no price, and each trial costs the others a request.
    pub(super) fn freshness(
        &self,
        age: Duration,
        ages: &AgePolicy,
        options: &GetOptions,
    ) -> Freshness {
        match (&self.content, ages.freshness(age, self.ttl, options)) {
            (EntryContent::Refused(_), _) if age < self.ttl => Freshness::Fresh,
            (EntryContent::Refused(_), _) | (EntryContent::Failed(_), Freshness::Stale) => {
                Freshness::TooOld
            }
            (_, verdict) => verdict,
        }
    }

    /// Somebody wants it. Written down only now and then: many threads that write to one place wait
    /// for one another.
    pub(super) fn touch(&self, now: Moment) {
        const TOUCH_RESOLUTION: Duration = Duration::from_millis(100);
        if now.since(self.last_used()) >= TOUCH_RESOLUTION {
            self.last_used.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn last_used(&self) -> Moment {
        Moment::from_nanos(self.last_used.load(Ordering::Relaxed))
    }

    /// Whether a request that has room takes it along: once half its time is over, so that keys that
    /// were asked for one after another soon are fetched together. That there is no value is looked
    /// at again only when its time is over. A key that was refused is never taken along.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        let age = now.since(self.sent);
        match self.content {
            EntryContent::Value(_) => age >= self.ttl / 2,
            EntryContent::Absent | EntryContent::Failed(_) => age >= self.ttl,
            EntryContent::Refused(_) => false,
        }
    }

    /// Whether `newer` leaves this in its place: a row that could not be read says nothing of a price
    /// that is fresh.
    fn outlasts(&self, newer: &Self, now: Moment) -> bool {
        matches!((&self.content, &newer.content), (EntryContent::Value(_), EntryContent::Failed(_)))
            && now.since(self.sent) < self.ttl
    }
}

/// All that is known at one moment.
pub(super) type Snapshot<K, V, E> = HashMap<K, Arc<CacheEntry<V, E>>>;

/// More keys were to be tracked than the cache may remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} keys to be tracked are more than the cache may remember, which is {capacity}: \
         raise its capacity, or untrack some"
)]
#[non_exhaustive]
pub struct CacheFull {
    /// How many there would have been.
    pub wanted: usize,
    /// How many there may be.
    pub capacity: usize,
}

/// What was known up to a moment ago. Whoever is given it drops it with no lock held, for the values'
/// `Drop` is not ours and may ask the cache again.
type Replaced<K, V, E> = Arc<Snapshot<K, V, E>>;

pub(super) struct Store<K, V, E> {
    current: ArcSwap<Snapshot<K, V, E>>,
    /// Those that were named by hand, and what each adds to a request. Its lock is also the right to
    /// write.
    tracked: Mutex<HashMap<K, usize>>,
    time_to_idle: Duration,
    max_capacity: usize,
}

impl<K: Clone + Eq + Hash, V, E> Store<K, V, E> {
    pub(super) fn new(idle: Duration, capacity: usize) -> Self {
        Self {
            current: ArcSwap::default(),
            tracked: Mutex::default(),
            time_to_idle: idle,
            max_capacity: capacity,
        }
    }

    /// What is known now.
    pub(super) fn snapshot(&self) -> Guard<Arc<Snapshot<K, V, E>>> {
        self.current.load()
    }

    /// Remembers what a request brought. What was only fetched along is not used by that, or it would
    /// be tracked for ever; `was_asked` says for which keys somebody waited.
    pub(super) fn insert_batch(
        &self,
        entries: &Snapshot<K, V, E>,
        was_asked: impl Fn(&K) -> bool,
        forgotten: impl Fn(&K) -> bool,
        now: Moment,
    ) -> Replaced<K, V, E> {
        let tracked = self.tracked.lock();
        let mut next = Snapshot::clone(&self.current.load());
        for (key, entry) in entries.iter().filter(|(key, _)| !forgotten(key)) {
            if let Some(before) = next.get(key).filter(|before| before.outlasts(entry, now)) {
                if was_asked(key) {
                    before.touch(now);
                }
                continue;
            }
            let before = next.insert(key.clone(), Arc::clone(entry));
            let used_before = before.filter(|_| !was_asked(key)).map(|before| before.last_used());
            if let Some(used_before) = used_before {
                entry.last_used.store(used_before.as_nanos(), Ordering::Relaxed);
            }
        }
        // That a key was refused is remembered while there is room: it must not be asked for in company.
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

    /// Forgets what is known of `key`; but of one that was refused only the refusal, and not that it is
    /// to be asked for alone.
    pub(super) fn invalidate(&self, key: &K) -> Replaced<K, V, E> {
        let _writing = self.tracked.lock();
        let shown = self.current.load();
        let Some(over) = shown.get(key).and_then(|entry| entry.expired_refusal()) else {
            return self.remove(std::slice::from_ref(key));
        };
        let mut next = Snapshot::clone(&shown);
        next.insert(key.clone(), Arc::new(over));
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

    /// What `key` adds to a request, if it is known and a request should take it along.
    pub(super) fn weight_if_due(&self, key: &K, now: Moment) -> Option<usize> {
        let shown = self.current.load();
        let entry = shown.get(key)?;
        entry.is_due(now).then_some(entry.weight)
    }

    /// All that is due, oldest first, each with its weight; what was never fetched is the oldest.
    pub(super) fn due_keys(&self, now: Moment) -> Vec<(K, usize)> {
        let tracked = self.tracked.lock();
        let shown = self.current.load();
        let due = |(key, entry): &(&K, &Arc<CacheEntry<V, E>>)| {
            entry.is_due(now) && (!self.is_idle(entry, now) || tracked.contains_key(*key))
        };
        let mut known: Vec<_> = shown.iter().filter(due).collect();
        known.sort_by_key(|(_, entry)| entry.sent);
        let unknown = tracked.iter().filter(|(key, _)| !shown.contains_key(*key));
        let unknown = unknown.map(|(key, weight)| (key.clone(), *weight));
        unknown.chain(known.into_iter().map(|(key, e)| (key.clone(), e.weight))).collect()
    }
}
