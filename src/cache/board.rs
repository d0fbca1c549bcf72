//! Who asks for what, and which request carries it.
//!
//! A request is a flight. One is in the air at a time. Whoever misses a key joins the flight in the
//! air if that carries the key and is young enough, else one that is boarding. A flight boards until
//! it takes off, which is when the request is really sent: all the time that it waits for its turn.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::answer::FetchError;
use super::flight::{Flight, Outcome, Owed, Parts};
use crate::quota::Moment;

/// How much one request takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) keys: usize,
    pub(super) weight: usize,
}

/// The keys of one request, and how many wait for each.
#[derive(Debug)]
pub(super) struct Seats<K> {
    keys: Vec<K>,
    waiting: HashMap<K, usize>,
    weight: usize,
    /// Taken along if there is room, before all else that is due.
    along: Vec<(K, usize)>,
    /// Keys that were given up since they came aboard: whoever waits is answered, but that they were
    /// asked for does not count any more.
    untracked: HashSet<K>,
    /// Takes no other keys: it is a part of a request that was refused.
    closed: bool,
    /// Takes keys that are in doubt, and no others.
    apart: bool,
    /// How often what is in it was halved.
    pub(super) halved: u8,
}

impl<K: Clone + Eq + Hash> Seats<K> {
    pub(super) fn new() -> Self {
        Self {
            keys: Vec::new(),
            waiting: HashMap::new(),
            weight: 0,
            along: Vec::new(),
            untracked: HashSet::new(),
            closed: false,
            apart: false,
            halved: 0,
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
        if full && !self.keys.is_empty() {
            return false;
        }
        // What can panic first, so that a key is in both or in neither.
        let (listed, awaited) = (key.clone(), key.clone());
        self.waiting.insert(awaited, 0);
        self.keys.push(listed);
        self.weight = weight;
        true
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

    fn is_awaited(&self) -> bool {
        self.waiting.values().any(|waiting| *waiting > 0)
    }

    /// One more waits for `key`, or one fewer.
    fn wait(&mut self, key: &K) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            *waiting += 1;
        }
        self.untracked.remove(key);
    }

    fn leave(&mut self, key: &K) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// The same waiters, for `keys` alone.
    fn part(&self, keys: &[K]) -> Self {
        let of = |key: &K| (key.clone(), self.waiting.get(key).copied().unwrap_or(0));
        Self {
            keys: keys.to_vec(),
            waiting: keys.iter().map(of).collect(),
            untracked: keys.iter().filter(|key| self.is_untracked(key)).cloned().collect(),
            closed: true,
            halved: self.halved,
            ..Self::new()
        }
    }
}

/// A flight that still takes keys.
struct Boarding<K, V, E> {
    flight: Owed<K, V, E>,
    seats: Seats<K>,
}

/// The flight in the air.
pub(super) struct InAir<K, V, E> {
    pub(super) flight: Owed<K, V, E>,
    pub(super) seats: Seats<K>,
    /// Just before the request was sent.
    pub(super) sent: Moment,
    /// Keys that were forgotten since: what it brings of them is not to be remembered.
    pub(super) forgotten: HashSet<K>,
}

/// A key that was in a refused request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    /// Until then it is not taken along.
    pub(super) until: Moment,
    /// Whether it flies with others of its kind alone. Else it was only along.
    pub(super) apart: bool,
}

/// Why a key is to be fetched although nobody waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urge {
    /// It soon will be due: if there is capacity to spare.
    Ahead,
    /// It is given although it is past its time.
    Stale,
}

/// All requests that have not ended.
pub(super) struct Board<K, V, E> {
    boarding: VecDeque<Boarding<K, V, E>>,
    pub(super) in_air: Option<InAir<K, V, E>>,
    /// To be fetched although nobody waits.
    pub(super) urged: HashMap<K, Urge>,
    /// Those of them that this turn is for.
    pub(super) urgent: Vec<K>,
    pub(super) doubts: HashMap<K, Doubt>,
    /// Counts the turns of the fetcher: a batch is good for one turn.
    pub(super) turn: u64,
    /// The fetcher is in a turn, and its request may still be sent.
    pub(super) fetching: bool,
    /// In this turn somebody asked for the keys.
    pub(super) taken: bool,
    pub(super) closed: bool,
}

