//! Collects the settings of a proxy and starts its lanes.
//!
//! The builder that `#[proxy]` generates calls it with indices of lanes and budgets, and a configuration with names.
//! All settings are merged and checked before the first thread starts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::build_error::BuildError;
use super::config::BudgetChange;
use super::shared_lanes::{Indices, ProxyLanes, ProxySettings, SharedLanes};
use super::{Lanes, ProxyConfig};
use crate::Session;
use crate::clock::Clock;
use crate::lane::Observer;
use crate::lane::{
    Lane, LaneConfig, ObserverHandle, PaceLog, PaceRecorder, PermitSource, RecordedUsage,
    ResolvedLaneConfig, SharedPacing,
};
use crate::panic::catch_panic;
use crate::quota::Limits;
use crate::quota::{Budget, PaceSnapshot, PacingState, PriorUsage, RttCredit};
use crate::reported_limits::{LimitListener, ReportedLimits};
use crate::session::RenewalListener;
#[cfg(feature = "redis")]
use crate::shared_quota::{self, SharedQuota, SharedSettingsError, SharedSource};

/// What [`BuildError::Unknown`] calls a method whose answers can be kept.
#[cfg(feature = "responses")]
const CACHED_METHOD: &str = "method with `cache`";

/// The settings of a proxy's lanes, kept by the generated builder.
pub struct LanesBuilder {
    proxy: &'static str,
    names: &'static [&'static str],
    budget_names: &'static [&'static str],
    /// What is set for each lane. A later setting replaces an earlier one.
    configs: Vec<LaneConfig>,
    budgets: Vec<Option<Budget>>,
    limits: Limits,
    /// Changes that were made after a budget was set as a whole, in order.
    budget_overrides: Vec<Vec<BudgetChange>>,
    documented_override: Option<Limits>,
    /// A lane or budget that was named and does not exist, with what it was named as.
    unknown_name: Option<(&'static str, String)>,
    clock: Clock,
    observer: Option<Arc<dyn Observer>>,
    session: Option<Session>,
    reported_limits: Option<ReportedLimits>,
    pace_snapshot: Option<PaceSnapshot>,
    pace_log: Option<Arc<dyn PaceLog>>,
    prior_usage: Option<PriorUsage>,
    #[cfg(feature = "redis")]
    shared_quota: Option<SharedQuota>,
    /// Why the settings of a file make no shared quota.
    #[cfg(feature = "redis")]
    shared_settings_error: Option<SharedSettingsError>,
    /// The lanes of another proxy, to use in place of new ones.
    lanes_of: Option<Lanes>,
    /// The last setting that was made of the lanes.
    last_setting: Option<&'static str>,
    settings: ProxySettings,
}

