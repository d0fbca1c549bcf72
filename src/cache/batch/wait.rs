//! A query for some keys: what is in the cache, and the wait of its caller for the requests that carry the other keys.
//!
//! A [`Query`] never blocks. It says what to wait for, and goes on once that is over. So a thread waits for it by the condition
//! variable of a request (`cache.rs`), and a task by its waker (`task_cache.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bounds::{Key, Shared};
use super::config::Freshness;
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

/// The wait of a query for the requests that carry its missing keys.
struct MissingKeys<'a, K: Key, V: Shared, E: Shared> {
    waiters: WaiterGuard<'a, K, V, E>,
    /// The keys that were found before. Their new entries are taken too, if the requests carry them.
    others: Vec<K>,
    completed: Vec<Arc<PendingRequest<K, V, E>>>,
    /// Why the wait ends early.
    failed: Option<FetchError<E>>,
}

/// What a query does next.
pub(super) enum QueryStep<K: Key, V, E> {
    /// It waits for a request, at most until a moment.
    Wait(Arc<PendingRequest<K, V, E>>, Option<Moment>),
    Done(BatchResult<K, V, E>),
}

/// A query of one caller.
pub(super) struct Query<'a, K: Key, V: Shared, E: Shared> {
    core: &'a Arc<Core<K, V, E>>,
    keys: &'a [K],
    options: &'a GetOptions,
    started_at: Moment,
    deadline: Option<Moment>,
    /// The time of the last look at the cache or at a request.
    now: Moment,
    /// A request for one of its keys was sent.
    was_request_sent: bool,
    found: FoundEntries<K, V, E>,
    missing: Vec<K>,
    /// Entries that were young enough at the query, and are not any more.
    outgrown: FoundEntries<K, V, E>,
    is_first_pass: bool,
    wait: Option<MissingKeys<'a, K, V, E>>,
}

impl<'a, K: Key, V: Shared, E: Shared + Clone> Query<'a, K, V, E> {
    /// Begins a query with what is in the cache.
    pub(super) fn new(
        core: &'a Arc<Core<K, V, E>>,
        keys: &'a [K],
        options: &'a GetOptions,
    ) -> Self {
        let now = core.now();
        let mut query = Self {
            core,
            keys,
            options,
            started_at: now,
            deadline: options.deadline.map(|limit| now + limit),
            now,
            was_request_sent: false,
            found: HashMap::with_capacity(keys.len()),
            missing: Vec::new(),
            outgrown: HashMap::new(),
            is_first_pass: true,
            wait: None,
        };
        let snapshot = core.store.snapshot();
        for key in keys {
            let make = |entry: &Arc<_>, _, origin| FoundEntry::from_memory(entry, origin);
            match core.read_snapshot(&snapshot, key, now, options, make) {
                Some(found_entry) => drop(query.found.insert(key.clone(), found_entry)),
                None => query.missing.push(key.clone()),
            }
        }
        query
    }

    /// Goes on until there is a request to wait for, or the result. Called again once that request is completed, or its moment
    /// has passed.
    pub(super) fn advance(&mut self) -> QueryStep<K, V, E> {
        while !self.missing.is_empty() {
            let mut wait = match self.wait.take() {
                Some(wait) => wait,
                None => match self.core.ensure_fetcher_running() {
                    Ok(()) => self.join_missing(),
                    Err(error) => {
                        self.now = self.core.now();
                        return QueryStep::Done(self.fail(&error));
                    }
                },
            };
            if let Some(step) = self.next_wait(&mut wait) {
                self.wait = Some(wait);
                return step;
            }
            let stopped = self.end_wait(wait);
            self.now = self.core.now();
            if let Some(error) = stopped {
                return QueryStep::Done(self.fail(&error));
            }
            self.look_for_outgrown();
        }
        QueryStep::Done(self.core.to_result(
            std::mem::take(&mut self.found),
            HashMap::new(),
            self.now,
        ))
    }

    /// Returns what was found, and `error` for each key that was not.
    fn fail(&mut self, error: &FetchError<E>) -> BatchResult<K, V, E> {
        let (core, now, mut found) = (self.core, self.now, std::mem::take(&mut self.found));
        // Return a value that was young enough at the query, unless it exceeds the hard limit by now.
        for (key, found_entry) in self.outgrown.drain() {
            found.entry(key).or_insert(found_entry);
        }
        found.retain(|_, found_entry| !core.exceeds_hard_limit(found_entry, now));
        let unanswered = self.keys.iter().filter(|key| !found.contains_key(*key));
        let failed = unanswered.map(|key| (key.clone(), error.clone())).collect();
        core.to_result(found, failed, now)
    }

