//! Turns that queued calls get from a worker, for callers that make their calls themselves.
//!
//! A worker dispatches such a call as any other one. Then it offers the turn to the caller's task, wakes the task, and polls for
//! the next call. The task takes the turn when it is polled, and makes the attempt (`turn.rs`).
//!
//! # A task that does not come
//!
//! A task may be stuck, or wait for something else first. Its turn holds slots that other calls could use, and its permit
//! grows old. So an offer ends after [`OFFERED_FOR`], and the slots go back unused. The call is then *parked*: it is in
//! no queue until its task is polled again. So tasks that are never polled cost the lane one offer each. A task that comes too late
//! for its turn finds its call parked, and queues it again.
//!
//! An offer is taken by one of four: the task, the drop of its future, a poll of a worker that finds it ended, or the shutdown of the
//! lane or the proxy. So a call is never both sent and queued again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::LaneCore;
use super::poll::Dispatch;
use super::turn::OwnCall;
use crate::clock::ActiveGuard;
use crate::lane::call::CallMeta;
use crate::lane::queue::priority_level::Job;
use crate::lane::state::LaneState;
use crate::panic::catch_panic;
use crate::quota::Moment;

/// How long a task has to take its turn: longer than a busy runtime needs to poll a task, and short beside the windows of a lane,
/// whose slots it holds.
pub(in crate::lane) const OFFERED_FOR: Duration = Duration::from_millis(100);

/// The turns that are offered, and the calls that are parked.
#[derive(Default)]
pub(in crate::lane) struct Offers {
    state: Mutex<State>,
    /// How many turns are offered, so that a poll of a lane without any takes no lock.
    offered: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// By the numbers of the calls. There are no more than calls may be in flight.
    offered: BTreeMap<u64, Offer>,
    parked: BTreeMap<u64, Job>,
}

struct Offer {
    own: OwnCall,
    until: Moment,
    /// The task is about to run: an auto-advancing clock does not advance meanwhile.
    _active: ActiveGuard,
}

impl Offers {
    fn put(&self, number: u64, offer: Offer) {
        let mut state = self.state.lock();
        state.offered.insert(number, offer);
        self.offered.store(state.offered.len(), Ordering::SeqCst);
    }

    fn take_if(&self, is_meant: impl Fn(u64, &Offer) -> bool) -> Vec<Offer> {
        if self.offered.load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        let mut state = self.state.lock();
        let meant = state.offered.iter().filter(|(number, offer)| is_meant(**number, offer));
        let numbers: Vec<u64> = meant.map(|(number, _)| *number).collect();
        let taken = numbers.iter().filter_map(|number| state.offered.remove(number)).collect();
        self.offered.store(state.offered.len(), Ordering::SeqCst);
        taken
    }

    fn take(&self, number: u64) -> Option<Offer> {
        let mut state = self.state.lock();
        let offer = state.offered.remove(&number);
        self.offered.store(state.offered.len(), Ordering::SeqCst);
        offer
    }

    /// Returns when the first offer ends.
    pub(super) fn next_end(&self) -> Option<Moment> {
        if self.offered.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.state.lock().offered.values().map(|offer| offer.until).min()
    }

    /// Takes the offers that have ended.
    pub(super) fn take_ended(&self, now: Moment) -> Vec<OwnCall> {
        self.take_if(|_, offer| offer.until <= now).into_iter().map(|offer| offer.own).collect()
    }

    fn unpark(&self, number: u64) -> Option<Job> {
        self.state.lock().parked.remove(&number)
    }

    fn park(&self, job: Job) {
        self.state.lock().parked.insert(job.meta().number, job);
    }

    /// Takes the parked calls for which `is_meant` holds.
    pub(super) fn take_parked(&self, is_meant: impl Fn(&CallMeta) -> bool) -> Vec<Job> {
        let mut state = self.state.lock();
        let meant = state.parked.iter().filter(|(_, job)| is_meant(job.meta()));
        let numbers: Vec<u64> = meant.map(|(number, _)| *number).collect();
        numbers.iter().filter_map(|number| state.parked.remove(number)).collect()
    }

