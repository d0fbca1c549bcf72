//! What the adapter makes of errors: which calls may be sent again, and which must not.

use lanekeeper::brokers::alpaca::DUPLICATE_CLIENT_ORDER_ID;
use lanekeeper::{Broker, BrokerError, OrderStatus, Sent};
use std::time::Duration;

use super::exchange::{Exchange, Fate};
use super::requests::order;
use super::server::{Reply, Server, json, page, with_headers};

/// Places an order at a server that replies so, and returns the class of its error.
fn placed(reply: Reply) -> &'static str {
    let server = Server::script([reply]);
    let error = server.alpaca().place_order(&order()).unwrap_err();
    assert_eq!(server.received().len(), 1, "a write is sent once: {error}");
    error.class().as_str()
}

#[test]
fn a_write_without_a_clear_refusal_has_an_unknown_outcome() {
    for (name, reply) in [
        ("504", json(504, "")),
        ("504 page", page(504, "Gateway Time-out")),
        ("500", json(500, r#"{"code":50010000,"message":"internal server error"}"#)),
        ("cut", Reply::Close),
        ("cut head", Reply::Raw("HTTP/1.1 200 OK\r\n".to_owned())),
        (
            "cut body",
            Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"id\":".to_owned()),
        ),
        ("not JSON", json(200, "ok")),
        ("a list", json(200, "[]")),
        ("an error under a good status", json(200, r#"{"code":42210000,"message":"no"}"#)),
        ("no id", json(200, r#"{"client_order_id":"t1"}"#)),
        ("an id that is a path", json(200, r#"{"client_order_id":"t1","id":"../x"}"#)),
        ("422 page", page(422, "Unprocessable")),
        ("redirect", with_headers(307, &[("Location", "/v2/orders")], "")),
    ] {
        assert_eq!(placed(reply), "unknown", "{name}");
    }
}

#[test]
fn a_clear_refusal_is_one() {
    for (reply, class) in [
        (json(403, r#"{"code":40310000,"message":"insufficient buying power"}"#), "rejected"),
        (json(422, r#"{"code":42210000,"message":"invalid limit_price"}"#), "rejected"),
        (json(404, r#"{"code":40410000,"message":"asset not found"}"#), "rejected"),
        (json(401, r#"{"message":"unauthorized."}"#), "unauthorized"),
        (json(403, r#"{"message":"forbidden."}"#), "unauthorized"),
        (page(403, "Forbidden"), "fatal"),
        (json(429, r#"{"code":42910000,"message":"rate limit exceeded"}"#), "throttled"),
        (page(429, "Too Many Requests"), "throttled"),
    ] {
        assert_eq!(placed(reply), class);
    }
}

#[test]
fn a_throttled_call_waits_for_the_reset_of_the_counter() {
    let headers = [
        ("Date", "Mon, 02 Mar 2026 15:00:10 GMT"),
        ("X-Ratelimit-Limit", "200"),
        ("X-Ratelimit-Remaining", "0"),
        ("X-Ratelimit-Reset", "1772463640"),
    ];
    let server = Server::script([with_headers(429, &headers, "")]);
    let error = server.alpaca().positions().unwrap_err();
    let BrokerError::Throttled { retry_after, .. } = error else { panic!("{error}") };
    assert_eq!(retry_after, Some(Duration::from_secs(30)));
}

#[test]
fn a_read_that_is_lost_may_be_retried_and_one_that_cannot_be_read_may_not() {
    for (reply, class) in [
        (json(504, ""), "transient"),
        (Reply::Close, "transient"),
        (Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]".to_owned()), "transient"),
        (page(502, "Bad Gateway"), "transient"),
        (json(200, "{}"), "malformed"),
        (page(200, "Welcome"), "malformed"),
        (json(422, r#"{"code":40010001,"message":"odd"}"#), "rejected"),
    ] {
        let server = Server::script([reply]);
        assert_eq!(server.alpaca().positions().unwrap_err().class().as_str(), class);
    }
}

#[test]
fn a_hanging_answer_ends_with_the_timeout() {
    let server = Server::script([Reply::Hang]);
    // Long enough for the request to leave on a busy machine.
    let alpaca = server.builder().timeout(Duration::from_millis(500)).build().unwrap();
    let error = alpaca.place_order(&order()).unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
}

#[test]
fn an_answer_that_is_too_long_is_cut() {
    let long = || json(200, &format!("[{}]", " ".repeat(100)));
    let server = Server::script([long(), long()]);
    let alpaca = server.builder().max_answer(50).build().unwrap();
    let order = alpaca.place_order(&order()).unwrap_err();
    assert!(matches!(order, BrokerError::OutcomeUnknown(_)), "{order}");
    assert!(matches!(alpaca.positions(), Err(BrokerError::Malformed(_))));
}

/// A second answer to one request, on a connection that stays open.
#[test]
fn an_answer_without_a_request_is_not_taken_for_the_next_one() {
    let more = "HTTP/1.1 200 X\r\nContent-Length: 22\r\n\r\n[{\"symbol\":\"WRONG\"}  ]";
    let server =
        Server::script([Reply::Followed("[]".to_owned(), more.to_owned()), json(200, "[]")]);
    let alpaca = server.alpaca();
    for _ in 0..2 {
        let positions = alpaca.positions().unwrap();
        assert!(positions.net.is_empty() && positions.is_complete(), "{positions:?}");
    }
}

#[test]
fn without_a_connection_nothing_was_sent() {
    // Its port was free a moment ago, and nothing listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::ok(&[]);
    let alpaca = server.builder().trading_url(format!("http://{closed}")).build().unwrap();
    let error = alpaca.place_order(&order()).unwrap_err();
    assert_eq!(error.was_sent(), Sent::No, "{error}");
    assert!(!error.failure().is_local(), "a connection was tried");
}

#[test]
fn a_second_order_with_the_same_tag_is_refused_with_a_code_of_its_own() {
    let exchange = Exchange::default();
    let server = exchange.server();
    let alpaca = server.alpaca();
    alpaca.place_order(&order()).unwrap();
    let error = alpaca.place_order(&order()).unwrap_err();
    assert!(matches!(error, BrokerError::Rejected(_)), "{error}");
    assert_eq!(error.detail().unwrap().code.as_deref(), Some(DUPLICATE_CLIENT_ORDER_ID));
    assert_eq!(exchange.state().orders.len(), 1);
}

/// The 504 of which the measurements of other clients speak: they sent four identical orders.
#[test]
fn an_order_that_was_taken_before_a_504_is_placed_once() {
    for fate in [Fate::TakenThen504, Fate::TakenThenCut] {
        let exchange = Exchange::default();
        let server = exchange.server();
        let alpaca = server.alpaca();
        exchange.fates([fate]);
        let error = alpaca.place_order(&order()).unwrap_err();
        assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
        assert_eq!(exchange.state().orders.len(), 1);
        assert_eq!(exchange.state().placements, 1);
        // It is in the book, under its tag.
        assert_eq!(alpaca.order_by_tag("t1").unwrap().status, OrderStatus::Open);
        assert_eq!(alpaca.orders().unwrap()[0].tag.as_deref(), Some("t1"));
    }
}

#[test]
fn new_keys_are_used_from_the_next_request_on() {
    let server = Server::script([json(401, r#"{"message":"unauthorized."}"#), json(200, "[]")]);
    let alpaca = server.alpaca();
    assert!(matches!(alpaca.positions(), Err(BrokerError::Unauthorized(_))));
    alpaca.set_keys("PKNEWKEY01234567", "another-secret").unwrap();
    assert!(alpaca.set_keys("", "x").is_err());
    alpaca.positions().unwrap();
    assert_eq!(server.received()[1].header("apca-api-key-id"), Some("PKNEWKEY01234567"));
}
