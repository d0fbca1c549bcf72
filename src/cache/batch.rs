//! A read-through cache that fetches in batches.
//!
//! One request is under way at a time. A miss joins it if it carries the key, or else the next one.
//! Each request takes what somebody waits for and then, as long as there is room, everything else
//! that is tracked, oldest first. So a crowd that asks for anything at all costs one request, and
//! what is fetched together goes stale together.
//!
//! Freshness counts from the moment before the request was made, so an answer is never older than
//! it is taken for. An error is told to all who waited for that request, and is not kept.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::board::{Board, Flight, Landed, Room, Seats, TakenOff};
use crate::clock::Clock;
use crate::quota::Moment;

/// How a [`BatchCache`] is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchSettings {
    /// How long an answer is fresh. 5 s by default.
    pub ttl: Duration,
    /// How long a key that nobody asks for is still fetched along. 5 minutes by default.
    pub idle: Duration,
    /// The most keys that are remembered. 10,000 by default.
    pub capacity: u64,
    /// The most keys in one request.
    pub most_keys: usize,
    /// The most weight in one request, see [`BatchCache::new`].
    pub most_weight: usize,
    /// What time it is.
    pub clock: Clock,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            capacity: 10_000,
            most_keys: usize::MAX,
            most_weight: usize::MAX,
            clock: Clock::system(),
        }
    }
}

/// A request that brought nothing. Everybody who waited for it gets the same one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError<E> {
    /// It failed.
    #[error(transparent)]
    Failed(E),
    /// The code that fetches panicked, in another thread.
    #[error("the fetch panicked")]
    Panicked,
}

/// How often the cache was asked, and what it took to answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Keys answered from memory.
    pub hits: u64,
    /// Keys answered by a request that somebody waited for.
    pub misses: u64,
    /// Requests made.
    pub fetches: u64,
    /// Requests that failed.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    fetches: AtomicU64,
    failures: AtomicU64,
}

/// What is remembered of a key.
#[derive(Debug)]
pub(super) struct Entry<V> {
    /// `None`: the source has nothing for this key.
    value: Option<Arc<V>>,
    /// Just before the request was made.
    asked_source: Moment,
    /// When somebody last wanted it, in nanoseconds.
    last_use: AtomicU64,
}

/// A read-through cache that fetches in batches.
///
/// One request is under way at a time; a miss joins it if it carries the key, or else the next one.
/// Each request takes along everything else that is tracked, as long as there is room. An answer is
/// never older than it is taken for: its age counts from before the request. An error is told to
/// all who waited for that request, once, and is not kept.
///
/// ```
/// use std::collections::HashMap;
/// use lanekeeper::cache::{BatchCache, BatchSettings};
///
/// let cache = BatchCache::<u32, String, String>::new(BatchSettings::default(), |_| 0);
/// let source = |keys: &[u32]| -> Result<HashMap<u32, String>, String> {
///     Ok(keys.iter().filter(|key| **key < 10).map(|key| (*key, format!("value {key}"))).collect())
/// };
/// let answer = cache.get_many(&[1, 2, 99], source).unwrap();
/// assert_eq!(*answer[&1], "value 1");
/// assert!(!answer.contains_key(&99));
/// ```
pub struct BatchCache<K, V, E> {
    entries: moka::sync::Cache<K, Arc<Entry<V>>>,
    board: Mutex<Board<K, V, E>>,
    /// A flight is down: for those who wait, and for the pilot of the next one.
    landed: Condvar,
    weigh: Box<dyn Fn(&K) -> usize + Send + Sync>,
    settings: BatchSettings,
    counters: Counters,
}

