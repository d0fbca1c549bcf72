//! Running a gateway: its end in order, its health, its metrics, and what an operator does.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::thread;
use std::time::Duration;

use lanekeeper_gateway::config::GatewayConfig;
use lanekeeper_simulator::SimulatedExchange;
use support::ops::{
    Scrape, bearer, call, echo, echoed, gated, key, lane, own, queue_length, status, until,
    with_time,
};
use support::{Client, at_exchange, kite, rest, start, upstream};

const ALPHA: &str = "authorization: token alpha:secret\r\n";
const POST: &str = "x-lanekeeper-request: 1\r\n";

/// Returns the settings of a gateway that sends one call at a time.
fn one_at_a_time(upstream: &str) -> GatewayConfig {
    let mut config = rest(upstream);
    let text = "lanes: { all: { quota: unlimited, in_flight: 1, urgent_workers: 0 } }";
    let text = format!("upstream: {upstream}\n{text}\nunmatched: {{ lane: all }}");
    config.accounts = GatewayConfig::from_yaml(&text).unwrap().accounts;
    with_time(config)
}

#[test]
fn a_drain_answers_what_is_queued_and_in_flight_and_refuses_what_is_new() {
    let (upstream, gate) = gated(echoed);
    let gateway = start(one_at_a_time(&upstream.url()));
    let address = gateway.address();
    let begin = |path: &str| {
        let mut client = Client::connect(address);
        client.begin("GET", path, ALPHA, "");
        client
    };
    let mut waiting = vec![("/one".to_owned(), begin("/one"))];
    until("the first call is in flight", || upstream.requests().len() == 1);
    waiting.extend(["/two", "/three", "/four"].map(|path| (path.to_owned(), begin(path))));
    until("three calls are queued", || queue_length(&gateway, "") == 3.0);
    // This connection is open already, and idle.
    let mut idle = Client::connect(address);
    assert_eq!(idle.request("GET", "/_lanekeeper/readyz", "").text(), "ready\n");

    let drain = thread::spawn(move || gateway.drain(Duration::from_secs(60)));
    until("the gateway is not ready", || {
        call(address, "GET", "/_lanekeeper/readyz", "").status == 503
    });
    let ready = call(address, "GET", "/_lanekeeper/readyz", "");
    assert_eq!((ready.text().as_str(), ready.header("connection")), ("draining\n", Some("close")));
    assert_eq!(call(address, "GET", "/_lanekeeper/healthz", "").status, 200);
    for method in ["GET", "POST", "DELETE"] {
        let refused = call(address, method, "/late", ALPHA);
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert_eq!(refused.header("x-lanekeeper-sent"), Some("no"));
        assert_eq!(refused.header("retry-after"), Some("5"));
        assert_eq!(refused.header("connection"), Some("close"));
        assert_eq!(refused.json()["error_type"], "NetworkException");
    }
    assert_eq!(idle.request("GET", "/late", "").status, 429);
    assert!(idle.is_closed());

    gate.open();
    for (path, mut client) in waiting {
        let answer = client.read("GET");
        assert_eq!((answer.status, answer.json()), (200, path.into()));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    assert!(drain.join().unwrap(), "a client was not answered");
    assert_eq!(upstream.requests().len(), 4);
    assert!(std::net::TcpStream::connect(address).is_err(), "the port is open");
}

/// Larger than what the sockets between hold, so that the gateway has most of it when the drain begins.
#[test]
fn a_drain_writes_large_answers_to_their_last_byte_to_clients_that_are_slow() {
    const LENGTH: usize = 24 << 20;
    let (upstream, gate) = gated(|_| upstream::ok("application/octet-stream", &vec![b'x'; LENGTH]));
    let gateway = start(rest(&upstream.url()));
    let mut clients = [(); 3].map(|()| Client::connect(gateway.address()));
    for client in &mut clients {
        client.begin("GET", "/large", ALPHA, "");
    }
    until("all calls are in flight", || upstream.requests().len() == 3);
    let drain = thread::spawn(move || gateway.drain(Duration::from_secs(60)));
    gate.open();
    // Longer than a gateway waits for clients that have all but the last bytes.
    thread::sleep(Duration::from_millis(2500));
    for mut client in clients {
        let answer = client.read("GET");
        assert_eq!((answer.status, answer.body.len()), (200, LENGTH));
    }
    assert!(drain.join().unwrap());
}

#[test]
fn a_drain_whose_time_is_over_tells_each_client_what_it_knows() {
    let (upstream, gate) = gated(echoed);
    let gateway = start(one_at_a_time(&upstream.url()));
    let address = gateway.address();
    let begin = |path: &str| {
        let mut client = Client::connect(address);
        client.begin("POST", path, ALPHA, "a=1");
        client
    };
    let mut sent = begin("/sent");
    until("the first call is in flight", || upstream.requests().len() == 1);
    let mut queued = begin("/queued");
    until("one call is queued", || queue_length(&gateway, "") == 1.0);
    let drain = thread::spawn(move || gateway.drain(Duration::from_millis(100)));
    let sent = sent.read("POST");
    assert_eq!((sent.status, sent.header("x-lanekeeper-sent")), (503, Some("unknown")));
    assert!(sent.text().contains("check the order book"), "{}", sent.text());
    let queued = queued.read("POST");
    assert_eq!((queued.status, queued.header("x-lanekeeper-sent")), (429, Some("no")));
    assert!(!drain.join().unwrap(), "it says that all were answered");
    gate.open();
    assert_eq!(upstream.requests().len(), 1);
}

/// Orders, quotes and other reads of a broker whose wire is known are refused alike.
#[test]
fn a_drain_refuses_each_kind_of_call_of_kite_unsent() {
    let (upstream, gate) = gated(|_| upstream::ok("application/json", b"{\"data\":{}}"));
    let gateway = start(with_time(kite(&upstream.url())));
    let address = gateway.address();
    let mut held = Client::connect(address);
    held.begin("GET", "/user/margins", ALPHA, "");
    until("a call is in flight", || upstream.requests().len() == 1);
    let drain = thread::spawn(move || gateway.drain(Duration::from_secs(60)));
    until("it drains", || call(address, "GET", "/_lanekeeper/readyz", "").status == 503);
    let order = "exchange=NSE&tradingsymbol=INFY&transaction_type=BUY&quantity=1&order_type=MARKET\
                 &product=CNC&validity=DAY";
    for (method, target, body) in [
        ("POST", "/orders/regular", order),
        ("DELETE", "/orders/regular/1", ""),
        ("GET", "/quote/ltp?i=NSE:YESBANK", ""),
        ("GET", "/instruments", ""),
        ("GET", "/orders", ""),
    ] {
        let refused = Client::connect(address).request(method, target, body);
        assert_eq!(refused.status, 429, "{method} {target}: {}", refused.text());
        assert_eq!(refused.header("x-lanekeeper-sent"), Some("no"));
    }
    gate.open();
    assert_eq!(held.read("GET").status, 200);
    drain.join().unwrap();
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_gateway_whose_session_has_expired_is_alive_and_not_ready() {
    let body = br#"{"status":"error","message":"expired","error_type":"TokenException"}"#;
    let upstream = support::Upstream::start(move |_| {
        Some(upstream::answer("403 Forbidden", "application/json", body))
    });
    let gateway = start(kite(&upstream.url()));
    assert_eq!(own(&gateway, "GET", "/readyz", "", "").text(), "ready\n");
    assert_eq!(call(gateway.address(), "GET", "/user/margins", ALPHA).status, 403);
    until("the gateway is not ready", || own(&gateway, "GET", "/readyz", "", "").status == 503);
    let ready = own(&gateway, "GET", "/readyz", "", "").text();
    assert_eq!(ready, "the session of the account main has expired\n");
    assert_eq!(own(&gateway, "GET", "/healthz", "", "").text(), "ok\n");
    until("the status says so", || status(&gateway)["health"] == "session_expired");
    assert_eq!(status(&gateway)["accounts"][0]["session_expired"], true);
}

#[test]
fn a_lane_is_paused_and_resumed_with_the_admin_key_and_not_without() {
    let (secret, hash) = key();
    let upstream = echo();
    let mut config = with_time(rest(&upstream.url()));
    config.admin_key = Some(hash);
    let gateway = start(config);
    let pause = "/accounts/main/lanes/all/pause";
    let right = format!("{POST}{}", bearer("admin", &secret));
    for lines in [
        POST.to_owned(),
        format!("{POST}{ALPHA}"),
        format!("{POST}{}", bearer("admin", "wrong")),
        format!("{POST}{}", bearer("alpha", &secret)),
        // Without the header that no page of another site can send.
        bearer("admin", &secret),
        format!("{right}origin: http://evil.example\r\n"),
    ] {
        let refused = own(&gateway, "POST", pause, &lines, "");
        assert_eq!(refused.status, 403, "{lines}: {}", refused.text());
        assert!(!refused.text().contains(&secret));
    }
    assert_eq!(own(&gateway, "GET", pause, &right, "").status, 404);
    for path in ["/accounts/main/lanes/other/pause", "/accounts/other/lanes/all/pause"] {
        assert_eq!(own(&gateway, "POST", path, &right, "").status, 404);
    }
    assert_eq!(call(gateway.address(), "GET", "/a", ALPHA).status, 200);

    let paused = own(&gateway, "POST", pause, &right, "");
    assert_eq!((paused.status, &paused.json()["state"]), (200, &"paused".into()));
    let mut held = Client::connect(gateway.address());
    held.begin("GET", "/held", ALPHA, "");
    until("the call waits", || queue_length(&gateway, "") == 1.0);
    until("the status says so", || status(&gateway)["health"] == "paused");
    assert_eq!(lane(&gateway)["state"], "paused");
    assert_eq!(upstream.requests().len(), 1);
    let resumed = own(&gateway, "POST", "/accounts/main/lanes/all/resume", &right, "");
    assert_eq!((resumed.status, &resumed.json()["state"]), (200, &"running".into()));
    assert_eq!(held.read("GET").json(), "/held");
}

#[test]
fn without_an_admin_key_nobody_pauses_a_lane_and_the_answer_says_how_to_get_one() {
    let gateway = start(rest("http://127.0.0.1:9"));
    let pause = "/accounts/main/lanes/all/pause";
    let refused = own(&gateway, "POST", pause, &format!("{POST}{}", bearer("admin", "")), "");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("lanekeeper key new admin"), "{}", refused.text());
}

#[test]
fn a_refresh_by_hand_is_fetched_anew_and_then_refused_until_the_cool_down_is_over() {
    let (exchange, gateway) = at_exchange();
    let read = |path: &str| own(&gateway, "GET", path, "", "");
    let prices = read("/prices?account=main&i=NSE:YESBANK&i=NSE:NOPE").json();
    assert_eq!(
        (&prices["prices"][0]["instrument"], &prices["absent"]),
        (&"NSE:YESBANK".into(), &serde_json::json!(["NSE:NOPE"]))
    );
    assert!(prices["prices"][0]["last_price"].is_string(), "{prices}");
    let fetched = exchange.counts("quote").admitted;
    assert_eq!(fetched, 1);

    let body = r#"{"account":"main","instruments":["NSE:YESBANK"]}"#;
    let refresh = |body: &str| own(&gateway, "POST", "/refresh", POST, body);
    let fresh = refresh(body);
    assert_eq!((fresh.status, &fresh.json()["prices"][0]["origin"]), (200, &"fresh".into()));
    assert_eq!(exchange.counts("quote").admitted, 2);
    let early = refresh(body);
    let wait: f64 = early.json()["retry_after"].as_f64().unwrap();
    assert!(early.status == 429 && wait > 0.0 && wait <= 5.0, "{}", early.text());
    let seconds: f64 = early.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= wait, "a client that waits for {seconds} s comes too early");
    assert_eq!(exchange.counts("quote").admitted, 2);

    for bad in ["", "{", "[]", r#"{"instruments":"NSE:YESBANK"}"#] {
        assert_eq!(refresh(bad).status, 400, "{bad}");
    }
    assert_eq!(read("/prices?account=other&i=NSE:YESBANK").status, 404);
    assert_eq!(read("/prices?account=main").status, 400);
}

