//! Who asks for what, and which request carries it.
//!
//! A request is a flight. One is in the air at a time. Whoever misses a key joins the flight in the
//! air if that carries the key and is young enough, else one that is boarding. A flight boards until
//! it takes off, which is when the request is really sent: all the time that it waits for its turn.
//!
//! The flights wait in three lines, which take turns: those for keys of which nothing bad is known,
//! those for keys in doubt ([`doubts`](super::quarantine)), and those for one key that was refused before. So
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

use super::keys::{BatchKeys, BatchLimit, BatchQueue, OpenBatch};
use super::lookup::FetchError;
use super::quarantine::Quarantine;
use super::request::{PendingRequest, RequestOutcome, ResponseGuard, SplitRequests};
use crate::quota::Moment;

/// The flight in the air.
pub(super) struct InFlightBatch<K, V, E> {
    pub(super) response: ResponseGuard<K, V, E>,
    pub(super) batch_keys: BatchKeys<K>,
    /// Just before the request was sent.
    pub(super) sent: Moment,
    /// Keys that were forgotten since: what it brings of them is not to be remembered.
    pub(super) invalidated: HashSet<K>,
}

/// Why a key is to be fetched although nobody waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refresh {
    /// It soon will be due: if there is capacity to spare.
    Ahead,
    /// It is given although it is past its time.
    Stale,
}

/// All requests that have not ended.
pub(super) struct PendingRequests<K, V, E> {
    queues: [VecDeque<OpenBatch<K, V, E>>; BatchQueue::ALL.len()],
    /// The line of the last request.
    last_queue: BatchQueue,
    pub(super) in_flight: Option<InFlightBatch<K, V, E>>,
    /// To be fetched although nobody waits.
    pub(super) to_refresh: HashMap<K, Refresh>,
    /// Those of them that this turn is for.
    pub(super) refreshing: Vec<K>,
    pub(super) quarantine: Quarantine<K>,
    /// Counts the turns of the fetcher: a batch is good for one turn.
    pub(super) generation: u64,
    /// The fetcher is in a turn, and its request may still be sent.
    pub(super) fetching: bool,
    /// In this turn somebody asked for the keys.
    pub(super) keys_taken: bool,
    pub(super) closed: bool,
}

impl<K: Clone + Eq + Hash, V, E> PendingRequests<K, V, E> {
    pub(super) fn new() -> Self {
        Self {
            queues: BatchQueue::ALL.map(|_| VecDeque::new()),
            last_queue: BatchQueue::Refused,
            in_flight: None,
            to_refresh: HashMap::new(),
            refreshing: Vec::new(),
            quarantine: Quarantine::new(),
            generation: 0,
            fetching: false,
            keys_taken: false,
            closed: false,
        }
    }

    /// A flight that carries `key`, and whether somebody waits for `key` on it already.
    /// `young_enough` says whether one that was sent at a moment will do; `line` is where the key waits
    /// if no flight has it yet.
    pub(super) fn join_or_open(
        &mut self,
        key: &K,
        weight: usize,
        limit: BatchLimit,
        queue: BatchQueue,
        young_enough: impl Fn(Moment) -> bool,
    ) -> (Arc<PendingRequest<K, V, E>>, bool) {
        if let Some(air) = &mut self.in_flight {
            if air.batch_keys.contains(key)
                && !air.invalidated.contains(key)
                && young_enough(air.sent)
            {
                air.batch_keys.add_waiter(key);
                return (Arc::clone(air.response.request()), true);
            }
        }
        if let Some(boarding) =
            self.open_batches().find(|boarding| boarding.batch_keys.contains(key))
        {
            let joined = boarding.batch_keys.has_waiter_for(key);
            boarding.batch_keys.add_waiter(key);
            return (Arc::clone(boarding.response.request()), joined);
        }
        let waiting = &mut self.queues[queue as usize];
        let place =
            waiting.iter_mut().position(|boarding| boarding.batch_keys.add(key, weight, limit));
        let place = place.unwrap_or_else(|| {
            let mut seats = BatchKeys::new(queue);
            seats.add(key, weight, limit);
            waiting.push_back(OpenBatch::new(seats));
            waiting.len() - 1
        });
        let boarding = &mut waiting[place];
        boarding.batch_keys.add_waiter(key);
        (Arc::clone(boarding.response.request()), false)
    }

