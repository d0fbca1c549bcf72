//! The limits of clients: rules of the operator, which judge each request before it is queued.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper_gateway::config::{AccountConfig, ClientConfig, GatewayConfig, LimitsConfig};
use lanekeeper_gateway::{Gateway, GatewayError};
use support::door::refusal;
use support::ops::{Scrape, bearer, call, echo, key, own};
use support::{Answer, Upstream, builder};
use tempfile::TempDir;

/// A gateway with rules in a file, whose limits count on a clock of the test.
struct Limited {
    gateway: Gateway,
    clock: ManualClock,
    config: GatewayConfig,
    _folder: TempDir,
}

impl Limited {
    fn start(upstream: &Upstream, rules: &str) -> Self {
        Self::with(upstream, rules, |_| {})
    }

    /// Starts a gateway with two lanes, of which one has the orders, and with changes of its settings.
    fn with(upstream: &Upstream, rules: &str, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("limits.yaml");
        std::fs::write(&file, rules).unwrap();
        let mut config = GatewayConfig::from_yaml(&format!(
            "upstream: {}\nlanes: {{ data: unlimited, orders: unlimited }}\n\
             routes:\n  - {{ match: POST /orders, lane: orders }}\n  \
             - {{ match: DELETE /orders/*, lane: orders, exit: true }}\nunmatched: {{ lane: data }}",
            upstream.url()
        ))
        .unwrap();
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.limits = Some(LimitsConfig::new(file));
        change(&mut config);
        let clock = ManualClock::new();
        let gateway = builder(config.clone()).clock(clock.clone()).start().unwrap();
        Self { gateway, clock, config, _folder: folder }
    }

    fn file(&self) -> PathBuf {
        self.config.limits.as_ref().unwrap().rules.clone()
    }

    fn call(&self, method: &str, target: &str, lines: &str) -> Answer {
        call(self.gateway.address(), method, target, lines)
    }

    /// The status of a read by a client of an open gateway.
    fn get(&self, client: &str) -> u16 {
        self.call("GET", "/a", &name(client)).status
    }

    fn over_limit(&self, rule: &str, outcome: &str) -> Option<f64> {
        let scrape = Scrape::read(&own(&self.gateway, "GET", "/metrics", "", "").text());
        let labels = [("rule", rule), ("outcome", outcome)];
        let is_it = |sample: &&support::ops::Sample| {
            sample.name == "lanekeeper_gateway_over_limit_total"
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).map(String::as_str) == Some(value))
        };
        scrape.samples.iter().find(is_it).map(|sample| sample.value)
    }
}

/// The header line with which a client of an open gateway says its name.
fn name(client: &str) -> String {
    format!("x-lanekeeper-key: {client}:any\r\n")
}

const PER_CLIENT: &str =
    "descriptors: [{ key: client, name: per client, unit: minute, requests_per_unit: 2 }]";

