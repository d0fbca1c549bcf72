//! What the lanes of one proxy share: their allowance, and a bell for each.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use super::observer::Watch;
use super::pace_log::{PaceLog, RecordedCall};
use super::shared::Shared;
use crate::clock::Clock;
use crate::contain::contain;
use crate::quota::{Cost, Moment, PacingState};
use crate::session::Listener;

/// The allowance of a proxy, and the lanes that live on it.
pub(crate) struct Pace {
    allowance: Mutex<PacingState>,
    clock: Clock,
    notes: Option<Notes>,
    /// Set once, as soon as all lanes are there.
    lanes: OnceLock<Vec<Weak<Shared>>>,
}

impl Pace {
    pub(crate) fn new(allowance: PacingState, clock: Clock, notes: Option<Notes>) -> Arc<Self> {
        Arc::new(Self { allowance: Mutex::new(allowance), clock, notes, lanes: OnceLock::new() })
    }

    /// Notes a call that is about to be sent, if the next process is to know. No lock is held.
    pub(super) fn note(&self, charge: Cost, watch: &Watch) -> Option<Noted> {
        let notes = self.notes.as_ref()?;
        let number = notes.numbers.fetch_add(1, Ordering::Relaxed);
        let taken = self.clock.wall_clock().timestamp;
        let noted = Noted { number, charge, taken, over: taken };
        if !charge.urgent {
            notes.tell(watch, |log, call| log.taken(call, taken), &noted);
        }
        Some(noted)
    }

    /// A call is over, and its caller has the answer. One that is urgent was not noted before.
    pub(super) fn note_over(&self, noted: &Noted, watch: &Watch) {
        if let Some(notes) = &self.notes {
            let Noted { charge, taken, over, .. } = *noted;
            let note = |log: &dyn PaceLog, call: &RecordedCall<'_>| match charge.urgent {
                true => log.urgent(call, taken, over),
                false => log.finished(call.number, over),
            };
            notes.tell(watch, note, noted);
        }
    }

    /// When a call is over that ends now, and of which something may be on its way for so long.
    pub(super) fn over(&self, lost: Duration) -> Timestamp {
        let now = self.clock.wall_clock().timestamp;
        now.checked_add(lost).unwrap_or(now)
    }

    /// The allowance, and what time it is, read under its lock so that times enter it in order.
    ///
    /// The clock on the wall is asked each time if a window goes by it: it may be set at any moment, or go on
    /// while the machine sleeps and the other clock stands still.
    pub(crate) fn allowance(&self) -> (MutexGuard<'_, PacingState>, Moment) {
        self.allowance_and_time(PacingState::uses_wall_clock)
    }

    /// The same, for whoever is about to change what the windows go by.
    pub(crate) fn allowance_to_change(&self) -> (MutexGuard<'_, PacingState>, Moment) {
        self.allowance_and_time(|_| true)
    }

    fn allowance_and_time(
        &self,
        asks_the_wall: impl FnOnce(&PacingState) -> bool,
    ) -> (MutexGuard<'_, PacingState>, Moment) {
        let mut allowance = self.allowance.lock();
        if asks_the_wall(&allowance) {
            allowance.set_wall_clock(self.clock.wall_clock());
        }
        let now = self.clock.now();
        (allowance, now)
    }

    pub(crate) fn know(&self, lanes: Vec<Weak<Shared>>) {
        let _ = self.lanes.set(lanes);
    }

    /// Wakes the other lanes, if they may wait for what `charge` has held.
    pub(crate) fn ring_others(&self, own: &Shared, charge: Cost) {
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

/// Where calls are noted, and by which names.
pub(crate) struct Notes {
    log: Arc<dyn PaceLog>,
    lanes: &'static [&'static str],
    budgets: &'static [&'static str],
    numbers: AtomicU64,
}

/// A call that was noted, or is to be.
pub(super) struct Noted {
    number: u64,
    charge: Cost,
    taken: Timestamp,
    pub(super) over: Timestamp,
}

impl Notes {
    pub(crate) fn new(
        log: Arc<dyn PaceLog>,
        lanes: &'static [&'static str],
        budgets: &'static [&'static str],
    ) -> Self {
        Self { log, lanes, budgets, numbers: AtomicU64::new(0) }
    }

    fn tell(
        &self,
        watch: &Watch,
        note: impl Fn(&dyn PaceLog, &RecordedCall<'_>) -> io::Result<()>,
        noted: &Noted,
    ) {
        let Noted { number, charge, .. } = noted;
        let lane = self.lanes.get(charge.lane);
        let budgets = charge.distinct_budgets().filter_map(|index| self.budgets.get(index));
        let names: Vec<&'static str> = lane.into_iter().chain(budgets).copied().collect();
        let call = RecordedCall::new(*number, charge.weight.max(1), &names);
        // It is somebody else's code, perhaps.
        let noted = contain(|| note(&*self.log, &call))
            .unwrap_or_else(|panic| Err(io::Error::other(panic)));
        if let Err(error) = noted {
            watch.tell(|observer| observer.pace_log_failed(&error));
        }
    }
}
