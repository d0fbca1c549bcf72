//! From within which lanes a call is made.
//!
//! The code of a broker, or of an observer, runs on a worker. If it makes a call through the same lane and waits
//! for the answer, it holds one worker and one slot, and needs others. When calls like that hold all the workers of
//! a lane, or all its slots, none of them can ever end. So one of the calls that wait for a worker or a slot then is
//! refused. A call knows the lanes of the calls that led to it, since the way back may go through another lane.
//!
//! What goes through a thread of somebody else's, or is awaited as a future, is not seen. Nor are two calls that
//! wait for each other's lanes, of which neither led to the other, and lanes that hold a budget against each other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::LaneCore;
use crate::lane::call::CallMeta;
use crate::lane::error::LaneErrorKind;
use crate::lane::queue::priority_level::Job;
use crate::panic::catch_panic;

/// A call on whose worker code runs, and the calls that led to it.
#[derive(Debug, Clone)]
pub(crate) struct CallerChain {
    /// Of which lane: where it is in memory, for as long as one of its calls runs.
    lane_id: usize,
    /// The number of the call.
    call_number: u64,
    outer: Option<Arc<CallerChain>>,
}

thread_local! {
    static CURRENT: RefCell<Option<CallerChain>> = const { RefCell::new(None) };
}

/// The calls within which this thread makes another one. Of each lane there is the last alone: one that calls itself
/// again and again, and waits for none, is no chain that grows.
pub(in crate::lane) fn current_chain() -> Option<Arc<CallerChain>> {
    CURRENT.with_borrow(|here| {
        let CallerChain { lane_id: lane, call_number: call, outer } = here.as_ref()?;
        let outer = outer.as_ref().and_then(|outer| outer.without_lane(*lane));
        Some(Arc::new(CallerChain { lane_id: *lane, call_number: *call, outer }))
    })
}

impl CallerChain {
    /// The number of the last call of a lane in here.
    fn call_number_in(&self, lane: usize) -> Option<u64> {
        let mut next = Some(self);
        while let Some(within) = next.filter(|within| within.lane_id != lane) {
            next = within.outer.as_deref();
        }
        next.map(|within| within.call_number)
    }

    /// The same without this lane, which is in there once at most.
    fn without_lane(self: &Arc<Self>, lane: usize) -> Option<Arc<Self>> {
        if self.lane_id == lane {
            return self.outer.clone();
        }
        let Some(outer) = self.outer.as_ref().filter(|outer| outer.call_number_in(lane).is_some())
        else {
            return Some(Arc::clone(self));
        };
        let outer = outer.without_lane(lane);
        Some(Arc::new(Self { lane_id: self.lane_id, call_number: self.call_number, outer }))
    }
}

fn lane_id(lane: &LaneCore) -> usize {
    std::ptr::from_ref(lane).addr()
}

/// While a worker of a lane makes a call.
pub(super) struct CurrentCallGuard;

impl CurrentCallGuard {
    pub(super) fn enter(lane: &LaneCore, meta: &CallMeta) -> Self {
        let (call, outer) = (meta.number, meta.caller_chain.clone());
        CURRENT.set(Some(CallerChain { lane_id: lane_id(lane), call_number: call, outer }));
        Self
    }
}

impl Drop for CurrentCallGuard {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Calls for which somebody within the lane waits, each with the number of the call that waits for it.
#[derive(Default)]
pub(in crate::lane) struct AwaitedCalls(Mutex<Vec<(Job, u64)>>);

/// While somebody within a lane waits for another of its calls.
pub(in crate::lane) struct ReentrantWait<'a> {
    awaited: &'a AwaitedCalls,
    number: u64,
}

impl<'a> ReentrantWait<'a> {
    /// If this thread is within the lane. If the lane has no worker for one of those calls now, and so never
    /// will have, that one is refused: it need not be this one, since nobody can say who comes to wait last.
    pub(in crate::lane) fn begin(lane: &'a LaneCore, job: impl FnOnce() -> Job) -> Option<Self> {
        let caller = ancestor_call(lane)?;
        let job = job();
        let waiting = Self { awaited: &lane.awaited_calls, number: job.meta().number };
        lane.awaited_calls.0.lock().push((job, caller));
        let has_none = |job: &Job, waiting: usize| {
            waiting >= job.meta().rank().max_in_flight(lane.max_in_flight, lane.urgent_workers)
        };
        if let Some(job) = lane.find_starved(has_none) {
            lane.reject_reentrant(&job);
        }
        // They may hold all the slots too: a look sees to that.
        lane.wake_one();
        Some(waiting)
    }
}

impl Drop for ReentrantWait<'_> {
    fn drop(&mut self) {
        let mut awaited = self.awaited.0.lock();
        let mine = awaited.iter().position(|(job, _)| job.meta().number == self.number);
        let mine = mine.map(|mine| awaited.swap_remove(mine));
        drop(awaited);
        let _ = catch_panic(|| drop(mine));
    }
}

/// The call of the lane that this thread makes, or that led to the one it makes.
fn ancestor_call(lane: &LaneCore) -> Option<u64> {
    CURRENT.with_borrow(|here| here.as_ref()?.call_number_in(lane_id(lane)))
}

/// Whether there is one.
pub(super) fn is_reentrant(lane: &LaneCore) -> bool {
    ancestor_call(lane).is_some()
}

impl LaneCore {
    /// The last of the awaited calls that is queued, and of which `has_none` says that there is no room for it beside
    /// so many calls under way that wait for others.
    fn find_starved(&self, mut has_none: impl FnMut(&Job, usize) -> bool) -> Option<Job> {
        let awaited = self.awaited_calls.0.lock();
        if awaited.is_empty() {
            return None;
        }
        // One whose answer is here waits no more, though its thread may not have noticed.
        let open = awaited.iter().filter(|(job, _)| job.is_pending());
        let callers: BTreeSet<u64> = open.map(|(_, caller)| *caller).collect();
        let waiting = self.in_flight_calls.count(|number| callers.contains(&number));
        let mut last_first = awaited.iter().rev().map(|(job, _)| job);
        last_first.find(|job| job.is_queued() && has_none(job, waiting)).cloned()
    }

    /// An awaited call that waits for a slot which only calls can free that wait for such calls themselves.
    pub(super) fn find_slot_starved(&self, mut has_none: impl FnMut(&Job) -> bool) -> Option<Job> {
        self.find_starved(|job, waiting| waiting >= self.in_flight() && has_none(job))
    }

    /// Refuses a call for which there will be no worker.
    fn reject_reentrant(&self, job: &Job) {
        if self.reject([(Job::clone(job), LaneErrorKind::Reentrant)]) > 0 {
            self.remove(job.meta());
        }
    }
}
