//! Where rules come from while a limiter runs: a file that is edited, or code that adds and removes rules.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use parking_lot::Mutex;

use super::rule::Rule;
use super::{Rules, problem};
use crate::config::ConfigError;
use crate::config::reader::{self as config};

/// A source of rules. A limiter asks it again when it reloads.
pub trait RulesStore: Send + Sync + 'static {
    /// Loads the rules, unless they are those of `revision`.
    ///
    /// # Errors
    /// The rules cannot be loaded or used. The limiter keeps those that it has.
    fn load(&self, revision: Option<u64>) -> Result<Option<StoredRules>, ConfigError>;
}

/// Rules, and which of their versions they are.
#[derive(Debug, Clone)]
pub struct StoredRules {
    /// The rules.
    pub rules: Rules,
    /// Differs between the versions of the same source.
    pub revision: u64,
}

/// Rules in a file, in any format of [`Rules::from_path`].
///
/// The content decides whether the file has changed, so it may be replaced in any way that writes it as a whole.
#[derive(Debug, Clone)]
pub struct FileRules {
    path: PathBuf,
}

impl FileRules {
    /// Returns the rules in this file. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl RulesStore for FileRules {
    fn load(&self, known: Option<u64>) -> Result<Option<StoredRules>, ConfigError> {
        let in_file = |error: ConfigError| error.in_file(&self.path);
        let root = config::parse_path(&self.path).map_err(in_file)?;
        // A hash of what is in the file, and of the lines for its errors. Comments are no part of it.
        let mut hasher = DefaultHasher::new();
        format!("{root:?}").hash(&mut hasher);
        let revision = hasher.finish();
        if known == Some(revision) {
            return Ok(None);
        }
        let rules = Rules::from_node(&root).map_err(in_file)?;
        Ok(Some(StoredRules { rules, revision }))
    }
}

/// Rules that code adds and removes.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use lanekeeper::limiter::{MemoryRules, MemoryStorage, RateLimiter, Request, Rule};
/// use lanekeeper::quota::request_limit::{Algorithm, RequestLimit};
///
/// let rules = Arc::new(MemoryRules::new());
/// let limiter = RateLimiter::from_store(Arc::clone(&rules), MemoryStorage::new())?;
/// let none = RequestLimit::new(Algorithm::FixedWindow, 0, Duration::from_secs(1))?;
/// rules.add(Rule::new("closed", none).path("/admin/**")?)?;
/// limiter.reload()?;
/// assert!(!limiter.check(&Request::new("/admin")).is_allowed());
/// rules.remove("closed");
/// limiter.reload()?;
/// assert!(limiter.check(&Request::new("/admin")).is_allowed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryRules {
    state: Mutex<(u64, Vec<Rule>)>,
}

impl MemoryRules {
    /// Returns a source without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// A rule has this name, describes the same requests, or contradicts it. Nothing is changed.
    pub fn add(&self, rule: Rule) -> Result<(), ConfigError> {
        let mut state = self.state.lock();
        let (revision, rules) = &mut *state;
        let all = rules.iter().cloned().chain([rule.clone()]);
        Rules::new(all)?;
        rules.push(rule);
        *revision += 1;
        Ok(())
    }

    /// Replaces the rule of the same name.
    ///
    /// # Errors
    /// There is none, or the new one contradicts another rule. Nothing is changed.
    pub fn replace(&self, rule: Rule) -> Result<(), ConfigError> {
        let mut state = self.state.lock();
        let (revision, rules) = &mut *state;
        let Some(at) = rules.iter().position(|known| known.name == rule.name) else {
            let why = format!("there is no rule with the name `{}`", rule.name);
            return Err(problem(&rule, why).into());
        };
        let mut all = rules.clone();
        all[at] = rule;
        Rules::new(all.iter().cloned())?;
        (*rules, *revision) = (all, *revision + 1);
        Ok(())
    }

    /// Removes the rule of this name. Returns whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let mut state = self.state.lock();
        let before = state.1.len();
        state.1.retain(|rule| rule.name != name);
        let removed = state.1.len() < before;
        state.0 += u64::from(removed);
        removed
    }
}

impl RulesStore for MemoryRules {
    fn load(&self, known: Option<u64>) -> Result<Option<StoredRules>, ConfigError> {
        let state = self.state.lock();
        let (revision, rules) = &*state;
        if known == Some(*revision) {
            return Ok(None);
        }
        let rules = Rules::new(rules.iter().cloned())?;
        Ok(Some(StoredRules { rules, revision: *revision }))
    }
}
