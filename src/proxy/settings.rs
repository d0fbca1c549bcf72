//! Settings of lanes and budgets by name, as they come from outside the code: from a file, say.

use crate::lane::LaneSettings;
use crate::quota::{Budget, Limits, Quota, Reserve};

/// What is to be otherwise in the lanes and budgets of a proxy, by their names; for the method
/// `config` of a proxy's builder.
///
/// A lane needs no quota here if the broker documents one. A name that the proxy does not have is
/// refused when it is built.
///
/// ```
/// use lanekeeper::lane::LaneSettings;
/// use lanekeeper::proxy::{BudgetSettings, ProxyConfig};
/// use lanekeeper::quota::Reserve;
///
/// let mut quotes = LaneSettings::default();
/// quotes.in_flight = Some(2);
/// let mut orders = BudgetSettings::default();
/// orders.reserve = Some(Reserve::Slots(20));
/// let settings = ProxyConfig::new().lane("quote", quotes).budget("orders", orders);
/// # let _ = settings;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    pub(super) documented: Option<Limits>,
    pub(super) lanes: Vec<(String, LaneSettings)>,
    pub(super) budgets: Vec<(String, BudgetSettings)>,
}

impl ProxyConfig {
    /// Everything stays as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// The quotas of the lanes and budgets that are set nowhere else, in place of those that the broker
    /// behind the proxy documents.
    #[must_use]
    pub fn documented(mut self, limits: Limits) -> Self {
        self.documented = Some(limits);
        self
    }

    /// The lane `name`.
    #[must_use]
    pub fn lane(mut self, name: impl Into<String>, settings: LaneSettings) -> Self {
        self.lanes.push((name.into(), settings));
        self
    }

    /// The budget `name`.
    #[must_use]
    pub fn budget(mut self, name: impl Into<String>, settings: BudgetSettings) -> Self {
        self.budgets.push((name.into(), settings));
        self
    }

    /// The lanes that something is said of.
    pub fn lanes(&self) -> impl Iterator<Item = (&str, &LaneSettings)> {
        self.lanes.iter().map(|(name, settings)| (name.as_str(), settings))
    }

    /// The budgets that something is said of.
    pub fn budgets(&self) -> impl Iterator<Item = (&str, &BudgetSettings)> {
        self.budgets.iter().map(|(name, settings)| (name.as_str(), settings))
    }

    /// What stands in for what the broker documents.
    pub fn documented_limits(&self) -> Option<&Limits> {
        self.documented.as_ref()
    }
}

/// Changes to a [`Budget`]: what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetSettings {
    /// See [`Budget::new`].
    pub quota: Option<Quota>,
    /// See [`Budget::reserve`] and [`Budget::reserve_percent`].
    pub reserve: Option<Reserve>,
}

impl BudgetSettings {
    /// `budget`, with these changes.
    #[must_use]
    pub fn apply_to(&self, budget: Budget) -> Budget {
        let reserve = self.reserve.unwrap_or(budget.reserved());
        let quota = self.quota.as_ref().unwrap_or(budget.quota());
        Budget::new(quota.clone()).with_reserve(reserve)
    }
}
