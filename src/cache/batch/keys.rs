//! The keys of one request, and the number of waiters for each.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::request::{PendingRequest, ResponseGuard};
use crate::quota::Moment;

/// The maximum size of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimit {
    pub(super) keys: usize,
    pub(super) weight: usize,
}

/// The kind of keys that a request carries. The kinds take turns (`pending.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchQueue {
    /// Keys without a known problem. Such a request also carries keys that are due.
    Trusted,
    /// Keys of a refused request that no answered request has carried since.
    Quarantined,
    /// A single key that was refused alone before.
    Refused,
}

impl BatchQueue {
    pub(super) const ALL: [Self; 3] = [Self::Trusted, Self::Quarantined, Self::Refused];
}

/// The waiters for one key of a request.
#[derive(Debug, Clone, Copy, Default)]
struct KeyWaiters {
    count: usize,
    /// A value that was fetched elsewhere satisfies all of them if its request was sent later.
    newer_than: Moment,
}

/// The keys of one request, and the waiters for each.
#[derive(Debug)]
pub(super) struct BatchKeys<K> {
    pub(super) queue: BatchQueue,
    keys: Vec<K>,
    waiters: HashMap<K, KeyWaiters>,
    weight: usize,
    /// Keys to piggyback if the limit allows, before all other keys that are due.
    pub(super) piggyback: Vec<(K, usize)>,
    /// Keys that were untracked since they joined: their waiters get values, but the lookups no
    /// longer count as use.
    untracked: HashSet<K>,
    /// The request is part of a refused request, and accepts no other keys.
    pub(super) is_part: bool,
}

impl<K: Clone + Eq + Hash> BatchKeys<K> {
    pub(super) fn new(queue: BatchQueue) -> Self {
        Self {
            queue,
            keys: Vec::new(),
            waiters: HashMap::new(),
            weight: 0,
            piggyback: Vec::new(),
            untracked: HashSet::new(),
            is_part: false,
        }
    }

    /// Adds a key. Returns whether the request carries it, which is `false` if the request is full
    /// or closed. The first key is always accepted, because no request is smaller than one key.
    pub(super) fn add(&mut self, key: &K, weight: usize, limit: BatchLimit) -> bool {
        if self.contains(key) {
            return true;
        }
        let weight = self.weight.saturating_add(weight);
        let full = self.keys.len() >= limit.keys || weight > limit.weight;
        if (full || self.is_closed()) && !self.keys.is_empty() {
            return false;
        }
        // Run the code that can panic first, so that a key is in both collections or in neither.
        let (listed, awaited) = (key.clone(), key.clone());
        self.waiters.insert(awaited, KeyWaiters::default());
        self.keys.push(listed);
        self.weight = weight;
        true
    }

    fn is_closed(&self) -> bool {
        self.is_part || self.queue == BatchQueue::Refused
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.waiters.contains_key(key)
    }

    pub(super) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// Returns whether a caller waits for `key`.
    pub(super) fn has_waiter_for(&self, key: &K) -> bool {
        self.waiters.get(key).is_some_and(|waiters| waiters.count > 0)
    }

