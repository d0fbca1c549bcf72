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
    /// Nothing documented.
    pub fn new() -> Self {
        Self::default()
    }

    /// The quota of the lane `name`. The last word counts.
    #[must_use]
    pub fn lane(mut self, name: impl Into<String>, quota: Quota) -> Self {
        self.lanes.set(name.into(), quota);
        self
    }

    /// The budget `name`. The last word counts.
    #[must_use]
    pub fn budget(mut self, name: impl Into<String>, budget: impl Into<Budget>) -> Self {
        self.budgets.set(name.into(), budget.into());
        self
    }

    /// They are of an account that other processes have used, or may have: what those sent counts. So a proxy with
    /// these limits begins with [`PriorUsage::UNKNOWN`](super::PriorUsage::UNKNOWN), unless it is told what was used.
    #[must_use]
    pub fn shared_account(mut self) -> Self {
        self.shared_account = true;
        self
    }

    /// Whether they are.
    pub fn is_shared_account(&self) -> bool {
        self.shared_account
    }

    /// The quota of the lane `name`, if one is documented.
    pub fn of_lane(&self, name: &str) -> Option<&Quota> {
        self.lanes.get(name)
    }

    /// The budget `name`, if one is documented.
    pub fn of_budget(&self, name: &str) -> Option<&Budget> {
        self.budgets.get(name)
    }

    /// All lanes and their quotas, in the order in which they were written.
    pub fn lanes(&self) -> impl Iterator<Item = (&str, &Quota)> {
        self.lanes.iter()
    }

    /// All budgets, in the order in which they were written.
    pub fn budgets(&self) -> impl Iterator<Item = (&str, &Budget)> {
        self.budgets.iter()
    }
}

/// A handful at most, so a list in the order of writing beats a map.
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
