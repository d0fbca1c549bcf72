//! Settings that cannot be used: each problem is reported with its path and its line, all at once, and never with a
//! secret in it.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::Duration;

use lanekeeper::lane::{LaneConfig, Priority};
use lanekeeper::{Budget, Quota};
use lanekeeper_gateway::config::{
    AccountConfig, ClientConfig, GatewayConfig, RouteAction, RouteConfig, SendRoute, TierConfig,
    Unmatched, UpstreamAuth,
};

const HASH: &str = "sha256:00112233445566778899aabbccddeeff:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Asserts that the YAML is refused for one reason, which begins so. `HASH` stands for the hash of a key.
#[track_caller]
fn refused(yaml: &str, begin: &str) {
    let yaml = yaml.replace("HASH", HASH);
    let text = GatewayConfig::from_yaml(&yaml).expect_err(&yaml).to_string();
    assert!(text.starts_with(begin), "{text}\nis not\n{begin}\nof\n{yaml}");
    assert_eq!(text.lines().count(), 1, "{text}\nof\n{yaml}");
}

/// The start of an account at a vendor, in three lines.
const VENDOR: &str =
    "upstream: https://x.example\nlanes: { data: 20/min, slow: 1/s }\nbudgets: { orders: 9/min }\n";

/// Asserts that an account at a vendor is refused with these further lines.
#[track_caller]
fn vendor(yaml: &str, begin: &str) {
    refused(&format!("{VENDOR}{yaml}"), begin);
}

/// Asserts that an account at Kite, which is the first line, is refused with these further lines.
#[track_caller]
fn kite(yaml: &str, begin: &str) {
    refused(&format!("preset: kite\n{yaml}"), begin);
}

#[test]
fn a_lane_that_would_block_its_callers_is_refused() {
    let begin = "line 2: lanes.transactional.when_full: a gateway blocks no client at a full queue";
    kite("lanes: { transactional: { when_full: block } }", begin);
    let shed = "preset: kite\nlanes: { transactional: { when_full: shed } }";
    assert!(GatewayConfig::from_yaml(shed).is_ok());
}

#[test]
fn an_unknown_key_is_refused_with_those_that_exist() {
    kite(
        "listne: x",
        "line 2: listne: there is no such key; there are: listen, hosts, trusted_proxies, admin_key",
    );
    kite(
        "lanes: { quote: { queu: 1 } }",
        "line 2: lanes.quote.queu: there is no such key; there are: quota",
    );
    kite(
        "clients: { a: { key: HASH, teir: x } }",
        "line 2: clients.a.teir: there is no such key; there are: key, account, tier",
    );
    kite(
        "tiers: { a: { max: 1 } }",
        "line 2: tiers.a.max: there is no such key; there are: max_priority",
    );
    vendor(
        "auth:\n  heder: x\n  env: X",
        "line 5: auth.heder: there is no such key; there are: header, prefix, env",
    );
    vendor(
        "unmatched: { lane: data, x: 1 }",
        "line 4: unmatched.x: there is no such key; there are: lane",
    );
    vendor(
        "routes:\n  - match: GET /a\n    lane: data\n    chache: 1s",
        "line 7: routes[0].chache: there is no such key; there are: match, refuse, lane",
    );
    refused(
        "accounts:\n  main:\n    preset: kite\n    lane: x",
        "line 4: accounts.main.lane: there is no such key; there are: preset, upstream",
    );
}

