//! Which workers a call may take.
//!
//! When the calls under way hang, an urgent call finds a worker that lesser calls may not take. Reads hang
//! more often than writes, and the looks of a guard for orders without an answer are urgent reads: so urgent
//! reads may take half of these workers, and an exit finds the others.

use super::CallMeta;
use crate::Effect;

/// Which workers a call may take. A later one may take all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lane) enum Rank {
    /// Any call that is not urgent.
    Normal,
    /// An urgent call that changes nothing.
    UrgentRead,
    /// An urgent call that may change something.
    UrgentWrite,
}

impl Rank {
    pub(in crate::lane) const ALL: [Self; 3] = [Self::Normal, Self::UrgentRead, Self::UrgentWrite];

    /// How many calls may be under way as one of this rank begins.
    pub(in crate::lane) fn max_in_flight(
        self,
        max_in_flight: usize,
        urgent_workers: usize,
    ) -> usize {
        match self {
            Self::Normal => max_in_flight,
            Self::UrgentRead => max_in_flight + urgent_workers / 2,
            Self::UrgentWrite => max_in_flight + urgent_workers,
        }
    }
}

impl CallMeta {
    /// Which workers it may take.
    pub(in crate::lane) fn rank(&self) -> Rank {
        match (self.is_urgent(), self.effect) {
            (false, _) => Rank::Normal,
            (true, Effect::Read) => Rank::UrgentRead,
            (true, Effect::Write) => Rank::UrgentWrite,
        }
    }
}