#[test]
fn a_refresh_of_nothing_begins_no_cool_down() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let gateway = start(kite(&exchange.base_url()));
    let refresh = |body: &str| own(&gateway, "POST", "/refresh", POST, body);
    for (bad, status) in [
        (r#"{"instruments":[]}"#, 400),
        (r#"{"account":"other","instruments":["NSE:YESBANK"]}"#, 404),
    ] {
        assert_eq!(refresh(bad).status, status, "{bad}");
    }
    assert_eq!(refresh(r#"{"instruments":["NSE:YESBANK"]}"#).status, 200);
}

#[test]
fn the_metrics_are_a_text_that_prometheus_reads_and_have_lanes_caches_guard_and_door() {
    let (_exchange, gateway) = at_exchange();
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/quote/ltp?i=NSE:YESBANK", "").status, 200);
    }
    for _ in 0..2 {
        assert_eq!(client.request("GET", "/instruments", "").status, 200);
    }
    let order = "exchange=NSE&tradingsymbol=YESBANK&transaction_type=BUY&quantity=1&order_type=LIMIT&price=80\
                 &product=MIS&validity=DAY";
    let placed = client.request("POST", "/orders/regular", order);
    assert_eq!(placed.status, 200, "{}", placed.text());
    // A name that would break a label, were it not written with care.
    client.request_with("GET", "/orders", "authorization: token a\"b\\{}:x\r\n", "");
    assert_eq!(call(gateway.address(), "GET", "/orders", "").status, 401);

    let answer = own(&gateway, "GET", "/metrics", "", "");
    let kind = answer.header("content-type").unwrap();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let scrape = Scrape::read(&answer.text());
    let value = |name: &str, labels: &[(&str, &str)]| {
        scrape.value(name, labels).unwrap_or_else(|| panic!("{name} {labels:?}\n{}", answer.text()))
    };
    let requests = "lanekeeper_gateway_requests_total";
    let of = |class: &str, client: &str, status: &str| {
        value(requests, &[("class", class), ("client", client), ("status", status)])
    };
    assert_eq!(of("reads", "alpha", "200"), 3.0);
    assert_eq!(of("instruments", "alpha", "200"), 2.0);
    assert_eq!(of("refused", "-", "401"), 1.0);
    let durations = "lanekeeper_gateway_request_duration_seconds_count";
    assert_eq!(value(durations, &[("class", "reads")]), 3.0);
    assert!(value("lanekeeper_gateway_connections", &[]) >= 1.0);
    assert_eq!(value("lanekeeper_gateway_requests_in_progress", &[]), 1.0, "the scrape itself");
    assert_eq!(value("lanekeeper_gateway_event_streams", &[]), 0.0);

    let main = ("account", "main");
    let cache = "lanekeeper_cache_requests_total";
    let of_cache = |name, result| value(cache, &[main, ("cache", name), ("result", result)]);
    assert_eq!((of_cache("quotes", "miss"), of_cache("quotes", "fresh")), (1.0, 2.0));
    assert_eq!((of_cache("kept", "miss"), of_cache("kept", "fresh")), (1.0, 1.0));
    until("the kept answer is counted", || {
        let scrape = Scrape::read(&own(&gateway, "GET", "/metrics", "", "").text());
        let kept = [main, ("cache", "kept")];
        let bytes = scrape.value("lanekeeper_cache_bytes", &kept).unwrap();
        scrape.value("lanekeeper_cache_entries", &kept) == Some(1.0) && bytes > 0.0
    });
    assert_eq!(value("lanekeeper_orders_total", &[main, ("outcome", "placed")]), 1.0);
    let lane = ("lane", "transactional");
    assert_eq!(value("lanekeeper_queue_capacity", &[main, lane]), 1024.0);
    assert_eq!(value("lanekeeper_session_expired", &[main]), 0.0);
    // The panels and the alarms of the book are made of buckets.
    for name in ["lanekeeper_queue_wait_seconds", "lanekeeper_call_duration_seconds"] {
        assert_eq!(scrape.types[name], "histogram");
    }
    // Each series is of this account or of the door.
    for sample in &scrape.samples {
        let is_of_door = sample.name.starts_with("lanekeeper_gateway_");
        assert!(is_of_door || sample.labels.contains_key("account"), "{sample:?}");
    }
}
