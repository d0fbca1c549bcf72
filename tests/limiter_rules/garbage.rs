//! No text makes the reader or the rules that it returns panic.

use std::fmt::Write as _;

use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rules};
use proptest::prelude::*;

use crate::NOW;

const KEYS: [&str; 24] = [
    "rules",
    "descriptors",
    "path",
    "key",
    "value",
    "unit",
    "requests_per_unit",
    "algorithm",
    "burst",
    "weight",
    "name",
    "unlimited",
    "shadow_mode",
    "share_threshold",
    "on_storage_error",
    "domain",
    "rate_limit",
    "replaces",
    "quota_mode",
    "detailed_metric",
    "value_to_metric",
    "metadata",
    "token",
    "x",
];

/// A value of a file, which is written in either format.
#[derive(Debug, Clone)]
enum Node {
    Plain(&'static str),
    List(Vec<Node>),
    Table(Vec<(&'static str, Node)>),
}

impl Node {
    fn write(&self, text: &mut String, is: &str) {
        match self {
            Self::Plain(plain) => text.push_str(plain),
            Self::List(items) => {
                text.push('[');
                for item in items {
                    item.write(text, is);
                    text.push_str(", ");
                }
                text.push(']');
            }
            Self::Table(entries) => {
                text.push_str("{ ");
                Self::write_entries(entries, text, is, ", ");
                text.push('}');
            }
        }
    }

    fn write_entries(entries: &[(&str, Self)], text: &mut String, is: &str, end: &str) {
        // A file with a key twice is refused before its rules are read.
        let mut known: Vec<&str> = Vec::new();
        for (key, node) in entries.iter().filter(|(key, _)| {
            let is_new = !known.contains(key);
            known.push(key);
            is_new
        }) {
            write!(text, "{key}{is}").unwrap();
            node.write(text, is);
            text.push_str(end);
        }
    }
}

fn scalar() -> impl Strategy<Value = Node> {
    let texts = [
        "'a'",
        "'b'",
        "'a*'",
        "'*'",
        "''",
        "'/'",
        "'/a/*'",
        "'/a/{x}'",
        "'/**'",
        "'second'",
        "'day'",
        "'1ms'",
        "'5min'",
        "'token_bucket'",
        "'fixed_window'",
        "'sliding_window_log'",
        "'sliding_window_counter'",
        "'allow'",
        "'deny'",
        "0",
        "1",
        "2",
        "5",
        "100",
        "4294967295",
        "9223372036854775807",
        "-1",
        "1.5",
        "true",
        "false",
    ];
    prop::sample::select(texts.to_vec()).prop_map(Node::Plain)
}

/// A value that often fits its key, so that many files are read to the end.
fn entry(
    node: impl Strategy<Value = Node> + Clone + 'static,
) -> BoxedStrategy<(&'static str, Node)> {
    let plain = |key: &'static str, values: &'static [&'static str]| {
        prop::sample::select(values).prop_map(move |value| (key, Node::Plain(value))).boxed()
    };
    let list = |key: &'static str, node: BoxedStrategy<Node>| {
        prop::collection::vec(node, 1..4).prop_map(move |items| (key, Node::List(items))).boxed()
    };
    let any = (prop::sample::select(&KEYS[..]), node.clone()).boxed();
    prop_oneof![
        1 => any,
        3 => plain("key", &["'a'", "'b'", "'c'", "'d'"]),
        1 => plain("value", &["'x'", "'x*'", "'y'", "7", "'*'"]),
        1 => plain("path", &["'/'", "'/a'", "'/a/*'", "'/{b}'", "'/**'"]),
        3 => plain("unit", &["'second'", "'day'", "'5min'"]),
        3 => plain("requests_per_unit", &["0", "1", "2", "7"]),
        1 => plain("unlimited", &["true", "false"]),
        1 => plain("shadow_mode", &["true", "false"]),
        1 => plain("share_threshold", &["true"]),
        1 => plain("weight", &["1", "2"]),
        1 => plain("algorithm", &["'fixed_window'", "'sliding_window_log'"]),
        3 => list("descriptors", node.boxed()),
    ]
    .boxed()
}

fn node() -> impl Strategy<Value = Node> + Clone {
    scalar().prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            1 => scalar(),
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Node::List),
            6 => prop::collection::vec(entry(inner), 0..7).prop_map(Node::Table),
        ]
    })
}

