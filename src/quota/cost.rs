//! What a call costs: the lane and budgets that it takes slots of, and how many.

/// What a call is charged to, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost {
    /// The lane, by the number that [`PacingState::add_lane`](super::PacingState::add_lane) gave.
    pub lane: usize,
    /// The budgets, by their numbers. One that is named twice is charged once.
    pub budgets: &'static [usize],
    /// How many slots it takes in every window. Zero is taken as one: nothing is free by being
    /// forgotten.
    pub weight: u32,
    /// It may use the reserve of its budgets, and the slots of calls that hang.
    pub urgent: bool,
}

impl Cost {
    /// A call of weight one that is charged to its lane alone.
    pub const fn to_lane(lane: usize) -> Self {
        Self { lane, budgets: &[], weight: 1, urgent: false }
    }

    pub(super) fn slots(&self) -> u64 {
        u64::from(self.weight.max(1))
    }

    /// Its budgets, each once.
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
