//! The connections to the upstream: used again after any answer, and closed when nothing reads from them.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use support::upstream::{Upstream, ok};
use support::{Client, rest, start, wait_until};

/// More than is taken whole.
const LARGE: usize = 1 << 20;

#[test]
fn the_connection_of_a_large_answer_is_used_again() {
    let stated = ok("text/csv", &[b'x'; LARGE]);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n100000\r\n";
    let in_chunks = [head.as_bytes(), &[b'x'; LARGE], b"\r\n0\r\n\r\n"].concat();
    for bytes in [stated, in_chunks] {
        let upstream = Upstream::start(move |_| Some(bytes.clone()));
        let gateway = start(rest(&upstream.url()));
        let mut client = Client::connect(gateway.address());
        for _ in 0..20 {
            assert_eq!(client.request("GET", "/large", "").body.len(), LARGE);
        }
        // It is idle a moment after its answer, so another one may be made meanwhile.
        assert!(upstream.connections() < 10, "{}", upstream.connections());
    }
}

#[test]
fn a_client_that_leaves_in_a_large_answer_ends_the_connection_of_that_answer() {
    let cut = Arc::new(AtomicUsize::new(0));
    let upstream = {
        let cut = Arc::clone(&cut);
        Upstream::with_stream(move |request, stream| {
            if request.target != "/large" {
                return stream.write_all(&ok("text/plain", b"small")).is_ok();
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
            let mut is_open = stream.write_all(head.as_bytes()).is_ok();
            while is_open {
                is_open = stream.write_all(&[b'x'; LARGE]).is_ok();
            }
            cut.fetch_add(1, Ordering::SeqCst);
            false
        })
    };
    let gateway = start(rest(&upstream.url()));
    for number in 1..=3 {
        let mut client = Client::connect(gateway.address());
        client.begin("GET", "/large", "authorization: token alpha:secret\r\n", "");
        client.stream().read_exact(&mut [0; LARGE]).unwrap();
        drop(client);
        wait_until("the upstream is told", || cut.load(Ordering::SeqCst) == number);
        let mut client = Client::connect(gateway.address());
        assert_eq!(client.request("POST", "/small", "a=1").text(), "small");
    }
}

#[test]
fn a_request_is_not_given_to_a_connection_that_the_upstream_has_just_closed() {
    let (closed, is_closed) = channel();
    let upstream = Upstream::with_stream(move |_, stream| {
        let _ = stream.write_all(&ok("text/plain", b"x"));
        let _ = stream.shutdown(Shutdown::Write);
        closed.send(()).unwrap();
        // The gateway may still write to it, and would not be answered.
        let _ = stream.read(&mut [0]);
        false
    });
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for _ in 0..50 {
        assert_eq!(client.request("POST", "/order", "a=1").status, 200);
        is_closed.recv().unwrap();
    }
    assert_eq!((upstream.requests().len(), upstream.connections()), (50, 50));
}

#[test]
fn many_answers_at_once_take_a_connection_each_and_these_are_used_again() {
    let upstream = Upstream::json("{}");
    let gateway = start(rest(&upstream.url()));
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for _ in 0..16 {
                let mut client = Client::connect(gateway.address());
                scope.spawn(move || {
                    for _ in 0..20 {
                        assert_eq!(client.request("GET", "/any", "").text(), "{}");
                    }
                });
            }
        });
    }
    assert_eq!(upstream.requests().len(), 5 * 16 * 20);
    assert!(upstream.connections() <= 16, "{}", upstream.connections());
}
