//! Reads rules from a file of ours: see `docs/limiter.md` for its keys.
//!
//! Each node of the tree in the file that has a limit becomes a [`Rule`] with the keys of all nodes around it.

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
    let mut paths: Vec<(String, Option<usize>)> = Vec::new();
    for mut node in root.tables("rules").into_iter().flatten() {
        let mut context = context.clone();
        context.path = path(&mut node);
        let canonical = context.path.as_ref().map(PathPattern::canonical).unwrap_or_default();
        let known = paths.iter().find(|(path, _)| *path == canonical);
        if let (Some((_, line)), Some(_)) = (known, &context.path) {
            let at = line.map_or(String::new(), |line| format!(" in line {line}"));
            node.report_invalid("path", format!("there is a rule for these paths{at}; write one"));
        }
        paths.push((canonical, node.line()));
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
    let unlimited = node.switch("unlimited").unwrap_or(false);
    let limit = limit(&mut node, unlimited);
    let name = node.text("name", "a name").map(str::to_owned);
    let weight = node.number("weight").unwrap_or(1);
    let is_shadow = node.switch("shadow_mode").unwrap_or(false);
    let own = ["weight", "shadow_mode", "name"].into_iter().find(|key| node.has(key));
    match (limit, unlimited) {
        (Some(limit), _) => {
            if weight > limit.capacity() && limit.capacity() > 0 {
                let why = format!(
                    "no request would ever be admitted: it weighs {weight}, and the limit is {}",
                    limit.capacity()
                );
                node.report_invalid("weight", why);
            }
            let rule = context.rule(name, Some(limit), &node);
            rules.push(Rule { weight, is_shadow, ..rule });
        }
        (None, true) => rules.push(context.rule(name, None, &node)),
        (None, false) => {
            if let Some(own) = own {
                node.report_invalid(own, "there is no limit here that this could be about");
            } else if !node.has("descriptors")
                && !node.has("requests_per_unit")
                && !node.has("unit")
            {
                node.report_misplaced(
                    "write a limit (`unit` and `requests_per_unit`), or `descriptors`, or `unlimited: true`",
                );
            }
        }
    }
    descriptors(&mut node, &context, rules);
    node.finish();
}

/// Reads the nodes inside a node.
fn descriptors(parent: &mut Table<'_>, context: &Context, rules: &mut Vec<Rule>) {
    let mut siblings = Siblings::default();
    for mut node in parent.tables("descriptors").into_iter().flatten() {
        let Some(step) = siblings.step(&mut node, &context.steps) else { continue };
        let mut context = context.clone();
        context.steps.push(step);
        read_node(node, &context, rules);
    }
}

/// The nodes that were read of one list, to find those that describe the same.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    known: Vec<(Step, Option<usize>)>,
}

impl Siblings {
    /// Reads `key`, `value` and `share_threshold`. `around` are the keys of the nodes around this one.
    pub(super) fn step(&mut self, node: &mut Table<'_>, around: &[Step]) -> Option<Step> {
        let key = node.text("key", "the key of an entry of requests").map(str::to_owned);
        if !node.has("key") {
            node.report_misplaced("a descriptor has a `key`");
        }
        let value = node.word("value").filter(|value| !value.is_empty());
        let value = value.as_deref().map(ValuePattern::parse);
        let is_shared = node.switch("share_threshold").unwrap_or(false);
        let key = key?;
        if key.is_empty() {
            node.report_invalid("key", "the key is empty");
        }
        if is_shared && value.as_ref().is_none_or(ValuePattern::is_exact) {
            let why = "only values with a `*` can share a limit";
            node.report_invalid("share_threshold", why);
        }
        let step = Step { key, value, is_shared };
        let same = |other: &Step| (&other.key, &other.value) == (&step.key, &step.value);
        if let Some((_, line)) = self.known.iter().find(|(other, _)| same(other)) {
            let at = line.map_or(String::new(), |line| format!(" in line {line}"));
            node.report_misplaced(format!("there is a descriptor with this key and value{at}"));
        }
        if around.iter().any(|other| other.key == step.key) {
            let why =
                "a descriptor around this one has the same key, and a request has one value for it";
            node.report_invalid("key", why);
        }
        self.known.push((step.clone(), node.line()));
        Some(step)
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

fn limit(node: &mut Table<'_>, unlimited: bool) -> Option<RequestLimit> {
    let requests = node.number("requests_per_unit");
    let unit = node.text("unit", UNITS);
    let algorithm = node.choice("algorithm", &ALGORITHMS);
    let burst = node.number("burst");
    let keys = ["requests_per_unit", "unit", "algorithm", "burst"];
    let first = keys.into_iter().find(|key| node.has(key))?;
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
