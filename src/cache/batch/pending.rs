//! The pending requests: which request carries which key, and which request is sent next.
//!
//! Callers reach it through `core.rs`, the fetcher through `fetcher.rs`, all under one lock. One
//! request is in flight at a time. A caller that misses a key joins the request in flight if that
//! carries the key and is young enough, otherwise an open request. A request stays open until it is
//! sent, so it accepts keys all the time that it waits in its lane.
//!
//! Open requests wait in three batch queues that take turns: for trusted keys, for quarantined keys
//! ([`quarantine`](super::quarantine)), and for single keys that were refused before. So a trusted
//! key waits for one request of the others at a time, however many bad keys are requested.
//!
//! # Splitting
//!
//! A refused request is sent again without the keys that no caller waits for. If that is refused
//! too, it is split in halves, and so on, down to single keys. If the first of two halves is
//! answered, the other half has a bad key, and is split without being sent. So one bad key among n
//! costs at most `2 log2 n + 2` more requests.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::keys::{BatchKeys, BatchLimit, BatchQueue, OpenBatch};
use super::lookup::FetchError;
use super::quarantine::Quarantine;
use super::request::{PendingRequest, RequestOutcome, ResponseGuard, SplitRequests};
use super::shared_store::Stamp;
#[cfg(feature = "async")]
use super::task_sharing::SharedFetch;
use crate::quota::Moment;

/// The request in flight.
pub(super) struct InFlightBatch<K, V, E> {
    pub(super) response: ResponseGuard<K, V, E>,
    pub(super) batch_keys: BatchKeys<K>,
    /// The moment just before the request was sent.
    pub(super) sent: Moment,
    /// The same in the time that several processes share, if they do.
    pub(super) stamp: Option<Stamp>,
    /// Keys that were invalidated since. Their values in the response are not stored.
    pub(super) invalidated: HashSet<K>,
}

/// Why a key is to be fetched although no caller waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refresh {
    /// It is due soon: fetch it if the source has idle capacity.
    Ahead,
    /// A stale value of it is being returned.
    Stale,
}

/// All requests that have not completed.
pub(super) struct PendingRequests<K, V, E> {
    queues: [VecDeque<OpenBatch<K, V, E>>; BatchQueue::ALL.len()],
    /// The queue of the last request that was sent.
    last_queue: BatchQueue,
    pub(super) in_flight: Option<InFlightBatch<K, V, E>>,
    /// Keys to fetch although no caller waits for them.
    pub(super) to_refresh: HashMap<K, Refresh>,
    /// The keys among them that the current fetch is for.
    pub(super) refreshing: Vec<K>,
    pub(super) quarantine: Quarantine<K>,
    /// When keys were invalidated, if other processes share their values: those have to be newer.
    pub(super) invalidated: HashMap<K, Moment>,
    /// The number of the current fetch. A [`Batch`](super::fetch::Batch) is valid for one
    /// generation.
    pub(super) generation: u64,
    /// How many fetches have ended. A caller that waits for newer values looks again when one ends.
    pub(super) fetches_ended: u64,
    /// The moment before which a caller that waits for newer values requests none: a request failed shortly before.
    pub(super) retry_at: Moment,
    /// The fetch function is running, so its request may still be sent.
    pub(super) fetching: bool,
    /// The fetch function has taken the keys of this generation.
    pub(super) keys_taken: bool,
    pub(super) closed: bool,
    #[cfg(feature = "async")]
    pub(super) sharing: SharingState<K, V, E>,
}

/// What tasks and the thread that shares their fetches (`task_sharing.rs`) hand over to each other.
#[cfg(feature = "async")]
pub(super) struct SharingState<K, V, E> {
    /// The fetch that the thread takes next.
    pub(super) to_share: Option<SharedFetch>,
    /// The keys that other processes want, as far as is known.
    pub(super) wanted: Vec<K>,
    /// The request of the last fetch that took its keys, and the generation of that fetch.
    pub(super) sent: Option<SentRequest<K, V, E>>,
}

/// The generation of a fetch, and its request.
#[cfg(feature = "async")]
type SentRequest<K, V, E> = (u64, Arc<PendingRequest<K, V, E>>);

