//! Alarms: wakers that a lane wakes at a moment, for code that waits for a time without a thread of its own.
//!
//! The leader sleeps until the next alarm at the latest, and a worker wakes the waker with no lock held. A lane or a
//! proxy that is shut down wakes all of them, so an alarm may ring early, and its owner checks what it waits for.

use std::task::Waker;

use super::LaneCore;
use crate::lane::state::LaneState;
use crate::panic::catch_panic;
use crate::quota::Moment;

/// The alarms of a lane. There are few: one for each scan that waits for a time.
#[derive(Default)]
pub(in crate::lane) struct Alarms(Vec<(Moment, Waker)>);

impl Alarms {
    /// Returns when the next alarm rings.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the alarms that are due.
    pub(super) fn take_due(&mut self, now: Moment) -> impl Iterator<Item = Waker> + use<> {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|(at, _)| *at <= now);
        self.0 = later;
        due.into_iter().map(|(_, waker)| waker)
    }
}

impl LaneCore {
    /// Wakes `waker` at `at`, or earlier if the lane or a proxy over it is shut down. Call it with no lock held.
    pub(crate) fn set_alarm(&self, at: Moment, waker: Waker) {
        self.queue.lock().alarms.0.push((at, waker));
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
        ring(alarms.0.into_iter().map(|(_, waker)| waker));
    }
}

/// Wakes the wakers of alarms. A panic of one does not reach the others.
pub(super) fn ring(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        let _ = catch_panic(|| waker.wake());
    }
}
