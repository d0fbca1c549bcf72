//! Requests, as they arrive at the upstream.

use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};

use crate::support::door::{ALPHA, keyed, refusal};
use crate::support::upstream::{Request, Upstream, ok};
use crate::support::{API_KEY, Client, TOKEN, builder, kite, rest, start};

fn echo() -> Upstream {
    Upstream::start(|request| Some(ok("application/octet-stream", &request.body)))
}

#[test]
fn an_unknown_route_arrives_and_comes_back_byte_for_byte() {
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let sent_back = body.clone();
    let upstream = Upstream::start(move |_| Some(ok("application/octet-stream", &sent_back)));
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let target = "/next/year/NSE:M%26M?a=1&b=%20+x&b=&c";
    let answer = client.request("PATCH", target, "x=%41&y=+");
    assert_eq!((answer.status, answer.body == body), (200, true));
    let [request] = &upstream.requests()[..] else { panic!() };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PATCH", target));
    assert_eq!(request.body, b"x=%41&y=+");
}

#[test]
fn every_method_arrives_with_its_body() {
    let upstream = echo();
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "PROPFIND"];
    for method in methods {
        let answer = client.request(method, "/any", method);
        assert_eq!((answer.status, answer.text().as_str()), (200, method));
    }
    let arrived: Vec<_> = upstream.requests().into_iter().map(|request| request.method).collect();
    assert_eq!(arrived, methods);
}

