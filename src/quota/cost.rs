//! What a call costs: the lane and budgets that it takes slots of, and how many.

/// The lane and budgets whose slots a call takes, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost {
    /// The lane, by the number that [`PacingState::add_lane`](super::PacingState::add_lane) gave.
    pub lane: usize,
    /// The budgets, by their numbers. A budget that is named twice counts once.
    pub budgets: &'static [usize],
    /// How many slots the call takes in every window. Zero counts as one, so that a forgotten weight does not make
    /// calls free.
    pub weight: u32,
    /// Whether the call may use the reserve of its lane and budgets, need not wait for even spacing, and the slots of hung calls.
    pub urgent: bool,
}

impl Cost {
    /// Creates the cost of a call of weight one that uses its lane alone.
    pub const fn to_lane(lane: usize) -> Self {
        Self { lane, budgets: &[], weight: 1, urgent: false }
    }

    pub(super) fn slots(&self) -> u64 {
        u64::from(self.weight.max(1))
    }

    /// Iterates over the budgets, each once.
    pub(crate) fn distinct_budgets(&self) -> impl Iterator<Item = usize> + use<> {
        let budgets = self.budgets;
        let earlier = move |i: usize| budgets.get(..i).unwrap_or_default();
        budgets
            .iter()
            .enumerate()
            .filter(move |(i, budget)| !earlier(*i).contains(budget))
            .map(|(_, &budget)| budget)
    }
}
