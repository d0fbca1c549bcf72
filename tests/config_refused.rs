//! Files that cannot be used: each problem is reported with its path and its line, all at once, and never with a
//! secret in it.
#![cfg(feature = "config")]
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use lanekeeper::Config;

fn refusal(toml: &str) -> String {
    Config::from_toml(toml).expect_err(toml).to_string()
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    for (file, begin) in [
        (
            "lanes.x.credit = 101",
            "lanes.x.credit: 101 will not do: write a percentage from 0 to 100",
        ),
        ("lanes.x.in_flight = 1025", "lanes.x.in_flight: 1025 will not do: write a number from 1"),
        ("lanes.x.queue = 0", "lanes.x.queue: 0 will not do: write a number from 1"),
        ("lanes.x.aging = 0", "lanes.x.aging: 0 will not do: write a multiple of at least 1"),
        (
            "lanes.x.user_interval = '2 days'",
            "lanes.x.user_interval: 172800s will not do: write a day",
        ),
        ("lanes.x.retry.attempts = 21", "lanes.x.retry.attempts: 21 will not do: write a number"),
        (
            "lanes.x.throttle.keep_percent = 101",
            "lanes.x.throttle.keep_percent: 101 will not do: write a percentage",
        ),
        ("lanes.x.breaker.growth = 11", "lanes.x.breaker.growth: 11 will not do: write a factor"),
        ("lanes.x.breaker.slow = {}", "lanes.x.breaker.slow.after: write this too"),
        (
            "cache = { ttl = '5s', max_age = '4s' }",
            "cache.max_age: 4s will not do: write no less than",
        ),
        (
            "cache.max_age = '4s'",
            "cache.max_age: 4s will not do: write no less than the ttl, which is 5s",
        ),
        ("cache.ttl = '25h'", "cache.ttl: 90000s will not do: write a time from 0ns to a day"),
        ("cache.linger = '5s'", "cache.linger: 5s will not do: write a time from 0ns to 1s"),
        ("cache.max_capacity = 0", "cache.max_capacity: 0 will not do: write a number from 1"),
        ("cache.refresh_ahead = 0.4", "cache.refresh_ahead: write a number from 0.5 to 1"),
        ("cache.ttl_jitter = 1.1", "cache.ttl_jitter: write a number from 0 to 1"),
        (
            "guard.settle_time = '0s'",
            "guard.settle_time: 0ns will not do: write a time from 1ms to a day",
        ),
        ("users.a.priority = 11", "users.a.priority: 11 is not a priority: write a number from 1"),
        ("users.a.deadline = '0s'", "users.a.deadline: 0ns will not do"),
        (
            "budgets.x = { quota = 'unlimited', reserve = 2 }",
            "budgets.x.reserve: nothing can be kept",
        ),
        ("lanes.x = 5", "lanes.x: write a table of settings, not a number"),
        ("lanes.'a b'.queue = 0", "lanes.\"a b\".queue: 0 will not do"),
    ] {
        let text = refusal(file);
        assert!(text.starts_with(&format!("line 1: {begin}")), "{text}");
    }
}

#[test]
fn a_key_of_an_earlier_version_is_answered_with_its_name_of_today() {
    for (file, text) in [
        ("cache.gather = '2ms'", "line 1: cache.gather: this key is called `linger` now"),
        (
            "lanes.quote.retry.cap = '2s'",
            "line 1: lanes.quote.retry.cap: this key is called `max_delay` now",
        ),
        (
            "guard.own_tags = 'label'",
            "line 1: guard.own_tags: this key is called `caller_tags` now",
        ),
        // The present name is a key of another table.
        ("lanes.quote.idle = '2s'", "line 1: lanes.quote.idle: there is no such key; there are: "),
    ] {
        assert!(refusal(file).starts_with(text), "{}", refusal(file));
    }
}

#[test]
fn a_reserve_of_a_preset_without_a_budget_keeps_nothing() {
    let text = refusal("preset = 'alpaca'\nbudgets.orders.reserve = 2");
    assert!(text.starts_with("line 2: budgets.orders.reserve: nothing can be kept back"), "{text}");
}

#[test]
fn all_that_is_wrong_is_reported_at_once_in_the_order_of_the_lines() {
    let text = refusal(
        "preset = 'kitee'
[lanes.quote]
quota = '10'
[lanes.quote.retry]
base_delay = '10s'
[lanes.quote.breaker]
slow = { after = '3s' }
failures = 'off'
failures_in_a_row = 'off'
[cahce]",
    );
    let lines: Vec<&str> = text.lines().collect();
    let begin = [
        "line 1: preset: `kitee` will not do: write one of \"kite\", \"alpaca\"",
        "line 3: lanes.quote.quota: `10` is no quota: write calls/time",
        "line 4: lanes.quote.retry.max_delay: 5s will not do: write no less than base_delay",
        "line 7: lanes.quote.breaker.slow.percent: write this too",
        "line 8: lanes.quote.breaker.failures: off will not do: write a share or a number, or `breaker",
        "line 10: cahce: there is no such key; there are: preset, lanes, budgets, shared, cache, guard, users",
    ];
    assert_eq!(lines.len(), begin.len(), "{text}");
    for (line, begin) in lines.iter().zip(begin) {
        assert!(line.starts_with(begin), "{line}\n{begin}");
    }
}