impl<K: Clone + Eq + Hash, V, E> PendingRequests<K, V, E> {
    pub(super) fn new() -> Self {
        Self {
            queues: BatchQueue::ALL.map(|_| VecDeque::new()),
            last_queue: BatchQueue::Refused,
            in_flight: None,
            to_refresh: HashMap::new(),
            refreshing: Vec::new(),
            quarantine: Quarantine::new(),
            invalidated: HashMap::new(),
            generation: 0,
            fetches_ended: 0,
            retry_at: Moment::ORIGIN,
            fetching: false,
            keys_taken: false,
            closed: false,
            #[cfg(feature = "async")]
            sharing: SharingState { to_share: None, wanted: Vec::new(), sent: None },
        }
    }

    /// Returns a request that carries `key`, and whether the caller shares it: the request is in
    /// flight, or another caller waits for `key` on it. `young_enough` returns whether a request
    /// that was sent at a given moment is young enough. `queue` is where the key waits if no
    /// request carries it yet. A value from elsewhere has to be newer than `newer_than`.
    pub(super) fn join_or_open(
        &mut self,
        key: &K,
        weight: usize,
        limit: BatchLimit,
        queue: BatchQueue,
        young_enough: impl Fn(Moment) -> bool,
        newer_than: Moment,
    ) -> (Arc<PendingRequest<K, V, E>>, bool) {
        if let Some(in_flight) = &mut self.in_flight {
            if in_flight.batch_keys.contains(key)
                && !in_flight.invalidated.contains(key)
                && young_enough(in_flight.sent)
            {
                in_flight.batch_keys.add_waiter(key, newer_than);
                return (Arc::clone(in_flight.response.request()), true);
            }
        }
        if let Some(open) = self.open_batches().find(|open| open.batch_keys.contains(key)) {
            let joined = open.batch_keys.has_waiter_for(key);
            open.batch_keys.add_waiter(key, newer_than);
            return (Arc::clone(open.response.request()), joined);
        }
        let waiting = &mut self.queues[queue as usize];
        let index = waiting.iter_mut().position(|open| open.batch_keys.add(key, weight, limit));
        let index = index.unwrap_or_else(|| {
            let mut batch_keys = BatchKeys::new(queue);
            batch_keys.add(key, weight, limit);
            waiting.push_back(OpenBatch::new(batch_keys));
            waiting.len() - 1
        });
        let open = &mut waiting[index];
        open.batch_keys.add_waiter(key, newer_than);
        (Arc::clone(open.response.request()), false)
    }

    fn open_batches(&mut self) -> impl Iterator<Item = &mut OpenBatch<K, V, E>> {
        self.queues.iter_mut().flatten()
    }

    fn find_open_batch(
        &mut self,
        request: &Arc<PendingRequest<K, V, E>>,
    ) -> Option<&mut OpenBatch<K, V, E>> {
        self.open_batches().find(|open| open.response.guards(request))
    }

    /// Adds `keys` to piggyback, each with its weight, if the request is still open.
    pub(super) fn add_piggyback(
        &mut self,
        request: &Arc<PendingRequest<K, V, E>>,
        keys: Vec<(K, usize)>,
    ) {
        if let Some(open) = self.find_open_batch(request) {
            open.batch_keys.piggyback.extend(keys);
        }
    }

    /// Returns whether the request may already have been sent.
    pub(super) fn may_be_sent(&mut self, request: &Arc<PendingRequest<K, V, E>>) -> bool {
        self.find_open_batch(request).is_none()
    }

    /// Removes one waiter for `key`. Returns whether the request may already have been sent.
    pub(super) fn remove_waiter(
        &mut self,
        request: &Arc<PendingRequest<K, V, E>>,
        key: &K,
    ) -> bool {
        if let Some(open) = self.find_open_batch(request) {
            open.batch_keys.remove_waiter(key);
            return false;
        }
        match &mut self.in_flight {
            Some(in_flight) if in_flight.response.guards(request) => {
                in_flight.batch_keys.remove_waiter(key)
            }
            // The request was split: the waiter is in one of its parts.
            _ => {
                if let Some(RequestOutcome::Split(parts)) = request.outcome() {
                    parts.get(key).map(|part| self.remove_waiter(part, key));
                }
            }
        }
        true
    }

