//! Rate limits: the counters, and the ledger that applies them and records what arrived.

pub(crate) mod counter;
pub(crate) mod ledger;
