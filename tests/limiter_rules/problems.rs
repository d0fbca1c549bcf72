//! Rules that cannot be used: each problem is reported once, with its place and line, in both formats.

use std::time::Duration;

use lanekeeper::config::ConfigError;
use lanekeeper::limiter::{
    Algorithm, Backoff, MemoryStorage, OnStorageError, RateLimiter, Request, RequestLimit, Rule,
    Rules,
};

use crate::yaml_of;

/// Checks the problems of a text of TOML with inline tables, and of the same text as YAML. Each is given by its beginning.
fn refused(toml: &str, problems: &[&str]) {
    let yaml = yaml_of(toml);
    for (text, error) in [(toml, Rules::from_toml(toml)), (&*yaml, Rules::from_yaml(&yaml))] {
        let error = error.map(|rules| rules.len()).expect_err(text).to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), problems.len(), "{text}\n{error}");
        for (line, begin) in lines.iter().zip(problems) {
            assert!(line.starts_with(begin), "{text}\n{line}\ndoes not begin with\n{begin}");
        }
    }
}

#[test]
fn a_limit_that_is_not_whole_is_refused() {
    for (limit, problem) in [
        ("requests_per_unit = 5", "requests_per_unit: a limit has a `unit` too"),
        ("unit = 'day'", "unit: a limit has a `requests_per_unit` too"),
        (
            "unit = 60, requests_per_unit = 5",
            "unit: write one of \"second\", \"minute\", \"hour\", \"day\", or a time as \"5min\", not a number",
        ),
        (
            "unit = 'fortnight', requests_per_unit = 5",
            "unit: `fortnight` will not do: write one of \"second\"",
        ),
        ("unit = '', requests_per_unit = 5", "unit: `` will not do"),
        ("unit = '-5s', requests_per_unit = 5", "unit: `-5s` will not do"),
        ("unit = '1us', requests_per_unit = 5", "unit: a period is from 1 ms to 366 days"),
        ("unit = '367 days', requests_per_unit = 5", "unit: a period is from 1 ms to 366 days"),
        (
            "unit = 'day', requests_per_unit = '5'",
            "requests_per_unit: this is a text: write a whole number, not below 0",
        ),
        (
            "unit = 'day', requests_per_unit = -1",
            "requests_per_unit: -1 will not do: write a whole number",
        ),
        ("unit = 'day', requests_per_unit = 1.5", "requests_per_unit: write a whole number"),
        (
            "unit = 'day', requests_per_unit = 1000000001",
            "requests_per_unit: at most 1000000000 requests",
        ),
        (
            "unit = 'day', requests_per_unit = 5000000000",
            "requests_per_unit: 5000000000 is too large",
        ),
        (
            "unit = 'day', requests_per_unit = 5, burst = 0",
            "burst: a burst is from 1 to 1000000000",
        ),
        (
            "unit = '366 days', requests_per_unit = 5, burst = 6",
            "burst: the burst takes longer than 366 days to fill",
        ),
        ("unit = 'day', requests_per_unit = 5, burst = 'two'", "burst: this is a text"),
        (
            "unit = 'day', requests_per_unit = 5, burst = 9, algorithm = 'fixed_window'",
            "burst: only a token bucket has a burst",
        ),
        (
            "unit = 'day', requests_per_unit = 5, algorithm = 'leaky'",
            "algorithm: `leaky` will not do: write one of \"token_bucket\", \"fixed_window\", \"sliding_window_log\", \"sliding_window_counter\"",
        ),
        (
            "unit = 'day', requests_per_unit = 5, algorithm = 'backoff'",
            "algorithm: `backoff` will not do",
        ),
        (
            "unit = 'day', requests_per_unit = 100001, algorithm = 'sliding_window_log'",
            "requests_per_unit: a sliding window log keeps each request",
        ),
        (
            "unit = '25h', requests_per_unit = 5, algorithm = 'sliding_window_counter'",
            "unit: the period of a sliding window counter is at most a day",
        ),
        (
            "unit = 'day', requests_per_unit = 5, weight = 6",
            "weight: no request would ever be admitted: it weighs 6, and the limit is 5",
        ),
        (
            "unit = 'day', requests_per_unit = 5, burst = 2, weight = 3",
            "weight: no request would ever be admitted: it weighs 3, and the limit is 2",
        ),
        ("unit = 'day', requests_per_unit = 5, weight = 'heavy'", "weight: this is a text"),
        (
            "unit = 'day', requests_per_unit = 5, shadow_mode = 'maybe'",
            "shadow_mode: write true or false, not a text",
        ),
        (
            "unit = 'day', requests_per_unit = 5, on_storage_error = 'panic'",
            "on_storage_error: `panic` will not do: write one of \"allow\", \"deny\"",
        ),
        ("unit = 'day', requests_per_unit = 5, name = ''", "name: the name is empty"),
        ("unit = 'day', requests_per_unit = 5, name = 7", "name: write a name, not a number"),
        (
            "unit = 'day', requests_per_unit = 5, limit = 7",
            "limit: there is no such key; there are: key, value, share_threshold, on_storage_error, unlimited, requests_per_unit, unit, algorithm, burst, name, weight, shadow_mode, descriptors",
        ),
        ("unlimited = true, unit = 'day'", "unit: this rule is unlimited, so it has no limit"),
        ("unlimited = true, burst = 9", "burst: this rule is unlimited, so it has no limit"),
        (
            "unlimited = true, weight = 9",
            "weight: this rule is unlimited, so it has nothing to count",
        ),
        ("unlimited = true, shadow_mode = true", "shadow_mode: this rule is unlimited"),
        ("unlimited = 1", "unlimited: write true or false, not a number"),
        ("name = 'users'", "name: there is no limit here that this could be about"),
        (
            "weight = 2, descriptors = [{ key = 'b', unlimited = true }]",
            "weight: there is no limit here",
        ),
        (
            "rate_limit = { unit = 'day', requests_per_unit = 5 }",
            "rate_limit: only files of envoy's rate limit service have this, and they have a `domain`",
        ),
    ] {
        let problem = format!("line 2: descriptors[0].{problem}");
        refused(&format!("descriptors = [\n  {{ key = 'a', {limit} }}]"), &[&problem]);
    }
    let neither = "line 1: descriptors[0]: write a limit (`unit` and `requests_per_unit`), or `descriptors`, or `unlimited: true`";
    refused("descriptors = [{ key = 'a' }]", &[neither]);
    refused("descriptors = [{ key = 'a', unlimited = false }]", &[neither]);
    refused(
        "descriptors = [{ key = 'a', weight = 0, unit = 'day', requests_per_unit = 5 }]",
        &["line 1: descriptors[0]: its weight is 0, so that it would count nothing"],
    );
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    refused(
        "
        rules = [
            { path = 'orders', unlimited = true },
            { path = '/b', descriptors = [
                { key = 'user', name = 'users', unit = 'eon', requests_per_unit = 'many' },
                { value = 'x', unlimited = true },
                7,
            ] },
        ]
        descriptors = [{ key = 'c', burst = 3 }]
        rulse = []",
        &[
            "line 3: rules[0].path: a path begins with a slash, and `orders` does not",
            "line 5: rules[1].descriptors[0].requests_per_unit: this is a text",
            "line 5: rules[1].descriptors[0].unit: `eon` will not do",
            "line 6: rules[1].descriptors[1]: a descriptor has a `key`",
            "line 7: rules[1].descriptors[2]: write a table of settings, not a number",
            "line 10: descriptors[0].burst: a limit has a `requests_per_unit` too",
            "line 10: descriptors[0].burst: a limit has a `unit` too",
            "line 11: rulse: there is no such key; there are: on_storage_error, rules, descriptors",
        ],
    );
}