impl LanesBuilder {
    /// Returns a builder with nothing set. `proxy` is the name of the generated type, for error messages.
    pub fn new(
        proxy: &'static str,
        names: &'static [&'static str],
        budget_names: &'static [&'static str],
    ) -> Self {
        Self {
            proxy,
            names,
            budget_names,
            configs: vec![LaneConfig::default(); names.len()],
            budgets: vec![None; budget_names.len()],
            limits: Limits::new(),
            budget_overrides: vec![Vec::new(); budget_names.len()],
            documented_override: None,
            unknown_name: None,
            clock: Clock::system(),
            observer: None,
            session: None,
            reported_limits: None,
            pace_snapshot: None,
            pace_log: None,
            prior_usage: None,
            #[cfg(feature = "redis")]
            shared_quota: None,
            #[cfg(feature = "redis")]
            shared_settings_error: None,
            lanes_of: None,
            last_setting: None,
            settings: ProxySettings::default(),
        }
    }

    /// Names the methods whose answers can be kept, each with for how long by default: `None` is not at all.
    #[cfg(feature = "responses")]
    #[must_use]
    pub fn cached_methods(mut self, methods: &[(&'static str, Option<Duration>)]) -> Self {
        self.settings.responses.methods = methods.to_vec();
        self
    }

    /// Sets for how long the answers of a method are kept. Zero is not at all.
    #[cfg(feature = "responses")]
    pub fn response_ttl(&mut self, method: &str, ttl: Duration) {
        match self.settings.responses.methods.iter_mut().find(|(known, _)| *known == method) {
            Some((_, known)) => *known = Some(ttl),
            None => self.unknown_name = Some((CACHED_METHOD, method.to_owned())),
        }
    }

    /// Sets how much memory the kept answers may take, in bytes.
    #[cfg(feature = "responses")]
    pub fn response_capacity(&mut self, bytes: u64) {
        self.settings.responses.max_capacity = bytes;
    }

    /// Sets one lane, by its index in the names. What `config` leaves unset stays as it is.
    pub fn lane(&mut self, index: usize, config: LaneConfig) {
        self.last_setting = self.names.get(index).copied().or(self.last_setting);
        if let Some(known) = self.configs.get_mut(index) {
            *known = config.or(std::mem::take(known));
        }
    }

    /// Sets one budget as a whole, by its index in the names.
    pub fn budget(&mut self, index: usize, budget: Budget) {
        self.last_setting = self.budget_names.get(index).copied().or(self.last_setting);
        if let Some(slot) = self.budgets.get_mut(index) {
            *slot = Some(budget);
        }
        if let Some(changes) = self.budget_overrides.get_mut(index) {
            changes.clear();
        }
    }

    /// Changes lanes and budgets by name. A later setting replaces an earlier one.
    pub fn config(&mut self, config: ProxyConfig) {
        self.last_setting = Some("config");
        #[cfg(feature = "redis")]
        if let Some((account, settings)) = config.shared {
            match settings.quota(&account, |name| std::env::var(name).ok()) {
                Ok(shared) => {
                    (self.shared_quota, self.shared_settings_error) = (Some(shared), None)
                }
                Err(error) => self.shared_settings_error = Some(error),
            }
        }
        let ProxyConfig { documented, lanes, budgets, .. } = config;
        self.documented_override = documented.or(self.documented_override.take());
        for (name, config) in lanes {
            match self.names.iter().position(|known| *known == name) {
                Some(index) => self.lane(index, config),
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
        self.last_setting = Some("limits");
        self.limits = limits;
    }

    /// Sets the clock.
    pub fn clock(&mut self, clock: Clock) {
        self.last_setting = Some("clock");
        self.clock = clock;
    }

    /// Sets the observer of the calls.
    pub fn observer(&mut self, observer: Arc<dyn Observer>) {
        self.last_setting = Some("observer");
        self.observer = Some(observer);
    }

    /// Starts with what another proxy has used of the quotas.
    pub fn pace_snapshot(&mut self, snapshot: PaceSnapshot) {
        self.last_setting = Some("pace_snapshot");
        self.pace_snapshot = Some(snapshot);
    }

    /// Starts with the calls that are recorded in `log`, and records each call.
    pub fn pace_log(&mut self, log: Arc<dyn PaceLog>) {
        self.last_setting = Some("pace_log");
        self.pace_log = Some(log);
    }

    /// Sets what may have been sent before without being recorded.
    pub fn prior_usage(&mut self, prior_usage: PriorUsage) {
        self.last_setting = Some("prior_usage");
        self.prior_usage = Some(prior_usage);
    }

    /// Sets the session that the calls are made in.
    pub fn session(&mut self, session: Session) {
        self.last_setting = Some("session");
        self.session = Some(session);
    }

    /// Sets the session of the inner value, unless one was set before.
    pub fn session_of_inner(&mut self, session: Option<Session>) {
        self.session = self.session.take().or(session);
    }

    /// Uses the lanes of another proxy, in place of new ones.
    pub fn lanes_of(&mut self, lanes: Lanes) {
        self.lanes_of = Some(lanes);
    }

    /// Attaches the proxy to the lanes of another.
    fn attach(&self, lanes: &Lanes) -> Result<Lanes, BuildError> {
        if let Some(setting) = self.last_setting {
            return Err(BuildError::SharedLanes { proxy: self.proxy, setting });
        }
        let shared = &lanes.0.shared;
        if let Some(reported) = &self.reported_limits {
            let listener: Arc<dyn LimitListener> = Arc::<SharedPacing>::clone(&shared.pacing);
            reported.add_listener(Arc::downgrade(&listener));
        }
        let known_lanes: Vec<_> = lanes.names().collect();
        let find = |what: &'static str, own: &[&str], known: &[&str]| {
            let position = |name: &&str| {
                known.iter().position(|known| known == name).ok_or_else(|| BuildError::NotShared {
                    proxy: self.proxy,
                    what,
                    name: (*name).to_owned(),
                    known: join_names(known),
                })
            };
            own.iter().map(position).collect::<Result<Box<[usize]>, _>>()
        };
        let indices = Indices {
            lanes: find("lane", self.names, &known_lanes)?,
            budgets: find("budget", self.budget_names, shared.budgets)?,
        };
        Ok(Lanes(Arc::new(ProxyLanes::new(Arc::clone(shared), Some(indices), &self.settings))))
    }

    /// Shares the quotas with other processes.
    #[cfg(feature = "redis")]
    pub fn shared(&mut self, shared: SharedQuota) {
        self.last_setting = Some("shared");
        (self.shared_quota, self.shared_settings_error) = (Some(shared), None);
    }

    /// Sets where the broker's own count is reported.
    pub fn reported_limits(&mut self, reported: ReportedLimits) {
        self.last_setting = Some("reported_limits");
        self.reported_limits = Some(reported);
    }

    /// Sets where the inner value reports the broker's own count, unless another place was set before.
    pub fn reported_limits_of_inner(&mut self, reported: Option<ReportedLimits>) {
        self.reported_limits = self.reported_limits.take().or(reported);
    }

    /// Starts the lanes. A lane's quota is the one set for it, else the one of
    /// [`limits`](Self::limits), else the `documented` one; a budget's likewise.
    ///
    /// # Errors
    /// A lane or a budget has no quota, or has settings that are out of range; or a limit or a setting names one that
    /// does not exist.
    ///
    /// With [`lanes_of`](Self::lanes_of) no lane is started. Then it is an error if a lane or a budget of the trait is
    /// not among those of the other proxy, or if anything else was set.
    pub fn build(self, documented: Limits) -> Result<Lanes, BuildError> {
        if let Some((what, name)) = &self.unknown_name {
            return Err(self.unknown_name_error(what, name));
        }
        if let Some(lanes) = &self.lanes_of {
            return self.attach(lanes);
        }
        #[cfg(feature = "redis")]
        if let Some(error) = self.shared_settings_error {
            return Err(BuildError::SharedQuota { source: error });
        }
        let prior_usage = self.effective_prior_usage(&documented);
        let documented = self.documented_override.as_ref().unwrap_or(&documented);
        for limits in [&self.limits, documented] {
            self.check_names(limits)?;
        }
        let mut pacing = PacingState::new(self.clock.wall_clock());
        let mut ready = Vec::with_capacity(self.names.len());
        let mut budgets = Vec::with_capacity(self.budget_names.len());
        for (index, &lane) in self.names.iter().enumerate() {
            let mut config = self.lane_config(index, lane, documented)?;
            if self.is_shared() && !self.has_one_path() {
                // Processes have no common path to the broker.
                config.credit = RttCredit::STRICT;
            }
            let index = pacing.add_lane(&config.quota, config.credit);
            let index = index.map_err(|error| BuildError::Lane { lane, source: error.into() })?;
            // Cannot fail: the lane's configuration was checked with its reserve.
            let _ = pacing.set_lane_reserve(index, config.reserve);
            ready.push((lane, index, config));
        }
        for (index, &budget) in self.budget_names.iter().enumerate() {
            let config = self.budget_config(index, budget, documented)?;
            let added = pacing.add_budget(&config);
            budgets.push(config);
            added.map_err(|source| BuildError::Budget { budget, source })?;
        }
        if let Some(snapshot) = &self.pace_snapshot {
            let known =
                |name: &str| self.names.contains(&name) || self.budget_names.contains(&name);
            if let Some(name) = snapshot.names().find(|name| !known(name)) {
                return Err(self.unknown_name_error("lane or budget", name));
            }
            pacing.restore(snapshot, self.names, self.budget_names, self.clock.wall_clock());
        }
        self.restore_usage(&mut pacing, prior_usage)?;
        let observer = ObserverHandle::new(self.observer.clone());
        #[cfg(feature = "redis")]
        let source = self.shared_source(&ready, &budgets, &observer)?;
        let Self {
            clock, names, budget_names, session, reported_limits, pace_log, settings, ..
        } = self;
        #[cfg(feature = "redis")]
        let shared_quota = self.shared_quota;
        let session = session.unwrap_or_else(Session::without_renewal);
        let recorder = pace_log.map(|log| PaceRecorder::new(log, names, budget_names));
        #[cfg(feature = "redis")]
        let permits = source.clone().map(|source| source as Arc<dyn PermitSource>);
        #[cfg(not(feature = "redis"))]
        let permits: Option<Arc<dyn PermitSource>> = None;
        let pacing = SharedPacing::new(pacing, clock.clone(), recorder, permits);
        let start = |(lane, index, config): (&'static str, usize, ResolvedLaneConfig)| {
            Lane::start(lane, index, &config, &clock, &pacing, observer.clone(), &session)
                .map_err(|source| BuildError::Lane { lane, source })
        };
        let lanes = ready.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        pacing.register_lanes(lanes.iter().map(|lane| Arc::downgrade(lane.core())).collect());
        let listener: Arc<dyn RenewalListener> = Arc::<SharedPacing>::clone(&pacing);
        session.add_listener(Arc::downgrade(&listener));
        if let Some(reported) = reported_limits {
            let listener: Arc<dyn LimitListener> = Arc::<SharedPacing>::clone(&pacing);
            reported.add_listener(Arc::downgrade(&listener));
        }
        #[cfg(feature = "redis")]
        if let Some(source) = source {
            source
                .start(&pacing)
                .map_err(|source| BuildError::SharedQuota { source: source.into() })?;
            if let PriorUsage::Unknown(up_to) = prior_usage {
                let (mut pacing, now) = pacing.lock();
                let unknown_before = now - source.known_for().unwrap_or_default();
                pacing.block_until_forgotten(unknown_before, up_to);
            }
        }
        let shared = SharedLanes::new(lanes, budget_names, pacing, clock, session);
        #[cfg(feature = "redis")]
        let shared = shared.with_shared_quota(shared_quota);
        Ok(Lanes(Arc::new(ProxyLanes::new(Arc::new(shared), None, &settings))))
    }

    /// Returns whether other processes share the quotas.
    fn is_shared(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.shared_quota.is_some();
        #[cfg(not(feature = "redis"))]
        return false;
    }

    /// Returns whether these processes have one path to the broker.
    fn has_one_path(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.shared_quota.as_ref().is_some_and(SharedQuota::has_one_path);
        #[cfg(not(feature = "redis"))]
        return false;
    }

    /// Takes part in the account that shares the quotas.
    #[cfg(feature = "redis")]
    fn shared_source(
        &self,
        lanes: &[(&'static str, usize, ResolvedLaneConfig)],
        budgets: &[Budget],
        observer: &ObserverHandle,
    ) -> Result<Option<Arc<SharedSource>>, BuildError> {
        let Some(shared) = &self.shared_quota else { return Ok(None) };
        let join = || {
            let of_lane = |(name, _, config): &(&str, usize, ResolvedLaneConfig)| {
                shared_quota::scope("lane", name, &config.quota, config.reserve)
            };
            let of_budget = |(name, budget): (&&str, &Budget)| {
                shared_quota::scope("budget", name, budget.quota(), budget.reserved())
            };
            let budgets = self.budget_names.iter().zip(budgets).map(of_budget);
            let scopes = lanes.iter().map(of_lane).chain(budgets).collect::<Result<_, _>>()?;
            shared.join(self.names, scopes, &self.clock, observer)
        };
        let source = join().map_err(|source| BuildError::SharedQuota { source: source.into() })?;
        Ok(Some(Arc::new(source)))
    }

    /// Returns what may have been sent before. The adapter knows whether its account outlives the process. If it
    /// documents no limits, those that were set decide. A clock that is moved by hand has no past.
    fn effective_prior_usage(&self, documented: &Limits) -> PriorUsage {
        let set = self.documented_override.as_ref().unwrap_or(&self.limits);
        let documents_nothing = documented.lanes().next().is_none();
        // A log for the next process implies an account that outlives this one.
        let is_of_account = documented.is_shared_account()
            || (documents_nothing && set.is_shared_account())
            || self.pace_log.is_some();
        // A snapshot alone accounts for all earlier calls.
        let is_handed_over = self.pace_snapshot.is_some() && self.pace_log.is_none();
        let by_default = match is_of_account && !is_handed_over && self.clock.is_system() {
            true => PriorUsage::UNKNOWN,
            false => PriorUsage::None,
        };
        self.prior_usage.unwrap_or(by_default)
    }

    /// Starts with the recorded calls, and blocks the quotas for those that may be missing from the record.
    fn restore_usage(
        &self,
        pacing: &mut PacingState,
        prior_usage: PriorUsage,
    ) -> Result<(), BuildError> {
        let wall = self.clock.wall_clock();
        let mut unknown_before = Some(wall.moment);
        if let Some(log) = &self.pace_log {
            let names = self.names.iter().chain(self.budget_names).copied();
            let retention: Vec<_> = names.zip(pacing.retention()).collect();
            let begun = catch_panic(|| log.begin(wall.timestamp, &retention, prior_usage));
            let recorded = begun.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
            let RecordedUsage { used, since } =
                recorded.map_err(|error| BuildError::PaceLog { error: error.to_string() })?;
            pacing.restore(&used, self.names, self.budget_names, wall);
            unknown_before = since.map(|since| {
                let passed = Duration::try_from(wall.timestamp.duration_since(since));
                wall.moment - passed.unwrap_or_default()
            });
        }
        // What is shared with other processes is known to them.
        let unknown_before = unknown_before.filter(|_| !self.is_shared());
        if let (PriorUsage::Unknown(up_to), Some(before)) = (prior_usage, unknown_before) {
            pacing.block_until_forgotten(before, up_to);
        }
        Ok(())
    }

    /// Returns the settings of a lane, merged from all that was set and documented.
    fn lane_config(
        &self,
        index: usize,
        lane: &'static str,
        documented: &Limits,
    ) -> Result<ResolvedLaneConfig, BuildError> {
        let config = &self.configs[index];
        let known = config.quota().or_else(|| self.limits.of_lane(lane));
        let quota = known.or_else(|| documented.of_lane(lane)).cloned();
        let quota = quota.ok_or(BuildError::NoQuota { proxy: self.proxy, lane })?;
        ResolvedLaneConfig::new(config, quota).map_err(|source| BuildError::Lane { lane, source })
    }

    /// Returns a budget, merged from all that was set and documented.
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
            let changed = || changes.iter().find_map(|change| change.quota.clone());
            known.cloned().or_else(|| changed().map(Budget::new))
        };
        let missing = BuildError::NoBudget { proxy: self.proxy, budget };
        let known = set.or_else(by_quota).ok_or(missing)?;
        Ok(changes.iter().fold(known, |known, change| change.apply_to(known)))
    }

    fn unknown_name_error(&self, what: &'static str, name: &str) -> BuildError {
        let known = match what {
            "lane" => join_names(self.names),
            "budget" => join_names(self.budget_names),
            #[cfg(feature = "responses")]
            CACHED_METHOD => {
                let methods = self.settings.responses.methods.iter().map(|(name, _)| *name);
                join_names(&methods.collect::<Vec<_>>())
            }
            _ => join_names(&[self.names, self.budget_names].concat()),
        };
        let name = name.to_owned();
        BuildError::Unknown { proxy: self.proxy, what, name, known }
    }

    /// Refuses a quota for a lane or a budget that does not exist, since it would guard nothing.
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

/// Lists the names that exist, for an error.
pub(super) fn join_names(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
