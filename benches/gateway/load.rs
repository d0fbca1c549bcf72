//! The client's side: requests one after the other, and many connections at once.
//!
//! A client that costs much itself would hide what the programs cost, since all share the cores. So this one writes the
//! same bytes each time, and reads no more of an answer than its length.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Returns the bytes of a request for `target`.
pub(crate) fn request(target: &str) -> Vec<u8> {
    // The headers of a program that speaks Kite.
    let headers = "authorization: token key:secret\r\nx-kite-version: 3\r\naccept: */*\r\nuser-agent: bench\r\n";
    format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n").into_bytes()
}

/// Returns the length of the answer that `bytes` begin with, once its head is there.
fn answer_length(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 "),
        "{head}{}",
        String::from_utf8_lossy(&bytes[head_end..])
    );
    let (_, rest) = head.split_once("content-length: ").unwrap();
    Some(head_end + rest.split("\r\n").next().unwrap().parse::<usize>().unwrap())
}

fn is_whole(bytes: &[u8]) -> bool {
    answer_length(bytes).is_some_and(|length| bytes.len() >= length)
}

/// One connection, whose requests block.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call(&mut self, request: &[u8]) {
        let mut buffer = [0; 4096];
        let mut read = 0;
        self.0.write_all(request).unwrap();
        while !is_whole(&buffer[..read]) {
            let more = self.0.read(&mut buffer[read..]).unwrap();
            assert_ne!(more, 0, "the connection was closed");
            read += more;
        }
    }

    /// Returns how long each of `count` calls took, after a pause before each.
    pub(crate) fn times(&mut self, request: &[u8], count: usize, pause: Duration) -> Vec<Duration> {
        let once = |_| {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let began = Instant::now();
            self.call(request);
            began.elapsed()
        };
        (0..count).map(once).collect()
    }
}

/// Returns how many calls a second are answered over `connections`, each of which sends its next request when it has
/// its answer.
pub(crate) fn calls_a_second(
    address: SocketAddr,
    request: &'static [u8],
    connections: usize,
    time: Duration,
) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let until = Instant::now() + time;
        let began = Instant::now();
        let tasks: Vec<_> =
            (0..connections).map(|_| tokio::spawn(call_until(address, request, until))).collect();
        let mut calls = 0;
        for task in tasks {
            calls += task.await.unwrap();
        }
        calls as f64 / began.elapsed().as_secs_f64()
    })
}

async fn call_until(address: SocketAddr, request: &[u8], until: Instant) -> usize {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    let mut calls = 0;
    while Instant::now() < until {
        let mut read = 0;
        stream.write_all(request).await.unwrap();
        while !is_whole(&buffer[..read]) {
            let more = stream.read(&mut buffer[read..]).await.unwrap();
            assert_ne!(more, 0, "the connection was closed");
            read += more;
        }
        calls += 1;
    }
    calls
}
