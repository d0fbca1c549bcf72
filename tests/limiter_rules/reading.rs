//! Files that are read: every key, in both formats, and texts as they were written.

use std::time::Duration;

use lanekeeper::limiter::{Request, Rules};
use lanekeeper::quota::request_limit::Algorithm;

use crate::{NOW, all, found, limiter, rules};

const YAML: &str = "\
# Limits of the order service.
on_storage_error: deny
rules:
  - path: /orders/*
    name: orders
    unit: second
    requests_per_unit: 100
    descriptors:
      - key: tier
        value: free
        descriptors:
          - key: user
            unit: 5min
            requests_per_unit: 10
            burst: 4
            weight: 2
            on_storage_error: allow
      - key: tier
        value: admin
        unlimited: true
  - path: /login
    descriptors:
      - key: ip
        algorithm: sliding_window_log
        unit: Hour
        requests_per_unit: 5
descriptors:
  - key: file
    value: files/*
    share_threshold: true
    shadow_mode: on
    algorithm: fixed_window
    unit: day
    requests_per_unit: 1000
";

const TOML: &str = "\
# Limits of the order service.
on_storage_error = 'deny'

[[rules]]
path = '/orders/*'
name = 'orders'
unit = 'second'
requests_per_unit = 100
[[rules.descriptors]]
key = 'tier'
value = 'free'
[[rules.descriptors.descriptors]]
key = 'user'
unit = '5min'
requests_per_unit = 10
burst = 4
weight = 2
on_storage_error = 'allow'
[[rules.descriptors]]
key = 'tier'
value = 'admin'
unlimited = true

[[rules]]
path = '/login'
descriptors = [
  { key = 'ip', algorithm = 'sliding_window_log', unit = 'Hour', requests_per_unit = 5 },
]

[[descriptors]]
key = 'file'
value = 'files/*'
share_threshold = true
shadow_mode = true
algorithm = 'fixed_window'
unit = 'day'
requests_per_unit = 1000
";

#[test]
fn every_key_takes_effect_in_both_formats() {
    for rules in [Rules::from_yaml(YAML).unwrap(), Rules::from_toml(TOML).unwrap()] {
        let lines: Vec<String> =
            rules.iter().map(|rule| format!("{rule}: {}", rule.describe())).collect();
        assert_eq!(
            lines,
            [
                "orders: 100 per second (token_bucket), denied if the storage fails",
                "/orders/* tier=free user: 10 per 5min (token_bucket, burst 4), weight 2",
                "/orders/* tier=admin: unlimited",
                "/login ip: 5 per hour (sliding_window_log), denied if the storage fails",
                "file=files/*: 1000 per day (fixed_window), shared by the values, shadow mode, \
                 denied if the storage fails",
            ]
        );
        let limit = all(&rules)[1].limit().unwrap();
        assert_eq!((limit.algorithm(), limit.burst()), (Algorithm::TokenBucket, 4));
        assert_eq!(limit.period(), Duration::from_secs(300));
    }
}

/// Tables that begin with `[[`, lists over several lines, and block style: an error names the line of the key.
#[test]
fn lines_are_those_of_the_file_in_either_style() {
    let problems = |error: lanekeeper::config::ConfigError| -> Vec<(String, Option<usize>)> {
        error.problems().iter().map(|it| (it.path.clone(), it.line)).collect()
    };
    let yaml = YAML.replace("burst: 4", "burst: 0").replace("unit: Hour", "unit: ages");
    let toml = TOML.replace("burst = 4", "burst = 0").replace("'Hour'", "'ages'");
    let burst = "rules[0].descriptors[0].descriptors[0].burst".to_owned();
    let unit = "rules[1].descriptors[0].unit".to_owned();
    assert_eq!(
        problems(Rules::from_yaml(&yaml).unwrap_err()),
        [(burst.clone(), Some(15)), (unit.clone(), Some(25))]
    );
    assert_eq!(
        problems(Rules::from_toml(&toml).unwrap_err()),
        [(burst, Some(16)), (unit, Some(27))]
    );

    // The line of a table is that of its header, or of its first key.
    let same = "descriptors:\n  - key: a\n    unit: day\n    requests_per_unit: 1\n";
    let same = same.to_owned() + &same.replace("descriptors:\n", "");
    assert_eq!(
        Rules::from_yaml(&same).unwrap_err().to_string(),
        "line 5: descriptors[1]: there is a descriptor with this key and value in line 2"
    );
    let same = "[[descriptors]]\nkey = 'a'\nunit = 'day'\nrequests_per_unit = 1\n".repeat(2);
    assert_eq!(
        Rules::from_toml(&same).unwrap_err().to_string(),
        "line 5: descriptors[1]: there is a descriptor with this key and value in line 1"
    );
}

/// YAML has numbers and truth values without quotes where a text is meant. The digits of a phone number are not a number.
#[test]
fn a_value_is_the_text_that_is_in_the_file() {
    for value in [
        "007",
        "+49301234",
        "-0",
        "1.10",
        "1e3",
        "True",
        "FALSE",
        ".inf",
        "0x1F",
        "50.0.0.5",
        "yes",
    ] {
        for text in [value.to_owned(), format!("\"{value}\"")] {
            let yaml =
                format!("descriptors: [{{ key: a, value: {text}, name: it, unlimited: true }}]");
            let rules = Rules::from_yaml(&yaml).unwrap();
            let limiter = lanekeeper::limiter::RateLimiter::new(
                rules,
                lanekeeper::limiter::MemoryStorage::new(),
            );
            assert_eq!(found(&limiter, &Request::new("/").entry("a", value)), ["it"], "{value}");
        }
    }
    // TOML has texts in quotes.
    let limiter = limiter("descriptors = [{ key = 'a', value = 7, unlimited = true }]");
    assert_eq!(found(&limiter, &Request::new("/").entry("a", "7")), ["a=7"]);
}

#[test]
fn a_rule_without_a_name_is_called_after_what_it_describes() {
    let rules = rules(
        "
        rules = [
            { unit = 'day', requests_per_unit = 9 },
            { path = '/x/{id}', descriptors = [{ key = 'a', value = 'b*', unlimited = true, descriptors = [{ key = 'c', unlimited = true }] }] },
        ]",
    );
    let names: Vec<&str> = rules.iter().map(lanekeeper::limiter::Rule::name).collect();
    assert_eq!(names, ["all requests", "/x/{id} a=b*", "/x/{id} a=b* c"]);
}

#[test]
fn a_file_may_say_that_there_is_no_rule() {
    for text in ["rules = []", "descriptors = []"] {
        let limiter = limiter(text);
        assert!(limiter.rules().is_empty());
        let verdict = limiter.check_at(&Request::new("/"), NOW);
        assert!(verdict.is_allowed() && verdict.rule().is_none(), "{text}");
    }
}
