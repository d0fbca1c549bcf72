//! One rule: which requests it is about, and what it allows.

use std::fmt;
use std::time::Duration;

use super::path::PathPattern;
use super::value::ValuePattern;
use crate::quota::request_limit::RequestLimit;

/// What is done with a request when the storage gives no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnStorageError {
    /// It is allowed. A limiter that is down takes nothing else down.
    #[default]
    Allow,
    /// It is refused. For what may not be tried without a limit, such as passwords.
    Deny,
}

/// A rule: which requests it is about, and what it allows them.
///
/// Rules usually come from a file: [`Rules::from_path`](super::Rules::from_path). This builds one in code.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::limiter::{MemoryStorage, OnStorageError, RateLimiter, Request, Rule, Rules};
/// use lanekeeper::quota::request_limit::{Algorithm, RequestLimit};
///
/// let limit = RequestLimit::new(Algorithm::TokenBucket, 5, Duration::from_secs(1))?.with_burst(10)?;
/// let rule = Rule::new("orders of a free user", limit)
///     .path("/orders/*")?
///     .entry_is("tier", "free")
///     .entry("user")
///     .on_storage_error(OnStorageError::Deny);
/// let limiter = RateLimiter::new(Rules::new([rule])?, MemoryStorage::new());
/// let request = Request::new("/orders/1").entry("user", "a").entry("tier", "free");
/// assert_eq!(limiter.check(&request).remaining(), Some(9));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub(super) name: String,
    pub(super) path: Option<PathPattern>,
    pub(super) steps: Vec<Step>,
    /// `None` allows everything.
    pub(super) limit: Option<RequestLimit>,
    pub(in crate::limiter) weight: u32,
    pub(super) is_shadow: bool,
    pub(super) on_storage_error: OnStorageError,
    /// The name by which another rule may replace this one, in envoy's files.
    pub(super) label: Option<String>,
    /// The names of the rules that this one replaces.
    pub(super) replaces: Vec<String>,
    pub(super) source: Source,
    pub(super) fingerprint: u128,
}

/// Where a rule is from, for an error.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Source {
    /// The domain of envoy's file.
    pub(super) domain: Option<String>,
    /// The path of keys in the file.
    pub(super) place: String,
    pub(super) line: Option<usize>,
}

/// One key of a rule, and the values that it is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) key: String,
    /// `None` is any value.
    pub(super) value: Option<ValuePattern>,
    /// Whether all values that the pattern matches have one count.
    pub(super) is_shared: bool,
}

impl Step {
    /// Returns whether each value has a count of its own.
    pub(super) fn tells_values_apart(&self) -> bool {
        !self.is_shared && self.value.as_ref().is_none_or(|value| !value.is_exact())
    }
}

impl Rule {
    /// Returns a rule for every request. The name is shown in verdicts, headers and metrics.
    pub fn new(name: impl Into<String>, limit: RequestLimit) -> Self {
        Self::from_parts(name.into(), Some(limit), Source::default())
    }

    /// Returns a rule that allows everything, for an exception from a rule that is less specific.
    pub fn unlimited(name: impl Into<String>) -> Self {
        Self::from_parts(name.into(), None, Source::default())
    }

    pub(super) fn from_parts(name: String, limit: Option<RequestLimit>, source: Source) -> Self {
        let rule = Self {
            name,
            path: None,
            steps: Vec::new(),
            limit,
            weight: 1,
            is_shadow: false,
            on_storage_error: OnStorageError::default(),
            label: None,
            replaces: Vec::new(),
            source,
            fingerprint: 0,
        };
        rule.with_fingerprint()
    }

    /// Restricts the rule to the paths of a pattern: see [`PathPattern::parse`].
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn path(mut self, pattern: &str) -> Result<Self, InvalidPath> {
        let path = PathPattern::parse(pattern);
        self.path = Some(path.map_err(|why| InvalidPath { pattern: pattern.to_owned(), why })?);
        Ok(self.with_fingerprint())
    }

    /// Restricts the rule to requests with this entry. Each value has a count of its own.
    #[must_use]
    pub fn entry(mut self, key: impl Into<String>) -> Self {
        self.steps.push(Step { key: key.into(), value: None, is_shared: false });
        self.with_fingerprint()
    }

    /// Restricts the rule to requests with this value of an entry, as it is: a star in it is a star.
    #[must_use]
    pub fn entry_is(self, key: impl Into<String>, value: &str) -> Self {
        self.with_step(key.into(), ValuePattern::exact(value), false)
    }

