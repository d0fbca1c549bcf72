//! The wait of a caller for values that are newer than those it has. `get_after` and subscriptions are
//! built on it.
//!
//! A lookup answers at once while an entry is fresh, so a caller that wants the next value would have
//! to poll. A [`Watch`] knows which request brought the entry that its caller has of each key. It
//! sleeps until a key is due, or until a fetch ends, and then looks once: at the requests that it
//! joined, and at the store. A key that is due is requested as by a lookup that misses, so watches of
//! the same key share a request.
//!
//! "Newer" is decided by the numbers of the requests ([`CacheEntry::batch`]) and not by a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bounds::{Key, Shared};
use super::config::Freshness;
use super::core::{Core, KeyLookup, Waiter};
use super::lookup::{BatchResult, Cached, FetchError, GetOptions};
use super::pending::PendingRequests;
use super::request::RequestOutcome;
use super::store::CacheEntry;
use super::wait::{FoundEntries, FoundEntry};
use crate::quota::Moment;

/// How a wait of a [`Watch`] ended.
pub(super) enum WatchOutcome<K: Key, V, E> {
    /// At least one key has a newer entry, or its request failed.
    Answered(BatchResult<K, V, E>),
    TimedOut,
    /// The cache was dropped, or there are no keys.
    Closed,
}

/// What a [`Watch`] does next.
pub(super) enum WatchStep<K: Key, V, E> {
    /// It looks again when more than this number of fetches have ended, or the cache is closed, or at this moment.
    Wait {
        fetches_ended: u64,
        wake_at: Option<Moment>,
    },
    Done(WatchOutcome<K, V, E>),
}

/// A caller that waits for newer values of some keys.
///
/// It stays a waiter of the requests that it joined when a wait times out, so they are sent although
/// their caller looks only now and then. Dropping it removes it from them.
pub(super) struct Watch<K: Key, V: Shared, E: Shared> {
    core: Arc<Core<K, V, E>>,
    options: GetOptions,
    keys: Vec<WatchedKey<K, V, E>>,
}

struct WatchedKey<K, V, E> {
    key: K,
    /// The number of the last request whose entry the caller has. Requests are numbered from 1.
    seen: u64,
    /// When to request the key if the cache has no entry of it.
    due_at: Moment,
    joined: Option<JoinedRequest<K, V, E>>,
}

/// A request that a watch waits for.
struct JoinedRequest<K, V, E> {
    waiter: Waiter<K, V, E>,
    joined_at: Moment,
}

/// The newer entry of a key, or why its request failed.
type Answer<V, E> = Result<FoundEntry<V, E>, FetchError<E>>;

