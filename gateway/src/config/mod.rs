//! The settings of a gateway, as values, from code or from a file.
//!
//! - `file` and `account_file` read a file, and know its keys.
//! - `check` and `account_check` check what the settings mean together. `forms` has the forms of texts.
//!
//! Nothing here opens a socket or reads an environment variable. A secret is never a setting: a setting names the
//! environment variable or the file that has it, or is the hash of a client's key.

mod account_check;
mod account_file;
mod check;
mod file;
mod forms;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use lanekeeper::broker::lanes;
use lanekeeper::lane::Priority;
use lanekeeper::quota::Limits;
use lanekeeper::{Budget, Effect, LaneConfig, Quota, presets};

/// The settings of a gateway.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// Where it listens. The default is `127.0.0.1:8800`.
    pub listen: SocketAddr,
    /// The accounts, by name. A client uses the account that its entry names, or the only one.
    pub accounts: BTreeMap<String, AccountConfig>,
    /// The clients, by name. Without any, the gateway listens on loopback only, and takes the `api_key` of a request for
    /// the name of its user.
    pub clients: BTreeMap<String, ClientConfig>,
    /// The tiers that clients can have, by name.
    pub tiers: BTreeMap<String, TierConfig>,
    /// The hash of the admin key. Without it, nothing can be paused, resumed or logged in through the gateway.
    pub admin_key: Option<String>,
    /// Names under which clients reach the gateway, beside its address and `localhost`: for the check of `Host`.
    pub hosts: Vec<String>,
    /// The addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Limits and timeouts of connections and requests.
    pub door: DoorConfig,
}

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

/// One row of a route table.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// A method and a path with wildcards, as in `GET /stock/*`: see [`lanekeeper::RouteTable`].
    pub pattern: String,
    /// What happens to its requests.
    pub action: RouteAction,
}

impl RouteConfig {
    /// Returns the method of its pattern, which is `*` for any.
    pub fn method(&self) -> &str {
        self.pattern.split(' ').next().unwrap_or_default()
    }

    /// Returns whether its requests read or write: as its action says, or else by the method.
    pub fn effect(&self) -> Effect {
        let by_method = if self.method() == "GET" { Effect::Read } else { Effect::Write };
        match &self.action {
            RouteAction::Send(send) => send.effect.unwrap_or(by_method),
            RouteAction::Refuse(_) => by_method,
        }
    }
}

/// What happens to the requests of a route.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteAction {
    /// They are answered with 403 and this message, and not sent.
    Refuse(String),
    /// They are sent through a lane.
    Send(SendRoute),
}

/// How the requests of a route are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct SendRoute {
    /// The lane.
    pub lane: String,
    /// The budgets that it is charged to as well.
    pub budgets: Vec<String>,
    /// Whether it reads or writes. By default `GET` and `HEAD` read, and everything else writes.
    pub effect: Option<Effect>,
    /// How many calls it counts as. The default is 1.
    pub weight: u32,
    /// Its priority, from 1 to 10. The default is 5.
    pub priority: Priority,
    /// Whether it is an exit, which is urgent and never held up.
    pub is_exit: bool,
    /// How long its answers are kept. Only of reads.
    pub cache: Option<Duration>,
}

impl SendRoute {
    /// Returns a route through this lane, without budgets, and with the defaults.
    pub fn new(lane: impl Into<String>) -> Self {
        Self {
            lane: lane.into(),
            budgets: Vec::new(),
            effect: None,
            weight: 1,
            priority: Priority::default(),
            is_exit: false,
            cache: None,
        }
    }
}

/// What happens to requests that no route describes.
#[derive(Debug, Clone, PartialEq)]
pub enum Unmatched {
    /// They are sent through this lane. By `GET` and `HEAD` they read, otherwise they write.
    Lane(String),
    /// They are answered with 404, and not sent.
    Refuse,
}

/// One client: a program with a key of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// The hash of its key, as `lanekeeper key new NAME` prints it.
    pub key: String,
    /// Its account. `None` is the only one.
    pub account: Option<String>,
    /// Its tier.
    pub tier: Option<String>,
}

impl ClientConfig {
    /// Returns a client with this hash of its key, without a tier, of the only account.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), account: None, tier: None }
    }
}

/// What the clients of a tier may do. What is not set is not limited.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TierConfig {
    /// The most urgent priority that its calls may ask for: 1 is urgent. The default is 1. Exits are always urgent.
    pub max_priority: Priority,
    /// The priority of its calls that ask for none. `None` is that of the route.
    pub priority: Option<Priority>,
    /// How many requests each of its clients may make. More are refused with 429, except exits.
    pub requests: Option<Quota>,
    /// How many orders each of its clients may place. More are refused with 429.
    pub orders: Option<Quota>,
    /// The lanes that its clients may use. `None` is all. Exits are always allowed.
    pub lanes: Option<Vec<String>>,
    /// Whether its clients may only read.
    pub is_read_only: bool,
    /// The longest time in which its calls may ask to be answered. The default is `door.client_timeout`.
    pub max_deadline: Option<Duration>,
}

/// Limits and timeouts of connections and requests.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DoorConfig {
    /// Within which time a client expects an answer. A call that cannot be answered by then is refused unsent. The
    /// default is 6 s, since the official clients give up after 7 s.
    pub client_timeout: Duration,
    /// The longest body of a request, in bytes. The default is 1 MiB.
    pub max_body: usize,
    /// How many connections may be open. The default is 20,000.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request, and its body. The default is 10 s.
    pub read_timeout: Duration,
    /// How long a connection without a request stays open. The default is 75 s.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of an answer. The default is 30 s.
    pub write_timeout: Duration,
    /// How long a drain may take. The default is 30 s.
    pub drain: Duration,
    /// The least time between two refreshes by hand of one user. The default is 5 s.
    pub cool_down: Duration,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            client_timeout: Duration::from_secs(6),
            max_body: 1 << 20,
            max_connections: 20_000,
            read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            cool_down: Duration::from_secs(5),
        }
    }
}

impl Default for TierConfig {
    fn default() -> Self {
        Self {
            max_priority: Priority::URGENT,
            priority: None,
            requests: None,
            orders: None,
            lanes: None,
            is_read_only: false,
            max_deadline: None,
        }
    }
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

impl GatewayConfig {
    /// Returns a gateway of one account, called `main`, without clients.
    pub fn new(account: AccountConfig) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8800)),
            accounts: BTreeMap::from([("main".to_owned(), account)]),
            clients: BTreeMap::new(),
            tiers: BTreeMap::new(),
            admin_key: None,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            door: DoorConfig::default(),
        }
    }
}
