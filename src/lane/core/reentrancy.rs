//! Reentrant calls: calls that are made from within a call of the same lane.
//!
//! Adapters and observers run on a worker. If such code makes a call through the same lane and waits for the answer,
//! it holds one worker and one slot, and needs another of each. If such calls hold all workers or all slots of a
//! lane, none of them can ever end. Then one of the waiting calls is refused. A call carries the chain of calls that
//! led to it, because the way back may go through another lane.
//!
//! A task that awaits a call within the future of another one waits in the same way. Both futures are polled on one thread.
//!
//! Not detected: calls through another thread or another task, tickets that are awaited as futures, two calls that wait
//! for each other's lanes without one having led to the other, and lanes that hold a budget against each other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::LaneCore;
use crate::lane::call::CallMeta;
use crate::lane::error::LaneErrorKind;
use crate::lane::queue::priority_level::Job;
use crate::panic::catch_panic;

/// A call whose code runs on this thread, and the chain of calls that led to it.
#[derive(Debug, Clone)]
pub(crate) struct CallerChain {
    /// The lane, by its address, which is unique while one of its calls runs.
    lane_id: usize,
    /// The number of the call.
    call_number: u64,
    outer: Option<Arc<CallerChain>>,
}

thread_local! {
    static CURRENT: RefCell<Option<CallerChain>> = const { RefCell::new(None) };
}

/// Reads the call that runs on this thread. In a destructor of a thread that ends there is none.
fn with_current<T>(read: impl FnOnce(&Option<CallerChain>) -> Option<T>) -> Option<T> {
    CURRENT.try_with(|here| read(&here.borrow())).ok().flatten()
}

/// Returns the chain of calls within which this thread makes another call. It has only the last call of each lane, so
/// that it does not grow with calls that queue each other without waiting.
pub(in crate::lane) fn current_chain() -> Option<Arc<CallerChain>> {
    with_current(|here| {
        let CallerChain { lane_id: lane, call_number: call, outer } = here.as_ref()?;
        let outer = outer.as_ref().and_then(|outer| outer.without_lane(*lane));
        Some(Arc::new(CallerChain { lane_id: *lane, call_number: *call, outer }))
    })
}

/// Returns whether this thread executes a call of some lane.
pub(crate) fn is_within_call() -> bool {
    with_current(|here| here.as_ref().map(drop)).is_some()
}

impl CallerChain {
    /// Returns the number of the call of `lane` in the chain.
    fn call_number_in(&self, lane: usize) -> Option<u64> {
        let mut next = Some(self);
        while let Some(within) = next.filter(|within| within.lane_id != lane) {
            next = within.outer.as_deref();
        }
        next.map(|within| within.call_number)
    }

    /// Returns the chain without `lane`, which is in it at most once.
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

/// Marks the thread while it executes a call, or polls the future of one.
pub(super) struct CurrentCallGuard {
    /// A call within which the future is polled.
    outer: Option<CallerChain>,
}

impl CurrentCallGuard {
    pub(super) fn enter(lane: &LaneCore, meta: &CallMeta) -> Self {
        let (call, outer) = (meta.number, meta.caller_chain.clone());
        let current = CallerChain { lane_id: lane_id(lane), call_number: call, outer };
        // Without it, in a destructor of a thread that ends, calls within calls are not recognized.
        let outer = CURRENT.try_with(|here| here.replace(Some(current)));
        Self { outer: outer.unwrap_or_default() }
    }
}

impl Drop for CurrentCallGuard {
    fn drop(&mut self) {
        let outer = self.outer.take();
        let _ = CURRENT.try_with(|here| here.replace(outer));
    }
}

/// The queued calls that other calls of the lane wait for, each with the number of the waiting call.
#[derive(Default)]
pub(in crate::lane) struct AwaitedCalls(Mutex<Vec<(Job, u64)>>);

/// Registers a wait of one call of a lane for another one, until it is dropped.
pub(in crate::lane) struct ReentrantWait<'a> {
    awaited: &'a AwaitedCalls,
    number: u64,
}