    fn open_batches(&mut self) -> impl Iterator<Item = &mut OpenBatch<K, V, E>> {
        self.queues.iter_mut().flatten()
    }

    fn find_open_batch(
        &mut self,
        flight: &Arc<PendingRequest<K, V, E>>,
    ) -> Option<&mut OpenBatch<K, V, E>> {
        self.open_batches().find(|boarding| boarding.response.guards(flight))
    }

    /// Asks the flight to take `keys` along, each with its weight, if it has not gone.
    pub(super) fn add_piggyback(
        &mut self,
        flight: &Arc<PendingRequest<K, V, E>>,
        keys: Vec<(K, usize)>,
    ) {
        if let Some(boarding) = self.find_open_batch(flight) {
            boarding.batch_keys.piggyback.extend(keys);
        }
    }

    /// One who waited for `key` on `flight` does so no more. Says whether it may have been sent.
    pub(super) fn remove_waiter(&mut self, flight: &Arc<PendingRequest<K, V, E>>, key: &K) -> bool {
        if let Some(boarding) = self.find_open_batch(flight) {
            boarding.batch_keys.remove_waiter(key);
            return false;
        }
        match &mut self.in_flight {
            Some(air) if air.response.guards(flight) => air.batch_keys.remove_waiter(key),
            // It is over, and is made again in parts: the place is in one of them.
            _ => {
                if let Some(RequestOutcome::Split(parts)) = flight.outcome() {
                    parts.get(key).map(|part| self.remove_waiter(part, key));
                }
            }
        }
        true
    }

    /// What is aboard of `keys` was asked for before they were given up.
    pub(super) fn untrack(&mut self, keys: &[K]) {
        self.open_batches().for_each(|boarding| boarding.batch_keys.untrack(keys));
        if let Some(air) = &mut self.in_flight {
            air.batch_keys.untrack(keys);
        }
    }

    /// Whether somebody waits for a flight. Those that nobody waits for any more are struck off.
    pub(super) fn retain_awaited(&mut self) -> bool {
        for line in &mut self.queues {
            line.retain(|boarding| boarding.batch_keys.has_waiters());
        }
        if self.queues[BatchQueue::Quarantined as usize].is_empty() {
            self.quarantine.reset();
        }
        self.queues.iter().any(|line| !line.is_empty())
    }

    /// Chooses who goes next: the first of the line whose turn it is. `None`: nobody waits.
    fn next_queue(&mut self) -> Option<BatchQueue> {
        self.retain_awaited();
        let turns = BatchQueue::ALL.into_iter().cycle().skip(self.last_queue as usize + 1);
        let next =
            turns.take(BatchQueue::ALL.len()).find(|line| !self.queues[*line as usize].is_empty());
        self.last_queue = next.unwrap_or(BatchQueue::Trusted);
        next
    }

    /// The next flight goes. The room that is left is for what callers would like along, and then for
    /// `due`, each with its weight. `None`: there is nothing to ask for.
    ///
    /// `had_value` says whether a key had a value before, and `random` is any number: by these a single
    /// key is chosen where one is to be picked.
    pub(super) fn dispatch(
        &mut self,
        sent: Moment,
        due: Vec<(K, usize)>,
        limit: BatchLimit,
        had_value: impl Fn(&K) -> bool,
        random: u64,
    ) -> Option<&InFlightBatch<K, V, E>> {
        match self.next_queue() {
            Some(BatchQueue::Quarantined) if self.quarantine.should_isolate_keys() => {
                self.isolate_key(had_value, random)
            }
            Some(_) => {}
            None => self.queues[BatchQueue::Trusted as usize]
                .push_back(OpenBatch::new(BatchKeys::new(BatchQueue::Trusted))),
        }
        let line = self.last_queue as usize;
        if self.last_queue == BatchQueue::Trusted {
            // It stays on the board until it is full, for that runs code which is not ours.
            let OpenBatch { batch_keys: seats, .. } = self.queues[line].front_mut()?;
            let mut wanted = std::mem::take(&mut seats.piggyback);
            wanted.retain(|(key, _)| !seats.is_untracked(key));
            wanted.extend(due);
            wanted.retain(|(key, _)| !self.is_quarantined(key, sent));
            let OpenBatch { batch_keys: seats, .. } = self.queues[line].front_mut()?;
            for (key, weight) in wanted {
                if seats.keys().len() >= limit.keys {
                    break;
                }
                if seats.add(&key, weight, limit) {
                    seats.track(&key);
                }
            }
        }
        let OpenBatch { response: flight, batch_keys: seats, .. } =
            self.queues[line].pop_front()?;
        if seats.keys().is_empty() {
            return None;
        }
        self.in_flight = Some(InFlightBatch {
            response: flight,
            batch_keys: seats,
            sent,
            invalidated: HashSet::new(),
        });
        self.in_flight.as_ref()
    }

