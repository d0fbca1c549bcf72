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

use super::answer::GetOptions;
use super::settings::{Ages, Verdict};
use crate::quota::Moment;

/// What the source said of a key.
#[derive(Debug)]
pub(super) enum Content<V, E> {
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
pub(super) struct Entry<V, E> {
    pub(super) content: Content<V, E>,
    /// Just before the request was sent.
    pub(super) sent: Moment,
    /// How long it is fresh.
    pub(super) ttl: Duration,
    /// What its key adds to a request.
    pub(super) weight: usize,
    /// When somebody last wanted it, in nanoseconds; roughly, see [`Entry::touch`].
    last_use: AtomicU64,
}

impl<V, E> Entry<V, E> {
    pub(super) fn new(
        content: Content<V, E>,
        sent: Moment,
        ttl: Duration,
        weight: usize,
        last_use: Moment,
    ) -> Self {
        Self { content, sent, ttl, weight, last_use: AtomicU64::new(last_use.as_nanos()) }
    }

    /// The value, `None` if there is none, or why the source did not answer for this key.
    pub(super) fn value(&self) -> Result<Option<&Arc<V>>, &E> {
        match &self.content {
            Content::Value(value) => Ok(Some(value)),
            Content::Absent => Ok(None),
            Content::Failed(error) | Content::Refused(error) => Err(error),
        }
    }

    /// How old its value is. What is no value has no age.
    pub(super) fn age_of_value(&self, now: Moment) -> Duration {
        if self.value().is_ok() { now.since(self.sent) } else { Duration::ZERO }
    }

    pub(super) fn has_value(&self) -> bool {
        matches!(self.content, Content::Value(_))
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.content, Content::Refused(_))
    }

    /// The same refusal with its time over, if it is one.
    fn refusal_over(&self) -> Option<Self> {
        let Content::Refused(error) = &self.content else { return None };
        let content = Content::Refused(Arc::clone(error));
        let Self { sent, weight, .. } = *self;
        Some(Self::new(content, sent, Duration::ZERO, weight, self.last_use()))
    }

    /// Whether an answer of this `age` may be given to `ask`. A refusal has a time of its own, which no
    /// caller shortens: it is no price, and each trial costs the others a request.
    pub(super) fn judge(&self, age: Duration, ages: &Ages, ask: &GetOptions) -> Verdict {
        match (&self.content, ages.judge(age, self.ttl, ask)) {
            (Content::Refused(_), _) if age < self.ttl => Verdict::Fresh,
            (Content::Refused(_), _) | (Content::Failed(_), Verdict::Stale) => Verdict::TooOld,
            (_, verdict) => verdict,
        }
    }

