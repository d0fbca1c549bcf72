//! Alarms: wakers that a lane wakes at a moment, for code that waits for a time without a thread of its own.
//!
//! The leader sleeps until the next alarm at the latest, and a worker wakes the waker with no lock held. A lane or a
//! proxy that is shut down wakes all of them, so an alarm may ring early, and its owner checks what it waits for.

use std::task::Waker;

use super::{LaneCore, Queue};
use crate::lane::state::LaneState;
use crate::panic::wake_all;
use crate::quota::Moment;

/// The alarms of a lane. There are few: one for each scan that waits for a time.
pub(in crate::lane) type Alarms = Vec<(Moment, Waker)>;

impl Queue {
    /// Returns when the next alarm rings.
    pub(super) fn next_alarm(&self) -> Option<Moment> {
        self.alarms.iter().map(|(at, _)| *at).min()
    }
}

impl LaneCore {
    /// Returns when a deadline passes, an alarm rings or the offer of a turn ends next.
    pub(super) fn next_timed(&self, queue: &Queue) -> Option<Moment> {
        let deadline = queue.scheduler.next_deadline().into_iter();
        deadline.chain(queue.next_alarm()).chain(self.offers.next_end()).min()
    }

    /// Removes and returns the wakers of the alarms that are due.
    pub(super) fn take_due_alarms(&self, queue: &mut Queue) -> Vec<Waker> {
        if queue.alarms.is_empty() {
            return Vec::new();
        }
        let now = self.clock.now();
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut queue.alarms).into_iter().partition(|(at, _)| *at <= now);
        queue.alarms = later;
        due.into_iter().map(|(_, waker)| waker).collect()
    }

    /// Wakes `waker` at `at`, or earlier if the lane or a proxy over it is shut down. Call it with no lock held.
    pub(crate) fn set_alarm(&self, at: Moment, waker: Waker) {
        self.queue.lock().alarms.push((at, waker));
        // The leader may sleep for longer.
        self.wake_one();
        // A lane that was closed in between may have no worker left to poll.
        if self.state() == LaneState::Closed {
            self.ring_all();
        }
    }

    /// Wakes all alarms.
    pub(super) fn ring_all(&self) {
        let alarms = std::mem::take(&mut self.queue.lock().alarms);
        wake_all(alarms.into_iter().map(|(_, waker)| waker));
    }
}
