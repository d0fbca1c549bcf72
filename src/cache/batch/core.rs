//! The shared state of callers and fetcher: store, pending requests, and how a fetch completes.
//!
//! Lock order: `pending`, then the lock inside `Store`, then the wait lock of a request. Hooks run
//! without locks, but the keys' `Hash` and `Eq` run under them.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::bounds::{Key, Shared};
use super::config::{AgePolicy, BatchConfig, Freshness, fraction_of};
use super::fetch::{Batch, FetchSource, Fetched, KeySource};
use super::keys::{BatchLimit, BatchQueue};
use super::lookup::{FetchError, GetOptions, Origin};
use super::pending::{InFlightBatch, PendingRequests, Refresh};
use super::quarantine::next_backoff;
use super::request::{PendingRequest, RequestOutcome};
use super::shared_store::{Departure, SharedStore, Stamp};
use super::stats::Counters;
use super::store::{CacheEntry, CacheFull, EntryContent, Snapshot, Store};
use crate::clock::TimedCondvar;
use crate::panic::catch_panic;
use crate::quota::Moment;

/// The minimum pause after a failed request, for callers that wait for newer values. A caller that loops over its errors
/// would send requests without end.
const MIN_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// User hooks: the weight of a key, the errors that split a request, and idle capacity of the
/// source.
pub(super) struct CacheHooks<K, E> {
    pub(super) weigher: Box<dyn Fn(&K) -> usize + Send + Sync>,
    pub(super) split_on: Box<dyn Fn(&E) -> bool + Send + Sync>,
    pub(super) refresh_if: Box<dyn Fn() -> bool + Send + Sync>,
}

pub(super) struct Core<K, V, E> {
    pub(super) config: BatchConfig,
    pub(super) age_policy: AgePolicy,
    pub(super) hooks: CacheHooks<K, E>,
    pub(super) source: FetchSource<K, V, E>,
    /// The values of other processes, if they are shared.
    pub(super) shared: Option<Box<dyn SharedStore<K, V>>>,
    pub(super) store: Store<K, V, E>,
    pub(super) pending: Mutex<PendingRequests<K, V, E>>,
    /// Wakes the thread of the cache: a request or a refresh is pending, or a task has handed over a fetch or dropped one. Used
    /// with `pending`.
    pub(super) work_available: TimedCondvar,
    /// Wakes the callers that wait for newer values when a fetch ends, and the thread that shares what tasks fetch when one ends or
    /// has taken its keys. Used with `pending`.
    pub(super) fetch_ended: TimedCondvar,
    /// The thread of the cache, if one was started: it fetches, or shares what tasks fetch.
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) counters: Counters,
    /// The moment, in nanoseconds, before which no further refresh request is accepted.
    next_refresh_request: AtomicU64,
    /// The seed of all random numbers of the cache.
    seed: std::hash::RandomState,
}

/// What a fetch returned for a key.
pub(super) struct FetchedContent<V, E> {
    pub(super) content: EntryContent<V, E>,
    /// When its request was sent, if that was a request of another process.
    pub(super) shared: Option<(Moment, Stamp)>,
}

impl<V, E> FetchedContent<V, E> {
    /// Wraps what a request of this cache returned.
    fn own(content: EntryContent<V, E>) -> Self {
        Self { content, shared: None }
    }
}

/// A caller's wait for one key of a request.
pub(super) struct Waiter<K, V, E> {
    pub(super) key: K,
    pub(super) request: Arc<PendingRequest<K, V, E>>,
}

