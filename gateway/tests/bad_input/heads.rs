//! Heads of requests: such that cannot be read, and such that are not for a gateway.

use crate::support::door::{ALPHA, keyed, refusal};
use crate::support::upstream::Upstream;
use crate::support::{Client, kite, rest, start};

/// What follows an answer on its connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Closes,
    GoesOn,
}

use Then::{Closes, GoesOn};

/// Sends these bytes, checks the refusal, and what becomes of the connection.
fn check(gateway: &lanekeeper_gateway::Gateway, bytes: &[u8], status: u16, then: Then) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
    let mut client = Client::connect(gateway.address());
    let answer = client.raw(bytes).unwrap_or_else(|| panic!("no answer to {shown:?}"));
    assert_eq!(answer.status, status, "{shown:?}: {}", answer.text());
    refusal(&answer, status, "no");
    match then {
        GoesOn => assert_eq!(client.request("GET", "/fine", "").status, 200, "{shown:?}"),
        Closes => {
            assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
            assert!(client.is_closed(), "{shown:?}");
        }
    }
}

#[test]
fn a_head_that_cannot_be_read_is_answered_in_the_brokers_form() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    // The limit is of what is buffered, so a head of a little more may pass.
    let long =
        format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-long: {}\r\n\r\n", "x".repeat(100_000));
    let endless = "x".repeat(100_000);
    let long_address = format!("GET /{endless} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    let many = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n{}\r\n", "x-a: 1\r\n".repeat(200));
    for (bytes, status) in [
        (&b"GARBAGE\r\n\r\n"[..], 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a handshake of TLS\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b" GET / HTTP/1.1\r\n\r\n", 400),
        (b"G\xc3\x84T / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nhost: 127.0.0.1\r\n\r\n", 400),
        (b"GET / XTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 400),
        (b"GET /a\x01b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost : 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: 1\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: 1\r\n folded: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: 1\rx-b: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: many\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: +1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1, 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (long.as_bytes(), 431),
        (long_address.as_bytes(), 431),
        (endless.as_bytes(), 431),
        (many.as_bytes(), 431),
    ] {
        check(&gateway, bytes, status, Closes);
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_wrong_head_after_a_good_request_does_not_spoil_its_answer() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    client.send(format!("GET /fine HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}\r\nGARBAGE\r\n\r\n"));
    assert_eq!(client.read("GET").text(), "{}");
    refusal(&client.read("GET"), 400, "no");
    assert!(client.is_closed());
}

#[test]
fn http_2_is_not_spoken() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(client.is_closed());
}

#[test]
fn a_request_that_is_not_for_a_gateway_is_refused() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    let own = "host: 127.0.0.1";
    for (line, lines, status, then) in [
        ("GET http://127.0.0.1/a HTTP/1.1", own, 400, Closes),
        ("GET http://broker.example/a HTTP/1.1", own, 400, Closes),
        ("GET https://broker.example/a HTTP/1.1", "host: broker.example", 400, Closes),
        ("CONNECT broker.example:443 HTTP/1.1", own, 405, Closes),
        ("CONNECT / HTTP/1.1", own, 405, Closes),
        ("GET broker.example:443 HTTP/1.1", own, 400, Closes),
        ("OPTIONS * HTTP/1.1", own, 400, Closes),
        (
            "GET /ws HTTP/1.1",
            "host: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: WebSocket",
            501,
            Closes,
        ),
        ("GET /a HTTP/1.1", "x-a: 1", 400, Closes),
        ("GET /a HTTP/1.0", "x-a: 1", 400, Closes),
        ("GET /a HTTP/1.1", "host: 127.0.0.1\r\nhost: 127.0.0.1", 400, Closes),
        ("GET /a HTTP/1.1", "host: 127.0.0.1\r\nhost: evil.example", 400, Closes),
        ("GET /a HTTP/1.1", "host:", 421, GoesOn),
        ("GET /a HTTP/1.1", "host: evil.example", 421, GoesOn),
        ("GET /a HTTP/1.1", "host: evil.example:80", 421, GoesOn),
        ("GET /a HTTP/1.1", "host: 127.0.0.1.evil.example", 421, GoesOn),
        ("GET /a HTTP/1.1", "host: user@127.0.0.1", 421, GoesOn),
    ] {
        check(&gateway, format!("{line}\r\n{lines}\r\n{ALPHA}\r\n").as_bytes(), status, then);
    }
    let arrived = upstream.requests();
    assert!(arrived.iter().all(|request| request.target == "/fine"), "{arrived:?}");
}

