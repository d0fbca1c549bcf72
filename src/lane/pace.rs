//! What the lanes of one proxy share: their allowance, and a bell for each.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::shared::Shared;
use crate::quota::{Allowance, Charge};

/// The allowance of a proxy, and the lanes that live on it.
pub(crate) struct Pace {
    pub(crate) allowance: Mutex<Allowance>,
    /// Set once, as soon as all lanes are there.
    lanes: OnceLock<Vec<Weak<Shared>>>,
}

impl Pace {
    pub(crate) fn new(allowance: Allowance) -> Arc<Self> {
        Arc::new(Self { allowance: Mutex::new(allowance), lanes: OnceLock::new() })
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