/// Where the answer for a key comes from.
pub(super) enum KeyLookup<K, V, E> {
    Hit(Arc<CacheEntry<V, E>>),
    Pending(Waiter<K, V, E>),
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    pub(super) fn new(
        settings: BatchConfig,
        hooks: CacheHooks<K, E>,
        source: FetchSource<K, V, E>,
        shared: Option<Box<dyn SharedStore<K, V>>>,
    ) -> Self {
        let store = Store::new(settings.time_to_idle, settings.max_capacity);
        Self {
            age_policy: AgePolicy::new(&settings),
            shared: shared.filter(|_| settings.share),
            config: settings,
            hooks,
            source,
            store,
            pending: Mutex::new(PendingRequests::new()),
            work_available: TimedCondvar::default(),
            fetch_ended: TimedCondvar::default(),
            thread: Mutex::default(),
            counters: Counters::default(),
            next_refresh_request: AtomicU64::new(0),
            seed: std::hash::RandomState::new(),
        }
    }

    /// Starts the thread of the cache, if none is running. It participates in a manual clock: an auto-advancing one does not
    /// advance while a request that is to be sent is not yet in its lane.
    pub(super) fn ensure_thread_running(
        self: &Arc<Self>,
        name: &str,
        run: fn(&Arc<Self>),
    ) -> std::io::Result<()> {
        let mut thread = self.thread.lock();
        if thread.as_ref().is_none_or(JoinHandle::is_finished) {
            let (core, active_guard) = (Arc::clone(self), self.config.clock.active_guard());
            let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                let active_guard = active_guard;
                active_guard.bind_to_thread();
                run(&core);
            });
            *thread = Some(started?);
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Moment {
        self.config.clock.now()
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { keys: self.config.max_batch_keys, weight: self.config.max_batch_weight }
    }

    /// Returns the result of `make` for the entry of `key`, if `snapshot` holds one that satisfies
    /// `options`, and counts a lookup. On a fresh hit it does not allocate or lock, and copies only
    /// what `make` copies.
    pub(super) fn read_snapshot<R>(
        &self,
        snapshot: &Snapshot<K, V, E>,
        key: &K,
        now: Moment,
        options: &GetOptions,
        make: impl FnOnce(&Arc<CacheEntry<V, E>>, Duration, Origin) -> R,
    ) -> Option<R> {
        let entry = snapshot.get(key)?;
        let age = now.since(entry.sent);
        let origin = match entry.freshness(age, &self.age_policy, options) {
            Freshness::Fresh => Origin::Memory,
            Freshness::RefreshAhead => {
                self.request_refresh(key, now, Refresh::Ahead);
                Origin::Memory
            }
            // Without a task for refreshes, nothing would bring the new value.
            Freshness::Stale if !self.makes_refreshes() => return None,
            Freshness::Stale => {
                self.request_refresh(key, now, Refresh::Stale);
                Origin::Stale
            }
            Freshness::TooOld => return None,
        };
        entry.touch(now);
        self.counters.record_answer(origin, entry.value_age(now));
        Some(make(entry, age, origin))
    }