impl<K: Clone + Eq + Hash, V, E> Board<K, V, E> {
    pub(super) fn new() -> Self {
        Self {
            boarding: VecDeque::new(),
            in_air: None,
            urged: HashMap::new(),
            urgent: Vec::new(),
            doubts: HashMap::new(),
            turn: 0,
            fetching: false,
            taken: false,
            closed: false,
        }
    }

    /// A flight that carries `key`, and whether somebody waits for `key` on it already.
    /// `young_enough` says whether one that was sent at a moment will do.
    pub(super) fn board(
        &mut self,
        key: &K,
        weight: usize,
        room: Room,
        young_enough: impl Fn(Moment) -> bool,
    ) -> (Arc<Flight<K, V, E>>, bool) {
        if let Some(air) = &mut self.in_air {
            if air.seats.has(key) && !air.forgotten.contains(key) && young_enough(air.sent) {
                air.seats.wait(key);
                return (Arc::clone(air.flight.flight()), true);
            }
        }
        let apart = self.doubts.get(key).is_some_and(|doubt| doubt.apart);
        let seated = self.boarding.iter().position(|boarding| boarding.seats.has(key));
        let place = seated.or_else(|| {
            self.boarding.iter_mut().position(|Boarding { seats, .. }| {
                !seats.closed && seats.apart == apart && seats.add(key, weight, room)
            })
        });
        let place = place.unwrap_or_else(|| {
            let mut seats = Seats::new();
            seats.add(key, weight, room);
            seats.apart = apart;
            self.boarding.push_back(Boarding { flight: Owed::new(), seats });
            self.boarding.len() - 1
        });
        let boarding = &mut self.boarding[place];
        let joined = boarding.seats.awaits(key);
        boarding.seats.wait(key);
        (Arc::clone(boarding.flight.flight()), joined)
    }

    /// Asks the flight to take `keys` along, each with its weight, if it has not gone.
    pub(super) fn take_along(&mut self, flight: &Arc<Flight<K, V, E>>, keys: Vec<(K, usize)>) {
        if let Some(boarding) = self.of(flight) {
            boarding.seats.along.extend(keys);
        }
    }

    /// One who waited for `key` on `flight` does so no more. Says whether it may have been sent.
    pub(super) fn leave(&mut self, flight: &Arc<Flight<K, V, E>>, key: &K) -> bool {
        if let Some(boarding) = self.of(flight) {
            boarding.seats.leave(key);
            return false;
        }
        match &mut self.in_air {
            Some(air) if air.flight.is(flight) => air.seats.leave(key),
            // It is over, and is made again in parts: the place is in one of them.
            _ => {
                if let Some(Outcome::Divided(parts)) = flight.outcome() {
                    parts.get(key).map(|part| self.leave(part, key));
                }
            }
        }
        true
    }

    /// What is aboard of `keys` was asked for before they were given up.
    pub(super) fn untrack(&mut self, keys: &[K]) {
        let boarding = self.boarding.iter_mut().map(|boarding| &mut boarding.seats);
        for seats in boarding.chain(self.in_air.as_mut().map(|air| &mut air.seats)) {
            seats.untracked.extend(keys.iter().cloned());
        }
    }

    /// Whose doubts are over may be taken along again.
    pub(super) fn trust_again(&mut self, now: Moment) {
        self.doubts.retain(|_, doubt| doubt.until > now);
    }

    fn of(&mut self, flight: &Arc<Flight<K, V, E>>) -> Option<&mut Boarding<K, V, E>> {
        self.boarding.iter_mut().find(|boarding| boarding.flight.is(flight))
    }

    /// Whether somebody waits for a flight. Those that nobody waits for any more are struck off.
    pub(super) fn is_awaited(&mut self) -> bool {
        self.boarding.retain(|boarding| boarding.seats.is_awaited());
        !self.boarding.is_empty()
    }

