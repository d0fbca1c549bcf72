//! Configuration from a file, in TOML or YAML.
//!
//! ```
//! # #[cfg(feature = "paper")] {
//! use lanekeeper::{BrokerProxy, Config, PaperBroker};
//!
//! let config = Config::from_toml(r#"
//!     preset = "alpaca"
//!
//!     [lanes.quote]
//!     quota = "100/min"
//!     retry = { attempts = 3, base_delay = "50ms" }
//!
//!     [budgets]
//!     orders = "5000/day"
//!
//!     [cache]
//!     ttl = "5s"
//! "#)?;
//! let broker = BrokerProxy::builder(PaperBroker::builder().build()?).stack(&config).build()?;
//! assert_eq!(broker.status().proxy.lanes[1].quota, "100/min");
//!
//! // All problems are reported together, each with the path of its key.
//! let error = Config::from_toml("[lanes.quote]\nqouta = '1/s'").unwrap_err();
//! assert!(error.to_string().starts_with("line 2: lanes.quote.qouta: there is no such key"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A file contains only what differs from the defaults. Values that a builder would refuse are
//! refused when the file is read, and so are unknown keys. A lane or budget that the proxy does not have
//! is refused when the proxy is built. `docs/configuration.md` lists every key.
//!
//! A file has no secrets: keys such as `api_key` are refused.
//!
//! [`BrokerProxyBuilder::stack`](crate::broker::BrokerProxyBuilder::stack) builds every layer. The builder of a layer
//! alone takes its own tables, by `config` and `quote_cache`. `Config` implements serde's
//! `Deserialize`, so it can be a part of a file of your own.
//!
//! # Implementation
//!
//! - `node` is a file as a tree of values with lines. `toml` and `yaml` parse it.
//! - `table` reads one table of the tree and collects problems.
//! - `lanes`, `layers` and `shared` know the keys. `reader` offers all of this to the crate of the gateway. `apply` passes the settings to the builders.

mod apply;
mod error;
mod lanes;
mod layers;
mod node;
#[doc(hidden)]
pub mod reader;
mod reserve;
mod secret;
#[cfg(feature = "redis")]
mod shared;
mod table;
mod toml;
mod values;
mod yaml;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer, de};

pub use error::{ConfigError, Problem};

use self::layers::{CacheOverrides, GuardOverrides};
use self::node::ConfigNode;
use self::reader::Format;
use self::table::Table;
use crate::broker::lanes as of_brokers;
use crate::lane::CallOptions;
use crate::presets;
use crate::proxy::ProxyConfig;

/// The settings of lanes, budgets, layers and users from a file. See [the module](self).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    settings: ProxyConfig,
    cache: CacheOverrides,
    guard: GuardOverrides,
    users: BTreeMap<String, CallOptions>,
}

/// An error for a user that the file does not name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has no table `users.{name}`; it has users: {known}")]
pub struct UnknownUser {
    /// The name that was asked for.
    pub name: String,
    /// The users that exist.
    pub known: String,
}