#[test]
fn a_route_names_a_lane_and_budgets_that_the_account_has() {
    vendor(
        "routes:\n  - { match: GET /a, lane: dta }",
        "line 5: routes[0].lane: there is no lane of this name; there are: data, slow",
    );
    vendor(
        "routes:\n  - { match: GET /a }",
        "line 5: routes[0].lane: write the lane of the requests, or `refuse`",
    );
    vendor(
        "routes:\n  - { match: GET /a, lane: data }\n  - match: GET /b\n    lane: data\n    budget: x",
        "line 8: routes[1].budget: there is no budget of this name; there are: orders",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, budgets: [orders, x] }]",
        "line 4: routes[0].budgets: there is no budget of this name",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, budgets: [orders, orders] }]",
        "line 4: routes[0].budgets: a budget is there twice",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, budget: orders, budgets: [orders] }]",
        "line 4: routes[0].budget: write `budget` or `budgets`",
    );
    vendor(
        "unmatched: { lane: x }",
        "line 4: unmatched.lane: there is no lane of this name; there are: data, slow",
    );
    vendor("unmatched: {}", "line 4: unmatched.lane: write the lane of the requests");
    vendor(
        "unmatched: data",
        "line 4: unmatched: write \"refuse\", or a table with the key `lane`",
    );
    kite(
        "routes: [{ match: GET /a, lane: quotes }]",
        "line 2: routes[0].lane: there is no lane of this name; there are: transactional, quote, historical",
    );
}

#[test]
fn a_pattern_can_be_read_and_is_the_only_one_for_its_requests() {
    vendor(
        "routes:\n  - lane: data\n  - { match: GET /a, lane: data }",
        "line 5: routes[0].match: write a method and a path",
    );
    vendor(
        "routes: [{ match: /a, lane: data }]",
        "line 4: routes[0].match: write a method and a path",
    );
    vendor(
        "routes: [{ match: get /a, lane: data }]",
        "line 4: routes[0].match: `get` is no method in capital letters",
    );
    vendor(
        "routes: [{ match: GET /a/**/b, lane: data }]",
        "line 4: routes[0].match: `**` can only be the last segment",
    );
    vendor(
        "routes: [{ match: GET /a?b=c, lane: data }]",
        "line 4: routes[0].match: write a method and a path, without a query",
    );
    vendor(
        "routes:\n  - { match: GET /a/*, lane: data }\n  - match: GET /b\n    lane: data\n  - lane: data\n    match: GET /a/*",
        "line 9: routes[2].match: the route `GET /a/*` describes the same requests",
    );
    // A route of the preset is replaced by that of the file.
    assert!(
        GatewayConfig::from_yaml("preset: kite\nroutes: [{ match: GET /trades, lane: quote }]")
            .is_ok()
    );
}

#[test]
fn only_the_answers_to_reads_are_kept() {
    vendor(
        "routes:\n  - { match: POST /a, lane: data, cache: 1s }",
        "line 5: routes[0].cache: only the answers to GET are kept",
    );
    vendor(
        "routes: [{ match: '* /a', lane: data, cache: 1s }]",
        "line 4: routes[0].cache: only the answers to GET",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, effect: write, cache: 1s }]",
        "line 4: routes[0].cache: the answer to a write is not kept",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, exit: true, cache: 1s }]",
        "line 4: routes[0].cache: the answer to an exit is not kept",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, cache: 0s }]",
        "line 4: routes[0].cache: 0ns will not do: write a time from 1ms to",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, cache: 2 days }]",
        "line 4: routes[0].cache: 172800s will not do",
    );
}

#[test]
fn a_route_makes_sense_as_a_whole() {
    vendor(
        "routes:\n  - match: GET /a\n    refuse: no\n    lane: data",
        "line 7: routes[0].lane: this has no effect beside `refuse`",
    );
    vendor(
        "routes: [{ match: GET /a, refuse: '' }]",
        "line 4: routes[0].refuse: write a message of 1 to 1000 bytes",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, exit: true, priority: 4 }]",
        "line 4: routes[0].priority: an exit is urgent",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, priority: 11 }]",
        "line 4: routes[0].priority: 11 is not a priority",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, effect: reads }]",
        "line 4: routes[0].effect: `reads` will not do",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, weight: 0 }]",
        "line 4: routes[0].weight: 0 will not do: write a number from 1 to 20",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, weight: 21 }]",
        "line 4: routes[0].weight: 21 will not do: write a number from 1 to 20",
    );
    vendor(
        "routes: [{ match: GET /a, lane: data, budget: orders, weight: 10 }]",
        "line 4: routes[0].weight: 10 will not do: write a number from 1 to 9",
    );
    kite(
        "routes: [{ match: GET /a, lane: quote, weight: 2 }]",
        "line 2: routes[0].weight: 2 will not do: write a number from 1 to 1",
    );
    vendor("routes: { match: GET /a }", "line 4: routes: write a list, not a table");
    vendor("routes:\n  - GET /a", "line 5: routes[0]: write a table of settings, not a text");
}