#[test]
fn a_secret_is_refused_wherever_it_stands_and_never_repeated() {
    let secret = "Zq8hunter2";
    for place in [
        "api_key = 'S'",
        "[kite]\nx = 1\naccess_token = 'S'",
        "[lanes]\naccess_token = 'S'",
        "[lanes.quote]\napi_secret = 'S'",
        "[lanes.quote.retry]\npassword = 'S'",
        "[lanes.quote]\nretry = 'S'",
        "[budgets]\nkite-token = 'S'",
        "[lanes]\naccess_key = 'S'",
        "[users]\npin = 'S'",
        "users = 'S'",
        "[cache]\ntotp = 'S'",
        "[cache]\nttl = { x = 'S' }",
        "[cache]\nttl = ['S']",
        "lanes = 'S'",
        "access_token = 'S",
        "access_token = S",
        "[guard]\nauthorization = ['S']",
    ] {
        let place = place.replace('S', secret);
        let error = Config::from_toml(&place).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        let is_named = ["key", "token", "secret", "password", "pin", "totp", "authorization"]
            .iter()
            .any(|word| error.problems().iter().any(|problem| problem.path.ends_with(word)));
        if is_named {
            assert!(error.to_string().contains("from the environment"), "{error}");
        }
    }
    for place in
        ["access_token: S", "lanes: { api_key: S }", "a: 'S", "[S", "users: S", "&a S", "!S x: 1"]
    {
        let error = Config::from_yaml(&place.replace('S', secret)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

#[cfg(feature = "redis")]
#[test]
fn a_shared_quota_that_cannot_be_is_refused_with_what_would_do() {
    let good = "[shared]\nurl = 'redis://127.0.0.1:6379'\naccount = 'a'\n";
    assert!(Config::from_toml(good).is_ok());
    for (line, begin) in [
        ("lease = '1s'", "line 4: shared.lease: 1s will not do: write 2 s to 10 min"),
        ("timeout = '11s'", "line 4: shared.timeout: 11s will not do: write 1 ms to 10 s"),
        ("away_after = '11s'", "line 4: shared.away_after: 11s will not do: write 10 s at most"),
        ("share_for = '1s'", "line 4: shared.share_for: 1s will not do: write 10 s to a day"),
        ("when_away = 'go'", "line 4: shared.when_away: `go` will not do: write one of \"share\""),
        ("processes = 0", "line 4: shared.processes: 0 will not do"),
        ("process = 'a b'", "line 4: shared.process: write the name of a process: up to 64"),
        ("url_env = 'redis'", "line 4: shared.url_env: write the name of an environment variable"),
        ("acount = 'a'", "line 4: shared.acount: there is no such key; there are: account, url,"),
    ] {
        let text = refusal(&format!("{good}{line}"));
        assert!(text.starts_with(begin), "{text}\n{begin}");
    }
    let text = refusal("[shared]\nlease = '8s'");
    assert!(text.contains("line 1: shared: write `account` too"), "{text}");
    assert!(text.contains("line 1: shared: write `url`, the address of Redis"), "{text}");
    let text = refusal("[shared]\nurl = 'redis://h'\naccount = 'a b'");
    assert!(text.starts_with("line 3: shared.account: write the name of an account"), "{text}");
}

#[cfg(feature = "redis")]
#[test]
fn the_password_of_a_redis_is_refused_and_never_repeated() {
    let secret = "Zq8hunter2";
    for url in [
        format!("redis://:{secret}@127.0.0.1:6379"),
        format!("rediss://user:{secret}@redis.internal:6379/1"),
        format!("unix:///run/redis.sock?pass={secret}"),
        format!("postgres://:{secret}@127.0.0.1"),
        secret.to_owned(),
    ] {
        let error = Config::from_toml(&format!("[shared]\naccount = 'a'\nurl = '{url}'"));
        let error = error.expect_err(&url);
        assert_eq!(error.problems()[0].path, "shared.url");
        assert_eq!(error.problems()[0].line, Some(3));
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    let good = Config::from_toml("[shared]\naccount = 'a'\nurl = 'redis://user@h:6379'").unwrap();
    assert!(!format!("{good:?}").contains("user@h"), "{good:?}");
}

#[cfg(not(feature = "redis"))]
#[test]
fn without_the_feature_a_shared_quota_is_refused_by_its_name() {
    let text = refusal("[shared]\nurl = 'redis://127.0.0.1'\naccount = 'a'");
    assert_eq!(text, "line 1: shared: this build shares no quota: switch on the feature `redis`");
}

#[test]
fn a_lane_may_have_a_name_that_secrets_have() {
    let read = |text: &str| Config::from_toml(text).map(|config| config.settings().clone());
    let long = read("[lanes.auth]\nquota = '1/s'\n[budgets.tokens]\nquota = '9/day'");
    assert!(long.is_ok(), "{long:?}");
    assert_eq!(read("lanes.auth = '1/s'\nbudgets.tokens = '9/day'"), long);
}

#[test]
fn a_problem_is_one_line_whatever_it_repeats() {
    let text = refusal(r#"lanes.x = "10 \n\u001b[31m""#);
    assert!(text.contains(r"`10 \n\u{1b}[31m` is no") && text.lines().count() == 1, "{text}");
    let text = Config::from_yaml("\"a\\nb\": 1\n\"a\\nb\": 2").unwrap_err().to_string();
    assert!(text.contains("twice") && text.lines().count() == 1, "{text}");
}

#[test]
fn what_can_be_off_says_so() {
    for text in ["lanes: { x: { breaker: no } }", "lanes: { x: { retry: true } }"] {
        let error = Config::from_yaml(text).unwrap_err().to_string();
        assert!(error.ends_with(": write a table of settings, or \"off\""), "{error}");
    }
    let text = refusal("lanes.x.in_flight = '4'");
    assert!(text.starts_with("line 1: lanes.x.in_flight: this is a text: write a whole"), "{text}");
}

#[test]
fn yaml_that_is_more_than_settings_is_refused() {
    let refused = |text: &str| Config::from_yaml(text).expect_err(text).to_string();
    assert!(refused("lanes: &a\n  x: 1/s\nbudgets: *a").contains("line 1: anchors and aliases"));
    assert!(refused("lanes: { x: !!str 1 }").contains("tags are not read"));
    assert!(
        refused("cache: {}\n---\ncache: {}").starts_with("line 2: there are several documents")
    );
    assert!(
        refused("cache:\n  ttl: 1s\n  ttl: 2s").starts_with("line 3: the key `ttl` is there twice")
    );
    assert!(refused("[a]: b").contains("a key must be a text"));
    assert!(refused("- cache").contains("write a table of settings, not a list"));
    assert!(refused("cache:").contains("cache: write a table of settings, not nothing"));
    assert!(refused("lanes:\n  x: 1/s\n y: 2").starts_with("line "));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(!refused(&deep).is_empty());
    let deep: String = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(refused(&deep).contains("nested too deep"));
    assert_eq!(Config::from_yaml("# nothing yet\n"), Ok(Config::default()));
    assert_eq!(Config::from_toml(""), Ok(Config::default()));
}

#[test]
fn depth_is_no_way_to_break_it() {
    let deep = [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{ a = ".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]\nb = 1", "a.".repeat(100_000)),
        "[[a.a.a]]\n".repeat(10_000),
    ];
    for text in deep {
        assert!(Config::from_toml(&text).is_err());
    }
    let deep = ["- ", "? ", "[", "{a: ", "a: {", "!", "&a ", "'", "|\n ", "%"]
        .map(|it| it.repeat(100_000));
    for text in deep {
        assert!(Config::from_yaml(&text).is_err());
    }
}

#[test]
fn a_file_is_named_in_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let good = write("good.toml", "lanes.quote = '1/s'");
    let same = write("good.yml", "lanes: { quote: 1/s }");
    assert_eq!(Config::from_path(good).unwrap(), Config::from_path(same).unwrap());

    let bad = write("bad.yaml", "lanes:\n  quote: fast\n");
    let text = Config::from_path(&bad).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}:2: lanes.quote: `fast` is no", bad.display())), "{text}");
    let other = Config::from_path(write("good.json", "{}")).unwrap_err().to_string();
    assert!(other.contains("must end in .toml, .yaml or .yml"), "{other}");
    let gone = Config::from_path(folder.path().join("gone.toml")).unwrap_err().to_string();
    assert!(gone.contains("gone.toml: cannot be read: "), "{gone}");
    let broken = Config::from_path(write("broken.toml", "a = 1\nb = = 2")).unwrap_err().to_string();
    assert!(broken.contains("broken.toml:2: "), "{broken}");
}

#[cfg(not(feature = "journal"))]
#[test]
fn a_journal_that_this_build_cannot_keep_is_refused() {
    let text = refusal("guard.journal = 'orders.journal'");
    assert!(text.starts_with("line 1: guard.journal: this build keeps no journal"), "{text}");
}
