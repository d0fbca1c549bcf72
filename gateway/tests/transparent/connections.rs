//! Connections on both sides: kept alive, and never a request sent twice.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::door::ALPHA;
use crate::support::upstream::{Upstream, ok};
use crate::support::{Client, rest, start, wait_until};

#[test]
fn many_requests_of_one_client_take_one_connection_on_each_side() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for number in 0..100 {
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        assert_eq!(client.request(method, "/any", "").status, 200);
    }
    assert_eq!(upstream.requests().len(), 100);
    // An idle connection is noticed a moment after its answer, so a second one may be made meanwhile.
    assert!(upstream.connections() <= 3, "{}", upstream.connections());
}

#[test]
fn requests_that_are_sent_ahead_are_answered_in_their_order() {
    let upstream = Upstream::start(|request| Some(ok("text/plain", request.target.as_bytes())));
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let ahead: String = (0..50)
        .map(|number| {
            format!(
                "POST /{number} HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}content-length: 2\r\n\r\nab"
            )
        })
        .collect();
    client.send(ahead);
    for number in 0..50 {
        assert_eq!(client.read("POST").text(), format!("/{number}"));
    }
    let targets: Vec<_> = upstream.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, (0..50).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[test]
fn a_connection_that_the_upstream_closed_costs_no_request_and_repeats_none() {
    let closed = Arc::new(AtomicUsize::new(0));
    let upstream = {
        let closed = Arc::clone(&closed);
        Upstream::with_stream(move |_, stream| {
            let answer = ok("text/plain", b"x");
            let _ = std::io::Write::write_all(stream, &answer);
            // Idle for long enough, as the upstream sees it.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // The gateway closes its side once it has noticed.
            let _ = stream.read(&mut [0]);
            closed.fetch_add(1, Ordering::SeqCst);
            false
        })
    };
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for number in 1..=20 {
        assert_eq!(client.request("POST", "/order", "a=1").status, 200);
        wait_until("the gateway notices", || closed.load(Ordering::SeqCst) == number);
    }
    assert_eq!((upstream.requests().len(), upstream.connections()), (20, 20));
}

#[test]
fn an_upstream_that_says_it_closes_is_connected_to_anew() {
    for head in ["HTTP/1.1 200 OK\r\nconnection: close\r\n", "HTTP/1.0 200 OK\r\n"] {
        for end in ["content-length: 1\r\n\r\nx", "\r\nx"] {
            let bytes = format!("{head}{end}");
            let upstream = Upstream::with_stream(move |_, stream| {
                let _ = std::io::Write::write_all(stream, bytes.as_bytes());
                false
            });
            let gateway = start(rest(&upstream.url()));
            let mut client = Client::connect(gateway.address());
            for _ in 0..5 {
                let answer = client.request("POST", "/order", "a=1");
                assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
                // The client's own connection goes on.
                assert_eq!(answer.header("connection"), None);
            }
            assert_eq!((upstream.requests().len(), upstream.connections()), (5, 5));
        }
    }
}

#[test]
fn what_follows_an_answer_is_never_taken_for_the_next_one() {
    // It is longer than it says. The rest looks like an answer.
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let upstream = Upstream::start(move |_| Some(long.into()));
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for _ in 0..20 {
        assert_eq!(client.request("GET", "/any", "").text(), "hello");
    }
    assert_eq!(upstream.requests().len(), 20);
}

#[test]
fn a_client_may_ask_for_the_end_of_its_connection() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let answer = client.get("/any", "connection: close\r\n");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    // HTTP/1.0 does so unless it says otherwise.
    let mut client = Client::connect(gateway.address());
    let answer =
        client.raw(format!("GET /any HTTP/1.0\r\nhost: 127.0.0.1\r\n{ALPHA}\r\n")).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert!(client.is_closed());
    // The upstream's connection is another one.
    assert_eq!(upstream.requests().len(), 2);
    assert!(upstream.requests().iter().all(|request| request.header("connection").is_none()));
}