/// A table that is a rule as it should be, with something more.
fn rule(node: impl Strategy<Value = Node> + Clone + 'static) -> impl Strategy<Value = Node> {
    let first = prop::sample::select(
        &[("path", "'/'"), ("path", "'/a/*'"), ("path", "'/{b}'"), ("shadow_mode", "true")][..],
    );
    let requests = prop::sample::select(&["0", "1", "9"][..]);
    (first, requests, prop::option::of(entry(node))).prop_map(|((key, value), requests, more)| {
        let mut entries = vec![
            (key, Node::Plain(value)),
            ("unit", Node::Plain("'day'")),
            ("requests_per_unit", Node::Plain(requests)),
        ];
        entries.extend(more);
        Node::Table(entries)
    })
}

fn file() -> impl Strategy<Value = Vec<(&'static str, Node)>> {
    let rules =
        prop::collection::vec(rule(node()), 0..3).prop_map(|all| ("rules", Node::List(all)));
    let domain =
        prop::bool::weighted(0.3).prop_map(|has| has.then_some(("domain", Node::Plain("'d'"))));
    let rest = prop::collection::vec(entry(node()), 0..3);
    (domain, prop::option::of(rules), rest)
        .prop_map(|(domain, rules, rest)| domain.into_iter().chain(rules).chain(rest).collect())
}

/// Returns whether the rules were read. If they were, they are asked about requests.
fn try_out(read: Result<Rules, lanekeeper::config::ConfigError>) -> bool {
    let rules = match read {
        Ok(rules) => rules,
        Err(error) => {
            assert!(!error.problems().is_empty());
            // Each problem has a line, and is there once.
            let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
            assert_eq!(lines.len(), error.problems().len(), "{error}");
            for (at, line) in lines.iter().enumerate() {
                assert!(line.starts_with("line ") && !lines[..at].contains(line), "{error}");
            }
            return false;
        }
    };
    let mut names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    let limiter = RateLimiter::new(rules, MemoryStorage::new());
    for path in ["/", "/a", "/a/b", "/x"] {
        for value in ["x", "xy", "7"] {
            let request = Request::new(path).entry("a", value).entry("b", "y").entry("c", value);
            for weight in [0, 1, u32::MAX] {
                let verdict = limiter.check_at(&request.clone().weight(weight), NOW);
                assert!(verdict.storage_error().is_none());
            }
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_made_of_the_keys_breaks_the_reader(file in file()) {
        let (mut yaml, mut toml) = (String::new(), String::new());
        Node::write_entries(&file, &mut yaml, ": ", "\n");
        Node::write_entries(&file, &mut toml, " = ", "\n");
        // Both formats say the same of it, but for numbers where a text is meant.
        let (yaml_read, toml_read) = (try_out(Rules::from_yaml(&yaml)), try_out(Rules::from_toml(&toml)));
        prop_assert!(yaml_read || !toml_read, "{yaml}");
    }

    #[test]
    fn no_text_breaks_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "[ -~\n]{0,200}") {
        for text in [&*String::from_utf8_lossy(&bytes), &text] {
            let _ = (Rules::from_yaml(text).is_ok(), Rules::from_toml(text).is_ok());
        }
    }

    #[test]
    fn no_change_of_a_file_breaks_the_reader(
        at in 0..4096_usize,
        removed in 0..20_usize,
        added in "(|[\\[\\]{}:,*'\"=#\n -]{0,5}|[a-z_]{1,8}: |[0-9]{1,20})",
        is_envoys in any::<bool>(),
    ) {
        let good = if is_envoys { ENVOYS } else { OURS };
        let at = at % good.len();
        let end = (at + removed).min(good.len());
        let text = format!("{}{added}{}", &good[..at], &good[end..]);
        if let Ok(rules) = Rules::from_yaml(&text) {
            try_out(Ok(rules));
        }
        let _ = Rules::from_toml(&text.replace(": ", " = ")).is_ok();
    }
}

const OURS: &str = "\
on_storage_error: deny
rules:
  - path: /a/*
    unit: second
    requests_per_unit: 100
    burst: 200
    descriptors:
      - { key: a, value: x*, share_threshold: true, unit: 5min, requests_per_unit: 10, weight: 2 }
      - { key: b, algorithm: sliding_window_counter, unit: hour, requests_per_unit: 10 }
descriptors:
  - key: a
    value: x
    unlimited: true
";

const ENVOYS: &str = "\
domain: d
descriptors:
  - key: a
    rate_limit: { unit: hour, requests_per_unit: 5, name: five, replaces: [{ name: six }] }
    shadow_mode: true
    descriptors:
      - { key: b, value: y*, share_threshold: true, rate_limit: { unlimited: true } }
      - { key: b, value: y, metadata: { x: [1, 2] } }
";