    /// Whether it would not do to take `key` along.
    fn is_quarantined(&self, key: &K, now: Moment) -> bool {
        let mut parts = self.queues[BatchQueue::Quarantined as usize].iter();
        self.quarantine.contains(key, now)
            || parts.any(|boarding| boarding.batch_keys.contains(key))
    }

    /// The flight that would go next fails before it does.
    pub(super) fn fail_next(&mut self, error: FetchError<E>) {
        let Some(line) = self.next_queue() else { return };
        if let Some(OpenBatch { response: flight, .. }) = self.queues[line as usize].front() {
            flight.request().complete(RequestOutcome::Failed(Arc::new(error)));
        }
        self.queues[line as usize].pop_front();
    }

    /// All flights, for nobody will make them any more.
    pub(super) fn take_all(&mut self) -> impl Sized + use<K, V, E> {
        (std::mem::take(&mut self.queues), self.in_flight.take())
    }

    /// A request for several keys was refused: it is made again in parts, which gives the flight of each
    /// key that somebody waits for. `None` if there is no such key. The first doubt of a key lasts for
    /// `first`.
    pub(super) fn split(
        &mut self,
        seats: &BatchKeys<K>,
        now: Moment,
        first: Duration,
    ) -> Option<SplitRequests<K, V, E>> {
        self.quarantine.on_refused(seats.keys(), now, first);
        let awaited: Vec<K> =
            seats.keys().iter().filter(|key| seats.has_waiter_for(key)).cloned().collect();
        match awaited.len() {
            0 => None,
            all if all == seats.keys().len() => Some(self.halve(seats)),
            _ => Some(self.enqueue_parts(seats, &[&awaited])),
        }
    }

    fn halve(&mut self, seats: &BatchKeys<K>) -> SplitRequests<K, V, E> {
        let (left, right) = seats.keys().split_at(seats.keys().len() / 2);
        self.enqueue_parts(seats, &[left, right])
    }

    /// Lets parts of a flight go in its place. Gives the flight of each key.
    fn enqueue_parts(&mut self, seats: &BatchKeys<K>, parts: &[&[K]]) -> SplitRequests<K, V, E> {
        let mut flights = HashMap::new();
        let mut other_half = None;
        for keys in parts {
            let mut boarding = OpenBatch::new(seats.subset(keys));
            let flight = boarding.response.request();
            flights.extend(keys.iter().map(|key| (key.clone(), Arc::clone(flight))));
            boarding.other_half = other_half.replace(Arc::clone(boarding.response.request()));
            self.queues[BatchQueue::Quarantined as usize].push_back(boarding);
        }
        flights
    }

    /// The flight was answered. If it was one half of a refused request, the other half has a bad key,
    /// and is halved in its turn.
    pub(super) fn on_answered(&mut self, air: &InFlightBatch<K, V, E>) {
        self.quarantine.on_answered(air.batch_keys.queue, air.batch_keys.keys());
        let parts = &mut self.queues[BatchQueue::Quarantined as usize];
        let is_twin = |boarding: &OpenBatch<K, V, E>| {
            boarding.other_half.as_ref().is_some_and(|other_half| air.response.guards(other_half))
        };
        let Some(place) = parts.iter().position(is_twin) else { return };
        let seats = &parts[place].batch_keys;
        // A key that somebody left may be the bad one: it is left out before anything is halved.
        if seats.keys().len() < 2 || !seats.keys().iter().all(|key| seats.has_waiter_for(key)) {
            return;
        }
        if let Some(OpenBatch { response: flight, batch_keys: seats, .. }) = parts.remove(place) {
            let parts = self.halve(&seats);
            flight.request().complete(RequestOutcome::Split(parts));
        }
    }

    /// The flight, of one key, was refused: that key is bad, and no other.
    pub(super) fn on_single_refused(&mut self, air: &InFlightBatch<K, V, E>) {
        air.batch_keys.keys().iter().for_each(|key| self.quarantine.remove(key));
        if air.batch_keys.is_part {
            self.quarantine.on_single_refused();
        }
    }

