//! One fetch of an answer, which all tasks that call with its key wait for.
//!
//! It follows the rules of a [`Flight`](super::Flight), with one difference: a task makes the call itself. If that task leaves
//! before the answer is there, its call is given up, and another task that waits makes it anew.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::cacheable::{CacheArgument, Cacheable};
use super::flight::{FlightRequest, Measure, NOT_SENT, is_same};
use super::key::{AnyKey, CallKey, StoredKey};
use super::store::{ResponseCache, ResponseLookup};
use crate::clock::Timer;
use crate::panic::catch_panic;
use crate::quota::Moment;
use crate::task_flight::{Member, TaskFlight};

/// A fetch.
struct TaskFetch<A, V, E> {
    key: Arc<CallKey<A, V, E>>,
    lookup: ResponseLookup,
    /// Of the task that leads, or of the first one.
    priority: AtomicU8,
    /// The epoch of its method when it began.
    epoch: u64,
    /// When its last attempt was sent, in nanoseconds, or [`NOT_SENT`].
    sent_at: AtomicU64,
    /// Changed under the lock of the flights.
    members: AtomicUsize,
    flight: Arc<TaskFlight<Arc<Result<V, E>>>>,
}

/// A task's part in a fetch. The last one that leaves removes a fetch without an answer.
pub(crate) struct FetchMember<A: CacheArgument, V: Cacheable, E: Cacheable> {
    cache: ResponseCache,
    fetch: Arc<TaskFetch<A, V, E>>,
    member: Member<Arc<Result<V, E>>>,
    was_sent: bool,
}

impl<A: CacheArgument, V: Cacheable, E: Cacheable> FetchMember<A, V, E> {
    /// Joins the fetch of this key, or makes one.
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
        let known = known.filter(|known| known.may_be_joined(request, epoch));
        let (fetch, replaced) = match known {
            Some(known) => {
                known.members.fetch_add(1, Ordering::Relaxed);
                cache.count_joined();
                (known, None)
            }
            None => {
                let fetch = Arc::new(TaskFetch {
                    key: Arc::clone(&shared),
                    lookup: request.lookup,
                    priority: AtomicU8::new(request.priority),
                    epoch,
                    sent_at: AtomicU64::new(NOT_SENT),
                    members: AtomicUsize::new(1),
                    flight: Arc::default(),
                });
                let listed = Arc::<TaskFetch<A, V, E>>::clone(&fetch);
                let replaced = flights.insert(StoredKey::new(shared), listed);
                cache.count_miss();
                (fetch, replaced)
            }
        };
        drop(flights);
        drop(replaced);
        let (member, was_sent) = (fetch.flight.join(), fetch.sent_at().is_some());
        Self { cache: cache.clone(), fetch, member, was_sent }
    }

    /// Waits for the answer. `None`: this task makes the call, by [`lead`](Self::lead), and [completes](Self::complete) the
    /// fetch.
    pub(crate) async fn wait(
        &self,
        priority: u8,
        timer: &Timer,
        deadline: Option<Moment>,
    ) -> Option<Arc<Result<V, E>>> {
        let answer = self.member.wait(timer, deadline).await;
        if answer.is_none() {
            self.fetch.sent_at.store(NOT_SENT, Ordering::Release);
            self.fetch.priority.store(priority, Ordering::Relaxed);
        }
        answer
    }

    /// Polls the call that this task makes.
    pub(crate) async fn lead(&self, call: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        self.member.lead(self.cache.clock(), call).await
    }

    /// Records that an attempt is sent now.
    pub(crate) fn on_send(&self) {
        self.fetch.sent_at.store(self.cache.clock().now().as_nanos(), Ordering::Release);
    }

    /// Keeps the answer, and gives it to all that wait.
    pub(crate) fn complete(
        &self,
        result: Result<V, E>,
        measure: Measure<A, V>,
    ) -> Arc<Result<V, E>> {
        let answer = Arc::new(result);
        // The size of the answer and the equality of keys are the user's code. Whatever it does, all that wait are answered.
        let _ = match &*answer {
            Ok(value) => catch_panic(|| self.keep(value, &answer, measure)),
            Err(_) => catch_panic(|| self.cache.count_failure()),
        };
        let _ = catch_panic(|| self.remove());
        self.member.complete(Arc::clone(&answer));
        answer
    }

    fn keep(&self, value: &V, answer: &Arc<Result<V, E>>, measure: Measure<A, V>) {
        let TaskFetch { key, lookup, epoch, .. } = &*self.fetch;
        let (heap_bytes, is_cacheable) = measure(key.args(), value);
        if let Some(sent) = self.sent_at().filter(|_| is_cacheable) {
            self.cache.insert(key, *lookup, Arc::clone(answer), (sent, *epoch), heap_bytes);
        }
    }

    /// Returns when the last attempt was sent.
    pub(crate) fn sent_at(&self) -> Option<Moment> {
        self.fetch.sent_at()
    }

    /// Returns whether its request had been sent when this task joined it.
    pub(crate) fn was_sent(&self) -> bool {
        self.was_sent
    }

    /// Removes the fetch, so that no further task joins it.
    fn remove(&self) {
        // Dropped without the lock.
        let _removed = {
            let mut flights = self.cache.flights().lock();
            self.remove_from(&mut flights)
        };
    }

    fn remove_from(
        &self,
        flights: &mut super::store::Flights,
    ) -> Option<(StoredKey, Arc<dyn Any + Send + Sync>)> {
        let key = &*self.fetch.key as &dyn AnyKey;
        let is_listed = flights.get(key).is_some_and(|known| is_same(known, &self.fetch));
        if is_listed { flights.remove_entry(key) } else { None }
    }
}

impl<A: CacheArgument, V: Cacheable, E: Cacheable> Drop for FetchMember<A, V, E> {
    fn drop(&mut self) {
        let _removed = {
            let mut flights = self.cache.flights().lock();
            let is_last = self.fetch.members.fetch_sub(1, Ordering::Relaxed) == 1;
            is_last.then(|| self.remove_from(&mut flights)).flatten()
        };
    }
}

impl<A, V, E> TaskFetch<A, V, E> {
    fn may_be_joined(&self, request: FlightRequest, epoch: u64) -> bool {
        let is_young = self.sent_at().is_none_or(|sent| {
            let (age, limit) = (request.now.since(sent), request.lookup.max_age);
            age <= limit.min(request.lookup.ttl) && !limit.is_zero()
        });
        is_young && self.epoch == epoch && self.priority.load(Ordering::Relaxed) <= request.priority
    }

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
    fn a_fetch_that_all_tasks_have_left_is_forgotten() {
        let ttl = Duration::from_secs(9);
        let methods = vec![("a", Some(ttl))];
        let settings = ResponseCacheSettings { methods, ..Default::default() };
        let cache = ResponseCache::new(&settings, Clock::from(ManualClock::new()));
        let lookup = ResponseLookup { method: 0, ttl, max_age: Duration::MAX };
        let request = FlightRequest { lookup, priority: 5, now: cache.clock().now() };
        let key = CallKey::<_, u8, ()>::new(0, "key");
        let [first, second] = [(); 2].map(|()| FetchMember::join(&cache, &key, request));
        assert!(Arc::ptr_eq(&first.fetch, &second.fetch));
        // One that replaces it is not removed by those who leave the one before.
        let urgent = FlightRequest { priority: 1, ..request };
        let third = FetchMember::join(&cache, &key, urgent);
        drop((first, second));
        assert_eq!(cache.flights().lock().len(), 1);
        drop(third);
        assert!(cache.flights().lock().is_empty());
    }
}
