//! A quota that only some calls are charged to, with a part kept back for the urgent ones.

use super::error::QuotaError;
use super::windows::Quota;

/// A quota beside that of the lane, for the calls that name it. Several lanes may share one.
///
/// Whichever lane asks first takes what is free, whatever waits in the others. So a call that needs more than
/// one free slot of it, several at once or a worker and a slot of its own lane too, may find it taken by another
/// lane each time, for as long as calls come there. Calls that compete for a budget are best in one lane.
///
/// A broker that allows 5000 orders a day refuses number 5001 even if it closes a position. With a
/// reserve, the last slots of each window are only for calls that are urgent.
///
/// ```
/// use lanekeeper::quota::{Budget, Quota};
///
/// let orders = Budget::new(Quota::per_minute(400).and(Quota::per_day(5000))).reserve(20);
/// assert_eq!(orders.reserved(), 20);
/// assert!(orders.check().is_ok());
/// assert!(Budget::new(Quota::per_second(10)).reserve(10).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    quota: Quota,
    reserve: u32,
}

impl Budget {
    /// A budget of `quota`, all of it for everybody.
    pub fn new(quota: Quota) -> Self {
        Self { quota, reserve: 0 }
    }

    /// The last `slots` of each window are only for urgent calls.
    #[must_use]
    pub fn reserve(mut self, slots: u32) -> Self {
        self.reserve = slots;
        self
    }

    /// The quota.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// How many slots of each window are only for urgent calls.
    pub fn reserved(&self) -> u32 {
        self.reserve
    }

    /// Whether the budget can be kept, and leaves something to calls that are not urgent.
    ///
    /// # Errors
    /// See [`Quota::check`]; or the reserve is all of some window.
    pub fn check(&self) -> Result<(), QuotaError> {
        self.quota.check()?;
        match self.quota.windows().iter().find(|window| window.most() <= self.reserve) {
            None => Ok(()),
            Some(window) => {
                Err(QuotaError::Reserve { reserve: self.reserve, window: window.clone() })
            }
        }
    }
}

impl From<Quota> for Budget {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}
