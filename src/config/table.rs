//! Reads one table of a configuration: a method for each kind of value, and a check for unknown keys at the end.
//!
//! Called by `lanes`, `layers` and the reader of the gateway. Reading does not stop at the first mistake: each problem is recorded with its path
//! and line, so that one error lists all problems of a file.

use std::cell::RefCell;
use std::time::Duration;

use super::error::Problem;
use super::node::{ConfigEntry, ConfigNode, ConfigValue};
use super::secret;
use crate::quota::{Quota, Reserve, parse_time};
use crate::resilience::PolicyError;

/// The problems found so far.
pub type Problems = RefCell<Vec<Problem>>;

/// A table that is being read.
pub struct Table<'a> {
    path: String,
    line: Option<usize>,
    content: TableContent<'a>,
    /// The keys that were read, which are all that exist.
    known_keys: Vec<&'static str>,
    pub(super) problems: &'a Problems,
}

#[derive(Clone, Copy)]
enum TableContent<'a> {
    Entries(&'a [ConfigEntry]),
    /// `quote = "1/s"`, which is short for a table with only this key.
    Shorthand(&'static str, &'a ConfigNode),
}

impl<'a> Table<'a> {
    /// Returns the table at `path`, or reports that `node` is not a table.
    pub fn new(path: String, node: &'a ConfigNode, problems: &'a Problems) -> Option<Self> {
        let content = match &node.value {
            ConfigValue::Table(entries) => TableContent::Entries(entries),
            // An empty file is a table without settings. A key without a value is an unfinished line.
            ConfigValue::Null if path.is_empty() => TableContent::Entries(&[]),
            other => {
                let name = path.rsplit('.').next().unwrap_or_default();
                let why = secret::secret_key_error(name)
                    .unwrap_or_else(|| format!("write a table of settings, not {}", other.kind()));
                problems.borrow_mut().push(Problem::new(path, node.line, why));
                return None;
            }
        };
        Some(Self { path, line: node.line, content, known_keys: Vec::new(), problems })
    }

    /// Returns the path of this table in the file, as in `rules[2].descriptors[0]`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the line of this table, if it is known.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// Reports that this table does not belong here.
    pub fn report_misplaced(&self, why: impl Into<String>) {
        self.problems.borrow_mut().push(Problem::new(&self.path, self.line, why));
    }

    /// Reports that the value of `key` is invalid.
    pub fn report_invalid(&self, key: &str, why: impl Into<String>) {
        let line = self.find(key).and_then(|node| node.line).or(self.line);
        self.problems.borrow_mut().push(Problem::new(self.key_path(key), line, why));
    }

    /// Reports a setting that a policy refuses. Keys have the names of the policies' methods.
    pub(super) fn check_policy(&self, result: Result<(), PolicyError>) {
        let Err(PolicyError { setting, value, allowed, .. }) = result else { return };
        let value = if value == "None" { "off" } else { value.as_str() };
        let allowed = allowed
            .replace("RetryPolicy::none()", "`retry = \"off\"`")
            .replace("BreakerPolicy::disabled()", "`breaker = \"off\"`");
        self.report_invalid(setting, format!("{value} will not do: write {allowed}"));
    }

    /// Reads an integer that is not negative.
    pub fn number<N: TryFrom<i64>>(&mut self, key: &'static str) -> Option<N> {
        let node = self.get(key)?;
        self.as_number(key, node)
    }

    /// Reads an integer that is not negative, or `off`.
    pub(super) fn number_or_off(&mut self, key: &'static str) -> Option<Option<u32>> {
        let node = self.get(key)?;
        if is_off(&node.value) { Some(None) } else { self.as_number(key, node).map(Some) }
    }

    /// Reads a reserve: a number of slots, or a share such as `"5%"`.
    pub fn reserve(&mut self, key: &'static str) -> Option<Reserve> {
        let node = self.get(key)?;
        let ConfigValue::Text(text) = &node.value else {
            return self.as_number(key, node).map(Reserve::Slots);
        };
        let percent = text.strip_suffix('%').and_then(|share| share.trim_end().parse().ok());
        if percent.is_none() {
            self.report_invalid(
                key,
                format!("`{text}` will not do: write a number, or a share as \"5%\""),
            );
        }
        percent.map(Reserve::Percent)
    }

