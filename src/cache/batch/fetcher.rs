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
use super::sharing::Sharing;
use crate::panic::catch_panic;

/// Starts the fetcher thread. It participates in a manual clock: an auto-advancing one does not advance while a request
/// that is to be sent is not yet in its lane.
fn spawn<K: Key, V: Shared, E: Shared + Clone>(
    core: &Arc<Core<K, V, E>>,
) -> std::io::Result<JoinHandle<()>> {
    let core = Arc::clone(core);
    let active_guard = core.config.clock.active_guard();
    thread::Builder::new().name("batch-cache".to_owned()).spawn(move || {
        let active_guard = active_guard;
        active_guard.bind_to_thread();
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
        self.0.announce_fetch_end(self.0.pending.lock());
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    /// Starts the fetcher thread, if none is running.
    pub(super) fn ensure_fetcher_running(self: &Arc<Self>) -> Result<(), FetchError<E>> {
        let mut fetcher = self.fetcher.lock();
        if fetcher.as_ref().is_none_or(JoinHandle::is_finished) {
            let started = spawn(self);
            let thread =
                started.map_err(|error| FetchError::NoThread { error: error.to_string() })?;
            *fetcher = Some(thread);
        }
        Ok(())
    }

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
        // Requests may have been lost.
        let mut pending = self.pending.lock();
        pending.retry_at = self.now() + self.retry_pause();
        self.announce_fetch_end(pending);
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
                self.work_available.wait(&mut pending, &self.config.clock);
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
        if self.config.clock.is_system() && !self.config.linger.is_zero() {
            let until = Some(self.now() + self.config.linger);
            let clock = &self.config.clock;
            self.work_available.wait_while(&mut pending, clock, until, |pending| !pending.closed);
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
        // The code of a key or a value may panic. The request is then sent without the others.
        let sharing = catch_panic(|| self.take_shared_or_claim());
        let is_claimed = match sharing.unwrap_or(Sharing::Fetch { is_claimed: false }) {
            Sharing::Fetch { is_claimed } => is_claimed,
            Sharing::Satisfied => {
                let mut pending = self.pending.lock();
                pending.fetching = false;
                return self.announce_fetch_end(pending);
            }
        };
        let source: Arc<dyn KeySource<K>> = Arc::clone(self) as _;
        let batch = Batch::new(Arc::downgrade(&source), generation);
        drop(source);
        let fetched = catch_panic(|| (self.fetch)(&batch));
        // From here on the batch hands out no keys, even if the source kept a clone of it.
        let request = {
            let mut pending = self.pending.lock();
            pending.fetching = false;
            pending.in_flight.as_ref().map(|it| Arc::clone(it.response.request()))
        };
        let outcome = match fetched {
            Ok(outcome) => outcome.map_err(FetchError::Failed),
            Err(message) => Err(FetchError::Panicked { message }),
        };
        // This runs user code too: the keys' `Eq` and the values' `Drop`.
        if let Err(message) = catch_panic(|| self.complete_fetch(outcome)) {
            let _ = catch_panic(|| self.complete_fetch(Err(FetchError::Panicked { message })));
        }
        self.announce_fetch_end(self.pending.lock());
        // The callers have their values: they do not wait for this.
        let _ = catch_panic(|| self.keep_fetched(request, is_claimed));
    }
}
