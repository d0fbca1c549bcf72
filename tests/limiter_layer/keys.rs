//! What a limit is kept by: headers, closures, weights, and what is rejected.

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use lanekeeper::ManualClock;
use lanekeeper::limiter::MemoryStorage;
use lanekeeper::limiter::layer::{
    ClientIp, Entries, Extract, OwnedRequest, RateLimitLayer, Rejection,
};
use tower::{Layer, ServiceExt, service_fn};

use super::{block_on, by_user, limiter, of_user};

const USER: HeaderName = HeaderName::from_static("x-user");

/// Returns the statuses and bodies of requests to one service.
fn answers(
    rules: &str,
    entries: impl Extract,
    requests: impl IntoIterator<Item = Request<()>>,
) -> Vec<(u16, String)> {
    let limiter = limiter(rules, MemoryStorage::with_clock(ManualClock::new()));
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(Response::new("served".to_owned()))
    });
    let service = RateLimitLayer::new(limiter, entries).layer(inner);
    let answer = |request| {
        let response: Response<String> = block_on(service.clone().oneshot(request)).unwrap();
        (response.status().as_u16(), response.into_body())
    };
    requests.into_iter().map(answer).collect()
}

fn statuses(
    rules: &str,
    entries: impl Extract,
    requests: impl IntoIterator<Item = Request<()>>,
) -> Vec<u16> {
    answers(rules, entries, requests).into_iter().map(|(status, _)| status).collect()
}

fn without_user() -> Request<()> {
    Request::get("/").body(()).unwrap()
}

const ONE: &str = "descriptors: [{ key: user, unit: minute, requests_per_unit: 1 }]";

#[test]
fn rule_applies_only_to_requests_with_its_key() {
    let requests = || [of_user("a"), of_user("a"), of_user("b"), without_user(), without_user()];
    assert_eq!(statuses(ONE, by_user(), requests()), [200, 429, 200, 200, 200]);
    let entries = Entries::new().header_or("user", USER, "anonymous");
    assert_eq!(statuses(ONE, entries, requests()), [200, 429, 200, 200, 429]);
    let entries = by_user().require("user", StatusCode::UNAUTHORIZED);
    assert_eq!(statuses(ONE, entries, requests()), [200, 429, 200, 401, 401]);
    let body = answers(ONE, by_user().require("user", StatusCode::UNAUTHORIZED), [without_user()]);
    assert_eq!(body[0].1, r#"{"error":"the request does not say its user"}"#);
}

#[test]
fn header_with_two_values_or_none_that_is_text_is_rejected() {
    let mut twice = of_user("a");
    twice.headers_mut().append(USER, HeaderValue::from_static("b"));
    let mut binary = without_user();
    binary.headers_mut().insert(USER, HeaderValue::from_bytes(b"\xff").unwrap());
    let mut umlaut = without_user();
    umlaut.headers_mut().insert(USER, HeaderValue::from_bytes("ä".as_bytes()).unwrap());
    let answers = answers(ONE, by_user(), [twice, binary, umlaut, of_user("a"), of_user("b")]);
    assert_eq!(answers[0].0, 400);
    assert_eq!(answers[0].1, r#"{"error":"the header x-user comes more than once"}"#);
    assert_eq!(answers[1].0, 400);
    assert_eq!(answers[1].1, r#"{"error":"the header x-user is not UTF-8"}"#);
    assert!(answers[2..].iter().all(|(status, _)| *status == 200), "{answers:?}");
}

#[test]
fn first_source_of_a_key_that_has_a_value_counts() {
    #[derive(Clone)]
    struct Claims(&'static str);

    let with_claims = |sub, user| {
        let mut request = of_user(user);
        request.extensions_mut().insert(Claims(sub));
        request
    };
    let entries = Entries::new()
        .entry("user", |parts| parts.extensions.get::<Claims>().map(|it| it.0.to_owned()))
        .header("user", USER);
    // The header is not looked at if there are claims.
    let mut twice = with_claims("a", "x");
    twice.headers_mut().append(USER, HeaderValue::from_static("y"));
    let requests = [with_claims("a", "x"), twice, of_user("x"), of_user("a")];
    assert_eq!(statuses(ONE, entries, requests), [200, 429, 200, 429]);
}

#[test]
fn peer_that_the_server_does_not_state_is_an_error_of_the_server() {
    let entries = Entries::new().ip("ip", ClientIp::new(|_| None));
    let answers = answers("rules: [{ unlimited: true }]", entries, [without_user()]);
    assert_eq!(answers[0].0, 500);
    assert_eq!(answers[0].1, r#"{"error":"the server does not know the address of its peer"}"#);
}

#[test]
fn path_and_weight_are_those_of_the_request() {
    let rules = "rules: [{ path: /orders/*, unit: minute, requests_per_unit: 6 }]";
    let entries = || Entries::new().weight(|parts| if parts.method == "POST" { 5 } else { 1 });
    let request =
        |method, path: &str| Request::builder().method(method).uri(path).body(()).unwrap();
    let requests = || {
        [
            request("POST", "/orders/1?a=b"),
            request("POST", "/orders/2"),
            request("GET", "//orders/./3"),
            request("GET", "/orders/4"),
            request("GET", "/quotes"),
        ]
    };
    assert_eq!(statuses(rules, entries(), requests()), [200, 429, 200, 429, 200]);
    let all_orders = entries().path(|_| "/orders/any".to_owned());
    assert_eq!(statuses(rules, all_orders, requests()), [200, 429, 200, 429, 429]);
}

#[test]
fn closure_is_an_extractor() {
    let teapot = |parts: &http::request::Parts| match parts.headers.get("x-user") {
        Some(_) => Ok(OwnedRequest::new("/").entry("user", "a")),
        None => Err(Rejection::new(StatusCode::IM_A_TEAPOT, "\"tea\"")),
    };
    let answers = answers(ONE, teapot, [of_user("x"), of_user("y"), without_user()]);
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 429, 418]);
    assert_eq!(answers[2].1, r#"{"error":"\"tea\""}"#);
}

#[test]
fn owned_request_says_what_it_was_told() {
    let descriptor = [("tier", "free"), ("ip", "b")];
    let owned = OwnedRequest::new("/a").entry("user", "a").descriptor(descriptor).weight(3);
    let borrowed = lanekeeper::limiter::Request::new("/a").entry("user", "a");
    assert_eq!(owned.as_request(), borrowed.descriptor(descriptor).weight(3));
}

#[test]
fn debug_shows_no_value() {
    let request = OwnedRequest::new("/reset/secret")
        .entry("api_key", "secret")
        .descriptor([("user", "secret")]);
    assert_eq!(request.as_request().value("api_key"), Some("secret"));
    let entries = Entries::new().header_or("api_key", USER, "secret");
    let limiter = limiter(ONE, MemoryStorage::new());
    let check = limiter.check_async(request.clone());
    let layer = RateLimitLayer::new(limiter, entries.header_or("user", USER, "secret"));
    let shown =
        format!("{request:?} {check:?} {layer:?} {:?} {:?}", by_user(), layer.layer("secret"));
    assert!(shown.contains("api_key") && !shown.contains("secret"), "{shown}");
}
