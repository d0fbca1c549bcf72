//! Permits from outside the process, for calls of a quota that several processes share.
//!
//! A lane takes one beside its own permit, and asks for it with no lock held: a poll that finds none notes what it needs, a
//! worker asks, and polls again. So a call is chosen when the permit is there, as it is without a source.

use std::time::Duration;

use super::shared_mode::SharedQuotaStatus;
use crate::quota::{Budget, Cost, Moment, NoCapacity, Quota, QuotaError};

/// A permit of a source, by its number. It holds its slots until it is ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is dropped holds its slots until its lease ends"]
pub(crate) struct SharedPermit(pub(crate) u64);

/// What a call needs a permit for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PermitRequest {
    pub(crate) cost: Cost,
    /// From 1, the most urgent, to 10.
    pub(crate) priority: u8,
    /// How many calls of this lane wait, with this one.
    pub(crate) waiting: usize,
}

/// How the use of a permit ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PermitEnd {
    /// The call was not sent.
    Unused,
    /// The call ended then. That may be to come, if its request may still be in transit.
    At(Moment),
}

/// Where the lanes of a proxy get permits that several processes share. Its methods, apart from [`ask`](Self::ask), are called
/// under the locks of a lane: they do not block.
pub(crate) trait PermitSource: Send + Sync {
    /// Checks whether a call of this cost may be sent now, as far as that is known without asking.
    fn check(&self, cost: Cost, now: Moment) -> Result<(), NoCapacity>;
    /// Returns when a permit for such a call is expected, if one was denied.
    fn expected_at(&self, cost: Cost, now: Moment) -> Option<Moment>;
    /// Takes a permit that is here. Without one, notes that it is to be asked for.
    fn take(&self, request: PermitRequest, now: Moment) -> Option<SharedPermit>;
    /// Returns whether a worker of this lane is to ask.
    fn has_ask(&self, lane: usize) -> bool;
    /// Asks for one permit, and blocks for a limited time. Call it with no lock held.
    fn ask(&self, lane: usize);
    /// Gives back the permits that no call of this lane has taken.
    fn give_back_unused(&self, lane: usize, now: Moment);
    /// Returns whether a call may still be sent by this permit. After a while it may not: the lease of a process that stood
    /// still may have ended.
    fn is_fresh(&self, permit: &SharedPermit, now: Moment) -> bool;
    /// Ends the use of a permit.
    fn end(&self, permit: SharedPermit, end: PermitEnd, now: Moment);
    /// The broker wants a lane to pause.
    fn pause(&self, lane: usize, pause: Duration);
    /// Replaces the quota of a lane.
    fn set_lane(&self, lane: usize, quota: &Quota) -> Result<(), QuotaError>;
    /// Replaces a budget.
    fn set_budget(&self, budget: usize, to: &Budget) -> Result<(), QuotaError>;
    fn status(&self) -> SharedQuotaStatus;
}