    /// The next flight goes. The room that is left is for what callers would like along, and then for
    /// `due`, each with its weight. `None`: there is nothing to ask for.
    pub(super) fn take_off(
        &mut self,
        sent: Moment,
        due: Vec<(K, usize)>,
        room: Room,
    ) -> Option<&InAir<K, V, E>> {
        if !self.is_awaited() {
            self.boarding.push_back(Boarding { flight: Owed::new(), seats: Seats::new() });
        }
        // It stays on the board until it is full, for that runs code which is not ours.
        let Boarding { seats, .. } = self.boarding.front_mut()?;
        if !seats.closed && !seats.apart {
            let mut along = std::mem::take(&mut seats.along);
            along.retain(|(key, _)| !seats.is_untracked(key));
            for (key, weight) in along.into_iter().chain(due) {
                if seats.keys.len() >= room.keys {
                    break;
                }
                if !self.doubts.contains_key(&key) && seats.add(&key, weight, room) {
                    seats.untracked.remove(&key);
                }
            }
        }
        let Boarding { flight, seats } = self.boarding.pop_front()?;
        if seats.keys.is_empty() {
            return None;
        }
        self.in_air = Some(InAir { flight, seats, sent, forgotten: HashSet::new() });
        self.in_air.as_ref()
    }

    /// The flight that would go next fails before it does.
    pub(super) fn fail_next(&mut self, error: FetchError<E>) {
        self.is_awaited();
        if let Some(Boarding { flight, .. }) = self.boarding.front() {
            flight.flight().tell(Outcome::Failed(error));
        }
        self.boarding.pop_front();
    }

    /// All flights, for nobody will make them any more.
    pub(super) fn give_up_all(&mut self) -> impl Sized + use<K, V, E> {
        (std::mem::take(&mut self.boarding), self.in_air.take())
    }

    /// Lets parts of a flight go in its place, before all others. Gives the flight of each key.
    pub(super) fn again(&mut self, seats: &Seats<K>, parts: &[&[K]], halved: u8) -> Parts<K, V, E> {
        let mut flights = HashMap::new();
        for keys in parts.iter().rev() {
            let flight = Owed::new();
            flights.extend(keys.iter().map(|key| (key.clone(), Arc::clone(flight.flight()))));
            let mut seats = seats.part(keys);
            seats.halved = halved;
            self.boarding.push_front(Boarding { flight, seats });
        }
        flights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { keys: 3, weight: 10 };
    const NOW: Moment = Moment::from_nanos(5);

    fn board() -> Board<u8, (), ()> {
        Board::new()
    }

    fn any(_: Moment) -> bool {
        true
    }

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
        let mut board = board();
        let (first, joined) = board.board(&1, 1, ROOM, any);
        assert!(!joined);
        assert!(board.board(&1, 1, ROOM, any).1, "somebody waits for it");
        let air = board.take_off(NOW, vec![(2, 1)], ROOM).unwrap();
        assert!(air.flight.is(&first));
        assert_eq!(air.seats.keys(), [1, 2]);
        assert!(Arc::ptr_eq(&first, &board.board(&2, 1, ROOM, any).0));

        let (next, joined) = board.board(&2, 1, ROOM, |sent| sent > NOW);
        assert!(!joined && !Arc::ptr_eq(&first, &next), "the one in the air is too old");
        assert!(!Arc::ptr_eq(&first, &board.board(&3, 1, ROOM, any).0));
    }

    #[test]
    fn a_flight_that_everybody_left_does_not_go() {
        let mut board = board();
        let (first, _) = board.board(&1, 1, ROOM, any);
        let (second, _) = board.board(&1, 1, ROOM, any);
        assert!(!board.leave(&first, &1));
        assert!(board.is_awaited());
        assert!(!board.leave(&second, &1));
        assert!(!board.is_awaited());
        assert!(board.take_off(NOW, Vec::new(), ROOM).is_none());
    }

    #[test]
    fn keys_in_doubt_fly_with_their_kind() {
        let mut board = board();
        board.doubts.extend([7, 8].map(|key| (key, Doubt { until: NOW, apart: true })));
        board.doubts.insert(2, Doubt { until: NOW, apart: false });
        let (with, _) = board.board(&1, 1, ROOM, any);
        let (apart, _) = board.board(&7, 1, ROOM, any);
        assert!(!Arc::ptr_eq(&with, &apart));
        assert!(Arc::ptr_eq(&with, &board.board(&2, 1, ROOM, any).0));
        assert!(Arc::ptr_eq(&apart, &board.board(&8, 1, ROOM, any).0));
    }
}
