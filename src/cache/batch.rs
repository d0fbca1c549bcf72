//! What callers see of the batched cache: questions, and the wait for their answers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::answer::{Answer, Ask, FetchError, Origin};
use super::board::Urge;
use super::bounds::{Key, Shared};
use super::build::BatchBuilder;
use super::core::{Core, Found, Seat};
use super::fetcher;
use super::flight::{Flight, Outcome};
use super::memory::{CacheFull, Entry, Snapshot};
use super::settings::{BatchSettings, Verdict};
use super::stats::CacheStats;
use crate::quota::Moment;

/// A read-through cache that fetches in batches.
///
/// One request is under way at a time. A miss joins it if it carries the key and is young enough, or
/// else the next one, which takes keys until it is really sent. Each request takes along all that is
/// tracked and due, as long as there is room. A key is tracked from the first time that somebody asks
/// for it until nobody has for a while, or for as long as [`track`](Self::track) says.
///
/// **Age** counts from before the request was sent. An answer is either younger than what is allowed,
/// or to a request that was sent after the question; and it is never older than the hard limit.
///
/// **An error** is told to all who waited for that request, once, and is not kept. Where the builder
/// says which errors [are refusals](BatchBuilder::refuses), a request that is refused as a whole is
/// made again without the keys that nobody waits for, then in halves, three times at most: one bad key
/// costs seven more requests, and then flies apart from the good ones.
///
/// The requests are made by a thread of the cache's own, so that whoever waits can leave at a
/// deadline. It starts with the first miss.
///
/// ```
/// use std::collections::HashMap;
/// use lanekeeper::cache::{BatchCache, BatchSettings};
///
/// let cache = BatchCache::new(BatchSettings::default(), |keys: &[u32]| {
///     let known = keys.iter().filter(|key| **key < 10);
///     Ok::<_, String>(known.map(|key| (*key, format!("value {key}"))).collect())
/// });
/// let answer = cache.get_many(&[1, 2, 99])?;
/// assert_eq!(*answer[&1].value, "value 1");
/// assert!(!answer.contains_key(&99));
/// # Ok::<(), lanekeeper::cache::FetchError<String>>(())
/// ```
pub struct BatchCache<K: Key, V: Shared, E: Shared> {
    core: Arc<Core<K, V, E>>,
    fetcher: Mutex<Option<JoinHandle<()>>>,
}

impl<K: Key, V: Shared, E: Shared + Clone> BatchCache<K, V, E> {
    /// An empty cache in front of `fetch`. It must not ask this cache in its turn: it would wait for
    /// itself.
    pub fn new(
        settings: BatchSettings,
        fetch: impl Fn(&[K]) -> Result<HashMap<K, V>, E> + Send + Sync + 'static,
    ) -> Self {
        BatchBuilder::new(settings).build(fetch)
    }

    pub(super) fn of(core: Core<K, V, E>) -> Self {
        Self { core: Arc::new(core), fetcher: Mutex::default() }
    }

    /// The value of one key: `None` if the source has none.
    ///
    /// # Errors
    /// The request for it failed.
    pub fn get(&self, key: &K) -> Result<Option<Answer<V>>, FetchError<E>> {
        self.ask(key, &Ask::new())
    }

    /// As [`get`](Self::get), with demands.
    ///
    /// # Errors
    /// The request for it failed, or did not come back in time.
    pub fn ask(&self, key: &K, ask: &Ask) -> Result<Option<Answer<V>>, FetchError<E>> {
        if let Some(known) =
            self.recall(key, ask, |entry, age, origin| Answer::of(entry, age, origin))
        {
            return Ok(known);
        }
        Ok(self.ask_many(std::slice::from_ref(key), ask)?.remove(key))
    }

    /// The values of `keys`; a key for which the source has none is absent.
    ///
    /// # Errors
    /// A request for some of them failed. What came of the others is remembered.
    pub fn get_many(&self, keys: &[K]) -> Result<HashMap<K, Answer<V>>, FetchError<E>> {
        self.ask_many(keys, &Ask::new())
    }