    /// Somebody wants it. Written down only now and then: many threads that write to one place wait
    /// for one another.
    pub(super) fn touch(&self, now: Moment) {
        const ROUGHLY: Duration = Duration::from_millis(100);
        if now.since(self.last_use()) >= ROUGHLY {
            self.last_use.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn last_use(&self) -> Moment {
        Moment::from_nanos(self.last_use.load(Ordering::Relaxed))
    }

    /// Whether a request that has room takes it along: once half its time is over, so that keys that
    /// were asked for one after another soon are fetched together. That there is no value is looked
    /// at again only when its time is over. A key that was refused is never taken along.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        let age = now.since(self.sent);
        match self.content {
            Content::Value(_) => age >= self.ttl / 2,
            Content::Absent | Content::Failed(_) => age >= self.ttl,
            Content::Refused(_) => false,
        }
    }

    /// Whether `newer` leaves this in its place: a row that could not be read says nothing of a price
    /// that is fresh.
    fn outlasts(&self, newer: &Self, now: Moment) -> bool {
        matches!((&self.content, &newer.content), (Content::Value(_), Content::Failed(_)))
            && now.since(self.sent) < self.ttl
    }
}

/// All that is known at one moment.
pub(super) type Snapshot<K, V, E> = HashMap<K, Arc<Entry<V, E>>>;

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
type Before<K, V, E> = Arc<Snapshot<K, V, E>>;

pub(super) struct Memory<K, V, E> {
    shown: ArcSwap<Snapshot<K, V, E>>,
    /// Those that were named by hand, and what each adds to a request. Its lock is also the right to
    /// write.
    tracked: Mutex<HashMap<K, usize>>,
    idle: Duration,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V, E> Memory<K, V, E> {
    pub(super) fn new(idle: Duration, capacity: usize) -> Self {
        Self { shown: ArcSwap::default(), tracked: Mutex::default(), idle, capacity }
    }

    /// What is known now.
    pub(super) fn look(&self) -> Guard<Arc<Snapshot<K, V, E>>> {
        self.shown.load()
    }

    /// Remembers what a request brought. What was only fetched along is not used by that, or it would
    /// be tracked for ever; `was_asked` says for which keys somebody waited.
    pub(super) fn keep(
        &self,
        entries: &Snapshot<K, V, E>,
        was_asked: impl Fn(&K) -> bool,
        forgotten: impl Fn(&K) -> bool,
        now: Moment,
    ) -> Before<K, V, E> {
        let tracked = self.tracked.lock();
        let mut next = Snapshot::clone(&self.shown.load());
        for (key, entry) in entries.iter().filter(|(key, _)| !forgotten(key)) {
            if let Some(before) = next.get(key).filter(|before| before.outlasts(entry, now)) {
                if was_asked(key) {
                    before.touch(now);
                }
                continue;
            }
            let before = next.insert(key.clone(), Arc::clone(entry));
            let used_before = before.filter(|_| !was_asked(key)).map(|before| before.last_use());
            if let Some(used_before) = used_before {
                entry.last_use.store(used_before.as_nanos(), Ordering::Relaxed);
            }
        }
        // That a key was refused is remembered while there is room: it must not be asked for in company.
        next.retain(|key, entry| {
            entry.is_refused() || !self.is_idle(entry, now) || tracked.contains_key(key)
        });
        if let Some(too_many) = next.len().checked_sub(self.capacity).filter(|many| *many > 0) {
            let free = next.iter().filter(|(key, _)| !tracked.contains_key(*key));
            let mut free: Vec<_> = free.map(|(key, e)| (e.last_use(), key.clone())).collect();
            free.sort_by_key(|(last_use, _)| *last_use);
            for (_, key) in free.iter().take(too_many) {
                next.remove(key);
            }
        }
        self.shown.swap(Arc::new(next))
    }

    fn is_idle(&self, entry: &Entry<V, E>, now: Moment) -> bool {
        now.since(entry.last_use()) > self.idle
    }

    /// Forgets what is known of `key`; but of one that was refused only the refusal, and not that it is
    /// to be asked for alone.
    pub(super) fn forget(&self, key: &K) -> Before<K, V, E> {
        let _writing = self.tracked.lock();
        let shown = self.shown.load();
        let Some(over) = shown.get(key).and_then(|entry| entry.refusal_over()) else {
            return self.remove(std::slice::from_ref(key));
        };
        let mut next = Snapshot::clone(&shown);
        next.insert(key.clone(), Arc::new(over));
        self.shown.swap(Arc::new(next))
    }

    fn remove(&self, keys: &[K]) -> Before<K, V, E> {
        let mut next = Snapshot::clone(&self.shown.load());
        for key in keys {
            next.remove(key);
        }
        self.shown.swap(Arc::new(next))
    }

    /// Tracks keys, each with its weight.
    pub(super) fn track(&self, keys: HashMap<K, usize>) -> Result<(), CacheFull> {
        let mut tracked = self.tracked.lock();
        let new = keys.keys().filter(|key| !tracked.contains_key(*key)).count();
        let wanted = tracked.len() + new;
        if wanted > self.capacity {
            return Err(CacheFull { wanted, capacity: self.capacity });
        }
        tracked.extend(keys);
        Ok(())
    }

    pub(super) fn untrack(&self, keys: &[K]) -> Before<K, V, E> {
        let mut tracked = self.tracked.lock();
        for key in keys {
            tracked.remove(key);
        }
        self.remove(keys)
    }

    /// What `key` adds to a request, if it is known and a request should take it along.
    pub(super) fn if_due(&self, key: &K, now: Moment) -> Option<usize> {
        let shown = self.shown.load();
        let entry = shown.get(key)?;
        entry.is_due(now).then_some(entry.weight)
    }

    /// All that is due, oldest first, each with its weight; what was never fetched is the oldest.
    pub(super) fn due(&self, now: Moment) -> Vec<(K, usize)> {
        let tracked = self.tracked.lock();
        let shown = self.shown.load();
        let due = |(key, entry): &(&K, &Arc<Entry<V, E>>)| {
            entry.is_due(now) && (!self.is_idle(entry, now) || tracked.contains_key(*key))
        };
        let mut known: Vec<_> = shown.iter().filter(due).collect();
        known.sort_by_key(|(_, entry)| entry.sent);
        let unknown = tracked.iter().filter(|(key, _)| !shown.contains_key(*key));
        let unknown = unknown.map(|(key, weight)| (key.clone(), *weight));
        unknown.chain(known.into_iter().map(|(key, e)| (key.clone(), e.weight))).collect()
    }
}