impl Config {
    /// Reads a file of at most 1 MiB. Its extension selects the format: `.toml`, `.yaml` or `.yml`.
    ///
    /// # Errors
    /// The file cannot be read, or its content cannot be used. The error lists every problem.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        reader::read_path(path.as_ref(), Self::from_table)
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// The text is not TOML, or cannot be used. The error lists every problem.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        reader::read_text(Format::Toml, text, Self::from_table)
    }

    /// Reads YAML. Anchors, aliases and tags are refused.
    ///
    /// # Errors
    /// The text is not YAML, or cannot be used. The error lists every problem.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        reader::read_text(Format::Yaml, text, Self::from_table)
    }

    /// Returns the settings of lanes and budgets.
    pub fn settings(&self) -> &ProxyConfig {
        &self.settings
    }

    /// Returns the options for the calls of a user, for the method `with` of a proxy.
    ///
    /// ```
    /// use lanekeeper::Config;
    /// use lanekeeper::CallOptions;
    /// use std::time::Duration;
    ///
    /// let config = Config::from_yaml("users: { alpha: { deadline: 2s } }")?;
    /// let options = CallOptions::new().user("alpha").deadline(Duration::from_secs(2));
    /// assert_eq!(config.user("alpha")?, options);
    /// assert!(config.user("beta").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file has no table for this user.
    pub fn user(&self, name: &str) -> Result<CallOptions, UnknownUser> {
        self.users.get(name).cloned().ok_or_else(|| UnknownUser {
            name: name.to_owned(),
            known: join_names(&self.users().collect::<Vec<_>>()),
        })
    }

    /// Returns the names of the users.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Checks that every lane and budget that is named here exists in a proxy with these lanes and budgets. Building
    /// the proxy checks the same, so this is for checking a file on its own.
    ///
    /// # Errors
    /// Lanes or budgets are named that do not exist. The error lists all of them.
    pub fn check_names(&self, lanes: &[&str], budgets: &[&str]) -> Result<(), ConfigError> {
        let named = self.settings.lanes().map(|(name, _)| ("lane", name, lanes));
        let named =
            named.chain(self.settings.budgets().map(|(name, ..)| ("budget", name, budgets)));
        let problems: Vec<Problem> = named
            .filter(|(_, name, known)| !known.contains(name))
            .map(|(what, name, known)| {
                Problem::new(
                    table::join_path(&format!("{what}s"), name),
                    None,
                    unknown_name_message(what, known),
                )
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::new(problems)) }
    }

    fn from_table(mut root: Table<'_>) -> Self {
        let presets = presets::NAMES.map(|name| (name, name));
        let preset = root.choice("preset", &presets).and_then(presets::by_name);
        let mut settings = ProxyConfig::new();
        // A preset is for a `Broker`, whose lanes and budgets are known.
        let is_unknown = |name, known: &[&str]| preset.is_some() && !known.contains(&name);
        for (name, table) in root.named_tables("lanes", Some("quota")) {
            if is_unknown(name, &of_brokers::ALL) {
                table.report_misplaced(unknown_name_message("lane", &of_brokers::ALL));
            }
            let documented = preset.as_ref().and_then(|limits| limits.of_lane(name));
            settings = settings.lane(name, lanes::lane(table, documented));
        }
        for (name, table) in root.named_tables("budgets", Some("quota")) {
            if is_unknown(name, &[of_brokers::ORDERS]) {
                table.report_misplaced(unknown_name_message("budget", &[of_brokers::ORDERS]));
            }
            let (quota, reserve) = lanes::budget(name, table, preset.as_ref());
            settings = settings.change_budget(name, quota, reserve);
        }
        if let Some(limits) = preset {
            settings = settings.override_documented(limits);
        }
        if let Some(table) = root.table("shared") {
            #[cfg(feature = "redis")]
            if let Some((account, shared)) = shared::shared_account(table) {
                settings = settings.shared(account, shared);
            }
            #[cfg(not(feature = "redis"))]
            table.report_misplaced("this build shares no quota: switch on the feature `redis`");
        }
        let cache = root.table("cache").map(CacheOverrides::read).unwrap_or_default();
        let guard = root.table("guard").map(GuardOverrides::read).unwrap_or_default();
        let users = root.named_tables("users", None).into_iter();
        let users = users.map(|(name, table)| (name.to_owned(), layers::call_options(name, table)));
        let users = users.collect();
        root.finish();
        Self { settings, cache, guard, users }
    }
}

fn unknown_name_message(what: &str, known: &[&str]) -> String {
    format!("there is no {what} of this name; there are: {}", join_names(known))
}

fn join_names(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Reads the settings with any deserializer, as a part of a file of your own. Errors have the paths of the keys, but no
/// lines. The deserializer formats the error: `toml` quotes the line of the file, and so may show a secret,
/// which [`Config::from_toml`] never does.
///
/// ```
/// use lanekeeper::Config;
///
/// #[derive(serde::Deserialize)]
/// struct Mine {
///     strategy: String,
///     broker: Config,
/// }
///
/// # #[cfg(feature = "kite")] {
/// let mine: Mine = serde_json::from_str(
///     r#"{ "strategy": "momentum", "broker": { "lanes": { "quote": "1/s" } } }"#,
/// )?;
/// assert_eq!(mine.strategy, "momentum");
/// assert_eq!(mine.broker, Config::from_yaml("lanes: { quote: 1/s }")?);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let root = ConfigNode::deserialize(reader)?;
        reader::read_tree(&root, Self::from_table).map_err(de::Error::custom)
    }
}
