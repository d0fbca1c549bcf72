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

use super::band::Job;
use super::error::LaneErrorKind;
use super::job::Info;
use super::shared::Shared;
use crate::contain::contain;

/// A call on whose worker code runs, and the calls that led to it.
#[derive(Debug, Clone)]
pub(crate) struct Within {
    /// Of which lane: where it is in memory, for as long as one of its calls runs.
    lane: usize,
    /// The number of the call.
    call: u64,
    outer: Option<Arc<Within>>,
}

thread_local! {
    static HERE: RefCell<Option<Within>> = const { RefCell::new(None) };
}

/// The calls within which this thread makes another one. Of each lane there is the last alone: one that calls itself
/// again and again, and waits for none, is no chain that grows.
pub(super) fn here() -> Option<Arc<Within>> {
    HERE.with_borrow(|here| {
        let Within { lane, call, outer } = here.as_ref()?;
        let outer = outer.as_ref().and_then(|outer| outer.without(*lane));
        Some(Arc::new(Within { lane: *lane, call: *call, outer }))
    })
}

impl Within {
    /// The number of the last call of a lane in here.
    fn call_of(&self, lane: usize) -> Option<u64> {
        let mut next = Some(self);
        while let Some(within) = next.filter(|within| within.lane != lane) {
            next = within.outer.as_deref();
        }
        next.map(|within| within.call)
    }

    /// The same without this lane, which is in there once at most.
    fn without(self: &Arc<Self>, lane: usize) -> Option<Arc<Self>> {
        if self.lane == lane {
            return self.outer.clone();
        }
        let Some(outer) = self.outer.as_ref().filter(|outer| outer.call_of(lane).is_some()) else {
            return Some(Arc::clone(self));
        };
        let outer = outer.without(lane);
        Some(Arc::new(Self { lane: self.lane, call: self.call, outer }))
    }
}

fn name_of(lane: &Shared) -> usize {
    std::ptr::from_ref(lane).addr()
}

/// While a worker of a lane makes a call.
pub(super) struct Working;

impl Working {
    pub(super) fn on(lane: &Shared, info: &Info) -> Self {
        let (call, outer) = (info.number, info.within.clone());
        HERE.set(Some(Within { lane: name_of(lane), call, outer }));
        Self
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Calls for which somebody within the lane waits, each with the number of the call that waits for it.
#[derive(Default)]
pub(super) struct Awaited(Mutex<Vec<(Job, u64)>>);

/// While somebody within a lane waits for another of its calls.
pub(super) struct Waiting<'a> {
    awaited: &'a Awaited,
    number: u64,
}

impl<'a> Waiting<'a> {
    /// If this thread is within the lane. If the lane has no worker for one of those calls now, and so never
    /// will have, that one is refused: it need not be this one, since nobody can say who comes to wait last.
    pub(super) fn on(lane: &'a Shared, job: impl FnOnce() -> Job) -> Option<Self> {
        let caller = caller_within(lane)?;
        let job = job();
        let waiting = Self { awaited: &lane.awaited, number: job.info().number };
        lane.awaited.0.lock().push((job, caller));
        let has_none = |job: &Job, waiting: usize| {
            waiting >= job.info().rank().most(lane.most_running, lane.urgent_workers)
        };
        if let Some(job) = lane.awaited_without(has_none) {
            lane.refuse_within(&job);
        }
        // They may hold all the slots too: a look sees to that.
        lane.ring();
        Some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut awaited = self.awaited.0.lock();
        let mine = awaited.iter().position(|(job, _)| job.info().number == self.number);
        let mine = mine.map(|mine| awaited.swap_remove(mine));
        drop(awaited);
        let _ = contain(|| drop(mine));
    }
}

/// The call of the lane that this thread makes, or that led to the one it makes.
fn caller_within(lane: &Shared) -> Option<u64> {
    HERE.with_borrow(|here| here.as_ref()?.call_of(name_of(lane)))
}

/// Whether there is one.
pub(super) fn is_within(lane: &Shared) -> bool {
    caller_within(lane).is_some()
}

impl Shared {
    /// The last of the awaited calls that is queued, and of which `has_none` says that there is no room for it beside
    /// so many calls under way that wait for others.
    fn awaited_without(&self, mut has_none: impl FnMut(&Job, usize) -> bool) -> Option<Job> {
        let awaited = self.awaited.0.lock();
        if awaited.is_empty() {
            return None;
        }
        // One whose answer is here waits no more, though its thread may not have noticed.
        let open = awaited.iter().filter(|(job, _)| job.is_open());
        let callers: BTreeSet<u64> = open.map(|(_, caller)| *caller).collect();
        let waiting = self.hands.count(|number| callers.contains(&number));
        let mut last_first = awaited.iter().rev().map(|(job, _)| job);
        last_first.find(|job| job.is_queued() && has_none(job, waiting)).cloned()
    }

    /// An awaited call that waits for a slot which only calls can free that wait for such calls themselves.
    pub(super) fn without_slot(&self, mut has_none: impl FnMut(&Job) -> bool) -> Option<Job> {
        self.awaited_without(|job, waiting| waiting >= self.running() && has_none(job))
    }

    /// Refuses a call for which there will be no worker.
    fn refuse_within(&self, job: &Job) {
        if self.refuse([(Job::clone(job), LaneErrorKind::Reentrant)]) > 0 {
            self.forget(job.info());
        }
    }
}