    /// Marks `keys` as untracked in all pending requests: earlier lookups no longer count as use.
    pub(super) fn untrack(&mut self, keys: &[K]) {
        self.open_batches().for_each(|open| open.batch_keys.untrack(keys));
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.batch_keys.untrack(keys);
        }
    }

    /// Returns whether any request has a waiter. Removes the open requests that have none.
    pub(super) fn retain_awaited(&mut self) -> bool {
        for queue in &mut self.queues {
            queue.retain(|open| open.batch_keys.has_waiters());
        }
        if self.queues[BatchQueue::Quarantined as usize].is_empty() {
            self.quarantine.reset();
        }
        self.queues.iter().any(|queue| !queue.is_empty())
    }

    /// Returns the queue whose turn it is, or `None` if no caller waits.
    fn peek_queue(&mut self) -> Option<BatchQueue> {
        self.retain_awaited();
        let turns = BatchQueue::ALL.into_iter().cycle().skip(self.last_queue as usize + 1);
        turns.take(BatchQueue::ALL.len()).find(|queue| !self.queues[*queue as usize].is_empty())
    }

    /// Takes the turn of the queue that is next. Returns `None` if no caller waits.
    fn next_queue(&mut self) -> Option<BatchQueue> {
        let next = self.peek_queue();
        self.last_queue = next.unwrap_or(BatchQueue::Trusted);
        next
    }

    /// Returns the keys that callers of the next request wait for, each with the moment than which a value from elsewhere must be
    /// newer. Returns `None` if the next request is for keys that are not trusted.
    pub(super) fn awaited_by_next(&mut self) -> Option<Vec<(K, Moment)>> {
        match self.peek_queue() {
            None => Some(Vec::new()),
            Some(BatchQueue::Trusted) => {
                let front = self.queues[BatchQueue::Trusted as usize].front()?;
                let awaited = front.batch_keys.awaited();
                Some(awaited.map(|(key, newer_than)| (key.clone(), newer_than)).collect())
            }
            Some(BatchQueue::Quarantined | BatchQueue::Refused) => None,
        }
    }

    /// Dispatches the next request, which is for trusted keys, as one for `keys` alone. Their values are here. The oldest of them
    /// was sent at `oldest`.
    pub(super) fn dispatch_with(&mut self, keys: Vec<K>, oldest: Moment) {
        self.next_queue();
        let waiting = &mut self.queues[BatchQueue::Trusted as usize];
        let open = waiting.pop_front();
        let open = open.unwrap_or_else(|| OpenBatch::new(BatchKeys::new(BatchQueue::Trusted)));
        let OpenBatch { response, mut batch_keys, .. } = open;
        batch_keys.replace(keys);
        self.in_flight = Some(InFlightBatch {
            response,
            batch_keys,
            sent: oldest,
            stamp: None,
            invalidated: HashSet::new(),
        });
    }

    /// Notes that the values of `key` have to be newer than `now`. What is older than `retention` is forgotten.
    pub(super) fn note_invalidated(&mut self, key: &K, now: Moment, retention: Duration) {
        self.invalidated.retain(|_, at| now.since(*at) <= retention);
        self.invalidated.insert(key.clone(), now);
        self.open_batches().for_each(|open| open.batch_keys.require_newer(key, now));
    }

    /// Dispatches the next open request. The capacity left goes to the keys that callers would like
    /// to piggyback, then to those that `others` wait for, then to `due`, each with its weight.
    /// Returns `None` if there is no key to send.
    ///
    /// `had_value` returns whether a key had a value before, and `random` is any number. They
    /// determine which single key is isolated, if one is.
    pub(super) fn dispatch(
        &mut self,
        sent: Moment,
        others: Vec<(K, usize)>,
        due: Vec<(K, usize)>,
        limit: BatchLimit,
        had_value: impl Fn(&K) -> bool,
        random: u64,
    ) -> Option<&mut InFlightBatch<K, V, E>> {
        match self.next_queue() {
            Some(BatchQueue::Quarantined) if self.quarantine.should_isolate_keys() => {
                self.isolate_key(had_value, random)
            }
            Some(_) => {}
            None => self.queues[BatchQueue::Trusted as usize]
                .push_back(OpenBatch::new(BatchKeys::new(BatchQueue::Trusted))),
        }
        let queue = self.last_queue as usize;
        if self.last_queue == BatchQueue::Trusted {
            // The request stays in its queue while keys are added, because that runs user code,
            // which may panic.
            let OpenBatch { batch_keys, .. } = self.queues[queue].front_mut()?;
            let mut wanted = std::mem::take(&mut batch_keys.piggyback);
            wanted.retain(|(key, _)| !batch_keys.is_untracked(key));
            let own = |(key, weight)| (key, weight, true);
            let mut wanted: Vec<_> = wanted.into_iter().map(own).collect();
            wanted.extend(others.into_iter().map(|(key, weight)| (key, weight, false)));
            wanted.extend(due.into_iter().map(own));
            wanted.retain(|(key, ..)| !self.is_quarantined(key, sent));
            let OpenBatch { batch_keys, .. } = self.queues[queue].front_mut()?;
            for (key, weight, is_own) in wanted {
                if batch_keys.keys().len() >= limit.keys {
                    break;
                }
                let is_new = !batch_keys.contains(&key);
                if batch_keys.add(&key, weight, limit) {
                    match is_own {
                        true => batch_keys.track(&key),
                        // No caller of this cache has a use for it.
                        false if is_new => batch_keys.untrack(std::slice::from_ref(&key)),
                        false => {}
                    }
                }
            }
        }
        let OpenBatch { response, batch_keys, .. } = self.queues[queue].pop_front()?;
        if batch_keys.keys().is_empty() {
            return None;
        }
        self.in_flight = Some(InFlightBatch {
            response,
            batch_keys,
            sent,
            stamp: None,
            invalidated: HashSet::new(),
        });
        self.in_flight.as_mut()
    }

    /// Returns whether `key` must not be piggybacked.
    fn is_quarantined(&self, key: &K, now: Moment) -> bool {
        let mut parts = self.queues[BatchQueue::Quarantined as usize].iter();
        self.quarantine.contains(key, now) || parts.any(|open| open.batch_keys.contains(key))
    }

    /// Fails the request that would be sent next.
    pub(super) fn fail_next(&mut self, error: FetchError<E>) {
        let Some(queue) = self.next_queue() else { return };
        if let Some(OpenBatch { response, .. }) = self.queues[queue as usize].front() {
            response.request().complete(RequestOutcome::Failed(Arc::new(error)));
        }
        self.queues[queue as usize].pop_front();
    }

    /// Makes the request in flight an open one again, which is sent before the others of its queue. Returns it if no caller waits
    /// for it.
    #[cfg(feature = "async")]
    pub(super) fn reopen_in_flight(&mut self) -> Option<InFlightBatch<K, V, E>> {
        let in_flight = self.in_flight.take()?;
        if !in_flight.batch_keys.has_waiters() {
            return Some(in_flight);
        }
        let InFlightBatch { response, batch_keys, .. } = in_flight;
        let queue = &mut self.queues[batch_keys.queue as usize];
        queue.push_front(OpenBatch { response, batch_keys, other_half: None });
        None
    }

    /// Returns whether a fetch is under way that has not taken its keys.
    pub(super) fn is_to_be_sent(&self, generation: u64) -> bool {
        self.generation == generation && self.fetching && !self.keys_taken && !self.closed
    }

    /// Takes out which request a fetch sent, if it sent one.
    #[cfg(feature = "async")]
    pub(super) fn take_sent(&mut self, generation: u64) -> Option<Arc<PendingRequest<K, V, E>>> {
        let (of, request) = self.sharing.sent.take()?;
        (of == generation).then_some(request)
    }

    #[cfg(feature = "async")]
    pub(super) fn is_in_flight(&self, request: &Arc<PendingRequest<K, V, E>>) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| in_flight.response.guards(request))
    }

    /// Returns whether a caller that waits for newer values has to look again: more than this number of fetches have ended, or
    /// the cache was closed.
    pub(super) fn has_changed(&self, fetches_ended: u64) -> bool {
        self.fetches_ended != fetches_ended || self.closed
    }

    /// Takes all requests out. Dropping them fails their waiters.
    pub(super) fn take_all(&mut self) -> impl Sized + use<K, V, E> {
        (std::mem::take(&mut self.queues), self.in_flight.take())
    }

    /// Splits a refused request for several keys. Returns the new request of each awaited key, or
    /// `None` if no key is awaited. `first` is the duration of a first quarantine.
    pub(super) fn split(
        &mut self,
        batch_keys: &BatchKeys<K>,
        now: Moment,
        first: Duration,
    ) -> Option<SplitRequests<K, V, E>> {
        self.quarantine.on_refused(batch_keys.keys(), now, first);
        let awaited: Vec<K> = batch_keys
            .keys()
            .iter()
            .filter(|key| batch_keys.has_waiter_for(key))
            .cloned()
            .collect();
        match awaited.len() {
            0 => None,
            all if all == batch_keys.keys().len() => Some(self.halve(batch_keys)),
            _ => Some(self.enqueue_parts(batch_keys, &[&awaited])),
        }
    }

    fn halve(&mut self, batch_keys: &BatchKeys<K>) -> SplitRequests<K, V, E> {
        let (left, right) = batch_keys.keys().split_at(batch_keys.keys().len() / 2);
        self.enqueue_parts(batch_keys, &[left, right])
    }

    /// Enqueues parts of a request. Returns the part of each key.
    fn enqueue_parts(
        &mut self,
        batch_keys: &BatchKeys<K>,
        parts: &[&[K]],
    ) -> SplitRequests<K, V, E> {
        let mut requests = HashMap::new();
        let mut other_half = None;
        for keys in parts {
            let mut open = OpenBatch::new(batch_keys.subset(keys));
            let request = open.response.request();
            requests.extend(keys.iter().map(|key| (key.clone(), Arc::clone(request))));
            open.other_half = other_half.replace(Arc::clone(open.response.request()));
            self.queues[BatchQueue::Quarantined as usize].push_back(open);
        }
        requests
    }

    /// Handles an answered request. If it was one half of a refused request, the other half has a
    /// bad key, and is split.
    pub(super) fn on_answered(&mut self, in_flight: &InFlightBatch<K, V, E>) {
        self.quarantine.on_answered(in_flight.batch_keys.queue, in_flight.batch_keys.keys());
        let parts = &mut self.queues[BatchQueue::Quarantined as usize];
        let is_twin = |open: &OpenBatch<K, V, E>| {
            open.other_half.as_ref().is_some_and(|other_half| in_flight.response.guards(other_half))
        };
        let Some(index) = parts.iter().position(is_twin) else { return };
        let batch_keys = &parts[index].batch_keys;
        // A key whose caller has left may be the bad one: it is left out before the half is split.
        if batch_keys.keys().len() < 2
            || !batch_keys.keys().iter().all(|key| batch_keys.has_waiter_for(key))
        {
            return;
        }
        if let Some(OpenBatch { response, batch_keys, .. }) = parts.remove(index) {
            let parts = self.halve(&batch_keys);
            response.request().complete(RequestOutcome::Split(parts));
        }
    }

    /// Handles the refusal of a request for one key: that key is bad, and no other.
    pub(super) fn on_single_refused(&mut self, in_flight: &InFlightBatch<K, V, E>) {
        in_flight.batch_keys.keys().iter().for_each(|key| self.quarantine.remove(key));
        if in_flight.batch_keys.is_part {
            self.quarantine.on_single_refused();
        }
    }

    /// Moves a single key of the waiting parts to the head of their queue: a key that had a value
    /// before, otherwise a random key.
    fn isolate_key(&mut self, had_value: impl Fn(&K) -> bool, random: u64) {
        let parts = &mut self.queues[BatchQueue::Quarantined as usize];
        if parts.front().is_none_or(|open| !open.batch_keys.is_part) {
            return;
        }
        let mut keys = Vec::new();
        for (index, OpenBatch { batch_keys, .. }) in parts.iter().enumerate() {
            if batch_keys.is_part {
                let awaited = batch_keys.keys().iter().filter(|key| batch_keys.has_waiter_for(key));
                keys.extend(awaited.map(|key| (index, key)));
            }
        }
        let any = random.checked_rem(keys.len() as u64).unwrap_or(0) as usize;
        let chosen = keys.iter().find(|(_, key)| had_value(key)).or_else(|| keys.get(any));
        let Some((index, key)) = chosen.map(|(index, key)| (*index, K::clone(key))) else { return };
        let Some(OpenBatch { response, batch_keys, other_half }) = parts.remove(index) else {
            return;
        };
        if batch_keys.keys().len() == 1 {
            parts.push_front(OpenBatch { response, batch_keys, other_half });
            return;
        }
        let others: Vec<K> = batch_keys.keys().iter().filter(|own| **own != key).cloned().collect();
        let single = OpenBatch::new(batch_keys.subset(std::slice::from_ref(&key)));
        let rest = OpenBatch::new(batch_keys.subset(&others));
        let mut requests = SplitRequests::new();
        requests.insert(key, Arc::clone(single.response.request()));
        requests.extend(others.into_iter().map(|key| (key, Arc::clone(rest.response.request()))));
        parts.insert(index, rest);
        parts.push_front(single);
        response.request().complete(RequestOutcome::Split(requests));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: BatchLimit = BatchLimit { keys: 8, weight: 100 };
    const NOW: Moment = Moment::from_nanos(5);
    const FIRST: Duration = Duration::from_secs(30);

    type Numbers = PendingRequests<u8, (), ()>;

    fn any(_: Moment) -> bool {
        true
    }

    fn join_all(
        pending: &mut Numbers,
        queue: BatchQueue,
        keys: &[u8],
    ) -> Arc<PendingRequest<u8, (), ()>> {
        let requests: Vec<_> =
            keys.iter().map(|key| pending.join_or_open(key, 1, LIMIT, queue, any, NOW).0).collect();
        requests.into_iter().next_back().unwrap()
    }

    /// Dispatches the next request and returns its keys.
    fn dispatch_keys(pending: &mut Numbers) -> Vec<u8> {
        let in_flight = pending.dispatch(NOW, Vec::new(), Vec::new(), LIMIT, |_| false, 0);
        in_flight.map(|in_flight| in_flight.batch_keys.keys().to_vec()).unwrap_or_default()
    }

    fn refuse(pending: &mut Numbers) {
        let in_flight = pending.in_flight.take().unwrap();
        let parts = pending.split(&in_flight.batch_keys, NOW, FIRST).unwrap();
        in_flight.response.request().complete(RequestOutcome::Split(parts));
    }

    fn answer(pending: &mut Numbers) {
        let in_flight = pending.in_flight.take().unwrap();
        in_flight
            .response
            .request()
            .complete(RequestOutcome::Completed { entries: HashMap::new(), received_at: NOW });
        pending.on_answered(&in_flight);
    }

    #[test]
    fn one_request_is_in_flight_and_carries_all_callers_of_the_same_key() {
        let mut pending = Numbers::new();
        let (first, joined) = pending.join_or_open(&1, 1, LIMIT, BatchQueue::Trusted, any, NOW);
        assert!(!joined);
        assert!(
            pending.join_or_open(&1, 1, LIMIT, BatchQueue::Trusted, any, NOW).1,
            "another caller waits for it"
        );
        let in_flight =
            pending.dispatch(NOW, Vec::new(), vec![(2, 1)], LIMIT, |_| false, 0).unwrap();
        assert!(in_flight.response.guards(&first));
        assert_eq!(in_flight.batch_keys.keys(), [1, 2]);
        assert!(Arc::ptr_eq(
            &first,
            &pending.join_or_open(&2, 1, LIMIT, BatchQueue::Trusted, any, NOW).0
        ));

        let (next, joined) =
            pending.join_or_open(&2, 1, LIMIT, BatchQueue::Trusted, |sent| sent > NOW, NOW);
        assert!(!joined && !Arc::ptr_eq(&first, &next), "the one in flight is too old");
        assert!(!Arc::ptr_eq(
            &first,
            &pending.join_or_open(&3, 1, LIMIT, BatchQueue::Trusted, any, NOW).0
        ));
    }

    #[test]
    fn a_request_without_waiters_is_not_sent() {
        let mut pending = Numbers::new();
        let first = self::join_all(&mut pending, BatchQueue::Trusted, &[1]);
        let second = self::join_all(&mut pending, BatchQueue::Trusted, &[1]);
        assert!(!pending.remove_waiter(&first, &1));
        assert!(pending.retain_awaited());
        assert!(!pending.remove_waiter(&second, &1));
        assert!(!pending.retain_awaited());
        assert!(dispatch_keys(&mut pending).is_empty());
    }

    #[test]
    fn the_batch_queues_take_turns() {
        let mut numbers = Numbers::new();
        for key in [20, 21, 22] {
            join_all(&mut numbers, BatchQueue::Refused, &[key]);
        }
        join_all(&mut numbers, BatchQueue::Quarantined, &[10, 11]);
        join_all(&mut numbers, BatchQueue::Trusted, &[1, 2]);
        let mut gone = Vec::new();
        for _ in 0..3 {
            gone.push(dispatch_keys(&mut numbers));
            answer(&mut numbers);
        }
        join_all(&mut numbers, BatchQueue::Trusted, &[3]);
        for _ in 0..3 {
            gone.push(dispatch_keys(&mut numbers));
            answer(&mut numbers);
        }
        let turns = [vec![1, 2], vec![10, 11], vec![20], vec![3], vec![21], vec![22]];
        assert_eq!(gone, turns, "those that were refused go alone");
    }

    #[test]
    fn quarantined_keys_are_not_piggybacked() {
        let mut numbers = Numbers::new();
        join_all(&mut numbers, BatchQueue::Trusted, &[1, 2, 3, 4]);
        dispatch_keys(&mut numbers);
        refuse(&mut numbers);
        // One half is in flight and then trusted, the other waits. 9 was never requested.
        assert_eq!(dispatch_keys(&mut numbers), [1, 2]);
        answer(&mut numbers);
        join_all(&mut numbers, BatchQueue::Trusted, &[5]);
        let late = NOW + FIRST * 9;
        let due = (1..=4).chain([9]).map(|key| (key, 1)).collect();
        let in_flight = numbers.dispatch(late, Vec::new(), due, LIMIT, |_| false, 0).unwrap();
        assert_eq!(
            in_flight.batch_keys.keys(),
            [5, 1, 2, 9],
            "nor if its quarantine is over while its part waits"
        );
    }

    #[test]
    fn a_half_is_split_without_being_asked_for_if_the_other_half_was_answered() {
        let mut numbers = Numbers::new();
        join_all(&mut numbers, BatchQueue::Trusted, &[1, 2, 3, 4]);
        dispatch_keys(&mut numbers);
        refuse(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [1, 2]);
        answer(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [3]);
        answer(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [4], "a single key has to be asked for");
    }

    #[test]
    fn a_half_is_requested_without_a_key_that_its_waiter_left() {
        let mut numbers = Numbers::new();
        let request = join_all(&mut numbers, BatchQueue::Trusted, &[1, 2, 3, 4]);
        dispatch_keys(&mut numbers);
        refuse(&mut numbers);
        assert!(numbers.remove_waiter(&request, &4), "the request for it was sent");
        assert_eq!(dispatch_keys(&mut numbers), [1, 2]);
        answer(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [3, 4]);
        refuse(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [3]);
        answer(&mut numbers);
        assert!(dispatch_keys(&mut numbers).is_empty(), "no caller waits for 4");
    }

    #[test]
    fn a_key_that_had_a_value_is_isolated_first() {
        let mut numbers = Numbers::new();
        join_all(&mut numbers, BatchQueue::Trusted, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut asked = Vec::new();
        for _ in 0..5 {
            let in_flight =
                numbers.dispatch(NOW, Vec::new(), Vec::new(), LIMIT, |key| *key == 6, 0).unwrap();
            asked.push(in_flight.batch_keys.keys().to_vec());
            if asked.last().is_some_and(|keys| keys.len() > 1) {
                refuse(&mut numbers);
            }
        }
        let one_by_one = [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![1, 2], vec![6]];
        assert_eq!(asked[1..], one_by_one);
        // The remaining keys of its part wait in its place.
        answer(&mut numbers);
        assert_eq!(dispatch_keys(&mut numbers), [3, 4]);
        answer(&mut numbers);
        assert_eq!([dispatch_keys(&mut numbers)], [[5]]);
    }
}
