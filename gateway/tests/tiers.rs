//! What a client may do: its tier, and its account.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::{ClientConfig, GatewayConfig};
use lanekeeper_simulator::SimulatedExchange;
use support::ops::{bearer, call, echo, echoed, gated, key, own, queue_length, until, with_time};
use support::{Client, Upstream, kite};

/// Adds clients, each with a tier or an account, and returns their header lines.
fn add_clients<const N: usize>(
    config: &mut GatewayConfig,
    clients: [(&str, Option<&str>, Option<&str>); N],
) -> [String; N] {
    clients.map(|(name, tier, account)| {
        let (secret, hash) = key();
        let mut client = ClientConfig::new(hash);
        client.tier = tier.map(str::to_owned);
        client.account = account.map(str::to_owned);
        config.clients.insert(name.to_owned(), client);
        bearer(name, &secret)
    })
}

fn read(text: &str) -> GatewayConfig {
    let mut config = GatewayConfig::from_yaml(text).unwrap_or_else(|error| panic!("{error}"));
    config.listen = "127.0.0.1:0".parse().unwrap();
    config
}

fn with_tiers(upstream: &Upstream, tiers: &str) -> GatewayConfig {
    read(&format!(
        "upstream: {}\n\
         lanes: {{ data: {{ quota: unlimited, in_flight: 1, urgent_workers: 0 }}, orders: unlimited }}\n\
         routes:\n  - {{ match: POST /orders, lane: orders }}\n  - {{ match: GET /orders, lane: orders }}\n  \
         - {{ match: DELETE /orders/*, lane: orders, exit: true }}\n\
         unmatched: {{ lane: data }}\ntiers: {{ {tiers} }}",
        upstream.url()
    ))
}

#[test]
fn a_tier_that_only_reads_writes_nothing_but_exits() {
    let upstream = echo();
    let mut config = with_tiers(&upstream, "reading: { read_only: true }");
    let [reader, writer] =
        add_clients(&mut config, [("reader", Some("reading"), None), ("writer", None, None)]);
    let gateway = support::start(config);
    let send =
        |lines: &str, method: &str, path: &str| call(gateway.address(), method, path, lines).status;
    assert_eq!((send(&reader, "GET", "/a"), send(&reader, "GET", "/orders")), (200, 200));
    for (method, path) in [("POST", "/orders"), ("PUT", "/a"), ("DELETE", "/a"), ("POST", "/a")] {
        let refused = call(gateway.address(), method, path, &reader);
        assert_eq!((refused.status, refused.header("x-lanekeeper-sent")), (403, Some("no")));
        assert!(refused.text().contains("only reads"), "{}", refused.text());
    }
    assert_eq!(send(&reader, "DELETE", "/orders/1"), 200);
    assert_eq!(send(&writer, "POST", "/orders"), 200);
    assert_eq!(upstream.requests().len(), 4);
}

#[test]
fn a_tier_uses_its_lanes_only_and_an_exit_any() {
    let upstream = echo();
    let mut config = with_tiers(&upstream, "screening: { lanes: [data] }");
    let [lines] = add_clients(&mut config, [("screener", Some("screening"), None)]);
    let gateway = support::start(config);
    let send = |method: &str, path: &str| call(gateway.address(), method, path, &lines).status;
    assert_eq!((send("GET", "/a"), send("POST", "/a")), (200, 200));
    assert_eq!((send("GET", "/orders"), send("POST", "/orders")), (403, 403));
    assert_eq!(send("DELETE", "/orders/1"), 200);
}

