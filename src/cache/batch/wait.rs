//! The wait of a caller for the requests that carry its keys. `cache.rs` calls it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bounds::{Key, Shared};
use super::core::{Core, KeyLookup, Waiter};
use super::lookup::{BatchResult, Cached, FetchError, GetOptions, Origin};
use super::request::{PendingRequest, RequestOutcome};
use super::store::CacheEntry;
use crate::quota::Moment;

/// The entries found so far for a query.
pub(super) type FoundEntries<K, V, E> = HashMap<K, FoundEntry<V, E>>;

/// The entry found for one key.
pub(super) struct FoundEntry<V, E> {
    pub(super) entry: Arc<CacheEntry<V, E>>,
    pub(super) origin: Origin,
    /// The entry was within the hard limit when it arrived.
    pub(super) arrived_in_time: bool,
}

impl<V: Shared, E: Shared + Clone> FoundEntry<V, E> {
    /// Wraps a cached entry, which was young enough.
    pub(super) fn from_memory(entry: &Arc<CacheEntry<V, E>>, origin: Origin) -> Self {
        Self { entry: Arc::clone(entry), origin, arrived_in_time: true }
    }

    /// Wraps an entry of a response that arrived at `received_at`.
    pub(super) fn from_response<K: Key>(
        entry: &Arc<CacheEntry<V, E>>,
        received_at: Moment,
        core: &Core<K, V, E>,
    ) -> Self {
        let arrived_in_time = received_at.since(entry.sent) <= core.age_policy.hard_limit();
        Self { entry: Arc::clone(entry), origin: entry.origin, arrived_in_time }
    }
}

/// The options and times of one query.
pub(super) struct Query<'a> {
    pub(super) options: &'a GetOptions,
    pub(super) started_at: Moment,
    pub(super) deadline: Option<Moment>,
    /// A request for one of its keys was sent.
    pub(super) was_request_sent: bool,
}

/// A caller's waiters, which are removed from their requests on drop.
struct WaiterGuard<'a, K: Key, V: Shared, E: Shared> {
    core: &'a Core<K, V, E>,
    waiting: Vec<Waiter<K, V, E>>,
    /// The waiters whose requests did not complete in time.
    unanswered: Vec<Waiter<K, V, E>>,
}

impl<K: Key, V: Shared, E: Shared> WaiterGuard<'_, K, V, E> {
    /// Removes all waiters. Returns whether a request for one of them may have been sent.
    fn release_all(&mut self) -> bool {
        let mut was_sent = false;
        for waiter in self.waiting.drain(..).chain(self.unanswered.drain(..)) {
            was_sent |= self.core.remove_waiter(&waiter);
        }
        was_sent
    }
}

