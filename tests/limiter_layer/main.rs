//! The limiter as a layer of tower: over HTTP with axum, on tower's contract, and with storages that wait, fail and
//! panic. Time is a clock that the tests set, and what a test waits for is a channel.
#![cfg(all(feature = "limiter", feature = "tower", not(loom)))]
#![allow(clippy::unwrap_used, unreachable_pub)]

mod keys;
mod over_http;
mod service;
mod slow_storage;
mod storage_errors;

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use axum::Router;
use http::{HeaderName, Request};
use lanekeeper::limiter::layer::Entries;
use lanekeeper::limiter::{RateLimiter, Rules, Storage};

/// Two requests a minute for each user: the second is admitted at once, and another one after 30 s.
const TWO_A_MINUTE: &str =
    "descriptors: [{ key: user, name: users, unit: minute, requests_per_unit: 2 }]";

fn limiter(rules: &str, storage: impl Storage) -> RateLimiter {
    RateLimiter::new(Rules::from_yaml(rules).unwrap(), storage)
}

/// Reads the user from a header.
fn by_user() -> Entries {
    Entries::new().header("user", HeaderName::from_static("x-user"))
}

fn of_user(user: &str) -> Request<()> {
    Request::get("/").header("x-user", user).body(()).unwrap()
}

/// Runs a future on a runtime with one thread.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A server on the loopback, until the tests end.
struct Server {
    address: SocketAddr,
}

/// A response as it was read from the connection.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Server {
    fn start(router: Router) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let service = router.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, service).await.unwrap();
            });
        });
        Self { address }
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let (status, lines) = head.split_once("\r\n").unwrap_or((head, ""));
        let headers = lines.lines().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        Answer {
            status: status.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }
}

impl Answer {
    /// Returns the values of a header, in their order.
    fn header(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}
