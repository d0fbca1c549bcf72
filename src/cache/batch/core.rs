//! Where callers, memory and the fetcher meet.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::bounds::{Key, Shared};
use super::config::{AgePolicy, BatchConfig, Freshness, fraction_of};
use super::fetcher::{Fetch, KeySource};
use super::keys::{BatchLimit, BatchQueue};
use super::lookup::{FetchError, GetOptions};
use super::pending::{InFlightBatch, PendingRequests, Refresh};
use super::quarantine::next_backoff;
use super::request::{PendingRequest, RequestOutcome};
use super::stats::Counters;
use super::store::{CacheEntry, CacheFull, EntryContent, Snapshot, Store};
use crate::quota::Moment;

/// What a cache is told of its keys, its source and the source's errors.
pub(super) struct CacheHooks<K, E> {
    pub(super) weigher: Box<dyn Fn(&K) -> usize + Send + Sync>,
    pub(super) split_on: Box<dyn Fn(&E) -> bool + Send + Sync>,
    pub(super) refresh_if: Box<dyn Fn() -> bool + Send + Sync>,
}

pub(super) struct Core<K, V, E> {
    pub(super) config: BatchConfig,
    pub(super) age_policy: AgePolicy,
    pub(super) hooks: CacheHooks<K, E>,
    pub(super) fetch: Box<Fetch<K, V, E>>,
    pub(super) store: Store<K, V, E>,
    pub(super) pending: Mutex<PendingRequests<K, V, E>>,
    /// There is something to do for the fetcher.
    pub(super) work_available: Condvar,
    pub(super) counters: Counters,
    /// Before this moment, in nanoseconds, nobody need ask for a refresh again.
    next_refresh_request: AtomicU64,
    /// Where all that is random comes from.
    seed: std::hash::RandomState,
}

/// A caller's place on a flight.
pub(super) struct Waiter<K, V, E> {
    pub(super) key: K,
    pub(super) request: Arc<PendingRequest<K, V, E>>,
}

