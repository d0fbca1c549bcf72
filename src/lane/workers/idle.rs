//! For whoever waits until a lane has nothing more to do.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock, IdleSet};
use crate::quota::Moment;

/// Those who wait, and how they are told.
#[derive(Debug, Default)]
pub(in crate::lane) struct IdleSignal {
    waiters: AtomicUsize,
    idle_set: Mutex<IdleSet>,
    changed: Condvar,
}

impl IdleSignal {
    /// Something is over, or the lane's state changed.
    pub(in crate::lane) fn notify(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            // Through the lock, so that who looked just before sleeps already.
            let _ = self.idle_set.lock().mark_all_active();
            self.changed.notify_all();
        }
    }

    /// Waits until it is so, or until `until`. Says which.
    pub(in crate::lane) fn wait(
        &self,
        clock: &Clock,
        until: Moment,
        is_so: impl Fn() -> bool,
    ) -> bool {
        let mut mine = None;
        let mut guard = self.idle_set.lock();
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let settled = loop {
            if is_so() {
                break true;
            }
            if clock.now() >= until {
                break false;
            }
            guard.mark_idle(&mut mine, clock, Some(until));
            let _ = self.changed.wait_for(&mut guard, clock.max_wait(until));
        };
        guard.remove(mine);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        settled
    }
}