    /// Finds what the wait has made too old, which is fetched again.
    ///
    /// A value whose request was sent after the query began is not: no later request can be older than that. A value that
    /// arrived within the hard limit, and outgrew it while the caller waited for other keys, is fetched again once.
    fn look_for_outgrown(&mut self) {
        let Self { core, options, started_at, now, is_first_pass, .. } = *self;
        let too_old = |(key, found_entry): (&K, &FoundEntry<V, E>)| {
            let age = now.since(found_entry.entry.sent);
            let is_too_old = found_entry.entry.sent < started_at
                && found_entry.entry.freshness(age, &core.age_policy, options) == Freshness::TooOld;
            let outgrew_limit = is_first_pass
                && found_entry.arrived_in_time
                && core.exceeds_hard_limit(found_entry, now);
            (is_too_old || outgrew_limit).then(|| key.clone())
        };
        self.missing = self.found.iter().filter_map(too_old).collect();
        let outgrown = self.missing.iter().filter_map(|key| self.found.remove_entry(key));
        self.outgrown.extend(outgrown);
        self.is_first_pass = false;
    }

    /// Joins a request for each missing key.
    fn join_missing(&mut self) -> MissingKeys<'a, K, V, E> {
        let core = self.core;
        let with_values =
            self.found.iter().filter(|(_, found_entry)| found_entry.entry.value().is_ok());
        let others: Vec<(K, usize)> =
            with_values.map(|(key, found_entry)| (key.clone(), found_entry.entry.weight)).collect();
        let other_keys = others.iter().map(|(key, _)| key.clone()).collect();
        let mut waiters = WaiterGuard { core, waiting: Vec::new(), unanswered: Vec::new() };
        for (key, lookup) in
            self.missing.iter().zip(core.hit_or_join(&self.missing, others, self.options, |_| 0))
        {
            match lookup {
                KeyLookup::Pending(waiter) => waiters.waiting.push(waiter),
                KeyLookup::Hit(entry) => {
                    core.counters.record_answer(Origin::Memory, entry.value_age(core.now()));
                    self.found.insert(key.clone(), FoundEntry::from_memory(&entry, Origin::Memory));
                }
            }
        }
        MissingKeys { waiters, others: other_keys, completed: Vec::new(), failed: None }
    }

    /// Takes the outcomes of completed requests. Returns the wait for one that is not completed, if there is one.
    fn next_wait(&mut self, wait: &mut MissingKeys<'a, K, V, E>) -> Option<QueryStep<K, V, E>> {
        let MissingKeys { waiters, completed, failed, .. } = wait;
        while let Some(Waiter { key, request }) = waiters.waiting.pop() {
            match request.outcome() {
                None => {
                    // After a failure, take only the outcomes that have already arrived.
                    let until =
                        if failed.is_some() { Some(self.started_at) } else { self.deadline };
                    let waiter = Waiter { key, request: Arc::clone(&request) };
                    if until.is_none_or(|until| self.core.now() < until) {
                        waiters.waiting.push(waiter);
                        return Some(QueryStep::Wait(request, until));
                    }
                    waiters.unanswered.push(waiter);
                }
                Some(RequestOutcome::Failed(error)) => {
                    failed.get_or_insert_with(|| FetchError::clone(error));
                }
                Some(RequestOutcome::Split(parts)) => {
                    self.was_request_sent = true;
                    // Every awaited key is in a part.
                    match parts.get(&key) {
                        Some(part) => {
                            waiters.waiting.push(Waiter { key, request: Arc::clone(part) })
                        }
                        None => *failed = Some(FetchError::KeysNotTaken),
                    }
                }
                Some(RequestOutcome::Completed { entries, received_at }) => {
                    self.was_request_sent = true;
                    // Every key of a request has an entry.
                    match entries.get(&key) {
                        Some(entry) => drop(self.found.insert(
                            key,
                            FoundEntry::from_response(entry, *received_at, self.core),
                        )),
                        None => *failed = Some(FetchError::KeysNotTaken),
                    }
                    if !completed.iter().any(|seen| Arc::ptr_eq(seen, &request)) {
                        completed.push(Arc::clone(&request));
                    }
                }
            }
        }
        None
    }

    /// Ends a wait. Returns the reason if it ended early, which applies to all keys that are not found by then.
    fn end_wait(&mut self, wait: MissingKeys<'a, K, V, E>) -> Option<FetchError<E>> {
        let MissingKeys { mut waiters, others, completed, failed } = wait;
        // If the request carried the keys found before, take their new entries: then all are of one
        // moment.
        for key in others {
            let newer = completed.iter().find_map(|request| match request.outcome()? {
                RequestOutcome::Completed { entries, received_at } => {
                    entries.get(&key).map(|entry| (entry, *received_at))
                }
                _ => None,
            });
            if let Some((entry, received_at)) = newer.filter(|(entry, _)| entry.value().is_ok()) {
                self.found.insert(key, FoundEntry::from_response(entry, received_at, self.core));
            }
        }
        if waiters.unanswered.is_empty() {
            return failed;
        }
        let maybe_sent = waiters.release_all() || self.was_request_sent;
        Some(failed.unwrap_or_else(|| {
            self.core.counters.timed_out.fetch_add(1, Ordering::Relaxed);
            let waited = self.core.now().since(self.started_at);
            FetchError::TimedOut { waited, maybe_sent }
        }))
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
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
