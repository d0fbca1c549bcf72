//! The file in `docs/configuration.md` that has every key: both of its forms mean the same, each key takes effect,
//! and any mistake in it is refused with the path and the line.
#![cfg(all(feature = "config", feature = "journal", feature = "redis"))]
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lanekeeper::Config;
use lanekeeper::lane::LaneConfig;
use proptest::prelude::*;

const CHAPTER: &str = include_str!("../docs/configuration.md");

/// Returns the code in the chapter's last block of this language.
fn block(language: &str) -> &'static str {
    let start = format!("```{language}\n");
    let (_, rest) = CHAPTER.rsplit_once(&start).expect("the chapter has such a block");
    rest.split_once("```").expect("the block has an end").0
}

fn toml() -> Form {
    Form { text: block("toml"), read: |text| Config::from_toml(text), sign: " = ", lines: in_toml }
}

fn yaml() -> Form {
    Form { text: block("yaml"), read: |text| Config::from_yaml(text), sign: ": ", lines: in_yaml }
}

/// One of the two languages.
#[derive(Clone, Copy)]
struct Form {
    text: &'static str,
    read: fn(&str) -> Result<Config, lanekeeper::config::ConfigError>,
    /// The sign between a key and its value.
    sign: &'static str,
    lines: fn(&str) -> Vec<Line>,
}

/// A line with a key and a value.
#[derive(Debug, Clone)]
struct Line {
    number: usize,
    path: String,
    key: String,
}

fn in_toml(text: &str) -> Vec<Line> {
    let mut table = String::new();
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ") {
            lines.push(Line { number, path: format!("{table}{key}"), key: key.to_owned() });
        }
    }
    lines
}

fn in_yaml(text: &str) -> Vec<Line> {
    let mut tables: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let depth = (line.len() - line.trim_start().len()) / 2;
        tables.truncate(depth);
        let (key, value) = line.trim().split_once(':').expect("a key");
        tables.push(key);
        if !value.is_empty() {
            lines.push(Line { number, path: tables.join("."), key: key.to_owned() });
        }
    }
    lines
}

impl Form {
    fn lines(self) -> Vec<Line> {
        (self.lines)(self.text)
    }

