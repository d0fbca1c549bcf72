//! Where callers, memory and the fetcher meet.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::answer::{FetchError, GetOptions};
use super::board::{Board, InAir, Urge};
use super::bounds::{Key, Shared};
use super::doubts::next_time;
use super::fetcher::{Fetch, Taking};
use super::flight::{Flight, Outcome};
use super::memory::{CacheFull, Content, Entry, Memory, Snapshot};
use super::seats::{Line, Room};
use super::settings::{Ages, BatchConfig, Verdict, part_of};
use super::stats::Counters;
use crate::quota::Moment;

/// What a cache is told of its keys, its source and the source's errors.
pub(super) struct Hooks<K, E> {
    pub(super) weigh: Box<dyn Fn(&K) -> usize + Send + Sync>,
    pub(super) refuses: Box<dyn Fn(&E) -> bool + Send + Sync>,
    pub(super) spare: Box<dyn Fn() -> bool + Send + Sync>,
}

pub(super) struct Core<K, V, E> {
    pub(super) settings: BatchConfig,
    pub(super) ages: Ages,
    pub(super) hooks: Hooks<K, E>,
    pub(super) fetch: Box<Fetch<K, V, E>>,
    pub(super) memory: Memory<K, V, E>,
    pub(super) board: Mutex<Board<K, V, E>>,
    /// There is something to do for the fetcher.
    pub(super) work: Condvar,
    pub(super) counters: Counters,
    /// Before this moment, in nanoseconds, nobody need ask for a refresh again.
    next_urge: AtomicU64,
    /// Where all that is random comes from.
    seed: std::hash::RandomState,
}

/// A caller's place on a flight.
pub(super) struct Seat<K, V, E> {
    pub(super) key: K,
    pub(super) flight: Arc<Flight<K, V, E>>,
}

/// Where the answer for a key will come from.
pub(super) enum Found<K, V, E> {
    InMemory(Arc<Entry<V, E>>),
    Aboard(Seat<K, V, E>),
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    pub(super) fn new(
        settings: BatchConfig,
        hooks: Hooks<K, E>,
        fetch: Box<Fetch<K, V, E>>,
    ) -> Self {
        let memory = Memory::new(settings.time_to_idle, settings.max_capacity);
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
        Room { keys: self.settings.max_batch_keys, weight: self.settings.max_batch_weight }
    }

