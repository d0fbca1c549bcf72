//! For whoever waits until a lane has nothing more to do.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock, Resters};
use crate::quota::Moment;

/// Those who wait, and how they are told.
#[derive(Debug, Default)]
pub(super) struct Settled {
    waiting: AtomicUsize,
    resters: Mutex<Resters>,
    told: Condvar,
}

impl Settled {
    /// Something is over, or the lane's state changed.
    pub(super) fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Through the lock, so that who looked just before sleeps already.
            let _ = self.resters.lock().rise();
            self.told.notify_all();
        }
    }

    /// Waits until it is so, or until `until`. Says which.
    pub(super) fn wait(&self, clock: &Clock, until: Moment, is_so: impl Fn() -> bool) -> bool {
        let mut mine = None;
        let mut guard = self.resters.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let settled = loop {
            if is_so() {
                break true;
            }
            if clock.now() >= until {
                break false;
            }
            guard.rest(&mut mine, clock, Some(until));
            let _ = self.told.wait_for(&mut guard, clock.longest_sleep(until));
        };
        guard.leave(mine);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        settled
    }
}
