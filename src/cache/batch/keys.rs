//! The keys of one request, and the number of waiters for each.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::request::{PendingRequest, ResponseGuard};

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

/// The keys of one request, and the number of waiters for each.
#[derive(Debug)]
pub(super) struct BatchKeys<K> {
    pub(super) queue: BatchQueue,
    keys: Vec<K>,
    waiters: HashMap<K, usize>,
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
        self.waiters.insert(awaited, 0);
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
        self.waiters.get(key).is_some_and(|waiting| *waiting > 0)
    }

    /// Returns whether the key was untracked, and has not been requested since.
    pub(super) fn is_untracked(&self, key: &K) -> bool {
        self.untracked.contains(key)
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.values().any(|waiting| *waiting > 0)
    }

    /// Adds a waiter for `key`, which tracks it again.
    pub(super) fn add_waiter(&mut self, key: &K) {
        if let Some(waiting) = self.waiters.get_mut(key) {
            *waiting += 1;
        }
        self.untracked.remove(key);
    }

    pub(super) fn remove_waiter(&mut self, key: &K) {
        if let Some(waiting) = self.waiters.get_mut(key) {
            *waiting = waiting.saturating_sub(1);
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
        let of = |key: &K| (key.clone(), self.waiters.get(key).copied().unwrap_or(0));
        Self {
            keys: keys.to_vec(),
            waiters: keys.iter().map(of).collect(),
            untracked: keys.iter().filter(|key| self.is_untracked(key)).cloned().collect(),
            is_part: true,
            ..Self::new(BatchQueue::Quarantined)
        }
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
        batch_keys.add_waiter(&2);
        batch_keys.untrack(&[3]);
        let mut part = batch_keys.subset(&[2, 3]);
        assert!(part.has_waiter_for(&2) && !part.has_waiter_for(&3) && part.is_untracked(&3));
        assert!(!part.contains(&1) && !part.add(&4, 1, LIMIT));
        part.remove_waiter(&2);
        assert!(!part.has_waiters() && batch_keys.has_waiters());
    }
}