    /// Reads a number from `min` to `max`.
    pub(super) fn fraction(&mut self, key: &'static str, min: f64, max: f64) -> Option<f64> {
        let node = self.get(key)?;
        #[allow(clippy::cast_precision_loss)]
        // Numbers that are large enough to lose precision are refused.
        let number = match node.value {
            ConfigValue::Float(number) => Some(number),
            ConfigValue::Int(number) => Some(number as f64),
            _ => None,
        };
        let share = number.filter(|number| (min..=max).contains(number));
        if share.is_none() {
            self.report_invalid(key, format!("write a number from {min} to {max}"));
        }
        share
    }

    /// Reads a number like [`fraction`](Self::fraction), or `off`.
    pub(super) fn fraction_or_off(
        &mut self,
        key: &'static str,
        min: f64,
        max: f64,
    ) -> Option<Option<f64>> {
        match self.get(key) {
            Some(node) if is_off(&node.value) => Some(None),
            _ => self.fraction(key, min, max).map(Some),
        }
    }

    /// Reads a time with its unit.
    pub fn time(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key, "a time with its unit, as \"250ms\" or \"5s\"")?;
        parse_time(text).map_err(|error| self.report_invalid(key, error.to_string())).ok()
    }

    /// Reads a time from `min` to one day.
    pub fn time_at_least(&mut self, key: &'static str, min: Duration) -> Option<Duration> {
        let day = Duration::from_secs(86_400);
        self.time_between(key, min, day, "a day")
    }

    /// Reads a time from `min` to `max`. An error calls the latter `max_text`.
    pub fn time_between(
        &mut self,
        key: &'static str,
        min: Duration,
        max: Duration,
        max_text: &str,
    ) -> Option<Duration> {
        let time = self.time(key)?;
        if (min..=max).contains(&time) {
            return Some(time);
        }
        self.report_invalid(
            key,
            format!("{time:?} will not do: write a time from {min:?} to {max_text}"),
        );
        None
    }

    /// Reads a quota.
    pub fn quota(&mut self, key: &'static str) -> Option<Quota> {
        let text = self.text(key, "a quota, as \"10/s, 400/min\"")?;
        text.parse()
            .map_err(|error: crate::quota::ParseQuotaError| {
                self.report_invalid(key, error.to_string());
            })
            .ok()
    }

    /// Reads one of several words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let one = format!("one of {}", all.join(", "));
        let text = self.text(key, &one)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            self.report_invalid(key, format!("`{text}` will not do: write {one}"));
        }
        found
    }

    /// Reads a text. An error describes it as `what`.
    pub fn text(&mut self, key: &'static str, what: &str) -> Option<&'a str> {
        let node = self.get(key)?;
        match &node.value {
            ConfigValue::Text(text) => Some(text),
            other => {
                self.report_invalid(key, format!("write {what}, not {}", other.kind()));
                None
            }
        }
    }

    /// Reads a table inside this one.
    pub fn table(&mut self, key: &'static str) -> Option<Self> {
        let node = self.get(key)?;
        Self::new(self.key_path(key), node, self.problems)
    }

    /// Reads a table inside this one, or `off`.
    pub(super) fn table_or_off(&mut self, key: &'static str) -> Option<Option<Self>> {
        match self.get(key) {
            Some(node) if is_off(&node.value) => Some(None),
            Some(ConfigNode { value: ConfigValue::Bool(_) | ConfigValue::Text(_), .. }) => {
                self.report_invalid(key, "write a table of settings, or \"off\"");
                None
            }
            _ => self.table(key).map(Some),
        }
    }

    /// Reads the tables inside the table `key`, each with its name. If `short` is set, a text stands for a table with
    /// only the key `short`.
    pub fn named_tables(
        &mut self,
        key: &'static str,
        short: Option<&'static str>,
    ) -> Vec<(&'a str, Self)> {
        let Some(Self { path, content: TableContent::Entries(entries), problems, .. }) =
            self.table(key)
        else {
            return Vec::new();
        };
        let read = |entry: &'a ConfigEntry| {
            let path = join_path(&path, &entry.key);
            let table = match (&entry.node.value, short) {
                (ConfigValue::Text(text), Some(short)) if is_shorthand(&entry.key, text) => {
                    let content = TableContent::Shorthand(short, &entry.node);
                    Self { path, line: entry.node.line, content, known_keys: Vec::new(), problems }
                }
                _ => Self::new(path, &entry.node, problems)?,
            };
            Some((entry.key.as_str(), table))
        };
        entries.iter().filter_map(read).collect()
    }

    /// Returns the keys that were read so far, which are all that exist.
    pub fn known_keys(&self) -> Vec<&'static str> {
        self.known_keys.clone()
    }

    /// Returns whether `key` exists.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Reports the keys that were not read.
    pub fn finish(self) {
        let TableContent::Entries(entries) = self.content else { return };
        for ConfigEntry { key, .. } in entries {
            if !self.known_keys.contains(&key.as_str()) {
                let unknown = || match new_name(key).filter(|new| self.known_keys.contains(new)) {
                    Some(new) => format!("this key is called `{new}` now"),
                    None => {
                        format!("there is no such key; there are: {}", self.known_keys.join(", "))
                    }
                };
                self.report_invalid(key, secret::secret_key_error(key).unwrap_or_else(unknown));
            }
        }
    }

    fn as_number<N: TryFrom<i64>>(&self, key: &str, node: &ConfigNode) -> Option<N> {
        let number = match node.value {
            ConfigValue::Int(number) => N::try_from(number).ok(),
            _ => None,
        };
        if number.is_none() {
            let why = match node.value {
                ConfigValue::Int(number) if number < 0 => format!("{number} will not do: "),
                ConfigValue::Int(number) => format!("{number} is too large: "),
                ConfigValue::Text(_) => "this is a text: ".to_owned(),
                _ => String::new(),
            };
            self.report_invalid(key, why + "write a whole number, not below 0");
        }
        number
    }

    /// Returns the value of `key`, which is a key that exists.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a ConfigNode> {
        if !self.known_keys.contains(&key) {
            self.known_keys.push(key);
        }
        self.find(key)
    }

    pub(super) fn find(&self, key: &str) -> Option<&'a ConfigNode> {
        match self.content {
            TableContent::Entries(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
            }
            TableContent::Shorthand(short, node) => (short == key).then_some(node),
        }
    }

    pub(super) fn key_path(&self, key: &str) -> String {
        match self.content {
            TableContent::Shorthand(short, _) if short == key => self.path.clone(),
            _ => join_path(&self.path, key),
        }
    }
}

