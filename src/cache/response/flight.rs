//! One fetch of an answer, which all callers of its key wait for.
//!
//! The caller that finds neither an answer nor a flight leads: it submits the call to its lane. From then on no caller
//! holds the ticket. The flight polls it with itself as the waker, keeps the answer, and wakes its waiters. So the answer
//! is kept even if all waiters have left at their deadlines.
//!
//! - A flight has the priority of its leader, and neither its user nor its deadline. A caller of a higher priority does
//!   not join it, but leads a flight of its own, which others join from then on.
//! - A caller joins a flight only if its answer will be young enough: if its request is not sent yet, or was sent within
//!   the caller's limit.
//! - An error is the answer to all that wait, once, and is not kept. So a broker that fails gets one request, and not one
//!   for each waiter.
//! - When the last waiter leaves, the call is cancelled if it is still queued.
//!
//! Lock order: the flights of the cache, then one of the two locks of a flight. None is held while user code runs, except
//! the equality of keys and the conversion of a lane's error.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use super::cacheable::{CacheArgument, Cacheable};
use super::key::{AnyKey, CallKey, StoredKey};
use super::store::{Flights, ResponseCache, ResponseLookup};
use crate::clock::TimedCondvar;
use crate::lane::{LaneError, Ticket};
use crate::panic::catch_panic;
use crate::quota::Moment;

/// Returns the heap that the arguments and the answer of a call hold, in bytes, and whether the answer may be kept.
pub(crate) type Measure<A, V> = fn(&A, &V) -> (usize, bool);

/// The request of one caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlightRequest {
    pub(crate) lookup: ResponseLookup,
    /// From 1, the most urgent.
    pub(crate) priority: u8,
    pub(crate) now: Moment,
}

impl FlightRequest {
    /// Returns whether the caller may wait for a fetch of this priority, whose request was sent at `sent_at`, if it was.
    pub(super) fn may_join(self, sent_at: Option<Moment>, priority: u8) -> bool {
        let is_young = sent_at.is_none_or(|sent| {
            let (age, limit) = (self.now.since(sent), self.lookup.max_age);
            age <= limit.min(self.lookup.ttl) && !limit.is_zero()
        });
        is_young && priority <= self.priority
    }
}

/// A fetch.
pub(crate) struct Flight<A, V, E> {
    cache: ResponseCache,
    key: Arc<CallKey<A, V, E>>,
    lookup: ResponseLookup,
    priority: u8,
    /// The epoch of its method when it began.
    epoch: u64,
    measure: Measure<A, V>,
    /// When its last attempt was sent, in nanoseconds, or [`NOT_SENT`].
    sent_at: AtomicU64,
    /// Changed under the lock of the flights.
    waiters: AtomicUsize,
    ticket: Mutex<Option<Ticket<V, E>>>,
    answer: Mutex<Option<Arc<Result<V, E>>>>,
    answered: TimedCondvar,
}

pub(super) const NOT_SENT: u64 = u64::MAX;