    /// As [`get_many`](Self::get_many), with demands.
    ///
    /// What is fresh in memory is answered from there, all of one moment; for the rest it waits once.
    /// If it has to wait, it takes the others from the same request too, where that has room for
    /// them: then all are of one moment.
    ///
    /// # Errors
    /// A request for some of them failed, or did not come back in time. What came of the others is
    /// remembered.
    pub fn ask_many(&self, keys: &[K], ask: &Ask) -> Result<HashMap<K, Answer<V>>, FetchError<E>> {
        let ages = &self.core.ages;
        let mut now = self.core.now();
        let until = ask.deadline.map(|limit| now + limit);
        let mut asking = Asking { ask, began: now, until, was_sent: false };
        let mut known = HashMap::with_capacity(keys.len());
        let mut missing = Vec::new();
        {
            let shown = self.core.memory.look();
            for key in keys {
                match self
                    .of_snapshot(&shown, key, now, ask, |entry, _, origin| (entry.clone(), origin))
                {
                    Some(found) => drop(known.insert(key.clone(), found)),
                    None => missing.push(key.clone()),
                }
            }
        }
        while !missing.is_empty() {
            self.wait_for(&missing, &mut known, &mut asking)?;
            now = self.core.now();
            // It took its time. What is too old by now, and is not the answer to a request that was
            // sent after the question, is asked for again; no later request can be older than that.
            let too_old = |(key, (entry, _)): (&K, &(Arc<Entry<V>>, Origin))| {
                let verdict = ages.judge(now.since(entry.sent), entry.ttl, ask);
                let old = entry.sent < asking.began && verdict == Verdict::TooOld;
                old.then(|| key.clone())
            };
            missing = known.iter().filter_map(too_old).collect();
        }
        let mut answers = HashMap::with_capacity(known.len());
        for (key, (entry, origin)) in known {
            let age = now.since(entry.sent);
            if age > ages.hard_limit() {
                return Err(FetchError::TooOld { age });
            }
            if origin == Origin::Fetched {
                self.core.counters.answered(origin, age);
            }
            answers.extend(Answer::of(&entry, age, origin).map(|answer| (key, answer)));
        }
        Ok(answers)
    }

    /// What is made of the answer for `key`, if memory has one that satisfies `ask`. Allocates
    /// nothing, takes no lock, and copies nothing that `make` does not.
    pub(super) fn recall<R>(
        &self,
        key: &K,
        ask: &Ask,
        make: impl FnOnce(&Arc<Entry<V>>, Duration, Origin) -> R,
    ) -> Option<R> {
        let now = self.core.now();
        self.of_snapshot(&self.core.memory.look(), key, now, ask, make)
    }

    fn of_snapshot<R>(
        &self,
        shown: &Snapshot<K, V>,
        key: &K,
        now: Moment,
        ask: &Ask,
        make: impl FnOnce(&Arc<Entry<V>>, Duration, Origin) -> R,
    ) -> Option<R> {
        let entry = shown.get(key)?;
        let age = now.since(entry.sent);
        let origin = match self.core.ages.judge(age, entry.ttl, ask) {
            Verdict::Fresh => Origin::Memory,
            Verdict::Ahead => {
                self.core.urge(key, now, Urge::Ahead);
                Origin::Memory
            }
            Verdict::Stale => {
                self.core.urge(key, now, Urge::Stale);
                Origin::Stale
            }
            Verdict::TooOld => return None,
        };
        entry.touch(now);
        self.core.counters.answered(origin, age);
        Some(make(entry, age, origin))
    }

    /// Boards a flight for each key, and waits until they are down.
    fn wait_for(
        &self,
        missing: &[K],
        known: &mut Known<K, V>,
        asking: &mut Asking<'_>,
    ) -> Result<(), FetchError<E>> {
        let core = &*self.core;
        self.start()?;
        let others: Vec<(K, usize)> =
            known.iter().map(|(key, (entry, _))| (key.clone(), entry.weight)).collect();
        let mut seats = Seats { core, taken: Vec::new() };
        for (key, found) in missing.iter().zip(core.board(missing, others.clone(), asking.ask)) {
            match found {
                Found::Aboard(seat) => seats.taken.push(seat),
                Found::InMemory(entry) => {
                    core.counters.answered(Origin::Memory, core.now().since(entry.sent));
                    known.insert(key.clone(), (entry, Origin::Memory));
                }
            }
        }
        let mut flown: Vec<Arc<Flight<K, V, E>>> = Vec::new();
        while let Some(Seat { key, flight }) = seats.taken.pop() {
            match flight.wait(&core.settings.clock, asking.until) {
                None => {
                    seats.taken.push(Seat { key, flight });
                    let under_way = seats.leave() || asking.was_sent;
                    core.counters.timed_out.fetch_add(1, Ordering::Relaxed);
                    let waited = core.now().since(asking.began);
                    return Err(FetchError::TimedOut { waited, under_way });
                }
                Some(Outcome::Failed(error)) => return Err(error.clone()),
                Some(Outcome::Divided(parts)) => {
                    // Every key that somebody waits for is in a part.
                    let part = parts.get(&key).ok_or(FetchError::NotTaken)?;
                    asking.was_sent = true;
                    seats.taken.push(Seat { key, flight: Arc::clone(part) });
                }
                Some(Outcome::Landed(entries)) => {
                    // And every key of a request has an entry.
                    let entry = entries.get(&key).ok_or(FetchError::NotTaken)?;
                    known.insert(key, (Arc::clone(entry), Origin::Fetched));
                    asking.was_sent = true;
                    if !flown.iter().any(|known| Arc::ptr_eq(known, &flight)) {
                        flown.push(Arc::clone(&flight));
                    }
                }
            }
        }
        // What was known came along, if it could: then all are of one moment.
        for (key, _) in others {
            let landed = flown.iter().find_map(|flight| match flight.outcome()? {
                Outcome::Landed(entries) => entries.get(&key),
                _ => None,
            });
            if let Some(entry) = landed {
                known.insert(key, (Arc::clone(entry), Origin::Fetched));
            }
        }
        Ok(())
    }

