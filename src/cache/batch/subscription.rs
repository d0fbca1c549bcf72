//! A subscription: an iterator over the new values of some keys.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::bounds::{Key, Shared};
use super::lookup::{BatchResult, FetchError};
use super::watch::{Watch, WatchOutcome};
use crate::quota::Moment;

/// The new values of some keys, as an iterator that waits for them.
///
/// Made by [`BatchCache::subscribe`](crate::cache::BatchCache::subscribe). The first item is what the
/// cache holds, or what a request brings. Each later item has the keys whose values are newer than
/// those of the items before. While the subscriber waits, a key is requested whenever its `ttl` is
/// over, as by a lookup: subscriptions and other callers share the requests.
///
/// **A slow subscriber** gets the latest values, and misses those in between. A subscription stores
/// no values, and the cache does not wait for it. While the subscriber does not wait, its keys are
/// requested for others only.
///
/// **An error** of a request is in [`failed`](BatchResult::failed) of an item, for the keys of that
/// request. It does not end the subscription. The keys are requested again after a pause, as
/// described at [`get_after`](crate::cache::BatchCache::get_after). A key for which the source has
/// nothing is in no map of the item, so an item may be empty.
///
/// The iteration ends when the cache is dropped, and at once if there are no keys. Dropping the
/// subscription ends its requests. Until then it keeps the fetch function alive.
pub struct BatchSubscription<K: Key, V: Shared, E: Shared> {
    pub(super) watch: Watch<K, V, E>,
    /// The deadline of each call of `next`.
    pub(super) deadline: Option<Duration>,
}

impl<K: Key, V: Shared, E: Shared + Clone> BatchSubscription<K, V, E> {
    pub(super) fn new(watch: Watch<K, V, E>, deadline: Option<Duration>) -> Self {
        Self { watch, deadline }
    }

    /// Waits for the next item, for `timeout` at most. Returns `None` if nothing is new by then, or if
    /// the cache was dropped. A request that is under way then goes on.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<BatchResult<K, V, E>> {
        let until = self.watch.now() + timeout;
        self.next_until(until)
    }

    /// Returns the next item if there is one already, and does not wait. Requests what is due.
    pub fn try_next(&mut self) -> Option<BatchResult<K, V, E>> {
        self.next_until(Moment::ORIGIN)
    }

    fn next_until(&mut self, until: Moment) -> Option<BatchResult<K, V, E>> {
        match self.watch.wait(Some(until)) {
            WatchOutcome::Answered(result) => Some(result),
            WatchOutcome::TimedOut | WatchOutcome::Closed => None,
        }
    }

    /// Returns whether the cache was dropped, or there are no keys. There are no more items then.
    pub fn is_closed(&self) -> bool {
        self.watch.is_closed()
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Iterator for BatchSubscription<K, V, E> {
    type Item = BatchResult<K, V, E>;

    /// Waits for the next item. Returns `None` if the cache was dropped.
    fn next(&mut self) -> Option<Self::Item> {
        let started_at = self.watch.now();
        let outcome = self.watch.wait(self.deadline.map(|limit| started_at + limit));
        self.item(outcome, started_at)
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> BatchSubscription<K, V, E> {
    /// Returns the item of a wait that began at `started_at`.
    pub(super) fn item(
        &self,
        outcome: WatchOutcome<K, V, E>,
        started_at: Moment,
    ) -> Option<BatchResult<K, V, E>> {
        match outcome {
            WatchOutcome::Answered(result) => Some(result),
            WatchOutcome::TimedOut => {
                let error: FetchError<E> = self.watch.time_out(started_at);
                let failed = self.watch.keys().map(|key| (key.clone(), error.clone())).collect();
                Some(BatchResult { values: HashMap::new(), failed })
            }
            WatchOutcome::Closed => None,
        }
    }
}

impl<K: Key, V: Shared, E: Shared> fmt::Debug for BatchSubscription<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchSubscription")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