impl<A, V, E> Flight<A, V, E>
where
    A: CacheArgument,
    V: Cacheable,
    E: Cacheable + From<LaneError>,
{
    /// Joins the flight of this key, or makes one. Returns whether the caller has to start it.
    pub(crate) fn join(
        cache: &ResponseCache,
        key: &CallKey<A, V, E>,
        request: FlightRequest,
        measure: Measure<A, V>,
    ) -> (Arc<Self>, bool) {
        let epoch = cache.epoch(request.lookup.method);
        let shared = key.to_shared();
        let mut flights = cache.flights().lock();
        let known = flights.get(key as &dyn AnyKey).cloned();
        let known = known.and_then(|known| known.downcast::<Self>().ok());
        if let Some(known) = known.filter(|known| known.may_be_joined(request, epoch)) {
            known.waiters.fetch_add(1, Ordering::Relaxed);
            cache.count_joined();
            return (known, false);
        }
        let flight = Arc::new(Self {
            cache: cache.clone(),
            key: Arc::clone(&shared),
            lookup: request.lookup,
            priority: request.priority,
            epoch,
            measure,
            sent_at: AtomicU64::new(NOT_SENT),
            waiters: AtomicUsize::new(1),
            ticket: Mutex::new(None),
            answer: Mutex::new(None),
            answered: TimedCondvar::default(),
        });
        let replaced = flights.insert(StoredKey::new(shared), Arc::<Self>::clone(&flight));
        drop(flights);
        drop(replaced);
        cache.count_miss();
        (flight, true)
    }

    fn may_be_joined(&self, request: FlightRequest, epoch: u64) -> bool {
        request.may_join(self.sent_at(), self.priority) && self.epoch == epoch
    }

    /// Records that an attempt is sent now.
    pub(crate) fn on_send(&self) {
        self.sent_at.store(self.cache.clock().now().as_nanos(), Ordering::Release);
    }

    /// Returns when the last attempt was sent.
    pub(crate) fn sent_at(&self) -> Option<Moment> {
        let sent = self.sent_at.load(Ordering::Acquire);
        (sent != NOT_SENT).then(|| Moment::from_nanos(sent))
    }

    pub(crate) fn args(&self) -> &A {
        self.key.args()
    }

    /// Waits for the answer to this call, which the leader has submitted.
    pub(crate) fn start(self: &Arc<Self>, ticket: Ticket<V, E>) {
        *self.ticket.lock() = Some(ticket);
        self.poll_ticket();
    }

    /// Answers all that wait with an error of the lane.
    pub(crate) fn fail(self: &Arc<Self>, error: LaneError) {
        self.complete(Err(error.into()));
    }

    fn poll_ticket(self: &Arc<Self>) {
        let (result, ticket) = {
            let mut slot = self.ticket.lock();
            let Some(ticket) = slot.as_mut() else { return };
            let waker = Waker::from(Arc::clone(self));
            match Pin::new(ticket).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => (result, slot.take()),
                Poll::Pending => return,
            }
        };
        drop(ticket);
        self.complete(result);
    }

    /// Keeps the answer, and wakes all that wait for it.
    fn complete(self: &Arc<Self>, result: Result<V, E>) {
        let answer = Arc::new(result);
        // The size of the answer and the equality of keys are the user's code. Whatever it does, all that wait are answered.
        let _ = match &*answer {
            Ok(value) => catch_panic(|| self.keep(value, &answer)),
            Err(_) => catch_panic(|| self.cache.count_failure()),
        };
        let _ = catch_panic(|| self.remove());
        let mut slot = self.answer.lock();
        *slot = Some(answer);
        self.answered.notify_all(slot);
    }

    fn keep(&self, value: &V, answer: &Arc<Result<V, E>>) {
        let (heap_bytes, is_cacheable) = (self.measure)(self.key.args(), value);
        if let Some(sent) = self.sent_at().filter(|_| is_cacheable) {
            let answer = Arc::clone(answer);
            self.cache.insert(&self.key, self.lookup, answer, (sent, self.epoch), heap_bytes);
        }
    }

    /// Removes the flight, so that no further caller joins it.
    fn remove(self: &Arc<Self>) {
        // Dropped without the lock.
        let _removed = self.remove_from(&mut self.cache.flights().lock());
    }

    fn remove_from(
        self: &Arc<Self>,
        flights: &mut Flights,
    ) -> Option<(StoredKey, Arc<dyn Any + Send + Sync>)> {
        let key = &*self.key as &dyn AnyKey;
        let is_listed = flights.get(key).is_some_and(|known| is_same(known, self));
        if is_listed { flights.remove_entry(key) } else { None }
    }

    /// Waits for the answer, at most until `deadline`. `None` if it has not come by then.
    pub(crate) fn wait(&self, deadline: Option<Moment>) -> Option<Arc<Result<V, E>>> {
        let mut answer = self.answer.lock();
        let is_missing = |answer: &mut Option<_>| answer.is_none();
        self.answered.wait_while(&mut answer, self.cache.clock(), deadline, is_missing);
        answer.clone()
    }

    /// Ends the wait of one caller. The last one cancels the call, if it is still queued.
    pub(crate) fn leave(self: &Arc<Self>) {
        let _removed = {
            let mut flights = self.cache.flights().lock();
            let is_last = self.waiters.fetch_sub(1, Ordering::Relaxed) == 1;
            if !is_last || self.sent_at().is_some() || self.answer.lock().is_some() {
                return;
            }
            // In the same step, so that no caller joins a call that is cancelled.
            self.remove_from(&mut flights)
        };
        // Not under its lock: a cancellation wakes the flight.
        let Some(ticket) = self.ticket.lock().take() else { return };
        if !ticket.cancel() {
            // It has just been sent, so its answer can be kept.
            self.start(ticket);
        }
    }
}

impl<A, V, E> Wake for Flight<A, V, E>
where
    A: CacheArgument,
    V: Cacheable,
    E: Cacheable + From<LaneError>,
{
    fn wake(self: Arc<Self>) {
        self.poll_ticket();
    }
}

pub(super) fn is_same<T>(known: &Arc<dyn Any + Send + Sync>, flight: &Arc<T>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(flight))
}