#[test]
fn a_client_has_an_account_and_a_tier_that_exist() {
    kite(
        "clients:\n  a:\n    key: HASH\n    tier: gold\ntiers: { desk: {} }",
        "line 5: clients.a.tier: there is no tier of this name; there are: desk",
    );
    kite(
        "clients:\n  a:\n    key: HASH\n    account: other",
        "line 5: clients.a.account: there is no account of this name; there are: main",
    );
    let accounts = "accounts: { main: { preset: kite }, other: { preset: kite } }\n";
    refused(
        &format!("{accounts}clients:\n  a: {{ key: HASH, account: main }}\n  b: {{ key: HASH }}"),
        "line 4: clients.b.account: write the account, since there are several: main, other",
    );
    refused(accounts, "line 1: accounts: write `clients`, each with its account");
    kite(
        "clients:\n  a: { tier: x }\ntiers: { x: {} }",
        "line 3: clients.a.key: write the hash of a key, sha256:SALT:HASH",
    );
    kite(
        "clients:\n  a:\n    key: hunter2",
        "line 4: clients.a.key: write the hash of a key, sha256:SALT:HASH",
    );
    kite("admin_key: hunter2", "line 2: admin_key: write the hash of a key");
    kite(
        "clients:\n  b: { key: HASH }\n  admin: { key: HASH }",
        "line 4: clients.admin: this name is that of the admin key",
    );
    kite("clients:\n  a: HASH", "line 3: clients.a: write a table of settings, not a text");
}

#[test]
fn names_are_short_and_plain() {
    kite(
        "clients: { a b: { key: HASH } }",
        "line 2: clients.\"a b\": write a name of 1 to 40 letters",
    );
    kite("tiers: { a/b: {} }", "line 2: tiers.\"a/b\": write a name of 1 to 40 letters");
    refused("accounts:\n  '..':\n    preset: kite", "line 2: accounts.\"..\": write a name");
    refused(
        "upstream: https://x.example\nlanes:\n  d\u{e4}ta: 1/s",
        "line 3: lanes.\"d\u{e4}ta\": write a name",
    );
    vendor(
        &format!("budgets: {{ {}: 1/s }}", "x".repeat(41)).replace("budgets", "kept: 1\ntiers"),
        "line 5: tiers.",
    );
    refused(
        "upstream: https://x.example\nlanes: { a: 1/s }\nbudgets: { a b: 1/s }",
        "line 3: budgets.\"a b\": write a name",
    );
}

#[test]
fn a_tier_is_possible() {
    kite(
        "tiers:\n  a:\n    lanes: [quote, quotes]",
        "line 4: tiers.a.lanes[1]: no account has a lane of this name",
    );
    kite("tiers:\n  a:\n    lanes: quote", "line 4: tiers.a.lanes: write a list, not a text");
    kite(
        "tiers:\n  a:\n    lanes:\n      - quote\n      - 5",
        "line 6: tiers.a.lanes[1]: write the name of a lane, not a number",
    );
    kite(
        "tiers: { a: { max_priority: 5, priority: 4 } }",
        "line 2: tiers.a.priority: this is more urgent than `max_priority`: write 5 or more",
    );
    kite("tiers: { a: { max_priority: 0 } }", "line 2: tiers.a.max_priority: 0 is not a priority");
    kite("tiers: { a: { requests: fast } }", "line 2: tiers.a.requests: `fast` is no quota");
    kite(
        "tiers: { a: { read_only: 1 } }",
        "line 2: tiers.a.read_only: write true or false, not a number",
    );
    kite("tiers: { a: { max_deadline: 0s } }", "line 2: tiers.a.max_deadline: 0ns will not do");
}

