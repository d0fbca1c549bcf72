//! Answers that are kept for all clients.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::GatewayConfig;

use crate::support::door::ALPHA;
use crate::support::upstream::{Request, Upstream, answer, ok};
use crate::support::{Answer, Client, start, wait_until};

/// A gateway that keeps the answers of `/kept/*` for an hour.
fn keeping(upstream: &Upstream) -> Gateway {
    let text = format!(
        "upstream: {}\nlanes: {{ all: {{ quota: unlimited, in_flight: 64 }} }}\nunmatched: {{ lane: all }}\n\
         routes: [{{ match: 'GET /kept/*', lane: all, cache: 1h }}]",
        upstream.url()
    );
    let mut config = GatewayConfig::from_yaml(&text).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    start(config)
}

fn origin(answer: &Answer) -> &str {
    answer.header("x-lanekeeper-cache").map_or("", |text| text.split(';').next().unwrap())
}

/// A door that is shut until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let is_open = self.0.lock().unwrap();
        drop(self.1.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

fn gated() -> (Arc<Gate>, Upstream) {
    let gate = Arc::new(Gate::default());
    let upstream = {
        let gate = Arc::clone(&gate);
        Upstream::start(move |request| {
            gate.pass();
            Some(ok("text/plain", request.target.as_bytes()))
        })
    };
    (gate, upstream)
}

/// Waits until the gateway says that so many requests wait.
fn wait_for_waiting(gateway: &Gateway, count: u64) {
    wait_until(&format!("{count} requests wait"), || {
        let status: serde_json::Value = serde_json::from_str(&gateway.status_json()).unwrap();
        let clients = status["clients"].as_array().unwrap();
        clients.iter().filter_map(|client| client["waiting"].as_u64()).sum::<u64>() == count
    });
}

#[test]
fn a_kept_answer_is_fetched_once_and_says_where_it_comes_from() {
    let upstream = Upstream::start(|request: &Request| {
        let body = request.target.len();
        Some(
            format!(
                "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nx-a: 1\r\ncontent-length: 2\r\n\r\n{body:02}"
            )
            .into(),
        )
    });
    let gateway = keeping(&upstream);
    let mut client = Client::connect(gateway.address());
    let first = client.get("/kept/a", "");
    assert_eq!((origin(&first), first.header("x-lanekeeper-sent")), ("miss", Some("yes")));
    let second = Client::connect(gateway.address()).get("/kept/a", "");
    assert_eq!((origin(&second), second.header("x-lanekeeper-sent")), ("hit", Some("no")));
    assert_eq!((&first.body, first.header("x-a")), (&second.body, second.header("x-a")));
    // A cookie is for the client whose request was sent.
    assert_eq!((first.header("set-cookie"), second.header("set-cookie")), (Some("a=1"), None));
    // Another query is another answer. So is one that has to be younger.
    assert_eq!(origin(&client.get("/kept/a?x=1", "")), "miss");
    assert_eq!(origin(&client.get("/kept/a", "x-lanekeeper-max-age: 0\r\n")), "miss");
    // Only `GET`, and only the route that says so.
    assert_eq!(origin(&client.request_with("HEAD", "/kept/a", ALPHA, "")), "");
    assert_eq!(origin(&client.get("/other", "")), "");
    assert_eq!(upstream.requests().len(), 5);
}

#[test]
fn a_hundred_clients_share_one_fetch() {
    let (gate, upstream) = gated();
    let gateway = keeping(&upstream);
    let address = gateway.address();
    let clients: Vec<_> = (0..100)
        .map(|_| thread::spawn(move || Client::connect(address).get("/kept/a", "")))
        .collect();
    wait_for_waiting(&gateway, 100);
    gate.open();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "/kept/a"));
    let count = |wanted| answers.iter().filter(|answer| origin(answer) == wanted).count();
    assert_eq!((count("miss"), count("joined")), (1, 99));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_packed_answer_is_for_those_that_asked_for_one() {
    let upstream = Upstream::start(|request: &Request| {
        Some(match request.header("accept-encoding") {
            Some("gzip") => {
                b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x08".to_vec()
            }
            _ => ok("text/plain", b"plain"),
        })
    });
    let gateway = keeping(&upstream);
    let mut client = Client::connect(gateway.address());
    for expected in ["miss", "hit"] {
        let packed = client.get("/kept/a", "accept-encoding: gzip\r\n");
        assert_eq!((origin(&packed), packed.header("content-encoding")), (expected, Some("gzip")));
        assert_eq!(packed.body, b"\x1f\x8b\x08");
        let plain = client.get("/kept/a", "");
        assert_eq!((origin(&plain), plain.header("content-encoding")), (expected, None));
        assert_eq!(plain.text(), "plain");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn only_a_whole_success_is_kept() {
    for status in ["404 Not Found", "301 Moved Permanently", "206 Partial Content"] {
        let upstream = Upstream::start(move |_| Some(answer(status, "text/plain", b"no")));
        let gateway = keeping(&upstream);
        let mut client = Client::connect(gateway.address());
        for count in 1..=3 {
            let answer = client.get("/kept/a", "");
            assert_eq!((answer.status.to_string().as_str(), origin(&answer)), (&status[..3], ""));
            assert_eq!((answer.text().as_str(), upstream.requests().len()), ("no", count));
        }
    }
}

#[test]
fn those_that_wait_get_the_answer_though_the_one_that_asked_first_has_left() {
    let (gate, upstream) = gated();
    let gateway = keeping(&upstream);
    let address = gateway.address();
    let mut first = Client::connect(address);
    first.begin("GET", "/kept/a", ALPHA, "");
    upstream.wait_for(1);
    let others: Vec<_> = (0..10)
        .map(|_| thread::spawn(move || Client::connect(address).get("/kept/a", "")))
        .collect();
    wait_for_waiting(&gateway, 11);
    drop(first);
    // Another one has taken over.
    upstream.wait_for(2);
    gate.open();
    for other in others {
        let answer = other.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "/kept/a"));
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn an_answer_of_which_a_part_is_missing_is_not_kept() {
    let upstream = Upstream::with_stream(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        false
    });
    let gateway = keeping(&upstream);
    let mut client = Client::connect(gateway.address());
    for _ in 0..2 {
        let before = upstream.requests().len();
        assert_eq!(client.get("/kept/a", "").status, 503);
        assert!(upstream.requests().len() > before);
    }
}
