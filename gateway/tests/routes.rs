//! Any REST API from a file: what the lines of the file do to requests at a scripted server.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::thread;

use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::GatewayConfig;
use support::ops::{call, echo, echoed, gated, queue_length, until, with_time};
use support::{Client, Upstream};

const SECRET: &str = "the-vendors-token";

/// Returns a client's header lines. On an open gateway its name is what it says.
fn of(client: &str) -> String {
    format!("authorization: Bearer {client}:any\r\n")
}

fn start(mut config: GatewayConfig, upstream: &Upstream) -> Gateway {
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.accounts.get_mut("main").unwrap().upstream = upstream.url();
    Gateway::builder(config).secret("VENDOR_TOKEN", SECRET).start().unwrap()
}

/// Starts a gateway with the example of the book, in front of this server.
fn vendor(upstream: &Upstream) -> Gateway {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/vendor.yaml");
    start(GatewayConfig::from_path(path).unwrap(), upstream)
}

fn from(text: &str, upstream: &Upstream) -> Gateway {
    let text = format!("upstream: http://127.0.0.1\n{text}");
    start(GatewayConfig::from_yaml(&text).unwrap_or_else(|error| panic!("{error}")), upstream)
}

#[test]
fn twenty_calls_a_minute_are_shared_by_all_clients_and_the_others_are_refused_unsent() {
    let upstream = echo();
    let gateway = vendor(&upstream);
    let address = gateway.address();
    let clients: Vec<_> = (0..12)
        .map(|number| {
            thread::spawn(move || {
                let lines = of(["alpha", "beta", "gamma"][number % 3]);
                let ask = |call: usize| {
                    let target = format!("/news?client={number}&call={call}");
                    Client::connect(address).request_with("GET", &target, &lines, "")
                };
                (0..5).map(ask).collect::<Vec<_>>()
            })
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let (answered, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((answered.len(), refused.len()), (20, 40));
    for refusal in refused {
        assert_eq!(refusal.status, 429, "{}", refusal.text());
        assert_eq!(refusal.header("x-lanekeeper-sent"), Some("no"));
        let wait: u64 = refusal.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(upstream.requests().len(), 20);
}

#[test]
fn the_token_of_the_vendor_is_the_gateways_and_no_client_sends_or_sees_one() {
    let upstream = Upstream::start(|request| {
        // A vendor that repeats what it got, token and all.
        let heard = request.header("authorization").unwrap_or("none");
        Some(support::upstream::ok("text/plain", heard.as_bytes()))
    });
    let gateway = vendor(&upstream);
    let mut seen = Vec::new();
    for lines in [of("alpha"), String::new(), "authorization: Bearer my-own-token\r\n".to_owned()] {
        let answer = call(gateway.address(), "GET", "/me", &lines);
        assert_eq!(answer.status, 200, "{}", answer.text());
        seen.push(answer.text());
    }
    for request in upstream.requests() {
        assert_eq!(request.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    }
    let redacted = format!("Bearer {}", "*".repeat(SECRET.len()));
    assert_eq!(seen, [redacted.as_str(); 3]);
}

#[test]
fn a_missing_token_is_named_and_nothing_starts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/vendor.yaml");
    let mut config = GatewayConfig::from_path(path).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    for secret in [None, Some("")] {
        let builder = Gateway::builder(config.clone());
        let builder = secret.map_or(builder, |secret| {
            Gateway::builder(config.clone()).secret("VENDOR_TOKEN", secret)
        });
        let error = builder.start().unwrap_err().to_string();
        assert!(error.contains("VENDOR_TOKEN") && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn a_call_that_weighs_five_uses_five_of_the_twenty() {
    let upstream = echo();
    let gateway = vendor(&upstream);
    let send = |method: &str, path: &str| call(gateway.address(), method, path, "").status;
    assert_eq!([(); 3].map(|()| send("POST", "/export")), [200; 3]);
    assert_eq!([(); 4].map(|()| send("GET", "/news")), [200; 4]);
    // One is left, which is too few for another export.
    assert_eq!(send("POST", "/export"), 429);
    assert_eq!((send("GET", "/news"), send("GET", "/news")), (200, 429));
    assert_eq!(upstream.requests().len(), 8);
}

#[test]
fn what_a_route_refuses_is_answered_in_its_words_and_not_sent() {
    let upstream = echo();
    let gateway = vendor(&upstream);
    let refused = call(gateway.address(), "DELETE", "/stock/INFY", "");
    assert_eq!((refused.status, refused.header("x-lanekeeper-sent")), (403, Some("no")));
    assert_eq!(refused.json()["message"], "nothing is deleted through the gateway");
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_kept_answer_is_for_all_clients_and_for_the_same_address_only() {
    let upstream = echo();
    let text = "lanes: { data: 4/h }\nroutes: [{ match: GET /stock/*, lane: data, cache: 30s }]\n\
                unmatched: { lane: data }";
    let gateway = from(text, &upstream);
    let get = |client: &str, target: &str, more: &str| {
        call(gateway.address(), "GET", target, &format!("{}{more}", of(client)))
    };
    let cache = |answer: &support::Answer| {
        answer.header("x-lanekeeper-cache").map(|text| text.split(';').next().unwrap().to_owned())
    };
    let miss = get("alpha", "/stock/A?x=1", "");
    assert_eq!((cache(&miss).as_deref(), miss.json()), (Some("miss"), "/stock/A?x=1".into()));
    for client in ["alpha", "beta"] {
        let hit = get(client, "/stock/A?x=1", "");
        assert_eq!((cache(&hit).as_deref(), hit.json()), (Some("hit"), "/stock/A?x=1".into()));
        assert_eq!(hit.header("x-lanekeeper-sent"), Some("no"));
    }
    assert_eq!(get("alpha", "/stock/A?x=2", "").json(), "/stock/A?x=2");
    assert_eq!(upstream.requests().len(), 2);
    // A client may want it anew, and what it gets is kept.
    let anew = get("beta", "/stock/A?x=1", "x-lanekeeper-max-age: 0\r\n");
    assert_eq!(cache(&anew).as_deref(), Some("miss"));
    assert_eq!(cache(&get("alpha", "/stock/A?x=1", "")).as_deref(), Some("hit"));
    // What no route keeps is sent each time.
    assert_eq!(cache(&get("alpha", "/other", "")), None);
    assert_eq!(upstream.requests().len(), 4);
    // The quota is used up, and what is kept is still there.
    assert_eq!(get("alpha", "/other", "").status, 429);
    assert_eq!(get("alpha", "/stock/A?x=1", "").status, 200);
}

#[test]
fn an_error_is_not_kept() {
    let upstream = Upstream::start(|_| {
        Some(support::upstream::answer("404 Not Found", "text/plain", b"no such stock"))
    });
    let text = "lanes: { data: unlimited }\nroutes: [{ match: GET /**, lane: data, cache: 30s }]";
    let gateway = from(text, &upstream);
    for _ in 0..2 {
        let answer = call(gateway.address(), "GET", "/stock/X", "");
        assert_eq!((answer.status, answer.text().as_str()), (404, "no such stock"));
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn what_no_route_describes_is_refused_or_takes_the_default_lane_as_the_file_says() {
    let upstream = echo();
    let lanes =
        "lanes: { data: unlimited, slow: 1/h }\nroutes: [{ match: GET /stock/*, lane: data }]";
    let gateway = from(lanes, &upstream);
    assert_eq!(call(gateway.address(), "GET", "/stock/A", "").status, 200);
    for (method, path) in [("GET", "/stock/A/more"), ("POST", "/stock/A"), ("GET", "/")] {
        let refused = call(gateway.address(), method, path, "");
        assert_eq!(refused.status, 404, "{method} {path}");
        assert!(refused.text().contains(&format!("{method} {path}")), "{}", refused.text());
    }
    assert_eq!(upstream.requests().len(), 1);

    let gateway = from(&format!("{lanes}\nunmatched: {{ lane: slow }}"), &upstream);
    let send = |method: &str, path: &str| call(gateway.address(), method, path, "").status;
    assert_eq!((send("POST", "/new"), send("GET", "/new")), (200, 429));
    assert_eq!([(); 3].map(|()| send("GET", "/stock/A")), [200; 3]);
}

#[test]
fn a_budget_counts_the_calls_of_its_routes_beside_their_lanes() {
    let upstream = echo();
    let text = "lanes: { data: unlimited }\nbudgets: { writes: 2/h }\n\
                routes: [{ match: POST /**, lane: data, budget: writes }]\nunmatched: { lane: data }";
    let gateway = from(text, &upstream);
    let send = |method: &str| call(gateway.address(), method, "/x", "").status;
    assert_eq!([(); 3].map(|()| send("POST")), [200, 200, 429]);
    assert_eq!(([(); 3].map(|()| send("GET")), send("PUT")), ([200; 3], 200));
}

/// The lane sends one call at a time, so the order at the server is that of the queue.
#[test]
fn priorities_order_the_queue_and_an_exit_goes_first() {
    let (upstream, gate) = gated(echoed);
    // On a busy machine it may take long until all are queued.
    let text = "client_timeout: 10min\nupstream_timeout: 10min\n\
        lanes: { data: { quota: unlimited, in_flight: 1, urgent_workers: 0 } }\n\
        routes: [{ match: POST /export, lane: data, priority: 8 }, { match: DELETE /**, lane: data, exit: true }]\n\
        unmatched: { lane: data }";
    let text = format!("upstream: http://127.0.0.1\n{text}");
    let gateway = start(with_time(GatewayConfig::from_yaml(&text).unwrap()), &upstream);
    let begin = |method: &str, path: &str, lines: &str| {
        let mut client = Client::connect(gateway.address());
        client.begin(method, path, lines, "");
        (method.to_owned(), client)
    };
    let mut clients = vec![begin("GET", "/first", "")];
    until("it is in flight", || upstream.requests().len() == 1);
    for (method, path, lines) in [
        ("POST", "/export", ""),
        ("GET", "/ordinary", ""),
        ("GET", "/later", "x-lanekeeper-priority: 9\r\n"),
        ("GET", "/sooner", "x-lanekeeper-priority: 3\r\n"),
        ("DELETE", "/exit", ""),
    ] {
        let before = queue_length(&gateway, "");
        clients.push(begin(method, path, lines));
        until("it is queued", || queue_length(&gateway, "") > before);
    }
    gate.open();
    for (method, client) in &mut clients {
        assert_eq!(client.read(method).status, 200);
    }
    let order: Vec<_> = upstream.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(order, ["/first", "/exit", "/sooner", "/ordinary", "/export", "/later"]);
}
