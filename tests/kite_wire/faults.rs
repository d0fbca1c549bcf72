//! The results of a wire that misbehaves. Wherever an order may have been taken, the result must be "outcome
//! unknown", and exactly one request must have been made.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::broker::{
    Broker, BrokerError, Instrument, OrderChange, OrderId, OrderRequest, Side,
};
use lanekeeper::brokers::Kite;

use crate::server::{Reply, Server, TOKEN, answer, json};

const EMPTY: &str = r#"{"status":"success","data":[]}"#;

fn order() -> OrderRequest {
    OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1)
}

/// Returns a server that answers every request after the one fault well, so that a second attempt would succeed and
/// show.
fn after(fault: Reply) -> Server {
    let placed = r#"{"status":"success","data":{"order_id":"1"}}"#;
    Server::new([fault, json(200, placed), json(200, placed)])
}

fn assert_unknown<T: std::fmt::Debug>(result: Result<T, BrokerError>, server: &Server) {
    let error = result.unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    assert_eq!(error.was_sent(), Sent::Unknown);
    server.only();
}

#[test]
fn a_connection_lost_after_a_write_leaves_it_unknown_and_sent_once() {
    for fault in [|| Reply::Close, || Reply::Reset] {
        let server = after(fault());
        assert_unknown(server.kite().place_order(&order()), &server);
        let server = after(fault());
        let change = OrderChange::new().quantity(2);
        assert_unknown(server.kite().modify_order(&OrderId::new("1"), &change), &server);
    }
    // A cancellation has no body that could be left unread.
    let server = after(Reply::Close);
    assert_unknown(server.kite().cancel_order(&OrderId::new("1")), &server);
}

#[test]
fn a_kept_connection_that_dies_under_a_write_is_not_tried_again() {
    for fault in [Reply::Close, Reply::Reset] {
        let server = Server::new([json(200, EMPTY), fault, json(200, EMPTY)]);
        let kite = server.kite();
        kite.orders().unwrap();
        let error = kite.place_order(&order()).unwrap_err();
        assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
        assert_eq!((server.received().len(), server.connections()), (2, 1));
    }
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_not_used() {
    let bye = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{EMPTY}", EMPTY.len());
    let placed = r#"{"status":"success","data":{"order_id":"1"}}"#;
    let server = Server::new([Reply::Raw(bye.into_bytes()), json(200, placed)]);
    let kite = server.kite();
    kite.orders().unwrap();
    server.wait_for_closed(1);
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("1")));
    assert_eq!((server.received().len(), server.connections()), (2, 2));
}

#[test]
fn a_lost_read_may_be_asked_again() {
    let server = after(Reply::Close);
    let error = server.kite().orders().unwrap_err();
    assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    server.only();
}

#[test]
fn silence_is_unknown() {
    let short = Duration::from_millis(150);
    let server = Server::new([Reply::Hang, Reply::Hang, Reply::Hang]);
    let kite = server.builder().timeout(short).build().unwrap();
    let error = kite.place_order(&order()).unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    let error = kite.cancel_order(&OrderId::new("1")).unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    let error = kite.orders().unwrap_err();
    assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    assert_eq!(server.received().len(), 3);
}

#[test]
fn a_refused_connection_is_not_sent() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kite = Kite::builder()
        .api_key("key")
        .access_token(TOKEN)
        .base_url(format!("http://{gone}"))
        .build()
        .unwrap();
    for error in [
        kite.place_order(&order()).unwrap_err(),
        kite.cancel_order(&OrderId::new("1")).unwrap_err(),
        kite.orders().unwrap_err(),
    ] {
        assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
        assert_eq!(error.was_sent(), Sent::No);
    }
}

#[test]
fn an_order_without_a_tls_handshake_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 1024];
        let read = stream.read(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 400 This is no TLS\r\n\r\n").unwrap();
        String::from_utf8_lossy(&hello[..read]).into_owned()
    });
    let kite = Kite::builder()
        .api_key("key")
        .access_token(TOKEN)
        .base_url(format!("https://{address}"))
        .build()
        .unwrap();
    let error = kite.place_order(&order()).unwrap_err();
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
    assert!(!thread.join().unwrap().contains("orders"));
}

#[test]
fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let moved = || answer(status, "text/plain", "Location: /elsewhere\r\n", "");
        let server = after(moved());
        assert_unknown(server.kite().place_order(&order()), &server);
        let server = after(moved());
        let error = server.kite().orders().unwrap_err();
        assert!(matches!(error, BrokerError::Fatal(_)), "{error}");
        server.only();
    }
}

#[test]
fn a_good_status_with_a_bad_body_leaves_an_order_unknown() {
    let cut =
        "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"status\":\"success\",\"data\":{\"order";
    let short = "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"success\",\"data\":{\"order";
    for fault in [
        Reply::Raw(cut.into()),
        Reply::Raw(short.into()),
        Reply::Raw(b"HTTP/1.1 nonsense".to_vec()),
        json(200, ""),
        json(200, r#"{"status":"success","data":{}}"#),
        json(200, r#"{"status":"success","data":null}"#),
        json(200, r#"{"status":"success","data":{"order_id":""}}"#),
        answer(200, "text/html", "", "<html>"),
        answer(200, "application/json", "Content-Encoding: gzip\r\n", "no gzip"),
    ] {
        let server = after(fault);
        assert_unknown(server.kite().place_order(&order()), &server);
    }
}

#[test]
fn a_throttle_is_one_however_its_body_ends() {
    let waiting = "Retry-After: 3\r\n";
    let words =
        r#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#;
    let cut = "HTTP/1.1 429 X\r\nRetry-After: 3\r\nContent-Length: 900\r\n\r\n{";
    for reply in [answer(429, "application/json", waiting, words), Reply::Raw(cut.into())] {
        let server = after(reply);
        let error = server.kite().place_order(&order()).unwrap_err();
        let BrokerError::Throttled { retry_after, .. } = error else { panic!("{error}") };
        assert_eq!(retry_after, Some(Duration::from_secs(3)));
        server.only();
    }
}

#[test]
fn the_edge_is_known_by_its_header() {
    let page = "<html><head><title>Just a moment...</title></head><body></body></html>";
    let server = after(answer(403, "text/html", "cf-mitigated: challenge\r\n", page));
    let error = server.kite().place_order(&order()).unwrap_err();
    assert!(matches!(&error, BrokerError::Fatal(_)), "{error}");
    assert!(error.to_string().contains("Just a moment..."), "{error}");
}

#[test]
fn an_order_that_may_be_in_is_never_called_refused() {
    let named = r#"{"status":"success","data":{"order_id":"1"}"#;
    let cut = format!("HTTP/1.1 200 OK\r\n\r\n{named},\"message\":\"too many requests");
    let limit = r#"{"status":"error","message":"upstream: too many requests","error_type":"NetworkException"}"#;
    for fault in [
        Reply::Raw(cut.into_bytes()),
        json(200, &format!(r#"{named},"error_type":"InputException"}}"#)),
        json(500, limit),
        json(504, limit),
        answer(500, "text/plain", "", "Too many requests"),
    ] {
        let server = after(fault);
        assert_unknown(server.kite().place_order(&order()), &server);
    }
}