impl<'a> ReentrantWait<'a> {
    /// Registers the wait, as [`LaneCore::begin_reentrant_wait`] does.
    pub(in crate::lane) fn begin(lane: &'a LaneCore, job: impl FnOnce() -> Job) -> Option<Self> {
        let number = lane.begin_reentrant_wait(job)?;
        Some(Self { awaited: &lane.awaited_calls, number })
    }
}

impl AwaitedCalls {
    /// Ends the wait for a call.
    pub(in crate::lane) fn end_wait(&self, number: u64) {
        let mut awaited = self.0.lock();
        let ended = awaited.iter().position(|(job, _)| job.meta().number == number);
        let ended = ended.map(|index| awaited.swap_remove(index));
        drop(awaited);
        let _ = catch_panic(|| drop(ended));
    }
}

impl Drop for ReentrantWait<'_> {
    fn drop(&mut self) {
        self.awaited.end_wait(self.number);
    }
}

/// Returns the call of the lane that this thread executes, or that led to it.
fn ancestor_call(lane: &LaneCore) -> Option<u64> {
    with_current(|here| here.as_ref()?.call_number_in(lane_id(lane)))
}

/// Returns whether this thread executes a call of the lane, or one that led from it.
pub(super) fn is_reentrant(lane: &LaneCore) -> bool {
    ancestor_call(lane).is_some()
}

impl LaneCore {
    /// Registers the wait for a call, if this thread executes another call of the lane. Returns the number of the awaited
    /// call, for [`AwaitedCalls::end_wait`].
    ///
    /// If there is no worker for one of the awaited calls, and so never will be, that call is refused. It need not be this
    /// one, because the order of the waits is not defined.
    pub(in crate::lane) fn begin_reentrant_wait(&self, job: impl FnOnce() -> Job) -> Option<u64> {
        let caller = ancestor_call(self)?;
        let job = job();
        let number = job.meta().number;
        self.awaited_calls.0.lock().push((job, caller));
        let has_none = |job: &Job, waiting: usize| {
            let class = job.meta().worker_class();
            waiting >= class.max_in_flight(self.max_in_flight, self.urgent_workers)
        };
        if let Some(job) = self.find_starved(has_none) {
            self.reject_reentrant(&job);
        }
        // The waiting calls may also hold all slots of the quota. The next poll checks that.
        self.wake_one();
        Some(number)
    }

    /// Returns the last awaited call that is still queued and for which `has_none` returns `true`. The second argument
    /// of `has_none` is how many calls in flight wait for other calls.
    fn find_starved(&self, mut has_none: impl FnMut(&Job, usize) -> bool) -> Option<Job> {
        let awaited = self.awaited_calls.0.lock();
        if awaited.is_empty() {
            return None;
        }
        // A call with an answer is awaited no more, although its thread may not have noticed yet.
        let open = awaited.iter().filter(|(job, _)| job.is_pending());
        let callers: BTreeSet<u64> = open.map(|(_, caller)| *caller).collect();
        let waiting = self.in_flight_calls.count(|number| callers.contains(&number));
        let mut last_first = awaited.iter().rev().map(|(job, _)| job);
        last_first.find(|job| job.is_queued() && has_none(job, waiting)).cloned()
    }

    /// Returns an awaited call that waits for a slot which only other waiting calls could free.
    pub(super) fn find_slot_starved(&self, mut has_none: impl FnMut(&Job) -> bool) -> Option<Job> {
        self.find_starved(|job, waiting| waiting >= self.in_flight() && has_none(job))
    }

    /// Refuses a call that would never get a worker.
    fn reject_reentrant(&self, job: &Job) {
        if self.reject([(Job::clone(job), LaneErrorKind::Reentrant)]) > 0 {
            self.remove(job.meta());
        }
    }
}
