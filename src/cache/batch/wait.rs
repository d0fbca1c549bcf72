//! The wait of a caller for the requests that carry its keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bounds::{Key, Shared};
use super::core::{Core, KeyLookup, Waiter};
use super::lookup::{FetchError, GetOptions, Origin};
use super::request::{PendingRequest, RequestOutcome};
use super::store::CacheEntry;
use crate::quota::Moment;

/// What is known so far of what was asked.
pub(super) type FoundEntries<K, V, E> = HashMap<K, FoundEntry<V, E>>;

/// What is known of one key.
pub(super) struct FoundEntry<V, E> {
    pub(super) entry: Arc<CacheEntry<V, E>>,
    pub(super) origin: Origin,
    /// It was not too old for anyone when it came.
    pub(super) arrived_in_time: bool,
}

impl<V: Shared, E: Shared + Clone> FoundEntry<V, E> {
    /// From memory, so it was young enough.
    pub(super) fn from_memory(entry: &Arc<CacheEntry<V, E>>, origin: Origin) -> Self {
        Self { entry: Arc::clone(entry), origin, arrived_in_time: true }
    }

    /// By a request that came back at `at`.
    fn from_response<K: Key>(
        entry: &Arc<CacheEntry<V, E>>,
        at: Moment,
        core: &Core<K, V, E>,
    ) -> Self {
        let came_in_time = at.since(entry.sent) <= core.age_policy.hard_limit();
        Self { entry: Arc::clone(entry), origin: Origin::Fetched, arrived_in_time: came_in_time }
    }
}

/// What one question demands, and since when.
pub(super) struct Query<'a> {
    pub(super) options: &'a GetOptions,
    pub(super) started_at: Moment,
    pub(super) deadline: Option<Moment>,
    /// A request was sent for it.
    pub(super) was_request_sent: bool,
}

/// The places of one who waits, given back when it leaves.
struct WaiterGuard<'a, K: Key, V: Shared, E: Shared> {
    core: &'a Core<K, V, E>,
    waiting: Vec<Waiter<K, V, E>>,
    /// Those that had no answer in time.
    unanswered: Vec<Waiter<K, V, E>>,
}

impl<K: Key, V: Shared, E: Shared> WaiterGuard<'_, K, V, E> {
    /// Gives all of them back. Says whether a request for one may have been sent.
    fn release_all(&mut self) -> bool {
        let mut was_sent = false;
        for seat in self.waiting.drain(..).chain(self.unanswered.drain(..)) {
            was_sent |= self.core.remove_waiter(&seat);
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
    /// Boards a flight for each key, and waits until they are down. If it stops waiting before, gives the
    /// reason, which holds for all keys that are not known by then.
    pub(super) fn await_missing(
        &self,
        missing: &[K],
        known: &mut FoundEntries<K, V, E>,
        asking: &mut Query<'_>,
    ) -> Option<FetchError<E>> {
        let with_values = known.iter().filter(|(_, held)| held.entry.value().is_ok());
        let others: Vec<(K, usize)> =
            with_values.map(|(key, held)| (key.clone(), held.entry.weight)).collect();
        let mut places = WaiterGuard { core: self, waiting: Vec::new(), unanswered: Vec::new() };
        for (key, found) in
            missing.iter().zip(self.hit_or_join(missing, others.clone(), asking.options))
        {
            match found {
                KeyLookup::Pending(seat) => places.waiting.push(seat),
                KeyLookup::Hit(entry) => {
                    self.counters.record_answer(Origin::Memory, entry.value_age(self.now()));
                    known.insert(key.clone(), FoundEntry::from_memory(&entry, Origin::Memory));
                }
            }
        }
        let mut flown: Vec<Arc<PendingRequest<K, V, E>>> = Vec::new();
        let mut failed = None;
        while let Some(Waiter { key, request: flight }) = places.waiting.pop() {
            // Once it does not wait any more, it still takes what has come.
            let until = if failed.is_some() { Some(asking.started_at) } else { asking.deadline };
            match flight.wait(&self.config.clock, until) {
                None => places.unanswered.push(Waiter { key, request: flight }),
                Some(RequestOutcome::Failed(error)) => {
                    failed.get_or_insert_with(|| FetchError::clone(error));
                }
                Some(RequestOutcome::Split(parts)) => {
                    asking.was_request_sent = true;
                    // Every key that somebody waits for is in a part.
                    match parts.get(&key) {
                        Some(part) => {
                            places.waiting.push(Waiter { key, request: Arc::clone(part) })
                        }
                        None => failed = Some(FetchError::KeysNotTaken),
                    }
                }
                Some(RequestOutcome::Completed { entries, received_at: at }) => {
                    asking.was_request_sent = true;
                    // And every key of a request has an entry.
                    match entries.get(&key) {
                        Some(entry) => {
                            drop(known.insert(key, FoundEntry::from_response(entry, *at, self)))
                        }
                        None => failed = Some(FetchError::KeysNotTaken),
                    }
                    if !flown.iter().any(|known| Arc::ptr_eq(known, &flight)) {
                        flown.push(Arc::clone(&flight));
                    }
                }
            }
        }
        // What was known came along, if it could: then all are of one moment.
        for (key, _) in others {
            let landed = flown.iter().find_map(|flight| match flight.outcome()? {
                RequestOutcome::Completed { entries, received_at: at } => {
                    entries.get(&key).map(|entry| (entry, *at))
                }
                _ => None,
            });
            if let Some((entry, at)) = landed.filter(|(entry, _)| entry.value().is_ok()) {
                known.insert(key, FoundEntry::from_response(entry, at, self));
            }
        }
        if places.unanswered.is_empty() {
            return failed;
        }
        let may_have_been_sent = places.release_all() || asking.was_request_sent;
        Some(failed.unwrap_or_else(|| {
            self.counters.timed_out.fetch_add(1, Ordering::Relaxed);
            let waited = self.now().since(asking.started_at);
            FetchError::TimedOut { waited, maybe_sent: may_have_been_sent }
        }))
    }
}
