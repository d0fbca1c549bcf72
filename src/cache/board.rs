//! Who asks for what, and which request carries it.
//!
//! A request is a flight. One is in the air at a time. Whoever misses a key joins the flight in the
//! air if that carries the key and is young enough, else one that is boarding. A flight boards until
//! it takes off, which is when the request is really sent: all the time that it waits for its turn.
//!
//! The flights wait in three lines, which take turns: those for keys of which nothing bad is known,
//! those for keys in doubt ([`doubts`](super::doubts)), and those for one key that was refused before. So
//! however many bad keys are asked for, a good one waits for one of their requests at a time.
//!
//! A request that is refused is made again in parts. Keys that nobody waits for are left out first.
//! If it is refused without them too, it is halved, and so on, down to single keys. If the first of two
//! halves is answered, the other one has a bad key, and is halved without being asked for. So one bad key
//! among n costs `2 log2 n + 2` requests at most.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::answer::FetchError;
use super::doubts::Doubts;
use super::flight::{Flight, Outcome, Owed, Parts};
use super::seats::{Boarding, Line, Room, Seats};
use crate::quota::Moment;

/// The flight in the air.
pub(super) struct InAir<K, V, E> {
    pub(super) flight: Owed<K, V, E>,
    pub(super) seats: Seats<K>,
    /// Just before the request was sent.
    pub(super) sent: Moment,
    /// Keys that were forgotten since: what it brings of them is not to be remembered.
    pub(super) forgotten: HashSet<K>,
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
    lines: [VecDeque<Boarding<K, V, E>>; Line::ALL.len()],
    /// The line of the last request.
    last: Line,
    pub(super) in_air: Option<InAir<K, V, E>>,
    /// To be fetched although nobody waits.
    pub(super) to_refresh: HashMap<K, Urge>,
    /// Those of them that this turn is for.
    pub(super) refreshing: Vec<K>,
    pub(super) doubts: Doubts<K>,
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
            lines: Line::ALL.map(|_| VecDeque::new()),
            last: Line::Refused,
            in_air: None,
            to_refresh: HashMap::new(),
            refreshing: Vec::new(),
            doubts: Doubts::new(),
            turn: 0,
            fetching: false,
            taken: false,
            closed: false,
        }
    }

    /// A flight that carries `key`, and whether somebody waits for `key` on it already.
    /// `young_enough` says whether one that was sent at a moment will do; `line` is where the key waits
    /// if no flight has it yet.
    pub(super) fn board(
        &mut self,
        key: &K,
        weight: usize,
        room: Room,
        line: Line,
        young_enough: impl Fn(Moment) -> bool,
    ) -> (Arc<Flight<K, V, E>>, bool) {
        if let Some(air) = &mut self.in_air {
            if air.seats.has(key) && !air.forgotten.contains(key) && young_enough(air.sent) {
                air.seats.wait(key);
                return (Arc::clone(air.flight.flight()), true);
            }
        }
        if let Some(boarding) = self.boarding().find(|boarding| boarding.seats.has(key)) {
            let joined = boarding.seats.awaits(key);
            boarding.seats.wait(key);
            return (Arc::clone(boarding.flight.flight()), joined);
        }
        let waiting = &mut self.lines[line as usize];
        let place = waiting.iter_mut().position(|boarding| boarding.seats.add(key, weight, room));
        let place = place.unwrap_or_else(|| {
            let mut seats = Seats::new(line);
            seats.add(key, weight, room);
            waiting.push_back(Boarding::new(seats));
            waiting.len() - 1
        });
        let boarding = &mut waiting[place];
        boarding.seats.wait(key);
        (Arc::clone(boarding.flight.flight()), false)
    }

    fn boarding(&mut self) -> impl Iterator<Item = &mut Boarding<K, V, E>> {
        self.lines.iter_mut().flatten()
    }

    fn boarding_of(&mut self, flight: &Arc<Flight<K, V, E>>) -> Option<&mut Boarding<K, V, E>> {
        self.boarding().find(|boarding| boarding.flight.is(flight))
    }

    /// Asks the flight to take `keys` along, each with its weight, if it has not gone.
    pub(super) fn take_along(&mut self, flight: &Arc<Flight<K, V, E>>, keys: Vec<(K, usize)>) {
        if let Some(boarding) = self.boarding_of(flight) {
            boarding.seats.along.extend(keys);
        }
    }

    /// One who waited for `key` on `flight` does so no more. Says whether it may have been sent.
    pub(super) fn leave(&mut self, flight: &Arc<Flight<K, V, E>>, key: &K) -> bool {
        if let Some(boarding) = self.boarding_of(flight) {
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
        self.boarding().for_each(|boarding| boarding.seats.untrack(keys));
        if let Some(air) = &mut self.in_air {
            air.seats.untrack(keys);
        }
    }

    /// Whether somebody waits for a flight. Those that nobody waits for any more are struck off.
    pub(super) fn is_awaited(&mut self) -> bool {
        for line in &mut self.lines {
            line.retain(|boarding| boarding.seats.is_awaited());
        }
        if self.lines[Line::Doubtful as usize].is_empty() {
            self.doubts.reset();
        }
        self.lines.iter().any(|line| !line.is_empty())
    }

    /// Chooses who goes next: the first of the line whose turn it is. `None`: nobody waits.
    fn next_line(&mut self) -> Option<Line> {
        self.is_awaited();
        let turns = Line::ALL.into_iter().cycle().skip(self.last as usize + 1);
        let next = turns.take(Line::ALL.len()).find(|line| !self.lines[*line as usize].is_empty());
        self.last = next.unwrap_or(Line::Trusted);
        next
    }

    /// The next flight goes. The room that is left is for what callers would like along, and then for
    /// `due`, each with its weight. `None`: there is nothing to ask for.
    ///
    /// `had_value` says whether a key had a value before, and `random` is any number: by these a single
    /// key is chosen where one is to be picked.
    pub(super) fn take_off(
        &mut self,
        sent: Moment,
        due: Vec<(K, usize)>,
        room: Room,
        had_value: impl Fn(&K) -> bool,
        random: u64,
    ) -> Option<&InAir<K, V, E>> {
        match self.next_line() {
            Some(Line::Doubtful) if self.doubts.picks_single_keys() => self.pick(had_value, random),
            Some(_) => {}
            None => self.lines[Line::Trusted as usize]
                .push_back(Boarding::new(Seats::new(Line::Trusted))),
        }
        let line = self.last as usize;
        if self.last == Line::Trusted {
            // It stays on the board until it is full, for that runs code which is not ours.
            let Boarding { seats, .. } = self.lines[line].front_mut()?;
            let mut wanted = std::mem::take(&mut seats.along);
            wanted.retain(|(key, _)| !seats.is_untracked(key));
            wanted.extend(due);
            wanted.retain(|(key, _)| !self.is_in_doubt(key, sent));
            let Boarding { seats, .. } = self.lines[line].front_mut()?;
            for (key, weight) in wanted {
                if seats.keys().len() >= room.keys {
                    break;
                }
                if seats.add(&key, weight, room) {
                    seats.track(&key);
                }
            }
        }
        let Boarding { flight, seats, .. } = self.lines[line].pop_front()?;
        if seats.keys().is_empty() {
            return None;
        }
        self.in_air = Some(InAir { flight, seats, sent, forgotten: HashSet::new() });
        self.in_air.as_ref()
    }

    /// Whether it would not do to take `key` along.
    fn is_in_doubt(&self, key: &K, now: Moment) -> bool {
        let mut parts = self.lines[Line::Doubtful as usize].iter();
        self.doubts.has(key, now) || parts.any(|boarding| boarding.seats.has(key))
    }

    /// The flight that would go next fails before it does.
    pub(super) fn fail_next(&mut self, error: FetchError<E>) {
        let Some(line) = self.next_line() else { return };
        if let Some(Boarding { flight, .. }) = self.lines[line as usize].front() {
            flight.flight().tell(Outcome::Failed(Arc::new(error)));
        }
        self.lines[line as usize].pop_front();
    }

    /// All flights, for nobody will make them any more.
    pub(super) fn give_up_all(&mut self) -> impl Sized + use<K, V, E> {
        (std::mem::take(&mut self.lines), self.in_air.take())
    }

    /// A request for several keys was refused: it is made again in parts, which gives the flight of each
    /// key that somebody waits for. `None` if there is no such key. The first doubt of a key lasts for
    /// `first`.
    pub(super) fn divide(
        &mut self,
        seats: &Seats<K>,
        now: Moment,
        first: Duration,
    ) -> Option<Parts<K, V, E>> {
        self.doubts.divided(seats.keys(), now, first);
        let awaited: Vec<K> =
            seats.keys().iter().filter(|key| seats.awaits(key)).cloned().collect();
        match awaited.len() {
            0 => None,
            all if all == seats.keys().len() => Some(self.halve(seats)),
            _ => Some(self.board_parts(seats, &[&awaited])),
        }
    }

    fn halve(&mut self, seats: &Seats<K>) -> Parts<K, V, E> {
        let (left, right) = seats.keys().split_at(seats.keys().len() / 2);
        self.board_parts(seats, &[left, right])
    }

    /// Lets parts of a flight go in its place. Gives the flight of each key.
    fn board_parts(&mut self, seats: &Seats<K>, parts: &[&[K]]) -> Parts<K, V, E> {
        let mut flights = HashMap::new();
        let mut other_half = None;
        for keys in parts {
            let mut boarding = Boarding::new(seats.part(keys));
            let flight = boarding.flight.flight();
            flights.extend(keys.iter().map(|key| (key.clone(), Arc::clone(flight))));
            boarding.other_half = other_half.replace(Arc::clone(boarding.flight.flight()));
            self.lines[Line::Doubtful as usize].push_back(boarding);
        }
        flights
    }

    /// The flight was answered. If it was one half of a refused request, the other half has a bad key,
    /// and is halved in its turn.
    pub(super) fn answered(&mut self, air: &InAir<K, V, E>) {
        self.doubts.answered(air.seats.line, air.seats.keys());
        let parts = &mut self.lines[Line::Doubtful as usize];
        let is_twin = |boarding: &Boarding<K, V, E>| {
            boarding.other_half.as_ref().is_some_and(|other_half| air.flight.is(other_half))
        };
        let Some(place) = parts.iter().position(is_twin) else { return };
        let seats = &parts[place].seats;
        // A key that somebody left may be the bad one: it is left out before anything is halved.
        if seats.keys().len() < 2 || !seats.keys().iter().all(|key| seats.awaits(key)) {
            return;
        }
        if let Some(Boarding { flight, seats, .. }) = parts.remove(place) {
            let parts = self.halve(&seats);
            flight.flight().tell(Outcome::Divided(parts));
        }
    }

    /// The flight, of one key, was refused: that key is bad, and no other.
    pub(super) fn refused_alone(&mut self, air: &InAir<K, V, E>) {
        air.seats.keys().iter().for_each(|key| self.doubts.clear(key));
        if air.seats.is_part {
            self.doubts.refused_alone();
        }
    }

    /// Puts a single key of the waiting parts at the head of their line: one that had a value before, or
    /// else any.
    fn pick(&mut self, had_value: impl Fn(&K) -> bool, random: u64) {
        let parts = &mut self.lines[Line::Doubtful as usize];
        if parts.front().is_none_or(|boarding| !boarding.seats.is_part) {
            return;
        }
        let mut keys = Vec::new();
        for (place, Boarding { seats, .. }) in parts.iter().enumerate() {
            if seats.is_part {
                let awaited = seats.keys().iter().filter(|key| seats.awaits(key));
                keys.extend(awaited.map(|key| (place, key)));
            }
        }
        let any = random.checked_rem(keys.len() as u64).unwrap_or(0) as usize;
        let chosen = keys.iter().find(|(_, key)| had_value(key)).or_else(|| keys.get(any));
        let Some((place, key)) = chosen.map(|(place, key)| (*place, K::clone(key))) else { return };
        let Some(Boarding { flight, seats, other_half }) = parts.remove(place) else { return };
        if seats.keys().len() == 1 {
            parts.push_front(Boarding { flight, seats, other_half });
            return;
        }
        let others: Vec<K> = seats.keys().iter().filter(|own| **own != key).cloned().collect();
        let single = Boarding::new(seats.part(std::slice::from_ref(&key)));
        let rest = Boarding::new(seats.part(&others));
        let mut flights = Parts::new();
        flights.insert(key, Arc::clone(single.flight.flight()));
        flights.extend(others.into_iter().map(|key| (key, Arc::clone(rest.flight.flight()))));
        parts.insert(place, rest);
        parts.push_front(single);
        flight.flight().tell(Outcome::Divided(flights));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { keys: 8, weight: 100 };
    const NOW: Moment = Moment::from_nanos(5);
    const FIRST: Duration = Duration::from_secs(30);

    type Numbers = Board<u8, (), ()>;

    fn any(_: Moment) -> bool {
        true
    }

    fn board(board: &mut Numbers, line: Line, keys: &[u8]) -> Arc<Flight<u8, (), ()>> {
        let flights: Vec<_> =
            keys.iter().map(|key| board.board(key, 1, ROOM, line, any).0).collect();
        flights.into_iter().next_back().unwrap()
    }

    /// The keys of the next flight, which takes off.
    fn take_off(board: &mut Numbers) -> Vec<u8> {
        let air = board.take_off(NOW, Vec::new(), ROOM, |_| false, 0);
        air.map(|air| air.seats.keys().to_vec()).unwrap_or_default()
    }

    fn refuse(board: &mut Numbers) {
        let air = board.in_air.take().unwrap();
        let parts = board.divide(&air.seats, NOW, FIRST).unwrap();
        air.flight.flight().tell(Outcome::Divided(parts));
    }

    fn answer(board: &mut Numbers) {
        let air = board.in_air.take().unwrap();
        air.flight.flight().tell(Outcome::Landed { entries: HashMap::new(), at: NOW });
        board.answered(&air);
    }

    #[test]
    fn one_flight_is_in_the_air_and_carries_those_who_ask_for_the_same() {
        let mut board = Numbers::new();
        let (first, joined) = board.board(&1, 1, ROOM, Line::Trusted, any);
        assert!(!joined);
        assert!(board.board(&1, 1, ROOM, Line::Trusted, any).1, "somebody waits for it");
        let air = board.take_off(NOW, vec![(2, 1)], ROOM, |_| false, 0).unwrap();
        assert!(air.flight.is(&first));
        assert_eq!(air.seats.keys(), [1, 2]);
        assert!(Arc::ptr_eq(&first, &board.board(&2, 1, ROOM, Line::Trusted, any).0));

        let (next, joined) = board.board(&2, 1, ROOM, Line::Trusted, |sent| sent > NOW);
        assert!(!joined && !Arc::ptr_eq(&first, &next), "the one in the air is too old");
        assert!(!Arc::ptr_eq(&first, &board.board(&3, 1, ROOM, Line::Trusted, any).0));
    }

    #[test]
    fn a_flight_that_everybody_left_does_not_go() {
        let mut board = Numbers::new();
        let first = self::board(&mut board, Line::Trusted, &[1]);
        let second = self::board(&mut board, Line::Trusted, &[1]);
        assert!(!board.leave(&first, &1));
        assert!(board.is_awaited());
        assert!(!board.leave(&second, &1));
        assert!(!board.is_awaited());
        assert!(take_off(&mut board).is_empty());
    }

    #[test]
    fn the_lines_take_turns() {
        let mut numbers = Numbers::new();
        for key in [20, 21, 22] {
            board(&mut numbers, Line::Refused, &[key]);
        }
        board(&mut numbers, Line::Doubtful, &[10, 11]);
        board(&mut numbers, Line::Trusted, &[1, 2]);
        let mut gone = Vec::new();
        for _ in 0..3 {
            gone.push(take_off(&mut numbers));
            answer(&mut numbers);
        }
        board(&mut numbers, Line::Trusted, &[3]);
        for _ in 0..3 {
            gone.push(take_off(&mut numbers));
            answer(&mut numbers);
        }
        let turns = [vec![1, 2], vec![10, 11], vec![20], vec![3], vec![21], vec![22]];
        assert_eq!(gone, turns, "those that were refused go alone");
    }

    #[test]
    fn keys_in_doubt_are_not_taken_along() {
        let mut numbers = Numbers::new();
        board(&mut numbers, Line::Trusted, &[1, 2, 3, 4]);
        take_off(&mut numbers);
        refuse(&mut numbers);
        // One half is in the air and then trusted, the other waits; 9 was never asked for.
        assert_eq!(take_off(&mut numbers), [1, 2]);
        answer(&mut numbers);
        board(&mut numbers, Line::Trusted, &[5]);
        let late = NOW + FIRST * 9;
        let due = (1..=4).chain([9]).map(|key| (key, 1)).collect();
        let air = numbers.take_off(late, due, ROOM, |_| false, 0).unwrap();
        assert_eq!(air.seats.keys(), [5, 1, 2, 9], "nor if its doubt is over while its part waits");
    }

    #[test]
    fn a_half_is_divided_without_being_asked_for_if_the_other_half_was_answered() {
        let mut numbers = Numbers::new();
        board(&mut numbers, Line::Trusted, &[1, 2, 3, 4]);
        take_off(&mut numbers);
        refuse(&mut numbers);
        assert_eq!(take_off(&mut numbers), [1, 2]);
        answer(&mut numbers);
        assert_eq!(take_off(&mut numbers), [3]);
        answer(&mut numbers);
        assert_eq!(take_off(&mut numbers), [4], "a single key has to be asked for");
    }

    #[test]
    fn a_half_of_which_somebody_left_a_key_is_asked_for_without_it() {
        let mut numbers = Numbers::new();
        let flight = board(&mut numbers, Line::Trusted, &[1, 2, 3, 4]);
        take_off(&mut numbers);
        refuse(&mut numbers);
        assert!(numbers.leave(&flight, &4), "the request for it was sent");
        assert_eq!(take_off(&mut numbers), [1, 2]);
        answer(&mut numbers);
        assert_eq!(take_off(&mut numbers), [3, 4]);
        refuse(&mut numbers);
        assert_eq!(take_off(&mut numbers), [3]);
        answer(&mut numbers);
        assert!(take_off(&mut numbers).is_empty(), "nobody waits for 4");
    }

    #[test]
    fn a_key_that_had_a_value_is_picked_first() {
        let mut numbers = Numbers::new();
        board(&mut numbers, Line::Trusted, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut asked = Vec::new();
        for _ in 0..5 {
            let air = numbers.take_off(NOW, Vec::new(), ROOM, |key| *key == 6, 0).unwrap();
            asked.push(air.seats.keys().to_vec());
            if asked.last().is_some_and(|keys| keys.len() > 1) {
                refuse(&mut numbers);
            }
        }
        let one_by_one = [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![1, 2], vec![6]];
        assert_eq!(asked[1..], one_by_one);
        // What is left of its part waits in its place.
        answer(&mut numbers);
        assert_eq!(take_off(&mut numbers), [3, 4]);
        answer(&mut numbers);
        assert_eq!([take_off(&mut numbers)], [[5]]);
    }
}