    /// Puts a single key of the waiting parts at the head of their line: one that had a value before, or
    /// else any.
    fn isolate_key(&mut self, had_value: impl Fn(&K) -> bool, random: u64) {
        let parts = &mut self.queues[BatchQueue::Quarantined as usize];
        if parts.front().is_none_or(|boarding| !boarding.batch_keys.is_part) {
            return;
        }
        let mut keys = Vec::new();
        for (place, OpenBatch { batch_keys: seats, .. }) in parts.iter().enumerate() {
            if seats.is_part {
                let awaited = seats.keys().iter().filter(|key| seats.has_waiter_for(key));
                keys.extend(awaited.map(|key| (place, key)));
            }
        }
        let any = random.checked_rem(keys.len() as u64).unwrap_or(0) as usize;
        let chosen = keys.iter().find(|(_, key)| had_value(key)).or_else(|| keys.get(any));
        let Some((place, key)) = chosen.map(|(place, key)| (*place, K::clone(key))) else { return };
        let Some(OpenBatch { response: flight, batch_keys: seats, other_half }) =
            parts.remove(place)
        else {
            return;
        };
        if seats.keys().len() == 1 {
            parts.push_front(OpenBatch { response: flight, batch_keys: seats, other_half });
            return;
        }
        let others: Vec<K> = seats.keys().iter().filter(|own| **own != key).cloned().collect();
        let single = OpenBatch::new(seats.subset(std::slice::from_ref(&key)));
        let rest = OpenBatch::new(seats.subset(&others));
        let mut flights = SplitRequests::new();
        flights.insert(key, Arc::clone(single.response.request()));
        flights.extend(others.into_iter().map(|key| (key, Arc::clone(rest.response.request()))));
        parts.insert(place, rest);
        parts.push_front(single);
        flight.request().complete(RequestOutcome::Split(flights));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: BatchLimit = BatchLimit { keys: 8, weight: 100 };
    const NOW: Moment = Moment::from_nanos(5);
    const FIRST: Duration = Duration::from_secs(30);

    type Numbers = PendingRequests<u8, (), ()>;

    fn any(_: Moment) -> bool {
        true
    }

    fn join_all(
        board: &mut Numbers,
        line: BatchQueue,
        keys: &[u8],
    ) -> Arc<PendingRequest<u8, (), ()>> {
        let flights: Vec<_> =
            keys.iter().map(|key| board.join_or_open(key, 1, ROOM, line, any).0).collect();
        flights.into_iter().next_back().unwrap()
    }

    /// The keys of the next flight, which takes off.
    fn dispatch_keys(board: &mut Numbers) -> Vec<u8> {
        let air = board.dispatch(NOW, Vec::new(), ROOM, |_| false, 0);
        air.map(|air| air.batch_keys.keys().to_vec()).unwrap_or_default()
    }

    fn refuse(board: &mut Numbers) {
        let air = board.in_flight.take().unwrap();
        let parts = board.split(&air.batch_keys, NOW, FIRST).unwrap();
        air.response.request().complete(RequestOutcome::Split(parts));
    }

    fn answer(board: &mut Numbers) {
        let air = board.in_flight.take().unwrap();
        air.response
            .request()
            .complete(RequestOutcome::Completed { entries: HashMap::new(), received_at: NOW });
        board.on_answered(&air);
    }

    #[test]
    fn one_flight_is_in_the_air_and_carries_those_who_ask_for_the_same() {
        let mut board = Numbers::new();
        let (first, joined) = board.join_or_open(&1, 1, ROOM, BatchQueue::Trusted, any);
        assert!(!joined);
        assert!(
            board.join_or_open(&1, 1, ROOM, BatchQueue::Trusted, any).1,
            "somebody waits for it"
        );
        let air = board.dispatch(NOW, vec![(2, 1)], ROOM, |_| false, 0).unwrap();
        assert!(air.response.guards(&first));
        assert_eq!(air.batch_keys.keys(), [1, 2]);
        assert!(Arc::ptr_eq(&first, &board.join_or_open(&2, 1, ROOM, BatchQueue::Trusted, any).0));

        let (next, joined) =
            board.join_or_open(&2, 1, ROOM, BatchQueue::Trusted, |sent| sent > NOW);
        assert!(!joined && !Arc::ptr_eq(&first, &next), "the one in the air is too old");
        assert!(!Arc::ptr_eq(&first, &board.join_or_open(&3, 1, ROOM, BatchQueue::Trusted, any).0));
    }

    #[test]
    fn a_flight_that_everybody_left_does_not_go() {
        let mut board = Numbers::new();
        let first = self::join_all(&mut board, BatchQueue::Trusted, &[1]);
        let second = self::join_all(&mut board, BatchQueue::Trusted, &[1]);
        assert!(!board.remove_waiter(&first, &1));
        assert!(board.retain_awaited());
        assert!(!board.remove_waiter(&second, &1));
        assert!(!board.retain_awaited());
        assert!(dispatch_keys(&mut board).is_empty());
    }

    #[test]
    fn the_lines_take_turns() {
        let mut numbers = Numbers::new();
        for key in [20, 21, 22] {
            join_all(&mut numbers, BatchQueue::Refused, &[key]);
        }
        join_all(&mut numbers, BatchQueue::Quarantined, &[10, 11]);
        join_all(&mut numbers, BatchQueue::Trusted, &[1, 2]);
        let mut gone = Vec::new();
        for _ in 0..3 {
            gone.push(dispatch_keys(&mut numbers));
            answer(&mut numbers);
        }
        join_all(&mut numbers, BatchQueue::Trusted, &[3]);
        for _ in 0..3 {
            gone.push(dispatch_keys(&mut numbers));
            answer(&mut numbers);
        }
        let turns = [vec![1, 2], vec![10, 11], vec![20], vec![3], vec![21], vec![22]];
        assert_eq!(gone, turns, "those that were refused go alone");
    }

    #[test]
    fn keys_in_doubt_are_not_taken_along() {
        let mut numbers = Numbers::new();
        join_all(&mut numbers, BatchQueue::Trusted, &[1, 2, 3, 4]);
        dispatch_keys(&mut numbers);
        refuse(&mut numbers);
        // One half is in the air and then trusted, the other waits; 9 was never asked for.
        assert_eq!(dispatch_keys(&mut numbers), [1, 2]);
        answer(&mut numbers);
        join_all(&mut numbers, BatchQueue::Trusted, &[5]);
        let late = NOW + FIRST * 9;
        let due = (1..=4).chain([9]).map(|key| (key, 1)).collect();
        let air = numbers.dispatch(late, due, ROOM, |_| false, 0).unwrap();
        assert_eq!(
            air.batch_keys.keys(),
            [5, 1, 2, 9],
            "nor if its doubt is over while its part waits"
        );
    }

    #[test]
    fn a_half_is_divided_without_being_asked_for_if_the_other_half_was_answered() {
        let mut numbers = Numbers::new();
        join_all(&mut numbers, BatchQueue::Trusted, &[1, 2, 3, 4]);
        dispatch_keys(&mut numbers);
        refuse(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [1, 2]);
        answer(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [3]);
        answer(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [4], "a single key has to be asked for");
    }

    #[test]
    fn a_half_of_which_somebody_left_a_key_is_asked_for_without_it() {
        let mut numbers = Numbers::new();
        let flight = join_all(&mut numbers, BatchQueue::Trusted, &[1, 2, 3, 4]);
        dispatch_keys(&mut numbers);
        refuse(&mut numbers);
        assert!(numbers.remove_waiter(&flight, &4), "the request for it was sent");
        assert_eq!(dispatch_keys(&mut numbers), [1, 2]);
        answer(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [3, 4]);
        refuse(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [3]);
        answer(&mut numbers);
        assert!(dispatch_keys(&mut numbers).is_empty(), "nobody waits for 4");
    }

    #[test]
    fn a_key_that_had_a_value_is_picked_first() {
        let mut numbers = Numbers::new();
        join_all(&mut numbers, BatchQueue::Trusted, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut asked = Vec::new();
        for _ in 0..5 {
            let air = numbers.dispatch(NOW, Vec::new(), ROOM, |key| *key == 6, 0).unwrap();
            asked.push(air.batch_keys.keys().to_vec());
            if asked.last().is_some_and(|keys| keys.len() > 1) {
                refuse(&mut numbers);
            }
        }
        let one_by_one = [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![1, 2], vec![6]];
        assert_eq!(asked[1..], one_by_one);
        // What is left of its part waits in its place.
        answer(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [3, 4]);
        answer(&mut numbers);
        assert_eq!([dispatch_keys(&mut numbers)], [[5]]);
    }
}
