//! A quota to which only some calls are charged, with a reserve for the urgent ones.

use std::fmt;

use super::error::QuotaError;
use super::quota::Quota;
use super::window::Window;

/// Upper bound for a reserve in percent. A larger one is a mistake, since most of a budget is for calls that are not
/// urgent.
const MAX_RESERVE_PERCENT: u32 = 50;

/// The part of each window of a budget or a lane that is only for urgent calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reserve {
    /// A number of slots.
    Slots(u32),
    /// A percentage of the window's slots, rounded up, but never all of them.
    Percent(u32),
}

impl Reserve {
    /// No reserve.
    pub const NONE: Self = Self::Slots(0);

    /// Returns the number of slots to reserve in a window of `capacity` slots.
    ///
    /// ```
    /// use lanekeeper::quota::Reserve;
    ///
    /// assert_eq!(Reserve::Percent(5).of(400), 20);
    /// assert_eq!(Reserve::Percent(5).of(3), 1);
    /// assert_eq!(Reserve::Percent(5).of(1), 0);
    /// assert_eq!(Reserve::Slots(20).of(400), 20);
    /// ```
    pub fn of(self, capacity: u32) -> u32 {
        match self {
            Self::Slots(slots) => slots,
            Self::Percent(percent) => {
                let share = (u64::from(capacity) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(capacity).min(capacity.saturating_sub(1))
            }
        }
    }
}

impl Reserve {
    /// Checks that the reserve leaves slots of each window to calls that are not urgent.
    pub(crate) fn check<'a>(
        self,
        windows: impl IntoIterator<Item = &'a Window>,
    ) -> Result<(), QuotaError> {
        let is_too_much = match self {
            Self::Percent(percent) => percent > MAX_RESERVE_PERCENT,
            Self::Slots(_) => false,
        };
        let leaves_nothing = |window: &&Window| self.of(window.capacity()) >= window.capacity();
        let mut windows = windows.into_iter();
        match windows.find(|window| is_too_much || leaves_nothing(window)) {
            None => Ok(()),
            Some(window) => Err(QuotaError::Reserve { reserve: self, window: window.clone() }),
        }
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots(slots) => write!(f, "{slots}"),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

/// A quota in addition to that of the lane, for the calls that name it. Several lanes may share a budget.
///
/// # Starvation
///
/// The lane that polls first takes a free slot, whatever waits in the other lanes. So a call that needs more than
/// one free slot of the budget (several at once, or also a worker and a slot of its own lane) may lose to another
/// lane each time, as long as calls arrive there. Calls that compete for a budget should therefore be in one lane.
///
/// # Reserve
///
/// A broker that allows 5000 orders a day refuses number 5001 even if it closes a position. With a
/// reserve, the last slots of each window are only for urgent calls.
///
/// ```
/// use lanekeeper::quota::{Budget, Quota, Reserve};
///
/// let orders = Budget::new(Quota::per_minute(400).and(Quota::per_day(5000))).reserve(20);
/// assert_eq!(orders.reserved(), Reserve::Slots(20));
/// // 20 of 400 a minute, and 250 of 5000 a day.
/// assert_eq!(orders.clone().reserve_percent(5).reserved(), Reserve::Percent(5));
/// assert!(orders.check().is_ok());
/// assert!(Budget::new(Quota::per_second(10)).reserve(10).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    quota: Quota,
    reserve: Reserve,
}

impl Budget {
    /// Returns a budget of `quota` without a reserve.
    pub fn new(quota: Quota) -> Self {
        Self { quota, reserve: Reserve::NONE }
    }

    /// Reserves the last `slots` of each window for urgent calls.
    #[must_use]
    pub fn reserve(mut self, slots: u32) -> Self {
        self.reserve = Reserve::Slots(slots);
        self
    }

    /// Reserves the last `percent` of each window for urgent calls, rounded up. 5 percent of 400 a minute and of 5000 a
    /// day are 20 and 250.
    #[must_use]
    pub fn reserve_percent(mut self, percent: u32) -> Self {
        self.reserve = Reserve::Percent(percent);
        self
    }

    pub(crate) fn with_reserve(mut self, reserve: Reserve) -> Self {
        self.reserve = reserve;
        self
    }

    /// Returns the quota.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Returns the part of each window that is only for urgent calls.
    pub fn reserved(&self) -> Reserve {
        self.reserve
    }

    /// Checks that the budget can be kept, and that the reserve leaves slots to calls that are not urgent.
    ///
    /// # Errors
    /// The errors of [`Quota::check`]; or the reserve is a whole window, or more than 50 percent.
    pub fn check(&self) -> Result<(), QuotaError> {
        self.quota.check()?;
        self.reserve.check(self.quota.windows())
    }
}

impl From<Quota> for Budget {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}