#[test]
fn a_path_that_describes_nothing_is_refused() {
    for (path, problem) in [
        ("'orders'", "a path begins with a slash, and `orders` does not"),
        ("''", "a path begins with a slash, and `` does not"),
        ("'/a/'", "write the path as `/a`"),
        ("'/a?b=1'", "write the path as `/a`"),
        ("'/%61'", "write the path as `/a`"),
        ("'/**/a'", "`**` can only be the last segment"),
        ("'/a*'", "`a*`: a wildcard is a whole segment"),
        ("'/{}'", "`{}`: a wildcard is a whole segment"),
        ("7", "write a path, such as \"/orders/*\", not a number"),
    ] {
        let problem = format!("line 1: rules[0].path: {problem}");
        refused(&format!("rules = [{{ path = {path}, unlimited = true }}]"), &[&problem]);
    }
    refused(
        "rules = [
            { path = '/users/{id}', unlimited = true },
            { path = '/users/{name}', unlimited = true },
        ]",
        &["line 3: rules[1].path: there is a rule for these paths in line 2: write one for both"],
    );
}

#[test]
fn a_key_or_value_that_describes_nothing_is_refused() {
    for (step, problem) in [
        ("key = ''", ".key: the key is empty"),
        ("key = 404", ".key: write the key of an entry of requests, not a number"),
        ("key = 'a', value = ''", ".value: the value is empty: leave `value` out for any value"),
        ("key = 'a', value = '*'", ".value: the value `*` is any value: leave `value` out"),
        ("key = 'a', value = '**'", ".value: the value `*` is any value: leave `value` out"),
        ("key = 'a', value = []", ".value: write a text in quotes, not a list"),
        (
            "key = 'a', share_threshold = true",
            ".share_threshold: only values with a `*` can share a limit",
        ),
        (
            "key = 'a', value = 'b', share_threshold = true",
            ".share_threshold: only values with a `*` can share",
        ),
        (
            "key = 'a', value = 'b*', share_threshold = 'no'",
            ".share_threshold: write true or false, not a text",
        ),
        ("value = 'b'", ": a descriptor has a `key`"),
    ] {
        let problem = format!("line 1: descriptors[0]{problem}");
        refused(&format!("descriptors = [{{ {step}, unlimited = true }}]"), &[&problem]);
    }
    // TOML says what is a number, and YAML has the text.
    let error = Rules::from_toml("descriptors = [{ key = 'a', value = 1.10, unlimited = true }]");
    assert_eq!(
        error.unwrap_err().to_string(),
        "line 1: descriptors[0].value: write a text in quotes, not a number"
    );
    let error = Rules::from_yaml("descriptors: [{ key: a, value: , unlimited: true }]");
    assert_eq!(
        error.unwrap_err().to_string(),
        "line 1: descriptors[0].value: write a text in quotes, not nothing"
    );
}

