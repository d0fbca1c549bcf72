//! What each failure of a call is for the lanes.

use std::time::Duration;

use kiteconnect::Error;
use kiteconnect::error::{ApiError, ErrorKind};
use kiteconnect_adapter::broker_error;
use lanekeeper::Effect;
use lanekeeper::broker::AsyncBroker;
use lanekeeper_simulator::{Fault, RetryAfter, Target, Timing};
use serde_json::{Value, json};

use crate::{buy, first, official, unlimited};

/// Returns the class of an error as a word.
fn class(effect: Effect, error: &Error) -> &'static str {
    broker_error(effect, error).failure().as_str()
}

#[tokio::test]
async fn a_fault_of_a_write_is_unknown_unless_it_surely_was_not_executed() {
    use Timing::{After, Before};
    let timed_out = Fault::TimedOut(Duration::from_millis(1));
    for (fault, expected) in [
        (Fault::Reset(Before), "unknown"),
        (Fault::Reset(After), "unknown"),
        (Fault::Hang(After), "unknown"),
        (Fault::Gateway { status: 502, when: After }, "unknown"),
        (Fault::Page { status: 503, when: After }, "unknown"),
        (Fault::Page { status: 503, when: Before }, "unknown"),
        (Fault::Page { status: 403, when: Before }, "fatal"),
        (Fault::Truncated, "unknown"),
        (Fault::Malformed, "unknown"),
        (timed_out, "unknown"),
        (Fault::ErrorUnder200, "unknown"),
        (Fault::Throttled(RetryAfter::Unsaid), "throttled"),
    ] {
        let exchange = unlimited();
        exchange.set_faults(&first(Target::Place, fault)).unwrap();
        let error = official(&exchange.base_url()).place_order(&buy("a")).await.unwrap_err();
        assert_eq!(error.failure().as_str(), expected, "{fault}: {error}");
        assert_eq!(exchange.arrivals().len(), 1, "{fault}: the client sends a write once");
    }
}

#[tokio::test]
async fn a_fault_of_a_read_is_transient_or_malformed() {
    for (fault, expected) in [
        (Fault::Reset(Timing::Before), "transient"),
        (Fault::Hang(Timing::Before), "transient"),
        (Fault::Gateway { status: 502, when: Timing::Before }, "transient"),
        (Fault::Truncated, "transient"),
        (Fault::Malformed, "malformed"),
        (Fault::Throttled(RetryAfter::Unsaid), "throttled"),
    ] {
        let exchange = unlimited();
        exchange.set_faults(&first(Target::Orders, fault)).unwrap();
        let error = official(&exchange.base_url()).orders().await.unwrap_err();
        assert_eq!(error.failure().as_str(), expected, "{fault}: {error}");
        assert_eq!(exchange.arrivals().len(), 1, "{fault}: the client sends a read once");
    }
}

#[test]
fn the_words_and_the_status_of_kite_decide_together() {
    const TIMED_OUT: &str =
        "Order request timed out. Please check the order book and confirm before placing again";
    const MODIFIED: &str = "Maximum allowed order modifications exceeded.";
    for (status, kind, message, write, read) in [
        (429, ErrorKind::Network, "Too many requests", "throttled", "throttled"),
        (429, ErrorKind::Other("x".into()), "", "throttled", "throttled"),
        (400, ErrorKind::Network, "Too many requests", "throttled", "throttled"),
        (200, ErrorKind::Network, "Too many requests", "unknown", "throttled"),
        (503, ErrorKind::Network, "Too many requests", "unknown", "transient"),
        (400, ErrorKind::Network, MODIFIED, "rejected", "rejected"),
        (400, ErrorKind::Network, "No route", "unknown", "transient"),
        (400, ErrorKind::Order, TIMED_OUT, "unknown", "transient"),
        (400, ErrorKind::Order, "Rejected", "rejected", "rejected"),
        (400, ErrorKind::Input, "Invalid quantity", "rejected", "rejected"),
        (403, ErrorKind::Token, "Expired", "unauthorized", "unauthorized"),
        (400, ErrorKind::Other("MarginException".into()), "No funds", "rejected", "rejected"),
        (400, ErrorKind::Data, "Could not read", "unknown", "transient"),
        (400, ErrorKind::Other("NewException".into()), "New", "unknown", "transient"),
        (502, ErrorKind::Input, "Invalid quantity", "unknown", "transient"),
        (408, ErrorKind::Input, "Invalid quantity", "unknown", "transient"),
    ] {
        let error = Error::Api(ApiError::new(kind, message, status, None));
        let (as_write, as_read) = (class(Effect::Write, &error), class(Effect::Read, &error));
        assert_eq!((as_write, as_read), (write, read), "{error}");
    }
}

#[test]
fn a_refusal_that_names_an_order_proves_nothing() {
    let refusal = |data: Value| ApiError::new(ErrorKind::Input, "Invalid", 400, Some(data)).into();
    assert_eq!(class(Effect::Write, &refusal(json!({"order_id": "151"}))), "unknown");
    assert_eq!(class(Effect::Write, &refusal(json!({"order_id": null}))), "rejected");
    assert_eq!(class(Effect::Write, &refusal(json!({"hints": ["cdsl"]}))), "rejected");
}

#[test]
fn what_the_client_refuses_itself_is_local() {
    let error = Error::InvalidInput("request path must not contain dot segments");
    assert_eq!(class(Effect::Write, &error), "local");
    assert_eq!(class(Effect::Write, &Error::NoAccessToken), "local");
}