#[test]
fn accounts_are_in_a_table_or_at_the_top_level() {
    refused(
        "upstream: https://x.example\naccounts: { main: { preset: kite } }",
        "line 1: upstream: this is a key of an account: write it into a table of `accounts`",
    );
    refused("accounts: {}", "line 1: accounts: write at least one account");
    refused("accounts:", "line 1: accounts: write a table of settings, not nothing");
    refused(
        "accounts:\n  main: kite",
        "line 2: accounts.main: write a table of settings, not a text",
    );
    refused(
        "accounts:\n  a: { preset: kite, journal: x }\n  b: { preset: kite, journal: x }\nclients: { a: { key: HASH, account: a } }",
        "line 3: accounts.b.journal: another key has this journal",
    );
    let text = GatewayConfig::from_yaml("# nothing yet").unwrap_err().to_string();
    assert_eq!(
        text.lines().map(|line| line.split(": write").next().unwrap()).collect::<Vec<_>>(),
        ["line 1: upstream", "line 1: lanes"]
    );
}

#[test]
fn an_upstream_is_the_address_of_an_api() {
    for (upstream, begin) in [
        ("x.example", "write an address that begins with https:// or http://"),
        ("''", "write the address of the API, as https://"),
        ("ftp://x.example", "write an address that begins with https:// or http://"),
        ("https://x.example/v3", "write the address without a path"),
        ("https://x.example?a=b", "write the address without a query"),
        ("'https://x.example#a'", "write the address without a fragment"),
        ("https://me:hunter2@x.example", "write the address without user and password"),
        ("https://x.example:99999", "write the address of the API"),
        ("5", "write the address of the API, as https://api.example.com, not a number"),
    ] {
        refused(
            &format!("preset: kite\nupstream: {upstream}"),
            &format!("line 2: upstream: {begin}"),
        );
    }
    refused(
        "accounts:\n  main:\n    lanes: { a: 1/s }",
        "line 2: accounts.main.upstream: write the address of the API",
    );
}

#[test]
fn the_preset_and_an_account_of_ones_own_have_their_own_keys() {
    kite("auth: { env: X }", "line 2: auth: the preset authenticates requests itself");
    for key in [
        "token_file: x",
        "api_key_env: X",
        "access_token_env: X",
        "api_secret_env: X",
        "quotes: 1s",
        "journal: x",
        "guard: true",
    ] {
        let name = key.split(':').next().unwrap();
        vendor(key, &format!("line 4: {name}: this has no effect without `preset: kite`"));
    }
    kite("guard: false\njournal: x", "line 3: journal: this has no effect with `guard: false`");
    kite("journal: ''", "line 2: journal: write the path of a file");
    kite(
        "api_key_env: x7k2m9",
        "line 2: api_key_env: write the name of an environment variable, in capital letters",
    );
    vendor(
        "auth: { header: content-length, env: X }",
        "line 4: auth.header: this header belongs to HTTP itself",
    );
    vendor(
        "auth: { prefix: Bearer, env: X }",
        "line 4: auth.prefix: end it with a space or a sign",
    );
    vendor(
        "auth: { prefix: 'Bearer ' }",
        "line 4: auth.env: write the name of an environment variable",
    );
    // Nothing is said of what follows from the wrong preset: of the upstream, of the lanes and of the journal.
    refused(
        "preset: kitee\nlanes: { quote: { queue: 7 } }\njournal: x",
        "line 1: preset: `kitee` will not do: write one of \"kite\"",
    );
}

#[test]
fn lanes_and_budgets_can_be_kept() {
    refused("upstream: https://x.example", "line 1: lanes: write at least one lane");
    refused(
        "upstream: https://x.example\nlanes:\n  a: { queue: 7 }",
        "line 3: lanes.a.quota: write a quota, as \"20/min\"",
    );
    refused(
        "upstream: https://x.example\nlanes:\n  a: 5\nunmatched: { lane: a }",
        "line 3: lanes.a: write a table of settings, not a number",
    );
    refused(
        "upstream: https://x.example\nlanes:\n  a: fast\nroutes: [{ match: GET /a, lane: a }]",
        "line 3: lanes.a: `fast` is no quota",
    );
    refused(
        "upstream: https://x.example\nlanes: { a: 1/s }\nbudgets:\n  b: { reserve: 1 }",
        "line 4: budgets.b.quota: write a quota",
    );
    refused(
        "upstream: https://x.example\nlanes: { a: { quota: 2/s, reserve: 2 } }",
        "line 2: lanes.a.reserve: ",
    );
    kite(
        "lanes:\n  quotes: 1/s",
        "line 3: lanes.quotes: there is no lane of this name; there are: transactional, quote, historical",
    );
    kite(
        "budgets:\n  order: 1/s",
        "line 3: budgets.order: there is no budget of this name; there are: orders",
    );
    kite(
        "lanes: { quote: { queue: 0 } }",
        "line 2: lanes.quote.queue: 0 will not do: write a number from 1",
    );
    kite(
        "lanes: { quote: { retry: { attempts: 21 } } }",
        "line 2: lanes.quote.retry.attempts: 21 will not do",
    );
    kite("budgets: { orders: { reserve: 400 } }", "line 2: budgets.orders.reserve: ");
}

