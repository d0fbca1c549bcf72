//! The right to make one call, or why there is none now.

use super::cost::Cost;
use super::moment::Moment;
use super::window::Window;

/// The right to send one call now. It holds its slots until it is passed to
/// [`PacingState::finish`](super::PacingState::finish), [`finish_unsent`](super::PacingState::finish_unsent),
/// [`finish_unanswered`](super::PacingState::finish_unanswered) or [`give_back`](super::PacingState::give_back).
///
/// A permit that is dropped holds its slots for ever: then too few calls are sent, never too many.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is dropped holds its slots for ever"]
pub struct Permit {
    pub(super) taken_at: Moment,
    /// When the call was sent. The round trip counts from here.
    pub(super) sent_at: Moment,
    pub(super) cost: Cost,
    /// Whether the call starts on a warm connection.
    pub(super) is_warm: bool,
    /// How many slots of hung calls it took.
    pub(super) borrowed: u64,
}

impl Permit {
    /// Returns when it was taken.
    pub fn taken_at(&self) -> Moment {
        self.taken_at
    }

    /// Returns when the call was sent: when it was taken, unless that was
    /// [postponed](super::PacingState::postpone).
    pub(crate) fn sent_at(&self) -> Moment {
        self.sent_at
    }

    /// Returns the cost that it was taken for.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns how many slots of hung calls it took, beyond the capacity of its windows. Only urgent calls do that.
    /// If the broker counted such a hung call late, it may count this many calls too many.
    pub fn borrowed(&self) -> u64 {
        self.borrowed
    }
}

/// Why no permit is available now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// There is capacity at this moment, and not before, unless an answer arrives earlier.
    #[error("the quota is used up until {0:?}")]
    Until(Moment),
    /// The slots it needs are held by calls in flight: only an answer can free them.
    #[error("too many slots are held by calls in flight")]
    InFlight,
    /// The call costs more than some window ever has, or its lane or a budget does not exist.
    #[error("the call costs more than the quota ever has")]
    Never,
}

impl NotYet {
    /// Returns the result for a call that may be sent if either condition holds.
    pub(super) fn either(one: Result<(), Self>, other: Result<(), Self>) -> Result<(), Self> {
        match (one, other) {
            (Ok(()), _) | (_, Ok(())) => Ok(()),
            (Err(Self::Until(one)), Err(Self::Until(other))) => Err(Self::Until(one.min(other))),
            (until @ Err(Self::Until(_)), _) | (_, until @ Err(Self::Until(_))) => until,
            (Err(Self::InFlight), _) | (_, Err(Self::InFlight)) => Err(Self::InFlight),
            (Err(Self::Never), Err(Self::Never)) => Err(Self::Never),
        }
    }

    /// Returns the result for a call that may be sent only if both conditions hold.
    pub(super) fn both(one: Result<(), Self>, other: Result<(), Self>) -> Result<(), Self> {
        match (one, other) {
            (Ok(()), rest) | (rest, Ok(())) => rest,
            (Err(Self::Until(one)), Err(Self::Until(other))) => Err(Self::Until(one.max(other))),
            (Err(Self::Never), _) | (_, Err(Self::Never)) => Err(Self::Never),
            (Err(_), Err(_)) => Err(Self::InFlight),
        }
    }
}

/// Why a call cannot be sent now, and which quotas block it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{not_yet}")]
pub struct NoCapacity {
    /// When every quota will have capacity.
    #[source]
    pub not_yet: NotYet,
    /// Which quotas have no capacity.
    pub by: BlockedBy,
}

/// What blocks a call: its lane's windows, or specific budgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockedBy {
    /// Only the windows of its lane. Any call of that lane that is sent first makes it wait longer.
    Lane,
    /// These budgets, each with when it has capacity itself, whether or not the lane has capacity. Calls that do not
    /// use these budgets may be sent.
    Budgets(Vec<(usize, NotYet)>),
}

impl NoCapacity {
    /// Returns the budgets that have no capacity.
    pub fn budgets(&self) -> impl Iterator<Item = usize> + '_ {
        let budgets = match &self.by {
            BlockedBy::Lane => &[][..],
            BlockedBy::Budgets(budgets) => budgets,
        };
        budgets.iter().map(|(budget, _)| *budget)
    }

    /// Returns the first moment at which one of the blocking quotas has capacity again, if time alone brings it.
    /// Another call may be possible then.
    pub fn next_change(&self) -> Option<Moment> {
        let until = |not_yet: &NotYet| match not_yet {
            NotYet::Until(until) => Some(*until),
            NotYet::InFlight | NotYet::Never => None,
        };
        match &self.by {
            BlockedBy::Lane => until(&self.not_yet),
            // No call can be sent before the first of them has capacity.
            BlockedBy::Budgets(budgets) => {
                budgets.iter().filter_map(|(_, not_yet)| until(not_yet)).min()
            }
        }
    }
}

/// How much of a window is used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowUse {
    /// The window.
    pub window: Window,
    /// The slots that are not free, in flight or not.
    pub used: u32,
    /// The slots that calls in flight hold.
    pub in_flight: u32,
    /// When there is room for one more call: now, if there is already. `None` if only an answer can free a slot.
    pub next_free: Option<Moment>,
    /// When the whole window is free again, if nothing more is sent. `None` while calls are in flight.
    pub all_free: Option<Moment>,
}