/// A key beside a path would be taken for a secret otherwise, which a file may not have.
#[test]
fn a_key_outside_of_descriptors_is_shown_its_place() {
    let why = "this belongs in a table of the list `descriptors`";
    let limit = "unit = 'day', requests_per_unit = 5";
    refused(
        &format!("rules = [{{ path = '/a', key = 'user', value = 'x', {limit} }}]"),
        &[&format!("line 1: rules[0].key: {why}"), &format!("line 1: rules[0].value: {why}")],
    );
    refused("key = 'user'\ndescriptors = []", &[&format!("line 1: key: {why}")]);
}

#[test]
fn what_is_no_list_or_has_nothing_in_it_is_refused() {
    let empty = "line 1: there are no rules in it: write `rules`, a list of tables";
    refused("", &[empty]);
    refused("on_storage_error = 'deny'", &[empty]);
    refused("rules = 5", &["line 1: rules: write a list, not a number"]);
    refused("rules = { path = '/' }", &["line 1: rules: write a list, not a table"]);
    refused(
        "descriptors = [5]",
        &["line 1: descriptors[0]: write a table of settings, not a number"],
    );
    let yaml = |text: &str| Rules::from_yaml(text).unwrap_err().to_string();
    assert_eq!(yaml("rules:"), "line 1: rules: write a list, not nothing");
    assert_eq!(yaml("- path: /"), "line 1: write a table of settings, not a list");
    assert!(yaml("a: [").starts_with("line "));
    assert!(Rules::from_toml("a = [").unwrap_err().to_string().starts_with("line 1: "));
}

#[test]
fn two_rules_for_the_same_requests_are_refused() {
    refused(
        "descriptors = [
            { key = 'a', value = 'b', unlimited = true },
            { key = 'a', unlimited = true },
            { key = 'a', value = 'b', unit = 'day', requests_per_unit = 5 },
        ]",
        &["line 4: descriptors[2]: there is a descriptor with this key and value in line 2"],
    );
    // In different lists.
    refused(
        "
        rules = [{ descriptors = [
            { key = 'a', name = 'first', unlimited = true },
        ] }]
        descriptors = [{ key = 'a', name = 'second', unlimited = true }]",
        &["line 5: descriptors[0]: it describes the same requests as the rule `first` in line 3"],
    );
    // Limits and exceptions are told apart by their names, in verdicts and metrics.
    refused(
        "
        rules = [{ path = '/x', name = 'same', unlimited = true }]
        descriptors = [{ key = 'a', name = 'same', unlimited = true }]",
        &["line 3: descriptors[0]: there is another rule with the name `same`: `same` in line 2"],
    );
    refused(
        "descriptors = [{ key = 'a', unlimited = true, descriptors = [{ key = 'b', descriptors = [
            { key = 'a', unlimited = true },
        ] }] }]",
        &[
            "line 2: descriptors[0].descriptors[0].descriptors[0].key: a descriptor around this one has the same key",
        ],
    );
}

