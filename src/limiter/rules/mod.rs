//! The rules: which limits a request has.
//!
//! - `rule.rs` is one rule: what it describes, and what it allows. `path.rs` and `value.rs` are its patterns.
//! - `tree.rs` finds the rules of a request. `check.rs` refuses rules that contradict each other.
//! - `reader.rs` reads rules from a file, and `envoy.rs` those of envoy's rate limit service.
//! - `store.rs` is where rules come from while a limiter runs.

mod check;
mod envoy;
mod path;
mod reader;
mod rule;
mod store;
mod tree;
mod value;

use std::path::Path;

use smallvec::SmallVec;

pub use path::PathPattern;
pub use rule::{InvalidPath, OnStorageError, Rule};
pub use store::{FileRules, MemoryRules, RulesStore, StoredRules};
pub use value::ValuePattern;

use self::tree::{Matching, Tree};
#[cfg(feature = "metrics")]
use super::metrics::RuleCounters;
use super::request::Request;
use super::storage::Picks;
use crate::config::reader::{self as config, ConfigNode, Format};
use crate::config::{ConfigError, Problem};

/// A set of rules. It cannot be changed; a limiter replaces one set by another.
///
/// # Which rules a request has
///
/// - Of the rules with a path, those with the pattern that describes the path most precisely: `/orders/1` goes before
///   `/orders/{id}`, and that before `/orders/*`. The rules without a path come in addition.
/// - Of these, each rule whose keys the request has. Of the rules for one key, the one with the most specific value: the
///   value itself goes before a pattern, and a pattern before no value.
/// - A nested descriptor applies in addition to the one around it.
///
/// ```
/// use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rules};
///
/// let rules = Rules::from_yaml(r#"
/// rules:
///   - path: /orders/**
///     descriptors:
///       - { key: tier, value: free, descriptors: [{ key: user, unit: second, requests_per_unit: 5 }] }
///       - { key: tier, value: enterprise, descriptors: [{ key: user, unit: second, requests_per_unit: 100 }] }
/// "#)?;
/// let limiter = RateLimiter::new(rules, MemoryStorage::new());
/// let verdict = limiter.check(&Request::new("/orders/1").entry("tier", "free").entry("user", "a"));
/// assert_eq!((verdict.limit(), verdict.remaining()), (Some(5), Some(4)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    tree: Tree,
    /// Whether a rule replaces others.
    some_replace: bool,
    /// For each rule.
    #[cfg(feature = "metrics")]
    counters: Vec<RuleCounters>,
}

/// A rule of a request, and the values that its count is kept by.
#[derive(Clone, Copy)]
pub(super) struct Match {
    /// The place of the rule in the set.
    pub(super) rule: u32,
    /// The entries that the rule tells apart.
    pub(super) picks: Picks,
    /// Which descriptor of the request these are entries of. `None` are the request's own entries.
    pub(super) descriptor: Option<u32>,
}

pub(super) type Matches = SmallVec<[Match; 4]>;

impl Rules {
    /// Returns a set of rules.
    ///
    /// # Errors
    /// Two rules describe the same, contradict each other, or one can never apply.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Result<Self, ConfigError> {
        let rules: Vec<Rule> = rules.into_iter().collect();
        Self::build(rules, Matching::Entries)
    }

    fn build(rules: Vec<Rule>, matching: Matching) -> Result<Self, ConfigError> {
        let problems = check::problems(&rules, matching);
        if !problems.is_empty() {
            return Err(ConfigError::new(problems));
        }
        let tree = Tree::new(&rules, matching);
        Ok(Self {
            #[cfg(feature = "metrics")]
            counters: rules.iter().map(|rule| RuleCounters::new(rule.name())).collect(),
            some_replace: rules.iter().any(|rule| !rule.replaces.is_empty()),
            rules,
            tree,
        })
    }

    /// Reads a file of at most 1 MiB. Its extension selects the format: `.toml`, `.yaml` or `.yml`. A file with the key
    /// `domain` is one of envoy's rate limit service.
    ///
    /// # Errors
    /// The file cannot be read, or its content cannot be used. The error lists every problem, with its line.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        config::parse_path(path)
            .and_then(|root| Self::from_node(&root))
            .map_err(|error| error.in_file(path))
    }

    /// Reads YAML.
    ///
    /// # Errors
    /// The text is not YAML, or cannot be used. The error lists every problem, with its line.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        Self::from_node(&Format::Yaml.parse(text)?)
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// The text is not TOML, or cannot be used. The error lists every problem, with its line.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_node(&Format::Toml.parse(text)?)
    }

    fn from_node(root: &ConfigNode) -> Result<Self, ConfigError> {
        let is_envoys = config::lines(root).contains_key("domain");
        let (matching, rules) = match is_envoys {
            true => (Matching::Descriptors, config::read_tree(root, envoy::read)?),
            false => (Matching::Entries, config::read_tree(root, reader::read)?),
        };
        Self::build(rules, matching)
    }

    /// Returns the rules, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Returns how many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Returns whether there is no rule. Then every request is allowed.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    #[inline]
    pub(super) fn matches(&self, request: &Request<'_>) -> Matches {
        let mut found = Matches::new();
        self.tree.find(request, &mut found);
        if self.some_replace {
            self.drop_replaced(&mut found);
        }
        found
    }

    /// Returns the rule at a place.
    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&Rule> {
        self.rules.get(place as usize)
    }

    /// Returns the counters of the rule at a place.
    #[cfg(feature = "metrics")]
    pub(super) fn counters(&self, place: u32) -> Option<&RuleCounters> {
        self.counters.get(place as usize)
    }

    /// Leaves out the rules that another rule of the same request replaces.
    fn drop_replaced(&self, found: &mut Matches) {
        let rules = found.iter().filter_map(|it| self.get(it.rule));
        let replaced: Vec<&String> = rules.flat_map(|rule| &rule.replaces).collect();
        let label = |it: &Match| self.get(it.rule).and_then(|rule| rule.label.as_ref());
        found.retain(|it| !label(it).is_some_and(|label| replaced.contains(&label)));
    }
}

/// Returns a problem at a line of a file, if the rule is from one.
fn problem(rule: &Rule, message: impl Into<String>) -> Problem {
    Problem::new(rule.place(), rule.line(), message)
}