    /// Finds a flight for each key, all at once, so that they share one where there is room.
    /// `along` is what a caller would like to have from the same flight, each with its weight.
    pub(super) fn board(
        &self,
        keys: &[K],
        along: Vec<(K, usize)>,
        ask: &GetOptions,
    ) -> Vec<Found<K, V, E>> {
        let room = self.room();
        // Before the lock is taken, for it is not ours: it may be slow, or ask the cache.
        let weights: Vec<usize> = keys.iter().map(&self.hooks.weigh).collect();
        let mut board = self.board.lock();
        let now = self.now();
        // A flight may have come down since the first look.
        let shown = self.memory.look();
        board.doubts.forget_old(now);
        let find = |(key, weight): (&K, usize)| {
            let entry = shown.get(key);
            let fresh = entry.filter(|entry| {
                let verdict = entry.judge(now.since(entry.sent), &self.ages, ask);
                matches!(verdict, Verdict::Fresh | Verdict::Ahead)
            });
            if let Some(entry) = fresh {
                entry.touch(now);
                return Found::InMemory(Arc::clone(entry));
            }
            let line = match entry.is_some_and(|entry| entry.is_refused()) {
                true => Line::Refused,
                false if board.doubts.has(key, now) => Line::Doubtful,
                false => Line::Trusted,
            };
            let allowed = self.ages.allowed(self.settings.ttl, ask);
            let young = |sent| now.since(sent) < allowed;
            let (flight, joined) = board.board(key, weight, room, line, young);
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
        let known = board.to_refresh.entry(key.clone()).or_insert(urge);
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
        let refreshing = |key: &K| Some((key.clone(), self.memory.if_due(key, now)?));
        board.refreshing.iter().filter_map(refreshing).chain(self.memory.due(now)).collect()
    }

    /// A turn of the fetcher is over: keeps what it brought, and tells those who wait.
    pub(super) fn land(&self, outcome: Result<HashMap<K, Result<V, E>>, FetchError<E>>) {
        let error = match outcome {
            Ok(answers) => {
                let content = |answer| match answer {
                    Ok(value) => Content::Value(Arc::new(value)),
                    Err(error) => Content::Failed(Arc::new(error)),
                };
                let contents = answers.into_iter().map(|(key, answer)| (key, content(answer)));
                // If nothing went, nobody may have wanted anything any more.
                if self.keep(contents.collect()) || self.board.lock().taken {
                    return;
                }
                FetchError::KeysNotTaken
            }
            Err(error) => error,
        };
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let error = match error {
            FetchError::Failed(error) if (self.hooks.refuses)(&error) => {
                match self.refused(error) {
                    Some(error) => error,
                    None => return,
                }
            }
            error => error,
        };
        let mut board = self.board.lock();
        let air = board.in_air.take();
        match &air {
            Some(air) => air.flight.flight().tell(Outcome::Failed(Arc::new(error))),
            // It failed before it went: a full queue, a closed lane. Or nothing was to go, and it is
            // nobody's failure.
            None if board.taken => {}
            None => board.fail_next(error),
        }
        drop(board);
    }

    /// The source refused the request in the air: makes it again in parts, or remembers the refusal if
    /// it was for one key. Otherwise gives the error back.
    fn refused(&self, error: E) -> Option<FetchError<E>> {
        let now = self.now();
        let mut board = self.board.lock();
        match board.in_air.as_ref().map(|air| air.seats.keys()) {
            None => return Some(FetchError::Failed(error)),
            Some([key]) => {
                let key = key.clone();
                drop(board);
                self.keep(HashMap::from([(key, Content::Refused(Arc::new(error)))]));
                return None;
            }
            Some(_) => {}
        }
        let air = board.in_air.take()?;
        let parts = board.divide(&air.seats, now, self.settings.negative_ttl);
        if parts.is_some() {
            self.counters.divided.fetch_add(1, Ordering::Relaxed);
        }
        // With the board in hand: a flight is boarding, in the air, or told, whoever looks.
        air.flight.flight().tell(match parts {
            Some(parts) => Outcome::Divided(parts),
            None => Outcome::Failed(Arc::new(FetchError::Failed(error))),
        });
        drop(board);
        None
    }

    /// Remembers what the flight in the air brought, and tells it; false if there is none. A key that
    /// is not in `contents` is absent.
    fn keep(&self, mut contents: HashMap<K, Content<V, E>>) -> bool {
        let flying = |air: &InAir<K, V, E>| (air.seats.keys().to_vec(), air.sent);
        let Some((keys, sent)) = self.board.lock().in_air.as_ref().map(flying) else {
            return false;
        };
        let now = self.now();
        let is_refusal = contents.values().any(|content| matches!(content, Content::Refused(_)));
        let entry_of = |key: K| {
            let content = contents.remove(&key).unwrap_or(Content::Absent);
            let ttl = self.time_of(&key, &content, sent);
            let weight = (self.hooks.weigh)(&key);
            (key, Arc::new(Entry::new(content, sent, ttl, weight, now)))
        };
        let entries: Snapshot<K, V, E> = keys.into_iter().map(entry_of).collect();
        // Who misses a key looks again with the board in hand, so it finds either the flight or what
        // the flight brought.
        let mut board = self.board.lock();
        let Some(air) = &board.in_air else { return false };
        let forgotten = |key: &K| air.forgotten.contains(key) || air.seats.is_untracked(key);
        let before = self.memory.keep(&entries, |key| air.seats.awaits(key), forgotten, now);
        let air = board.in_air.take();
        if let Some(air) = &air {
            air.flight.flight().tell(Outcome::Landed { entries, at: now });
            match is_refusal {
                true => board.refused_alone(air),
                false => board.answered(air),
            }
        }
        // What is not ours is dropped with no lock held.
        drop(board);
        drop((air, before));
        true
    }

    /// How long `content` of a request that was sent at `sent` is remembered.
    fn time_of(&self, key: &K, content: &Content<V, E>, sent: Moment) -> Duration {
        let BatchConfig { ttl, negative_ttl, .. } = self.settings;
        match content {
            Content::Value(_) => self.jittered(key, sent),
            Content::Absent => negative_ttl,
            Content::Failed(_) => ttl.min(negative_ttl),
            Content::Refused(_) => {
                let before =
                    self.memory.look().get(key).filter(|entry| entry.is_refused()).cloned();
                before.map_or(negative_ttl, |before| next_time(before.ttl, negative_ttl))
            }
        }
    }

    fn random(&self, of: impl Hash) -> u64 {
        self.seed.hash_one(of)
    }

    fn jittered(&self, key: &K, sent: Moment) -> Duration {
        let BatchConfig { ttl, ttl_jitter, .. } = &self.settings;
        if *ttl_jitter <= 0.0 {
            return *ttl;
        }
        let random = self.random((key, sent)) as f64 / u64::MAX as f64;
        part_of(*ttl, 1.0 - ttl_jitter.min(1.0) * random)
    }
}

impl<K: Key, V: Shared, E: Shared> Core<K, V, E> {
    /// Leaves a flight. Says whether it may have been sent.
    pub(super) fn leave(&self, seat: &Seat<K, V, E>) -> bool {
        self.board.lock().leave(&seat.flight, &seat.key)
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Taking<K> for Core<K, V, E> {
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
        let shown = self.memory.look();
        let had_value = |key: &K| shown.get(key).is_some_and(|entry| entry.has_value());
        let air = board.take_off(now, due, self.room(), had_value, self.random(turn));
        let keys = air.map(|air| air.seats.keys().to_vec());
        let keys = keys.unwrap_or_default();
        // If what is not ours panicked on the way, nobody has taken anything.
        board.taken = true;
        if !keys.is_empty() {
            self.counters.went(keys.len());
        }
        keys
    }

    fn taken(&self, turn: u64) -> Vec<K> {
        let board = self.board.lock();
        let air = board.in_air.as_ref().filter(|_| board.turn == turn);
        air.map(|air| air.seats.keys().to_vec()).unwrap_or_default()
    }

    fn sent(&self, turn: u64) -> Option<Moment> {
        let board = self.board.lock();
        let air = board.in_air.as_ref().filter(|_| board.turn == turn)?;
        Some(air.sent)
    }
}