/// Returns rules with an outer and an inner limit.
fn nested(outer: &str, inner: &str) -> String {
    format!(
        "descriptors = [
            {{ key = 'a', {outer}, descriptors = [
                {{ key = 'b', {inner} }},
            ] }},
        ]"
    )
}

#[test]
fn a_rule_that_can_never_decide_is_refused() {
    let problem = "line 3: descriptors[0].descriptors[0]: it can never decide: the rule `a` in line 2 counts the same requests too, and allows no more";
    let five = "unit = 'day', requests_per_unit = 5";
    for (outer, inner) in [
        (five, five),
        (five, "unit = '24h', requests_per_unit = 6"),
        ("unit = 'day', requests_per_unit = 0", "unit = 'second', requests_per_unit = 1"),
        ("unit = 'day', requests_per_unit = 5, weight = 2", "unit = 'day', requests_per_unit = 3"),
        (
            "unit = 'day', requests_per_unit = 5, burst = 2",
            "unit = 'day', requests_per_unit = 5, burst = 3",
        ),
    ] {
        refused(&nested(outer, inner), &[problem]);
    }
    for (outer, inner) in [
        (five, "unit = 'day', requests_per_unit = 4"),
        (five, "unit = 'hour', requests_per_unit = 6"),
        (five, "unit = 'day', requests_per_unit = 9, algorithm = 'fixed_window'"),
        (five, "unit = 'day', requests_per_unit = 9, weight = 2"),
        ("unit = 'day', requests_per_unit = 5, weight = 2", "unit = 'day', requests_per_unit = 2"),
        (
            "unit = 'day', requests_per_unit = 5, burst = 4",
            "unit = 'day', requests_per_unit = 6, burst = 3",
        ),
        ("unit = 'day', requests_per_unit = 5, shadow_mode = true", five),
        (five, "unit = 'day', requests_per_unit = 5, shadow_mode = true"),
        ("unlimited = true", five),
        (five, "unlimited = true"),
    ] {
        crate::rules(&nested(outer, inner));
    }
}

/// As is easily meant for an exception.
#[test]
fn a_rule_of_a_path_inside_one_without_a_path_can_never_decide() {
    let with = |more: &str| {
        format!(
            "
            rules = [
                {{ path = '/a', descriptors = [
                    {{ key = 'user', unit = 'day', requests_per_unit = 9 }},
                ] }},
            ]
            descriptors = [
                {{ key = 'user', unit = 'day', requests_per_unit = 5 }},
                {more}
            ]"
        )
    };
    refused(
        &with(""),
        &[
            "line 4: rules[0].descriptors[0]: it can never decide: the rule `user` in line 8 counts the same requests too, and allows no more. Rules without a path apply to every path",
        ],
    );
    // Of an admin it decides.
    crate::rules(&with("{ key = 'user', value = 'admin', unlimited = true },"));
    crate::rules(&with("{ key = 'user', value = 'a*', unit = 'day', requests_per_unit = 20 },"));
}

#[test]
fn a_rule_beside_a_star_never_applies() {
    refused(
        "descriptors = [
            { key = 'a', value = '*', share_threshold = true, unit = 'day', requests_per_unit = 5 },
            { key = 'a', unit = 'day', requests_per_unit = 5 },
        ]",
        &[
            "line 3: descriptors[1]: it never applies: another rule for `a` has the value `*`, which is more specific",
        ],
    );
}

/// A value of code is a value, whatever is in it; a pattern is asked for.
#[test]
fn a_value_of_code_is_no_pattern() {
    let limit = RequestLimit::new(Algorithm::FixedWindow, 1, Duration::from_secs(60)).unwrap();
    let rules = |rule: Rule| Rules::new([rule]).unwrap();
    let allowed = |rules: Rules, users: [&str; 3]| {
        let limiter = RateLimiter::new(rules, MemoryStorage::new());
        users.map(|user| limiter.check(&Request::new("/").entry("user", user)).is_allowed())
    };
    let exact = rules(Rule::new("a", limit).entry_is("user", "a*"));
    assert_eq!(allowed(exact, ["ab", "a*", "a*"]), [true, true, false]);
    let matching = rules(Rule::new("a", limit).entry_matching("user", "a*"));
    assert_eq!(allowed(matching, ["ab", "ac", "ab"]), [true, true, false]);
    let sharing = rules(Rule::new("a", limit).entry_sharing("user", "a*"));
    assert_eq!(allowed(sharing, ["ab", "ac", "b"]), [true, false, true]);
}

