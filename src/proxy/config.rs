//! Settings of lanes and budgets by name, for settings that come from outside the code, such as a file.

use crate::lane::LaneConfig;
use crate::quota::{Budget, Limits, Quota, Reserve};
#[cfg(feature = "redis")]
use crate::shared_quota::SharedSettings;

/// Changes to the lanes and budgets of a proxy, by name, for the method `config` of a proxy's builder.
///
/// A lane needs no quota here if the broker documents one. Building the proxy fails if a name does not exist.
///
/// ```
/// use lanekeeper::lane::LaneConfig;
/// use lanekeeper::proxy::ProxyConfig;
/// use lanekeeper::quota::{Quota, Reserve};
///
/// let config = ProxyConfig::new()
///     .lane("quote", LaneConfig::default().in_flight(2))
///     .lane("historical", Quota::per_second(2))
///     .budget("orders", Quota::per_day(2000))
///     .reserve("orders", Reserve::Slots(20));
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    pub(super) documented: Option<Limits>,
    pub(super) lanes: Vec<(String, LaneConfig)>,
    pub(super) budgets: Vec<(String, BudgetChange)>,
    /// The account whose quota is shared with other processes, and how.
    #[cfg(feature = "redis")]
    pub(crate) shared: Option<(String, SharedSettings)>,
}

/// A change to a budget. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BudgetChange {
    pub(super) quota: Option<Quota>,
    pub(super) reserve: Option<Reserve>,
}

impl ProxyConfig {
    /// Returns settings that change nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limits that replace those that the broker behind the proxy documents. They apply to the lanes and
    /// budgets whose quota is not set elsewhere.
    #[must_use]
    pub fn override_documented(mut self, limits: Limits) -> Self {
        self.documented = Some(limits);
        self
    }

    /// Changes the lane `name`. What `config` leaves unset stays as it is.
    #[must_use]
    pub fn lane(mut self, name: impl Into<String>, config: impl Into<LaneConfig>) -> Self {
        let lane = entry(&mut self.lanes, name.into());
        *lane = config.into().or(std::mem::take(lane));
        self
    }

    /// Changes the quota of the budget `name`. Its reserve stays as it is.
    #[must_use]
    pub fn budget(self, name: impl Into<String>, quota: Quota) -> Self {
        self.change_budget(name, Some(quota), None)
    }

    /// Changes the reserve of the budget `name`. Its quota stays as it is.
    #[must_use]
    pub fn reserve(self, name: impl Into<String>, reserve: Reserve) -> Self {
        self.change_budget(name, None, Some(reserve))
    }

    /// Shares the quotas with the other processes that name the same account. The environment variable of the settings is read
    /// when the proxy is built.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn shared(mut self, account: impl Into<String>, settings: SharedSettings) -> Self {
        self.shared = Some((account.into(), settings));
        self
    }

    /// Names the budget `name`, and changes what is given. The name must exist even if nothing is given.
    #[must_use]
    pub(crate) fn change_budget(
        mut self,
        name: impl Into<String>,
        quota: Option<Quota>,
        reserve: Option<Reserve>,
    ) -> Self {
        let budget = entry(&mut self.budgets, name.into());
        budget.quota = quota.or(budget.quota.take());
        budget.reserve = reserve.or(budget.reserve);
        self
    }

    /// Returns the lanes that are named here, with their changes.
    pub fn lanes(&self) -> impl Iterator<Item = (&str, &LaneConfig)> {
        self.lanes.iter().map(|(name, config)| (name.as_str(), config))
    }

    /// Returns the budgets that are named here, each with its new quota and its new reserve.
    pub fn budgets(&self) -> impl Iterator<Item = (&str, Option<&Quota>, Option<Reserve>)> {
        self.budgets
            .iter()
            .map(|(name, change)| (name.as_str(), change.quota.as_ref(), change.reserve))
    }

    /// Returns the limits that replace those that the broker documents.
    pub fn documented_limits(&self) -> Option<&Limits> {
        self.documented.as_ref()
    }
}

/// Returns the entry called `name`, which is added if there is none.
fn entry<T: Default>(entries: &mut Vec<(String, T)>, name: String) -> &mut T {
    let index = entries.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
        entries.push((name, T::default()));
        entries.len() - 1
    });
    &mut entries[index].1
}

impl BudgetChange {
    /// Returns `budget` with this change.
    pub(super) fn apply_to(&self, budget: Budget) -> Budget {
        let quota = self.quota.as_ref().unwrap_or(budget.quota());
        Budget::new(quota.clone()).with_reserve(self.reserve.unwrap_or(budget.reserved()))
    }
}
