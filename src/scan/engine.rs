//! The engine of a scan: what its handles share. It has the controls, and `drive.rs` submits the calls.
//!
//! # Locks
//!
//! The lock of the engine is taken before those of a lane, and no lane calls it with a lock held. Calls are submitted and
//! cancelled, wakers woken, and user data dropped without it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::event_log::StateChange;
use super::inner::Inner;
use super::progress::{Pace, ScanProgress, ScanState};
use crate::clock::{Clock, TimedCondvar};
use crate::lane::{CallOptions, LaneError};
use crate::panic::catch_panic;
use crate::proxy::{Classify, LaneCall, Lanes};
use crate::session::RenewalListener;

/// What a scan asks for, and how. The queued calls share it with the scan.
pub(super) struct Plan<I, R, E> {
    pub(super) items: Box<[I]>,
    pub(super) work: Box<Work<I, R, E>>,
}

type Work<I, R, E> = dyn Fn(&I) -> Result<R, E> + Send + Sync;

/// How the calls of a scan are sent.
pub(super) struct Calls {
    /// What the lanes have to know of the call of each item.
    pub(super) of_items: Box<[Arc<LaneCall>]>,
    pub(super) options: CallOptions,
    /// How many are queued or in flight at once.
    pub(super) at_once: usize,
}

/// One scan.
pub(super) struct Engine<I, R, E> {
    pub(super) me: Weak<Self>,
    pub(super) plan: Arc<Plan<I, R, E>>,
    pub(super) calls: Calls,
    pub(super) clock: Clock,
    pub(super) inner: Mutex<Inner<R, E>>,
    /// Notified of each event.
    pub(super) changed: TimedCondvar,
}

impl<I, R, E> Engine<I, R, E> {
    pub(super) fn items(&self) -> &[I] {
        &self.plan.items
    }

    pub(super) fn state(&self) -> ScanState {
        self.inner.lock().state
    }

    pub(super) fn cancel(&self) {
        let mut inner = self.inner.lock();
        if inner.state.is_over() {
            return;
        }
        let ended = inner.end(ScanState::Cancelled, StateChange::Cancelled);
        self.publish(inner);
        // Dropping the ticket of a read cancels its call.
        drop(ended);
    }

    pub(super) fn progress(&self) -> ScanProgress {
        let inner = self.inner.lock();
        let (done, failed) = inner.log.counts();
        let (state, total) = (inner.state, self.items().len());
        let position = inner.position();
        let at_pace = inner.pace.time_for(total - done).unwrap_or_default();
        let to_submit = inner.agenda.len();
        let is_stopped = state != ScanState::Running || inner.agenda.is_held();
        let next = inner.agenda.first().or(inner.under_way.keys().last().copied());
        let lanes = inner.lanes.clone().filter(|_| !is_stopped);
        drop(inner);
        let by_lane = lanes.and_then(|lanes| {
            let call = self.calls.of_items.get(next?)?;
            lanes.estimated_wait_of_more(to_submit.max(1), call, &self.calls.options)
        });
        let estimated_wait = match state {
            ScanState::Done => Some(Duration::ZERO),
            _ => by_lane.map(|by_lane| by_lane.max(at_pace)),
        };
        ScanProgress { state, done, failed, total, position, estimated_wait }
    }

    /// Ends the scan if every item has its result. Releases the lock, and publishes the events.
    pub(super) fn publish_or_finish(&self, mut inner: MutexGuard<'_, Inner<R, E>>) {
        let is_done = inner.log.is_complete() && !inner.state.is_over();
        let ended = is_done.then(|| inner.end(ScanState::Done, StateChange::Done));
        self.publish(inner);
        drop(ended);
    }

    /// Releases the lock, and wakes everything that waits for an event.
    fn publish(&self, mut inner: MutexGuard<'_, Inner<R, E>>) {
        let tasks = inner.tasks.take();
        self.changed.notify_all(inner);
        for waker in tasks.into_values() {
            let _ = catch_panic(|| waker.wake());
        }
    }
}

impl<I, R, E> Engine<I, R, E>
where
    I: Send + Sync + 'static,
    R: Send + Sync + 'static,
    E: From<LaneError> + Classify + Send + Sync + 'static,
{
    pub(super) fn new(lanes: Lanes, plan: Plan<I, R, E>, calls: Calls) -> Arc<Self> {
        let clock = lanes.clock().clone();
        let inner = Inner::new(lanes, plan.items.len(), clock.now());
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            plan: Arc::new(plan),
            calls,
            clock,
            inner: Mutex::new(inner),
            changed: TimedCondvar::default(),
        })
    }

    /// Submits the first calls.
    pub(super) fn start(&self) {
        let session = self.inner.lock().lanes.as_ref().map(|lanes| lanes.session().clone());
        let listener: Weak<dyn RenewalListener> = Weak::<Self>::clone(&self.me);
        session.iter().for_each(|session| session.add_listener(Weak::clone(&listener)));
        self.publish_or_finish(self.inner.lock());
        self.drive();
    }

    pub(super) fn pause(&self) {
        let mut inner = self.inner.lock();
        if inner.state != ScanState::Running {
            return;
        }
        inner.state = ScanState::Paused;
        inner.log.push_state_change(StateChange::Paused);
        let tickets = inner.take_tickets();
        self.publish(inner);
        // The latest calls first: the earlier ones may be sent meanwhile.
        tickets.into_iter().rev().for_each(|(item, ticket)| self.take_back(item, ticket));
        // The scan may have been resumed meanwhile.
        self.drive();
    }

    pub(super) fn resume(&self) {
        let mut inner = self.inner.lock();
        if inner.state != ScanState::Paused {
            return;
        }
        inner.state = ScanState::Running;
        inner.log.push_state_change(StateChange::Resumed);
        inner.pace = Pace::new(self.clock.now());
        inner.agenda.release();
        self.publish(inner);
        self.drive();
    }
}
