//! Where callers, memory and the fetcher meet.
//!
//! A batch that the source *refuses* (as opposed to one that is lost) may be refused for the sake of
//! one key, and the others must not suffer for it. So it is made again, in parts: first without the
//! keys that nobody waits for; if that is refused too, in halves, and those in halves, at most
//! [`HALVINGS`] times. Each part is a request of its own and waits for its turn like any other; one
//! bad key costs `1 + 2 x HALVINGS` of them at most. Whoever is in a part that is refused to the end
//! is told so, and its keys are in doubt for a while: they fly only with their kind, and are not taken
//! along. So a bad key is paid for once by its neighbours, and then by those who ask for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::answer::{Ask, FetchError};
use super::board::{Board, Doubt, InAir, Room, Seats, Urge};
use super::bounds::{Key, Shared};
use super::fetcher::{Fetch, Taking};
use super::flight::{Flight, Outcome, Parts};
use super::memory::{CacheFull, Entry, Memory, Snapshot};
use super::settings::{Ages, BatchSettings, part_of};
use super::stats::Counters;
use crate::quota::Moment;

/// How often the keys of a refused request are halved.
const HALVINGS: u8 = 3;

/// What a cache is told of its keys, its source and the source's errors.
pub(super) struct Hooks<K, E> {
    pub(super) weigh: Box<dyn Fn(&K) -> usize + Send + Sync>,
    pub(super) refuses: Box<dyn Fn(&E) -> bool + Send + Sync>,
    pub(super) spare: Box<dyn Fn() -> bool + Send + Sync>,
}

pub(super) struct Core<K, V, E> {
    pub(super) settings: BatchSettings,
    pub(super) ages: Ages,
    pub(super) hooks: Hooks<K, E>,
    pub(super) fetch: Box<Fetch<K, V, E>>,
    pub(super) memory: Memory<K, V>,
    pub(super) board: Mutex<Board<K, V, E>>,
    /// There is something to do for the fetcher.
    pub(super) work: Condvar,
    pub(super) counters: Counters,
    /// Before this moment, in nanoseconds, nobody need ask for a refresh again.
    next_urge: AtomicU64,
    /// Mixed into the random part of a time to live.
    seed: std::hash::RandomState,
}

/// A caller's place on a flight.
pub(super) struct Seat<K, V, E> {
    pub(super) key: K,
    pub(super) flight: Arc<Flight<K, V, E>>,
}

/// Where the answer for a key will come from.
pub(super) enum Found<K, V, E> {
    InMemory(Arc<Entry<V>>),
    Aboard(Seat<K, V, E>),
}

