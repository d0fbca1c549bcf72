//! An answer that another HTTP client received means what it means to the adapter.

use std::time::Duration;

use lanekeeper::broker::{Broker, Instrument, OrderChange, OrderId, OrderRequest, Side};
use lanekeeper::brokers::kite::wire::{
    WireAnswer, check_answer, read_order_answer, read_placement_answer,
};
use lanekeeper::brokers::kite::{KiteRaw, RawRequest};
use lanekeeper::{Effect, ErrorClass};

use crate::server::{Server, TOKEN, answer};

/// One answer for each thing that counts: a status, a header, a body.
const ANSWERS: [(u16, &str, &str); 23] = [
    (200, "", r#"{"status":"success","data":{"order_id":"1"}}"#),
    (200, "", r#"{"status":"success","data":{"order_id":"2"}}"#),
    (200, "", r#"{"status":"success","data":{"order_id":"1","children":[{"order_id":"2"}]}}"#),
    (
        200,
        "",
        r#"{"status":"success","data":{"order_id":"1","children":[{"error":{"code":400}}]}}"#,
    ),
    (200, "", r#"{"status":"success","data":{"order_id":"1","children":[{"order_id":"1"}]}}"#),
    (200, "", r#"{"status":"success","data":{"order_id":"s3cr3tT0ken"}}"#),
    (200, "", r#"{"status":"success","data":null}"#),
    (200, "", r#"{"status":"error","message":"No funds","error_type":"MarginException"}"#),
    (
        200,
        "",
        r#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#,
    ),
    (200, "", "a,b\n1,2\n"),
    (200, "", ""),
    (200, "", "<html><title>Log in</title></html>"),
    (302, "Location: /login\r\n", ""),
    (400, "", r#"{"status":"error","message":"Invalid `x`","error_type":"InputException"}"#),
    (400, "cf-mitigated: challenge\r\n", "<title>Just a moment...</title>"),
    (400, "", "<title>Just a moment...</title>"),
    (403, "", r#"{"status":"error","message":"Dead","error_type":"TokenException"}"#),
    (403, "", "the request had Authorization: token key:s3cr3tT0ken"),
    (429, "Retry-After: 3\r\n", "too fast"),
    (
        429,
        "Date: Wed, 21 Oct 2015 07:27:50 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
        "",
    ),
    (500, "", r#"{"status":"error","message":"Oops","error_type":"GeneralException"}"#),
    (
        503,
        "",
        r#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#,
    ),
    (504, "", "<title>Gateway timeout</title>"),
];

#[test]
fn a_forwarded_answer_means_what_it_means_to_the_adapter() {
    let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10);
    let id = OrderId::new("1");
    let change = OrderChange::new().quantity(2);
    for (status, headers, body) in ANSWERS {
        let reply = || answer(status, "text/plain", headers, body);
        let server = Server::new([reply(), reply(), reply(), reply(), reply()]);
        // Each with a client of its own, for which no id is known.
        let kite = || server.kite();
        let mut forwarded = WireAnswer::new(status, body).secret(TOKEN);
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            forwarded = forwarded.header(name, value);
        }
        let about = format!("{status} {headers}{body}");

        let read = read_placement_answer(&forwarded, &order);
        assert_eq!(read, kite().place_sliced(&order), "{about}");
        let read = read_order_answer(&forwarded, &id);
        assert_eq!(read, kite().modify_order(&id, &change), "{about}");
        let read = read_order_answer(&forwarded, &id).map(drop);
        assert_eq!(read, kite().cancel_order(&id), "{about}");
        for (effect, request) in [
            (Effect::Read, RawRequest::get("/of_next_year")),
            (Effect::Write, RawRequest::post("/of_next_year")),
        ] {
            let raw = kite().request(&request).map(drop);
            assert_eq!(check_answer(&forwarded, effect), raw, "{about}");
        }
        assert_eq!(server.received().len(), 5, "{about}");
    }
}

/// A date without the server's `Date` is compared with the clock of this machine.
#[test]
fn an_answer_was_received_when_it_was_made() {
    let past = "Wed, 21 Oct 2015 07:28:00 GMT";
    let forwarded = WireAnswer::new(429, "").header("Retry-After", past);
    let error = check_answer(&forwarded, Effect::Write).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Throttled { retry_after: Some(Duration::ZERO) });
}