    /// Restricts the rule to requests with a value of an entry that a pattern matches: see [`ValuePattern::parse`]. Each
    /// value has a count of its own.
    #[must_use]
    pub fn entry_matching(self, key: impl Into<String>, pattern: &str) -> Self {
        self.with_step(key.into(), ValuePattern::parse(pattern), false)
    }

    /// Restricts the rule as [`entry_matching`](Self::entry_matching) does, with one count for all values: what
    /// `share_threshold` does in a file.
    #[must_use]
    pub fn entry_sharing(self, key: impl Into<String>, pattern: &str) -> Self {
        self.with_step(key.into(), ValuePattern::parse(pattern), true)
    }

    fn with_step(mut self, key: String, value: ValuePattern, is_shared: bool) -> Self {
        self.steps.push(Step { key, value: Some(value), is_shared });
        self.with_fingerprint()
    }

    /// Sets how much a request counts for in this rule, for each unit of its own weight. The default is 1.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Counts and reports, and refuses nothing: for trying a rule on real traffic.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.is_shadow = true;
        self
    }

    /// Sets what is done when the storage gives no verdict. The default is to allow.
    #[must_use]
    pub fn on_storage_error(mut self, what: OnStorageError) -> Self {
        self.on_storage_error = what;
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the rule allows. `None` is everything.
    pub fn limit(&self) -> Option<&RequestLimit> {
        self.limit.as_ref()
    }

    /// Returns whether the rule refuses nothing.
    pub fn is_shadow(&self) -> bool {
        self.is_shadow
    }

    /// Returns whether a request is refused when the storage gives no verdict.
    pub(in crate::limiter) fn denies_without_storage(&self) -> bool {
        self.limit.is_some() && !self.is_shadow && self.on_storage_error == OnStorageError::Deny
    }

    /// Returns what the rule allows in one line, as in `5 per second (token_bucket, burst 10), weight 2, shadow mode`.
    pub fn describe(&self) -> String {
        let Some(limit) = &self.limit else { return "unlimited".to_owned() };
        let unit = unit(limit.period());
        let mut text = format!("{} per {unit} ({}", limit.requests(), limit.algorithm());
        if limit.burst() != limit.requests() {
            text += &format!(", burst {}", limit.burst());
        }
        text += ")";
        if self.steps.iter().any(|step| step.is_shared) {
            text += ", shared by the values";
        }
        if self.weight != 1 {
            text += &format!(", weight {}", self.weight);
        }
        if self.is_shadow {
            text += ", shadow mode";
        }
        if self.on_storage_error == OnStorageError::Deny {
            text += ", denied if the storage fails";
        }
        text
    }

    pub(super) fn line(&self) -> Option<usize> {
        self.source.line
    }

    pub(super) fn place(&self) -> &str {
        &self.source.place
    }

    /// Returns what identifies the counts of the rule. The number of requests, the burst and the name are no part of it:
    /// a limit that is raised does not forget what was counted.
    pub(in crate::limiter) fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    pub(super) fn with_fingerprint(mut self) -> Self {
        let mut hash = hmac_sha256::Hash::new();
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add("lanekeeper rule 1");
        add(self.source.domain.as_deref().unwrap_or_default());
        add(&self.path.as_ref().map(PathPattern::canonical).unwrap_or_default());
        for step in &self.steps {
            add(&step.key);
            add(step.value.as_ref().map_or("any", |value| match value.is_exact() {
                true => "value",
                false => "pattern",
            }));
            add(step.value.as_ref().map_or("", ValuePattern::as_str));
            add(if step.is_shared { "shared" } else { "own" });
        }
        if let Some(limit) = &self.limit {
            add(limit.algorithm().name());
            add(&limit.period().as_micros().to_string());
        }
        let digest = hash.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        self.fingerprint = u128::from_le_bytes(first);
        self
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Returns a period as a file has it: `minute`, `5min`, `90s`.
fn unit(period: Duration) -> String {
    let units =
        [(86_400, "day", "d"), (3600, "hour", "h"), (60, "minute", "min"), (1, "second", "s")];
    let seconds = period.as_secs();
    let whole = |length: &u64| period.subsec_nanos() == 0 && seconds > 0 && seconds % length == 0;
    match units.iter().find(|(length, ..)| whole(length)) {
        Some((length, word, _)) if seconds == *length => (*word).to_owned(),
        Some((length, _, short)) => format!("{}{short}", seconds / length),
        None => format!("{period:?}"),
    }
}

/// A pattern of a path that describes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path `{pattern}` of a rule: {why}")]
pub struct InvalidPath {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}
