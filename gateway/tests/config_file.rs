//! The files of `examples/` and the tables of `docs/gateway-configuration.md`: each key that is read is described there,
//! has the default that is described, and takes effect.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lanekeeper::lane::Priority;
use lanekeeper::{Budget, Effect, Quota};
use lanekeeper_gateway::config::{
    AccountConfig, ClientConfig, GatewayConfig, RouteAction, RouteConfig, SendRoute, TierConfig,
    Unmatched, UpstreamAuth,
};
use proptest::prelude::*;

const CHAPTER: &str = include_str!("../../docs/gateway-configuration.md");
const VENDOR: &str = include_str!("../examples/vendor.yaml");
const KITE: &str = include_str!("../examples/kite.toml");

fn example(name: &str) -> GatewayConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    GatewayConfig::from_path(path).unwrap_or_else(|error| panic!("{error}"))
}

fn toml(text: &str) -> GatewayConfig {
    GatewayConfig::from_toml(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn a_data_vendor_of_20_calls_a_minute_is_ten_lines() {
    let config = example("vendor.yaml");
    let mut account = AccountConfig::new("https://api.vendor.example");
    account.auth = Some(UpstreamAuth {
        header: "authorization".to_owned(),
        prefix: "Bearer ".to_owned(),
        env: "VENDOR_TOKEN".to_owned(),
    });
    account.lanes = vec![("data".to_owned(), Quota::per_minute(20).into())];
    let mut profile = SendRoute::new("data");
    profile.cache = Some(Duration::from_secs(86_400));
    let mut export = SendRoute::new("data");
    (export.weight, export.priority) = (5, Priority::new(8).unwrap());
    let refuse = RouteAction::Refuse("nothing is deleted through the gateway".to_owned());
    account.routes = [
        ("GET /stock/*/profile", RouteAction::Send(profile)),
        ("POST /export", RouteAction::Send(export)),
        ("DELETE /**", refuse),
    ]
    .map(|(pattern, action)| RouteConfig { pattern: pattern.to_owned(), action })
    .into();
    account.unmatched = Unmatched::Lane("data".to_owned());
    assert_eq!(config, GatewayConfig::new(account));
    assert!(VENDOR.lines().filter(|line| !line.starts_with('#')).count() <= 10);
    assert!(CHAPTER.contains(&format!("```yaml\n{VENDOR}```")), "the chapter shows another file");
}

#[test]
fn the_example_of_kite_has_two_clients_with_tiers_and_a_journal() {
    let config = example("kite.toml");
    let account = &config.accounts["main"];
    let mut expected = AccountConfig::kite("https://api.kite.trade");
    expected.token_file = Some("/run/secrets/kite-token".into());
    expected.journal = Some("/var/lib/lanekeeper/orders.journal".into());
    (expected.lanes, expected.routes) = (account.lanes.clone(), account.routes.clone());
    assert_eq!(account, &expected);
    assert_eq!(account.unmatched, Unmatched::Lane("transactional".to_owned()));
    assert_eq!(account.routes.len(), 2);

    let mut trading = TierConfig::default();
    trading.orders = Some(Quota::per_minute(200));
    let mut reading = TierConfig::default();
    reading.is_read_only = true;
    reading.max_priority = Priority::new(7).unwrap();
    reading.priority = Some(Priority::new(8).unwrap());
    reading.requests = Some(Quota::per_second(5));
    reading.lanes = Some(vec!["quote".to_owned(), "historical".to_owned()]);
    assert_eq!(config.tiers["trading"], trading);
    assert_eq!(config.tiers["reading"], reading);
    assert_eq!(config.clients["desk"].tier.as_deref(), Some("trading"));
    assert_eq!(config.clients["screener"].tier.as_deref(), Some("reading"));
    assert_eq!(config.listen, "0.0.0.0:8800".parse().unwrap());
}

#[test]
fn yaml_and_toml_say_the_same() {
    let yaml = "
preset: kite
quotes: off
kept: 500 kB
guard: on
budgets: { orders: { reserve: 30 } }
routes:
  - match: POST /orders/amo
    lane: transactional
    budget: orders
    effect: write
    priority: 4
  - { match: DELETE /orders/amo/*, lane: transactional, exit: true }
";
    let same = r#"
preset = "kite"
quotes = "off"
kept = 500_000
guard = true
budgets.orders.reserve = 30
[[routes]]
match = "POST /orders/amo"
lane = "transactional"
budgets = ["orders"]
effect = "write"
priority = 4
[[routes]]
match = "DELETE /orders/amo/*"
lane = "transactional"
exit = true
"#;
    let config = GatewayConfig::from_yaml(yaml).unwrap();
    assert_eq!(config, toml(same));
    let account = &config.accounts["main"];
    assert_eq!((account.quote_ttl, account.kept_capacity), (Duration::ZERO, 500_000));
    // The quota of the budget is that of the preset.
    let orders = account.budget("orders").unwrap();
    assert_eq!(orders.quota().to_string(), "400/min, 5000/day from midnight +05:30");
    assert_eq!(orders, Budget::new(orders.quota().clone()).reserve(30));
    let effects: Vec<Effect> = account.routes.iter().map(RouteConfig::effect).collect();
    assert_eq!(effects, [Effect::Write, Effect::Write]);
}

#[test]
fn several_accounts_have_their_keys_in_tables() {
    let (_, block) = CHAPTER.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let config = toml(block);
    assert_eq!(config.accounts.keys().collect::<Vec<_>>(), ["data", "main"]);
    assert_eq!(config.accounts["main"].upstream, "https://api.kite.trade");
    assert_eq!(config.clients["desk"].account.as_deref(), Some("main"));
    // One account, too, can be written so.
    let one = toml("[accounts.main]\npreset = 'kite'");
    assert_eq!(one, toml("preset = 'kite'"));
}

/// Returns the rows of the table below this heading: the key and its default.
fn rows(heading: &str) -> Vec<(&'static str, &'static str)> {
    let (_, section) = CHAPTER.split_once(&format!("## {heading}\n")).expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = |line: &'static str| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        Some((cells.next()?, cells.next()?))
    };
    section.lines().filter(|line| line.starts_with("| `")).filter_map(cells).collect()
}

/// Returns the keys in the table of settings at `path`, as the error for an unknown key names them.
fn keys_at(text: &str, path: &str) -> BTreeSet<String> {
    let error = GatewayConfig::from_yaml(text).unwrap_err();
    let problem = error.problems().iter().find(|problem| problem.path.ends_with("zzz"));
    let message = &problem.expect(path).message;
    let (_, keys) = message.split_once("there are: ").expect("the keys");
    keys.split(", ")
        .map(|key| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") })
        .collect()
}

#[test]
fn the_tables_of_the_chapter_have_the_keys_of_the_reader() {
    let mut read = BTreeSet::new();
    for (text, path) in [
        ("zzz: 1", ""),
        ("clients: { a: { zzz: 1 } }", "clients.*"),
        ("tiers: { a: { zzz: 1 } }", "tiers.*"),
        ("auth: { zzz: 1 }", "auth"),
        ("routes: [{ zzz: 1 }]", "routes[]"),
        ("unmatched: { zzz: 1 }", "unmatched"),
        ("limits: { zzz: 1 }", "limits"),
        ("shared: { zzz: 1 }", "shared"),
    ] {
        read.extend(keys_at(text, path));
    }
    let account = keys_at("accounts: { a: { zzz: 1 } }", "");
    assert!(account.is_subset(&read), "{account:?}");

    let (gateway, account_rows) =
        (rows("Every key of the gateway"), rows("Every key of an account"));
    let written: BTreeSet<String> = gateway
        .iter()
        .chain(&account_rows)
        .map(|(key, _)| (*key).to_owned())
        .filter(|key| !key.ends_with(".*"))
        .collect();
    assert_eq!(written, read);
    let account_rows: BTreeSet<String> =
        account_rows.iter().map(|(key, _)| (*key).to_owned()).collect();
    let top_level: BTreeSet<String> =
        account_rows.into_iter().filter(|key| !key.contains(['.', '['])).collect();
    assert_eq!(top_level, account);
}

const HASH: &str = "sha256:00112233445566778899aabbccddeeff:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A file in which each key of the chapter can be set, without `accounts`.
fn base(key: &str) -> String {
    let mut text = String::new();
    let mut add = |has: bool, line: &str| {
        if has {
            text += line;
            text += "\n";
        }
    };
    let of_auth = key.starts_with("auth");
    add(of_auth, "upstream = 'https://x.example'\nlanes.quote = '1/s'\nbudgets.orders = '9/s'");
    add(!of_auth && key != "preset", "preset = 'kite'");
    add(key.starts_with("auth.") && key != "auth.env", "auth.env = 'X'");
    add(
        key.starts_with("clients.") && key != "clients.*.key",
        &format!("clients.a.key = '{HASH}'"),
    );
    add(key == "clients.*.tier", "tiers.a = {}");
    add(key == "limits.headers", "limits.rules = 'x.yaml'");
    add(key.starts_with("shared.") && key != "shared.url", "shared.url = 'redis://h'");
    add(key == "shared.url", "shared.url_env = 'X'");
    text
}

/// Returns a file with a key set to a value.
fn with(key: &str, value: &str) -> String {
    let text = base(key);
    match key.strip_prefix("routes[].") {
        Some(inner) => {
            let mut route = "match = 'GET /x/*'".to_owned();
            if !["lane", "refuse"].contains(&inner) {
                route += ", lane = 'quote'";
            }
            let route = if inner == "match" { "lane = 'quote'".to_owned() } else { route };
            format!("{text}routes = [{{ {route}, {inner} = {value} }}]")
        }
        None => format!("{text}{} = {value}", key.replace('*', "a")),
    }
}

#[test]
fn the_defaults_of_the_chapter_are_the_defaults() {
    let mut seen = 0;
    for heading in ["Every key of the gateway", "Every key of an account"] {
        for (key, default) in rows(heading).into_iter().filter(|(_, default)| !default.is_empty()) {
            let without = match key {
                "tiers.*.max_priority" | "tiers.*.read_only" => base(key) + "tiers.a = {}",
                "auth.header" | "auth.prefix" => base(key),
                // What is not set is the library's default, whose test has these.
                _ if key.starts_with("shared.") => continue,
                "preset" => continue,
                _ if key.starts_with("routes") => {
                    base(key) + "routes = [{ match = 'GET /x/*', lane = 'quote' }]"
                }
                _ => base(key),
            };
            assert_eq!(toml(&with(key, default)), toml(&without), "{key}");
            seen += 1;
        }
    }
    assert_eq!(seen, 26, "a default was added or taken away");
}

#[test]
fn every_key_of_the_chapter_takes_effect() {
    let hash = format!("\"{HASH}\"");
    let values = [
        ("listen", "'[::1]:80'"),
        ("hosts", "['gateway.example.net']"),
        ("trusted_proxies", "['10.0.0.1', '10.1.0.0/16', '::ffff:10.0.0.2', '2001:db8::/32']"),
        ("limits", "{ rules = 'x.yaml' }"),
        ("limits.rules", "'x.yaml'"),
        ("limits.headers", "true"),
        ("shared", "{ url = 'redis://h' }"),
        ("shared.url", "'redis://h'"),
        ("shared.url_env", "'X'"),
        ("shared.process", "'x'"),
        ("shared.lease", "'7s'"),
        ("shared.timeout", "'1s'"),
        ("shared.away_after", "'1s'"),
        ("shared.when_away", "'stop'"),
        ("shared.share_for", "'1min'"),
        ("shared.processes", "2"),
        ("shared.one_path", "true"),
        ("admin_key", &hash),
        ("client_timeout", "'5s'"),
        ("max_body", "4096"),
        ("max_connections", "7"),
        ("read_timeout", "'7s'"),
        ("idle_timeout", "'7s'"),
        ("write_timeout", "'7s'"),
        ("drain", "'7s'"),
        ("cool_down", "'7s'"),
        ("clients.*.key", &hash),
        ("clients.*.account", "'main'"),
        ("clients.*.tier", "'a'"),
        ("tiers.*", "{}"),
        ("tiers.*.max_priority", "2"),
        ("tiers.*.priority", "2"),
        ("tiers.*.requests", "'1/s'"),
        ("tiers.*.orders", "'1/s'"),
        ("tiers.*.lanes", "['quote']"),
        ("tiers.*.read_only", "true"),
        ("tiers.*.max_deadline", "'1s'"),
        ("upstream", "'http://127.0.0.1:8080'"),
        ("preset", "'kite'"),
        ("auth", "{ env = 'X' }"),
        ("auth.header", "'x-key'"),
        ("auth.prefix", "'Bearer '"),
        ("auth.env", "'X'"),
        ("token_file", "'x'"),
        ("api_key_env", "'X'"),
        ("access_token_env", "'X'"),
        ("api_secret_env", "'X'"),
        ("lanes", "{ quote = '2/s' }"),
        ("budgets", "{ orders = '1/s' }"),
        ("routes", "[{ match = 'GET /x', lane = 'quote' }]"),
        ("routes[].match", "'GET /y'"),
        ("routes[].lane", "'historical'"),
        ("routes[].budget", "'orders'"),
        ("routes[].budgets", "['orders']"),
        ("routes[].effect", "'write'"),
        ("routes[].exit", "true"),
        ("routes[].priority", "4"),
        ("routes[].cache", "'1s'"),
        ("routes[].refuse", "'no'"),
        ("unmatched", "'refuse'"),
        ("unmatched.lane", "'quote'"),
        ("quotes", "'2s'"),
        ("journal", "'x'"),
        ("pace", "'x'"),
        ("guard", "false"),
        ("kept", "'1 MiB'"),
        ("upstream_timeout", "'2s'"),
    ];
    for (key, value) in values {
        let changed = toml(&with(key, value));
        let route = "routes = [{ match = 'GET /x/*', lane = 'quote' }]";
        let before = match key {
            // Without these there is nothing to compare with: the file cannot be read, or has another kind of account.
            "preset" | "auth" | "auth.env" | "clients.*.key" => continue,
            "routes[].match" => base(key) + &route.replace("/x/*", "/z"),
            _ if key.starts_with("routes[]") => base(key) + route,
            _ if key.starts_with("tiers.*.") => base(key) + "tiers.a = {}",
            _ => base(key),
        };
        assert_ne!(changed, toml(&before), "{key} is read and forgotten");
    }
    let named: BTreeSet<&str> = values.iter().map(|(key, _)| *key).collect();
    for (key, _) in [rows("Every key of the gateway"), rows("Every key of an account")].concat() {
        let elsewhere = [
            "clients",
            "clients.*",
            "tiers",
            "accounts",
            "accounts.*",
            "lanes.*",
            "budgets.*",
            "routes[].weight",
        ];
        assert!(named.contains(key) || elsewhere.contains(&key), "{key} is not tried");
    }
    let client = toml(&with("clients.*.key", &hash)).clients["a"].clone();
    assert_eq!(client, ClientConfig::new(HASH));
    assert_eq!(toml(&with("auth.env", "'XY'")).accounts["main"].auth.as_ref().unwrap().env, "XY");
}

#[test]
fn a_lane_takes_every_key_of_the_library() {
    let chapter = include_str!("../../docs/configuration.md");
    let defaults = chapter.lines().filter(|line| line.starts_with("| `lanes.*."));
    let mut seen = 0;
    for line in defaults {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        if cells[2].is_empty() {
            continue;
        }
        let (key, default) = (cells[1].replace('*', "x"), cells[2]);
        let file = format!(
            "[accounts.a]\nupstream = 'https://x.example'\nlanes.x.quota = '10/s'\n{key} = {default}"
        );
        let config = toml(&file);
        assert_ne!(config.accounts["a"].lanes[0].1, Quota::per_second(10).into(), "{key}");
        seen += 1;
    }
    assert_eq!(seen, 31);
}

#[test]
fn what_a_file_can_say_passes_the_check_of_values() {
    for config in [example("vendor.yaml"), example("kite.toml")] {
        assert_eq!(config.check(), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_text_makes_the_reader_panic(text in r"(\PC|[\n\[\]{}:=.#'\x22-]){0,200}") {
        let _ = GatewayConfig::from_toml(&text);
        let _ = GatewayConfig::from_yaml(&text);
    }

    #[test]
    fn no_change_of_a_file_makes_the_reader_panic(
        from in any::<prop::sample::Index>(),
        length in 0..40_usize,
        inserted in r"([\[\]{}:=&*!|>'#,\n\t -]|\.\.\.|---|\PC){0,8}",
    ) {
        for (text, is_toml) in [(KITE, true), (VENDOR, false)] {
            let text: Vec<char> = text.chars().collect();
            let from = from.index(text.len());
            let to = (from + length).min(text.len());
            let parts = [&text[..from], &inserted.chars().collect::<Vec<_>>(), &text[to..]];
            let broken: String = parts.concat().into_iter().collect();
            let read = if is_toml { GatewayConfig::from_toml } else { GatewayConfig::from_yaml };
            if let Ok(config) = read(&broken) {
                prop_assert_eq!(config.check(), Ok(()));
            }
        }
    }
}
