//! Gateways that share the quotas of their accounts through a real Redis, and what they show while it is away.
#![cfg(unix)]
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "../../tests/support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the limiter use more of it")]
mod redis;

use lanekeeper::shared_quota::SharedSettings;
use lanekeeper_gateway::config::GatewayConfig;
use lanekeeper_gateway::{Gateway, GatewayError};
use redis::RedisServer;
use serde_json::Value;
use support::ops::{call, echo, own, status, until};
use support::{Upstream, door, kite, start, upstream};

/// Returns settings with one lane, whose quota is shared.
fn shared(upstream: &str, quota: &str, redis: &str) -> GatewayConfig {
    let text = format!(
        "upstream: {upstream}\nlanes: {{ data: {quota} }}\nunmatched: {{ lane: data }}\n\
         shared: {{ url: '{redis}', timeout: 5s, away_after: 0s }}"
    );
    let mut config = GatewayConfig::from_yaml(&text).unwrap();
    // A request that gets no permit in this time is refused.
    config.door.client_timeout = std::time::Duration::from_secs(3);
    config.listen = "127.0.0.1:0".parse().unwrap();
    config
}

fn shared_of(gateway: &Gateway) -> Value {
    status(gateway)["accounts"][0]["shared"].clone()
}

#[test]
fn two_gateways_share_the_quota_of_an_account() {
    let Some(server) = RedisServer::start() else { return };
    let upstream = echo();
    let config = || shared(&upstream.url(), "3/h", &server.url());
    let (first, second) = (start(config()), start(config()));
    let get = |gateway: &Gateway| call(gateway.address(), "GET", "/a", "").status;
    until("both are known", || shared_of(&first)["processes"] == 2);
    assert_eq!(shared_of(&second)["mode"], "shared");
    let statuses = [get(&first), get(&second), get(&first), get(&second)];
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn a_gateway_of_kite_shares_its_lanes_under_the_name_of_the_account() {
    let Some(server) = RedisServer::start() else { return };
    let mut config = kite("http://127.0.0.1:9");
    config.shared = Some(SharedSettings::redis(&server.url()).unwrap());
    let gateway = start(config);
    until("it shares", || shared_of(&gateway)["mode"] == "shared");
    assert!(server.send("EXISTS lanekeeper:{main}:meta").starts_with(":1"));
}

#[test]
fn a_gateway_whose_redis_is_away_is_ready_and_says_so() {
    let Some(server) = RedisServer::start() else { return };
    let gateway = start(shared("http://127.0.0.1:9", "10/s", &server.url()));
    until("it shares", || shared_of(&gateway)["mode"] == "shared");
    assert_eq!(status(&gateway)["health"], "ok");
    drop(server);
    until("Redis is away", || shared_of(&gateway)["mode"] == "share");
    assert_eq!(status(&gateway)["health"], "limited");
    let ready = own(&gateway, "GET", "/readyz", "", "");
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    let metrics = own(&gateway, "GET", "/metrics", "", "").text();
    let mode = "lanekeeper_shared_quota_mode{account=\"main\",mode=\"share\"} 1";
    assert!(metrics.contains(mode), "{metrics}");
}

#[test]
fn a_gateway_that_sends_only_exits_does_not_say_that_a_call_goes_at_once() {
    let gateway = start(shared("http://127.0.0.1:9", "10/s", "redis://127.0.0.1:1"));
    let status = status(&gateway);
    assert_eq!(
        (&status["health"], &shared_of(&gateway)["mode"]),
        (&"paused".into(), &"stopped".into())
    );
    assert!(status["accounts"][0]["lanes"][0]["estimated_wait"].is_null(), "{status}");
}

#[test]
fn a_change_of_what_is_shared_needs_a_restart() {
    let gateway = start(shared("http://127.0.0.1:9", "10/s", "redis://127.0.0.1:1"));
    let same = shared("http://127.0.0.1:9", "10/s", "redis://127.0.0.1:1");
    gateway.reload(same).unwrap();
    let other = shared("http://127.0.0.1:9", "10/s", "redis://127.0.0.1:2");
    let error = gateway.reload(other).unwrap_err();
    assert!(matches!(error, GatewayError::NeedsRestart { .. }), "{error}");
    assert!(error.to_string().ends_with("a change of `shared`"), "{error}");
}

#[test]
fn an_address_from_the_environment_that_is_not_there_is_named() {
    let mut config = kite("http://127.0.0.1:9");
    config.shared = Some(SharedSettings::redis_from_env("LANEKEEPER_REDIS"));
    let error = support::builder(config).start().map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("set LANEKEEPER_REDIS in the environment"), "{text}");
}

#[test]
fn two_gateways_make_one_request_for_the_same_quotes() {
    let Some(server) = RedisServer::start() else { return };
    let row = r#"{"instrument_token":408065,"last_price":1501.0500,"depth":{}}"#;
    let answer = format!(r#"{{"status":"success","data":{{"NSE:INFY":{row}}}}}"#);
    let upstream =
        Upstream::start(move |_| Some(upstream::ok("application/json", answer.as_bytes())));
    let gateway = || {
        let mut config = kite(&upstream.url());
        let account = config.accounts.values_mut().next().unwrap();
        account.quote_ttl = std::time::Duration::from_secs(30);
        config.shared = Some(SharedSettings::redis(&server.url()).unwrap());
        start(config)
    };
    let (first, second) = (gateway(), gateway());
    let get = |gateway: &Gateway| call(gateway.address(), "GET", "/quote?i=NSE:INFY", door::ALPHA);
    for answer in [get(&first), get(&second)] {
        assert!(answer.text().contains(row), "{}", answer.text());
    }
    let requests = upstream.requests();
    assert_eq!(requests.iter().filter(|it| it.target.starts_with("/quote")).count(), 1);
    until("it is counted", || status(&second)["accounts"][0]["quotes"]["shared"] == 1);
}
