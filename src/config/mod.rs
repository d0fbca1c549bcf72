//! Settings from a file, in TOML or YAML.
//!
//! ```
//! # #[cfg(feature = "mock")] {
//! use lanekeeper::{BrokerProxy, Config, MockBroker};
//!
//! let config = Config::from_toml(r#"
//!     preset = "alpaca"
//!
//!     [lanes.quote]
//!     quota = "100/min"
//!     retry = { attempts = 3, base = "50ms" }
//!
//!     [budgets]
//!     orders = "5000/day"
//!
//!     [cache]
//!     ttl = "5s"
//! "#)?;
//! let broker = BrokerProxy::builder(MockBroker::new())
//!     .config(&config)        // [lanes] and [budgets]
//!     .quote_cache(&config)   // [cache]
//!     .build()?;
//! assert_eq!(broker.status().proxy.lanes[1].quota, "100/min");
//!
//! // What is wrong is told at once, with the path of the key.
//! let error = Config::from_toml("[lanes.quote]\nqouta = '1/s'").unwrap_err();
//! assert!(error.to_string().starts_with("line 2: lanes.quote.qouta: there is no such key"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A file says what is to be otherwise, and nothing else changes. All that a builder would refuse is
//! refused when the file is read, and unknown keys too. A lane or budget that the proxy does not have
//! is refused when that is built. `docs/configuration.md` has every key.
//!
//! A file has no secrets: keys such as `api_key` are refused.
//!
//! Each layer takes its own tables of a [`Config`]: give it to all that you build. To put the settings
//! into a file of your own, use that `Config` can be read by serde.
//!
//! - `node` is a file as a tree with lines; `toml` and `yaml` make it.
//! - `table` reads a table of it, and notes what is wrong.
//! - `lanes` and `layers` know the keys; `apply` hands the settings on.

mod apply;
mod error;
mod lanes;
mod layers;
mod node;
mod secret;
mod table;
mod toml;
mod yaml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Deserializer, de};

pub use error::{ConfigError, Problem};

use self::layers::{CacheOverrides, GuardOverrides};
use self::node::ConfigNode;
use self::table::{Problems, Table};
use crate::bounded::{BoundedReader, ReadLimit};
use crate::broker::lanes as of_brokers;
use crate::lane::CallOptions;
use crate::presets;
use crate::proxy::ProxyConfig;
use crate::quota::{Budget, Limits, Quota, Reserve};

/// Settings of lanes, budgets and layers, as a file gives them; see [the module](self).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    settings: ProxyConfig,
    cache: CacheOverrides,
    guard: GuardOverrides,
    users: BTreeMap<String, CallOptions>,
}

/// The file names no user of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has no table `users.{name}`; it has users: {known}")]
pub struct UnknownUser {
    /// The name that was asked for.
    pub name: String,
    /// Those there are.
    pub known: String,
}