#[test]
fn other_machines_connect_only_with_keys() {
    let listen = "listen: 0.0.0.0:80\n";
    kite(
        listen,
        "line 2: listen: other machines can reach this address: write `clients` and an `admin_key` too",
    );
    kite(
        &format!("{listen}admin_key: HASH"),
        "line 2: listen: other machines can reach this address: write `clients` too",
    );
    kite(
        &format!("{listen}clients: {{ a: {{ key: HASH }} }}"),
        "line 2: listen: other machines can reach this address: write an `admin_key` too",
    );
    let with_keys =
        format!("preset: kite\n{listen}admin_key: {HASH}\nclients: {{ a: {{ key: '{HASH}' }} }}");
    assert!(GatewayConfig::from_yaml(&with_keys).is_ok());
    for loopback in ["127.0.0.1:80", "127.9.9.9:80", "'[::1]:80'", "'[::ffff:127.0.0.1]:80'"] {
        assert!(
            GatewayConfig::from_yaml(&format!("preset: kite\nlisten: {loopback}")).is_ok(),
            "{loopback}"
        );
    }
    kite("listen: '[::]:80'", "line 2: listen: other machines");
    kite("listen: localhost", "line 2: listen: write an address and a port, as 127.0.0.1:8800");
    kite(
        "listen: 8800",
        "line 2: listen: write an address and a port, as 127.0.0.1:8800, not a number",
    );
    kite(
        "hosts:\n  - a.example\n  - https://b.example",
        "line 4: hosts[1]: write the name of a host without scheme",
    );
    kite("hosts: a.example", "line 2: hosts: write a list, not a text");
    kite(
        "trusted_proxies: [10.0.0.0/33]",
        "line 2: trusted_proxies[0]: write the address of a proxy, as 10.0.0.1, or a network",
    );
}

#[test]
fn sizes_and_times_are_sane() {
    for (setting, begin) in [
        (
            "client_timeout: 1ms",
            "client_timeout: 1ms will not do: write a time from 100ms to 3600s",
        ),
        ("client_timeout: 6", "client_timeout: write a time with its unit"),
        ("read_timeout: 2h", "read_timeout: 7200s will not do"),
        ("idle_timeout: 0s", "idle_timeout: 0ns will not do"),
        ("write_timeout: 0s", "write_timeout: 0ns will not do"),
        ("drain: 1day", "drain: 86400s will not do"),
        ("cool_down: 1day", "cool_down: 86400s will not do"),
        ("upstream_timeout: 0s", "upstream_timeout: 0ns will not do"),
        ("quotes: 2 days", "quotes: 172800s will not do"),
        ("max_body: 5", "max_body: 5 will not do: write a number from 1024 to 268435456"),
        ("max_body: 1 GiB", "max_body: 1073741824 will not do"),
        ("max_body: 1 Mb", "max_body: write a number of bytes, or a size as \"64 MiB\""),
        ("max_body: -1", "max_body: write a number of bytes"),
        ("kept: 99999999999 GiB", "kept: write a number of bytes"),
        ("kept: 65 GiB", "kept: 69793218560 will not do"),
        ("max_connections: 0", "max_connections: 0 will not do: write a number from 1 to 1000000"),
        ("max_connections: 1000001", "max_connections: 1000001 will not do"),
    ] {
        kite(setting, &format!("line 2: {begin}"));
    }
}