    /// Returns a cached entry or joins a request for each key, under one lock, so that the keys
    /// share a request if they fit into one. `piggyback` names the keys that the caller would like
    /// in the same request, each with its weight. `seen` returns, for the index of a key, the number
    /// of the last request whose entry the caller has: that entry is no hit.
    pub(super) fn hit_or_join(
        &self,
        keys: &[K],
        piggyback: Vec<(K, usize)>,
        options: &GetOptions,
        seen: impl Fn(usize) -> u64,
    ) -> Vec<KeyLookup<K, V, E>> {
        let limit = self.batch_limit();
        // Run the weigher before locking: it is user code, which may be slow or query the cache.
        let weights: Vec<usize> = keys.iter().map(&self.hooks.weigher).collect();
        let mut pending = self.pending.lock();
        let now = self.now();
        // A request may have completed since the caller read the snapshot.
        let snapshot = self.store.snapshot();
        pending.quarantine.expire(now);
        let find = |(index, (key, weight)): (usize, (&K, usize))| {
            let entry = snapshot.get(key);
            let fresh = entry.filter(|entry| entry.batch > seen(index)).filter(|entry| {
                let freshness = entry.freshness(now.since(entry.sent), &self.age_policy, options);
                matches!(freshness, Freshness::Fresh | Freshness::RefreshAhead)
            });
            if let Some(entry) = fresh {
                entry.touch(now);
                return KeyLookup::Hit(Arc::clone(entry));
            }
            let queue = match entry.is_some_and(|entry| entry.is_refused()) {
                true => BatchQueue::Refused,
                false if pending.quarantine.contains(key, now) => BatchQueue::Quarantined,
                false => BatchQueue::Trusted,
            };
            let allowed = self.age_policy.max_age_for(self.config.ttl, options);
            let young = |sent| now.since(sent) < allowed;
            // The entry that is here was not enough. Without one, the value that the caller has seen may be any.
            let not_enough = match entry {
                Some(entry) => entry.sent,
                None if seen(index) > 0 => now,
                None => Moment::ORIGIN,
            };
            let invalidated = pending.invalidated.get(key).copied().unwrap_or(Moment::ORIGIN);
            let newer_than = not_enough.max(invalidated).max(now - allowed);
            let (request, joined) =
                pending.join_or_open(key, weight, limit, queue, young, newer_than);
            let counter = if joined { &self.counters.joined } else { &self.counters.misses };
            counter.fetch_add(1, Ordering::Relaxed);
            KeyLookup::Pending(Waiter { key: key.clone(), request })
        };
        let found: Vec<_> = keys.iter().zip(weights).enumerate().map(find).collect();
        let first = found.iter().find_map(|found| match found {
            KeyLookup::Pending(waiter) => Some(Arc::clone(&waiter.request)),
            KeyLookup::Hit(_) => None,
        });
        if let Some(first) = first.filter(|_| !piggyback.is_empty()) {
            pending.add_piggyback(&first, piggyback);
        }
        self.work_available.notify_one(pending);
        found
    }

    /// Requests a refresh of `key`, unless a refresh was requested a moment ago.
    pub(super) fn request_refresh(&self, key: &K, now: Moment, refresh: Refresh) {
        let next = self.next_refresh_request.load(Ordering::Relaxed);
        let pause = (self.config.ttl / 16).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let then = (now + pause).as_nanos();
        let order = Ordering::Relaxed;
        if now.as_nanos() < next
            || self.next_refresh_request.compare_exchange(next, then, order, order).is_err()
        {
            return;
        }
        let mut pending = self.pending.lock();
        let known = pending.to_refresh.entry(key.clone()).or_insert(refresh);
        if refresh == Refresh::Stale {
            *known = refresh;
        }
        self.work_available.notify_one(pending);
        #[cfg(feature = "async")]
        if let FetchSource::Tasks(tasks) = &self.source {
            tasks.wake_refresher();
        }
    }

    /// Invalidates the entry of `key`, and its value in the request in flight.
    pub(super) fn invalidate(&self, key: &K) {
        let mut pending = self.pending.lock();
        if let Some(in_flight) = &mut pending.in_flight {
            in_flight.invalidated.insert(key.clone());
        }
        if self.shared.is_some() {
            pending.note_invalidated(key, self.now(), self.age_policy.hard_limit());
        }
        let before = self.store.invalidate(key);
        drop(pending);
        drop(before);
    }

    pub(super) fn track(&self, keys: &[K]) -> Result<(), CacheFull> {
        self.store.track(keys.iter().map(|key| (key.clone(), (self.hooks.weigher)(key))).collect())
    }

    /// Stops tracking `keys`, removes their entries, and ends tracking by pending lookups of them.
    pub(super) fn untrack(&self, keys: &[K]) {
        let mut pending = self.pending.lock();
        pending.untrack(keys);
        let before = self.store.untrack(keys);
        drop(pending);
        drop(before);
    }

    /// Returns the keys to piggyback on a request: the refresh requests, then all other keys that
    /// are due, oldest first.
    pub(super) fn due_keys(
        &self,
        pending: &PendingRequests<K, V, E>,
        now: Moment,
    ) -> Vec<(K, usize)> {
        let refreshing = |key: &K| Some((key.clone(), self.store.weight_if_due(key, now)?));
        pending.refreshing.iter().filter_map(refreshing).chain(self.store.due_keys(now)).collect()
    }

