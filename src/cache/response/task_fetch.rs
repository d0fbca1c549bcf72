//! One fetch of an answer by a task, which all tasks that call with its key wait for.
//!
//! It follows the rules of a [`Flight`](super::Flight), with one difference: the task that finds neither an answer nor a fetch
//! makes the call itself. If it leaves before the answer is there, its call is given up, and another task that waits begins a
//! fetch of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cacheable::{CacheArgument, Cacheable};
use super::flight::{FlightRequest, Measure, NOT_SENT, is_same};
use super::key::{AnyKey, CallKey, StoredKey};
use super::store::{ResponseCache, ResponseLookup};
use crate::clock::Timer;
use crate::panic::catch_panic;
use crate::quota::Moment;
use crate::task_flight::{Follower, Leader, TaskFlight};

type Shared<V, E> = Arc<Result<V, E>>;

/// A fetch.
struct TaskFetch<A, V, E> {
    key: Arc<CallKey<A, V, E>>,
    lookup: ResponseLookup,
    priority: u8,
    /// The epoch of its method when it began.
    epoch: u64,
    /// When its last attempt was sent, in nanoseconds, or [`NOT_SENT`].
    sent_at: AtomicU64,
    flight: Arc<TaskFlight<Shared<V, E>>>,
}

/// A task's part in a fetch.
pub(crate) enum TaskRole<A: CacheArgument, V: Cacheable, E: Cacheable> {
    /// It makes the call.
    Leads(FetchLeader<A, V, E>),
    /// It waits for the answer.
    Follows(FetchFollower<A, V, E>),
}

/// The task that makes the call of a fetch.
pub(crate) struct FetchLeader<A: CacheArgument, V: Cacheable, E: Cacheable> {
    cache: ResponseCache,
    fetch: Arc<TaskFetch<A, V, E>>,
    leader: Leader<Shared<V, E>>,
}

/// A task that waits for the answer of a fetch.
pub(crate) struct FetchFollower<A, V: Cacheable, E: Cacheable> {
    fetch: Arc<TaskFetch<A, V, E>>,
    follower: Follower<Shared<V, E>>,
    /// Whether the request had been sent when this task joined.
    was_sent: bool,
}

impl<A: CacheArgument, V: Cacheable, E: Cacheable> TaskRole<A, V, E> {
    /// Joins the fetch of this key, or begins one.
    pub(crate) fn join(
        cache: &ResponseCache,
        key: &CallKey<A, V, E>,
        request: FlightRequest,
    ) -> Self {
        let epoch = cache.epoch(request.lookup.method);
        let shared = key.to_shared();
        let mut flights = cache.flights().lock();
        let known = flights.get(key as &dyn AnyKey).cloned();
        let known = known.and_then(|known| known.downcast::<TaskFetch<A, V, E>>().ok());
        if let Some(fetch) = known.filter(|known| known.may_be_joined(request, epoch)) {
            drop(flights);
            cache.count_joined();
            let (follower, was_sent) = (fetch.flight.follow(), fetch.sent_at().is_some());
            return Self::Follows(FetchFollower { fetch, follower, was_sent });
        }
        let leader = TaskFlight::begin();
        let fetch = Arc::new(TaskFetch {
            key: Arc::clone(&shared),
            lookup: request.lookup,
            priority: request.priority,
            epoch,
            sent_at: AtomicU64::new(NOT_SENT),
            flight: Arc::clone(leader.flight()),
        });
        let listed = Arc::<TaskFetch<A, V, E>>::clone(&fetch);
        let replaced = flights.insert(StoredKey::new(shared), listed);
        drop(flights);
        drop(replaced);
        cache.count_miss();
        Self::Leads(FetchLeader { cache: cache.clone(), fetch, leader })
    }
}

impl<A: CacheArgument, V: Cacheable, E: Cacheable> FetchLeader<A, V, E> {
    /// Polls the call.
    pub(crate) async fn lead(&self, call: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        self.leader.lead(self.cache.clock(), call).await
    }

    /// Records that an attempt is sent now.
    pub(crate) fn on_send(&self) {
        self.fetch.sent_at.store(self.cache.clock().now().as_nanos(), Ordering::Release);
    }

