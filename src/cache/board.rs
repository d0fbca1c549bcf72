//! Who asks for what: the request under way, and those that are being filled.
//!
//! A request is a flight. One is in the air at a time. Whoever misses a key joins the flight in the
//! air if that carries the key, else one that is boarding. When nothing is in the air, any of those
//! who wait takes the next flight off, for everybody; so a flight is never left without a pilot,
//! whoever may have stopped waiting for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use super::batch::{Entry, FetchError};

/// What a request brought: an entry for every key that it asked for.
pub(super) type Landed<K, V> = HashMap<K, Arc<Entry<V>>>;

/// How a request ended. All who wait for it share this.
pub(super) struct Flight<K, V, E>(OnceLock<Result<Landed<K, V>, FetchError<E>>>);

impl<K, V, E> Flight<K, V, E> {
    /// Tells the outcome. The first word counts.
    pub(super) fn land(&self, outcome: Result<Landed<K, V>, FetchError<E>>) {
        let _ = self.0.set(outcome);
    }

    pub(super) fn outcome(&self) -> Option<&Result<Landed<K, V>, FetchError<E>>> {
        self.0.get()
    }
}

/// The keys of one request, as far as it is filled.
pub(super) struct Seats<K> {
    keys: Vec<K>,
    taken: HashSet<K>,
    weight: usize,
}

/// How much one request takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) keys: usize,
    pub(super) weight: usize,
}

impl<K: Clone + Eq + Hash> Seats<K> {
    fn new() -> Self {
        Self { keys: Vec::new(), taken: HashSet::new(), weight: 0 }
    }

    /// Adds a key if there is room, or is there already. The first one always finds room: a request
    /// for one key is the least there is.
    pub(super) fn add(&mut self, key: &K, weight: usize, room: Room) -> bool {
        if self.taken.contains(key) {
            return true;
        }
        let weight = self.weight.saturating_add(weight);
        let full = self.keys.len() >= room.keys || weight > room.weight;
        if full && !self.keys.is_empty() {
            return false;
        }
        self.weight = weight;
        self.keys.push(key.clone());
        self.taken.insert(key.clone())
    }
}

/// A flight that still takes keys.
struct Boarding<K, V, E> {
    flight: Arc<Flight<K, V, E>>,
    seats: Seats<K>,
}

/// The flight in the air, and whom it carries.
struct InAir<K, V, E> {
    flight: Arc<Flight<K, V, E>>,
    keys: HashSet<K>,
}

/// A flight that is now its pilot's to fly.
pub(super) struct TakenOff<K, V, E> {
    pub(super) flight: Arc<Flight<K, V, E>>,
    pub(super) keys: Vec<K>,
}

/// All flights that have not landed.
pub(super) struct Board<K, V, E> {
    in_air: Option<InAir<K, V, E>>,
    boarding: VecDeque<Boarding<K, V, E>>,
}

impl<K: Clone + Eq + Hash, V, E> Board<K, V, E> {
    pub(super) fn new() -> Self {
        Self { in_air: None, boarding: VecDeque::new() }
    }

    /// The flight that carries `key`.
    pub(super) fn board(&mut self, key: &K, weight: usize, room: Room) -> Arc<Flight<K, V, E>> {
        if let Some(InAir { flight, keys }) = &self.in_air {
            if keys.contains(key) {
                return Arc::clone(flight);
            }
        }
        for boarding in &mut self.boarding {
            if boarding.seats.add(key, weight, room) {
                return Arc::clone(&boarding.flight);
            }
        }
        let mut seats = Seats::new();
        seats.add(key, weight, room);
        let flight = Arc::new(Flight(OnceLock::new()));
        self.boarding.push_back(Boarding { flight: Arc::clone(&flight), seats });
        flight
    }

    /// The next flight, if none is in the air; `fill` may use the room that is left.
    pub(super) fn take_off(
        &mut self,
        fill: impl FnOnce(&mut Seats<K>),
    ) -> Option<TakenOff<K, V, E>> {
        if self.in_air.is_some() {
            return None;
        }
        let Boarding { flight, mut seats } = self.boarding.pop_front()?;
        fill(&mut seats);
        self.in_air = Some(InAir { flight: Arc::clone(&flight), keys: seats.taken });
        Some(TakenOff { flight, keys: seats.keys })
    }

    /// The flight in the air is down.
    pub(super) fn landed(&mut self) {
        self.in_air = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { keys: 3, weight: 10 };

    #[test]
    fn a_request_is_full_by_count_or_by_weight() {
        let mut seats = Seats::new();
        assert!((0..3).all(|key| seats.add(&key, 1, ROOM)));
        assert!(!seats.add(&3, 1, ROOM));
        assert!(seats.add(&2, 1, ROOM), "it is in already");

        let mut seats = Seats::new();
        assert!(seats.add(&0, 6, ROOM));
        assert!(!seats.add(&1, 5, ROOM));
        assert!(seats.add(&2, 4, ROOM));
    }

    #[test]
    fn a_key_too_heavy_for_any_request_goes_alone() {
        let mut seats = Seats::new();
        assert!(seats.add(&0, 99, ROOM));
        assert!(!seats.add(&1, 0, ROOM));
    }

    #[test]
    fn one_flight_is_in_the_air_and_carries_those_who_ask_for_the_same() {
        let mut board = Board::<u8, (), ()>::new();
        let first = board.board(&1, 1, ROOM);
        let fill = |seats: &mut Seats<u8>| assert!(seats.add(&2, 1, ROOM));
        let TakenOff { flight: flying, keys } = board.take_off(fill).unwrap();
        assert!(Arc::ptr_eq(&first, &flying));
        assert_eq!(keys, [1, 2]);
        assert!(Arc::ptr_eq(&flying, &board.board(&2, 1, ROOM)));

        let next = board.board(&3, 1, ROOM);
        assert!(!Arc::ptr_eq(&flying, &next));
        assert!(board.take_off(|_| ()).is_none(), "one is in the air");
        board.landed();
        assert!(Arc::ptr_eq(&next, &board.take_off(|_| ()).unwrap().flight));
    }
}
