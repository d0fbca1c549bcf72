//! New settings for a running gateway: all of them are taken, or none.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use lanekeeper::LaneConfig;
use lanekeeper_gateway::config::{AccountConfig, ClientConfig, GatewayConfig, UpstreamAuth};
use lanekeeper_gateway::{Gateway, GatewayError};
use support::ops::{bearer, call, echo, key, own, status};
use support::{kite, start};

/// Returns settings with one lane of this quota.
fn with_quota(upstream: &str, quota: &str) -> GatewayConfig {
    read(&format!("upstream: {upstream}\nlanes: {{ data: {quota} }}\nunmatched: {{ lane: data }}"))
}

fn read(text: &str) -> GatewayConfig {
    let mut config = GatewayConfig::from_yaml(text).unwrap_or_else(|error| panic!("{error}"));
    config.listen = "127.0.0.1:0".parse().unwrap();
    config
}

fn get(gateway: &Gateway, lines: &str) -> u16 {
    call(gateway.address(), "GET", "/a", lines).status
}

#[test]
fn a_new_quota_holds_at_once_and_what_was_used_of_it_counts_on() {
    let upstream = echo();
    let gateway = start(with_quota(&upstream.url(), "2/h"));
    let statuses = |count: usize| -> Vec<u16> { (0..count).map(|_| get(&gateway, "")).collect() };
    assert_eq!(statuses(3), [200, 200, 429]);
    gateway.reload(with_quota(&upstream.url(), "3/h")).unwrap();
    assert_eq!(statuses(2), [200, 429]);
    // Fewer than were made already.
    gateway.reload(with_quota(&upstream.url(), "1/h")).unwrap();
    assert_eq!(statuses(1), [429]);
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn a_lane_of_a_preset_changes_its_quota_and_gets_the_documented_one_back() {
    let gateway = start(kite("http://127.0.0.1:9"));
    let quota = || {
        let lanes = own(&gateway, "GET", "/status", "", "").json()["accounts"][0]["lanes"].clone();
        lanes.as_array().unwrap().iter().map(|lane| lane["quota"].to_string()).collect::<Vec<_>>()
    };
    let shows = |expected: &str| {
        support::ops::until(expected, || quota().join(" ").replace('"', "") == expected);
    };
    shows("10/s 1/s 3/s");
    let mut config = kite("http://127.0.0.1:9");
    let account = config.accounts.get_mut("main").unwrap();
    account.lanes = vec![("quote".to_owned(), LaneConfig::new("1/2s".parse().unwrap()))];
    account.budgets = vec![("orders".to_owned(), lanekeeper::Quota::per_minute(100).into())];
    gateway.reload(config).unwrap();
    shows("10/s 1/2s 3/s");
    let budget = || status(&gateway)["accounts"][0]["budgets"][0]["windows"][0]["limit"].clone();
    // The lanes change before the budgets, and a status may be of the moment in between.
    support::ops::until("the new budget", || budget() == 100);
    gateway.reload(kite("http://127.0.0.1:9")).unwrap();
    shows("10/s 1/s 3/s");
    support::ops::until("the documented budget", || budget() == 400);
}

#[test]
fn clients_come_and_go_and_one_whose_tier_did_not_change_has_used_what_it_used() {
    let upstream = echo();
    let keys = [key(), key(), key()];
    let clients = |text: &str, known: &[(&str, usize, &str)]| {
        let mut config = with_quota(&upstream.url(), "unlimited");
        config.tiers = read(&format!(
            "upstream: http://127.0.0.1\nlanes: {{ data: 1/s }}\ntiers: {{ {text} }}"
        ))
        .tiers;
        for (name, index, tier) in known {
            let mut client = ClientConfig::new(keys[*index].1.clone());
            client.tier = Some((*tier).to_owned());
            config.clients.insert((*name).to_owned(), client);
        }
        config
    };
    let two = "slow: { requests: 2/h }";
    let gateway = start(clients(two, &[("alpha", 0, "slow"), ("beta", 1, "slow")]));
    let alpha = bearer("alpha", &keys[0].0);
    let beta = bearer("beta", &keys[1].0);
    let gamma = bearer("gamma", &keys[2].0);
    assert_eq!([(); 3].map(|()| get(&gateway, &alpha)), [200, 200, 429]);
    assert_eq!(get(&gateway, &beta), 200);
    assert_eq!(get(&gateway, &gamma), 403);

    // Beta is gone, gamma is there, another tier changes.
    let changed = format!("{two}, other: {{ requests: 9/h }}");
    gateway.reload(clients(&changed, &[("alpha", 0, "slow"), ("gamma", 2, "slow")])).unwrap();
    assert_eq!(get(&gateway, &alpha), 429, "the counts of an unchanged tier began anew");
    assert_eq!(get(&gateway, &beta), 403);
    assert_eq!(get(&gateway, &gamma), 200);

    gateway.reload(clients("slow: { requests: 3/h }", &[("alpha", 0, "slow")])).unwrap();
    assert_eq!([(); 4].map(|()| get(&gateway, &alpha)), [200, 200, 200, 429]);
    // A key that is replaced is none any more.
    let mut config = clients(two, &[("alpha", 1, "slow")]);
    config.hosts = vec!["gateway.example".to_owned()];
    gateway.reload(config).unwrap();
    assert_eq!(get(&gateway, &alpha), 403);
    assert_eq!(get(&gateway, &bearer("alpha", &keys[1].0)), 200);
}

#[test]
fn routes_hosts_and_the_admin_key_change() {
    let upstream = echo();
    let (secret, hash) = key();
    let gateway = start(with_quota(&upstream.url(), "unlimited"));
    let pause = || {
        let lines = format!("x-lanekeeper-request: 1\r\n{}", bearer("admin", &secret));
        own(&gateway, "POST", "/accounts/main/lanes/data/resume", &lines, "").status
    };
    let by_name = || {
        let mut client = support::Client::connect(gateway.address());
        client.send("GET /a HTTP/1.1\r\nhost: gateway.example\r\n\r\n");
        client.read("GET").status
    };
    assert_eq!((get(&gateway, ""), pause(), by_name()), (200, 403, 421));
    let mut config = read(&format!(
        "upstream: {}\nlanes: {{ data: unlimited }}\n\
         routes: [{{ match: GET /a, refuse: closed for today }}]\nunmatched: refuse",
        upstream.url()
    ));
    config.admin_key = Some(hash);
    config.hosts = vec!["gateway.example".to_owned()];
    gateway.reload(config).unwrap();
    let refused = call(gateway.address(), "GET", "/a", "");
    assert_eq!((refused.status, &refused.json()["message"]), (403, &"closed for today".into()));
    assert_eq!(call(gateway.address(), "GET", "/b", "").status, 404);
    assert_eq!((pause(), by_name()), (200, 403));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn settings_that_contradict_each_other_change_nothing() {
    let upstream = echo();
    let gateway = start(with_quota(&upstream.url(), "1/h"));
    let mut bad = with_quota(&upstream.url(), "100/h");
    bad.clients.insert("alpha".to_owned(), ClientConfig::new("no hash"));
    let error = gateway.reload(bad).unwrap_err();
    assert!(matches!(error, GatewayError::Config(_)), "{error}");
    assert_eq!([(); 2].map(|()| get(&gateway, "")), [200, 429]);
}

/// What is open or running cannot change. A change of it is refused with all that comes with it.
#[test]
fn a_change_that_needs_a_restart_is_named_and_nothing_of_it_is_taken() {
    let upstream = echo();
    let gateway = start(with_quota(&upstream.url(), "1/h"));
    assert_eq!(get(&gateway, ""), 200);
    let (_, hash) = key();
    let refused = |name: &str, change: &dyn Fn(&mut GatewayConfig)| {
        // Each comes with two changes that could be taken alone.
        let mut config = with_quota(&upstream.url(), "100/h");
        config.clients.insert("alpha".to_owned(), ClientConfig::new(hash.clone()));
        change(&mut config);
        let error = gateway.reload(config).unwrap_err();
        assert!(matches!(error, GatewayError::NeedsRestart { .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains(name), "{text} does not name {name}");
        assert_eq!(get(&gateway, ""), 429, "a part of {name} was taken");
    };
    refused("`listen`", &|config| config.listen = "127.0.0.1:1".parse().unwrap());
    refused("`client_timeout`", &|config| config.door.client_timeout = Duration::from_secs(3));
    refused("`max_body`", &|config| config.door.max_body *= 2);
    refused("`max_connections`", &|config| config.door.max_connections = 7);
    refused("`read_timeout`", &|config| config.door.read_timeout *= 2);
    refused("`idle_timeout`", &|config| config.door.idle_timeout *= 2);
    refused("`write_timeout`", &|config| config.door.write_timeout *= 2);
    refused("`drain`", &|config| config.door.drain *= 2);
    refused("`cool_down`", &|config| config.door.cool_down *= 2);
    fn main(config: &mut GatewayConfig) -> &mut AccountConfig {
        config.accounts.get_mut("main").unwrap()
    }
    let of_main = |key: &str| format!("`{key}` of the account main");
    refused(&of_main("upstream"), &|config| main(config).upstream = "http://127.0.0.1:9".into());
    refused(&of_main("auth"), &|config| {
        let (header, prefix, env) = ("x-key".into(), String::new(), "KEY".into());
        main(config).auth = Some(UpstreamAuth { header, prefix, env });
    });
    refused(&of_main("kept"), &|config| main(config).kept_capacity = 1);
    refused(&of_main("pace"), &|config| main(config).pace = Some("pace".into()));
    refused(&of_main("upstream_timeout"), &|config| {
        main(config).upstream_timeout = Duration::from_secs(1);
    });
    refused("the lanes of the account main", &|config| {
        let lane = ("more".to_owned(), LaneConfig::new("1/s".parse().unwrap()));
        main(config).lanes.push(lane);
    });
    refused("the budgets of the account main", &|config| {
        let budget = ("more".to_owned(), lanekeeper::Quota::per_minute(1).into());
        main(config).budgets.push(budget);
    });
    refused("the lane data of the account main, beside its quota", &|config| {
        let lane = LaneConfig::new("100/h".parse().unwrap()).queue(7);
        main(config).lanes = vec![("data".to_owned(), lane)];
    });
    refused("the names of the accounts", &|config| {
        let account = config.accounts["main"].clone();
        config.accounts.insert("second".to_owned(), account);
        config.clients.get_mut("alpha").unwrap().account = Some("main".to_owned());
    });
    assert_eq!(upstream.requests().len(), 1);
}
