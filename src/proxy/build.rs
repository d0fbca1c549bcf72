//! From settings to running lanes.

use std::fmt;
use std::sync::Arc;

use super::{Inner, Lanes, Observer};
use crate::clock::Clock;
use crate::lane::{Lane, LaneConfig, LaneConfigError};
use crate::lane::{Pace, Watch};
use crate::quota::Limits;
use crate::quota::{Allowance, Budget, QuotaError};

/// The settings of a proxy's lanes, kept by the generated builder.
pub struct LanesBuilder {
    proxy: &'static str,
    names: &'static [&'static str],
    budget_names: &'static [&'static str],
    configs: Vec<Option<LaneConfig>>,
    budgets: Vec<Option<Budget>>,
    limits: Limits,
    clock: Clock,
    observer: Option<Arc<dyn Observer>>,
}

impl LanesBuilder {
    /// Nothing set yet. `proxy` is the name of the generated type, for error messages.
    pub fn new(
        proxy: &'static str,
        names: &'static [&'static str],
        budget_names: &'static [&'static str],
    ) -> Self {
        Self {
            proxy,
            names,
            budget_names,
            configs: vec![None; names.len()],
            budgets: vec![None; budget_names.len()],
            limits: Limits::new(),
            clock: Clock::system(),
            observer: None,
        }
    }

    /// Sets one lane, by its index in the names.
    pub fn lane(&mut self, index: usize, config: LaneConfig) {
        if let Some(slot) = self.configs.get_mut(index) {
            *slot = Some(config);
        }
    }

    /// Sets one budget, by its index in the names.
    pub fn budget(&mut self, index: usize, budget: Budget) {
        if let Some(slot) = self.budgets.get_mut(index) {
            *slot = Some(budget);
        }
    }

    /// Sets the quotas of the lanes and budgets that are not set one by one.
    pub fn limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Sets the clock.
    pub fn clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Sets who hears of the calls.
    pub fn observer(&mut self, observer: Arc<dyn Observer>) {
        self.observer = Some(observer);
    }

    /// Starts the lanes. A lane's quota is the one set for it, else the one of
    /// [`limits`](Self::limits), else the `documented` one; a budget's likewise.
    ///
    /// # Errors
    /// A lane or a budget has no quota or one that cannot work, or a limit names one that does not
    /// exist.
    pub fn build(self, documented: Limits) -> Result<Lanes, BuildError> {
        for limits in [&self.limits, &documented] {
            self.check_names(limits)?;
        }
        let Self { proxy, names, budget_names, configs, budgets, limits, clock, observer } = self;
        let mut allowance = Allowance::new(clock.wall());
        let mut ready = Vec::with_capacity(names.len());
        for (&lane, set) in names.iter().zip(configs) {
            let by_limits = || {
                let quota = limits.of_lane(lane).or_else(|| documented.of_lane(lane));
                quota.cloned().map(LaneConfig::new)
            };
            let missing = BuildError::NoQuota { proxy, lane };
            let config = set.or_else(by_limits).ok_or(missing)?;
            let index = allowance.add_lane(config.quota(), config.its_credit());
            let index = index.map_err(|error| BuildError::Lane { lane, source: error.into() })?;
            ready.push((lane, index, config));
        }
        for (&budget, set) in budget_names.iter().zip(budgets) {
            let by_limits = || limits.of_budget(budget).or_else(|| documented.of_budget(budget));
            let missing = BuildError::NoBudget { proxy, budget };
            let quota = set.or_else(|| by_limits().cloned()).ok_or(missing)?;
            let added = allowance.add_budget(&quota);
            added.map_err(|source| BuildError::Budget { budget, source })?;
        }
        let pace = Pace::new(allowance);
        let watch = Watch::new(observer);
        let start = |(lane, index, config): (&'static str, usize, LaneConfig)| {
            Lane::start(lane, index, &config, &clock, &pace, watch.clone())
                .map_err(|source| BuildError::Lane { lane, source })
        };
        let lanes = ready.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        pace.know(lanes.iter().map(|lane| Arc::downgrade(lane.shared())).collect());
        Ok(Lanes(Arc::new(Inner { lanes, budgets: budget_names, pace, clock })))
    }

    /// A quota for a lane or a budget that does not exist would guard nothing.
    fn check_names(&self, limits: &Limits) -> Result<(), BuildError> {
        let unknown = |what, name: &str, known: &[&str]| BuildError::Unknown {
            proxy: self.proxy,
            what,
            name: name.to_owned(),
            known: known.join(", "),
        };
        if let Some((name, _)) = limits.lanes().find(|(name, _)| !self.names.contains(name)) {
            return Err(unknown("lane", name, self.names));
        }
        if let Some((name, _)) =
            limits.budgets().find(|(name, _)| !self.budget_names.contains(name))
        {
            return Err(unknown("budget", name, self.budget_names));
        }
        Ok(())
    }
}

impl fmt::Debug for LanesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanesBuilder")
            .field("proxy", &self.proxy)
            .field("lanes", &self.names)
            .field("configs", &self.configs)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A proxy that could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Nobody said how fast a lane may go.
    #[error(
        "lane `{lane}` of {proxy} has no quota: call `.{lane}(LaneConfig::new(..))` or \
         `.limits(..)` on the builder; for no limit write Quota::unlimited()"
    )]
    NoQuota {
        /// The generated type.
        proxy: &'static str,
        /// The lane.
        lane: &'static str,
    },
    /// Nobody said how large a budget is.
    #[error(
        "budget `{budget}` of {proxy} has no quota: call `.{budget}(Budget::new(..))` or \
         `.limits(..)` on the builder; for no limit write Quota::unlimited()"
    )]
    NoBudget {
        /// The generated type.
        proxy: &'static str,
        /// The budget.
        budget: &'static str,
    },
    /// A limit names a lane or a budget that does not exist.
    #[error("{proxy} has no {what} `{name}`; it has: {known}")]
    Unknown {
        /// The generated type.
        proxy: &'static str,
        /// `lane` or `budget`.
        what: &'static str,
        /// The name in the limits.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A budget that cannot be kept.
    #[error("budget `{budget}`: {source}")]
    Budget {
        /// The budget.
        budget: &'static str,
        /// Why.
        source: QuotaError,
    },
    /// A lane that cannot work.
    #[error("lane `{lane}`: {source}")]
    Lane {
        /// The lane.
        lane: &'static str,
        /// Why.
        source: LaneConfigError,
    },
}