#[test]
fn each_client_of_a_tier_has_its_own_requests() {
    let upstream = echo();
    let mut config = with_tiers(&upstream, "slow: { requests: 2/h }");
    let clients = [("one", Some("slow"), None), ("two", Some("slow"), None), ("free", None, None)];
    let [one, two, free] = add_clients(&mut config, clients);
    let gateway = support::start(config);
    let get = |lines: &str| call(gateway.address(), "GET", "/a", lines).status;
    assert_eq!([(); 3].map(|()| get(&one)), [200, 200, 429]);
    assert_eq!([(); 3].map(|()| get(&two)), [200, 200, 429]);
    assert_eq!([(); 4].map(|()| get(&free)), [200; 4]);
    let refused = call(gateway.address(), "GET", "/a", &one);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3000..=3600).contains(&wait), "{wait}");
    assert_eq!(call(gateway.address(), "DELETE", "/orders/1", &one).status, 200);
}

#[test]
fn a_tier_places_its_orders_and_cancels_as_many_as_it_likes() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let mut config = kite(&exchange.base_url());
    config.tiers =
        read("upstream: http://127.0.0.1\nlanes: { a: 1/s }\ntiers: { small: { orders: 2/h } }")
            .tiers;
    let [lines] = add_clients(&mut config, [("desk", Some("small"), None)]);
    let gateway = support::start(config);
    let send = |method: &str, target: &str, body: &str| {
        Client::connect(gateway.address()).request_with(method, target, &lines, body)
    };
    let place = |tag: &str| {
        let order = "exchange=NSE&tradingsymbol=YESBANK&transaction_type=BUY&quantity=1\
                     &order_type=LIMIT&price=80&product=MIS&validity=DAY";
        send("POST", "/orders/regular", &format!("{order}&tag={tag}"))
    };
    let placed = [place("one"), place("two")];
    for answer in &placed {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let refused = place("three");
    assert_eq!((refused.status, refused.header("x-lanekeeper-sent")), (429, Some("no")));
    assert_eq!(exchange.orders().len(), 2);
    for answer in placed {
        let id = answer.json()["data"]["order_id"].as_str().unwrap().to_owned();
        assert_eq!(send("DELETE", &format!("/orders/regular/{id}"), "").status, 200);
    }
    assert_eq!(send("GET", "/orders", "").status, 200);
}

/// The lane sends one call at a time, so the order at the server is that of the queue.
#[test]
fn a_client_is_no_more_urgent_than_its_tier() {
    let (upstream, gate) = gated(echoed);
    let mut config = with_tiers(&upstream, "patient: { max_priority: 6, priority: 7 }");
    // On a busy machine it may take long until all are queued.
    config.door.client_timeout = Duration::from_secs(600);
    config.accounts.values_mut().for_each(|account| {
        account.upstream_timeout = Duration::from_secs(600);
    });
    let [patient, free] =
        add_clients(&mut config, [("patient", Some("patient"), None), ("free", None, None)]);
    let gateway = support::start(with_time(config));
    let begin = |path: &str, lines: &str, priority: &str| {
        let mut client = Client::connect(gateway.address());
        client.begin("GET", path, &format!("{lines}{priority}"), "");
        client
    };
    let mut clients = vec![begin("/first", &free, "")];
    until("it is in flight", || upstream.requests().len() == 1);
    for (path, lines, priority) in [
        ("/patient-by-default", &patient, ""),
        ("/patient-wants-1", &patient, "x-lanekeeper-priority: 1\r\n"),
        ("/patient-wants-9", &patient, "x-lanekeeper-priority: 9\r\n"),
        ("/free-by-default", &free, ""),
        ("/free-wants-1", &free, "x-lanekeeper-priority: 1\r\n"),
    ] {
        let before = queue_length(&gateway, &free);
        clients.push(begin(path, lines, priority));
        until("it is queued", || queue_length(&gateway, &free) > before);
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.read("GET").status, 200);
    }
    let order: Vec<_> = upstream.requests().into_iter().map(|request| request.target).collect();
    let expected = [
        "/first",
        "/free-wants-1",
        "/free-by-default",
        "/patient-wants-1",
        "/patient-by-default",
        "/patient-wants-9",
    ];
    assert_eq!(order, expected);
}

