//! Bodies of requests: too long, cut, or never sent.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use lanekeeper_gateway::Gateway;

use crate::support::door::{ALPHA, refusal};
use crate::support::upstream::Upstream;
use crate::support::{Client, rest, start, wait_until};

/// A gateway that takes bodies of 64 KiB, within half a second.
fn strict(upstream: &Upstream) -> Gateway {
    let mut config = rest(&upstream.url());
    config.door.max_body = 64 << 10;
    config.door.read_timeout = Duration::from_millis(500);
    start(config)
}

fn head(lines: &str) -> String {
    format!("POST /order HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}{lines}\r\n")
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_sent() {
    let upstream = Upstream::json("{}");
    let gateway = strict(&upstream);
    let mut client = Client::connect(gateway.address());
    let message = refusal(&client.raw(head("content-length: 65537\r\n")).unwrap(), 413, "no");
    assert!(message.contains("65536"), "{message}");
    assert!(client.is_closed());
    // A client that asks first is not told to go on.
    let mut client = Client::connect(gateway.address());
    let lines = "content-length: 99999999999\r\nexpect: 100-continue\r\n";
    refusal(&client.raw(head(lines)).unwrap(), 413, "no");
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_client_that_sends_its_long_body_first_reads_the_refusal_too() {
    let upstream = Upstream::json("{}");
    let gateway = strict(&upstream);
    let body = vec![b'x'; 4 << 20];
    for chunked in [false, true] {
        let mut client = Client::connect(gateway.address());
        if chunked {
            client.send(head("transfer-encoding: chunked\r\n"));
            for part in body.chunks(60_000) {
                client.send(format!("{:x}\r\n", part.len()));
                client.send(part);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
        } else {
            client.send(head(&format!("content-length: {}\r\n", body.len())));
            client.send(&body);
        }
        refusal(&client.read("POST"), 413, "no");
        assert!(client.is_closed());
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_body_of_just_the_longest_length_is_taken() {
    let upstream = Upstream::json("{}");
    let gateway = strict(&upstream);
    let mut client = Client::connect(gateway.address());
    let answer = client.request("POST", "/order", &"x".repeat(64 << 10));
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.requests()[0].body.len(), 64 << 10);
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let upstream = Upstream::json("{}");
    let gateway = strict(&upstream);
    for (lines, part) in [
        ("content-length: 10\r\n", ""),
        ("content-length: 10\r\n", "half"),
        ("transfer-encoding: chunked\r\n", ""),
        ("transfer-encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("content-length: 10\r\nexpect: 100-continue\r\n", ""),
    ] {
        let mut client = Client::connect(gateway.address());
        client.send(head(lines) + part);
        if lines.contains("expect") {
            assert_eq!(client.read("HEAD").status, 100);
        }
        refusal(&client.read("POST"), 408, "no");
        assert!(client.is_closed());
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_body_that_is_cut_is_not_sent() {
    let upstream = Upstream::json("{}");
    let gateway = strict(&upstream);
    for (lines, part) in
        [("content-length: 10\r\n", "half"), ("transfer-encoding: chunked\r\n", "5\r\nhello\r\n")]
    {
        let mut client = Client::connect(gateway.address());
        client.send(head(lines) + part);
        client.stream().shutdown(Shutdown::Write).unwrap();
        // An answer, an end or a reset: the client has left.
        let _ = client.stream().read_to_end(&mut Vec::new());
    }
    wait_until("both requests are over", || {
        Client::connect(gateway.address()).request("GET", "/_lanekeeper/healthz", "").status == 200
    });
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn chunks_that_cannot_be_read_are_refused() {
    let upstream = Upstream::json("{}");
    let gateway = strict(&upstream);
    for body in [
        "xyz\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5 x\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = Client::connect(gateway.address());
        let answer = client.raw(head("transfer-encoding: chunked\r\n") + body).unwrap();
        refusal(&answer, 400, "no");
        assert!(client.is_closed(), "{body:?}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_refused_request_with_a_body_leaves_no_doubt_where_the_next_one_begins() {
    let upstream = Upstream::json("{}");
    let gateway = strict(&upstream);
    // The body looks like a request. It is refused by its address, with the body unread.
    let inner =
        format!("POST /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}content-length: 0\r\n\r\n");
    for times in [1, 100, 1000] {
        let body = inner.repeat(times);
        for line in ["POST //bad", "POST /_lanekeeper/none", "POST /_lanekeeper/login"] {
            let mut client = Client::connect(gateway.address());
            let length = body.len();
            client.send(format!(
                "{line} HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}content-length: {length}\r\n\r\n"
            ));
            // The gateway may be done with it earlier.
            let _ = client.stream().write_all(body.as_bytes());
            let status = client.read("POST").status;
            assert!((400..500).contains(&status), "{status}");
            // The connection goes on behind the body, or ends.
            client.stream().shutdown(Shutdown::Write).unwrap();
            assert!(client.try_read("POST").is_none());
        }
    }
    assert_eq!(upstream.requests().len(), 0);
}