    /// Returns whether there is something to fetch.
    pub(super) fn has_work(&self, pending: &mut MutexGuard<'_, PendingRequests<K, V, E>>) -> bool {
        loop {
            if pending.closed {
                return false;
            }
            let now = self.now();
            pending.quarantine.expire(now);
            let PendingRequests { to_refresh, quarantine, .. } = &mut **pending;
            // A quarantined key is not piggybacked, so its refresh needs no request.
            to_refresh.retain(|key, _| {
                !quarantine.contains(key, now) && self.store.weight_if_due(key, now).is_some()
            });
            if pending.retain_awaited()
                || pending.to_refresh.values().any(|refresh| *refresh == Refresh::Stale)
            {
                return true;
            }
            if pending.to_refresh.is_empty() {
                return false;
            }
            // Unlock first: `refresh_if` is user code, which may take other locks.
            let has_capacity = MutexGuard::unlocked(pending, || {
                catch_panic(|| (self.hooks.refresh_if)()).unwrap_or(false)
            });
            if has_capacity {
                return !pending.closed;
            }
            pending.to_refresh.retain(|_, refresh| *refresh == Refresh::Stale);
        }
    }

    /// Begins a fetch, and returns its generation. Returns `None` if the cache is closed.
    pub(super) fn begin_fetch(&self, pending: &mut PendingRequests<K, V, E>) -> Option<u64> {
        pending.generation += 1;
        pending.keys_taken = false;
        pending.fetching = !pending.closed;
        // Each refresh is attempted once, whatever the outcome. A later lookup requests it again.
        pending.refreshing = pending.to_refresh.drain().map(|(key, _)| key).collect();
        pending.fetching.then_some(pending.generation)
    }

    /// Returns the batch of a fetch, which chooses its keys when it is asked for them.
    pub(super) fn batch(self: &Arc<Self>, generation: u64) -> Batch<K> {
        let source: Arc<dyn KeySource<K>> = Arc::clone(self) as _;
        Batch::new(Arc::downgrade(&source), generation)
    }

    /// Ends a fetch by what the source returned, or by the message of its panic. Returns its request, if it sent one.
    pub(super) fn end_fetch(
        &self,
        fetched: Result<Fetched<K, V, E>, String>,
    ) -> Option<Arc<PendingRequest<K, V, E>>> {
        // From here on the batch hands out no keys, even if the source kept a clone of it.
        let request = {
            let mut pending = self.pending.lock();
            pending.fetching = false;
            pending.in_flight.as_ref().map(|it| Arc::clone(it.response.request()))
        };
        let outcome = match fetched {
            Ok(outcome) => outcome.map_err(FetchError::Failed),
            Err(message) => Err(FetchError::Panicked { message }),
        };
        // This runs user code too: the keys' `Eq` and the values' `Drop`.
        if let Err(message) = catch_panic(|| self.complete_fetch(outcome)) {
            let _ = catch_panic(|| self.complete_fetch(Err(FetchError::Panicked { message })));
        }
        self.announce_fetch_end(self.pending.lock(), true);
        request
    }

    /// Recovers after a key's `Eq` or `Drop` panicked during a search for work. Drops
    /// the refresh requests that were checked, so that they do not panic again. A later lookup
    /// requests the refresh again.
    pub(super) fn reset_after_panic(&self) {
        let refreshes = {
            let mut pending = self.pending.lock();
            pending.fetching = false;
            (std::mem::take(&mut pending.to_refresh), std::mem::take(&mut pending.refreshing))
        };
        let _ = catch_panic(|| drop(refreshes));
        // Requests may have been lost.
        let mut pending = self.pending.lock();
        pending.retry_at = self.now() + self.retry_pause();
        self.announce_fetch_end(pending, true);
    }