#[test]
fn all_that_is_wrong_is_reported_at_once_in_the_order_of_the_lines() {
    let text = GatewayConfig::from_toml(
        "listen = '0.0.0.0:80'
upstream = 'x.example'
qoutes = 'off'
[clients.admin]
key = 'x'
tier = 'y'
[lanes]
data = 'fast'
slow = '1/s'
[[routes]]
match = 'GET /a'
lane = 'data'
[[routes]]
match = 'GET /a'
lane = 'dta'
cache = '1s'",
    )
    .unwrap_err()
    .to_string();
    let begin = [
        "line 1: listen: other machines",
        "line 2: upstream: write an address that begins with https://",
        "line 3: qoutes: there is no such key",
        "line 4: clients.admin: this name",
        "line 5: clients.admin.key: write the hash",
        "line 6: clients.admin.tier: there is no tier of this name; there are: none",
        "line 8: lanes.data: `fast` is no quota",
        "line 14: routes[1].match: the route `GET /a` describes",
        "line 15: routes[1].lane: there is no lane",
    ];
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), begin.len(), "{text}");
    for (line, begin) in lines.iter().zip(begin) {
        assert!(line.starts_with(begin), "{line}\n{begin}");
    }
}

#[test]
fn an_item_of_a_list_has_its_own_line_in_toml_too() {
    let text = "preset = 'kite'\nhosts = [\n  'a.example',\n  'b c',\n]\nroutes = [\n  7,\n]";
    let error = GatewayConfig::from_toml(text).unwrap_err();
    let found: Vec<_> = error.problems().iter().map(|it| (it.path.as_str(), it.line)).collect();
    assert_eq!(found, [("hosts[1]", Some(4)), ("routes[0]", Some(7))]);
}

#[test]
fn a_secret_is_refused_wherever_it_stands_and_never_repeated() {
    let secret = "Zq8hunter2";
    for place in [
        "api_key: S",
        "token: S",
        "auth: S",
        "auth: { token: S }",
        "auth: { env: S }",
        "auth: { env: X, prefix: 'Bearer S' }",
        "auth: { env: X, header: 'Bearer S' }",
        "admin_key: S",
        "clients: { a: S }",
        "clients: { a: { key: S } }",
        "clients: { a: { secret: S } }",
        "clients: S",
        "accounts: { main: { access_token: S } }",
        "api_secret_env: S",
        "upstream: https://S@x.example",
        "upstream: https://x.example?token=S",
        "upstream: S",
        "hosts: [S:S]",
        "trusted_proxies: [S]",
        "limits: { headers: S }",
        "limits: S",
        "listen: S",
        "routes: [{ match: 'GET /a?api_key=S', lane: x }]",
        "routes: [{ token: S }]",
        "routes: [S]",
        "unmatched: S",
        "guard: S",
        "kept: S",
        "tiers: { a: { lanes: S } }",
        "tiers: { a: { password: S } }",
        "lanes: { data: { api_key: S } }",
    ] {
        let error = GatewayConfig::from_yaml(&place.replace('S', secret)).expect_err(place);
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

#[test]
fn a_file_is_named_in_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    fs::write(&path, "preset: kite\nunmatched: { lane: x }").unwrap();
    let text = GatewayConfig::from_path(&path).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}:2: unmatched.lane: ", path.display())), "{text}");
    let gone = GatewayConfig::from_path(folder.path().join("gone.toml")).unwrap_err().to_string();
    assert!(gone.contains("gone.toml: cannot be read: "), "{gone}");
    let other = GatewayConfig::from_path("gateway.json").unwrap_err().to_string();
    assert!(other.contains("must end in .toml, .yaml or .yml"), "{other}");
}