/// Rules of code have no lines.
#[test]
fn rules_of_code_are_checked_too() {
    let limit = |requests: u32| {
        RequestLimit::new(Algorithm::TokenBucket, requests, Duration::from_secs(60)).unwrap()
    };
    let refused = |rules: Vec<Rule>, problem: &str| {
        let error: ConfigError = Rules::new(rules).expect_err(problem);
        assert_eq!(error.to_string(), problem);
        assert_eq!(error.problems()[0].line, None);
    };
    let rule = |name: &str| Rule::new(name, limit(5));
    refused(vec![rule("a"), rule("b")], "it describes the same requests as the rule `a`");
    let other = rule("a").entry("user");
    refused(vec![rule("a").entry("ip"), other], "there is another rule with the name `a`: `a`");
    refused(
        vec![rule("a").entry("b").entry("b")],
        "it names the key `b` twice, and a request has one value for it",
    );
    refused(
        vec![rule("a").weight(6)],
        "no request would be admitted: it weighs 6, and the limit is 5",
    );
    refused(vec![rule("a").weight(0)], "its weight is 0, so that it would count nothing");
    refused(
        vec![rule("a").entry_matching("b", "*")],
        "the value `*` is any value: leave `value` out",
    );
    refused(
        vec![rule("inner").entry("b"), rule("outer")],
        "it can never decide: the rule `outer` counts the same requests too, and allows no more",
    );
    let backoff = RequestLimit::backoff(5, Backoff::default()).unwrap();
    refused(
        vec![Rule::new("a", backoff)],
        "a backoff counts failures, not requests: use a `LoginGuard`",
    );
    // Without a storage, the inner one decides.
    let closed = rule("inner").entry("b").on_storage_error(OnStorageError::Deny);
    assert!(Rules::new([closed.clone(), rule("outer")]).is_ok());
    let outer = rule("outer").on_storage_error(OnStorageError::Deny);
    assert!(Rules::new([closed, outer]).is_err());
    let error = rule("a").path("b").unwrap_err().to_string();
    assert_eq!(error, "the path `b` of a rule: a path begins with a slash, and `b` does not");
}

#[test]
fn no_depth_breaks_the_reader() {
    for depth in [8, 100, 3000] {
        let nested = |key: &str, value: &str| {
            let open = format!("descriptors{value}[{{ key{value}\"a\", ").repeat(depth);
            format!("{open}{key}{}", "}]".repeat(depth))
        };
        let yaml = Rules::from_yaml(&nested("unlimited: true", ": ")).map(|rules| rules.len());
        let toml = Rules::from_toml(&nested("unlimited = true", " = ")).map(|rules| rules.len());
        let header = format!("[[descriptors{}]]\nkey = 'a'\n", ".descriptors".repeat(depth));
        let tables = Rules::from_toml(&header).map(|rules| rules.len());
        for (text, read) in [("yaml", yaml), ("toml", toml), ("tables", tables)] {
            let error = read.map_or_else(|error| error.to_string(), |rules| rules.to_string());
            // The parsers have words of their own.
            let expected: &[&str] = match (depth, text) {
                (8, "tables") => &["write a list, not a table"],
                (8, _) => &["a descriptor around this one has the same key"],
                _ => &["too deep", "recurs"],
            };
            assert!(expected.iter().any(|it| error.contains(it)), "{depth} {text}: {error}");
        }
    }
}

/// A reload is not held up by a file of the largest size.
#[test]
fn many_rules_are_read() {
    let of = |prefix: &str, step: &dyn Fn(usize) -> String| -> String {
        let items = (0..).map(|at| format!("  - {{ {}, unlimited: true }}\n", step(at)));
        let mut text = format!("{prefix}:\n");
        for item in items {
            if text.len() + item.len() > 500_000 {
                break;
            }
            text += &item;
        }
        text
    };
    let paths = of("rules", &|at| format!("path: /{at}/x"));
    let values = of("descriptors", &|at| format!("key: a, value: v{at}"));
    assert!(Rules::from_yaml(&paths).unwrap().len() > 10_000);
    assert!(Rules::from_yaml(&values).unwrap().len() > 10_000);
}