impl<K: Key, V: Shared, E: Shared> Drop for WaiterGuard<'_, K, V, E> {
    fn drop(&mut self) {
        self.release_all();
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    /// Joins a request for each missing key and waits until all of them complete. If the wait ends
    /// early, returns the reason, which applies to all keys that are not found by then.
    pub(super) fn await_missing(
        &self,
        missing: &[K],
        found: &mut FoundEntries<K, V, E>,
        query: &mut Query<'_>,
    ) -> Option<FetchError<E>> {
        let with_values = found.iter().filter(|(_, found_entry)| found_entry.entry.value().is_ok());
        let others: Vec<(K, usize)> =
            with_values.map(|(key, found_entry)| (key.clone(), found_entry.entry.weight)).collect();
        let mut waiters = WaiterGuard { core: self, waiting: Vec::new(), unanswered: Vec::new() };
        for (key, lookup) in
            missing.iter().zip(self.hit_or_join(missing, others.clone(), query.options, |_| 0))
        {
            match lookup {
                KeyLookup::Pending(waiter) => waiters.waiting.push(waiter),
                KeyLookup::Hit(entry) => {
                    self.counters.record_answer(Origin::Memory, entry.value_age(self.now()));
                    found.insert(key.clone(), FoundEntry::from_memory(&entry, Origin::Memory));
                }
            }
        }
        let mut completed: Vec<Arc<PendingRequest<K, V, E>>> = Vec::new();
        let mut failed = None;
        while let Some(Waiter { key, request }) = waiters.waiting.pop() {
            // After a failure, take only the outcomes that have already arrived.
            let deadline = if failed.is_some() { Some(query.started_at) } else { query.deadline };
            match request.wait(&self.config.clock, deadline) {
                None => waiters.unanswered.push(Waiter { key, request }),
                Some(RequestOutcome::Failed(error)) => {
                    failed.get_or_insert_with(|| FetchError::clone(error));
                }
                Some(RequestOutcome::Split(parts)) => {
                    query.was_request_sent = true;
                    // Every awaited key is in a part.
                    match parts.get(&key) {
                        Some(part) => {
                            waiters.waiting.push(Waiter { key, request: Arc::clone(part) })
                        }
                        None => failed = Some(FetchError::KeysNotTaken),
                    }
                }
                Some(RequestOutcome::Completed { entries, received_at }) => {
                    query.was_request_sent = true;
                    // Every key of a request has an entry.
                    match entries.get(&key) {
                        Some(entry) => drop(
                            found.insert(key, FoundEntry::from_response(entry, *received_at, self)),
                        ),
                        None => failed = Some(FetchError::KeysNotTaken),
                    }
                    if !completed.iter().any(|seen| Arc::ptr_eq(seen, &request)) {
                        completed.push(Arc::clone(&request));
                    }
                }
            }
        }
        // If the request carried the keys found before, take their new entries: then all are of one
        // moment.
        for (key, _) in others {
            let newer = completed.iter().find_map(|request| match request.outcome()? {
                RequestOutcome::Completed { entries, received_at } => {
                    entries.get(&key).map(|entry| (entry, *received_at))
                }
                _ => None,
            });
            if let Some((entry, received_at)) = newer.filter(|(entry, _)| entry.value().is_ok()) {
                found.insert(key, FoundEntry::from_response(entry, received_at, self));
            }
        }
        if waiters.unanswered.is_empty() {
            return failed;
        }
        let maybe_sent = waiters.release_all() || query.was_request_sent;
        Some(failed.unwrap_or_else(|| {
            self.counters.timed_out.fetch_add(1, Ordering::Relaxed);
            let waited = self.now().since(query.started_at);
            FetchError::TimedOut { waited, maybe_sent }
        }))
    }

    /// Returns whether a value exceeds the hard limit and must not be returned to any caller. An
    /// error of the source has no such limit.
    pub(super) fn exceeds_hard_limit(&self, found_entry: &FoundEntry<V, E>, now: Moment) -> bool {
        found_entry.entry.value().is_ok()
            && now.since(found_entry.entry.sent) > self.age_policy.hard_limit()
    }

    /// Returns what a query found, with the ages at `now`.
    pub(super) fn to_result(
        &self,
        found: FoundEntries<K, V, E>,
        mut failed: HashMap<K, FetchError<E>>,
        now: Moment,
    ) -> BatchResult<K, V, E> {
        let mut values = HashMap::with_capacity(found.len());
        for (key, found_entry) in found {
            let FoundEntry { entry, origin, .. } = &found_entry;
            let age = now.since(entry.sent);
            let answer = match self.exceeds_hard_limit(&found_entry, now) {
                true => Err(FetchError::TooOld { age }),
                false => Cached::from_entry(entry, age, *origin),
            };
            if matches!(origin, Origin::Fetched | Origin::Shared) && answer.is_ok() {
                self.counters.record_answer(*origin, age);
            }
            match answer {
                Ok(answer) => values.extend(answer.map(|answer| (key, answer))),
                Err(error) => drop(failed.insert(key, error)),
            }
        }
        BatchResult { values, failed }
    }
}
