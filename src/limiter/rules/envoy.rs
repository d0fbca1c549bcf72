//! Reads the files of envoy's rate limit service, <https://github.com/envoyproxy/ratelimit>, as its README describes
//! them.
//!
//! What differs from that service, and why:
//!
//! - A request that one of its limits refuses is counted in none. The service counts it in all.
//! - `quota_mode` refuses nothing, as there, and is shown as shadow mode.
//! - `detailed_metric`, `value_to_metric` and `metadata` are read and change nothing: metrics have the names of rules,
//!   so that callers cannot make new ones.
//! - One file is one limiter. Several domains are several limiters.

use std::time::Duration;

use super::reader::{Context, Siblings, report_misplaced_key};
use super::rule::Rule;
use crate::config::reader::Table;
use crate::quota::request_limit::{Algorithm, RequestLimit};

/// Reads the whole file.
pub(super) fn read(mut root: Table<'_>) -> Vec<Rule> {
    let domain = root.text("domain", "the name of the domain").map(str::to_owned);
    if domain.as_deref() == Some("") {
        root.report_invalid("domain", "the domain is empty");
    }
    report_misplaced_key(&mut root);
    if !root.has("descriptors") {
        root.report_misplaced("there are no limits in it: write `descriptors`, a list of tables");
    }
    let mut rules = Vec::new();
    descriptors(&mut root, &Context { domain, ..Context::default() }, &mut rules);
    root.finish();
    rules
}

fn descriptors(parent: &mut Table<'_>, context: &Context, rules: &mut Vec<Rule>) {
    let mut siblings = Siblings::default();
    for mut node in parent.tables("descriptors").into_iter().flatten() {
        // A descriptor of a request may have one key twice.
        let Some(step) = siblings.step(&mut node) else { continue };
        let mut context = context.clone();
        context.steps.push(step);
        read_node(node, &context, rules);
    }
}

fn read_node(mut node: Table<'_>, context: &Context, rules: &mut Vec<Rule>) {
    let shadow = node.switch("shadow_mode").unwrap_or(false);
    let quota = node.switch("quota_mode").unwrap_or(false);
    for ignored in ["detailed_metric", "value_to_metric", "metadata"] {
        node.ignore(ignored);
    }
    match node.table("rate_limit") {
        Some(table) => {
            if let Some(rule) = rate_limit(table, context) {
                rules.push(Rule { is_shadow: shadow || quota, ..rule });
            }
        }
        // Without a limit and without descriptors it is an exception from one with a less specific value.
        None if !node.has("descriptors") => rules.push(context.rule(None, None, &node)),
        None => {}
    }
    descriptors(&mut node, context, rules);
    node.finish();
}

fn rate_limit(mut table: Table<'_>, context: &Context) -> Option<Rule> {
    let unlimited = table.switch("unlimited").unwrap_or(false);
    let words = [
        ("second", 1),
        ("minute", 60),
        ("hour", 3600),
        ("day", 86_400),
        ("week", 7 * 86_400),
        ("month", 30 * 86_400),
        ("year", 365 * 86_400),
    ];
    let unit =
        table.parsed("unit", "one of second, minute, hour, day, week, month, year", |text| {
            let text = text.to_ascii_lowercase();
            words.iter().find(|(word, _)| *word == text).map(|(_, seconds)| *seconds)
        });
    report_misplaced_key(&mut table);
    let requests: Option<u32> = table.number("requests_per_unit");
    let label = table.text("name", "a name").map(str::to_owned);
    let mut replaces = Vec::new();
    for mut replaced in table.tables("replaces").into_iter().flatten() {
        match replaced.text("name", "the name of a limit").map(str::to_owned) {
            None if replaced.has("name") => {} // Its problem is reported.
            None => replaced.report_misplaced("an entry of `replaces` has a `name`"),
            Some(name) if name.is_empty() => {
                replaced.report_invalid("name", "the name is empty");
            }
            Some(name) if Some(&name) == label.as_ref() => {
                replaced.report_invalid("name", "a limit cannot replace itself");
            }
            Some(name) => replaces.push(name),
        }
        replaced.finish();
    }
    let limit = match (unlimited, unit) {
        (true, Some(_)) => {
            table.report_invalid("unit", "this limit is unlimited, so it has no unit");
            None
        }
        (true, None) => None,
        (false, None) => {
            if !table.has("unit") {
                table.report_misplaced("write a `unit`, or `unlimited: true`");
            }
            table.finish();
            return None;
        }
        (false, Some(_)) if !table.has("requests_per_unit") => {
            table.report_misplaced("a limit has `requests_per_unit`");
            None
        }
        (false, Some(seconds)) => {
            let period = Duration::from_secs(seconds);
            let limit =
                RequestLimit::new(Algorithm::FixedWindow, requests.unwrap_or_default(), period);
            if let Err(error) = limit {
                table.report_invalid("requests_per_unit", error.to_string());
            }
            limit.ok()
        }
    };
    let rule = context.rule(None, limit, &table);
    table.finish();
    Some(Rule { label, replaces, ..rule })
}
