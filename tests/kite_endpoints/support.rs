//! What the tests of all endpoints share.

use std::fmt::Debug;

use lanekeeper::broker::Instrument;
use lanekeeper::rust_decimal::Decimal;
use lanekeeper::{BrokerError, Kite};

use crate::server::{ReceivedRequest, Server, json};

pub(crate) fn infy() -> Instrument {
    Instrument::new("NSE", "INFY")
}

/// A symbol that has to be encoded.
pub(crate) fn odd() -> Instrument {
    Instrument::new("NSE", "M&M")
}

pub(crate) fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(crate) fn success(data: &str) -> String {
    format!(r#"{{"status":"success","data":{data}}}"#)
}

/// Makes one call against an answer with `data`, and returns the request and the result.
pub(crate) fn call<T>(data: &str, call: impl FnOnce(&Kite) -> T) -> (ReceivedRequest, T) {
    let server = Server::ok(&[&success(data)]);
    let result = call(&server.kite());
    (server.only(), result)
}

/// Checks that the call is refused before anything is sent, with `words` in the error.
#[track_caller]
pub(crate) fn refused<T: Debug>(words: &str, call: impl FnOnce(&Kite) -> Result<T, BrokerError>) {
    let server = Server::new([]);
    match call(&server.kite()) {
        Err(BrokerError::NotSent(detail)) if detail.local => {
            assert!(detail.message.contains(words), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.connections(), 0, "{words}");
}

/// Answers of which none tells what became of a call.
pub(crate) const UNUSABLE: [&str; 6] =
    ["", "<html>", "{", "{}", r#"{"status":"success"}"#, r#"{"status":"success","data":"soon"}"#];

/// Checks what `call` makes of an answer of status 200 with `body`.
#[track_caller]
pub(crate) fn check_answer<T: Debug>(
    body: &str,
    call: impl FnOnce(&Kite) -> Result<T, BrokerError>,
    expected: impl FnOnce(&BrokerError) -> bool,
) {
    let server = Server::new([json(200, body)]);
    match call(&server.kite()) {
        Err(error) if expected(&error) => {}
        other => panic!("{body}: {other:?}"),
    }
    assert_eq!(server.received().len(), 1, "{body}");
}

pub(crate) fn is_malformed(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Malformed(_))
}

pub(crate) fn is_unknown(error: &BrokerError) -> bool {
    matches!(error, BrokerError::OutcomeUnknown(_))
}

/// The answer was that to another call, and this one may be made again.
pub(crate) fn is_transient(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Transient(_))
}