#[test]
fn a_path_or_a_method_that_can_be_read_in_two_ways_is_not_sent() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let gateway = start(kite(&upstream.url()));
    for target in [
        "//orders",
        "/orders//regular",
        "/orders/",
        "/./orders",
        "/quote/../orders/regular",
        "/quote/%2e%2e/orders",
        "/quote/%2E./orders",
        "/..%2forders",
        "/%6frders",
        "/a%2fb",
        "/a%5cb",
        "/a%00b",
        "/a%zz",
        "/a%",
        "/orders;x=1",
        "/orders;/regular",
    ] {
        let request = format!("POST {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}\r\n");
        check(&gateway, request.as_bytes(), 400, GoesOn);
    }
    // hyper does not take these for a path.
    for target in ["/a\\b", "/caf\u{e9}", "/a\"b", "/a<b>"] {
        let request = format!("POST {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}\r\n");
        let mut client = Client::connect(gateway.address());
        refusal(&client.raw(request).unwrap(), 400, "no");
    }
    for method in ["get", "Post", "G3T", "M-SEARCH"] {
        let request = format!("{method} /orders HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}\r\n");
        check(&gateway, request.as_bytes(), 400, GoesOn);
    }
    let arrived = upstream.requests();
    assert!(arrived.iter().all(|request| request.target == "/fine"), "{arrived:?}");
}

#[test]
fn wrong_credentials_are_refused_and_the_connection_goes_on() {
    let upstream = Upstream::json("{}");
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha", "beta"]);
    let (alpha, beta) = (&keys["alpha"], &keys["beta"]);
    let gateway = start(config);
    let mut client = Client::connect(gateway.address());
    let right = format!("authorization: token alpha:{alpha}\r\n");
    for (lines, status) in [
        (String::new(), 401),
        ("authorization: Basic YWxwaGE6eA==\r\n".to_owned(), 401),
        (format!("authorization: {alpha}\r\n"), 401),
        ("authorization: token alpha\r\n".to_owned(), 401),
        ("authorization: token alpha:\r\n".to_owned(), 403),
        ("authorization: token alpha:wrong\r\n".to_owned(), 403),
        (format!("authorization: token alpha:{beta}\r\n"), 403),
        (format!("authorization: token ALPHA:{alpha}\r\n"), 403),
        (format!("authorization: token nobody:{alpha}\r\n"), 403),
        (format!("authorization: token admin:{}\r\n", keys["admin"]), 403),
        (format!("{right}{right}"), 400),
        (format!("{right}authorization: token beta:{beta}\r\n"), 400),
        (format!("{right}x-lanekeeper-key: no-colon\r\n"), 400),
        (format!("{right}x-lanekeeper-key: alpha:wrong\r\n"), 403),
        ("authorization: token alpha:\u{e9}\r\n".to_owned(), 400),
    ] {
        let answer = client.request_with("POST", "/orders/regular", &lines, "a=1");
        let message = refusal(&answer, status, "no");
        assert!(keys.values().all(|key| !message.contains(key)), "{message}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        let kind = if status == 400 { "InputException" } else { "TokenException" };
        assert_eq!(answer.json()["error_type"], kind);
        assert_eq!(client.request_with("GET", "/user/margins", &right, "").status, 200);
    }
    assert!(upstream.requests().iter().all(|request| request.target == "/user/margins"));
}

#[test]
fn what_a_client_asks_for_in_headers_is_read_or_refused() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for lines in [
        "x-lanekeeper-priority: urgent\r\n",
        "x-lanekeeper-priority: 0\r\n",
        "x-lanekeeper-deadline: soon\r\n",
        "x-lanekeeper-deadline: -1\r\n",
        "x-lanekeeper-deadline: 1e999\r\n",
        "x-lanekeeper-max-age: NaN\r\n",
    ] {
        refusal(&client.get("/any", lines), 400, "no");
    }
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(client.get("/any", "x-lanekeeper-deadline: 1e300\r\n").status, 400);
    assert_eq!(client.get("/any", "x-lanekeeper-deadline: 1e9\r\n").status, 200);
}
