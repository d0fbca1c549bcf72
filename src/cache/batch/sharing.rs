//! How a cache shares its values with the caches of other processes.
//!
//! Before a request the thread of the cache (the fetcher, or for tasks that of `task_sharing.rs`) looks in the
//! [store](super::shared_store::SharedStore). If that has a value for each awaited key which satisfies all of its waiters, these
//! values complete the request, and nothing is sent. Otherwise the thread claims the fetch. One process at a time has the claim. The
//! others wait for its values, for [`LEASE`] at most, and tell it which keys they want. It takes them along, and keeps what it got.
//!
//! The waiters decide which age is acceptable. Each states a moment when it joins (`keys.rs`), and a value must be newer than the
//! latest of them. Only trusted keys are taken from the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bounds::{Key, Shared};
use super::core::{Core, FetchedContent};
use super::pending::PendingRequests;
use super::request::{PendingRequest, RequestOutcome};
use super::shared_store::{Claim, FoundValues, LEASE, SharedValue};
use super::store::{CacheEntry, EntryContent};
use crate::panic::catch_panic;
use crate::quota::Moment;

/// The pauses between two claims while another process fetches.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What is left to do after a look in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nothing: the values of another process completed the request, or no caller waits any more.
    Satisfied,
    /// A request is to be sent.
    Fetch {
        /// The other processes wait for it.
        is_claimed: bool,
    },
}

/// The request of which [`Core::keep_fetched`] shares the values.
type FetchedRequest<K, V, E> = Option<Arc<PendingRequest<K, V, E>>>;

