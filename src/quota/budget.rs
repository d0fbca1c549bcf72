//! A quota that only some calls use, with an optional reserve for urgent calls.

use std::fmt;

use super::error::QuotaError;
use super::quota::Quota;
use super::window::Window;

/// Upper bound of a reserve in percent. A larger one is a mistake, as most of a budget is for calls that are not
/// urgent.
const MAX_RESERVE_PERCENT: u32 = 50;

/// How much of each window of a budget is only for urgent calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reserve {
    /// This many slots.
    Slots(u32),
    /// This percentage of the window, rounded up, but never all of it.
    Percent(u32),
}

impl Reserve {
    /// Nothing is kept back.
    pub const NONE: Self = Self::Slots(0);

    /// Returns how many slots this is of a window with `most` slots.
    ///
    /// ```
    /// use lanekeeper::quota::Reserve;
    ///
    /// assert_eq!(Reserve::Percent(5).of(400), 20);
    /// assert_eq!(Reserve::Percent(5).of(3), 1);
    /// assert_eq!(Reserve::Percent(5).of(1), 0);
    /// assert_eq!(Reserve::Slots(20).of(400), 20);
    /// ```
    pub fn of(self, most: u32) -> u32 {
        match self {
            Self::Slots(slots) => slots,
            Self::Percent(percent) => {
                let share = (u64::from(most) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(most).min(most.saturating_sub(1))
            }
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
/// use lanekeeper::quota::{Budget, Quota, Reserve};
///
/// let orders = Budget::new(Quota::per_minute(400).and(Quota::per_day(5000))).reserve(20);
/// assert_eq!(orders.reserved(), Reserve::Slots(20));
/// // Of 400 a minute and 5000 a day, 20 and 250.
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
    /// Creates a budget of `quota`, without a reserve.
    pub fn new(quota: Quota) -> Self {
        Self { quota, reserve: Reserve::NONE }
    }

    /// The last `slots` of each window are only for urgent calls.
    #[must_use]
    pub fn reserve(mut self, slots: u32) -> Self {
        self.reserve = Reserve::Slots(slots);
        self
    }

    /// The last `percent` of each window are only for urgent calls, rounded up: of 400 a minute and 5000 a
    /// day, 5 percent are 20 and 250.
    #[must_use]
    pub fn reserve_percent(mut self, percent: u32) -> Self {
        self.reserve = Reserve::Percent(percent);
        self
    }

    pub(crate) fn with_reserve(mut self, reserve: Reserve) -> Self {
        self.reserve = reserve;
        self
    }

    /// The quota.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// How much of each window is only for urgent calls.
    pub fn reserved(&self) -> Reserve {
        self.reserve
    }

    /// Whether the budget can be kept, and leaves something to calls that are not urgent.
    ///
    /// # Errors
    /// See [`Quota::check`]; or the reserve is all of some window, or more than 50 percent.
    pub fn check(&self) -> Result<(), QuotaError> {
        self.quota.check()?;
        let is_too_much = match self.reserve {
            Reserve::Percent(percent) => percent > MAX_RESERVE_PERCENT,
            Reserve::Slots(_) => false,
        };
        let leaves_nothing =
            |window: &&Window| self.reserve.of(window.capacity()) >= window.capacity();
        let mut windows = self.quota.windows().iter();
        match windows.find(|window| is_too_much || leaves_nothing(window)) {
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