/// The server never answers, so a client hears when its time is over.
#[test]
fn a_client_waits_no_longer_than_its_tier_lets_it_ask_for() {
    let (upstream, gate) = gated(echoed);
    let mut config = with_tiers(&upstream, "hasty: { max_deadline: 500ms }");
    config.door.client_timeout = Duration::from_secs(30);
    let [hasty] = add_clients(&mut config, [("hasty", Some("hasty"), None)]);
    let gateway = support::start(config);
    let began = Instant::now();
    let ask = format!("{hasty}x-lanekeeper-deadline: 25\r\n");
    let answer = call(gateway.address(), "POST", "/orders", &ask);
    assert_eq!((answer.status, answer.header("x-lanekeeper-sent")), (503, Some("unknown")));
    let took = began.elapsed();
    assert!((0.5..20.0).contains(&took.as_secs_f64()), "{took:?}");
    gate.open();
}

struct TwoAccounts {
    upstreams: [Upstream; 2],
    gateway: Gateway,
    clients: [String; 3],
}

/// Two accounts at two servers, with the same lane and different secrets, and three clients.
fn two_accounts() -> TwoAccounts {
    let upstreams = [echo(), echo()];
    let account = |index: usize, quota: &str| {
        format!(
            "{{ upstream: '{}', auth: {{ prefix: 'Bearer ', env: TOKEN_{index} }}, \
             lanes: {{ data: {quota} }}, unmatched: {{ lane: data }} }}",
            upstreams[index].url()
        )
    };
    let mut config = read(&format!(
        "accounts:\n  first: {}\n  second: {}\nclients: {{ other: {{ key: '{}', account: first }} }}",
        account(0, "2/h"),
        account(1, "unlimited"),
        key().1
    ));
    let clients = [
        ("alpha", None, Some("first")),
        ("beta", None, Some("first")),
        ("gamma", None, Some("second")),
    ];
    let clients = add_clients(&mut config, clients);
    let gateway = Gateway::builder(config)
        .secret("TOKEN_0", "token-of-the-first")
        .secret("TOKEN_1", "token-of-the-second");
    TwoAccounts { upstreams, gateway: gateway.start().unwrap(), clients }
}

#[test]
fn each_account_has_its_lanes_and_its_secret_and_a_client_uses_its_own() {
    let TwoAccounts { upstreams, gateway, clients: [alpha, beta, gamma] } = two_accounts();
    let get = |lines: &str| call(gateway.address(), "GET", "/a?account=second", lines).status;
    // Two clients share the first account.
    assert_eq!((get(&alpha), get(&beta), get(&alpha), get(&beta)), (200, 200, 429, 429));
    assert_eq!([(); 5].map(|()| get(&gamma)), [200; 5]);
    let tokens = upstreams.each_ref().map(|upstream| {
        let requests = upstream.requests();
        requests.iter().map(|it| it.header("authorization").unwrap().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(tokens[0], ["Bearer token-of-the-first"; 2]);
    assert_eq!(tokens[1], ["Bearer token-of-the-second"; 5]);
    // A key is needed, since a name does not say which account.
    assert_eq!(get("authorization: Bearer alpha:guess\r\n"), 403);
    assert_eq!(get(""), 401);
}

#[test]
fn a_client_gets_no_prices_and_no_scan_of_another_account() {
    let TwoAccounts { gateway, clients: [alpha, ..], .. } = two_accounts();
    let refused = own(&gateway, "GET", "/prices?account=second&i=NSE:INFY", &alpha, "");
    assert_eq!(refused.status, 403, "{}", refused.text());
    let lines = format!("{alpha}x-lanekeeper-request: 1\r\n");
    for (path, body) in [
        ("/refresh", r#"{"account":"second","instruments":["NSE:INFY"]}"#),
        ("/scans", r#"{"account":"second","requests":[{"path":"/a"}]}"#),
    ] {
        let refused = own(&gateway, "POST", path, &lines, body);
        assert_eq!(refused.status, 403, "{path}: {}", refused.text());
    }
}
