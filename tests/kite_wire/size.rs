//! A response above its bound is refused, however it is sent. The request may have been executed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use lanekeeper::broker::{Broker, BrokerError, Instrument, OrderId, OrderRequest, Side};

use crate::server::{Reply, Server, answer};

const PLACED: &str = r#"{"status":"success","data":{"order_id":"1"}}"#;
const EMPTY: &str = r#"{"status":"success","data":[]}"#;
const LISTING: &str = include_str!("../data/kite/instruments.csv");

fn order() -> OrderRequest {
    OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// Returns `body` in all the ways in which HTTP can send it.
fn ways(body: &str) -> [Reply; 4] {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    let chunked: String = body
        .as_bytes()
        .chunks(7)
        .map(|part| format!("{:x}\r\n{}\r\n", part.len(), text(part)))
        .collect();
    [
        answer(200, "text/plain", "", body),
        Reply::Raw(format!("{head}\r\n{body}").into_bytes()),
        Reply::Raw(
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n").into_bytes(),
        ),
        answer(200, "text/plain", "Content-Encoding: gzip\r\n", gzip(body)),
    ]
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn assert_too_long<T: std::fmt::Debug>(
    result: Result<T, BrokerError>,
    limit: usize,
) -> BrokerError {
    let error = result.unwrap_err();
    let words = format!("the answer is longer than {limit} bytes");
    assert!(error.to_string().contains(&words), "{error}");
    error
}

#[test]
fn an_answer_is_read_up_to_its_bound() {
    let limit = PLACED.len();
    let bounded = |reply, limit: usize| {
        let server = Server::new([reply]);
        server.builder().max_answer(limit as u64).build().unwrap().place_order(&order())
    };
    for reply in ways(PLACED) {
        assert_eq!(bounded(reply, limit), Ok(OrderId::new("1")));
    }
    for reply in ways(PLACED) {
        let error = assert_too_long(bounded(reply, limit - 1), limit - 1);
        assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    }
}

#[test]
fn a_read_of_too_much_is_not_asked_again() {
    let limit = EMPTY.len();
    for reply in ways(EMPTY) {
        let server = Server::new([reply]);
        let kite = server.builder().max_answer(limit as u64 - 1).build().unwrap();
        let error = assert_too_long(kite.orders(), limit - 1);
        assert!(matches!(error, BrokerError::Malformed(_)), "{error}");
    }
}

#[test]
fn a_listing_has_a_bound_of_its_own() {
    let limit = LISTING.len();
    for reply in ways(LISTING) {
        let server = Server::new([reply]);
        let builder = server.builder().max_answer(0).max_listing(limit as u64);
        assert_eq!(builder.build().unwrap().instruments(None).unwrap().len(), 3);
    }
    for reply in ways(LISTING) {
        let server = Server::new([reply]);
        let kite = server.builder().max_listing(limit as u64 - 1).build().unwrap();
        let error = assert_too_long(kite.instruments(None), limit - 1);
        assert!(matches!(error, BrokerError::Malformed(_)), "{error}");
    }
}

#[test]
fn a_small_gzip_does_not_fill_the_memory() {
    const UNPACKED: usize = 20 << 20;
    let bomb = gzip(&" ".repeat(UNPACKED));
    assert!(bomb.len() < UNPACKED / 500);
    let server = Server::new([answer(200, "application/json", "Content-Encoding: gzip\r\n", bomb)]);
    // By default 16 MiB.
    let error = assert_too_long(server.kite().place_order(&order()), 16 << 20);
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
}

/// Reading the response to its end would never return.
#[test]
fn an_answer_without_an_end_is_refused() {
    let chunks = Reply::Endless {
        head: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        more: "5\r\n[[[[[\r\n",
    };
    let bytes = Reply::Endless { head: "HTTP/1.1 200 OK\r\n\r\n", more: "[" };
    let lies = Reply::Endless {
        head: "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
        more: "[",
    };
    for endless in [chunks, bytes, lies] {
        let server = Server::new([endless]);
        let kite = server.builder().max_answer(100_000).build().unwrap();
        let error = assert_too_long(kite.place_order(&order()), 100_000);
        assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    }
}

#[test]
fn a_head_without_an_end_is_refused_too() {
    let server = Server::new([Reply::Endless { head: "HTTP/1.1 200 OK\r\n", more: "X-Y: z\r\n" }]);
    let error = server.kite().place_order(&order()).unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
}

#[test]
fn a_throttle_of_any_length_is_one() {
    let server = Server::new([answer(429, "text/plain", "Retry-After: 2\r\n", "x".repeat(1000))]);
    let kite = server.builder().max_answer(10).build().unwrap();
    let error = kite.place_order(&order()).unwrap_err();
    assert!(matches!(error, BrokerError::Throttled { retry_after: Some(_), .. }), "{error}");
}
