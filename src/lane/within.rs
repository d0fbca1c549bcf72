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
use std::sync::Arc;

use parking_lot::Mutex;

use super::band::Job;
use super::error::Reason;
use super::shared::Shared;
use crate::contain::contain;

/// A lane on whose worker code runs, and the calls that led to its call.
#[derive(Debug, Clone)]
pub(crate) struct Within {
    /// Which lane: where it is in memory, for as long as one of its calls runs.
    lane: usize,
    outer: Option<Arc<Within>>,
}

thread_local! {
    static HERE: RefCell<Option<Within>> = const { RefCell::new(None) };
}

/// The calls within which this thread makes another one. A lane is in there once, however often calls of it led to
/// another: one that calls itself again and again, and waits for none, is no chain that grows.
pub(super) fn here() -> Option<Arc<Within>> {
    HERE.with_borrow(|here| {
        let here = here.as_ref()?;
        match &here.outer {
            Some(outer) if outer.has(here.lane) => Some(Arc::clone(outer)),
            _ => Some(Arc::new(here.clone())),
        }
    })
}

impl Within {
    fn has(&self, lane: usize) -> bool {
        let mut next = Some(self);
        while let Some(within) = next.filter(|within| within.lane != lane) {
            next = within.outer.as_deref();
        }
        next.is_some()
    }
}

fn name_of(lane: &Shared) -> usize {
    std::ptr::from_ref(lane).addr()
}

/// While a worker of `lane` makes a call that `outer` led to.
pub(super) struct Working;

impl Working {
    pub(super) fn on(lane: &Shared, outer: Option<Arc<Within>>) -> Self {
        HERE.set(Some(Within { lane: name_of(lane), outer }));
        Self
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Calls for which somebody within the lane waits: each of those holds a worker.
#[derive(Default)]
pub(super) struct Awaited(Mutex<Vec<Job>>);

/// While somebody within a lane waits for another of its calls.
pub(super) struct Waiting<'a> {
    awaited: &'a Awaited,
    number: u64,
}

impl<'a> Waiting<'a> {
    /// If this thread is within the lane. If the lane has no worker for one of those calls now, and so never
    /// will have, that one is refused: it need not be this one, since nobody can say who comes to wait last.
    pub(super) fn on(lane: &'a Shared, job: impl FnOnce() -> Job) -> Option<Self> {
        if !is_within(lane) {
            return None;
        }
        let job = job();
        let waiting = Self { awaited: &lane.awaited, number: job.info().number };
        let all = {
            let mut awaited = lane.awaited.0.lock();
            awaited.push(job);
            awaited.clone()
        };
        let has_no_worker = |job: &&Job| {
            all.len() >= job.info().rank().most(lane.most_running, lane.urgent_workers)
        };
        let without = all.iter().rev().filter(has_no_worker);
        without.map(|job| lane.refuse_within(job)).find(|was_queued| *was_queued);
        // They may hold all the slots too: a look sees to that.
        lane.ring();
        Some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut awaited = self.awaited.0.lock();
        let mine = awaited.iter().position(|job| job.info().number == self.number);
        let mine = mine.map(|mine| awaited.swap_remove(mine));
        drop(awaited);
        let _ = contain(|| drop(mine));
    }
}

/// Whether this thread makes a call of the lane, or one that such a call led to.
pub(super) fn is_within(lane: &Shared) -> bool {
    HERE.with_borrow(|here| here.as_ref().is_some_and(|here| here.has(name_of(lane))))
}

impl Shared {
    /// A call that waits for a slot which only calls can free that wait for such calls themselves, if there is one.
    pub(super) fn without_slot(&self, mut has_none: impl FnMut(&Job) -> bool) -> Option<Job> {
        let awaited = self.awaited.0.lock();
        if awaited.is_empty() || awaited.len() < self.running() {
            return None;
        }
        awaited.iter().rev().find(|job| job.is_queued() && has_none(job)).cloned()
    }

    /// Refuses a call for which there will be no worker. Says whether it was queued.
    fn refuse_within(&self, job: &Job) -> bool {
        let was_queued = self.refuse([(Job::clone(job), Reason::Reentrant)]) > 0;
        if was_queued {
            self.forget(job.info());
        }
        was_queued
    }
}
