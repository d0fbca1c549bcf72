//! Reads rules from a file of ours: see `docs/limiter.md` for its keys.
//!
//! Each node of the tree in the file that has a limit becomes a [`Rule`] with the keys of all nodes around it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use super::path::PathPattern;
use super::rule::{OnStorageError, Rule, Source, Step};
use super::value::ValuePattern;
use crate::config::reader::Table;
use crate::quota::parse_time;
use crate::quota::request_limit::{Algorithm, RequestLimit, RequestLimitError};

/// What a node has from those around it.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub(super) domain: Option<String>,
    pub(super) path: Option<PathPattern>,
    pub(super) steps: Vec<Step>,
    pub(super) on_storage_error: OnStorageError,
}

/// Reads the whole file.
pub(super) fn read(mut root: Table<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut context = Context::default();
    context.on_storage_error = on_storage_error(&mut root, &context);
    let mut paths: HashMap<String, Option<usize>> = HashMap::new();
    report_misplaced_key(&mut root);
    for mut node in root.tables("rules").into_iter().flatten() {
        report_misplaced_key(&mut node);
        let mut context = context.clone();
        context.path = path(&mut node);
        if let Some(path) = &context.path {
            let line = node.line();
            if let Some(known) = paths.insert(path.canonical(), line) {
                let at = known.map_or(String::new(), |line| format!(" in line {line}"));
                let why = format!("there is a rule for these paths{at}: write one for both");
                node.report_invalid("path", why);
            }
        }
        read_node(node, &context, &mut rules);
    }
    descriptors(&mut root, &context, &mut rules);
    if !root.has("rules") && !root.has("descriptors") {
        root.report_misplaced("there are no rules in it: write `rules`, a list of tables");
    }
    root.finish();
    rules
}

/// Reads a node whose path or key is read: its limit, and the nodes inside it.
fn read_node(mut node: Table<'_>, context: &Context, rules: &mut Vec<Rule>) {
    let context =
        Context { on_storage_error: on_storage_error(&mut node, context), ..context.clone() };
    let switch = node.switch("unlimited");
    let unlimited = switch.unwrap_or(false);
    let limit = limit(&mut node, unlimited);
    let name = node.text("name", "a name").map(str::to_owned);
    if name.as_deref() == Some("") {
        node.report_invalid("name", "the name is empty");
    }
    let weight = node.number("weight").unwrap_or(1);
    let is_shadow = node.switch("shadow_mode").unwrap_or(false);
    match limit {
        Some(limit) => {
            if weight > limit.capacity() && limit.capacity() > 0 {
                let capacity = limit.capacity();
                let why = format!(
                    "no request would ever be admitted: it weighs {weight}, and the limit is {capacity}"
                );
                node.report_invalid("weight", why);
            }
            let rule = context.rule(name, Some(limit), &node);
            rules.push(Rule { weight, is_shadow, ..rule });
        }
        None if unlimited => {
            for key in ["weight", "shadow_mode"] {
                if node.has(key) {
                    node.report_invalid(key, "this rule is unlimited, so it has nothing to count");
                }
            }
            rules.push(context.rule(name, None, &node));
        }
        // The problem of a switch that cannot be read is reported.
        None if switch.is_none() && node.has("unlimited") => {}
        None => report_without_limit(&mut node),
    }
    descriptors(&mut node, &context, rules);
    node.finish();
}

/// Reports what is wrong with a node that has no limit. What is wrong with a limit is reported already.
fn report_without_limit(node: &mut Table<'_>) {
    if node.has("rate_limit") {
        let why = "only files of envoy's rate limit service have this, and they have a `domain`: \
                   write `unit` and `requests_per_unit` beside the key";
        node.report_misplaced_key("rate_limit", why);
        return;
    }
    if LIMIT_KEYS.into_iter().any(|key| node.has(key)) {
        return;
    }
    match ["weight", "shadow_mode", "name"].into_iter().find(|key| node.has(key)) {
        Some(own) => node.report_invalid(own, "there is no limit here that this could be about"),
        None if node.has("descriptors") => {}
        None => node.report_misplaced(
            "write a limit (`unit` and `requests_per_unit`), or `descriptors`, or `unlimited: true`",
        ),
    }
}

/// Reports a `key` in a table that is no descriptor. Otherwise it would be taken for the key of an account, a secret.
pub(super) fn report_misplaced_key(table: &mut Table<'_>) {
    for key in ["key", "value"] {
        if table.has(key) {
            table.report_misplaced_key(key, "this belongs in a table of the list `descriptors`");
        }
    }
}

/// Reads the nodes inside a node.
fn descriptors(parent: &mut Table<'_>, context: &Context, rules: &mut Vec<Rule>) {
    let mut siblings = Siblings::default();
    for mut node in parent.tables("descriptors").into_iter().flatten() {
        let Some(step) = siblings.step(&mut node) else { continue };
        check_step(&node, &step, &context.steps);
        let mut context = context.clone();
        context.steps.push(step);
        read_node(node, &context, rules);
    }
}

/// Reports a step that makes no sense inside `around`. A request to rules of ours has one value for each key, and finds
/// its rules by the keys that it has.
fn check_step(node: &Table<'_>, step: &Step, around: &[Step]) {
    if around.iter().any(|other| other.key == step.key) {
        let why =
            "a descriptor around this one has the same key, and a request has one value for it";
        node.report_invalid("key", why);
    }
    if step.value.as_ref().is_some_and(ValuePattern::is_any) && !step.is_shared {
        node.report_invalid("value", "the value `*` is any value: leave `value` out");
    }
    if step.value.is_none() && node.has("value") {
        node.report_invalid("value", "the value is empty: leave `value` out for any value");
    }
}

