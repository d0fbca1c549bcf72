//! The right to make one call, or why there is none now.

use super::cost::Cost;
use super::moment::Moment;
use super::window::Window;

/// The right to make one call now. It holds its slots until it is given to
/// [`PacingState::finish`](super::PacingState::finish),
/// [`finish_unsent`](super::PacingState::finish_unsent),
/// [`finish_unanswered`](super::PacingState::finish_unanswered) or
/// [`give_back`](super::PacingState::give_back).
///
/// A permit that is lost holds its slots for ever: too few calls go out, never too many.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is dropped holds its slots for ever"]
pub struct Permit {
    pub(super) taken_at: Moment,
    pub(super) charge: Cost,
    /// It begins on a path in use.
    pub(super) is_warm: bool,
    /// What it took of the slots of hung calls.
    pub(super) borrowed: u64,
}

impl Permit {
    /// When it was taken.
    pub fn taken_at(&self) -> Moment {
        self.taken_at
    }

    /// What it was taken for.
    pub fn charge(&self) -> Cost {
        self.charge
    }

    /// By how many slots it is beyond what its windows hold, because it took those of calls that hang.
    /// Only an urgent call does. At a broker that counts one of them late, as many calls may be one too
    /// many.
    pub fn borrowed(&self) -> u64 {
        self.borrowed
    }
}

/// No permit now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// At this moment, and no sooner, unless an answer comes in before.
    #[error("the quota is used up until {0:?}")]
    Until(Moment),
    /// The slots it needs are held by calls in flight: only an answer can free them.
    #[error("too many slots are held by calls in flight")]
    InFlight,
    /// It costs more than some window ever has, or its lane or a budget does not exist.
    #[error("the call costs more than the quota ever has")]
    Never,
}

impl NotYet {
    /// What holds for a call that has two ways to go.
    pub(super) fn either(one: Result<(), Self>, other: Result<(), Self>) -> Result<(), Self> {
        match (one, other) {
            (Ok(()), _) | (_, Ok(())) => Ok(()),
            (Err(Self::Until(one)), Err(Self::Until(other))) => Err(Self::Until(one.min(other))),
            (until @ Err(Self::Until(_)), _) | (_, until @ Err(Self::Until(_))) => until,
            (Err(Self::InFlight), _) | (_, Err(Self::InFlight)) => Err(Self::InFlight),
            (Err(Self::Never), Err(Self::Never)) => Err(Self::Never),
        }
    }

    /// What holds for a call that has to satisfy both.
    pub(super) fn both(one: Result<(), Self>, other: Result<(), Self>) -> Result<(), Self> {
        match (one, other) {
            (Ok(()), rest) | (rest, Ok(())) => rest,
            (Err(Self::Until(one)), Err(Self::Until(other))) => Err(Self::Until(one.max(other))),
            (Err(Self::Never), _) | (_, Err(Self::Never)) => Err(Self::Never),
            (Err(_), Err(_)) => Err(Self::InFlight),
        }
    }
}

/// A refusal, and who refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{not_yet}")]
pub struct NoCapacity {
    /// When there will be room everywhere.
    #[source]
    pub not_yet: NotYet,
    /// Where there is none.
    pub by: BlockedBy,
}

/// Where a call finds no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockedBy {
    /// In the windows of its lane, and there alone. Whoever goes before it makes it wait longer.
    Lane,
    /// In these budgets, each with when it has room by itself, and whether the lane has room or not. Those
    /// who are not charged to them may go.
    Budgets(Vec<(usize, NotYet)>),
}

impl NoCapacity {
    /// The budgets that have no room.
    pub fn budgets(&self) -> impl Iterator<Item = usize> + '_ {
        let budgets = match &self.by {
            BlockedBy::Lane => &[][..],
            BlockedBy::Budgets(budgets) => budgets,
        };
        budgets.iter().map(|(budget, _)| *budget)
    }

    /// The first moment at which one of those in the way has room, if it is not an answer that makes it:
    /// something may be possible then that is not now.
    pub fn next_change(&self) -> Option<Moment> {
        let until = |not_yet: &NotYet| match not_yet {
            NotYet::Until(until) => Some(*until),
            NotYet::InFlight | NotYet::Never => None,
        };
        match &self.by {
            BlockedBy::Lane => until(&self.not_yet),
            // Room everywhere comes no sooner than in the first of them.
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
    /// From when on there is room for one more: now, if there is. None if only an answer can make
    /// room.
    pub next_free: Option<Moment>,
    /// From when on all of it is free again, if nothing more is sent. None while calls are in flight.
    pub all_free: Option<Moment>,
}
