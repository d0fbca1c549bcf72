//! Those who sleep where no alarm wakes them: for an answer, a place, or the end of a lane.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::manual::Sleeper;
use super::{Clock, ManualClock};
use crate::quota::Moment;

/// A thread that takes part sleeps where no alarm wakes it. It is awake again when this is dropped, or
/// when the time comes until which it waits.
#[derive(Debug)]
pub(crate) struct IdleGuard {
    clock: ManualClock,
    wake_tx: Sender<()>,
    until: Option<Moment>,
}

impl IdleGuard {
    pub(super) fn new(clock: &ManualClock, until: Option<Moment>) -> Self {
        // Only a name: nobody listens.
        let (ring, _) = bounded(1);
        let sleeper =
            Sleeper { wake_tx: ring.clone(), parked_until: None, rechecks_on_wake: false };
        clock.0.lock().sleepers.push(sleeper);
        let resting = Self { clock: clock.clone(), wake_tx: ring, until };
        resting.mark_idle();
        resting
    }

    /// It is awake, and may rest again.
    fn mark_active(&self) {
        self.clock.0.lock().wake(|sleeper| sleeper.is_woken_by(&self.wake_tx));
    }

    /// It rests, if it does not already.
    fn mark_idle(&self) {
        let mut manual = self.clock.0.lock();
        let sleeper = manual.sleepers.iter_mut().find(|sleeper| sleeper.is_woken_by(&self.wake_tx));
        if let Some(sleeper) = sleeper.filter(|sleeper| sleeper.parked_until.is_none()) {
            sleeper.parked_until = Some(self.until);
            manual.mark_idle();
        }
    }
}

/// Those who wait for one and the same thing, each of whom looks again when it is told.
#[derive(Debug, Default)]
pub(super) struct IdleSet(Vec<Arc<IdleGuard>>);

impl IdleSet {
    /// One of them is about to sleep, see [`Clock::rest`].
    pub(super) fn mark_idle(
        &mut self,
        mine: &mut Option<Arc<IdleGuard>>,
        clock: &Clock,
        until: Option<Moment>,
    ) {
        match mine {
            Some(mine) => mine.mark_idle(),
            None => {
                *mine = clock.idle_guard(until).map(Arc::new);
                self.0.extend(mine.clone());
            }
        }
    }

    /// They are about to be told, all of them if there are any.
    pub(super) fn mark_all_active(&self) -> bool {
        self.0.iter().for_each(|resting| resting.mark_active());
        !self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them waits no more.
    pub(super) fn remove(&mut self, mine: Option<Arc<IdleGuard>>) {
        if let Some(mine) = mine {
            self.0.retain(|resting| !Arc::ptr_eq(resting, &mine));
        }
    }
}

impl Drop for IdleGuard {
    fn drop(&mut self) {
        self.mark_active();
        let mut manual = self.clock.0.lock();
        manual.sleepers.retain(|sleeper| !sleeper.is_woken_by(&self.wake_tx));
    }
}
