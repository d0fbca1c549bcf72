//! Who may do what: keys, the admin key, and clients of other accounts.

use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper_gateway::config::TierConfig;

use crate::support::door::{keyed, refusal};
use crate::support::upstream::Upstream;
use crate::support::{API_KEY, Client, TOKEN, builder, kite, log, start};

/// The longest delay after wrong keys.
const DELAY: Duration = Duration::from_secs(900);

const OWN: &str = "x-lanekeeper-request: 1\r\n";

fn bearer(name: &str, secret: &str) -> String {
    format!("authorization: Bearer {name}:{secret}\r\n")
}

#[test]
fn a_key_in_an_address_is_no_key_and_is_not_logged() {
    log::keep();
    let upstream = Upstream::json("{}");
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let secret = &keys["alpha"];
    let gateway = start(config);
    for target in [
        format!("/user/in-query?api_key=alpha&access_token={secret}"),
        format!("/user/in-query?authorization=token%20alpha:{secret}"),
        format!("/user/in-query?x-lanekeeper-key=alpha:{secret}"),
        format!("/user/in-query?key=alpha:{secret}"),
        format!("/_lanekeeper/status?key=alpha:{secret}"),
        format!("/_lanekeeper/events?token=admin:{}", keys["admin"]),
        format!("/_lanekeeper/scans?authorization=Bearer%20alpha:{secret}"),
    ] {
        let answer = Client::connect(gateway.address()).request_with("GET", &target, OWN, "");
        refusal(&answer, 401, "no");
    }
    assert_eq!(upstream.requests().len(), 0);
    // They are logged, without it.
    assert_eq!(log::lines("/user/in-query").len(), 4);
    // In a header it is one, and is not logged either.
    let lines = format!("authorization: token alpha:{secret}\r\n");
    let answer =
        Client::connect(gateway.address()).request_with("GET", "/user/in-header", &lines, "");
    assert_eq!(answer.status, 200);
    assert_eq!(log::lines("/user/in-header").len(), 1);
    for secret in keys.values() {
        assert_eq!(log::lines(secret), [""; 0]);
        assert!(upstream.requests().iter().all(|request| !format!("{request:?}").contains(secret)));
    }
}

