//! Waiting until a lane is idle.
//!
//! A drain waits here. Workers call [`IdleSignal::notify`] after each step that may make the lane idle.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::clock::{Clock, TimedCondvar};
use crate::quota::Moment;

/// The threads that wait until the lane is idle.
#[derive(Debug, Default)]
pub(in crate::lane) struct IdleSignal {
    waiters: AtomicUsize,
    lock: Mutex<()>,
    changed: TimedCondvar,
}

impl IdleSignal {
    /// Notifies the waiters that a call has ended, or that the lane's state has changed.
    pub(in crate::lane) fn notify(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            // With the lock: a waiter that checked its condition before this change sleeps by now.
            self.changed.notify_all(self.lock.lock());
        }
    }

    /// Blocks until `is_idle` holds or `deadline` passes. Returns whether it held.
    pub(in crate::lane) fn wait(
        &self,
        clock: &Clock,
        deadline: Moment,
        is_idle: impl Fn() -> bool,
    ) -> bool {
        let mut guard = self.lock.lock();
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let was_idle = self.changed.wait_while(&mut guard, clock, Some(deadline), |()| !is_idle());
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        was_idle
    }
}
