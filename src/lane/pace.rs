//! What the lanes of one proxy share: their allowance, and a bell for each.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::shared::Shared;
use crate::clock::Clock;
use crate::quota::{Allowance, Charge, Moment};
use crate::session::Listener;

/// The allowance of a proxy, and the lanes that live on it.
pub(crate) struct Pace {
    allowance: Mutex<Allowance>,
    clock: Clock,
    /// Set once, as soon as all lanes are there.
    lanes: OnceLock<Vec<Weak<Shared>>>,
}

impl Pace {
    pub(crate) fn new(allowance: Allowance, clock: Clock) -> Arc<Self> {
        Arc::new(Self { allowance: Mutex::new(allowance), clock, lanes: OnceLock::new() })
    }

    /// The allowance, and what time it is, read under its lock so that times enter it in order.
    ///
    /// The clock on the wall is asked each time if a window goes by it: it may be set at any moment, or go on
    /// while the machine sleeps and the other clock stands still.
    pub(crate) fn allowance(&self) -> (MutexGuard<'_, Allowance>, Moment) {
        self.allowance_and_time(Allowance::goes_by_the_wall)
    }

    /// The same, for whoever is about to change what the windows go by.
    pub(crate) fn allowance_to_change(&self) -> (MutexGuard<'_, Allowance>, Moment) {
        self.allowance_and_time(|_| true)
    }

    fn allowance_and_time(
        &self,
        asks_the_wall: impl FnOnce(&Allowance) -> bool,
    ) -> (MutexGuard<'_, Allowance>, Moment) {
        let mut allowance = self.allowance.lock();
        if asks_the_wall(&allowance) {
            allowance.set_wall(self.clock.wall());
        }
        let now = self.clock.now();
        (allowance, now)
    }

    pub(crate) fn know(&self, lanes: Vec<Weak<Shared>>) {
        let _ = self.lanes.set(lanes);
    }

    /// Wakes the other lanes, if they may wait for what `charge` has held.
    pub(crate) fn ring_others(&self, own: &Shared, charge: Charge) {
        if !charge.budgets.is_empty() {
            self.lanes().filter(|lane| lane.index != own.index).for_each(|lane| lane.ring());
        }
    }

    pub(crate) fn ring_all(&self) {
        self.lanes().for_each(|lane| lane.ring());
    }

    fn lanes(&self) -> impl Iterator<Item = Arc<Shared>> {
        self.lanes.get().into_iter().flatten().filter_map(Weak::upgrade)
    }
}

impl Listener for Pace {
    fn session_is_valid(&self) {
        self.ring_all();
    }
}