#[test]
fn each_client_has_its_limit_and_is_told_when_to_come_back() {
    let upstream = echo();
    let limited = Limited::start(&upstream, PER_CLIENT);
    assert_eq!([(); 2].map(|()| limited.get("alpha")), [200, 200]);
    let refused = limited.call("GET", "/a", &name("alpha"));
    assert!(refusal(&refused, 429, "no").contains("`per client`"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""per client";q=2;w=60"#));
    assert_eq!(refused.header("ratelimit"), Some(r#""per client";r=0;t=60"#));
    assert_eq!([(); 3].map(|()| limited.get("beta")), [200, 200, 429]);
    // What it was told is true.
    limited.clock.advance(Duration::from_secs(30) - Duration::from_micros(1));
    assert_eq!(limited.get("alpha"), 429);
    limited.clock.advance(Duration::from_micros(1));
    assert_eq!([(); 2].map(|()| limited.get("alpha")), [200, 429]);
    assert_eq!(upstream.requests().len(), 5);
    assert_eq!(limited.over_limit("per client", "refused"), Some(4.0));
}

#[test]
fn an_answer_of_the_broker_has_the_headers_only_if_they_are_asked_for() {
    let names = |answer: &Answer| {
        let shown = |name: &String| name.starts_with("ratelimit") || name == "retry-after";
        answer.headers.iter().map(|(name, _)| name.clone()).filter(shown).collect::<Vec<_>>()
    };
    let upstream = Upstream::start(|request| {
        let own = match request.target.as_str() {
            "/own" => "ratelimit: \"broker\";r=7\r\n",
            _ => "",
        };
        Some(format!("HTTP/1.1 200 OK\r\n{own}content-length: 0\r\n\r\n").into())
    });
    let silent = Limited::start(&upstream, PER_CLIENT);
    assert_eq!(names(&silent.call("GET", "/a", &name("alpha"))), [""; 0]);
    let with_headers = |config: &mut GatewayConfig| {
        config.limits.as_mut().unwrap().headers = true;
    };
    let shown = Limited::with(&upstream, PER_CLIENT, with_headers);
    let answer = shown.call("GET", "/a", &name("alpha"));
    assert_eq!(names(&answer), ["ratelimit-policy", "ratelimit"]);
    assert_eq!(answer.header("ratelimit"), Some(r#""per client";r=1;t=30"#));
    // What the broker says of its own limits goes on as it is.
    let answer = shown.call("GET", "/own", &name("beta"));
    assert_eq!(names(&answer), ["ratelimit"]);
    assert_eq!(answer.header("ratelimit"), Some("\"broker\";r=7"));
    // An exit goes on, so it is not told to come back.
    assert_eq!(shown.get("alpha"), 200);
    let exit = shown.call("DELETE", "/orders/1", &name("alpha"));
    assert_eq!(
        (exit.status, names(&exit)),
        (200, vec!["ratelimit-policy".into(), "ratelimit".into()])
    );
    // Without a rule there is nothing to tell.
    let other = Limited::with(
        &upstream,
        "rules: [{ path: /b, unit: day, requests_per_unit: 1 }]",
        with_headers,
    );
    assert_eq!(names(&other.call("GET", "/a", &name("alpha"))), [""; 0]);
}

#[test]
fn an_exit_is_counted_if_it_fits_and_goes_out_if_not() {
    let upstream = echo();
    let limited = Limited::start(&upstream, PER_CLIENT);
    let send = |method: &str, target: &str, more: &str| {
        limited.call(method, target, &format!("{}{more}", name("alpha"))).status
    };
    assert_eq!([(); 5].map(|()| send("DELETE", "/orders/1", "")), [200; 5]);
    // The first two were counted.
    assert_eq!(limited.get("alpha"), 429);
    let urgent = "x-lanekeeper-priority: 1\r\n";
    assert_eq!((send("POST", "/orders", ""), send("POST", "/orders", urgent)), (429, 200));
    // An urgent read ends no position.
    assert_eq!(send("GET", "/a", urgent), 429);
    assert_eq!(limited.over_limit("per client", "exit"), Some(4.0));
    assert_eq!(limited.over_limit("per client", "refused"), Some(3.0));
    // Not even a rule that allows nothing holds an exit.
    let closed =
        Limited::start(&upstream, "{ rules: [{ path: /**, unit: day, requests_per_unit: 0 }] }");
    assert_eq!(closed.call("DELETE", "/orders/1", &name("alpha")).status, 200);
}

#[test]
fn what_a_rule_never_allows_is_refused_for_good() {
    let upstream = echo();
    let rules = "rules: [{ path: /closed/**, name: closed, unit: day, requests_per_unit: 0 }]";
    let limited = Limited::start(&upstream, rules);
    assert_eq!(limited.get("alpha"), 200);
    // Not 429, after which clients try again.
    let refused = limited.call("GET", "/closed/a", &name("alpha"));
    assert!(refusal(&refused, 403, "no").contains("`closed`"));
    // However the path is written.
    for path in ["/closed", "/closed/%61", "/c%6Cosed/a"] {
        assert_ne!(limited.call("GET", path, &name("alpha")).status, 200, "{path}");
    }
}

#[test]
fn rules_tell_requests_apart_by_each_entry() {
    let upstream = echo();
    let (alpha, beta) = (key(), key());
    let clients = |config: &mut GatewayConfig| {
        let mut second = config.accounts["main"].clone();
        second.upstream = upstream.url();
        config.accounts.insert("second".to_owned(), second);
        config.tiers = GatewayConfig::from_yaml(
            "upstream: http://127.0.0.1\nlanes: { data: 1/s }\ntiers: { free: {} }",
        )
        .unwrap()
        .tiers;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        for (name, (_, hash), account, tier) in
            [("alpha", &alpha, "main", Some("free")), ("beta", &beta, "second", None)]
        {
            let mut client = ClientConfig::new(hash.clone());
            client.account = Some(account.to_owned());
            client.tier = tier.map(str::to_owned);
            config.clients.insert(name.to_owned(), client);
        }
    };
    let (alpha, beta) = (bearer("alpha", &alpha.0), bearer("beta", &beta.0));
    let from = |lines: &str, ip: &str| format!("{lines}x-forwarded-for: {ip}\r\n");
    let get = ("GET", "/a");
    // Each rule admits one request. The first call uses it up, the second one has another value, the third the same.
    for (rule, first, other) in [
        ("key: client", (get, from(&alpha, "192.0.2.1")), (get, from(&beta, "192.0.2.1"))),
        ("key: tier", (get, alpha.clone()), (get, beta.clone())),
        ("key: tier, value: free", (get, alpha.clone()), (get, beta.clone())),
        ("key: account", (get, alpha.clone()), (get, beta.clone())),
        ("key: account, value: second", (get, beta.clone()), (get, alpha.clone())),
        ("key: lane", (("POST", "/orders"), alpha.clone()), (get, alpha.clone())),
        ("key: method", (("PUT", "/a"), alpha.clone()), (get, alpha.clone())),
        ("key: ip", (get, from(&alpha, "192.0.2.1")), (get, from(&alpha, "192.0.2.2"))),
        ("key: ip", (get, from(&alpha, "2001:db8::1")), (get, from(&alpha, "2001:db8:0:1::1"))),
        (
            "key: ip, value: \"2001:db8::/64\"",
            (get, from(&alpha, "2001:db8::1")),
            (get, alpha.clone()),
        ),
    ] {
        let rules = format!("descriptors: [{{ {rule}, unit: day, requests_per_unit: 1 }}]");
        let limited = Limited::with(&upstream, &rules, clients);
        let send = |((method, path), lines): &((&str, &str), String)| {
            limited.call(method, path, lines).status
        };
        assert_eq!([send(&first), send(&other), send(&first)], [200, 200, 429], "{rule}");
    }
}

#[test]
fn a_network_of_ipv6_has_one_limit() {
    let upstream = echo();
    let rules = "descriptors: [{ key: ip, unit: day, requests_per_unit: 3 }]";
    let limited = Limited::with(&upstream, rules, |config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let get = |host: u16| {
        let lines = format!("{}x-forwarded-for: 2001:db8::{host:x}\r\n", name("alpha"));
        limited.call("GET", "/a", &lines).status
    };
    assert_eq!([1, 2, 3, 4].map(get), [200, 200, 200, 429]);
}

#[test]
fn only_requests_of_clients_to_the_broker_are_counted() {
    let upstream = echo();
    let (secret, hash) = key();
    let client = |config: &mut GatewayConfig| {
        config.clients.insert("alpha".to_owned(), ClientConfig::new(hash));
    };
    let one = "{ rules: [{ path: /**, unit: day, requests_per_unit: 1 }] }";
    let limited = Limited::with(&upstream, one, client);
    let right = bearer("alpha", &secret);
    let get = |lines: &str| limited.call("GET", "/a", lines).status;
    // What is from no client uses nothing up.
    assert_eq!((get(""), get(&bearer("alpha", "wrong"))), (401, 403));
    for path in ["", "/", "/healthz", "/readyz", "/status", "/metrics", "/scans"] {
        let answer = own(&limited.gateway, "GET", path, &right, "");
        assert!(answer.status < 400, "{path}: {}", answer.text());
    }
    assert_eq!((get(&right), get(&right)), (200, 429));
    // And the page is there when it is used up.
    assert_eq!(own(&limited.gateway, "GET", "/status", &right, "").status, 200);
}

#[test]
fn a_rule_in_shadow_mode_refuses_nothing_and_is_seen_in_the_metrics() {
    let upstream = echo();
    let rules = "descriptors: [{ key: client, name: trial, unit: day, requests_per_unit: 1, shadow_mode: true }]";
    let limited = Limited::start(&upstream, rules);
    assert_eq!([(); 3].map(|()| limited.get("alpha")), [200; 3]);
    assert_eq!(limited.over_limit("trial", "shadow"), Some(2.0));
    assert_eq!(limited.over_limit("trial", "refused"), None);
}

#[test]
fn rules_are_read_again_and_what_was_used_counts_on() {
    let upstream = echo();
    // A window that counts requests: of a token bucket, the same share would be used of a larger one.
    let rules = "descriptors: [{ key: client, algorithm: sliding_window_log, unit: minute, requests_per_unit: 2 }]";
    let limited = Limited::start(&upstream, rules);
    let reload = |rules: &str| {
        std::fs::write(limited.file(), rules).unwrap();
        limited.gateway.reload(limited.config.clone())
    };
    assert_eq!([(); 3].map(|()| limited.get("alpha")), [200, 200, 429]);
    reload(&rules.replace('2', "3")).unwrap();
    assert_eq!([(); 2].map(|()| limited.get("alpha")), [200, 429]);
    // Without the table there are no limits.
    let mut without = limited.config.clone();
    without.limits = None;
    limited.gateway.reload(without).unwrap();
    assert_eq!([(); 5].map(|()| limited.get("alpha")), [200; 5]);
}

#[test]
fn bad_rules_change_nothing_and_are_reported_with_their_file_and_line() {
    let upstream = echo();
    let limited = Limited::start(&upstream, PER_CLIENT);
    let bad = "descriptors:\n  - key: client\n    unit: fortnight\n    requests_per_unit: 9\n";
    let file = limited.file();
    let line = format!("{}:3: descriptors[0].unit: ", file.display());
    std::fs::write(&file, bad).unwrap();

    // With a change that could be taken alone.
    let mut config = limited.config.clone();
    config.clients.insert("alpha".to_owned(), ClientConfig::new(key().1));
    let error = limited.gateway.reload(config.clone()).unwrap_err();
    assert!(matches!(error, GatewayError::Config(_)), "{error}");
    assert!(error.to_string().starts_with(&line), "{error}");
    assert_eq!([(); 3].map(|()| limited.get("alpha")), [200, 200, 429]);

    std::fs::remove_file(&file).unwrap();
    let error = limited.gateway.reload(config).unwrap_err().to_string();
    assert!(error.contains("limits.yaml: cannot be read"), "{error}");
    assert_eq!(limited.get("beta"), 200);

    // Nothing starts with them.
    std::fs::write(&file, bad).unwrap();
    let error = builder(limited.config.clone()).start().unwrap_err().to_string();
    assert!(error.starts_with(&line), "{error}");
}

/// This is what `lanekeeper check-config` and the start of a gateway read.
#[test]
fn the_file_of_a_gateway_is_read_with_its_rules_which_are_beside_it() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let file =
        write("gateway.toml", "preset = 'kite'\n[limits]\nrules = 'limits.yaml'\nheaders = true");
    let error = GatewayConfig::from_path(&file).unwrap_err().to_string();
    let rules = folder.path().join("limits.yaml");
    assert!(error.starts_with(&format!("{}: cannot be read: ", rules.display())), "{error}");

    write("limits.yaml", "descriptors:\n  - { key: client, unit: minute, requests_per_unit: -1 }");
    let error = GatewayConfig::from_path(&file).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{}:2: descriptors[0].requests", rules.display())),
        "{error}"
    );

    write("limits.yaml", PER_CLIENT);
    let limits = GatewayConfig::from_path(&file).unwrap().limits.unwrap();
    assert_eq!((limits.rules.clone(), limits.headers), (rules.clone(), true));
    let absolute = format!("preset = 'kite'\nlimits.rules = '{}'", rules.display());
    let file = write("other.toml", &absolute);
    assert_eq!(GatewayConfig::from_path(file).unwrap().limits.unwrap().rules, rules);

    let without = GatewayConfig::new(AccountConfig::kite("https://x.example"));
    assert_eq!(without.limits, None);
}

#[test]
fn the_rules_of_the_chapter_can_be_used() {
    let chapter = include_str!("../../docs/running-a-gateway.md");
    let (_, rules) = chapter.split_once("```yaml\n# limits.yaml\n").expect("the example");
    let (rules, _) = rules.split_once("```").unwrap();
    let upstream = echo();
    let limited = Limited::start(&upstream, rules);
    assert_eq!(limited.get("alpha"), 200);
    let place = || limited.call("POST", "/orders", &name("alpha")).status;
    assert_eq!([(); 6].map(|()| place()), [200, 200, 200, 200, 200, 429]);
}
