//! The worker class of a call: how many workers it may use.
//!
//! When the calls in flight hang, an urgent call finds a worker that normal calls may not use. Reads hang more often
//! than writes, and the order guard's lookups of orders without an answer are urgent reads. So urgent reads may use
//! half of these workers, and exits find the other half.

use super::CallMeta;
use crate::Effect;

/// How many workers a call may use. A higher class may use all workers of the lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lane) enum WorkerClass {
    /// A call that is not urgent.
    Normal,
    /// An urgent read.
    UrgentRead,
    /// An urgent write.
    UrgentWrite,
}

impl WorkerClass {
    pub(in crate::lane) const ALL: [Self; 3] = [Self::Normal, Self::UrgentRead, Self::UrgentWrite];

    /// Returns the number of calls in flight below which a call of this class may be dispatched.
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
    /// Returns the class of the call.
    pub(in crate::lane) fn worker_class(&self) -> WorkerClass {
        match (self.is_urgent(), self.effect) {
            (false, _) => WorkerClass::Normal,
            (true, Effect::Read) => WorkerClass::UrgentRead,
            (true, Effect::Write) => WorkerClass::UrgentWrite,
        }
    }
}