/// The moments than which the needed values must be newer.
type Needed<K> = Vec<(K, Moment)>;

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    /// Decides what a fetch has to do, after some trips to the store.
    pub(super) fn decide(&self, generation: u64) -> Sharing {
        // The code of a key or a value may panic. The request is then sent without the others.
        catch_panic(|| self.take_shared_or_claim(generation))
            .unwrap_or(Sharing::Fetch { is_claimed: false })
    }

    /// Ends a fetch that has nothing to do: its callers have their values, or it was dropped.
    pub(super) fn end_satisfied(&self, generation: u64) {
        let mut pending = self.pending.lock();
        // Tasks may have dropped it, and begun another one.
        if pending.generation == generation {
            pending.fetching = false;
        }
        self.announce_fetch_end(pending, false);
    }

    /// Completes the next request with values of other processes, if they satisfy it. Otherwise returns whether this process
    /// has the claim to fetch. Ends once the fetch of `generation` is not under way any more.
    fn take_shared_or_claim(&self, generation: u64) -> Sharing {
        let alone = Sharing::Fetch { is_claimed: false };
        let Some(store) = &self.shared else { return alone };
        let until = self.now() + LEASE;
        let mut pause = FIRST_PAUSE;
        loop {
            let Some((needed, due)) = self.needed(generation) else { return alone };
            if needed.is_empty() {
                return Sharing::Satisfied;
            }
            let Some(FoundValues { values, version }) = store.look(&needed, &due) else {
                return alone;
            };
            if self.take_values(generation, &values) {
                return Sharing::Satisfied;
            }
            let looked: HashSet<K> = needed.into_iter().collect();
            loop {
                let Some((needed, _)) = self.needed(generation) else { return alone };
                if needed.is_empty() {
                    return Sharing::Satisfied;
                }
                if !needed.iter().all(|key| looked.contains(key)) {
                    break;
                }
                match store.claim(&needed, &version) {
                    Some(Claim::Granted) => return Sharing::Fetch { is_claimed: true },
                    Some(Claim::Changed) => break,
                    Some(Claim::Busy) if self.now() < until => {}
                    Some(Claim::Busy) | None => return alone,
                }
                self.pause(generation, (self.now() + pause).min(until));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Returns the keys that the next request has to answer, and those that it would carry because they are due. Returns `None`
    /// if it is for keys that are not trusted.
    fn needed(&self, generation: u64) -> Option<(Vec<K>, Vec<K>)> {
        let mut pending = self.pending.lock();
        let needed = self.needed_newer_than(generation, &mut pending)?;
        let due = self.due_keys(&pending, self.now());
        let is_needed: HashSet<&K> = needed.iter().map(|(key, _)| key).collect();
        let due = due.into_iter().map(|(key, _)| key).filter(|key| !is_needed.contains(key));
        let due = due.collect();
        Some((needed.into_iter().map(|(key, _)| key).collect(), due))
    }

    /// Returns the keys that the next request has to answer, and the moment that the value of each must be newer than. The list is
    /// empty if the fetch has ended, was dropped, or has taken its keys. Returns `None` if the request is for keys that are not
    /// trusted.
    fn needed_newer_than(
        &self,
        generation: u64,
        pending: &mut PendingRequests<K, V, E>,
    ) -> Option<Needed<K>> {
        if !pending.is_to_be_sent(generation) {
            return Some(Vec::new());
        }
        let awaited = pending.awaited_by_next()?;
        if !awaited.is_empty() {
            return Some(awaited);
        }
        // A refresh that no caller waits for.
        let now = self.now();
        let of = |key: &K| (key.clone(), self.refresh_newer_than(pending, key, now));
        Some(pending.refreshing.iter().map(of).collect())
    }

    /// Returns than which moment a value must be newer that no caller waits for: it must not be due itself.
    fn refresh_newer_than(
        &self,
        pending: &PendingRequests<K, V, E>,
        key: &K,
        now: Moment,
    ) -> Moment {
        let invalidated = pending.invalidated.get(key).copied().unwrap_or(Moment::ORIGIN);
        invalidated.max(now - self.config.ttl / 2)
    }

    /// Completes the next request with `values`, if they satisfy all of its waiters.
    fn take_values(&self, generation: u64, values: &HashMap<K, SharedValue<V>>) -> bool {
        let mut pending = self.pending.lock();
        let Some(needed) = self.needed_newer_than(generation, &mut pending) else { return false };
        let (now, snapshot) = (self.now(), self.store.snapshot());
        let is_acceptable = |key: &K, newer_than: Moment| {
            values.get(key).is_some_and(|value| {
                value.sent > newer_than
                    && snapshot.get(key).is_none_or(|entry| is_newer(value, entry))
            })
        };
        if needed.is_empty() || !needed.iter().all(|(key, after)| is_acceptable(key, *after)) {
            return false;
        }
        let mut keys: Vec<K> = needed.into_iter().map(|(key, _)| key).collect();
        let known: HashSet<K> = keys.iter().cloned().collect();
        let is_due = |key: &&K| {
            !known.contains(*key) && is_acceptable(key, self.refresh_newer_than(&pending, key, now))
        };
        keys.extend(values.keys().filter(is_due).cloned());
        // The request counts as sent when the oldest of these values was, so a caller joins only if all are young enough for it.
        let oldest = keys.iter().filter_map(|key| values.get(key)).map(|value| value.sent).min();
        let content = |key: &K| {
            let SharedValue { value, sent, stamp } = values.get(key)?;
            let content = EntryContent::Value(Arc::clone(value));
            let shared = Some((*sent, stamp.clone()));
            Some((key.clone(), FetchedContent { content, shared }))
        };
        let contents: HashMap<K, _> = keys.iter().filter_map(content).collect();
        pending.dispatch_with(keys, oldest.unwrap_or(now));
        pending.keys_taken = true;
        drop(pending);
        self.counters.shared.fetch_add(contents.len() as u64, Ordering::Relaxed);
        self.store_results(contents)
    }

    /// Sleeps until a moment, or until the fetch has ended.
    fn pause(&self, generation: u64, until: Moment) {
        let mut pending = self.pending.lock();
        let clock = &self.config.clock;
        // Another process takes real time, even while a manual clock stands still. A wait by such a clock looks at its condition
        // every millisecond, and ends with the second look.
        let mut has_waited = clock.is_system();
        let is_waiting = |pending: &mut PendingRequests<K, V, E>| {
            let ends = std::mem::replace(&mut has_waited, true) && !clock.is_system();
            pending.is_to_be_sent(generation) && !ends
        };
        self.work_available.wait_while(&mut pending, clock, Some(until), is_waiting);
    }

    /// Shares what a request brought, and ends the claim.
    pub(super) fn keep_fetched(&self, request: FetchedRequest<K, V, E>, is_claimed: bool) {
        let Some(store) = &self.shared else { return };
        let outcome = request.as_ref().and_then(|request| request.outcome());
        let mut values = Vec::new();
        let mut stamp = None;
        if let Some(RequestOutcome::Completed { entries, .. }) = outcome {
            for (key, entry) in entries {
                if let (EntryContent::Value(value), Some(own)) = (&entry.content, &entry.stamp) {
                    stamp = Some(own);
                    values.push((key, &**value));
                }
            }
        }
        match stamp {
            Some(stamp) => store.keep(&values, stamp),
            None if is_claimed => store.release(),
            None => {}
        }
    }
}

/// Returns whether a value is of a later request than an entry. The same value, read twice, may seem to be sent at two moments.
fn is_newer<V, E>(value: &SharedValue<V>, entry: &CacheEntry<V, E>) -> bool {
    value.sent > entry.sent && entry.stamp.as_ref().is_none_or(|stamp| value.stamp.is_after(stamp))
}