    /// Returns the keys that callers wait for, each with the moment than which a value from elsewhere must be newer.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (&K, Moment)> {
        let awaited = self.keys.iter().filter_map(|key| Some((key, self.waiters.get(key)?)));
        awaited.filter(|(_, waiters)| waiters.count > 0).map(|(key, it)| (key, it.newer_than))
    }

    /// Returns whether the key was untracked, and has not been requested since.
    pub(super) fn is_untracked(&self, key: &K) -> bool {
        self.untracked.contains(key)
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.values().any(|waiters| waiters.count > 0)
    }

    /// Adds a waiter for `key`, which tracks it again. A value from elsewhere satisfies it if that is newer than `newer_than`.
    pub(super) fn add_waiter(&mut self, key: &K, newer_than: Moment) {
        if let Some(waiters) = self.waiters.get_mut(key) {
            waiters.count += 1;
        }
        self.require_newer(key, newer_than);
        self.untracked.remove(key);
    }

    /// From now on, only a value that is newer than this moment satisfies the waiters of `key`.
    pub(super) fn require_newer(&mut self, key: &K, than: Moment) {
        if let Some(waiters) = self.waiters.get_mut(key) {
            waiters.newer_than = waiters.newer_than.max(than);
        }
    }

    pub(super) fn remove_waiter(&mut self, key: &K) {
        if let Some(waiters) = self.waiters.get_mut(key) {
            waiters.count = waiters.count.saturating_sub(1);
        }
    }

    /// Marks `keys` as untracked: earlier lookups no longer count as use.
    pub(super) fn untrack(&mut self, keys: &[K]) {
        self.untracked.extend(keys.iter().cloned());
    }

    /// Removes the mark: the request carries the key as one that is due.
    pub(super) fn track(&mut self, key: &K) {
        self.untracked.remove(key);
    }

    /// Returns the given keys with their waiters, as a part of this request.
    pub(super) fn subset(&self, keys: &[K]) -> Self {
        let of = |key: &K| (key.clone(), self.waiters.get(key).copied().unwrap_or_default());
        Self {
            keys: keys.to_vec(),
            waiters: keys.iter().map(of).collect(),
            untracked: keys.iter().filter(|key| self.is_untracked(key)).cloned().collect(),
            is_part: true,
            ..Self::new(BatchQueue::Quarantined)
        }
    }

    /// Replaces the keys, whatever the limit. The waiters of the keys that stay are kept.
    pub(super) fn replace(&mut self, keys: Vec<K>) {
        let of = |key: &K| (key.clone(), self.waiters.get(key).copied().unwrap_or_default());
        self.waiters = keys.iter().map(of).collect();
        self.keys = keys;
    }
}

/// A request that has not been sent and still accepts keys.
pub(super) struct OpenBatch<K, V, E> {
    pub(super) response: ResponseGuard<K, V, E>,
    pub(super) batch_keys: BatchKeys<K>,
    /// The other half of a refused request. If the other half is answered, this half has a bad key.
    pub(super) other_half: Option<Arc<PendingRequest<K, V, E>>>,
}

impl<K, V, E> OpenBatch<K, V, E> {
    pub(super) fn new(batch_keys: BatchKeys<K>) -> Self {
        Self { response: ResponseGuard::new(), batch_keys, other_half: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: BatchLimit = BatchLimit { keys: 3, weight: 10 };

    #[test]
    fn a_request_is_full_by_count_or_by_weight() {
        let mut batch_keys = BatchKeys::new(BatchQueue::Trusted);
        assert!((0..3).all(|key| batch_keys.add(&key, 1, LIMIT)));
        assert!(!batch_keys.add(&3, 1, LIMIT));
        assert!(batch_keys.add(&2, 1, LIMIT), "it is in already");

        let mut batch_keys = BatchKeys::new(BatchQueue::Trusted);
        assert!(batch_keys.add(&0, 6, LIMIT));
        assert!(!batch_keys.add(&1, 5, LIMIT));
        assert!(batch_keys.add(&2, 4, LIMIT));
    }

    #[test]
    fn a_key_too_heavy_for_any_request_goes_alone() {
        let mut batch_keys = BatchKeys::new(BatchQueue::Trusted);
        assert!(batch_keys.add(&0, 99, LIMIT));
        assert!(!batch_keys.add(&1, 0, LIMIT));
    }

    #[test]
    fn a_refused_key_goes_alone() {
        let mut batch_keys = BatchKeys::new(BatchQueue::Refused);
        assert!(batch_keys.add(&0, 1, LIMIT));
        assert!(!batch_keys.add(&1, 1, LIMIT));
    }

    #[test]
    fn a_part_has_the_waiters_of_its_keys_and_takes_no_others() {
        let mut batch_keys = BatchKeys::new(BatchQueue::Trusted);
        for key in [1, 2, 3] {
            batch_keys.add(&key, 1, LIMIT);
        }
        batch_keys.add_waiter(&2, Moment::ORIGIN);
        batch_keys.untrack(&[3]);
        let mut part = batch_keys.subset(&[2, 3]);
        assert!(part.has_waiter_for(&2) && !part.has_waiter_for(&3) && part.is_untracked(&3));
        assert!(!part.contains(&1) && !part.add(&4, 1, LIMIT));
        part.remove_waiter(&2);
        assert!(!part.has_waiters() && batch_keys.has_waiters());
    }
}
