//! The gateway is no open proxy, and no request hides in another one.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lanekeeper_gateway::GatewayError;
use lanekeeper_gateway::auth::NewKey;
use lanekeeper_gateway::config::ClientConfig;

use crate::support::door::{ALPHA, keyed, refusal};
use crate::support::upstream::Upstream;
use crate::support::{Client, builder, kite, log, rest, start};

/// A server that a client wants to reach through the gateway. It counts its connections.
fn victim() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, count)
}

#[test]
fn no_request_reaches_another_server() {
    let (victim, reached) = victim();
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    for (what, request, status) in [
        ("absolute URI", format!("GET http://{victim}/a HTTP/1.1\r\nhost: {victim}"), 400),
        (
            "absolute URI, own host",
            format!("GET http://{victim}/a HTTP/1.1\r\nhost: 127.0.0.1"),
            400,
        ),
        ("CONNECT", format!("CONNECT {victim} HTTP/1.1\r\nhost: {victim}"), 405),
        ("two slashes", format!("GET //{victim}/a HTTP/1.1\r\nhost: 127.0.0.1"), 400),
        ("a URL as a path", format!("GET /http://{victim}/a HTTP/1.1\r\nhost: 127.0.0.1"), 400),
        ("a user in the path", format!("GET @{victim}/a HTTP/1.1\r\nhost: 127.0.0.1"), 400),
        ("WebSocket", "GET /ws HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket".to_owned(), 501),
    ] {
        let mut client = Client::connect(gateway.address());
        let answer = client.raw(format!("{request}\r\n{ALPHA}\r\n")).expect(what);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        refusal(&answer, status, "no");
    }
    assert_eq!(upstream.requests().len(), 0);
    // An address in `Host` is one of the gateway itself, and leads to the upstream. So does what a proxy would believe.
    for line in [
        format!("host: {victim}"),
        format!("host: 127.0.0.1\r\nx-forwarded-host: {victim}\r\nforwarded: host={victim}"),
        format!(
            "host: 127.0.0.1\r\nx-original-url: http://{victim}/a\r\nx-rewrite-url: //{victim}/a"
        ),
    ] {
        let mut client = Client::connect(gateway.address());
        let answer = client.raw(format!("GET /any HTTP/1.1\r\n{line}\r\n{ALPHA}\r\n")).unwrap();
        assert_eq!(answer.status, 200);
    }
    assert!(upstream.requests().iter().all(|request| request.target == "/any"));
    assert_eq!(upstream.requests().len(), 3);
    // An answer that leads there is not followed.
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{victim}/a\r\ncontent-length: 0\r\n\r\n");
    let upstream = Upstream::start(move |_| Some(redirect.clone().into()));
    let gateway = start(rest(&upstream.url()));
    assert_eq!(Client::connect(gateway.address()).get("/any", "").status, 302);
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[test]
fn no_request_hides_in_the_body_of_another_one() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    let hidden =
        format!("POST /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}content-length: 0\r\n\r\n");
    let length = hidden.len();
    let chunk = format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n");
    let all = chunk.len();
    for (what, lines, body) in [
        (
            "CL.TE",
            "content-length: 5\r\ntransfer-encoding: chunked".to_owned(),
            format!("0\r\n\r\n{hidden}"),
        ),
        ("TE.CL", format!("transfer-encoding: chunked\r\ncontent-length: {all}"), chunk.clone()),
        (
            "TE.CL, short",
            "transfer-encoding: chunked\r\ncontent-length: 4".to_owned(),
            chunk.clone(),
        ),
        ("CL.0", "content-length: 0\r\ncontent-length: 4".to_owned(), hidden.clone()),
        ("two lengths", format!("content-length: {length}\r\ncontent-length: 0"), hidden.clone()),
        ("a list of lengths", format!("content-length: 0, {length}"), hidden.clone()),
        (
            "TE twice",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity".to_owned(),
            chunk.clone(),
        ),
        (
            "TE unknown",
            "transfer-encoding: xchunked\r\ncontent-length: 0".to_owned(),
            hidden.clone(),
        ),
        (
            "TE with a tab",
            "transfer-encoding:\tchunked\r\ncontent-length: 0".to_owned(),
            chunk.clone(),
        ),
        (
            "TE before a space",
            "transfer-encoding : chunked\r\ncontent-length: 0".to_owned(),
            chunk.clone(),
        ),
        (
            "TE folded",
            "x-a: 1\r\n transfer-encoding: chunked\r\ncontent-length: 0".to_owned(),
            chunk.clone(),
        ),
        ("TE after a bare CR", "x-a: 1\rtransfer-encoding: chunked".to_owned(), chunk.clone()),
        (
            "TE after a bare LF",
            "x-a: 1\ntransfer-encoding: chunked\r\ncontent-length: 0".to_owned(),
            chunk.clone(),
        ),
        ("TE with a NUL", "transfer-encoding: chunked\x00".to_owned(), chunk),
    ] {
        let before = upstream.requests().len();
        let mut client = Client::connect(gateway.address());
        client.send(format!(
            "POST /outer HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}{lines}\r\n\r\n{body}"
        ));
        let answer = client.try_read("POST");
        assert!(client.is_closed(), "{what}");
        let arrived = upstream.requests().split_off(before);
        // It is refused, or it is one request and the last one on its connection.
        match answer.map_or(400, |answer| answer.status) {
            200 => assert_eq!(arrived.len(), 1, "{what}"),
            400 => assert_eq!(arrived.len(), 0, "{what}"),
            status => panic!("{what}: {status}"),
        }
        assert!(arrived.iter().all(|request| request.target == "/outer"), "{what}: {arrived:?}");
    }
}