    /// Returns when the last attempt was sent.
    pub(crate) fn sent_at(&self) -> Option<Moment> {
        self.fetch.sent_at()
    }

    /// Keeps the answer, and gives it to all that wait.
    pub(crate) fn complete(self, result: Result<V, E>, measure: Measure<A, V>) -> Shared<V, E> {
        let answer = Arc::new(result);
        // The size of the answer and the equality of keys are the user's code. Whatever it does, all that wait are answered.
        let _ = match &*answer {
            Ok(value) => catch_panic(|| self.keep(value, &answer, measure)),
            Err(_) => catch_panic(|| self.cache.count_failure()),
        };
        self.forget();
        self.leader.complete(Arc::clone(&answer));
        answer
    }

    /// Removes the fetch, so that no further task joins it.
    fn forget(&self) {
        let key = &*self.fetch.key as &dyn AnyKey;
        // The equality of keys is the user's code. What is removed is dropped without the lock.
        let _ = catch_panic(|| {
            let mut flights = self.cache.flights().lock();
            let is_listed = flights.get(key).is_some_and(|known| is_same(known, &self.fetch));
            let removed = if is_listed { flights.remove_entry(key) } else { None };
            drop(flights);
            drop(removed);
        });
    }

    fn keep(&self, value: &V, answer: &Shared<V, E>, measure: Measure<A, V>) {
        let TaskFetch { key, lookup, epoch, .. } = &*self.fetch;
        let (heap_bytes, is_cacheable) = measure(key.args(), value);
        if let Some(sent) = self.sent_at().filter(|_| is_cacheable) {
            self.cache.insert(key, *lookup, Arc::clone(answer), (sent, *epoch), heap_bytes);
        }
    }
}

impl<A: CacheArgument, V: Cacheable, E: Cacheable> Drop for FetchLeader<A, V, E> {
    fn drop(&mut self) {
        self.forget();
    }
}

impl<A, V: Cacheable, E: Cacheable> FetchFollower<A, V, E> {
    /// Waits for the answer. `None`: there will be none, and the task joins or begins another fetch.
    pub(crate) async fn wait(&self, timer: &Timer) -> Option<Shared<V, E>> {
        self.follower.wait(timer).await
    }

    /// Returns when the last attempt was sent.
    pub(crate) fn sent_at(&self) -> Option<Moment> {
        self.fetch.sent_at()
    }

    /// Returns whether the request had been sent when this task joined.
    pub(crate) fn was_sent(&self) -> bool {
        self.was_sent
    }
}

impl<A, V: Cacheable, E: Cacheable> TaskFetch<A, V, E> {
    fn may_be_joined(&self, request: FlightRequest, epoch: u64) -> bool {
        request.may_join(self.sent_at(), self.priority)
            && self.epoch == epoch
            && !self.flight.is_abandoned()
    }
}

impl<A, V, E> TaskFetch<A, V, E> {
    fn sent_at(&self) -> Option<Moment> {
        let sent = self.sent_at.load(Ordering::Acquire);
        (sent != NOT_SENT).then(|| Moment::from_nanos(sent))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::response::ResponseCacheSettings;
    use crate::clock::{Clock, ManualClock};

    #[test]
    fn a_fetch_is_forgotten_when_its_leader_leaves() {
        let ttl = Duration::from_secs(9);
        let methods = vec![("a", Some(ttl))];
        let settings = ResponseCacheSettings { methods, ..Default::default() };
        let cache = ResponseCache::new(&settings, Clock::from(ManualClock::new()));
        let lookup = ResponseLookup { method: 0, ttl, max_age: Duration::MAX };
        let request = FlightRequest { lookup, priority: 5, now: cache.clock().now() };
        let key = CallKey::<_, u8, ()>::new(0, "key");
        let join = |request| TaskRole::join(&cache, &key, request);
        let (first, second) = (join(request), join(request));
        assert!(matches!((&first, &second), (TaskRole::Leads(_), TaskRole::Follows(_))));
        // One that replaces it is not removed with the one before.
        let third = join(FlightRequest { priority: 1, ..request });
        assert!(matches!(third, TaskRole::Leads(_)));
        drop((first, second));
        assert_eq!(cache.flights().lock().len(), 1);
        drop(third);
        assert!(cache.flights().lock().is_empty());
    }
}
