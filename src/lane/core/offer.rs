//! Turns that queued calls get from a worker, for callers that make their calls themselves.
//!
//! A worker dispatches such a call as any other one. Then it offers the turn to the caller's task, wakes the task, and polls for
//! the next call. The task takes the turn when it is polled, and makes the attempt (`turn.rs`).
//!
//! # A task that does not come
//!
//! A task may be stuck, or wait for something else first. Its turn holds slots that other calls could use, and its permit
//! grows old. So an offer ends after [`OFFERED_FOR`], and the slots go back unused. The call is then *parked*: it is in no
//! queue until its task is polled again. So tasks that are never polled cost the lane one offer each. A task that comes too late
//! for its turn finds its call parked, and queues it again. Its next offer lasts twice as long, so a task that is always late
//! gets its turn too. Until its first attempt it has its place in the queue by its number.
//!
//! An offer also ends if an urgent call waits for its slots. That one goes first, and the task finds its call parked.
//!
//! An offer ends with the deadline of its call, and a parked call is rejected at its deadline. A turn is not used either if the
//! lane would hold the call back by now: it was paused, the broker throttles, a breaker has opened, or the session has expired.
//!
//! An offer is taken by one of four: the task, the drop of its future, a poll of a worker that finds it ended or takes it back, or
//! the shutdown of the lane or the proxy. So a call is never both sent and queued again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

use super::LaneCore;
use super::poll::Dispatch;
use super::turn::OwnCall;
use crate::clock::ActiveGuard;
use crate::lane::attachment::Attachment;
use crate::lane::call::CallMeta;
use crate::lane::queue::priority_level::Job;
use crate::panic::{catch_panic, wake_all};
use crate::quota::{Cost, Moment};

/// How long a task has to take its turn: longer than a busy runtime needs to poll a task, and short beside the windows of a lane,
/// whose slots it holds.
pub(in crate::lane) const OFFERED_FOR: Duration = Duration::from_millis(100);

/// How often the length of an offer is doubled at most. A task that is later than that, by 6.4 s, is as good as stuck.
const MAX_DOUBLINGS: u32 = 6;

/// The turns that are offered, and the calls that are parked.
#[derive(Default)]
pub(in crate::lane) struct Offers {
    /// Taken within the lock of the queue, or alone. No lock but that of a manual clock is taken within it.
    state: Mutex<State>,
    /// How many there are, so that a poll of a lane without any takes no lock.
    kept: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// By the numbers of the calls. There are no more than calls may be in flight.
    offered: BTreeMap<u64, Offer>,
    /// Those with the next deadlines come first.
    parked: BTreeMap<ParkedKey, Job>,
}

struct Offer {
    own: OwnCall,
    until: Moment,
    /// The task is about to run: an auto-advancing clock does not advance meanwhile.
    _active: ActiveGuard,
}

/// Whether the call has no deadline, its deadline, and its number.
type ParkedKey = (bool, Option<Moment>, u64);

fn parked_key(meta: &CallMeta) -> ParkedKey {
    (meta.deadline.is_none(), meta.deadline, meta.number)
}

impl Offers {
    /// Changes what is kept.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        self.kept.store(state.offered.len() + state.parked.len(), Ordering::SeqCst);
        result
    }

    /// Returns whether no turn is offered and no call is parked.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.load(Ordering::SeqCst) == 0
    }

    fn put(&self, number: u64, offer: Offer) {
        self.change(|state| state.offered.insert(number, offer));
    }

    fn take(&self, number: u64) -> Option<Offer> {
        self.change(|state| state.offered.remove(&number))
    }

    fn take_if(&self, is_meant: impl Fn(&Offer) -> bool) -> Vec<OwnCall> {
        self.change(|state| {
            let meant = state.offered.iter().filter(|(_, offer)| is_meant(offer));
            let numbers: Vec<u64> = meant.map(|(number, _)| *number).collect();
            let taken = numbers.iter().filter_map(|number| state.offered.remove(number));
            taken.map(|offer| offer.own).collect()
        })
    }

    /// Takes the offers that have ended.
    pub(super) fn take_ended(&self, now: Moment) -> Vec<OwnCall> {
        self.take_if(|offer| offer.until <= now)
    }

    /// Takes the offers of calls that are not urgent, if their cost is meant.
    pub(super) fn take_normal(&self, is_meant: impl Fn(Cost) -> bool) -> Vec<OwnCall> {
        self.take_if(|offer| {
            let meta = offer.own.meta();
            !meta.is_urgent() && is_meant(meta.cost)
        })
    }

    /// Returns when the first offer ends, or the first deadline of a parked call passes.
    pub(super) fn next_end(&self) -> Option<Moment> {
        if self.is_empty() {
            return None;
        }
        let state = self.state.lock();
        let deadline = state.parked.first_key_value().and_then(|((_, deadline, _), _)| *deadline);
        state.offered.values().map(|offer| offer.until).chain(deadline).min()
    }

    fn park(&self, job: Job) {
        self.change(|state| state.parked.insert(parked_key(job.meta()), job));
    }

    fn unpark(&self, meta: &CallMeta) -> Option<Job> {
        self.change(|state| state.parked.remove(&parked_key(meta)))
    }

    fn is_parked(&self, meta: &CallMeta) -> bool {
        self.state.lock().parked.contains_key(&parked_key(meta))
    }

    /// Takes the parked calls whose deadline has passed.
    pub(super) fn take_expired(&self, now: Moment) -> Vec<Job> {
        let is_due = |key: &ParkedKey| key.1.is_some_and(|deadline| deadline <= now);
        self.change(|state| {
            let mut expired = Vec::new();
            while let Some(due) = state.parked.first_entry().filter(|first| is_due(first.key())) {
                expired.push(due.remove());
            }
            expired
        })
    }

    /// Takes the parked calls for which `is_meant` holds.
    pub(super) fn take_parked(&self, is_meant: impl Fn(&CallMeta) -> bool) -> Vec<Job> {
        self.change(|state| {
            let meant = state.parked.iter().filter(|(_, job)| is_meant(job.meta()));
            let keys: Vec<ParkedKey> = meant.map(|(key, _)| *key).collect();
            keys.iter().filter_map(|key| state.parked.remove(key)).collect()
        })
    }

    /// Returns whether a call is parked for which `is_meant` holds.
    pub(super) fn has_parked(&self, is_meant: impl Fn(&CallMeta) -> bool) -> bool {
        !self.is_empty() && self.state.lock().parked.values().any(|job| is_meant(job.meta()))
    }
}