impl<K: Key, V: Shared, E: Shared> Core<K, V, E> {
    pub(super) fn new(
        settings: BatchSettings,
        hooks: Hooks<K, E>,
        fetch: Box<Fetch<K, V, E>>,
    ) -> Self {
        let memory = Memory::new(settings.idle, settings.capacity);
        Self {
            ages: Ages::new(&settings),
            settings,
            hooks,
            fetch,
            memory,
            board: Mutex::new(Board::new()),
            work: Condvar::new(),
            counters: Counters::default(),
            next_urge: AtomicU64::new(0),
            seed: std::hash::RandomState::new(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.settings.clock.now()
    }

    fn room(&self) -> Room {
        Room { keys: self.settings.most_keys, weight: self.settings.most_weight }
    }

    /// Finds a flight for each key, all at once, so that they share one where there is room.
    /// `along` is what a caller would like to have from the same flight, each with its weight.
    pub(super) fn board(
        &self,
        keys: &[K],
        along: Vec<(K, usize)>,
        ask: &Ask,
    ) -> Vec<Found<K, V, E>> {
        let room = self.room();
        // Before the lock is taken, for it is not ours: it may be slow, or ask the cache.
        let weights: Vec<usize> = keys.iter().map(&self.hooks.weigh).collect();
        let mut board = self.board.lock();
        let now = self.now();
        // A flight may have come down since the first look.
        let shown = self.memory.look();
        board.trust_again(now);
        let find = |(key, weight): (&K, usize)| {
            if let Some(entry) = shown.get(key) {
                if now.since(entry.sent) < self.ages.allowed(entry.ttl, ask) {
                    entry.touch(now);
                    return Found::InMemory(Arc::clone(entry));
                }
            }
            let allowed = self.ages.allowed(self.settings.ttl, ask);
            let young = |sent| now.since(sent) < allowed;
            let (flight, joined) = board.board(key, weight, room, young);
            let counter = if joined { &self.counters.joined } else { &self.counters.misses };
            counter.fetch_add(1, Ordering::Relaxed);
            Found::Aboard(Seat { key: key.clone(), flight })
        };
        let found: Vec<_> = keys.iter().zip(weights).map(find).collect();
        let first = found.iter().find_map(|found| match found {
            Found::Aboard(seat) => Some(Arc::clone(&seat.flight)),
            Found::InMemory(_) => None,
        });
        if let Some(first) = first.filter(|_| !along.is_empty()) {
            board.take_along(&first, along);
        }
        drop(board);
        self.work.notify_one();
        found
    }

    /// Leaves a flight. Says whether it may have been sent.
    pub(super) fn leave(&self, seat: &Seat<K, V, E>) -> bool {
        self.board.lock().leave(&seat.flight, &seat.key)
    }

    /// Asks for a refresh of `key`, unless that was done a moment ago.
    pub(super) fn urge(&self, key: &K, now: Moment, urge: Urge) {
        let next = self.next_urge.load(Ordering::Relaxed);
        let pause =
            (self.settings.ttl / 16).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let then = (now + pause).as_nanos();
        let order = Ordering::Relaxed;
        if now.as_nanos() < next
            || self.next_urge.compare_exchange(next, then, order, order).is_err()
        {
            return;
        }
        let mut board = self.board.lock();
        let known = board.urged.entry(key.clone()).or_insert(urge);
        if urge == Urge::Stale {
            *known = urge;
        }
        drop(board);
        self.work.notify_one();
    }

    /// Forgets what is known of `key`, and what is on its way.
    pub(super) fn forget(&self, key: &K) {
        let mut board = self.board.lock();
        if let Some(air) = &mut board.in_air {
            air.forgotten.insert(key.clone());
        }
        let before = self.memory.forget(key);
        drop(board);
        drop(before);
    }

    pub(super) fn track(&self, keys: &[K]) -> Result<(), CacheFull> {
        self.memory.track(keys.iter().map(|key| (key.clone(), (self.hooks.weigh)(key))).collect())
    }

    /// Forgets `keys`, what is known of them, and that what is on its way was asked for.
    pub(super) fn untrack(&self, keys: &[K]) {
        let mut board = self.board.lock();
        board.untrack(keys);
        let before = self.memory.untrack(keys);
        drop(board);
        drop(before);
    }

    /// What a request is to take along: what is to be refreshed, and then all else that is due,
    /// oldest first.
    fn due(&self, board: &Board<K, V, E>, now: Moment) -> Vec<(K, usize)> {
        let urgent = |key: &K| Some((key.clone(), self.memory.if_due(key, now)?));
        board.urgent.iter().filter_map(urgent).chain(self.memory.due(now)).collect()
    }

    /// A turn of the fetcher is over: keeps what it brought, and tells those who wait.
    pub(super) fn land(&self, outcome: Result<HashMap<K, V>, FetchError<E>>) {
        let error = match outcome {
            Ok(values) => {
                // If nothing went, nobody may have wanted anything any more.
                if self.keep(values) || self.board.lock().taken {
                    return;
                }
                FetchError::NotTaken
            }
            Err(error) => error,
        };
        let refused = matches!(&error, FetchError::Failed(error) if (self.hooks.refuses)(error));
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let mut board = self.board.lock();
        let Some(air) = board.in_air.take() else {
            // It failed before it went: a full queue, a closed lane. Or nothing was to go, and it is
            // nobody's failure.
            if !board.taken {
                board.fail_next(error);
            }
            return;
        };
        let outcome = match refused.then(|| self.divide(&mut board, &air.seats)).flatten() {
            Some(parts) => {
                self.counters.divided.fetch_add(1, Ordering::Relaxed);
                Outcome::Divided(parts)
            }
            None => Outcome::Failed(error),
        };
        // With the board in hand: a flight is boarding, in the air, or told, whoever looks.
        air.flight.flight().tell(outcome);
        drop(board);
    }

    /// Remembers what the flight in the air brought, and tells it; false if there is none.
    fn keep(&self, mut values: HashMap<K, V>) -> bool {
        let flying = |air: &InAir<K, V, E>| (air.seats.keys().to_vec(), air.sent);
        let Some((keys, sent)) = self.board.lock().in_air.as_ref().map(flying) else {
            return false;
        };
        let now = self.now();
        let entry_of = |key: K| {
            let value = values.remove(&key).map(Arc::new);
            let ttl = match value {
                Some(_) => self.jittered(&key, sent),
                None => self.settings.absent_ttl,
            };
            let weight = (self.hooks.weigh)(&key);
            (key, Arc::new(Entry::new(value, sent, ttl, weight, now)))
        };
        let entries: Snapshot<K, V> = keys.into_iter().map(entry_of).collect();
        // Who misses a key looks again with the board in hand, so it finds either the flight or what
        // the flight brought.
        let mut board = self.board.lock();
        let Some(air) = &board.in_air else { return false };
        let forgotten = |key: &K| air.forgotten.contains(key) || air.seats.is_untracked(key);
        let before = self.memory.keep(&entries, |key| air.seats.awaits(key), forgotten, now);
        board.doubts.retain(|key, _| !entries.contains_key(key));
        let air = board.in_air.take();
        if let Some(air) = &air {
            air.flight.flight().tell(Outcome::Landed(entries));
        }
        // What is not ours is dropped with no lock held.
        drop(board);
        drop((air, before));
        true
    }

    fn jittered(&self, key: &K, sent: Moment) -> Duration {
        use std::hash::BuildHasher;
        let Self { settings: BatchSettings { ttl, ttl_jitter, .. }, seed, .. } = self;
        if *ttl_jitter <= 0.0 {
            return *ttl;
        }
        let random = seed.hash_one((key, sent)) as f64 / u64::MAX as f64;
        part_of(*ttl, 1.0 - ttl_jitter.min(1.0) * random)
    }

    /// Makes a refused request again, in parts; `None` if it is not to be divided any more. Gives the
    /// flight of each key that somebody waits for.
    fn divide(&self, board: &mut Board<K, V, E>, seats: &Seats<K>) -> Option<Parts<K, V, E>> {
        let (awaited, others): (Vec<K>, Vec<K>) =
            seats.keys().iter().cloned().partition(|key| seats.awaits(key));
        let until = self.now() + self.settings.absent_ttl;
        let mut doubt = |keys: &[K], apart| {
            let doubt = Doubt { until, apart };
            board.doubts.extend(keys.iter().map(|key| (key.clone(), doubt)));
        };
        if !others.is_empty() {
            doubt(&others, false);
        }
        if awaited.is_empty() {
            return None;
        }
        if !others.is_empty() {
            return Some(board.again(seats, &[&awaited], seats.halved));
        }
        if seats.halved == HALVINGS || awaited.len() == 1 {
            doubt(&awaited, true);
            return None;
        }
        let (left, right) = awaited.split_at(awaited.len() / 2);
        Some(board.again(seats, &[left, right], seats.halved + 1))
    }
}

impl<K: Key, V: Shared, E: Shared> Taking<K> for Core<K, V, E> {
    fn take(&self, turn: u64) -> Vec<K> {
        let mut board = self.board.lock();
        if board.turn != turn || !board.fetching {
            return Vec::new();
        }
        let now = self.now();
        // The source makes the request again: the same keys, and newer prices.
        if let Some(air) = &mut board.in_air {
            air.sent = now;
            return air.seats.keys().to_vec();
        }
        let due = self.due(&board, now);
        let keys = board.take_off(now, due, self.room()).map(|air| air.seats.keys().to_vec());
        let keys = keys.unwrap_or_default();
        // If what is not ours panicked on the way, nobody has taken anything.
        board.taken = true;
        if !keys.is_empty() {
            self.counters.went(keys.len());
        }
        keys
    }

    fn sent(&self, turn: u64) -> Option<Moment> {
        let board = self.board.lock();
        let air = board.in_air.as_ref().filter(|_| board.turn == turn)?;
        Some(air.sent)
    }
}
