//! The quotas of a broker, by the names of its lanes and budgets.

use super::budget::Budget;
use super::quota::Quota;

/// What a broker documents of its limits: a quota for each lane and each budget, by name.
///
/// ```
/// use lanekeeper::quota::{Budget, Limits, Quota};
///
/// let limits = Limits::new()
///     .lane("transactional", Quota::per_second(10))
///     .lane("quote", Quota::per_second(1))
///     .budget("orders", Quota::per_day(5000));
/// assert_eq!(limits.of_lane("quote"), Some(&Quota::per_second(1)));
/// assert_eq!(limits.of_lane("historical"), None);
/// assert_eq!(limits.of_budget("orders"), Some(&Budget::new(Quota::per_day(5000))));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    lanes: OrderedMap<Quota>,
    budgets: OrderedMap<Budget>,
    shared_account: bool,
}

impl Limits {
    /// Creates empty limits: nothing is documented.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the quota of the lane `name`. A later call replaces it.
    #[must_use]
    pub fn lane(mut self, name: impl Into<String>, quota: Quota) -> Self {
        self.lanes.set(name.into(), quota);
        self
    }

    /// Sets the budget `name`. A later call replaces it.
    #[must_use]
    pub fn budget(mut self, name: impl Into<String>, budget: impl Into<Budget>) -> Self {
        self.budgets.set(name.into(), budget.into());
        self
    }

    /// Marks the limits as those of an account that other processes may have used, so that their calls count too. A
    /// proxy with these limits starts with [`PriorUsage::UNKNOWN`](super::PriorUsage::UNKNOWN), unless its builder
    /// sets the prior usage.
    #[must_use]
    pub fn shared_account(mut self) -> Self {
        self.shared_account = true;
        self
    }

    /// Returns whether other processes may have used the account.
    pub fn is_shared_account(&self) -> bool {
        self.shared_account
    }

    /// Returns the quota of the lane `name`, if one is documented.
    pub fn of_lane(&self, name: &str) -> Option<&Quota> {
        self.lanes.get(name)
    }

    /// Returns the budget `name`, if one is documented.
    pub fn of_budget(&self, name: &str) -> Option<&Budget> {
        self.budgets.get(name)
    }

    /// Returns all lanes and their quotas, in the order in which they were set.
    pub fn lanes(&self) -> impl Iterator<Item = (&str, &Quota)> {
        self.lanes.iter()
    }

    /// Returns all budgets, in the order in which they were set.
    pub fn budgets(&self) -> impl Iterator<Item = (&str, &Budget)> {
        self.budgets.iter()
    }
}

/// A map that keeps the order of insertion. There are only a few entries, so a list is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OrderedMap<T>(Vec<(String, T)>);

impl<T> OrderedMap<T> {
    fn set(&mut self, name: String, value: T) {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
    }

    fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl<T> Default for OrderedMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