    fn config(self) -> Config {
        (self.read)(self.text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the file with another key or another value in one line.
    fn with(self, line: &Line, key: &str, value: Option<&str>) -> String {
        let change = |(number, text): (usize, &str)| {
            if number != line.number {
                return format!("{text}\n");
            }
            let (before, old) = text.split_once(self.sign).expect("a key and a value");
            let indent = " ".repeat(before.len() - before.trim_start().len());
            format!("{indent}{key}{}{}\n", self.sign, value.unwrap_or(old))
        };
        (1..).zip(self.text.lines()).map(change).collect()
    }

    /// Asserts that the file with this line broken is refused, for this path and this line.
    #[track_caller]
    fn refuses(self, text: &str, path: &str, line: usize) {
        let error = (self.read)(text).expect_err(path);
        let is_reported =
            error.problems().iter().any(|it| it.path == path && it.line == Some(line));
        assert!(is_reported, "{path}, line {line}, is not among: {error}");
    }
}

#[test]
fn toml_and_yaml_say_the_same() {
    assert_eq!(toml().config(), yaml().config());
    let paths = |form: Form| {
        let mut paths: Vec<String> = form.lines().into_iter().map(|line| line.path).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths(toml()), paths(yaml()));
    assert_eq!(paths(toml()).len(), 72, "a new key belongs in the chapter");
}

/// Returns the rows of the chapter's table: the key, with `*` for names, and its default.
fn rows() -> Vec<(&'static str, &'static str)> {
    let table = CHAPTER.split_once("## Every key").expect("the table").1;
    let table = table.split_once("\n## ").expect("the next heading").0;
    let cells = |line: &'static str| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        Some((cells.next()?, cells.next()?))
    };
    table.lines().filter(|line| line.starts_with("| `")).filter_map(cells).collect()
}

#[test]
fn every_key_of_the_file_is_in_the_table_and_the_other_way_round() {
    let starred = |path: &str| {
        let mut parts: Vec<&str> = path.split('.').collect();
        if parts.len() > 1 && ["lanes", "budgets", "users"].contains(&parts[0]) {
            parts[1] = "*";
        }
        parts.join(".")
    };
    let written: Vec<String> = toml().lines().iter().map(|line| starred(&line.path)).collect();
    for key in &written {
        assert!(rows().iter().any(|(row, _)| row == key), "{key} is not in the table");
    }
    for (row, _) in rows() {
        let table = format!("{row}.");
        let used = written.iter().any(|key| key == row || key.starts_with(&table));
        assert!(used, "{row} is not in the file");
    }
}

#[test]
fn the_defaults_in_the_table_are_the_defaults() {
    // Each default written out changes nothing.
    let mut seen = 0;
    for (row, default) in rows().into_iter().filter(|(_, default)| !default.is_empty()) {
        let path = row.replace('*', "x");
        // What a shared quota needs in any case.
        let needed = match path.starts_with("shared.") {
            true => "shared.url = 'redis://127.0.0.1'\nshared.account = 'a'\n",
            false => "",
        };
        let config = Config::from_toml(&format!("{needed}{path} = {default}")).expect(row);
        seen += 1;
        if path.starts_with("lanes.") {
            let (_, settings) = config.settings().lanes().next().expect(row);
            assert_ne!(settings, &LaneConfig::default(), "{row}");
        }
    }
    assert_eq!(seen, 50, "a default was added or taken away");
}

#[test]
fn every_key_takes_effect() {
    let numbers = ["1", "2", "3", "7", "0.6", "true"];
    let texts = [
        "1s",
        "7s",
        "1min",
        "2min",
        "500/min",
        "block",
        "hold",
        "as_is",
        "forced_open",
        "dhan",
        "share",
        "redis://other",
        "OTHER",
        "x",
    ];
    for form in [toml(), yaml()] {
        let before = form.config();
        for line in form.lines() {
            let texts = texts.map(|text| format!("\"{text}\""));
            let mut values = numbers.iter().copied().chain(texts.iter().map(String::as_str));
            let other = |value: &str| (form.read)(&form.with(&line, &line.key, Some(value))).ok();
            // What is off is turned on by another value of the same kind.
            let on = || other("{}").is_some_and(|config| config != before);
            let changes = values.any(|value| other(value).is_some_and(|config| config != before));
            assert!(changes || on(), "{} is read and forgotten", line.path);
        }
    }
}

#[test]
fn a_key_that_is_misspelt_is_refused() {
    for form in [toml(), yaml()] {
        for line in form.lines() {
            let path = format!("{}x", line.path);
            let text = form.with(&line, &format!("{}x", line.key), None);
            form.refuses(&text, &path, line.number);
        }
    }
}

#[test]
fn a_table_that_is_misspelt_is_refused() {
    let form = toml();
    for (number, header) in (1..).zip(form.text.lines()).filter(|(_, it)| it.starts_with('[')) {
        let name = header.trim_matches(['[', ']']);
        if name == "lanes" || name.starts_with("users.") {
            continue; // Users have any names, and the table of lanes is begun by other headers too.
        }
        let wrong = format!("[{name}x]");
        let text = form.text.replacen(&format!("{header}\n"), &format!("{wrong}\n"), 1);
        form.refuses(&text, &format!("{name}x"), number);
    }
}

#[test]
fn a_value_of_a_wrong_kind_is_refused() {
    let common =
        ["[]", "[1]", "true", "-1", "99999999999999999999", "\"\"", "\"-5s\"", "\"1e400s\""];
    let common = common.into_iter().chain(["1e400", "-1.5", "\"0/s\"", "\"99999999 days\""]);
    for (form, own) in [
        (toml(), ["nan", "inf", "-inf", "2026-11-21", "{ zzz = 1 }"]),
        (yaml(), [".nan", ".inf", "-.inf", "~", "{ zzz: 1 }"]),
    ] {
        for line in form.lines() {
            for value in common.clone().chain(own) {
                // A path can be any text, and a name many. For a table that is off, a key in it is the wrong one.
                let is_name = ["journal", "account", "process"].contains(&line.key.as_str());
                if is_name && value.starts_with('"') && value != "\"\"" {
                    continue;
                }
                if ["share", "one_path"].contains(&line.key.as_str()) && value == "true" {
                    continue;
                }
                let text = form.with(&line, &line.key, Some(value));
                let deeper = value.contains("zzz")
                    && (["retry", "breaker"].contains(&line.key.as_str())
                        || line.path == "lanes.historical");
                let path = if deeper { format!("{}.zzz", line.path) } else { line.path.clone() };
                form.refuses(&text, &path, line.number);
            }
        }
    }
}

#[cfg(feature = "mock")]
#[test]
fn what_is_not_refused_can_be_built() {
    use lanekeeper::broker::{BrokerProxy, MockBroker};

    let values = ["0", "1", "0.0", "1.0", "5", "100", "1000", "2147483647", "\"off\"", "false"];
    let times = ["\"0s\"", "\"1ms\"", "\"1ns\"", "\"1 day\"", "\"2 days\"", "\"1/s\"", "\"1/1ns\""];
    let mut built = 0;
    for form in [toml(), yaml()] {
        for line in form.lines().iter().filter(|line| !line.path.starts_with("guard")) {
            for value in values.into_iter().chain(times) {
                let text = form.with(line, &line.key, Some(value));
                // Where no Redis is.
                let text = text.replace("127.0.0.1:6379", "127.0.0.1:1");
                let text = text.replace("LANEKEEPER_REDIS", "LANEKEEPER_UNSET");
                let Ok(config) = (form.read)(&text) else { continue };
                let proxy = BrokerProxy::builder(MockBroker::new()).config(&config);
                let proxy = proxy.quote_cache(&config).build();
                assert!(proxy.is_ok(), "{} = {value}: {}", line.path, proxy.unwrap_err());
                built += 1;
            }
        }
    }
    assert!(built > 100, "only {built} were taken");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_file_makes_it_panic(
        from in any::<prop::sample::Index>(),
        length in 0..40_usize,
        inserted in r"([\[\]{}:=&*!|>'#,\n\t -]|\.\.\.|---|\PC){0,8}",
    ) {
        for form in [toml(), yaml()] {
            let text: Vec<char> = form.text.chars().collect();
            let from = from.index(text.len());
            let to = (from + length).min(text.len());
            let broken: String =
                text[..from].iter().copied().chain(inserted.chars()).chain(text[to..].iter().copied()).collect();
            let _ = (form.read)(&broken);
        }
    }
}
