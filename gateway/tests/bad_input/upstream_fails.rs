//! An upstream that is down, slow, or makes no sense.

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::GatewayConfig;

use crate::support::door::refusal;
use crate::support::upstream::{Upstream, answer, ok};
use crate::support::{Client, kite, rest, start};

/// The settings in front of any API, and in front of Kite.
const BOTH: [fn(&str) -> GatewayConfig; 2] = [rest, kite];

/// A route of which the gateway knows no more than that it writes.
const WRITE: &str = "/gtt/triggers";

fn assert_usable(client: &mut Client) {
    assert_eq!(client.request("GET", "/_lanekeeper/healthz", "").status, 200);
}

#[test]
fn an_upstream_that_is_down_is_502_and_nothing_was_sent() {
    for settings in BOTH {
        // A gateway for each, since the breaker opens after a few such failures.
        for method in ["POST", "GET", "DELETE"] {
            // Nobody listens there.
            let gateway = start(settings("http://127.0.0.1:1"));
            let mut client = Client::connect(gateway.address());
            let message = refusal(&client.request(method, WRITE, ""), 502, "no");
            assert!(message.contains("cannot be reached"), "{message}");
            assert_usable(&mut client);
        }
    }
}

#[test]
fn an_upstream_that_is_too_slow_is_503_within_the_clients_time_and_the_call_is_made_once() {
    for settings in BOTH {
        let (held, hold) = channel::<()>();
        let hold = std::sync::Mutex::new(hold);
        let upstream = Upstream::start(move |_| {
            let _ = hold.lock().unwrap().recv();
            Some(ok("application/json", br#"{"status":"success","data":{"trigger_id":1}}"#))
        });
        let mut config = settings(&upstream.url());
        config.door.client_timeout = Duration::from_millis(400);
        let gateway = start(config);
        let mut client = Client::connect(gateway.address());
        let message = refusal(&client.request("POST", WRITE, "a=1"), 503, "unknown");
        assert!(message.contains("check the order book"), "{message}");
        assert_usable(&mut client);
        assert_eq!(upstream.requests().len(), 1);
        // The answer that comes later is nobody's.
        held.send(()).unwrap();
        drop(held);
        let next = client.request("POST", WRITE, "a=2");
        assert_eq!(next.status, 200, "{}", next.text());
        let bodies: Vec<_> = upstream.requests().into_iter().map(|request| request.body).collect();
        assert_eq!(bodies, [b"a=1", b"a=2"]);
    }
}

#[test]
fn an_upstream_that_does_not_answer_within_its_own_time_is_503() {
    for settings in BOTH {
        for begin in
            ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"]
        {
            let upstream = Upstream::with_stream(move |_, stream| {
                let _ = stream.write_all(begin.as_bytes());
                // Until the gateway gives up.
                let _ = std::io::Read::read(stream, &mut [0]);
                false
            });
            let mut config = settings(&upstream.url());
            config.accounts.get_mut("main").unwrap().upstream_timeout = Duration::from_millis(300);
            let gateway = start(config);
            let mut client = Client::connect(gateway.address());
            let message = refusal(&client.request("POST", WRITE, "a=1"), 503, "unknown");
            assert!(message.contains("check the order book"), "{message}");
            assert_usable(&mut client);
            assert_eq!(upstream.requests().len(), 1);
        }
    }
}

/// What is no answer: the bytes, after which the upstream closes the connection.
const NO_ANSWERS: &[&str] = &[
    "",
    "\r\n\r\n",
    "garbage\r\n\r\n",
    "<html>a page</html>",
    "HTTP/1.1",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\ncontent-type: app",
    "HTTP/1.1 200 OK\r\ncontent-type application/json\r\n\r\n{}",
    "HTTP/1.1 2x0 OK\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/3.7 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"status\":\"success\"",
    "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "HTTP/1.1 200 OK\r\nx-a: 1\rx-b: 2\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
];

fn at(settings: fn(&str) -> GatewayConfig, bytes: &'static str) -> (Upstream, Gateway) {
    let upstream = Upstream::with_stream(move |_, stream| {
        let _ = stream.write_all(bytes.as_bytes());
        false
    });
    let mut config = settings(&upstream.url());
    // Reads are made again for a while.
    config.door.client_timeout = Duration::from_secs(2);
    let gateway = start(config);
    (upstream, gateway)
}

#[test]
fn a_write_whose_answer_makes_no_sense_is_503_and_was_sent_once() {
    for settings in BOTH {
        for bytes in NO_ANSWERS {
            let (upstream, gateway) = at(settings, bytes);
            let mut client = Client::connect(gateway.address());
            let answer = client.request("POST", WRITE, "a=1");
            assert_eq!(answer.status, 503, "{bytes:?}: {}", answer.text());
            let message = refusal(&answer, 503, "unknown");
            assert!(message.contains("check the order book"), "{bytes:?}: {message}");
            assert_usable(&mut client);
            assert_eq!(upstream.requests().len(), 1, "{bytes:?}");
        }
    }
}

#[test]
fn a_read_whose_answer_makes_no_sense_is_503_and_says_that_it_can_be_made_again() {
    for settings in BOTH {
        for bytes in NO_ANSWERS.iter().step_by(4) {
            let (_upstream, gateway) = at(settings, bytes);
            let mut client = Client::connect(gateway.address());
            let answer = client.request("GET", "/user/margins", "");
            let message = refusal(&answer, 503, "unknown");
            assert!(message.contains("it can be made again"), "{bytes:?}: {message}");
            assert_usable(&mut client);
        }
    }
}

#[test]
fn a_write_of_which_a_status_leaves_open_what_became_of_it_is_503() {
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "408 Request Timeout",
        "599 Any Words",
    ] {
        for settings in BOTH {
            let upstream = Upstream::start(move |_| {
                let mut bytes = answer(status, "text/html", b"<h1>later</h1>");
                let at = bytes.windows(2).position(|part| part == b"\r\n").unwrap() + 2;
                bytes.splice(at..at, *b"retry-after: 1\r\n");
                Some(bytes)
            });
            let gateway = start(settings(&upstream.url()));
            let mut client = Client::connect(gateway.address());
            refusal(&client.request("POST", WRITE, "a=1"), 503, "unknown");
            assert_eq!(upstream.requests().len(), 1, "{status}");
        }
    }
}

#[test]
fn nothing_is_sent_twice_when_the_upstream_drops_every_other_connection() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        (number % 2 == 0).then(|| ok("application/json", b"{}"))
    });
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let mut expected = Vec::new();
    for number in 0..40 {
        let body = format!("n={number}");
        let answer = client.request("POST", WRITE, &body);
        match answer.status {
            // The circuit breaker is open after a while.
            429 => drop(refusal(&answer, 429, "no")),
            503 => drop(refusal(&answer, 503, "unknown")),
            status => assert_eq!(status, 200),
        }
        if answer.status != 429 {
            expected.push(body.into_bytes());
        }
    }
    assert!(expected.len() > 4, "{}", expected.len());
    let bodies: Vec<_> = upstream.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, expected);
}