    /// Completes a fetch: stores its results and completes the waiters.
    pub(super) fn complete_fetch(&self, outcome: Result<HashMap<K, Result<V, E>>, FetchError<E>>) {
        let error = match outcome {
            Ok(answers) => {
                let content = |answer| {
                    FetchedContent::own(match answer {
                        Ok(value) => EntryContent::Value(Arc::new(value)),
                        Err(error) => EntryContent::Failed(Arc::new(error)),
                    })
                };
                let contents = answers.into_iter().map(|(key, answer)| (key, content(answer)));
                // If no keys were requested, all waiters may have left.
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
        let mut pending = self.pending.lock();
        pending.retry_at = self.now() + self.retry_pause();
        let in_flight = pending.in_flight.take();
        match &in_flight {
            Some(in_flight) => {
                in_flight.response.request().complete(RequestOutcome::Failed(Arc::new(error)))
            }
            // Without a request in flight, the fetch failed before it sent one, for example at a
            // full queue or a closed lane. If the keys were taken and there were none to send, no
            // waiter gets the error.
            None if pending.keys_taken => {}
            None => pending.fail_next(error),
        }
        drop(pending);
    }

    /// Returns how long after a failed request the next one is sent that only callers ask for that
    /// wait for newer values.
    pub(super) fn retry_pause(&self) -> Duration {
        self.config.ttl.min(self.config.negative_ttl).max(MIN_RETRY_PAUSE)
    }

    /// Handles the refusal of the request in flight: splits the request, or stores the refusal if
    /// the request was for a single key. Returns the error if no request is in flight.
    fn handle_refusal(&self, error: E) -> Option<FetchError<E>> {
        let now = self.now();
        let mut pending = self.pending.lock();
        match pending.in_flight.as_ref().map(|in_flight| in_flight.batch_keys.keys()) {
            None => return Some(FetchError::Failed(error)),
            Some([key]) => {
                let key = key.clone();
                drop(pending);
                let refused = FetchedContent::own(EntryContent::Refused(Arc::new(error)));
                self.store_results(HashMap::from([(key, refused)]));
                return None;
            }
            Some(_) => {}
        }
        let in_flight = pending.in_flight.take()?;
        let parts = pending.split(&in_flight.batch_keys, now, self.config.negative_ttl);
        if parts.is_some() {
            self.counters.splits.fetch_add(1, Ordering::Relaxed);
        }
        // Complete the request under the lock: it is then always open, in flight, or completed.
        in_flight.response.request().complete(match parts {
            Some(parts) => RequestOutcome::Split(parts),
            None => RequestOutcome::Failed(Arc::new(FetchError::Failed(error))),
        });
        drop(pending);
        None
    }

    /// Stores the results of the request in flight and completes it. Returns `false` if there is
    /// none. A key that is not in `contents` is absent.
    pub(super) fn store_results(&self, mut contents: HashMap<K, FetchedContent<V, E>>) -> bool {
        let (keys, batch, sent, stamp) = {
            let pending = self.pending.lock();
            let Some(in_flight) = &pending.in_flight else { return false };
            let InFlightBatch { batch_keys, sent, stamp, .. } = in_flight;
            (batch_keys.keys().to_vec(), pending.generation, *sent, stamp.clone())
        };
        let now = self.now();
        let is_refusal =
            contents.values().any(|fetched| matches!(fetched.content, EntryContent::Refused(_)));
        let entry_of = |key: K| {
            let absent = FetchedContent::own(EntryContent::Absent);
            let FetchedContent { content, shared } = contents.remove(&key).unwrap_or(absent);
            let (sent, stamp, origin) = match shared {
                Some((sent, stamp)) => (sent, Some(stamp), Origin::Shared),
                None => (sent, stamp.clone(), Origin::Fetched),
            };
            let ttl = self.ttl_of(&key, &content, sent);
            let weight = (self.hooks.weigher)(&key);
            let mut entry = CacheEntry::new(content, (batch, sent), ttl, weight, now);
            (entry.stamp, entry.origin) = (stamp, origin);
            (key, Arc::new(entry))
        };
        let entries: Snapshot<K, V, E> = keys.into_iter().map(entry_of).collect();
        // A caller that misses a key reads the store again under this lock. So it finds either the
        // request in flight or the stored results.
        let mut pending = self.pending.lock();
        let Some(in_flight) = &pending.in_flight else { return false };
        let is_invalidated =
            |key: &K| in_flight.invalidated.contains(key) || in_flight.batch_keys.is_untracked(key);
        let before = self.store.insert_batch(
            &entries,
            |key| in_flight.batch_keys.has_waiter_for(key),
            is_invalidated,
            now,
        );
        let in_flight = pending.in_flight.take();
        if let Some(in_flight) = &in_flight {
            in_flight
                .response
                .request()
                .complete(RequestOutcome::Completed { entries, received_at: now });
            match is_refusal {
                true => pending.on_single_refused(in_flight),
                false => {
                    pending.on_answered(in_flight);
                    pending.retry_at = Moment::ORIGIN;
                }
            }
        }
        // Drop user values without holding a lock.
        drop(pending);
        drop((in_flight, before));
        true
    }

    /// Returns how long `content` of a request that was sent at `sent` is kept.
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
    /// Removes a waiter from its request. Returns whether the request may have been sent.
    pub(super) fn remove_waiter(&self, waiter: &Waiter<K, V, E>) -> bool {
        self.pending.lock().remove_waiter(&waiter.request, &waiter.key)
    }

    /// Returns whether the request of a waiter may have been sent.
    pub(super) fn may_be_sent(&self, waiter: &Waiter<K, V, E>) -> bool {
        self.pending.lock().may_be_sent(&waiter.request)
    }

    /// Wakes the callers that wait for newer values, after a fetch, and the tasks whose requests were completed. `is_by_task`: the
    /// task calls this that is busy with the fetch, if tasks make it.
    pub(super) fn announce_fetch_end(
        &self,
        mut pending: MutexGuard<'_, PendingRequests<K, V, E>>,
        is_by_task: bool,
    ) {
        pending.fetches_ended += 1;
        self.fetch_ended.notify_all(pending);
        self.wake_tasks(is_by_task);
    }

    /// Returns whether a caller waits for a request that is not sent yet.
    #[cfg(feature = "async")]
    pub(super) fn has_awaited(&self) -> bool {
        // The code of a key may panic. A task that is woken for nothing does no harm.
        catch_panic(|| self.pending.lock().retain_awaited()).unwrap_or(true)
    }

    /// Makes the request in flight an open one again, because its fetch was dropped.
    #[cfg(feature = "async")]
    pub(super) fn reopen_in_flight(&self) {
        let unawaited = {
            let mut pending = self.pending.lock();
            pending.fetching = false;
            let unawaited = pending.reopen_in_flight();
            self.fetch_ended.notify_all(pending);
            unawaited
        };
        // The sharing thread waits on `work_available` while another process has the claim, and on `fetch_ended` otherwise.
        self.work_available.notify_all(self.pending.lock());
        drop(unawaited);
    }

    /// Returns a stamp for a request that is about to be sent, and the keys that other processes wait for. None of both if nothing
    /// is shared, or without an answer.
    fn depart(&self) -> (Option<Stamp>, Vec<K>) {
        let Some(store) = &self.shared else { return (None, Vec::new()) };
        #[cfg(feature = "async")]
        if let FetchSource::Tasks(_) = &self.source {
            return (store.stamp(), self.pending.lock().sharing.wanted.clone());
        }
        match store.depart() {
            Some(Departure { stamp, wanted }) => (Some(stamp), wanted),
            None => (None, Vec::new()),
        }
    }

    /// Returns whether a refresh is made that no caller waits for.
    fn makes_refreshes(&self) -> bool {
        match &self.source {
            FetchSource::Thread(_) => true,
            #[cfg(feature = "async")]
            FetchSource::Tasks(tasks) => tasks.has_refresher(),
        }
    }

    /// Wakes the tasks that have something to look at. `is_by_task`: the task calls this that is busy with the fetch.
    fn wake_tasks(&self, is_by_task: bool) {
        #[cfg(feature = "async")]
        if let FetchSource::Tasks(tasks) = &self.source {
            tasks.wake_ended(is_by_task);
        }
        #[cfg(not(feature = "async"))]
        let _ = is_by_task;
    }

    /// Ends the cache: the fetcher thread, and the wait of callers for newer values.
    pub(super) fn close(&self) {
        let is_fetching = {
            let mut pending = self.pending.lock();
            pending.closed = true;
            let is_fetching = pending.fetching;
            self.work_available.notify_all(pending);
            is_fetching
        };
        self.fetch_ended.notify_all(self.pending.lock());
        self.wake_tasks(false);
        // Do not wait for a request in flight. A fetcher ends after it, and a sharing thread ends its claim. If none is in flight,
        // the join waits until the thread has kept what the last one brought.
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|_| !is_fetching) {
            if thread.thread().id() != std::thread::current().id() {
                // The thread ends on its own, and has caught any panic.
                let _ = thread.join();
            }
        }
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> KeySource<K> for Core<K, V, E> {
    fn take_keys(&self, generation: u64) -> Vec<K> {
        let is_valid = |pending: &PendingRequests<K, V, E>| {
            pending.generation == generation && pending.fetching
        };
        if !is_valid(&self.pending.lock()) {
            return Vec::new();
        }
        // With no lock held: for a fetcher this is a trip to another machine. The request is sent after its stamp.
        let (stamp, wanted) = self.depart();
        let weigh = |key: K| {
            let weight = (self.hooks.weigher)(&key);
            (key, weight)
        };
        let others = wanted.into_iter().map(weigh).collect();
        let mut pending = self.pending.lock();
        if !is_valid(&pending) {
            return Vec::new();
        }
        let now = self.now();
        // The source repeats the request: the keys stay the same, and the values are newer.
        if let Some(in_flight) = &mut pending.in_flight {
            in_flight.sent = now;
            // Without a new one, the earlier stamp is still not after the request.
            in_flight.stamp = stamp.or(in_flight.stamp.take());
            return in_flight.batch_keys.keys().to_vec();
        }
        let due = self.due_keys(&pending, now);
        let snapshot = self.store.snapshot();
        let had_value = |key: &K| snapshot.get(key).is_some_and(|entry| entry.has_value());
        let in_flight = pending.dispatch(
            now,
            others,
            due,
            self.batch_limit(),
            had_value,
            self.random(generation),
        );
        let keys = in_flight.map(|in_flight| {
            in_flight.stamp = stamp;
            in_flight.batch_keys.keys().to_vec()
        });
        let keys = keys.unwrap_or_default();
        // Set this last: if user code above panicked, no keys were taken.
        pending.keys_taken = true;
        #[cfg(feature = "async")]
        if self.shared.is_some() && matches!(self.source, FetchSource::Tasks(_)) {
            self.note_sent(pending);
        }
        if !keys.is_empty() {
            self.counters.record_batch(keys.len());
        }
        keys
    }

    fn taken_keys(&self, generation: u64) -> Vec<K> {
        let pending = self.pending.lock();
        let in_flight = pending.in_flight.as_ref().filter(|_| pending.generation == generation);
        in_flight.map(|in_flight| in_flight.batch_keys.keys().to_vec()).unwrap_or_default()
    }

    fn sent(&self, generation: u64) -> Option<Moment> {
        let pending = self.pending.lock();
        let in_flight = pending.in_flight.as_ref().filter(|_| pending.generation == generation)?;
        Some(in_flight.sent)
    }
}
