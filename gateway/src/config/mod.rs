//! The settings of a gateway, as values, from code or from a file.
//!
//! - The settings are plain values: those of the gateway here, those of an account in `account` and `route`, and those of
//!   the limits of clients in `limits`.
//! - `file` and `account_file` read a file, and know its keys.
//! - `check` and `account_check` check what the settings mean together. `forms` has the forms of texts.
//!
//! Nothing here opens a socket or reads an environment variable. A secret is never a setting: a setting names the
//! environment variable or the file that has it, or is the hash of a client's key.

mod account;
mod account_check;
mod account_file;
mod check;
mod file;
mod forms;
mod limits;
mod route;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use lanekeeper::Quota;
use lanekeeper::lane::Priority;
use lanekeeper::shared_quota::SharedSettings;

pub use account::{AccountConfig, Preset, UpstreamAuth};
pub use limits::LimitsConfig;
pub use route::{RouteAction, RouteConfig, SendRoute, Unmatched};

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
    /// The networks of proxies whose `X-Forwarded-For` is believed. A single address is a network of one.
    pub trusted_proxies: Vec<IpNet>,
    /// Limits of the requests of clients. `None` is that there are none beside those of tiers.
    pub limits: Option<LimitsConfig>,
    /// How the quotas of the accounts are shared with other processes, each under the name of its account. `None` is that they
    /// are not.
    pub shared: Option<SharedSettings>,
    /// Limits and timeouts of connections and requests.
    pub door: DoorConfig,
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
            limits: None,
            shared: None,
            door: DoorConfig::default(),
        }
    }
}
