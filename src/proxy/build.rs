//! From settings to running lanes.

use std::fmt;
use std::sync::Arc;

use super::{Inner, Lanes, Observer};
use crate::clock::Clock;
use crate::lane::{Lane, LaneConfig, LaneConfigError};
use crate::quota::Limits;

/// The settings of a proxy's lanes, kept by the generated builder.
pub struct LanesBuilder {
    proxy: &'static str,
    names: &'static [&'static str],
    configs: Vec<Option<LaneConfig>>,
    limits: Limits,
    clock: Clock,
    observer: Option<Arc<dyn Observer>>,
}

impl LanesBuilder {
    /// Nothing set yet. `proxy` is the name of the generated type, for error messages.
    pub fn new(proxy: &'static str, names: &'static [&'static str]) -> Self {
        Self {
            proxy,
            names,
            configs: vec![None; names.len()],
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

    /// Sets the quotas of the lanes that are not set one by one.
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
    /// [`limits`](Self::limits), else the `documented` one.
    ///
    /// # Errors
    /// A lane has no quota or one that cannot work, or a limit names a lane that does not exist.
    pub fn build(self, documented: Limits) -> Result<Lanes, BuildError> {
        for limits in [&self.limits, &documented] {
            self.check_names(limits)?;
        }
        let mut lanes = Vec::with_capacity(self.names.len());
        for (&lane, set) in self.names.iter().zip(self.configs) {
            let by_limits = || {
                let quota = self.limits.of_lane(lane).or_else(|| documented.of_lane(lane));
                quota.cloned().map(LaneConfig::new)
            };
            let missing = BuildError::NoQuota { proxy: self.proxy, lane };
            let config = set.or_else(by_limits).ok_or(missing)?;
            let started = Lane::start(lane, &config, &self.clock, self.observer.clone());
            lanes.push(started.map_err(|source| BuildError::Lane { lane, source })?);
        }
        Ok(Lanes(Arc::new(Inner { lanes, clock: self.clock })))
    }

    /// A quota for a lane that does not exist would guard nothing, and nor would a budget: no method
    /// is charged to one yet.
    fn check_names(&self, limits: &Limits) -> Result<(), BuildError> {
        if let Some((budget, _)) = limits.budgets().next() {
            return Err(BuildError::Budget { proxy: self.proxy, budget: budget.to_owned() });
        }
        match limits.lanes().find(|(name, _)| !self.names.contains(name)) {
            None => Ok(()),
            Some((name, _)) => Err(BuildError::UnknownLane {
                proxy: self.proxy,
                lane: name.to_owned(),
                known: self.names.join(", "),
            }),
        }
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
    /// A limit names a lane that does not exist.
    #[error("{proxy} has no lane `{lane}`; it has: {known}")]
    UnknownLane {
        /// The generated type.
        proxy: &'static str,
        /// The name in the limits.
        lane: String,
        /// The lanes there are.
        known: String,
    },
    /// The limits have a budget, and no method of the trait is charged to one.
    #[error("{proxy} has no budget `{budget}`: methods cannot be charged to budgets yet")]
    Budget {
        /// The generated type.
        proxy: &'static str,
        /// The name in the limits.
        budget: String,
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
