//! One request, as those who wait for it hold it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::lookup::FetchError;
use super::store::Snapshot;
use crate::clock::{Clock, TimedCondvar};
use crate::quota::Moment;

/// Which request carries which key.
pub(super) type SplitRequests<K, V, E> = HashMap<K, Arc<PendingRequest<K, V, E>>>;

/// How a request ended. All who wait for it share this.
pub(super) enum RequestOutcome<K, V, E> {
    /// An entry for every key that it asked for, and when they came.
    Completed {
        entries: Snapshot<K, V, E>,
        received_at: Moment,
    },
    Failed(Arc<FetchError<E>>),
    /// Its keys are asked for in parts: it was refused, or it holds a key that surely is.
    Split(SplitRequests<K, V, E>),
}

pub(super) struct PendingRequest<K, V, E> {
    outcome: OnceLock<RequestOutcome<K, V, E>>,
    /// Held for a moment between setting the outcome and ringing, so that nobody falls asleep in
    /// between.
    wait_lock: Mutex<()>,
    completed: TimedCondvar,
}

/// A flight, and the duty to tell how it ended. If it is lost on the way, because code that is not
/// ours panicked, those who wait are told that.
pub(super) struct ResponseGuard<K, V, E>(Arc<PendingRequest<K, V, E>>);

impl<K, V, E> ResponseGuard<K, V, E> {
    pub(super) fn new() -> Self {
        let (outcome, door, bell) = (OnceLock::new(), Mutex::new(()), TimedCondvar::default());
        Self(Arc::new(PendingRequest { outcome, wait_lock: door, completed: bell }))
    }

    pub(super) fn request(&self) -> &Arc<PendingRequest<K, V, E>> {
        &self.0
    }

    pub(super) fn guards(&self, flight: &Arc<PendingRequest<K, V, E>>) -> bool {
        Arc::ptr_eq(&self.0, flight)
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
    /// Tells the outcome. The first word counts.
    pub(super) fn complete(&self, outcome: RequestOutcome<K, V, E>) {
        if self.outcome.set(outcome).is_ok() {
            self.completed.notify_all(self.wait_lock.lock());
        }
    }

    pub(super) fn outcome(&self) -> Option<&RequestOutcome<K, V, E>> {
        self.outcome.get()
    }

    /// Waits for the outcome. `None`: `until` came first.
    pub(super) fn wait(
        &self,
        clock: &Clock,
        until: Option<Moment>,
    ) -> Option<&RequestOutcome<K, V, E>> {
        if self.outcome.get().is_none() {
            let mut guard = self.wait_lock.lock();
            let is_pending = |(): &mut ()| self.outcome.get().is_none();
            self.completed.wait_while(&mut guard, clock, until, is_pending);
        }
        self.outcome.get()
    }
}
