//! The keys of one request, and who waits for them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::request::{PendingRequest, ResponseGuard};

/// How much one request takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimit {
    pub(super) keys: usize,
    pub(super) weight: usize,
}

/// Which keys a request carries. Requests of the three kinds take turns (`board.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchQueue {
    /// Keys of which nothing bad is known. It takes what is due along.
    Trusted,
    /// Keys that were in a refused request and in none that was answered since.
    Quarantined,
    /// One key that was refused when it was asked for alone.
    Refused,
}

impl BatchQueue {
    pub(super) const ALL: [Self; 3] = [Self::Trusted, Self::Quarantined, Self::Refused];
}

/// The keys of one request, and how many wait for each.
#[derive(Debug)]
pub(super) struct BatchKeys<K> {
    pub(super) queue: BatchQueue,
    keys: Vec<K>,
    waiters: HashMap<K, usize>,
    weight: usize,
    /// Taken along if there is room, before all else that is due.
    pub(super) piggyback: Vec<(K, usize)>,
    /// Keys that were given up since they came aboard: whoever waits is answered, but that they were
    /// asked for does not count any more.
    untracked: HashSet<K>,
    /// It is a part of a request that was refused, and takes no other keys.
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

    /// Adds a key if there is room, or is there already. The first one always finds room: a request
    /// for one key is the least there is.
    pub(super) fn add(&mut self, key: &K, weight: usize, limit: BatchLimit) -> bool {
        if self.contains(key) {
            return true;
        }
        let weight = self.weight.saturating_add(weight);
        let full = self.keys.len() >= limit.keys || weight > limit.weight;
        if (full || self.is_closed()) && !self.keys.is_empty() {
            return false;
        }
        // What can panic first, so that a key is in both or in neither.
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

    /// Whether somebody waits for `key`.
    pub(super) fn has_waiter_for(&self, key: &K) -> bool {
        self.waiters.get(key).is_some_and(|waiting| *waiting > 0)
    }

    /// Whether it was given up, and nobody has asked for it since.
    pub(super) fn is_untracked(&self, key: &K) -> bool {
        self.untracked.contains(key)
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.values().any(|waiting| *waiting > 0)
    }

    /// One more waits for `key`, or one fewer.
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

    /// Somebody asked for them before they were given up.
    pub(super) fn untrack(&mut self, keys: &[K]) {
        self.untracked.extend(keys.iter().cloned());
    }

    /// It takes the key along, although that was given up.
    pub(super) fn track(&mut self, key: &K) {
        self.untracked.remove(key);
    }

    /// The same waiters, for `keys` alone.
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

/// A request that still waits for its turn.
pub(super) struct OpenBatch<K, V, E> {
    pub(super) response: ResponseGuard<K, V, E>,
    pub(super) batch_keys: BatchKeys<K>,
    /// The other half of a request that was refused. If that is answered, this one has a bad key.
    pub(super) other_half: Option<Arc<PendingRequest<K, V, E>>>,
}

impl<K, V, E> OpenBatch<K, V, E> {
    pub(super) fn new(seats: BatchKeys<K>) -> Self {
        Self { response: ResponseGuard::new(), batch_keys: seats, other_half: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: BatchLimit = BatchLimit { keys: 3, weight: 10 };

    #[test]
    fn a_request_is_full_by_count_or_by_weight() {
        let mut seats = BatchKeys::new(BatchQueue::Trusted);
        assert!((0..3).all(|key| seats.add(&key, 1, ROOM)));
        assert!(!seats.add(&3, 1, ROOM));
        assert!(seats.add(&2, 1, ROOM), "it is in already");

        let mut seats = BatchKeys::new(BatchQueue::Trusted);
        assert!(seats.add(&0, 6, ROOM));
        assert!(!seats.add(&1, 5, ROOM));
        assert!(seats.add(&2, 4, ROOM));
    }

    #[test]
    fn a_key_too_heavy_for_any_request_goes_alone() {
        let mut seats = BatchKeys::new(BatchQueue::Trusted);
        assert!(seats.add(&0, 99, ROOM));
        assert!(!seats.add(&1, 0, ROOM));
    }

    #[test]
    fn a_refused_key_goes_alone() {
        let mut seats = BatchKeys::new(BatchQueue::Refused);
        assert!(seats.add(&0, 1, ROOM));
        assert!(!seats.add(&1, 1, ROOM));
    }

    #[test]
    fn a_part_has_the_waiters_of_its_keys_and_takes_no_others() {
        let mut seats = BatchKeys::new(BatchQueue::Trusted);
        for key in [1, 2, 3] {
            seats.add(&key, 1, ROOM);
        }
        seats.add_waiter(&2);
        seats.untrack(&[3]);
        let mut part = seats.subset(&[2, 3]);
        assert!(part.has_waiter_for(&2) && !part.has_waiter_for(&3) && part.is_untracked(&3));
        assert!(!part.contains(&1) && !part.add(&4, 1, ROOM));
        part.remove_waiter(&2);
        assert!(!part.has_waiters() && seats.has_waiters());
    }
}
