//! What a call costs: the lane and budgets that it takes slots of, and how many.

use std::fmt;

/// A set of budgets, by the numbers that [`PacingState::add_budget`](super::PacingState::add_budget) gave.
///
/// A cost is copied and compared at each decision of a lane, so the set is one word. That bounds the number of
/// budgets in one pacing state: [`CAPACITY`](Self::CAPACITY).
///
/// ```
/// use lanekeeper::quota::BudgetSet;
///
/// let both = BudgetSet::of(&[0, 3]);
/// assert!(both.contains(3) && !both.contains(1));
/// assert_eq!(both.iter().collect::<Vec<_>>(), [0, 3]);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetSet(u64);

impl BudgetSet {
    /// The set of no budgets.
    pub const EMPTY: Self = Self(0);
    /// How many budgets a pacing state can have.
    pub const CAPACITY: usize = 64;

    /// Returns the set of these budgets. A budget that is named twice is in it once. A number that no pacing state
    /// gives is left out: [`CAPACITY`](Self::CAPACITY) or more.
    pub const fn of(budgets: &[usize]) -> Self {
        let mut bits = 0;
        let mut rest = budgets;
        while let [budget, others @ ..] = rest {
            if *budget < Self::CAPACITY {
                bits |= 1 << *budget;
            }
            rest = others;
        }
        Self(bits)
    }

    /// Adds a budget. Returns whether its number is one that a pacing state gives; otherwise nothing is added.
    #[must_use = "a number that is too large is not added"]
    pub const fn insert(&mut self, budget: usize) -> bool {
        let is_valid = budget < Self::CAPACITY;
        if is_valid {
            self.0 |= 1 << budget;
        }
        is_valid
    }

    /// Returns whether the budget is in the set.
    pub const fn contains(self, budget: usize) -> bool {
        budget < Self::CAPACITY && self.0 & (1 << budget) != 0
    }

    /// Returns whether a budget is in both sets.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns whether no budget is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates over the budgets, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let budget = rest.trailing_zeros();
            rest &= rest.checked_sub(1)?;
            usize::try_from(budget).ok()
        })
    }
}

impl fmt::Debug for BudgetSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The lane and budgets whose slots a call takes, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost {
    /// The lane, by the number that [`PacingState::add_lane`](super::PacingState::add_lane) gave.
    pub lane: usize,
    /// The budgets.
    pub budgets: BudgetSet,
    /// How many slots the call takes in every window. Zero counts as one, so that a forgotten weight does not make
    /// calls free.
    pub weight: u32,
    /// Whether the call may use the reserve of its lane and budgets and the slots of hung calls, and does not wait for
    /// the gap of a spaced quota.
    pub urgent: bool,
}

impl Cost {
    /// Creates the cost of a call of weight one that uses its lane alone.
    pub const fn to_lane(lane: usize) -> Self {
        Self { lane, budgets: BudgetSet::EMPTY, weight: 1, urgent: false }
    }

    pub(super) fn slots(&self) -> u64 {
        u64::from(self.weight.max(1))
    }
}