/// Keys of earlier versions, with their present names.
const RENAMED: [(&str, &str); 18] = [
    ("absent_ttl", "negative_ttl"),
    ("base", "base_delay"),
    ("cap", "max_delay"),
    ("capacity", "max_capacity"),
    ("gather", "linger"),
    ("idle", "time_to_idle"),
    ("keep", "keep_percent"),
    ("least", "min_percent"),
    ("longest_half_open", "max_half_open"),
    ("longest_open", "max_open"),
    ("longest_pause", "max_pause"),
    ("longest_wait", "max_wait"),
    ("most_keys", "max_batch_keys"),
    ("most_weight", "max_batch_weight"),
    ("own_tags", "caller_tags"),
    ("serve_stale", "stale_while_revalidate"),
    ("settle", "settle_time"),
    ("step", "step_percent"),
];

fn new_name(key: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == key).map(|(_, new)| *new)
}

/// Returns whether the text is meant as a quota. A lane may be called `auth`. Under the name of a secret, a text is
/// a quota if it parses as one, and is taken for a secret otherwise.
fn is_shorthand(name: &str, text: &str) -> bool {
    secret::secret_key_error(name).is_none() || text.parse::<Quota>().is_ok()
}

pub(super) fn is_off(value: &ConfigValue) -> bool {
    // YAML 1.1 reads `off` without quotes as false, and `false` is often written for it.
    matches!(value, ConfigValue::Bool(false))
        || matches!(value, ConfigValue::Text(text) if text == "off")
}

/// Returns the path of `key` in the table at `path`. The key is quoted if it is not a single word.
pub fn join_path(path: &str, key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let bare = !key.is_empty() && key.chars().all(is_bare);
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