/// Returns how long a turn is offered to the task of a call.
fn offered_for(meta: &CallMeta) -> Duration {
    let missed = meta.missed_turns.load(Ordering::Relaxed);
    OFFERED_FOR * (1 << missed.min(MAX_DOUBLINGS))
}

impl LaneCore {
    /// Offers a dispatched call to its caller. When it returns, the worker counts as searching.
    pub(super) fn offer(self: &Arc<Self>, job: Job, dispatch: Dispatch) {
        let mut own = OwnCall::new(self, Job::clone(&job), dispatch);
        if self.pacing.is_recorded() {
            // The record of the attempt is written to a file, which may hang. That must hold a worker, not a task.
            own.begin();
        }
        let meta = job.meta();
        let until = self.clock.now() + offered_for(meta);
        let until = meta.deadline.map_or(until, |deadline| until.min(deadline));
        self.offers.put(meta.number, Offer { own, until, _active: self.clock.active_guard() });
        // The caller may have left before there was an offer to take back.
        let unwanted = if job.is_pending() { None } else { self.offers.take(meta.number) };
        let waker = job.take_waker();
        let is_shut = self.is_shut(&meta.attachment);
        self.pool.begin_search();
        if unwanted.is_some() || waker.is_some() || is_shut {
            // User code.
            self.pool.cancel_search(&**self);
            drop(unwanted);
            self.reject_if_shut(&meta.attachment);
            wake_all(waker);
            let _ = catch_panic(|| drop(job));
            self.pool.begin_search();
        }
    }

    /// Takes the turn of a call, for its task. Queues the call again if it was parked, or if the turn may not be used any more.
    /// Call it with no lock held, and after the waker of the task was kept.
    pub(in crate::lane) fn take_turn(&self, meta: &CallMeta) -> Option<OwnCall> {
        if self.offers.is_empty() {
            return None;
        }
        if let Some(Offer { mut own, until, .. }) = self.offers.take(meta.number) {
            let now = self.clock.now();
            if now >= until {
                own.miss();
            } else if own.resume() {
                return Some(own);
            }
            own.take_back(|job| {
                self.requeue(job, now);
                self.poll_soon(&meta.attachment);
            });
        } else if self.offers.is_parked(meta) {
            self.queue_parked(meta);
            self.poll_soon(&meta.attachment);
        }
        None
    }

    /// Queues a parked call again. Under the lock of the queue, so that a drain sees the call in one place or the other.
    fn queue_parked(&self, meta: &CallMeta) {
        let mut queue = self.queue.lock();
        if let Some(job) = self.offers.unpark(meta) {
            // Its task holds it too, so no user code is dropped here.
            self.requeue_in(&mut queue.scheduler, &job, self.clock.now());
        }
    }

    /// Has a worker poll for a call that this thread has queued again.
    fn poll_soon(&self, attachment: &Arc<Attachment>) {
        self.unseen_moves.store(true, Ordering::SeqCst);
        self.wake_one();
        self.reject_if_shut(attachment);
    }

    /// Parks the calls whose turns were taken back. Returns the wakers of tasks that were polled meanwhile: they
    /// found no turn and no parked call.
    pub(super) fn end_offers(&self, ended: Vec<OwnCall>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for own in ended {
            own.take_back(|job| wakers.extend(self.park(job)));
        }
        wakers
    }

    fn park(&self, job: Job) -> Option<Waker> {
        let attachment = Arc::clone(&job.meta().attachment);
        self.offers.park(Job::clone(&job));
        // The offer took the waker. If there is one again, the task came for its turn before the call was parked.
        let waker = job.take_waker();
        if !job.is_queued() {
            // Its caller has left in between, and found nothing to take back.
            drop(self.offers.unpark(job.meta()));
        }
        self.reject_if_shut(&attachment);
        waker
    }

    /// Takes back the turn of a call whose caller leaves, or its place among the parked calls. It is queued then, and in no
    /// queue.
    pub(in crate::lane) fn leave(&self, meta: &CallMeta) {
        if self.offers.is_empty() {
            return;
        }
        drop(self.offers.unpark(meta));
        if let Some(Offer { own, .. }) = self.offers.take(meta.number) {
            own.take_back(drop);
        }
    }

    /// Takes back the turns that no task has taken, of calls for which `is_meant` holds. Each is queued then, and in no queue.
    pub(super) fn take_back_offers(&self, is_meant: impl Fn(&CallMeta) -> bool) -> Vec<Job> {
        let mut jobs = Vec::new();
        for own in self.offers.take_if(|offer| is_meant(offer.own.meta())) {
            own.take_back(|job| jobs.push(job));
        }
        jobs
    }
}
