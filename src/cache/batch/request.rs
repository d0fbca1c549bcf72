//! A single request, as its waiters share it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::lookup::FetchError;
use super::store::Snapshot;
use crate::clock::{Clock, TimedCondvar};
use crate::quota::Moment;

/// Which part of a split request carries which key.
pub(super) type SplitRequests<K, V, E> = HashMap<K, Arc<PendingRequest<K, V, E>>>;

/// How a request ended, shared by all its waiters.
pub(super) enum RequestOutcome<K, V, E> {
    /// An entry for every key of the request, and when the response arrived.
    Completed {
        entries: Snapshot<K, V, E>,
        received_at: Moment,
    },
    Failed(Arc<FetchError<E>>),
    /// The keys are requested in parts: the request was refused, surely has a bad key, or a key was
    /// isolated from it.
    Split(SplitRequests<K, V, E>),
}

pub(super) struct PendingRequest<K, V, E> {
    outcome: OnceLock<RequestOutcome<K, V, E>>,
    /// Locked briefly between setting the outcome and notifying, so that no waiter starts to wait
    /// in between and misses the notification.
    wait_lock: Mutex<()>,
    completed: TimedCondvar,
}

/// The obligation to complete a request. If the guard is dropped first, because user code panicked,
/// the waiters get an error.
pub(super) struct ResponseGuard<K, V, E>(Arc<PendingRequest<K, V, E>>);

impl<K, V, E> ResponseGuard<K, V, E> {
    pub(super) fn new() -> Self {
        let (outcome, wait_lock, completed) =
            (OnceLock::new(), Mutex::new(()), TimedCondvar::default());
        Self(Arc::new(PendingRequest { outcome, wait_lock, completed }))
    }

    pub(super) fn request(&self) -> &Arc<PendingRequest<K, V, E>> {
        &self.0
    }

    pub(super) fn guards(&self, request: &Arc<PendingRequest<K, V, E>>) -> bool {
        Arc::ptr_eq(&self.0, request)
    }
}

impl<K, V, E> Drop for ResponseGuard<K, V, E> {
    fn drop(&mut self) {
        if self.0.outcome().is_none() {
            let message = "the code of a key or a value panicked, and its request was lost".into();
            self.0.complete(RequestOutcome::Failed(Arc::new(FetchError::Panicked { message })));
        }
    }
}

impl<K, V, E> PendingRequest<K, V, E> {
    /// Completes the request and wakes its waiters. Only the first outcome counts.
    pub(super) fn complete(&self, outcome: RequestOutcome<K, V, E>) {
        if self.outcome.set(outcome).is_ok() {
            self.completed.notify_all(self.wait_lock.lock());
        }
    }

    pub(super) fn outcome(&self) -> Option<&RequestOutcome<K, V, E>> {
        self.outcome.get()
    }

    /// Waits for the outcome, at most until `deadline`.
    pub(super) fn wait(&self, clock: &Clock, deadline: Option<Moment>) {
        if self.outcome.get().is_none() {
            let mut guard = self.wait_lock.lock();
            let is_pending = |(): &mut ()| self.outcome.get().is_none();
            self.completed.wait_while(&mut guard, clock, deadline, is_pending);
        }
    }
}
