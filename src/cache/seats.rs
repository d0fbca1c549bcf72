//! The keys of one request, and who waits for them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::flight::{Flight, Owed};

/// How much one request takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) keys: usize,
    pub(super) weight: usize,
}

/// Which keys a request carries. Requests of the three kinds take turns (`board.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Keys of which nothing bad is known. It takes what is due along.
    Trusted,
    /// Keys that were in a refused request and in none that was answered since.
    Doubtful,
    /// One key that was refused when it was asked for alone.
    Refused,
}

impl Line {
    pub(super) const ALL: [Self; 3] = [Self::Trusted, Self::Doubtful, Self::Refused];
}

/// The keys of one request, and how many wait for each.
#[derive(Debug)]
pub(super) struct Seats<K> {
    pub(super) line: Line,
    keys: Vec<K>,
    waiting: HashMap<K, usize>,
    weight: usize,
    /// Taken along if there is room, before all else that is due.
    pub(super) along: Vec<(K, usize)>,
    /// Keys that were given up since they came aboard: whoever waits is answered, but that they were
    /// asked for does not count any more.
    untracked: HashSet<K>,
    /// It is a part of a request that was refused, and takes no other keys.
    pub(super) is_part: bool,
}

impl<K: Clone + Eq + Hash> Seats<K> {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            keys: Vec::new(),
            waiting: HashMap::new(),
            weight: 0,
            along: Vec::new(),
            untracked: HashSet::new(),
            is_part: false,
        }
    }

    /// Adds a key if there is room, or is there already. The first one always finds room: a request
    /// for one key is the least there is.
    pub(super) fn add(&mut self, key: &K, weight: usize, room: Room) -> bool {
        if self.has(key) {
            return true;
        }
        let weight = self.weight.saturating_add(weight);
        let full = self.keys.len() >= room.keys || weight > room.weight;
        if (full || self.is_closed()) && !self.keys.is_empty() {
            return false;
        }
        // What can panic first, so that a key is in both or in neither.
        let (listed, awaited) = (key.clone(), key.clone());
        self.waiting.insert(awaited, 0);
        self.keys.push(listed);
        self.weight = weight;
        true
    }

    fn is_closed(&self) -> bool {
        self.is_part || self.line == Line::Refused
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.waiting.contains_key(key)
    }

    pub(super) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// Whether somebody waits for `key`.
    pub(super) fn awaits(&self, key: &K) -> bool {
        self.waiting.get(key).is_some_and(|waiting| *waiting > 0)
    }

    /// Whether it was given up, and nobody has asked for it since.
    pub(super) fn is_untracked(&self, key: &K) -> bool {
        self.untracked.contains(key)
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.values().any(|waiting| *waiting > 0)
    }

    /// One more waits for `key`, or one fewer.
    pub(super) fn wait(&mut self, key: &K) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            *waiting += 1;
        }
        self.untracked.remove(key);
    }

    pub(super) fn leave(&mut self, key: &K) {
        if let Some(waiting) = self.waiting.get_mut(key) {
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
    pub(super) fn part(&self, keys: &[K]) -> Self {
        let of = |key: &K| (key.clone(), self.waiting.get(key).copied().unwrap_or(0));
        Self {
            keys: keys.to_vec(),
            waiting: keys.iter().map(of).collect(),
            untracked: keys.iter().filter(|key| self.is_untracked(key)).cloned().collect(),
            is_part: true,
            ..Self::new(Line::Doubtful)
        }
    }
}

/// A request that still waits for its turn.
pub(super) struct Boarding<K, V, E> {
    pub(super) flight: Owed<K, V, E>,
    pub(super) seats: Seats<K>,
    /// The other half of a request that was refused. If that is answered, this one has a bad key.
    pub(super) other_half: Option<Arc<Flight<K, V, E>>>,
}

impl<K, V, E> Boarding<K, V, E> {
    pub(super) fn new(seats: Seats<K>) -> Self {
        Self { flight: Owed::new(), seats, other_half: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { keys: 3, weight: 10 };

    #[test]
    fn a_request_is_full_by_count_or_by_weight() {
        let mut seats = Seats::new(Line::Trusted);
        assert!((0..3).all(|key| seats.add(&key, 1, ROOM)));
        assert!(!seats.add(&3, 1, ROOM));
        assert!(seats.add(&2, 1, ROOM), "it is in already");

        let mut seats = Seats::new(Line::Trusted);
        assert!(seats.add(&0, 6, ROOM));
        assert!(!seats.add(&1, 5, ROOM));
        assert!(seats.add(&2, 4, ROOM));
    }

    #[test]
    fn a_key_too_heavy_for_any_request_goes_alone() {
        let mut seats = Seats::new(Line::Trusted);
        assert!(seats.add(&0, 99, ROOM));
        assert!(!seats.add(&1, 0, ROOM));
    }

    #[test]
    fn a_refused_key_goes_alone() {
        let mut seats = Seats::new(Line::Refused);
        assert!(seats.add(&0, 1, ROOM));
        assert!(!seats.add(&1, 1, ROOM));
    }

    #[test]
    fn a_part_has_the_waiters_of_its_keys_and_takes_no_others() {
        let mut seats = Seats::new(Line::Trusted);
        for key in [1, 2, 3] {
            seats.add(&key, 1, ROOM);
        }
        seats.wait(&2);
        seats.untrack(&[3]);
        let mut part = seats.part(&[2, 3]);
        assert!(part.awaits(&2) && !part.awaits(&3) && part.is_untracked(&3));
        assert!(!part.has(&1) && !part.add(&4, 1, ROOM));
        part.leave(&2);
        assert!(!part.is_awaited() && seats.is_awaited());
    }
}