#[test]
fn settings_from_code_are_checked_too() {
    let vendor = || {
        let mut account = AccountConfig::new("https://x.example");
        account.lanes.push(("data".to_owned(), Quota::per_minute(20).into()));
        account
    };
    let problems = |change: &dyn Fn(&mut GatewayConfig, &mut AccountConfig)| {
        let mut account = vendor();
        let mut config = GatewayConfig::new(AccountConfig::new(""));
        change(&mut config, &mut account);
        config.accounts.insert("main".to_owned(), account);
        let error = config.check().unwrap_err();
        error.problems().iter().map(|it| it.path.clone()).collect::<Vec<_>>()
    };
    let expect = |paths: &[&str], change: &dyn Fn(&mut GatewayConfig, &mut AccountConfig)| {
        assert_eq!(problems(change), paths);
    };
    assert_eq!(GatewayConfig::new(vendor()).check(), Ok(()));

    expect(&["listen"], &|config, _| config.listen = "0.0.0.0:80".parse().unwrap());
    expect(&["admin_key"], &|config, _| config.admin_key = Some("x".to_owned()));
    expect(&["hosts[0]"], &|config, _| config.hosts.push("a b".to_owned()));
    expect(&["max_body"], &|config, _| config.door.max_body = 0);
    expect(&["clients.admin", "clients.admin.key"], &|config, _| {
        config.clients.insert("admin".to_owned(), ClientConfig::new("x"));
    });
    expect(&["clients.a.tier", "clients.a.account"], &|config, _| {
        let (tier, account) = (Some("x".to_owned()), Some("y".to_owned()));
        let client = ClientConfig { tier, account, ..ClientConfig::new(HASH) };
        config.clients.insert("a".to_owned(), client);
    });
    expect(&["tiers.t.priority", "tiers.t.orders", "tiers.t.lanes[0]"], &|config, _| {
        let mut tier = TierConfig::default();
        tier.max_priority = Priority::LOWEST;
        tier.priority = Some(Priority::URGENT);
        tier.orders = Some(Quota::per_second(0));
        tier.lanes = Some(vec!["x".to_owned()]);
        config.tiers.insert("t".to_owned(), tier);
    });
    expect(&["accounts"], &|config, _| {
        config.accounts.insert("other".to_owned(), vendor());
    });
    expect(&["accounts.main.upstream"], &|_, account| account.upstream.clear());
    expect(&["accounts.main.auth.header", "accounts.main.auth.env"], &|_, account| {
        let (header, env) = ("Authorization".to_owned(), String::new());
        account.auth = Some(UpstreamAuth { header, prefix: String::new(), env });
    });
    expect(&["accounts.main.token_file", "accounts.main.journal"], &|_, account| {
        account.token_file = Some("x".into());
        account.journal = Some("x".into());
    });
    expect(&["accounts.main.lanes.data", "accounts.main.lanes.x.quota"], &|_, account| {
        account.lanes.push(("data".to_owned(), Quota::per_second(1).into()));
        account.lanes.push(("x".to_owned(), LaneConfig::default()));
    });
    expect(&["accounts.main.lanes.x.in_flight", "accounts.main.lanes.y"], &|_, account| {
        let lane = || LaneConfig::new(Quota::per_second(1));
        account.lanes.push(("x".to_owned(), lane().in_flight(0)));
        account.lanes.push(("y".to_owned(), lane().reserve(1)));
    });
    expect(&["accounts.main.budgets.x"], &|_, account| {
        let budget = Budget::new(Quota::per_second(1)).reserve(1);
        account.budgets.push(("x".to_owned(), budget));
    });
    expect(&["accounts.main.budgets"], &|_, account| {
        let budget = |number| (format!("b{number}"), Budget::new(Quota::per_second(1)));
        account.budgets = (0..65).map(budget).collect();
    });
    expect(&["accounts.main.routes[1].match", "accounts.main.routes[1].lane"], &|_, account| {
        for lane in ["data", "x"] {
            let action = RouteAction::Send(SendRoute::new(lane));
            account.routes.push(RouteConfig { pattern: "GET /a".to_owned(), action });
        }
    });
    expect(&["accounts.main.unmatched.lane"], &|_, account| {
        account.unmatched = Unmatched::Lane("x".to_owned());
    });
    expect(&["accounts.main.kept", "accounts.main.upstream_timeout"], &|_, account| {
        account.kept_capacity = u64::MAX;
        account.upstream_timeout = Duration::MAX;
    });
    let mut none = GatewayConfig::new(vendor());
    none.accounts.clear();
    assert!(none.check().is_err());
}