/// The nodes that were read of one list, to find those that describe the same.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// The line of each key and value.
    known: HashMap<(String, Option<String>), Option<usize>>,
}

impl Siblings {
    /// Reads `key`, `value` and `share_threshold`. An empty value is no value.
    pub(super) fn step(&mut self, node: &mut Table<'_>) -> Option<Step> {
        let key = node.text("key", "the key of an entry of requests").map(str::to_owned);
        if !node.has("key") {
            node.report_misplaced("a descriptor has a `key`");
        }
        let word = node.word("value");
        let is_unreadable = node.has("value") && word.is_none();
        let value = word.filter(|value| !value.is_empty());
        let value = value.as_deref().map(ValuePattern::parse);
        let is_shared = node.switch("share_threshold").unwrap_or(false);
        let key = key?;
        if key.is_empty() {
            node.report_invalid("key", "the key is empty");
        }
        // The problem of a value that cannot be read is reported. It is no other value either.
        if is_unreadable {
            return None;
        }
        if is_shared && value.as_ref().is_none_or(ValuePattern::is_exact) {
            let why = "only values with a `*` can share a limit";
            node.report_invalid("share_threshold", why);
        }
        let text = value.as_ref().map(|value| value.as_str().to_owned());
        match self.known.entry((key.clone(), text)) {
            Entry::Occupied(known) => {
                let at = known.get().map_or(String::new(), |line| format!(" in line {line}"));
                node.report_misplaced(format!("there is a descriptor with this key and value{at}"));
            }
            Entry::Vacant(new) => {
                new.insert(node.line());
            }
        }
        Some(Step { key, value, is_shared })
    }
}

impl Context {
    /// Returns the rule of a node with this limit.
    pub(super) fn rule(
        &self,
        name: Option<String>,
        limit: Option<RequestLimit>,
        node: &Table<'_>,
    ) -> Rule {
        let source = Source {
            domain: self.domain.clone(),
            place: node.path().to_owned(),
            line: node.line(),
        };
        let rule = Rule::from_parts(name.unwrap_or_else(|| self.name()), limit, source);
        let rule = Rule {
            path: self.path.clone(),
            steps: self.steps.clone(),
            on_storage_error: self.on_storage_error,
            ..rule
        };
        rule.with_fingerprint()
    }

    /// The name of a rule that has none: its path and its keys, as in `/orders/* tier=free user`.
    fn name(&self) -> String {
        let path = self.path.as_ref().map(ToString::to_string);
        let steps = self.steps.iter().map(|step| match &step.value {
            None => step.key.clone(),
            Some(value) => format!("{}={}", step.key, value.as_str()),
        });
        let parts: Vec<String> = self.domain.clone().into_iter().chain(path).chain(steps).collect();
        if parts.is_empty() { "all requests".to_owned() } else { parts.join(" ") }
    }
}

fn path(node: &mut Table<'_>) -> Option<PathPattern> {
    let text = node.text("path", "a path, such as \"/orders/*\"")?;
    PathPattern::parse(text).map_err(|why| node.report_invalid("path", why)).ok()
}

fn on_storage_error(node: &mut Table<'_>, context: &Context) -> OnStorageError {
    let words = [("allow", OnStorageError::Allow), ("deny", OnStorageError::Deny)];
    node.choice("on_storage_error", &words).unwrap_or(context.on_storage_error)
}

const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("token_bucket", Algorithm::TokenBucket),
    ("fixed_window", Algorithm::FixedWindow),
    ("sliding_window_log", Algorithm::SlidingWindowLog),
    ("sliding_window_counter", Algorithm::SlidingWindowCounter),
];

const LIMIT_KEYS: [&str; 4] = ["requests_per_unit", "unit", "algorithm", "burst"];

fn limit(node: &mut Table<'_>, unlimited: bool) -> Option<RequestLimit> {
    let requests = node.number("requests_per_unit");
    let unit = node.text("unit", UNITS);
    let algorithm = node.choice("algorithm", &ALGORITHMS);
    let burst = node.number("burst");
    let first = LIMIT_KEYS.into_iter().find(|key| node.has(key))?;
    if unlimited {
        node.report_invalid(first, "this rule is unlimited, so it has no limit");
        return None;
    }
    for key in ["requests_per_unit", "unit"] {
        if !node.has(key) {
            node.report_invalid(first, format!("a limit has a `{key}` too"));
        }
    }
    let unit = unit.and_then(|text| {
        let period = self::unit(text);
        if period.is_none() {
            node.report_invalid("unit", format!("`{text}` will not do: write {UNITS}"));
        }
        period
    });
    let (requests, unit) = (requests?, unit?);
    let algorithm = algorithm.unwrap_or(Algorithm::TokenBucket);
    let limit = RequestLimit::new(algorithm, requests, unit).map_err(|error| {
        let key = match error {
            RequestLimitError::Period | RequestLimitError::CounterPeriod => "unit",
            _ => "requests_per_unit",
        };
        node.report_invalid(key, error.to_string());
    });
    let limit = limit.ok()?;
    match burst {
        None => Some(limit),
        Some(burst) => limit
            .with_burst(burst)
            .map_err(|error| node.report_invalid("burst", error.to_string()))
            .ok(),
    }
}

const UNITS: &str = "one of \"second\", \"minute\", \"hour\", \"day\", or a time as \"5min\"";

fn unit(text: &str) -> Option<Duration> {
    let seconds = match text.to_ascii_lowercase().as_str() {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return parse_time(text).ok(),
    };
    Some(Duration::from_secs(seconds))
}