impl<K, V, E> BatchCache<K, V, E>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Clone,
{
    /// An empty cache. `weigh` is what a key adds to the weight of a request.
    pub fn new(
        settings: BatchSettings,
        weigh: impl Fn(&K) -> usize + Send + Sync + 'static,
    ) -> Self {
        Self {
            // No expiry by moka: its clock cannot be replaced, so an entry carries its own time.
            entries: moka::sync::Cache::new(settings.capacity),
            board: Mutex::new(Board::new()),
            landed: Condvar::new(),
            weigh: Box::new(weigh),
            settings,
            counters: Counters::default(),
        }
    }

    /// The value of one key: `None` if the source has none.
    ///
    /// # Errors
    /// The request for it failed.
    pub fn get(
        &self,
        key: &K,
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E>,
    ) -> Result<Option<Arc<V>>, FetchError<E>> {
        if let Some(entry) = self.fresh(key, self.settings.clock.now()) {
            self.counters.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(entry.value.clone());
        }
        Ok(self.get_many(std::slice::from_ref(key), fetch)?.remove(key))
    }

    /// The values of `keys`; a key for which the source has none is absent.
    ///
    /// `fetch` is called with as many keys as one request takes, as often as it needs. It must not ask
    /// this cache in its turn: it would wait for itself.
    ///
    /// # Errors
    /// A request for some of them failed.
    pub fn get_many(
        &self,
        keys: &[K],
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E>,
    ) -> Result<HashMap<K, Arc<V>>, FetchError<E>> {
        let mut answer = HashMap::with_capacity(keys.len());
        let mut put = |key: &K, entry: &Entry<V>| {
            if let Some(value) = &entry.value {
                answer.insert(key.clone(), Arc::clone(value));
            }
        };
        let now = self.settings.clock.now();
        let mut missing: Vec<K> = Vec::new();
        for key in keys {
            match self.fresh(key, now) {
                Some(entry) => put(key, &entry),
                None => missing.push(key.clone()),
            }
        }
        self.counters.hits.fetch_add((keys.len() - missing.len()) as u64, Ordering::Relaxed);
        if missing.is_empty() {
            return Ok(answer);
        }
        for (key, found) in self.wait_for(missing, &fetch) {
            let flight = match found {
                Found::InMemory(entry) => {
                    put(&key, &entry);
                    continue;
                }
                Found::Aboard(flight) => flight,
            };
            match flight.outcome() {
                Some(Ok(landed)) => {
                    if let Some(entry) = landed.get(&key) {
                        put(&key, entry);
                    }
                }
                Some(Err(error)) => return Err(error.clone()),
                // Nobody comes back from the wait before.
                None => return Err(FetchError::Panicked),
            }
        }
        Ok(answer)
    }

