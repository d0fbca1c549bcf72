//! The thread that sends the requests.
//!
//! It is separate from the callers, so that each caller can stop waiting at its own deadline, and a
//! refresh needs no caller. `cache.rs` starts it with the first miss, and it ends with the cache.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::bounds::{Key, Shared};
use super::core::Core;
use super::fetch::{Batch, KeySource};
use super::lookup::FetchError;
use super::pending::{PendingRequests, Refresh};
use crate::panic::catch_panic;

/// Starts the fetcher thread.
pub(super) fn spawn<K: Key, V: Shared, E: Shared + Clone>(
    core: &Arc<Core<K, V, E>>,
) -> std::io::Result<JoinHandle<()>> {
    let core = Arc::clone(core);
    thread::Builder::new().name("batch-cache".to_owned()).spawn(move || {
        let _fail_pending = FailPendingOnExit(&core);
        loop {
            match catch_panic(|| core.next_fetch()) {
                Ok(Some(generation)) => core.run_fetch(generation),
                Ok(None) => return,
                Err(_) => core.reset_after_panic(),
            }
        }
    })
}

/// Completes all pending requests with an error when the thread ends, for whatever reason.
struct FailPendingOnExit<'a, K: Key, V: Shared, E: Shared>(&'a Core<K, V, E>);

impl<K: Key, V: Shared, E: Shared> Drop for FailPendingOnExit<'_, K, V, E> {
    fn drop(&mut self) {
        let requests = self.0.pending.lock().take_all();
        let _ = catch_panic(|| drop(requests));
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    /// Recovers after a key's `Eq` or `Drop` panicked while the fetcher searched for work. Drops
    /// the refresh requests that it was checking, so that they do not panic again. A later lookup
    /// requests the refresh again.
    fn reset_after_panic(&self) {
        let refreshes = {
            let mut pending = self.pending.lock();
            pending.fetching = false;
            (std::mem::take(&mut pending.to_refresh), std::mem::take(&mut pending.refreshing))
        };
        let _ = catch_panic(|| drop(refreshes));
    }

    /// Waits until there is something to fetch, and returns the generation of the fetch. Returns
    /// `None` if the cache is closed.
    fn next_fetch(&self) -> Option<u64> {
        let mut pending = self.pending.lock();
        loop {
            if pending.closed {
                return None;
            }
            let now = self.now();
            pending.quarantine.expire(now);
            let PendingRequests { to_refresh, quarantine, .. } = &mut *pending;
            // A quarantined key is not piggybacked, so its refresh needs no request.
            to_refresh.retain(|key, _| {
                !quarantine.contains(key, now) && self.store.weight_if_due(key, now).is_some()
            });
            if pending.retain_awaited()
                || pending.to_refresh.values().any(|refresh| *refresh == Refresh::Stale)
            {
                break;
            }
            if pending.to_refresh.is_empty() {
                self.work_available.wait(&mut pending);
                continue;
            }
            // Unlock first: `refresh_if` is user code, which may take other locks.
            drop(pending);
            let has_capacity = catch_panic(|| (self.hooks.refresh_if)()).unwrap_or(false);
            pending = self.pending.lock();
            if has_capacity {
                break;
            }
            pending.to_refresh.retain(|_, refresh| *refresh == Refresh::Stale);
        }
        let linger_until = self.config.clock.instant_of(self.now() + self.config.linger);
        if let Some(until) = linger_until.filter(|_| !self.config.linger.is_zero()) {
            while !pending.closed
                && !self.work_available.wait_until(&mut pending, until).timed_out()
            {}
        }
        pending.generation += 1;
        pending.keys_taken = false;
        pending.fetching = !pending.closed;
        // Each refresh is attempted once, whatever the outcome. A later lookup requests it again.
        pending.refreshing = pending.to_refresh.drain().map(|(key, _)| key).collect();
        pending.fetching.then_some(pending.generation)
    }

    /// Runs one fetch: calls the source and handles its result.
    fn run_fetch(self: &Arc<Self>, generation: u64) {
        let source: Arc<dyn KeySource<K>> = Arc::clone(self) as _;
        let batch = Batch::new(Arc::downgrade(&source), generation);
        drop(source);
        let fetched = catch_panic(|| (self.fetch)(&batch));
        // From here on the batch hands out no keys, even if the source kept a clone of it.
        self.pending.lock().fetching = false;
        let outcome = match fetched {
            Ok(outcome) => outcome.map_err(FetchError::Failed),
            Err(message) => Err(FetchError::Panicked { message }),
        };
        // This runs user code too: the keys' `Eq` and the values' `Drop`.
        if let Err(message) = catch_panic(|| self.complete_fetch(outcome)) {
            let _ = catch_panic(|| self.complete_fetch(Err(FetchError::Panicked { message })));
        }
    }
}
