//! Reads the settings of a gateway from a file, in TOML or YAML.
//!
//! The file is read like that of [`lanekeeper::Config`]: all problems are reported at once, each with its line and the
//! path of its key. This module knows the keys of the gateway, and `account_file` those of an account. What the
//! settings mean together is checked by [`GatewayConfig::check`], whose problems get their lines here.

use std::collections::BTreeMap;
use std::iter;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use lanekeeper::config::reader::{self, ConfigNode, Format, Problems, Table};
use lanekeeper::config::{ConfigError, Problem};
use lanekeeper::lane::Priority;

use super::{AccountConfig, ClientConfig, DoorConfig, GatewayConfig, LimitsConfig, TierConfig};
use super::{account_file, check, forms};

/// The name of an account whose keys are at the top level.
const ONLY_ACCOUNT: &str = "main";

impl GatewayConfig {
    /// Reads a file of at most 1 MiB. Its extension selects the format: `.toml`, `.yaml` or `.yml`. The file with the
    /// rules of its limits is checked too; the path of that is from the folder of this one.
    ///
    /// # Errors
    /// One of the files cannot be read, or its content cannot be used. The error lists every problem.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let read = reader::parse_path(path).and_then(|root| read(&root));
        let mut config = read.map_err(|error| error.in_file(path))?;
        if let Some(limits) = &mut config.limits {
            limits.relative_to(path);
            limits.read_rules()?;
        }
        Ok(config)
    }

    /// Reads TOML.
    ///
    /// ```
    /// use lanekeeper_gateway::config::GatewayConfig;
    ///
    /// let config = GatewayConfig::from_toml(r#"
    ///     preset = "kite"
    ///     token_file = "/run/secrets/kite-token"
    ///     lanes.quote.queue = 64
    /// "#)?;
    /// assert_eq!(config.accounts["main"].upstream, "https://api.kite.trade");
    ///
    /// // All problems are reported together, each with its line.
    /// let error = GatewayConfig::from_toml("preset = 'kite'\nlanes.qoute = '1/s'").unwrap_err();
    /// assert!(error.to_string().starts_with("line 2: lanes.qoute: there is no lane of this name"));
    /// # Ok::<(), lanekeeper::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// The text is not TOML, or cannot be used. The error lists every problem.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        read(&Format::Toml.parse(text)?)
    }

    /// Reads YAML. Anchors, aliases and tags are refused.
    ///
    /// ```
    /// use lanekeeper_gateway::config::GatewayConfig;
    ///
    /// let config = GatewayConfig::from_yaml("
    /// upstream: https://api.vendor.example
    /// auth: { prefix: 'Bearer ', env: VENDOR_TOKEN }
    /// lanes: { data: 20/min }
    /// unmatched: { lane: data }
    /// ")?;
    /// assert_eq!(config.accounts["main"].lanes.len(), 1);
    /// # Ok::<(), lanekeeper::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// The text is not YAML, or cannot be used. The error lists every problem.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        read(&Format::Yaml.parse(text)?)
    }
}

fn read(root: &ConfigNode) -> Result<GatewayConfig, ConfigError> {
    let found = Problems::default();
    let config = Table::new(String::new(), root, &found).map(gateway);
    let mut problems = found.into_inner();
    let Some(config) = config else { return Err(ConfigError::new(problems)) };
    // What the rest means depends on the preset, so nothing is checked that follows from a wrong one.
    if !problems.iter().any(|problem| problem.path.rsplit('.').next() == Some("preset")) {
        let lines = reader::lines(root);
        let located = check::problems(&config).into_iter().map(|problem| locate(problem, &lines));
        let new: Vec<Problem> =
            located.filter(|new| !problems.iter().any(|known| is_related(new, known))).collect();
        problems.extend(new);
    }
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::new(problems)) }
}

/// Adds the line to a problem of the settings as values.
fn locate(problem: Problem, lines: &BTreeMap<String, usize>) -> Problem {
    let mut path = problem.path.as_str();
    if !lines.contains_key("accounts") {
        let inner = path.strip_prefix("accounts.main").map(|rest| rest.trim_start_matches('.'));
        path = inner.unwrap_or(path);
    }
    // `budget` is short for a list with one of them.
    let short = path.strip_suffix('s').filter(|short| lines.contains_key(*short));
    path = short.unwrap_or(path);
    // A key that is missing has the line of the table that lacks it.
    let line = iter::successors(Some(path), |path| parent(path)).find_map(|path| lines.get(path));
    let line = line.or(lines.get("")).copied();
    Problem::new(path, line, problem.message)
}

/// Returns the path of the table or the list that contains `path`.
fn parent(path: &str) -> Option<&str> {
    path.rfind(['.', '[']).and_then(|end| path.get(..end))
}

