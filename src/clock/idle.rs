//! Idle participants that sleep without a parker: they wait for an answer, a queue slot, or the end of a lane.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::manual::Sleeper;
use super::{Clock, ManualClock};
use crate::quota::Moment;

/// Marks a participating thread idle while it sleeps without a parker. It is active again when the guard is dropped, or
/// when the clock reaches `until`.
#[derive(Debug)]
pub(crate) struct IdleGuard {
    clock: ManualClock,
    wake_tx: Sender<()>,
    until: Option<Moment>,
}

impl IdleGuard {
    pub(super) fn new(clock: &ManualClock, until: Option<Moment>) -> Self {
        // The channel only identifies the sleeper. Nothing receives from it.
        let (wake_tx, _) = bounded(1);
        let sleeper =
            Sleeper { wake_tx: wake_tx.clone(), parked_until: None, rechecks_on_wake: false };
        clock.0.lock().sleepers.push(sleeper);
        let guard = Self { clock: clock.clone(), wake_tx, until };
        guard.mark_idle();
        guard
    }

    /// Marks the thread active. It may become idle again.
    fn mark_active(&self) {
        self.clock.0.lock().wake(|sleeper| sleeper.is_woken_by(&self.wake_tx));
    }

    /// Marks the thread idle, if it is not already.
    fn mark_idle(&self) {
        let mut manual = self.clock.0.lock();
        let sleeper = manual.sleepers.iter_mut().find(|sleeper| sleeper.is_woken_by(&self.wake_tx));
        if let Some(sleeper) = sleeper.filter(|sleeper| sleeper.parked_until.is_none()) {
            sleeper.parked_until = Some(self.until);
            manual.mark_idle();
        }
    }
}

/// The idle threads that wait for the same condition, and re-check it when notified.
#[derive(Debug, Default)]
pub(super) struct IdleSet(Vec<Arc<IdleGuard>>);

impl IdleSet {
    /// Marks a thread idle that is about to sleep, see [`Clock::idle_guard`].
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

    /// Marks all of them active, before they are notified. Returns whether there are any.
    pub(super) fn mark_all_active(&self) -> bool {
        self.0.iter().for_each(|guard| guard.mark_active());
        !self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes a thread that no longer waits.
    pub(super) fn remove(&mut self, mine: Option<Arc<IdleGuard>>) {
        if let Some(mine) = mine {
            self.0.retain(|guard| !Arc::ptr_eq(guard, &mine));
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