#[test]
fn only_the_admin_key_pauses_a_lane_and_logs_in() {
    let upstream = Upstream::json("{}");
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let clock = ManualClock::new();
    let gateway = builder(config).clock(clock.clone()).start().unwrap();
    let mut client = Client::connect(gateway.address());
    let pause = "/_lanekeeper/accounts/main/lanes/quote/pause";
    let login = r#"{"request_token":"abc"}"#;
    for (lines, status) in [
        (String::new(), 403),
        (bearer("admin", "wrong"), 403),
        (bearer("admin", ""), 403),
        (bearer("admin", &keys["alpha"]), 403),
        (bearer("Admin", &keys["admin"]), 403),
        (bearer("alpha", &keys["admin"]), 403),
        (bearer("alpha", &keys["alpha"]), 403),
        (bearer("admin", &keys["admin"]).repeat(2), 400),
    ] {
        let lines = format!("{lines}{OWN}");
        clock.advance(DELAY);
        refusal(&client.request_with("POST", pause, &lines, ""), status, "no");
        clock.advance(DELAY);
        refusal(&client.request_with("POST", "/_lanekeeper/login", &lines, login), status, "no");
    }
    let lines = format!("{}{OWN}", bearer("admin", &keys["admin"]));
    // At once, since a right key is not held up.
    assert_eq!(client.request_with("POST", pause, &lines, "").status, 200);
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn without_an_admin_key_nobody_is_the_admin() {
    let upstream = Upstream::json("{}");
    let gateway = start(kite(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for secret in ["", "anything", &"0".repeat(64)] {
        let lines = format!("{}{OWN}", bearer("admin", secret));
        for path in ["/_lanekeeper/accounts/main/lanes/quote/pause", "/_lanekeeper/login"] {
            refusal(
                &client.request_with("POST", path, &lines, r#"{"request_token":"a"}"#),
                403,
                "no",
            );
        }
    }
}

#[test]
fn what_is_not_public_needs_a_key() {
    let upstream = Upstream::json("{}");
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let clock = ManualClock::new();
    let gateway = builder(config).clock(clock.clone()).start().unwrap();
    let mut client = Client::connect(gateway.address());
    let private =
        ["status", "events", "metrics", "prices?i=NSE:INFY", "scans", "scans/s1/events", "none"];
    for path in private {
        let path = format!("/_lanekeeper/{path}");
        clock.advance(DELAY);
        refusal(&client.request_with("GET", &path, "", ""), 401, "no");
        refusal(&client.request_with("GET", &path, &bearer("alpha", "wrong"), ""), 401, "no");
    }
    for path in ["", "app.js", "healthz", "readyz"] {
        assert_eq!(client.request_with("GET", &format!("/_lanekeeper/{path}"), "", "").status, 200);
    }
    let lines = bearer("alpha", &keys["alpha"]);
    for path in ["status", "metrics", "scans"] {
        assert_eq!(
            client.request_with("GET", &format!("/_lanekeeper/{path}"), &lines, "").status,
            200
        );
    }
    // Another spelling of the interface's address is none.
    for path in [
        "/_lanekeeper/../status",
        "/_lanekeeper//status",
        "/_lanekeeper/%73tatus",
        "/_LANEKEEPER/status",
    ] {
        let answer = client.request_with("GET", path, "", "");
        assert!(matches!(answer.status, 401 | 404), "{path}: {}", answer.status);
    }
}

#[test]
fn a_client_reaches_its_own_account_only() {
    let one = Upstream::json(r#"{"status":"success","data":{}}"#);
    let two = Upstream::json(r#"{"status":"success","data":{}}"#);
    let mut config = kite(&one.url());
    let mut other = config.accounts["main"].clone();
    other.upstream = two.url();
    config.accounts.insert("other".to_owned(), other);
    let keys = keyed(&mut config, &["alpha", "beta"]);
    for (client, account) in [("alpha", "main"), ("beta", "other")] {
        config.clients.get_mut(client).unwrap().account = Some(account.to_owned());
    }
    let gateway = start(config);
    let mut client = Client::connect(gateway.address());
    let (alpha, beta) = (bearer("alpha", &keys["alpha"]), bearer("beta", &keys["beta"]));
    // Whatever it says of an account.
    let lines = format!("{alpha}x-lanekeeper-account: other\r\n");
    for (method, path) in [("GET", "/user/margins?account=other"), ("POST", "/gtt/triggers")] {
        assert_eq!(client.request_with(method, path, &lines, "").status, 200);
    }
    let alpha = format!("{alpha}{OWN}");
    let path = "/_lanekeeper/prices?account=other&i=NSE:INFY";
    refusal(&client.request_with("GET", path, &alpha, ""), 403, "no");
    for path in ["/_lanekeeper/refresh", "/_lanekeeper/scans"] {
        let body = r#"{"account":"other","instruments":["NSE:INFY"]}"#;
        refusal(&client.request_with("POST", path, &alpha, body), 403, "no");
    }
    assert_eq!((one.requests().len(), two.requests().len()), (2, 0));
    // Nor does it see or stop what the other one runs.
    let beta = format!("{beta}{OWN}");
    let body = r#"{"requests":[{"path":"/user/profile"}]}"#;
    let scan = client.request_with("POST", "/_lanekeeper/scans", &beta, body);
    assert_eq!(scan.status, 201, "{}", scan.text());
    let id = scan.json()["id"].as_str().unwrap().to_owned();
    for action in ["pause", "resume", "cancel"] {
        let path = format!("/_lanekeeper/scans/{id}/{action}");
        refusal(&client.request_with("POST", &path, &alpha, ""), 404, "no");
    }
    refusal(
        &client.request_with("GET", &format!("/_lanekeeper/scans/{id}/events"), &alpha, ""),
        404,
        "no",
    );
    let listed = client.request_with("GET", "/_lanekeeper/scans", &alpha, "");
    assert_eq!(listed.json()["scans"].as_array().unwrap().len(), 0);
}

#[test]
fn a_scan_only_reads_and_only_what_its_client_may() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let mut tier = TierConfig::default();
    tier.lanes = Some(vec!["historical".to_owned()]);
    config.tiers.insert("research".to_owned(), tier);
    config.clients.get_mut("alpha").unwrap().tier = Some("research".to_owned());
    let gateway = start(config);
    let mut client = Client::connect(gateway.address());
    let lines = format!("{}{OWN}", bearer("alpha", &keys["alpha"]));
    for (body, status) in [
        (r#"{"requests":[{"method":"POST","path":"/orders/regular"}]}"#, 400),
        (r#"{"requests":[{"method":"DELETE","path":"/orders/regular/1"}]}"#, 400),
        (r#"{"requests":[{"path":"//evil.example/a"}]}"#, 400),
        (r#"{"requests":[{"path":"http://evil.example/a"}]}"#, 400),
        (r#"{"requests":[{"path":"/quote/../orders"}]}"#, 400),
        (r#"{"requests":[{"path":"/a HTTP/1.1\r\nx: 1"}]}"#, 400),
        // Of lanes that its tier does not have.
        (r#"{"requests":[{"path":"/orders"}]}"#, 403),
        (r#"{"instruments":["NSE:INFY"]}"#, 403),
    ] {
        refusal(&client.request_with("POST", "/_lanekeeper/scans", &lines, body), status, "no");
    }
    let refresh = r#"{"instruments":["NSE:INFY"]}"#;
    refusal(&client.request_with("POST", "/_lanekeeper/refresh", &lines, refresh), 403, "no");
    refusal(&client.request_with("GET", "/_lanekeeper/prices?i=NSE:INFY", &lines, ""), 403, "no");
    assert_eq!(upstream.requests().len(), 0);
    let body = r#"{"requests":[{"path":"/instruments/historical/1/day?from=a&to=b"}]}"#;
    assert_eq!(client.request_with("POST", "/_lanekeeper/scans", &lines, body).status, 201);
}

#[test]
fn the_broker_session_of_the_gateway_cannot_be_taken_or_ended_by_a_client() {
    let upstream = Upstream::json("{}");
    let gateway = builder(kite(&upstream.url())).start().unwrap();
    let mut client = Client::connect(gateway.address());
    let own = format!("authorization: token {API_KEY}:{TOKEN}\r\n");
    for (method, path) in [
        ("POST", "/session/token"),
        ("DELETE", "/session/token?api_key=a&access_token=b"),
        ("POST", "/session/refresh_token"),
        ("DELETE", "/session/refresh_token"),
    ] {
        refusal(&client.request_with(method, path, &own, "request_token=a"), 403, "no");
    }
    assert_eq!(upstream.requests().len(), 0);
}