#[test]
fn what_stands_in_a_header_or_an_address_begins_no_new_line() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    for target in ["/a%0d%0ax-evil:1", "/a%0ax", "/a%0dx", "/a%00"] {
        let answer = Client::connect(gateway.address()).get(target, "");
        refusal(&answer, 400, "no");
        assert_eq!(answer.header("x-evil"), None);
    }
    assert_eq!(upstream.requests().len(), 0);
    // In a query it stays as it was written.
    let target = "/a?x=%0d%0ax-evil:1";
    let answer = Client::connect(gateway.address()).get(target, "");
    assert_eq!((answer.status, answer.header("x-evil")), (200, None));
    let [request] = &upstream.requests()[..] else { panic!() };
    assert_eq!((request.target.as_str(), request.header("x-evil")), (target, None));
}

#[test]
fn other_machines_can_reach_no_gateway_without_keys() {
    let upstream = Upstream::json("{}");
    let key = || NewKey::generate().unwrap().hash.to_string();
    for listen in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0", "192.0.2.1:0", "[2001:db8::1]:0"] {
        for (has_clients, has_admin) in [(false, false), (true, false), (false, true)] {
            let mut config = kite(&upstream.url());
            config.listen = listen.parse().unwrap();
            if has_clients {
                config.clients.insert("alpha".to_owned(), ClientConfig::new(key()));
            }
            config.admin_key = has_admin.then(key);
            let error = builder(config).start().unwrap_err();
            assert!(matches!(error, GatewayError::Config(_)), "{listen}: {error}");
        }
    }
    let mut config = kite(&upstream.url());
    keyed(&mut config, &["alpha"]);
    config.listen = "0.0.0.0:0".parse().unwrap();
    let gateway = start(config);
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.address().port()));
    refusal(&Client::connect(address).get("/user/margins", ""), 403, "no");
}

#[test]
fn the_address_of_a_client_is_taken_from_a_configured_proxy_only() {
    log::keep();
    let upstream = Upstream::json("{}");
    let [address, network] = ["127.0.0.1/32", "127.0.0.0/8"].map(|text| text.parse().unwrap());
    for (trusted, path, expected) in [
        (vec![], "/spoofed-untrusted", "127.0.0.1"),
        (vec![address], "/spoofed-trusted", "198.51.100.9"),
        (vec![network], "/spoofed-in-network", "198.51.100.9"),
    ] {
        let mut config = rest(&upstream.url());
        config.trusted_proxies = trusted;
        let gateway = start(config);
        let lines = "x-forwarded-for: 203.0.113.1, 198.51.100.9\r\nx-real-ip: 203.0.113.1\r\n";
        assert_eq!(Client::connect(gateway.address()).get(path, lines).status, 200);
        let logged = log::lines(path);
        let expected = format!(" address={expected} ");
        assert!(logged.iter().any(|line| line.contains(&expected)), "{logged:?}");
        assert!(logged.iter().all(|line| !line.contains("203.0.113.1")), "{logged:?}");
    }
}