impl<K: Key, V: Shared, E: Shared + Clone> JoinedRequest<K, V, E> {
    /// Returns the answer of the request, if it has ended.
    fn answer(&mut self, core: &Core<K, V, E>) -> Option<Answer<V, E>> {
        let Waiter { key, request } = &mut self.waiter;
        loop {
            // Every awaited key of a request has an entry, or is in a part.
            let part = match request.outcome()? {
                RequestOutcome::Completed { entries, received_at } => {
                    let entry = entries.get(key).ok_or(FetchError::KeysNotTaken);
                    return Some(
                        entry.map(|entry| FoundEntry::from_response(entry, *received_at, core)),
                    );
                }
                RequestOutcome::Failed(error) => return Some(Err(FetchError::clone(error))),
                RequestOutcome::Split(parts) => parts.get(key).cloned(),
            };
            match part {
                Some(part) => *request = part,
                None => return Some(Err(FetchError::KeysNotTaken)),
            }
        }
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> WatchedKey<K, V, E> {
    fn new(key: K) -> Self {
        Self { key, seen: 0, due_at: Moment::ORIGIN, joined: None }
    }

    /// Records that the caller has this entry.
    fn mark_seen(&mut self, entry: &CacheEntry<V, E>, due_at: Moment) {
        (self.seen, self.due_at) = (entry.batch, due_at);
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Watch<K, V, E> {
    /// Creates a watch whose caller has no values yet.
    pub(super) fn new(core: &Arc<Core<K, V, E>>, keys: &[K], options: GetOptions) -> Self {
        let mut known = HashSet::with_capacity(keys.len());
        let distinct = keys.iter().filter(|key| known.insert(*key));
        let keys = distinct.cloned().map(WatchedKey::new).collect();
        Self { core: Arc::clone(core), options, keys }
    }

    /// Records that the caller has the values of the request of this number.
    pub(super) fn mark_seen(&mut self, batch: u64) {
        self.keys.iter_mut().for_each(|watched| watched.seen = batch);
    }

    /// Records that the caller has the errors that the cache holds, and what the source has nothing
    /// for. Returns whether there are any.
    pub(super) fn mark_errors_seen(&mut self) -> bool {
        let (now, snapshot) = (self.core.now(), self.core.store.snapshot());
        let mut has_errors = false;
        for watched in &mut self.keys {
            let known = snapshot.get(&watched.key).filter(|entry| !entry.has_value());
            let due_at =
                |entry: &CacheEntry<V, E>| entry.renewed_at(&self.core.age_policy, &self.options);
            if let Some(entry) = known.filter(|entry| due_at(entry) > now) {
                watched.mark_seen(entry, due_at(entry));
                has_errors = true;
            }
        }
        has_errors
    }

    /// Waits for an answer until `until` at most. If that is past, requests what is due, and does not
    /// wait.
    pub(super) fn wait(&mut self, until: Option<Moment>) -> WatchOutcome<K, V, E> {
        let core = Arc::clone(&self.core);
        let clock = &core.config.clock;
        // An auto-advancing clock advances to the time at which a key is due.
        let _participation = clock.participate();
        loop {
            let (fetches_ended, wake_at) = match self.look(until) {
                WatchStep::Wait { fetches_ended, wake_at } => (fetches_ended, wake_at),
                WatchStep::Done(outcome) => return outcome,
            };
            let is_unchanged =
                |pending: &mut PendingRequests<K, V, E>| !pending.has_changed(fetches_ended);
            core.fetch_ended.wait_while(&mut core.pending.lock(), clock, wake_at, is_unchanged);
        }
    }

    /// Looks for an answer, and requests what is due. `until` is when the wait ends.
    pub(super) fn look(&mut self, until: Option<Moment>) -> WatchStep<K, V, E> {
        let core = Arc::clone(&self.core);
        loop {
            let (fetches_ended, retry_at) = {
                let pending = core.pending.lock();
                if pending.closed || self.keys.is_empty() {
                    return WatchStep::Done(WatchOutcome::Closed);
                }
                (pending.fetches_ended, pending.retry_at)
            };
            let now = core.now();
            let (found, failed) = self.take_answers(now);
            if !found.is_empty() || !failed.is_empty() {
                let result = core.to_result(found, failed, now);
                return WatchStep::Done(WatchOutcome::Answered(result));
            }
            let next_due = match self.request_due(now, retry_at) {
                Requested::Until(next_due) => next_due,
                Requested::Hit => continue,
                Requested::Failed(failed) => {
                    let result = BatchResult { values: HashMap::new(), failed };
                    return WatchStep::Done(WatchOutcome::Answered(result));
                }
            };
            if until.is_some_and(|until| now >= until) {
                return WatchStep::Done(WatchOutcome::TimedOut);
            }
            let wake_at = next_due.into_iter().chain(until).min();
            return WatchStep::Wait { fetches_ended, wake_at };
        }
    }

    /// Returns the entries and errors that are new to the caller, and records that it has them. A key
    /// that waits for a request is answered by that request.
    fn take_answers(&mut self, now: Moment) -> (FoundEntries<K, V, E>, Failures<K, E>) {
        let (mut found, mut failed) = (HashMap::new(), HashMap::new());
        let Self { core, options, keys } = self;
        let snapshot = core.store.snapshot();
        for watched in keys {
            let answer = match &mut watched.joined {
                None => {
                    let is_newer =
                        snapshot.get(&watched.key).is_some_and(|entry| entry.batch > watched.seen);
                    let make = |entry: &Arc<_>, _, origin| FoundEntry::from_memory(entry, origin);
                    is_newer
                        .then(|| core.read_snapshot(&snapshot, &watched.key, now, options, make))
                        .flatten()
                        .map(Ok)
                }
                Some(joined) => {
                    let Some(answer) = joined.answer(core) else { continue };
                    let joined_at = joined.joined_at;
                    watched.joined = None;
                    // A request that was sent before it was joined may have taken too long. The key
                    // is requested again, as by a lookup.
                    let is_too_old = |found: &FoundEntry<V, E>| {
                        let FoundEntry { entry, .. } = found;
                        let freshness =
                            entry.freshness(now.since(entry.sent), &core.age_policy, options);
                        entry.sent < joined_at && freshness == Freshness::TooOld
                    };
                    Some(answer).filter(|answer| !answer.as_ref().is_ok_and(is_too_old))
                }
            };
            match answer {
                Some(Ok(new)) => {
                    watched.mark_seen(&new.entry, new.entry.renewed_at(&core.age_policy, options));
                    found.insert(watched.key.clone(), new);
                }
                Some(Err(error)) => drop(failed.insert(watched.key.clone(), error)),
                None => {}
            }
        }
        (found, failed)
    }

    /// Joins a request for each key that is due, but for none before `retry_at`.
    fn request_due(&mut self, now: Moment, retry_at: Moment) -> Requested<K, E> {
        let Self { core, options, keys } = self;
        let mut next_due: Option<Moment> = None;
        let mut due = Vec::new();
        {
            let snapshot = core.store.snapshot();
            for watched in keys.iter_mut().filter(|watched| watched.joined.is_none()) {
                let renewed_at =
                    |entry: &Arc<CacheEntry<V, E>>| entry.renewed_at(&core.age_policy, options);
                let due_at = snapshot.get(&watched.key).map_or(watched.due_at, renewed_at);
                let due_at = due_at.max(retry_at);
                if due_at <= now {
                    due.push(watched);
                } else {
                    next_due = Some(next_due.map_or(due_at, |next| next.min(due_at)));
                }
            }
        }
        if due.is_empty() {
            return Requested::Until(next_due);
        }
        let due_keys: Vec<K> = due.iter().map(|watched| watched.key.clone()).collect();
        if let Err(error) = core.ensure_fetcher_running() {
            core.pending.lock().retry_at = now + core.retry_pause();
            return Requested::Failed(
                due_keys.into_iter().map(|key| (key, error.clone())).collect(),
            );
        }
        let lookups = core.hit_or_join(&due_keys, Vec::new(), options, |index| due[index].seen);
        let mut has_hit = false;
        for (watched, lookup) in due.into_iter().zip(lookups) {
            match lookup {
                KeyLookup::Pending(waiter) => {
                    watched.joined = Some(JoinedRequest { waiter, joined_at: now });
                }
                KeyLookup::Hit(_) => has_hit = true,
            }
        }
        if has_hit { Requested::Hit } else { Requested::Until(next_due) }
    }

    /// Returns the error for a caller that has waited since `started_at`, until its deadline.
    pub(super) fn time_out(&self, started_at: Moment) -> FetchError<E> {
        self.core.counters.timed_out.fetch_add(1, Ordering::Relaxed);
        let mut joined = self.keys.iter().filter_map(|watched| watched.joined.as_ref());
        let maybe_sent = joined.any(|joined| self.core.may_be_sent(&joined.waiter));
        FetchError::TimedOut { waited: self.core.now().since(started_at), maybe_sent }
    }

    /// Returns whether it waits for a request.
    pub(super) fn has_joined(&self) -> bool {
        self.keys.iter().any(|watched| watched.joined.is_some())
    }

    #[cfg(feature = "async")]
    pub(super) fn core(&self) -> &Arc<Core<K, V, E>> {
        &self.core
    }

    pub(super) fn now(&self) -> Moment {
        self.core.now()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.keys.is_empty() || self.core.pending.lock().closed
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.keys.iter().map(|watched| &watched.key)
    }
}

/// The keys whose request failed.
type Failures<K, E> = HashMap<K, FetchError<E>>;

/// What became of the keys that were due.
enum Requested<K, E> {
    /// All of them are requested. The next of the other keys is due at this time.
    Until(Option<Moment>),
    /// The store has a newer entry of one of them.
    Hit,
    Failed(Failures<K, E>),
}

impl<K: Key, V: Shared, E: Shared> Drop for Watch<K, V, E> {
    fn drop(&mut self) {
        for JoinedRequest { waiter, .. } in self.keys.iter_mut().filter_map(|it| it.joined.take()) {
            self.core.remove_waiter(&waiter);
        }
    }
}

/// A caller that waits for one value of a key that is newer than the one it has: [`BatchCache::get_after`].
///
/// [`BatchCache::get_after`]: super::BatchCache::get_after
pub(super) struct NewerWait<'a, K: Key, V: Shared, E: Shared> {
    pub(super) watch: Watch<K, V, E>,
    key: &'a K,
    options: &'a GetOptions,
    started_at: Moment,
    deadline: Option<Moment>,
    /// When an error that the cache holds is returned once more.
    repeats_at: Option<Moment>,
}

impl<'a, K: Key, V: Shared, E: Shared + Clone> NewerWait<'a, K, V, E> {
    pub(super) fn new(
        core: &Arc<Core<K, V, E>>,
        key: &'a K,
        seen: Option<u64>,
        options: &'a GetOptions,
    ) -> Self {
        let started_at = core.now();
        let deadline = options.deadline.map(|limit| started_at + limit);
        let mut watch = Watch::new(core, std::slice::from_ref(key), *options);
        watch.mark_seen(seen.unwrap_or(0));
        // The caller may have got an error that the cache holds, by a call that it repeats at once.
        let repeats_at = watch.mark_errors_seen().then(|| started_at + core.retry_pause());
        Self { watch, key, options, started_at, deadline, repeats_at }
    }

    /// Returns until when to wait.
    pub(super) fn until(&self) -> Option<Moment> {
        self.repeats_at.into_iter().chain(self.deadline).min()
    }

    /// Returns the answer, or `None` if the wait goes on.
    pub(super) fn answer(
        &mut self,
        outcome: WatchOutcome<K, V, E>,
    ) -> Option<Result<Option<Cached<V>>, FetchError<E>>> {
        let repeats = self.repeats_at.take().is_some();
        match outcome {
            WatchOutcome::Answered(result) => {
                Some(result.complete().map(|mut values| values.remove(self.key)))
            }
            WatchOutcome::TimedOut if repeats => {
                // If the error was due in the meantime, the key was requested again.
                if self.watch.has_joined() {
                    return None;
                }
                let core = &self.watch.core;
                let make = |entry: &Arc<_>, age, origin| Cached::from_entry(entry, age, origin);
                core.read_snapshot(&core.store.snapshot(), self.key, core.now(), self.options, make)
            }
            WatchOutcome::TimedOut | WatchOutcome::Closed => {
                Some(Err(self.watch.time_out(self.started_at)))
            }
        }
    }
}