    /// Returns whether a call is parked for which `is_meant` holds.
    pub(super) fn has_parked(&self, is_meant: impl Fn(&CallMeta) -> bool) -> bool {
        self.state.lock().parked.values().any(|job| is_meant(job.meta()))
    }
}

impl LaneCore {
    /// Offers a dispatched call to its caller. When it returns, the worker counts as searching.
    pub(super) fn offer(self: &Arc<Self>, job: Job, dispatch: Dispatch) {
        let mut own = OwnCall::new(self, &job, dispatch);
        if self.pacing.is_recorded() {
            // The record of the attempt is written to a file, which may hang. That must hold a worker, not a task.
            own.begin();
        }
        let number = job.meta().number;
        let until = self.clock.now() + OFFERED_FOR;
        self.offers.put(number, Offer { own, until, _active: self.clock.active_guard() });
        // The caller may have left before there was an offer to take back.
        let unwanted = if job.is_pending() { None } else { self.offers.take(number) };
        let waker = job.take_waker();
        self.pool.begin_search();
        if unwanted.is_some() || waker.is_some() {
            // User code.
            self.pool.cancel_search(&**self);
            drop(unwanted);
            let _ = catch_panic(|| waker.map(std::task::Waker::wake));
            let _ = catch_panic(|| drop(job));
            self.pool.begin_search();
        }
    }

    /// Takes the turn of a call, for its task. Queues the call again if it was parked, or if its turn is too old. Call it with
    /// no lock held, and after the waker of the task was kept.
    pub(in crate::lane) fn take_turn(&self, number: u64) -> Option<OwnCall> {
        if let Some(Offer { own, until, .. }) = self.offers.take(number) {
            if self.clock.now() < until && !own.is_stale() {
                return Some(own);
            }
            own.take_back(|job| self.queue_again(job));
        } else if let Some(job) = self.offers.unpark(number) {
            self.queue_again(job);
        }
        None
    }

    fn queue_again(&self, job: Job) {
        let attachment = Arc::clone(&job.meta().attachment);
        self.requeue(job, self.clock.now());
        // This thread does not poll.
        self.unseen_moves.store(true, Ordering::SeqCst);
        self.wake_one();
        if self.state() == LaneState::Closed {
            self.reject_all();
        }
        self.reject_if_detached(&attachment);
    }

    /// Parks the calls whose tasks did not take their turns.
    pub(super) fn end_offers(&self, ended: Vec<OwnCall>) {
        for own in ended {
            own.take_back(|job| self.park(job));
        }
    }

    fn park(&self, job: Job) {
        let attachment = Arc::clone(&job.meta().attachment);
        self.offers.park(Job::clone(&job));
        if !job.is_queued() {
            // Its caller has left in between, and found nothing to take back.
            drop(self.offers.unpark(job.meta().number));
        }
        // A lane or a proxy that was shut down in between has not seen the call.
        if self.state() == LaneState::Closed {
            self.reject_all();
        }
        self.reject_if_detached(&attachment);
    }

    /// Takes back the turn of a call whose caller leaves, or its place among the parked calls. It is queued then, and in no
    /// queue.
    pub(in crate::lane) fn leave(&self, number: u64) {
        drop(self.offers.unpark(number));
        if let Some(Offer { own, .. }) = self.offers.take(number) {
            own.take_back(drop);
        }
    }

    /// Takes back the turns that no task has taken, of calls for which `is_meant` holds. Each is queued then, and in no queue.
    pub(super) fn take_back_offers(&self, is_meant: impl Fn(&CallMeta) -> bool) -> Vec<Job> {
        let mut jobs = Vec::new();
        for Offer { own, .. } in self.offers.take_if(|_, offer| is_meant(offer.own.meta())) {
            own.take_back(|job| jobs.push(job));
        }
        jobs
    }
}
