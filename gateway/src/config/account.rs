//! The settings of an account: its upstream, its lanes and budgets, and its preset.

use std::path::PathBuf;
use std::time::Duration;

use lanekeeper::broker::lanes;
use lanekeeper::quota::Limits;
use lanekeeper::{Budget, LaneConfig, Quota, presets};

use super::{RouteConfig, Unmatched};

/// One account at a broker, with its lanes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AccountConfig {
    /// The address of the API, without a path: `https://api.kite.trade`.
    pub upstream: String,
    /// `Some(Preset::Kite)`, or a table of one's own.
    pub preset: Option<Preset>,
    /// How requests are authenticated at the upstream. `None` for the preset `kite`, which has its own.
    pub auth: Option<UpstreamAuth>,
    /// The file with the access token (preset `kite`), read again when it changes. Otherwise `KITE_ACCESS_TOKEN`.
    pub token_file: Option<PathBuf>,
    /// The environment variable with the API key (preset `kite`). The default is `KITE_API_KEY`.
    pub api_key_env: String,
    /// The environment variable with the access token. The default is `KITE_ACCESS_TOKEN`.
    pub access_token_env: String,
    /// The environment variable with the API secret, for a login at run time. The default is `KITE_API_SECRET`.
    pub api_secret_env: String,
    /// The lanes, in their order. In a preset: changes of its lanes.
    pub lanes: Vec<(String, LaneConfig)>,
    /// The budgets, in their order, each with its reserve. In a preset: changes of its budgets.
    pub budgets: Vec<(String, Budget)>,
    /// The routes. In a preset: in addition to its own, which they replace if the pattern is the same.
    pub routes: Vec<RouteConfig>,
    /// What happens to requests that no route describes.
    pub unmatched: Unmatched,
    /// How old a quote from memory may be (preset `kite`). Zero is off. The default is 1 s.
    pub quote_ttl: Duration,
    /// How much memory the kept answers may take, in bytes. The default is 64 MiB.
    pub kept_capacity: u64,
    /// The record of the calls that were made, for the next process: see [`lanekeeper::PaceFile`].
    pub pace: Option<PathBuf>,
    /// The journal of guarded placements (preset `kite`).
    pub journal: Option<PathBuf>,
    /// Whether placements and cancellations pass the order guard (preset `kite`). The default is `true`.
    pub guard: bool,
    /// How long the upstream may take to answer. The default is 7 s.
    pub upstream_timeout: Duration,
}

/// A broker whose routes, lanes and wire are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// Zerodha's Kite Connect v3.
    Kite,
}

impl Preset {
    /// Returns the address of the broker's API.
    pub fn upstream(self) -> &'static str {
        match self {
            Self::Kite => "https://api.kite.trade",
        }
    }

    /// Returns the names of its lanes.
    pub fn lanes(self) -> &'static [&'static str] {
        match self {
            Self::Kite => &lanes::ALL,
        }
    }

    /// Returns the names of its budgets.
    pub fn budgets(self) -> &'static [&'static str] {
        match self {
            Self::Kite => &[lanes::ORDERS],
        }
    }

    /// Returns the limits that the broker documents.
    pub fn limits(self) -> Limits {
        match self {
            Self::Kite => presets::kite(),
        }
    }
}

/// How the gateway authenticates itself at an upstream: a header whose value is `prefix` and the content of an
/// environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamAuth {
    /// The name of the header, in lower case.
    pub header: String,
    /// What precedes the secret, such as `Bearer `.
    pub prefix: String,
    /// The environment variable.
    pub env: String,
}

impl AccountConfig {
    /// Returns an account at this upstream, without lanes or a preset.
    pub fn new(upstream: impl Into<String>) -> Self {
        Self {
            upstream: upstream.into(),
            preset: None,
            auth: None,
            token_file: None,
            api_key_env: "KITE_API_KEY".to_owned(),
            access_token_env: "KITE_ACCESS_TOKEN".to_owned(),
            api_secret_env: "KITE_API_SECRET".to_owned(),
            lanes: Vec::new(),
            budgets: Vec::new(),
            routes: Vec::new(),
            unmatched: Unmatched::Refuse,
            quote_ttl: Duration::from_secs(1),
            kept_capacity: 64 << 20,
            pace: None,
            journal: None,
            guard: true,
            upstream_timeout: Duration::from_secs(7),
        }
    }

    /// Returns an account at Kite, or at a server that speaks its wire. A request that no route describes is sent through
    /// the lane `transactional`.
    pub fn kite(upstream: impl Into<String>) -> Self {
        let unmatched = Unmatched::Lane(lanes::TRANSACTIONAL.to_owned());
        Self { preset: Some(Preset::Kite), unmatched, ..Self::new(upstream) }
    }

    /// Returns the names of its lanes.
    pub fn lane_names(&self) -> Vec<&str> {
        match self.preset {
            Some(preset) => preset.lanes().to_vec(),
            None => self.lanes.iter().map(|(name, _)| name.as_str()).collect(),
        }
    }

    /// Returns the names of its budgets.
    pub fn budget_names(&self) -> Vec<&str> {
        match self.preset {
            Some(preset) => preset.budgets().to_vec(),
            None => self.budgets.iter().map(|(name, _)| name.as_str()).collect(),
        }
    }

    /// Returns the quota of a lane: its own, or that of the preset.
    pub fn quota_of_lane(&self, name: &str) -> Option<Quota> {
        let own = self.lanes.iter().find(|(lane, _)| lane == name);
        let own = own.and_then(|(_, config)| config.quota().cloned());
        own.or_else(|| self.preset?.limits().of_lane(name).cloned())
    }

    /// Returns a budget: its own, or that of the preset.
    pub fn budget(&self, name: &str) -> Option<Budget> {
        let own = self.budgets.iter().find(|(budget, _)| budget == name);
        let own = own.map(|(_, budget)| budget.clone());
        own.or_else(|| self.preset?.limits().of_budget(name).cloned())
    }
}
