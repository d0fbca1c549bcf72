//! The thread that shares the values of a cache of tasks with other processes.
//!
//! Each step of [`sharing`](super::sharing) may wait for another machine, and a task must not block its executor. So this thread
//! makes those steps, and the future of a fetch waits for what they decide, and then makes the request itself. A cache that shares
//! nothing has no such thread.
//!
//! The thread handles one fetch at a time, in three parts:
//!
//! 1. It takes values that other processes fetched, or claims the fetch.
//! 2. Until the request is sent, for [`LEASE`] at most, it asks which keys other processes want, so that the request can take them
//!    along.
//! 3. It waits until the fetch has ended, keeps what it brought, and ends the claim. A fetch that was dropped brought nothing.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::MutexGuard;

use super::bounds::{Key, Shared};
use super::core::Core;
use super::pending::PendingRequests;
use super::shared_store::LEASE;
use super::sharing::Sharing;
use crate::clock::{ActiveGuard, Timer};
use crate::panic::catch_panic;
use crate::task_flight::{Leader, TaskFlight};

/// The pause between two trips of a fetch that waits to be sent.
const PAUSE: Duration = Duration::from_millis(50);

/// A fetch that is to be shared.
pub(super) struct SharedFetch {
    generation: u64,
    decision: Leader<Decision>,
}

/// What a fetch has to do, for its future.
#[derive(Clone)]
struct Decision {
    sharing: Sharing,
    /// An auto-advancing clock does not advance before the future has seen this.
    _active: Arc<ActiveGuard>,
}

/// Shares fetches until the cache is closed.
fn run<K: Key, V: Shared, E: Shared + Clone>(core: &Arc<Core<K, V, E>>) {
    while let Some(fetch) = core.next_shared_fetch() {
        // The code of a key may panic when it is dropped.
        let _ = catch_panic(|| core.run_shared_fetch(fetch));
    }
}

/// Hands a fetch to the thread, and waits until it is decided what the fetch has to do.
pub(super) async fn wait_for_decision<K: Key, V: Shared, E: Shared + Clone>(
    core: Weak<Core<K, V, E>>,
    generation: u64,
    timer: Timer,
) -> Sharing {
    // Weak while it waits: the cache keeps this future.
    let flight = core.upgrade().and_then(|core| core.share_fetch(generation));
    let decision = match flight {
        Some(flight) => flight.follow().wait(&timer).await,
        None => None,
    };
    decision.map_or(Sharing::Fetch { is_claimed: false }, |decision| decision.sharing)
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    /// Hands a fetch to the thread. Returns `None` if no thread can be started: then the fetch is made for this process alone.
    fn share_fetch(self: &Arc<Self>, generation: u64) -> Option<Arc<TaskFlight<Decision>>> {
        self.ensure_thread_running("batch-cache-sharing", run).ok()?;
        let decision = TaskFlight::begin();
        let flight = Arc::clone(decision.flight());
        let mut pending = self.pending.lock();
        let replaced = pending.sharing.to_share.replace(SharedFetch { generation, decision });
        self.work_available.notify_all(pending);
        // It wakes a task.
        drop(replaced);
        Some(flight)
    }

    /// Waits for a fetch that is to be shared. Returns `None` if the cache is closed.
    fn next_shared_fetch(&self) -> Option<SharedFetch> {
        let mut pending = self.pending.lock();
        loop {
            if pending.closed {
                return None;
            }
            if let Some(fetch) = pending.sharing.to_share.take() {
                return Some(fetch);
            }
            self.work_available.wait(&mut pending, &self.config.clock);
        }
    }

    fn run_shared_fetch(&self, SharedFetch { generation, decision }: SharedFetch) {
        let sharing = self.decide(generation);
        match sharing {
            // The tasks have their values, also if none polls the future of the fetch any more.
            Sharing::Satisfied => self.end_satisfied(generation),
            Sharing::Fetch { .. } => self.renew_claim(),
        }
        let active = Arc::new(self.config.clock.active_guard());
        decision.complete(Decision { sharing, _active: active });
        drop(decision);
        if let Sharing::Fetch { is_claimed } = sharing {
            self.finish_shared_fetch(generation, is_claimed);
        }
    }

    /// Asks the store which keys other processes want, and notes them for the next request. The trip also extends the claim of this
    /// process, if it has one, and its answer is what stamps are computed from.
    fn renew_claim(&self) {
        let departure = catch_panic(|| self.shared.as_ref()?.depart()).unwrap_or_default();
        let wanted = departure.map(|departure| departure.wanted).unwrap_or_default();
        let replaced = std::mem::replace(&mut self.pending.lock().sharing.wanted, wanted);
        drop(replaced);
    }

    /// Tells the thread that a fetch has taken its keys.
    pub(super) fn note_sent(&self, mut pending: MutexGuard<'_, PendingRequests<K, V, E>>) {
        let generation = pending.generation;
        let request = pending.in_flight.as_ref().map(|it| Arc::clone(it.response.request()));
        let sent = request.map(|request| (generation, request));
        let replaced = std::mem::replace(&mut pending.sharing.sent, sent);
        self.fetch_ended.notify_all(pending);
        drop(replaced);
    }

    /// Waits until a request was sent and has ended, and keeps what it brought.
    fn finish_shared_fetch(&self, generation: u64, is_claimed: bool) {
        let clock = &self.config.clock;
        let is_to_be_sent =
            |pending: &mut PendingRequests<K, V, E>| pending.is_to_be_sent(generation);
        // A fetch that waits for longer, in its lane or for a task that is not polled, holds up no other process.
        let claimed_until = self.now() + LEASE;
        let mut pending = self.pending.lock();
        while is_to_be_sent(&mut pending) {
            let now = self.now();
            let next_trip = (is_claimed && now < claimed_until).then(|| now + PAUSE);
            let has_ended =
                self.fetch_ended.wait_while(&mut pending, clock, next_trip, is_to_be_sent);
            if !has_ended {
                drop(pending);
                self.renew_claim();
                pending = self.pending.lock();
            }
        }
        let request = pending.take_sent(generation);
        if let Some(request) = &request {
            if is_claimed {
                // Its answer may take as long again.
                drop(pending);
                self.renew_claim();
                pending = self.pending.lock();
            }
            let is_in_flight = |pending: &mut PendingRequests<K, V, E>| {
                !pending.closed && pending.is_in_flight(request)
            };
            self.fetch_ended.wait_while(&mut pending, clock, None, is_in_flight);
        }
        let wanted = std::mem::take(&mut pending.sharing.wanted);
        drop(pending);
        drop(wanted);
        self.keep_fetched(request, is_claimed);
    }
}
