//! The dashboard and the chapter for operators name exactly the metrics that exist.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use lanekeeper::telemetry::{Kind, METRICS, Metric};
use serde_json::Value;

const DASHBOARD: &str = include_str!("../docs/grafana.json");
const CHAPTER: &str = include_str!("../docs/operations.md");

/// Metrics that the dashboard leaves out, and why. None.
const NOT_SHOWN: &[(&str, &str)] = &[];

/// Collects the queries in the dashboard: of panels, and of the choices at its top.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if matches!(&**key, "expr" | "query" | "definition") => {
                        found.push(text.clone());
                    }
                    value => queries(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// Returns the metrics that a text names, as the exporter writes them.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words.filter(|word| word.starts_with("lanekeeper_")).map(str::to_owned).collect()
}

/// Returns what an exporter makes of a metric.
fn written(metric: &Metric) -> Vec<String> {
    match metric.kind {
        Kind::Counter | Kind::Gauge => vec![metric.name.to_owned()],
        Kind::Histogram => {
            ["_bucket", "_sum", "_count"].map(|end| metric.name.to_owned() + end).into()
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut all = Vec::new();
    queries(&dashboard, &mut all);
    assert!(all.len() > 30, "the queries are found");
    let shown: BTreeSet<_> = all.iter().flat_map(|query| named(query)).collect();
    let existing: BTreeSet<_> = METRICS.iter().flat_map(written).collect();
    let unknown: Vec<_> = shown.difference(&existing).collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
    for metric in METRICS {
        let is_shown = written(metric).iter().any(|name| shown.contains(name));
        let is_left_out = NOT_SHOWN.iter().any(|(name, _)| *name == metric.name);
        assert!(is_shown != is_left_out, "{}: shown {is_shown}", metric.name);
    }
}

#[test]
fn the_dashboard_uses_only_labels_that_its_metrics_have() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let (expr, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str());
        let of =
            |word: &str| METRICS.iter().find(|metric| written(metric).iter().any(|n| n == word));
        let words = named(expr);
        let labels: BTreeSet<_> =
            words.iter().filter_map(|word| of(word)).flat_map(|metric| metric.labels).collect();
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for by in expr.split("by (").skip(1) {
            used.extend(by.split(')').next().unwrap().split(',').map(str::trim));
        }
        for braces in legend.unwrap().split("{{").skip(1) {
            used.insert(braces.split("}}").next().unwrap());
        }
        used.remove("le");
        let strange: Vec<_> = used.iter().filter(|label| !labels.contains(label)).collect();
        assert!(strange.is_empty(), "{expr}: no label {strange:?}");
    }
}

#[test]
fn the_chapter_lists_every_metric_as_it_is() {
    for metric in METRICS {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels = metric.labels.join(", ");
        let row = format!("| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
        assert!(CHAPTER.contains(&row), "the table in docs/operations.md needs this row:\n{row}");
    }
    let existing: BTreeSet<_> = METRICS.iter().flat_map(written).collect();
    let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    let strange: Vec<_> = named(CHAPTER)
        .into_iter()
        .filter(|n| !existing.contains(n) && !names.contains(n))
        .collect();
    assert!(strange.is_empty(), "docs/operations.md names what there is not: {strange:?}");
}
