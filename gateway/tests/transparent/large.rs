//! Large answers: passed on as they come.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::GatewayConfig;

use crate::support::door::ALPHA;
use crate::support::upstream::{Upstream, ok};
use crate::support::{Client, rest, start, wait_until};

const MIB: usize = 1 << 20;
const SIZE: usize = 64 * MIB;

/// A part of the large answer, of one MiB. No two parts are the same.
fn part(from: usize) -> Vec<u8> {
    let mut part = vec![0; MIB];
    for (at, place) in part.chunks_mut(8).zip((from..).step_by(8)) {
        at.copy_from_slice(&place.to_le_bytes());
    }
    part
}

/// An upstream whose answer to `/large` is large, and to anything else small.
struct Large {
    upstream: Upstream,
    /// How much of the large answer it has got rid of.
    written: Arc<AtomicUsize>,
}

/// Starts it. After the first MiB it waits for a word.
fn large(size: usize, go_on: Option<Receiver<()>>) -> Large {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\ncontent-length: {size}\r\n\r\n");
    let written = Arc::new(AtomicUsize::new(0));
    let go_on = Mutex::new(go_on);
    let upstream = {
        let written = Arc::clone(&written);
        Upstream::with_stream(move |request, stream| {
            if request.target != "/large" {
                return stream.write_all(&ok("text/plain", b"small")).is_ok();
            }
            stream.write_all(head.as_bytes()).unwrap();
            for from in (0..size).step_by(MIB) {
                if stream.write_all(&part(from)).is_err() {
                    return false;
                }
                written.fetch_add(MIB, Ordering::SeqCst);
                if let Some(go_on) = go_on.lock().unwrap().take() {
                    let _ = go_on.recv_timeout(Duration::from_secs(60));
                }
            }
            true
        })
    };
    Large { upstream, written }
}

/// Asks for the large answer, and reads its head.
fn begin(gateway: &Gateway) -> (Client, String) {
    let mut client = Client::connect(gateway.address());
    client.begin("GET", "/large", ALPHA, "");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut one = [0];
        client.stream().read_exact(&mut one).unwrap();
        head.push(one[0]);
    }
    (client, String::from_utf8(head).unwrap())
}

/// Reads this part of the large answer, and compares it.
fn read(client: &Client, from: usize, to: usize) {
    let mut came = vec![0; MIB];
    for at in (from..to).step_by(MIB) {
        client.stream().read_exact(&mut came).unwrap();
        assert!(came == part(at), "at {at}");
    }
}

#[test]
fn the_first_bytes_arrive_before_the_last_are_sent() {
    let (go_on, waits) = channel();
    let large = large(SIZE, Some(waits));
    let gateway = start(rest(&large.upstream.url()));
    let (client, head) = begin(&gateway);
    assert!(head.contains(&format!("content-length: {SIZE}")), "{head}");
    read(&client, 0, MIB);
    assert!(large.written.load(Ordering::SeqCst) <= MIB);
    go_on.send(()).unwrap();
    read(&client, MIB, SIZE);
}

#[test]
fn a_slow_reader_slows_the_upstream_down_and_holds_up_nobody_else() {
    // Systems hold up to 36 MiB for a socket, and there are two on the way.
    let size = 4 * SIZE;
    let large = large(size, None);
    // A lane with one call in flight.
    let text = format!(
        "upstream: {}\nlanes: {{ all: {{ quota: unlimited, in_flight: 1 }} }}\nunmatched: {{ lane: all }}",
        large.upstream.url()
    );
    let mut config = GatewayConfig::from_yaml(&text).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    let gateway = start(config);
    let (client, _) = begin(&gateway);
    read(&client, 0, MIB);
    let mut others: Vec<_> = (0..4).map(|_| Client::connect(gateway.address())).collect();
    for _ in 0..10 {
        for other in &mut others {
            assert_eq!(other.request("POST", "/small", "").text(), "small");
        }
    }
    // What is read nowhere is not taken from the upstream.
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        let now = large.written.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(last < size / 2, "{} MiB of an answer that is not read", last / MIB);
    read(&client, MIB, size);
    // It counts a part a moment after the client may have read it.
    wait_until("all is written", || large.written.load(Ordering::SeqCst) == size);
}

#[test]
fn an_answer_that_is_cut_ends_the_connection_and_never_looks_complete() {
    // In chunks no length says that a part is missing, so the last chunk must not come.
    for (head, begin) in [
        (format!("content-length: {SIZE}"), ""),
        ("transfer-encoding: chunked".to_owned(), "100000\r\n"),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{begin}");
        let upstream = Upstream::with_stream(move |_, stream| {
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&vec![b'x'; MIB - 1000]);
            false
        });
        let gateway = start(rest(&upstream.url()));
        let mut client = Client::connect(gateway.address());
        client.begin("GET", "/large", ALPHA, "");
        let (mut all, mut part) = (Vec::new(), vec![0; MIB]);
        let end = loop {
            match client.stream().read(&mut part) {
                Ok(0) => break None,
                Ok(read) => all.extend_from_slice(&part[..read]),
                Err(error) => break Some(error.kind()),
            }
        };
        // An end or a reset. In no case does the client wait.
        assert!(matches!(end, None | Some(ErrorKind::ConnectionReset)), "{end:?}");
        assert!(all.starts_with(b"HTTP/1.1 200 OK\r\n"));
        let count = all.iter().filter(|byte| **byte == b'x').count();
        assert!(count < MIB, "{count}");
        assert!(!all.ends_with(b"0\r\n\r\n"));
    }
}

#[test]
fn a_large_answer_of_unknown_length_is_complete_only_at_its_last_chunk() {
    let upstream = Upstream::with_stream(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..8 {
            let _ = stream.write_all(b"100000\r\n");
            let _ = stream.write_all(&vec![b'x'; MIB]);
            let _ = stream.write_all(b"\r\n");
        }
        stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for _ in 0..2 {
        let answer = client.request("GET", "/large", "");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert!(answer.body.len() == 8 * MIB && answer.body.iter().all(|byte| *byte == b'x'));
    }
}
