//! Those who sleep where no alarm wakes them: for an answer, a place, or the end of a lane.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::manual::Sleeper;
use super::{Clock, ManualClock};
use crate::quota::Moment;

/// A thread that takes part sleeps where no alarm wakes it. It is awake again when this is dropped, or
/// when the time comes until which it waits.
#[derive(Debug)]
pub(crate) struct Resting {
    clock: ManualClock,
    ring: Sender<()>,
    until: Option<Moment>,
}

impl Resting {
    pub(super) fn on(clock: &ManualClock, until: Option<Moment>) -> Self {
        // Only a name: nobody listens.
        let (ring, _) = bounded(1);
        let sleeper = Sleeper { ring: ring.clone(), asleep: None, hears_rings: false };
        clock.0.lock().sleepers.push(sleeper);
        let resting = Self { clock: clock.clone(), ring, until };
        resting.again();
        resting
    }

    /// It is awake, and may rest again.
    fn rise(&self) {
        self.clock.0.lock().wake(|sleeper| sleeper.is(&self.ring));
    }

    /// It rests, if it does not already.
    fn again(&self) {
        let mut manual = self.clock.0.lock();
        let sleeper = manual.sleepers.iter_mut().find(|sleeper| sleeper.is(&self.ring));
        if let Some(sleeper) = sleeper.filter(|sleeper| sleeper.asleep.is_none()) {
            sleeper.asleep = Some(self.until);
            manual.rest();
        }
    }
}

/// Those who wait for one and the same thing, each of whom looks again when it is told.
#[derive(Debug, Default)]
pub(crate) struct Resters(Vec<Arc<Resting>>);

impl Resters {
    /// One of them is about to sleep, see [`Clock::rest`].
    pub(crate) fn rest(
        &mut self,
        mine: &mut Option<Arc<Resting>>,
        clock: &Clock,
        until: Option<Moment>,
    ) {
        match mine {
            Some(mine) => mine.again(),
            None => {
                *mine = clock.rest(until).map(Arc::new);
                self.0.extend(mine.clone());
            }
        }
    }

    /// They are about to be told, all of them if there are any.
    pub(crate) fn rise(&self) -> bool {
        self.0.iter().for_each(|resting| resting.rise());
        !self.0.is_empty()
    }

    /// One of them waits no more.
    pub(crate) fn leave(&mut self, mine: Option<Arc<Resting>>) {
        if let Some(mine) = mine {
            self.0.retain(|resting| !Arc::ptr_eq(resting, &mine));
        }
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        self.rise();
        let mut manual = self.clock.0.lock();
        manual.sleepers.retain(|sleeper| !sleeper.is(&self.ring));
    }
}