    /// How often it was asked, and what it took.
    pub fn stats(&self) -> CacheStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: of(&self.counters.hits),
            misses: of(&self.counters.misses),
            fetches: of(&self.counters.fetches),
            failures: of(&self.counters.failures),
        }
    }

    /// Forgets a key, or rather its value: the next one to ask waits for a request.
    pub fn invalidate(&self, key: &K) {
        self.entries.invalidate(key);
    }

    fn fresh(&self, key: &K, now: Moment) -> Option<Arc<Entry<V>>> {
        let entry = self.entries.get(key)?;
        entry.last_use.store(now.as_nanos(), Ordering::Relaxed);
        self.is_fresh(&entry, now).then_some(entry)
    }

    fn is_fresh(&self, entry: &Entry<V>, now: Moment) -> bool {
        now.since(entry.asked_source) < self.settings.ttl
    }

    /// Boards a flight for each key, and waits until they are down; flies them, if nobody else does.
    fn wait_for(
        &self,
        keys: Vec<K>,
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E>,
    ) -> Vec<(K, Found<K, V, E>)> {
        let room = Room { keys: self.settings.most_keys, weight: self.settings.most_weight };
        let mut board = self.board.lock();
        let now = self.settings.clock.now();
        let find = |key: K| {
            // A flight may have come down with it since the first look.
            let found = match self.fresh(&key, now) {
                Some(entry) => {
                    self.counters.hits.fetch_add(1, Ordering::Relaxed);
                    Found::InMemory(entry)
                }
                None => {
                    self.counters.misses.fetch_add(1, Ordering::Relaxed);
                    Found::Aboard(board.board(&key, (self.weigh)(&key), room))
                }
            };
            (key, found)
        };
        let mine: Vec<_> = keys.into_iter().map(find).collect();
        while mine.iter().any(|(_, found)| found.is_under_way()) {
            match board.take_off(|seats| self.fill(seats, room)) {
                Some(TakenOff { flight, keys }) => {
                    drop(board);
                    self.fly(&flight, &keys, &fetch);
                    board = self.board.lock();
                }
                None => self.landed.wait(&mut board),
            }
        }
        mine
    }

    /// Uses the room that is left for what else is tracked, oldest first.
    fn fill(&self, seats: &mut Seats<K>, room: Room) {
        let now = self.settings.clock.now();
        let mut tracked: Vec<(Moment, Arc<K>)> = Vec::new();
        for (key, entry) in &self.entries {
            let last_use = Moment::from_nanos(entry.last_use.load(Ordering::Relaxed));
            if now.since(last_use) > self.settings.idle {
                self.entries.invalidate(&*key);
            } else {
                tracked.push((entry.asked_source, key));
            }
        }
        tracked.sort_by_key(|(asked_source, _)| *asked_source);
        for (_, key) in tracked {
            if !seats.add(&key, (self.weigh)(&key), room) {
                break;
            }
        }
    }

    /// Makes the request, keeps what it brought, and tells those who wait.
    fn fly(
        &self,
        flight: &Flight<K, V, E>,
        keys: &[K],
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E>,
    ) {
        // Should `fetch` panic, this still ends the wait of the others.
        let landing = Landing { cache: self, flight };
        self.counters.fetches.fetch_add(1, Ordering::Relaxed);
        let before = self.settings.clock.now();
        let outcome = fetch(keys).map_err(FetchError::Failed);
        flight.land(outcome.map(|values| self.keep(keys, values, before)));
        drop(landing);
    }

    fn keep(&self, keys: &[K], mut values: HashMap<K, V>, before: Moment) -> Landed<K, V> {
        let now = self.settings.clock.now().as_nanos();
        let entry_of = |key: &K| {
            let value = values.remove(key).map(Arc::new);
            // What was only fetched along is not used by that, or it would be tracked for ever.
            let known = self.entries.get(key);
            let last_use = known.map_or(now, |entry| entry.last_use.load(Ordering::Relaxed));
            let entry = Entry { value, asked_source: before, last_use: AtomicU64::new(last_use) };
            let entry = Arc::new(entry);
            self.entries.insert(key.clone(), Arc::clone(&entry));
            (key.clone(), entry)
        };
        keys.iter().map(entry_of).collect()
    }
}

/// Where the answer for a key comes from.
enum Found<K, V, E> {
    InMemory(Arc<Entry<V>>),
    Aboard(Arc<Flight<K, V, E>>),
}

impl<K, V, E> Found<K, V, E> {
    fn is_under_way(&self) -> bool {
        matches!(self, Self::Aboard(flight) if flight.outcome().is_none())
    }
}

/// The duty to end a flight, kept by whoever fetches.
struct Landing<'a, K: Clone + Eq + Hash, V, E> {
    cache: &'a BatchCache<K, V, E>,
    flight: &'a Flight<K, V, E>,
}

impl<K: Clone + Eq + Hash, V, E> Drop for Landing<'_, K, V, E> {
    fn drop(&mut self) {
        // Only if nothing was told, which is when `fetch` panicked.
        self.flight.land(Err(FetchError::Panicked));
        if matches!(self.flight.outcome(), Some(Err(_))) {
            self.cache.counters.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.cache.board.lock().landed();
        self.cache.landed.notify_all();
    }
}

impl<K, V, E> fmt::Debug for BatchCache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchCache").field("settings", &self.settings).finish_non_exhaustive()
    }
}
