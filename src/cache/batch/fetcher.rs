//! The thread that sends the requests. Where tasks do that themselves (`task_fetcher.rs`), there is none.
//!
//! It is separate from the callers, so that each caller can stop waiting at its own deadline, and a
//! refresh needs no caller. `cache.rs` starts it with the first miss, and it ends with the cache.

use std::sync::Arc;

use super::bounds::{Key, Shared};
use super::core::Core;
use super::fetch::{Fetch, FetchSource};
use super::lookup::FetchError;
use super::sharing::Sharing;
use crate::panic::catch_panic;

/// Fetches until the cache is closed.
fn run<K: Key, V: Shared, E: Shared + Clone>(core: &Arc<Core<K, V, E>>) {
    let _fail_pending = FailPendingOnExit(core);
    loop {
        // Tasks need no fetcher, so none was started for them.
        #[cfg(feature = "async")]
        let FetchSource::Thread(fetch) = &core.source else { return };
        #[cfg(not(feature = "async"))]
        let FetchSource::Thread(fetch) = &core.source;
        match catch_panic(|| core.next_fetch()) {
            Ok(Some(generation)) => core.run_fetch(fetch, generation),
            Ok(None) => return,
            Err(_) => core.reset_after_panic(),
        }
    }
}

/// Completes all pending requests with an error when the thread ends, for whatever reason.
struct FailPendingOnExit<'a, K: Key, V: Shared, E: Shared>(&'a Core<K, V, E>);

impl<K: Key, V: Shared, E: Shared> Drop for FailPendingOnExit<'_, K, V, E> {
    fn drop(&mut self) {
        let requests = self.0.pending.lock().take_all();
        let _ = catch_panic(|| drop(requests));
        self.0.announce_fetch_end(self.0.pending.lock(), false);
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    /// Starts the fetcher thread, if none is running and one is needed.
    pub(super) fn ensure_fetcher_running(self: &Arc<Self>) -> Result<(), FetchError<E>> {
        if !matches!(self.source, FetchSource::Thread(_)) {
            return Ok(());
        }
        self.ensure_thread_running("batch-cache", run)
            .map_err(|error| FetchError::NoThread { error: error.to_string() })
    }

    /// Waits until there is something to fetch, and returns the generation of the fetch. Returns
    /// `None` if the cache is closed.
    fn next_fetch(&self) -> Option<u64> {
        let mut pending = self.pending.lock();
        while !self.has_work(&mut pending) {
            if pending.closed {
                return None;
            }
            self.work_available.wait(&mut pending, &self.config.clock);
        }
        if self.config.clock.is_system() && !self.config.linger.is_zero() {
            let until = Some(self.now() + self.config.linger);
            let clock = &self.config.clock;
            self.work_available.wait_while(&mut pending, clock, until, |pending| !pending.closed);
        }
        self.begin_fetch(&mut pending)
    }

    /// Runs one fetch: calls the source and handles its result.
    fn run_fetch(self: &Arc<Self>, fetch: &Fetch<K, V, E>, generation: u64) {
        let is_claimed = match self.decide(generation) {
            Sharing::Fetch { is_claimed } => is_claimed,
            Sharing::Satisfied => return self.end_satisfied(generation),
        };
        let batch = self.batch(generation);
        let request = self.end_fetch(catch_panic(|| fetch(&batch)));
        // The callers have their values: they do not wait for this.
        let _ = catch_panic(|| self.keep_fetched(request, is_claimed));
    }
}