/// Where the answer for a key will come from.
pub(super) enum KeyLookup<K, V, E> {
    Hit(Arc<CacheEntry<V, E>>),
    Pending(Waiter<K, V, E>),
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    pub(super) fn new(
        settings: BatchConfig,
        hooks: CacheHooks<K, E>,
        fetch: Box<Fetch<K, V, E>>,
    ) -> Self {
        let memory = Store::new(settings.time_to_idle, settings.max_capacity);
        Self {
            age_policy: AgePolicy::new(&settings),
            config: settings,
            hooks,
            fetch,
            store: memory,
            pending: Mutex::new(PendingRequests::new()),
            work_available: Condvar::new(),
            counters: Counters::default(),
            next_refresh_request: AtomicU64::new(0),
            seed: std::hash::RandomState::new(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.config.clock.now()
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { keys: self.config.max_batch_keys, weight: self.config.max_batch_weight }
    }

    /// Finds a flight for each key, all at once, so that they share one where there is room.
    /// `along` is what a caller would like to have from the same flight, each with its weight.
    pub(super) fn hit_or_join(
        &self,
        keys: &[K],
        piggyback: Vec<(K, usize)>,
        options: &GetOptions,
    ) -> Vec<KeyLookup<K, V, E>> {
        let room = self.batch_limit();
        // Before the lock is taken, for it is not ours: it may be slow, or ask the cache.
        let weights: Vec<usize> = keys.iter().map(&self.hooks.weigher).collect();
        let mut board = self.pending.lock();
        let now = self.now();
        // A flight may have come down since the first look.
        let shown = self.store.snapshot();
        board.quarantine.expire(now);
        let find = |(key, weight): (&K, usize)| {
            let entry = shown.get(key);
            let fresh = entry.filter(|entry| {
                let verdict = entry.freshness(now.since(entry.sent), &self.age_policy, options);
                matches!(verdict, Freshness::Fresh | Freshness::RefreshAhead)
            });
            if let Some(entry) = fresh {
                entry.touch(now);
                return KeyLookup::Hit(Arc::clone(entry));
            }
            let line = match entry.is_some_and(|entry| entry.is_refused()) {
                true => BatchQueue::Refused,
                false if board.quarantine.contains(key, now) => BatchQueue::Quarantined,
                false => BatchQueue::Trusted,
            };
            let allowed = self.age_policy.max_age_for(self.config.ttl, options);
            let young = |sent| now.since(sent) < allowed;
            let (flight, joined) = board.join_or_open(key, weight, room, line, young);
            let counter = if joined { &self.counters.joined } else { &self.counters.misses };
            counter.fetch_add(1, Ordering::Relaxed);
            KeyLookup::Pending(Waiter { key: key.clone(), request: flight })
        };
        let found: Vec<_> = keys.iter().zip(weights).map(find).collect();
        let first = found.iter().find_map(|found| match found {
            KeyLookup::Pending(seat) => Some(Arc::clone(&seat.request)),
            KeyLookup::Hit(_) => None,
        });
        if let Some(first) = first.filter(|_| !piggyback.is_empty()) {
            board.add_piggyback(&first, piggyback);
        }
        drop(board);
        self.work_available.notify_one();
        found
    }

    /// Asks for a refresh of `key`, unless that was done a moment ago.
    pub(super) fn request_refresh(&self, key: &K, now: Moment, urge: Refresh) {
        let next = self.next_refresh_request.load(Ordering::Relaxed);
        let pause = (self.config.ttl / 16).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let then = (now + pause).as_nanos();
        let order = Ordering::Relaxed;
        if now.as_nanos() < next
            || self.next_refresh_request.compare_exchange(next, then, order, order).is_err()
        {
            return;
        }
        let mut board = self.pending.lock();
        let known = board.to_refresh.entry(key.clone()).or_insert(urge);
        if urge == Refresh::Stale {
            *known = urge;
        }
        drop(board);
        self.work_available.notify_one();
    }

    /// Forgets what is known of `key`, and what is on its way.
    pub(super) fn invalidate(&self, key: &K) {
        let mut board = self.pending.lock();
        if let Some(air) = &mut board.in_flight {
            air.invalidated.insert(key.clone());
        }
        let before = self.store.invalidate(key);
        drop(board);
        drop(before);
    }

    pub(super) fn track(&self, keys: &[K]) -> Result<(), CacheFull> {
        self.store.track(keys.iter().map(|key| (key.clone(), (self.hooks.weigher)(key))).collect())
    }

    /// Forgets `keys`, what is known of them, and that what is on its way was asked for.
    pub(super) fn untrack(&self, keys: &[K]) {
        let mut board = self.pending.lock();
        board.untrack(keys);
        let before = self.store.untrack(keys);
        drop(board);
        drop(before);
    }

    /// What a request is to take along: what is to be refreshed, and then all else that is due,
    /// oldest first.
    fn due_keys(&self, board: &PendingRequests<K, V, E>, now: Moment) -> Vec<(K, usize)> {
        let refreshing = |key: &K| Some((key.clone(), self.store.weight_if_due(key, now)?));
        board.refreshing.iter().filter_map(refreshing).chain(self.store.due_keys(now)).collect()
    }

    /// A turn of the fetcher is over: keeps what it brought, and tells those who wait.
    pub(super) fn complete_fetch(&self, outcome: Result<HashMap<K, Result<V, E>>, FetchError<E>>) {
        let error = match outcome {
            Ok(answers) => {
                let content = |answer| match answer {
                    Ok(value) => EntryContent::Value(Arc::new(value)),
                    Err(error) => EntryContent::Failed(Arc::new(error)),
                };
                let contents = answers.into_iter().map(|(key, answer)| (key, content(answer)));
                // If nothing went, nobody may have wanted anything any more.
                if self.store_results(contents.collect()) || self.pending.lock().keys_taken {
                    return;
                }
                FetchError::KeysNotTaken
            }
            Err(error) => error,
        };
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let error = match error {
            FetchError::Failed(error) if (self.hooks.split_on)(&error) => {
                match self.handle_refusal(error) {
                    Some(error) => error,
                    None => return,
                }
            }
            error => error,
        };
        let mut board = self.pending.lock();
        let air = board.in_flight.take();
        match &air {
            Some(air) => air.response.request().complete(RequestOutcome::Failed(Arc::new(error))),
            // It failed before it went: a full queue, a closed lane. Or nothing was to go, and it is
            // nobody's failure.
            None if board.keys_taken => {}
            None => board.fail_next(error),
        }
        drop(board);
    }

    /// The source refused the request in the air: makes it again in parts, or remembers the refusal if
    /// it was for one key. Otherwise gives the error back.
    fn handle_refusal(&self, error: E) -> Option<FetchError<E>> {
        let now = self.now();
        let mut board = self.pending.lock();
        match board.in_flight.as_ref().map(|air| air.batch_keys.keys()) {
            None => return Some(FetchError::Failed(error)),
            Some([key]) => {
                let key = key.clone();
                drop(board);
                self.store_results(HashMap::from([(key, EntryContent::Refused(Arc::new(error)))]));
                return None;
            }
            Some(_) => {}
        }
        let air = board.in_flight.take()?;
        let parts = board.split(&air.batch_keys, now, self.config.negative_ttl);
        if parts.is_some() {
            self.counters.splits.fetch_add(1, Ordering::Relaxed);
        }
        // With the board in hand: a flight is boarding, in the air, or told, whoever looks.
        air.response.request().complete(match parts {
            Some(parts) => RequestOutcome::Split(parts),
            None => RequestOutcome::Failed(Arc::new(FetchError::Failed(error))),
        });
        drop(board);
        None
    }

    /// Remembers what the flight in the air brought, and tells it; false if there is none. A key that
    /// is not in `contents` is absent.
    fn store_results(&self, mut contents: HashMap<K, EntryContent<V, E>>) -> bool {
        let flying = |air: &InFlightBatch<K, V, E>| (air.batch_keys.keys().to_vec(), air.sent);
        let Some((keys, sent)) = self.pending.lock().in_flight.as_ref().map(flying) else {
            return false;
        };
        let now = self.now();
        let is_refusal =
            contents.values().any(|content| matches!(content, EntryContent::Refused(_)));
        let entry_of = |key: K| {
            let content = contents.remove(&key).unwrap_or(EntryContent::Absent);
            let ttl = self.ttl_of(&key, &content, sent);
            let weight = (self.hooks.weigher)(&key);
            (key, Arc::new(CacheEntry::new(content, sent, ttl, weight, now)))
        };
        let entries: Snapshot<K, V, E> = keys.into_iter().map(entry_of).collect();
        // Who misses a key looks again with the board in hand, so it finds either the flight or what
        // the flight brought.
        let mut board = self.pending.lock();
        let Some(air) = &board.in_flight else { return false };
        let forgotten = |key: &K| air.invalidated.contains(key) || air.batch_keys.is_untracked(key);
        let before = self.store.insert_batch(
            &entries,
            |key| air.batch_keys.has_waiter_for(key),
            forgotten,
            now,
        );
        let air = board.in_flight.take();
        if let Some(air) = &air {
            air.response
                .request()
                .complete(RequestOutcome::Completed { entries, received_at: now });
            match is_refusal {
                true => board.on_single_refused(air),
                false => board.on_answered(air),
            }
        }
        // What is not ours is dropped with no lock held.
        drop(board);
        drop((air, before));
        true
    }

    /// How long `content` of a request that was sent at `sent` is remembered.
    fn ttl_of(&self, key: &K, content: &EntryContent<V, E>, sent: Moment) -> Duration {
        let BatchConfig { ttl, negative_ttl, .. } = self.config;
        match content {
            EntryContent::Value(_) => self.jittered_ttl(key, sent),
            EntryContent::Absent => negative_ttl,
            EntryContent::Failed(_) => ttl.min(negative_ttl),
            EntryContent::Refused(_) => {
                let before =
                    self.store.snapshot().get(key).filter(|entry| entry.is_refused()).cloned();
                before.map_or(negative_ttl, |before| next_backoff(before.ttl, negative_ttl))
            }
        }
    }

    fn random(&self, of: impl Hash) -> u64 {
        self.seed.hash_one(of)
    }

    fn jittered_ttl(&self, key: &K, sent: Moment) -> Duration {
        let BatchConfig { ttl, ttl_jitter, .. } = &self.config;
        if *ttl_jitter <= 0.0 {
            return *ttl;
        }
        let random = self.random((key, sent)) as f64 / u64::MAX as f64;
        fraction_of(*ttl, 1.0 - ttl_jitter.min(1.0) * random)
    }
}

impl<K: Key, V: Shared, E: Shared> Core<K, V, E> {
    /// Leaves a flight. Says whether it may have been sent.
    pub(super) fn remove_waiter(&self, seat: &Waiter<K, V, E>) -> bool {
        self.pending.lock().remove_waiter(&seat.request, &seat.key)
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> KeySource<K> for Core<K, V, E> {
    fn take_keys(&self, turn: u64) -> Vec<K> {
        let mut board = self.pending.lock();
        if board.generation != turn || !board.fetching {
            return Vec::new();
        }
        let now = self.now();
        // The source makes the request again: the same keys, and newer prices.
        if let Some(air) = &mut board.in_flight {
            air.sent = now;
            return air.batch_keys.keys().to_vec();
        }
        let due = self.due_keys(&board, now);
        let shown = self.store.snapshot();
        let had_value = |key: &K| shown.get(key).is_some_and(|entry| entry.has_value());
        let air = board.dispatch(now, due, self.batch_limit(), had_value, self.random(turn));
        let keys = air.map(|air| air.batch_keys.keys().to_vec());
        let keys = keys.unwrap_or_default();
        // If what is not ours panicked on the way, nobody has taken anything.
        board.keys_taken = true;
        if !keys.is_empty() {
            self.counters.record_batch(keys.len());
        }
        keys
    }

    fn taken_keys(&self, turn: u64) -> Vec<K> {
        let board = self.pending.lock();
        let air = board.in_flight.as_ref().filter(|_| board.generation == turn);
        air.map(|air| air.batch_keys.keys().to_vec()).unwrap_or_default()
    }

    fn sent(&self, turn: u64) -> Option<Moment> {
        let board = self.pending.lock();
        let air = board.in_flight.as_ref().filter(|_| board.generation == turn)?;
        Some(air.sent)
    }
}
