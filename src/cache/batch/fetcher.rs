//! The thread that makes the requests.
//!
//! It is not one of those who ask: each of them can leave at its own deadline, whatever becomes of
//! the request, and a refresh needs nobody to wait for it. It begins with the first miss and ends
//! with the cache.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use super::bounds::{Key, Shared};
use super::core::Core;
use super::lookup::FetchError;
use super::pending::{PendingRequests, Refresh};
use crate::panic::catch_panic;
use crate::quota::Moment;

/// What fetches. A key without a value and without an error is one that the source has nothing for.
pub(super) type Fetch<K, V, E> =
    dyn Fn(&Batch<K>) -> Result<HashMap<K, Result<V, E>>, E> + Send + Sync + 'static;

/// Who gives out the keys of a turn.
pub(super) trait KeySource<K>: Send + Sync {
    fn take_keys(&self, turn: u64) -> Vec<K>;
    /// Those that were given out.
    fn taken_keys(&self, turn: u64) -> Vec<K>;
    fn sent(&self, turn: u64) -> Option<Moment>;
}

/// A request that is to be made. Its keys are chosen by [`keys`](Self::keys), and not before: ask
/// for them as late as can be.
pub struct Batch<K> {
    // Weak, since it may be kept for long in some queue that the cache itself keeps alive.
    source: Weak<dyn KeySource<K>>,
    generation: u64,
}

impl<K> Batch<K> {
    /// Chooses the keys; the request must be made at once, since its age counts from here. Asked
    /// again, because the request is made again, it names the same keys. None, if nobody wants
    /// anything any more: then nothing need be asked.
    pub fn keys(&self) -> Vec<K> {
        self.source.upgrade().map(|from| from.take_keys(self.generation)).unwrap_or_default()
    }

    /// The keys that were chosen, if they were. Asking chooses nothing.
    pub(in crate::cache) fn taken_keys(&self) -> Vec<K> {
        self.source.upgrade().map(|from| from.taken_keys(self.generation)).unwrap_or_default()
    }

    /// When the keys were chosen, if they were.
    pub fn sent(&self) -> Option<Moment> {
        self.source.upgrade()?.sent(self.generation)
    }
}

impl<K> Clone for Batch<K> {
    fn clone(&self) -> Self {
        Self { source: Weak::clone(&self.source), generation: self.generation }
    }
}

impl<K> fmt::Debug for Batch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("turn", &self.generation).finish_non_exhaustive()
    }
}

/// Starts the thread.
pub(super) fn spawn<K: Key, V: Shared, E: Shared + Clone>(
    core: &Arc<Core<K, V, E>>,
) -> std::io::Result<JoinHandle<()>> {
    let core = Arc::clone(core);
    thread::Builder::new().name("batch-cache".to_owned()).spawn(move || {
        let _grounded = FailPendingOnExit(&core);
        loop {
            match catch_panic(|| core.next_fetch()) {
                Ok(Some(turn)) => core.run_fetch(turn),
                Ok(None) => return,
                Err(_) => core.reset_after_panic(),
            }
        }
    })
}

/// When the thread ends, whatever ended it, nobody waits for what it will not do any more.
struct FailPendingOnExit<'a, K: Key, V: Shared, E: Shared>(&'a Core<K, V, E>);

impl<K: Key, V: Shared, E: Shared> Drop for FailPendingOnExit<'_, K, V, E> {
    fn drop(&mut self) {
        let flights = self.0.pending.lock().take_all();
        let _ = catch_panic(|| drop(flights));
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    /// The keys' `Eq` or `Drop` panicked while the fetcher looked for something to do. What it looked
    /// at is let go, so that it does not stumble over it again: those who want it say so again.
    fn reset_after_panic(&self) {
        let looked_at = {
            let mut board = self.pending.lock();
            board.fetching = false;
            (std::mem::take(&mut board.to_refresh), std::mem::take(&mut board.refreshing))
        };
        let _ = catch_panic(|| drop(looked_at));
    }

    /// Waits until there is something to fetch. `None`: the cache is gone.
    fn next_fetch(&self) -> Option<u64> {
        let mut board = self.pending.lock();
        loop {
            if board.closed {
                return None;
            }
            let now = self.now();
            board.quarantine.expire(now);
            let PendingRequests { to_refresh, quarantine: doubts, .. } = &mut *board;
            // A key in doubt is not taken along, so there is nothing to go for.
            to_refresh.retain(|key, _| {
                !doubts.contains(key, now) && self.store.weight_if_due(key, now).is_some()
            });
            if board.retain_awaited()
                || board.to_refresh.values().any(|urge| *urge == Refresh::Stale)
            {
                break;
            }
            if board.to_refresh.is_empty() {
                self.work_available.wait(&mut board);
                continue;
            }
            // It is somebody else's to tell, who may want to take locks for it.
            drop(board);
            let spare = catch_panic(|| (self.hooks.refresh_if)()).unwrap_or(false);
            board = self.pending.lock();
            if spare {
                break;
            }
            board.to_refresh.retain(|_, urge| *urge == Refresh::Stale);
        }
        let gathered = self.config.clock.instant_of(self.now() + self.config.linger);
        if let Some(until) = gathered.filter(|_| !self.config.linger.is_zero()) {
            while !board.closed && !self.work_available.wait_until(&mut board, until).timed_out() {}
        }
        board.generation += 1;
        board.keys_taken = false;
        board.fetching = !board.closed;
        // Once, whatever becomes of it: who still wants them renewed says so again.
        board.refreshing = board.to_refresh.drain().map(|(key, _)| key).collect();
        board.fetching.then_some(board.generation)
    }

    /// One turn: makes the request, and sees to what it brings.
    fn run_fetch(self: &Arc<Self>, turn: u64) {
        let strong: Arc<dyn KeySource<K>> = Arc::clone(self) as _;
        let batch = Batch { source: Arc::downgrade(&strong), generation: turn };
        drop(strong);
        let fetched = catch_panic(|| (self.fetch)(&batch));
        // Whoever still holds the batch comes too late.
        self.pending.lock().fetching = false;
        let outcome = match fetched {
            Ok(outcome) => outcome.map_err(FetchError::Failed),
            Err(message) => Err(FetchError::Panicked { message }),
        };
        // What is not ours runs in there too: the keys' `Eq`, the values' `Drop`.
        if let Err(message) = catch_panic(|| self.complete_fetch(outcome)) {
            let _ = catch_panic(|| self.complete_fetch(Err(FetchError::Panicked { message })));
        }
    }
}