    /// Starts the fetcher, if none runs.
    fn start(&self) -> Result<(), FetchError<E>> {
        let mut fetcher = self.fetcher.lock();
        if fetcher.as_ref().is_none_or(JoinHandle::is_finished) {
            let started = fetcher::start(&self.core);
            let thread =
                started.map_err(|error| FetchError::NoThread { error: error.to_string() })?;
            *fetcher = Some(thread);
        }
        Ok(())
    }

    /// Fetches `keys` along with every request from now on that has room, whether anybody asks for
    /// them or not. It makes no request by itself.
    ///
    /// # Errors
    /// There would be more of them than the cache may remember; none was added.
    pub fn track(&self, keys: &[K]) -> Result<(), CacheFull> {
        self.core.track(keys)
    }

    /// Forgets `keys`, and what is known of them. They are tracked again once somebody asks. Whoever
    /// waits for one already is answered, which does not count as asking.
    pub fn untrack(&self, keys: &[K]) {
        self.core.untrack(keys);
    }

    /// Forgets the value of a key, and the one that is on its way: the next one to ask waits for a
    /// request that is sent after this. Whoever waits already is answered. Costs a copy of all that
    /// is remembered.
    pub fn invalidate(&self, key: &K) {
        self.core.forget(key);
    }

    /// How often it was asked, and what it took.
    pub fn stats(&self) -> CacheStats {
        self.core.counters.read(self.core.memory.look().len())
    }
}

/// What is known so far of what was asked.
type Known<K, V> = HashMap<K, (Arc<Entry<V>>, Origin)>;

/// What one question demands, and since when.
struct Asking<'a> {
    ask: &'a Ask,
    began: Moment,
    until: Option<Moment>,
    /// A request was sent for it.
    was_sent: bool,
}

/// The places of one who waits, given back when it leaves.
struct Seats<'a, K: Key, V: Shared, E: Shared> {
    core: &'a Core<K, V, E>,
    taken: Vec<Seat<K, V, E>>,
}

impl<K: Key, V: Shared, E: Shared> Seats<'_, K, V, E> {
    /// Gives all of them back. Says whether a request for one may have been sent.
    fn leave(&mut self) -> bool {
        let mut was_sent = false;
        for seat in self.taken.drain(..) {
            was_sent |= self.core.leave(&seat);
        }
        was_sent
    }
}

impl<K: Key, V: Shared, E: Shared> Drop for Seats<'_, K, V, E> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<K: Key, V: Shared, E: Shared> Drop for BatchCache<K, V, E> {
    fn drop(&mut self) {
        let fetching = {
            let mut board = self.core.board.lock();
            board.closed = true;
            board.fetching
        };
        self.core.work.notify_all();
        // A request that is under way is not waited for: its thread ends with it.
        if let Some(fetcher) = self.fetcher.get_mut().take().filter(|_| !fetching) {
            if fetcher.thread().id() != std::thread::current().id() {
                // It ends by itself, and has contained what could panic.
                let _ = fetcher.join();
            }
        }
    }
}

impl<K: Key, V: Shared, E: Shared> fmt::Debug for BatchCache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("BatchCache");
        debug.field("settings", &self.core.settings).finish_non_exhaustive()
    }
}
