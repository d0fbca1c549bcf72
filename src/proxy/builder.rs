//! From settings to running lanes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{BudgetSettings, Inner, Lanes, Observer, ProxyConfig};
use crate::Session;
use crate::clock::Clock;
use crate::lane::{Lane, LaneConfig, LaneConfigError, LaneSettings};
use crate::lane::{ObserverHandle, PaceLog, PaceRecorder, RecordedUsage, SharedPacing};
use crate::panic::catch_panic;
use crate::quota::Limits;
use crate::quota::{Budget, PaceSnapshot, PacingState, PriorUsage, QuotaError};
use crate::session::RenewalListener;

/// The settings of a proxy's lanes, kept by the generated builder.
pub struct LanesBuilder {
    proxy: &'static str,
    names: &'static [&'static str],
    budget_names: &'static [&'static str],
    configs: Vec<Option<LaneConfig>>,
    budgets: Vec<Option<Budget>>,
    limits: Limits,
    /// What was said after a lane or a budget was set as a whole, in the order in which it was said.
    lane_overrides: Vec<Vec<LaneSettings>>,
    budget_overrides: Vec<Vec<BudgetSettings>>,
    documented_override: Option<Limits>,
    /// A lane or budget that something was said of and that does not exist.
    unknown_name: Option<(&'static str, String)>,
    clock: Clock,
    observer: Option<Arc<dyn Observer>>,
    session: Option<Session>,
    pace_snapshot: Option<PaceSnapshot>,
    pace_log: Option<Arc<dyn PaceLog>>,
    prior_usage: Option<PriorUsage>,
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
            lane_overrides: vec![Vec::new(); names.len()],
            budget_overrides: vec![Vec::new(); budget_names.len()],
            documented_override: None,
            unknown_name: None,
            clock: Clock::system(),
            observer: None,
            session: None,
            pace_snapshot: None,
            pace_log: None,
            prior_usage: None,
        }
    }

    /// Sets one lane, by its index in the names.
    pub fn lane(&mut self, index: usize, config: LaneConfig) {
        if let Some(slot) = self.configs.get_mut(index) {
            *slot = Some(config);
        }
        if let Some(changes) = self.lane_overrides.get_mut(index) {
            changes.clear();
        }
    }

    /// Sets one budget, by its index in the names.
    pub fn budget(&mut self, index: usize, budget: Budget) {
        if let Some(slot) = self.budgets.get_mut(index) {
            *slot = Some(budget);
        }
        if let Some(changes) = self.budget_overrides.get_mut(index) {
            changes.clear();
        }
    }

    /// Changes lanes and budgets by their names. What is said later counts, here as with the others.
    pub fn config(&mut self, settings: ProxyConfig) {
        let ProxyConfig { documented, lanes, budgets } = settings;
        self.documented_override = documented.or(self.documented_override.take());
        for (name, change) in lanes {
            let index = self.names.iter().position(|known| *known == name);
            match index.and_then(|index| self.lane_overrides.get_mut(index)) {
                Some(changes) => changes.push(change),
                None => self.unknown_name = Some(("lane", name)),
            }
        }
        for (name, change) in budgets {
            let index = self.budget_names.iter().position(|known| *known == name);
            match index.and_then(|index| self.budget_overrides.get_mut(index)) {
                Some(changes) => changes.push(change),
                None => self.unknown_name = Some(("budget", name)),
            }
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

    /// Begins with what another proxy has used of the quotas.
    pub fn pace_snapshot(&mut self, state: PaceSnapshot) {
        self.pace_snapshot = Some(state);
    }

    /// Begins with what is noted there, and notes each call.
    pub fn pace_log(&mut self, log: Arc<dyn PaceLog>) {
        self.pace_log = Some(log);
    }

    /// Says what was sent before, as far as nobody has written it down.
    pub fn prior_usage(&mut self, past: PriorUsage) {
        self.prior_usage = Some(past);
    }

    /// Sets the session that the calls are made in.
    pub fn session(&mut self, session: Session) {
        self.session = Some(session);
    }

    /// Sets the session of the inner value, if it has one and none was set before.
    pub fn session_of_inner(&mut self, session: Option<Session>) {
        self.session = self.session.take().or(session);
    }

    /// Starts the lanes. A lane's quota is the one set for it, else the one of
    /// [`limits`](Self::limits), else the `documented` one; a budget's likewise.
    ///
    /// # Errors
    /// A lane or a budget has no quota or one that cannot work, or a limit or a setting names one that
    /// does not exist.
    pub fn build(self, documented: Limits) -> Result<Lanes, BuildError> {
        if let Some((what, name)) = &self.unknown_name {
            return Err(self.unknown_name_error(what, name));
        }
        let past = self.effective_prior_usage(&documented);
        let documented = self.documented_override.as_ref().unwrap_or(&documented);
        for limits in [&self.limits, documented] {
            self.check_names(limits)?;
        }
        let mut allowance = PacingState::new(self.clock.wall_clock());
        let mut ready = Vec::with_capacity(self.names.len());
        for (index, &lane) in self.names.iter().enumerate() {
            let config = self.lane_config(index, lane, documented)?;
            let index = allowance.add_lane(config.quota(), config.rtt_credit());
            let index = index.map_err(|error| BuildError::Lane { lane, source: error.into() })?;
            ready.push((lane, index, config));
        }
        for (index, &budget) in self.budget_names.iter().enumerate() {
            let added = allowance.add_budget(&self.budget_config(index, budget, documented)?);
            added.map_err(|source| BuildError::Budget { budget, source })?;
        }
        if let Some(state) = &self.pace_snapshot {
            let known =
                |name: &str| self.names.contains(&name) || self.budget_names.contains(&name);
            if let Some(name) = state.names().find(|name| !known(name)) {
                return Err(self.unknown_name_error("lane or budget", name));
            }
            allowance.restore(state, self.names, self.budget_names, self.clock.wall_clock());
        }
        self.restore_usage(&mut allowance, past)?;
        let Self { clock, observer, names, budget_names, session, pace_log, .. } = self;
        let session = session.unwrap_or_else(Session::without_renewal);
        let notes = pace_log.map(|log| PaceRecorder::new(log, names, budget_names));
        let pace = SharedPacing::new(allowance, clock.clone(), notes);
        let watch = ObserverHandle::new(observer);
        let start = |(lane, index, config): (&'static str, usize, LaneConfig)| {
            Lane::start(lane, index, &config, &clock, &pace, watch.clone(), &session)
                .map_err(|source| BuildError::Lane { lane, source })
        };
        let lanes = ready.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        pace.register_lanes(lanes.iter().map(|lane| Arc::downgrade(lane.core())).collect());
        let listener: Arc<dyn RenewalListener> = Arc::<SharedPacing>::clone(&pace);
        session.add_listener(Arc::downgrade(&listener));
        Ok(Lanes(Arc::new(Inner { lanes, budgets: budget_names, limiter: pace, clock, session })))
    }

    /// What may have been sent before. The adapter knows whether its account outlives the process; if it says
    /// nothing of its limits, those that were set do. A clock that is moved by hand has no past.
    fn effective_prior_usage(&self, documented: &Limits) -> PriorUsage {
        let set = self.documented_override.as_ref().unwrap_or(&self.limits);
        let is_silent = documented.lanes().next().is_none();
        // Who keeps a log for the next process has an account that outlives this one.
        let is_of_account = documented.is_shared_account()
            || (is_silent && set.is_shared_account())
            || self.pace_log.is_some();
        // What was handed over is in no log.
        let is_told = self.pace_snapshot.is_some() && self.pace_log.is_none();
        let by_itself = match is_of_account && !is_told && self.clock.is_system() {
            true => PriorUsage::UNKNOWN,
            false => PriorUsage::None,
        };
        self.prior_usage.unwrap_or(by_itself)
    }

    /// Begins with what is noted, and holds still for what nobody knows.
    fn restore_usage(
        &self,
        allowance: &mut PacingState,
        past: PriorUsage,
    ) -> Result<(), BuildError> {
        let wall = self.clock.wall_clock();
        let mut unknown_before = Some(wall.moment);
        if let Some(log) = &self.pace_log {
            let names = self.names.iter().chain(self.budget_names).copied();
            let remember: Vec<_> = names.zip(allowance.retention()).collect();
            let begun = catch_panic(|| log.begin(wall.timestamp, &remember, past));
            let known = begun.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
            let RecordedUsage { used, since } =
                known.map_err(|error| BuildError::PaceLog { error: error.to_string() })?;
            allowance.restore(&used, self.names, self.budget_names, wall);
            unknown_before = since.map(|since| {
                let passed = Duration::try_from(wall.timestamp.duration_since(since));
                wall.moment - passed.unwrap_or_default()
            });
        }
        if let (PriorUsage::Unknown(up_to), Some(before)) = (past, unknown_before) {
            allowance.block_until_forgotten(before, up_to);
        }
        Ok(())
    }

    /// How a lane is run, by all that was said of it.
    fn lane_config(
        &self,
        index: usize,
        lane: &'static str,
        documented: &Limits,
    ) -> Result<LaneConfig, BuildError> {
        let changes = self.lane_overrides.get(index).map_or(&[][..], Vec::as_slice);
        let set = self.configs.get(index).cloned().flatten();
        let by_quota = || {
            let known = self.limits.of_lane(lane).or_else(|| documented.of_lane(lane));
            let said = || changes.iter().find_map(|change| change.quota.as_ref());
            known.or_else(said).cloned().map(LaneConfig::new)
        };
        let missing = BuildError::NoQuota { proxy: self.proxy, lane };
        let config = set.or_else(by_quota).ok_or(missing)?;
        Ok(changes.iter().fold(config, |config, change| change.apply_to(config)))
    }

    /// A budget, likewise.
    fn budget_config(
        &self,
        index: usize,
        budget: &'static str,
        documented: &Limits,
    ) -> Result<Budget, BuildError> {
        let changes = self.budget_overrides.get(index).map_or(&[][..], Vec::as_slice);
        let set = self.budgets.get(index).cloned().flatten();
        let by_quota = || {
            let known = self.limits.of_budget(budget).or_else(|| documented.of_budget(budget));
            let said = || changes.iter().find_map(|change| change.quota.clone());
            known.cloned().or_else(|| said().map(Budget::new))
        };
        let missing = BuildError::NoBudget { proxy: self.proxy, budget };
        let known = set.or_else(by_quota).ok_or(missing)?;
        Ok(changes.iter().fold(known, |known, change| change.apply_to(known)))
    }

    fn unknown_name_error(&self, what: &'static str, name: &str) -> BuildError {
        let known = match what {
            "lane" => join_names(self.names),
            "budget" => join_names(self.budget_names),
            _ => join_names(&[self.names, self.budget_names].concat()),
        };
        let name = name.to_owned();
        BuildError::Unknown { proxy: self.proxy, what, name, known }
    }

    /// A quota for a lane or a budget that does not exist would guard nothing.
    fn check_names(&self, limits: &Limits) -> Result<(), BuildError> {
        if let Some((name, _)) = limits.lanes().find(|(name, _)| !self.names.contains(name)) {
            return Err(self.unknown_name_error("lane", name));
        }
        if let Some((name, _)) =
            limits.budgets().find(|(name, _)| !self.budget_names.contains(name))
        {
            return Err(self.unknown_name_error("budget", name));
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
    /// A limit or a setting names a lane or a budget that does not exist.
    #[error("{proxy} has no {what} `{name}`; it has: {known}")]
    Unknown {
        /// The generated type.
        proxy: &'static str,
        /// `lane`, `budget`, or `lane or budget`.
        what: &'static str,
        /// The name in the limits.
        name: String,
        /// Those there are.
        known: String,
    },
    /// What was noted of the calls of an earlier process cannot be read, or nothing can be noted.
    #[error("the pace log cannot be used: {error}")]
    PaceLog {
        /// What it said.
        error: String,
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

/// The names that there are, for an error.
pub(super) fn join_names(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
