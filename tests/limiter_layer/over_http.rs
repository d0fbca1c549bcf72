//! What a client of a router sees.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use axum::routing::get;
use lanekeeper::ManualClock;
use lanekeeper::limiter::layer::{ClientIp, Entries, RateLimitLayer};
use lanekeeper::limiter::{MemoryStorage, Verdict};

use super::{Server, TWO_A_MINUTE, by_user, limiter};

#[test]
fn refusal_has_exact_headers_and_ends_after_its_wait() {
    let clock = ManualClock::new();
    let limiter = limiter(TWO_A_MINUTE, MemoryStorage::with_clock(clock.clone()));
    let router = Router::new().route("/", get(|| async { "served" }));
    let server = Server::start(router.layer(RateLimitLayer::new(limiter, by_user())));
    let ask = || server.get("/", &[("x-user", "a")]);

    for remaining in [r#""users";r=1;t=30"#, r#""users";r=0;t=60"#] {
        let served = ask();
        assert_eq!((served.status, served.body.as_str()), (200, "served"));
        assert_eq!(served.header("ratelimit-policy"), [r#""users";q=2;w=60"#]);
        assert_eq!(served.header("ratelimit"), [remaining]);
        assert!(served.header("retry-after").is_empty());
    }
    let refused = ask();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("ratelimit-policy"), [r#""users";q=2;w=60"#]);
    assert_eq!(refused.header("ratelimit"), [r#""users";r=0;t=60"#]);
    assert_eq!(refused.header("retry-after"), ["30"]);
    assert_eq!(refused.header("content-type"), ["application/json"]);
    assert_eq!(refused.body, r#"{"error":"too many requests","retry_after_ms":30000}"#);
    assert_eq!(server.get("/", &[("x-user", "b")]).status, 200);

    clock.advance(Duration::from_micros(29_999_999));
    let early = ask();
    assert_eq!((early.status, early.header("retry-after")), (429, vec!["1"]));
    assert_eq!(early.body, r#"{"error":"too many requests","retry_after_ms":1}"#);
    clock.advance(Duration::from_micros(1));
    assert_eq!(ask().status, 200);
    assert_eq!(ask().status, 429);
}

#[test]
fn routes_have_limits_of_their_own_and_a_common_one() {
    let layer = |rules| {
        let storage = MemoryStorage::with_clock(ManualClock::new());
        RateLimitLayer::new(limiter(rules, storage), Entries::new())
    };
    let one = "rules: [{ name: one, unit: minute, requests_per_unit: 1 }]";
    let two = "rules: [{ name: two, unit: minute, requests_per_unit: 2 }]";
    let all = "rules: [{ name: all, unit: minute, requests_per_unit: 5 }]";
    let router = Router::new()
        .route("/one", get(|| async { "one" }).layer(layer(one)))
        .route("/two", get(|| async { "two" }).layer(layer(two)))
        .layer(layer(all));
    let server = Server::start(router);

    let first = server.get("/one", &[]);
    assert_eq!(first.header("ratelimit"), [r#""one";r=0;t=60"#, r#""all";r=4;t=12"#]);
    let refused = server.get("/one", &[]);
    assert_eq!((refused.status, refused.header("retry-after")), (429, vec!["60"]));
    assert_eq!(refused.header("ratelimit"), [r#""one";r=0;t=60"#, r#""all";r=3;t=24"#]);
    // The other route has a count of its own, and the common one goes on.
    assert_eq!(server.get("/two", &[]).status, 200);
    assert_eq!(server.get("/two", &[]).status, 200);
    assert_eq!(server.get("/two", &[]).header("ratelimit").len(), 2);
    let refused = server.get("/two", &[]);
    assert_eq!((refused.status, refused.header("retry-after")), (429, vec!["12"]));
    assert_eq!(refused.header("ratelimit"), [r#""all";r=0;t=60"#]);
}

#[test]
fn handler_sees_the_verdict() {
    let limiter = limiter(TWO_A_MINUTE, MemoryStorage::with_clock(ManualClock::new()));
    let handler = |Extension(verdict): Extension<Verdict>| async move {
        format!("{:?} of {:?}", verdict.remaining(), verdict.limit())
    };
    let layer = RateLimitLayer::new(limiter, by_user());
    let server = Server::start(Router::new().route("/", get(handler).layer(layer)));
    assert_eq!(server.get("/", &[("x-user", "a")]).body, "Some(1) of Some(2)");
    assert_eq!(server.get("/", &[]).body, "None of None");
}

/// One request a minute for each address. The clients of the test are at 127.0.0.1.
fn server_by_address(trusted_proxies: &[&str]) -> Server {
    let rules = "descriptors: [{ key: ip, unit: minute, requests_per_unit: 1 }]";
    let limiter = limiter(rules, MemoryStorage::with_clock(ManualClock::new()));
    let client = ClientIp::new(|parts| {
        parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
    });
    let client = client.trusted_proxies(trusted_proxies.iter().copied()).unwrap();
    let layer = RateLimitLayer::new(limiter, Entries::new().ip("ip", client));
    Server::start(Router::new().route("/", get(|| async {})).layer(layer))
}

#[test]
fn client_cannot_state_its_own_address() {
    let server = server_by_address(&[]);
    assert_eq!(server.get("/", &[("x-forwarded-for", "198.51.100.1")]).status, 200);
    for spoofed in ["198.51.100.2", "127.0.0.1, 198.51.100.3", "nonsense"] {
        assert_eq!(server.get("/", &[("x-forwarded-for", spoofed)]).status, 429, "{spoofed}");
    }
    assert_eq!(server.get("/", &[]).status, 429);
}

#[test]
fn client_behind_a_proxy_cannot_evade_by_what_it_writes_to_the_left() {
    let server = server_by_address(&["127.0.0.1", "10.0.0.0/8"]);
    // What the proxy appends is the client's address, 198.51.100.1.
    let first = server.get("/", &[("x-forwarded-for", "198.51.100.1")]);
    assert_eq!(first.status, 200);
    for spoofed in ["203.0.113.1", "10.0.0.1", "127.0.0.1", "a, b", "\"", "2001:db8::1", ""] {
        let appended = format!("{spoofed}, 198.51.100.1");
        assert_eq!(server.get("/", &[("x-forwarded-for", &appended)]).status, 429, "{spoofed}");
        // A proxy may write a line of its own, and there may be another proxy between.
        let lines = [("x-forwarded-for", spoofed), ("x-forwarded-for", "198.51.100.1, 10.0.0.7")];
        assert_eq!(server.get("/", &lines).status, 429, "{spoofed}");
        assert_eq!(
            server.get("/", &[("forwarded", "for=203.0.113.2"), lines[1]]).status,
            429,
            "{spoofed}"
        );
    }
    // Another client is not held up by it.
    assert_eq!(server.get("/", &[("x-forwarded-for", "198.51.100.2")]).status, 200);
    // Addresses of one network of IPv6 are one client.
    assert_eq!(server.get("/", &[("x-forwarded-for", "2001:db8:1:2::1")]).status, 200);
    assert_eq!(server.get("/", &[("x-forwarded-for", "2001:db8:1:2::2")]).status, 429);
    assert_eq!(server.get("/", &[("x-forwarded-for", "2001:db8:1:3::1")]).status, 200);
}