/// Returns whether two problems concern the same setting, or one the other's table. The second one then often follows
/// from the first.
fn is_related(a: &Problem, b: &Problem) -> bool {
    let contains = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    contains(&a.path, &b.path) || contains(&b.path, &a.path)
}

fn gateway(mut root: Table<'_>) -> GatewayConfig {
    let mut config = GatewayConfig::new(AccountConfig::new(""));
    set(
        &mut config.listen,
        root.parsed("listen", "an address and a port, as 127.0.0.1:8800", parse::<SocketAddr>),
    );
    set(&mut config.hosts, root.parsed_list("hosts", "the name of a host", parse));
    set(
        &mut config.trusted_proxies,
        root.parsed_list(
            "trusted_proxies",
            "the address of a proxy, as 10.0.0.1, or a network, as 10.0.0.0/8",
            forms::network,
        ),
    );
    let admin_key = root.text("admin_key", "the hash of a key").unwrap_or_default().to_owned();
    config.admin_key = root.has("admin_key").then_some(admin_key);
    config.door = door(&mut root);
    config.limits = root.table("limits").map(limits);
    config.shared = root.table("shared").map(reader::shared);
    config.clients = named(&mut root, "clients", ClientConfig::new(""), client);
    config.tiers = named(&mut root, "tiers", TierConfig::default(), tier);
    config.accounts = accounts(&mut root);
    root.finish();
    config
}

fn accounts(root: &mut Table<'_>) -> BTreeMap<String, AccountConfig> {
    let accounts = named(root, "accounts", AccountConfig::new(""), |mut table| {
        let account = account_file::account(&mut table);
        table.finish();
        account
    });
    if root.has("accounts") {
        account_file::report_beside_accounts(root);
        return accounts;
    }
    BTreeMap::from([(ONLY_ACCOUNT.to_owned(), account_file::account(root))])
}

/// Reads the tables in the table `key`. A name whose value cannot be read has the value `broken`, so that references to
/// it are not reported too.
fn named<T: Clone>(
    root: &mut Table<'_>,
    key: &'static str,
    broken: T,
    read: impl Fn(Table<'_>) -> T,
) -> BTreeMap<String, T> {
    let names = root.names(key).into_iter().map(|name| (name.to_owned(), broken.clone()));
    let mut all: BTreeMap<String, T> = names.collect();
    let tables = root.named_tables(key, None).into_iter();
    all.extend(tables.map(|(name, table)| (name.to_owned(), read(table))));
    all
}

fn client(mut table: Table<'_>) -> ClientConfig {
    let key = table.text("key", "the hash of a key").unwrap_or_default();
    let client = ClientConfig {
        key: key.to_owned(),
        account: table.text("account", "the name of an account").map(str::to_owned),
        tier: table.text("tier", "the name of a tier").map(str::to_owned),
    };
    table.finish();
    client
}

fn tier(mut table: Table<'_>) -> TierConfig {
    let mut tier = TierConfig::default();
    set(&mut tier.max_priority, priority(&mut table, "max_priority"));
    tier.priority = priority(&mut table, "priority");
    tier.requests = table.quota("requests");
    tier.orders = table.quota("orders");
    tier.lanes = table.parsed_list("lanes", "the name of a lane", parse);
    set(&mut tier.is_read_only, table.switch("read_only"));
    tier.max_deadline = table.time("max_deadline");
    table.finish();
    tier
}

fn limits(mut table: Table<'_>) -> LimitsConfig {
    let rules = table
        .parsed("rules", "the path of a file", |path| (!path.is_empty()).then(|| path.to_owned()));
    if !table.has("rules") {
        table.report_misplaced("write `rules`, the path of the file that has them");
    }
    let mut limits = LimitsConfig::new(rules.unwrap_or_default());
    set(&mut limits.headers, table.switch("headers"));
    table.finish();
    limits
}

fn door(root: &mut Table<'_>) -> DoorConfig {
    let mut door = DoorConfig::default();
    set(&mut door.client_timeout, root.time("client_timeout"));
    let max_body = root.bytes("max_body").map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    set(&mut door.max_body, max_body);
    set(&mut door.max_connections, root.number("max_connections"));
    set(&mut door.read_timeout, root.time("read_timeout"));
    set(&mut door.idle_timeout, root.time("idle_timeout"));
    set(&mut door.write_timeout, root.time("write_timeout"));
    set(&mut door.drain, root.time("drain"));
    set(&mut door.cool_down, root.time("cool_down"));
    door
}

/// Reads a priority.
pub(super) fn priority(table: &mut Table<'_>, key: &'static str) -> Option<Priority> {
    let priority = Priority::new(table.number(key)?);
    priority.map_err(|error| table.report_invalid(key, error.to_string())).ok()
}

/// Changes a setting, if the file has it.
pub(super) fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// Parses a text as any type.
fn parse<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}