/// No configuration comes near it.
const READ_LIMIT: ReadLimit = ReadLimit::new(1 << 20, 1 << 20);

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    BoundedReader::new(File::open(path)?, READ_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

impl Config {
    /// Reads a file of at most 1 MiB. Its name says what it is written in: `.toml`, `.yaml` or `.yml`.
    ///
    /// # Errors
    /// The file cannot be read, or what is in it cannot be used. The error names every problem.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        let read = match kind.to_ascii_lowercase().as_str() {
            "toml" => Self::from_toml,
            "yaml" | "yml" => Self::from_yaml,
            _ => {
                let why = "the name of the file must end in .toml, .yaml or .yml";
                return Err(ConfigError::from(Problem::new("", None, why)).in_file(path));
            }
        };
        read_text(path)
            .map_err(|error| Problem::new("", None, format!("cannot be read: {error}")).into())
            .and_then(|text| read(&text))
            .map_err(|error| error.in_file(path))
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// It is no TOML, or cannot be used. The error names every problem.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::read(&toml::read(text)?)
    }

    /// Reads YAML. Anchors, aliases and tags are not read.
    ///
    /// # Errors
    /// It is no YAML, or cannot be used. The error names every problem.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        Self::read(&yaml::read(text)?)
    }

    /// What is said of lanes and budgets.
    pub fn settings(&self) -> &ProxyConfig {
        &self.settings
    }

    /// The options for the calls of a user, for the method `with` of a proxy.
    ///
    /// ```
    /// use lanekeeper::Config;
    /// use lanekeeper::proxy::CallOptions;
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
    /// The file has no table of this user.
    pub fn user(&self, name: &str) -> Result<CallOptions, UnknownUser> {
        self.users.get(name).cloned().ok_or_else(|| UnknownUser {
            name: name.to_owned(),
            known: join_names(&self.users().collect::<Vec<_>>()),
        })
    }

    /// The names of the users.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Whether a proxy with these lanes and budgets has all that are named here. Building it asks the
    /// same; this is for looking at a file alone.
    ///
    /// # Errors
    /// Some are named that it does not have.
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

    fn read(root: &ConfigNode) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let config = Table::new(String::new(), root, &problems).map(Self::from_table);
        match (problems.into_inner(), config) {
            (none, Some(config)) if none.is_empty() => Ok(config),
            (some, _) => Err(ConfigError::new(some)),
        }
    }

    fn from_table(mut root: Table<'_>) -> Self {
        let presets = presets::NAMES.map(|name| (name, name));
        let preset = root.choice("preset", &presets).and_then(presets::by_name);
        let mut settings = ProxyConfig::new();
        // A preset is for a broker, whose lanes and budgets are known.
        let is_stranger = |name, known: &[&str]| preset.is_some() && !known.contains(&name);
        for (name, table) in root.named_tables("lanes", Some("quota")) {
            if is_stranger(name, &of_brokers::ALL) {
                table.report_misplaced(unknown_name_message("lane", &of_brokers::ALL));
            }
            settings = settings.lane(name, lanes::lane(table));
        }
        for (name, table) in root.named_tables("budgets", Some("quota")) {
            if is_stranger(name, &[of_brokers::ORDERS]) {
                table.report_misplaced(unknown_name_message("budget", &[of_brokers::ORDERS]));
            }
            let (quota, reserve) = budget(name, table, preset.as_ref());
            settings = settings.change_budget(name, quota, reserve);
        }
        if let Some(limits) = preset {
            settings = settings.documented(limits);
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

/// A budget. Whether its reserve leaves anything can be told where its quota is known.
fn budget(
    name: &str,
    mut table: Table<'_>,
    preset: Option<&Limits>,
) -> (Option<Quota>, Option<Reserve>) {
    let (quota, reserve) = (table.quota("quota"), table.reserve("reserve"));
    let documented = preset.and_then(|limits| limits.of_budget(name));
    let known = quota.as_ref().or(documented.map(Budget::quota));
    let budget = Budget::new(known.cloned().unwrap_or_else(Quota::unlimited))
        .with_reserve(reserve.or(documented.map(Budget::reserved)).unwrap_or(Reserve::NONE));
    if let Err(error) = budget.check() {
        table.report_invalid("reserve", error.to_string());
    } else if known.is_some()
        && reserve.is_some_and(is_non_zero)
        && budget.quota().windows().is_empty()
    {
        table.report_invalid(
            "reserve",
            "nothing can be kept back of an unlimited budget: write a quota too",
        );
    }
    table.finish();
    (quota, reserve)
}

/// Whether a reserve keeps anything back of a window that has enough.
fn is_non_zero(reserve: Reserve) -> bool {
    reserve.of(u32::MAX) > 0
}

fn unknown_name_message(what: &str, known: &[&str]) -> String {
    format!("there is no {what} of this name; there are: {}", join_names(known))
}

fn join_names(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// From any reader of serde's: as a part of a file of your own. Errors have the paths of the keys, but no
/// lines. What shows the error is then that reader's: `toml` quotes the line of the file, so a secret in it
/// is shown, which [`Config::from_toml`] never does.
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
        Self::read(&ConfigNode::deserialize(reader)?).map_err(de::Error::custom)
    }
}