#[test]
fn a_body_arrives_whole_however_it_was_sent() {
    let upstream = echo();
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let body: Vec<u8> = (0..=255).rev().cycle().take(70_000).collect();
    // In chunks, with an extension and a trailer, neither of which is part of the body.
    client.send(format!(
        "POST /any HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}transfer-encoding: chunked\r\n\r\n"
    ));
    for chunk in body.chunks(9_973) {
        client.send(format!("{:x};name=value\r\n", chunk.len()));
        client.send(chunk);
        client.send("\r\n");
    }
    client.send("0\r\nx-trailer: 1\r\n\r\n");
    assert_eq!(client.read("POST").body, body);
    // Of a stated length, after the gateway has asked for it.
    client.send(format!(
        "POST /any HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    ));
    let go_on = client.read("HEAD");
    assert_eq!(go_on.status, 100);
    client.send(&body);
    assert_eq!(client.read("POST").body, body);
    // None at all.
    let answer = client.request("POST", "/any", "");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let lengths: Vec<_> = upstream.requests().iter().map(|request| request.body.len()).collect();
    assert_eq!(lengths, [70_000, 70_000, 0]);
    for request in upstream.requests() {
        let names = ["transfer-encoding", "expect", "x-trailer"];
        assert!(names.iter().all(|name| request.header(name).is_none()), "{request:?}");
    }
}

#[test]
fn a_header_keeps_its_value_and_one_that_is_there_twice_stays_so() {
    let upstream = echo();
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let lines = "X-CuStOm: VaLuE with  two spaces; q=\"1\"\r\ncookie: a=1\r\nx-twice: one\r\nx-twice: two\r\n\
                 accept-encoding: gzip, deflate, br\r\nuser-agent: Kiteconnect-python/5.0.1\r\nx-empty:\r\n";
    client.get("/any", lines);
    let [request] = &upstream.requests()[..] else { panic!() };
    for (name, value) in [
        // A name in lower case is the same name.
        ("x-custom", "VaLuE with  two spaces; q=\"1\""),
        ("cookie", "a=1"),
        ("accept-encoding", "gzip, deflate, br"),
        ("user-agent", "Kiteconnect-python/5.0.1"),
        ("x-empty", ""),
    ] {
        assert_eq!(request.header(name), Some(value));
    }
    let twice = request.headers.iter().filter(|(name, _)| name == "x-twice");
    assert_eq!(twice.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["one", "two"]);
}

/// Sends a request with all that must stay behind, and returns it as it arrived.
fn with_everything(config: GatewayConfig, upstream: &Upstream) -> Request {
    let mut config = config;
    let keys = keyed(&mut config, &["alpha"]);
    let secret = &keys["alpha"];
    let gateway = builder(config).secret("VENDOR_TOKEN", TOKEN).start().unwrap();
    let mut client = Client::connect(gateway.address());
    let lines = format!(
        "authorization: token alpha:{secret}\r\nx-lanekeeper-key: alpha:{secret}\r\n\
         proxy-authorization: Basic {secret}\r\nX-Lanekeeper-Priority: 3\r\nX-LANEKEEPER-DEADLINE: 5\r\n\
         X-Lanekeeper-Of-Next-Year: 1\r\nX-Forwarded-For: 10.1.2.3\r\nx-forwarded-host: inner.example\r\n\
         X-Forwarded-Proto: https\r\nforwarded: for=10.1.2.3\r\nx-real-ip: 10.1.2.3\r\n\
         connection: keep-alive, X-Per-Hop\r\nx-per-hop: 1\r\nkeep-alive: timeout=5\r\nte: trailers\r\n\
         x-api-token: of-the-client\r\nx-stays: 1\r\n"
    );
    let answer = client.request_with("GET", "/any/route", &lines, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let [request] = &upstream.requests()[..] else { panic!() };
    assert!(!format!("{request:?}").contains(secret), "{request:?}");
    request.clone()
}

fn names(request: &Request) -> Vec<&str> {
    let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_upstream_gets_its_own_host_and_the_gateways_credentials_and_nothing_of_the_client() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let request = with_everything(kite(&upstream.url()), &upstream);
    assert_eq!(request.header("host"), Some(upstream.url().trim_start_matches("http://")));
    let expected = format!("token {API_KEY}:{TOKEN}");
    assert_eq!(request.header("authorization"), Some(expected.as_str()));
    assert_eq!(names(&request), ["authorization", "host", "x-api-token", "x-stays"]);
}

#[test]
fn credentials_in_another_header_replace_those_of_the_client() {
    let upstream = echo();
    let text = format!(
        "upstream: {}\nauth: {{ header: x-api-token, prefix: 'Key ', env: VENDOR_TOKEN }}\n\
         lanes: {{ all: {{ quota: unlimited }} }}\nunmatched: {{ lane: all }}",
        upstream.url()
    );
    let mut config = GatewayConfig::from_yaml(&text).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    let request = with_everything(config, &upstream);
    assert_eq!(request.header("x-api-token"), Some(format!("Key {TOKEN}").as_str()));
    assert_eq!(names(&request), ["host", "x-api-token", "x-stays"]);
}

#[test]
fn without_credentials_for_the_upstream_those_of_the_client_stay_here_too() {
    let upstream = echo();
    let request = with_everything(rest(&upstream.url()), &upstream);
    assert_eq!(names(&request), ["host", "x-api-token", "x-stays"]);
}

#[test]
fn a_route_that_is_refused_and_one_that_no_row_describes_are_not_sent() {
    let upstream = echo();
    let mut config = rest(&upstream.url());
    let mut account = AccountConfig::new(upstream.url());
    account.lanes.clone_from(&config.accounts["main"].lanes);
    config.accounts.insert("main".to_owned(), account);
    let gateway = start(config);
    let mut client = Client::connect(gateway.address());
    let message = refusal(&client.request("GET", "/no/such?token=x", ""), 404, "no");
    assert!(message.contains("GET /no/such") && !message.contains("token"), "{message}");
    let exchange = start(kite(&upstream.url()));
    let mut client = Client::connect(exchange.address());
    for method in ["POST", "DELETE"] {
        refusal(&client.request(method, "/session/token", ""), 403, "no");
    }
    assert_eq!(upstream.requests().len(), 0);
}

/// Of an order it must be known what the answer says, and a secret is overwritten only where it can be read.
#[test]
fn a_packed_answer_is_asked_for_only_where_nothing_has_to_read_it() {
    let packing = || {
        Upstream::start(|request| {
            let is_asked = request.header("accept-encoding").is_some_and(|it| it.contains("gzip"));
            let order = br#"{"status":"success","data":{"order_id":"7"}}"#;
            Some(match is_asked {
                true => ok("text/plain", b"\x1f\x8bpacked"),
                false => ok("application/json", order),
            })
        })
    };
    let lines = "authorization: token alpha:x\r\naccept-encoding: gzip, deflate\r\n";
    let form = "exchange=NSE&tradingsymbol=INFY&transaction_type=BUY&order_type=LIMIT&quantity=1&price=1\
                &product=CNC&validity=DAY&tag=a";
    let upstream = packing();
    let gateway = start(kite(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let mut ask = |method, target, body| client.request_with(method, target, lines, body);
    for (method, target, body) in [
        ("POST", "/orders/regular", form),
        ("DELETE", "/orders/regular/7", ""),
        ("GET", "/user/margins", ""),
    ] {
        let answer = ask(method, target, body);
        assert_eq!((answer.status, answer.header("x-lanekeeper-sent")), (200, Some("yes")));
        assert!(answer.text().contains("order_id"), "{target}: {}", answer.text());
    }
    let writes = upstream.requests().into_iter().filter(|request| request.method != "GET").count();
    assert_eq!(writes, 2, "nothing was sent again");
    let listing = ask("GET", "/instruments", "");
    assert!(listing.body.starts_with(b"\x1f\x8b"), "{listing:?}");

    // Another API without a secret: nothing reads its answers.
    let upstream = packing();
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let answer = client.request_with("GET", "/any", lines, "");
    assert!(answer.body.starts_with(b"\x1f\x8b"), "{answer:?}");
}
