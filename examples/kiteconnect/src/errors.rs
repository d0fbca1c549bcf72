//! What an error of the client means for the lanes: the one place that turns `kiteconnect::Error` into classes.
//!
//! The default is the safe class: a read failed on the way, and the outcome of a write is unknown. A write is given
//! another class only for a reason to believe that it was not executed, because the lanes send some of those again.
//! What a later version of the client adds gets the default too.

use kiteconnect::Error;
use kiteconnect::error::{ApiError, ErrorKind};
use lanekeeper::Effect;
use lanekeeper::broker::{BrokerError, ErrorDetail};
use serde_json::Value;

/// Returns the class of an error.
pub fn broker_error(effect: Effect, error: &Error) -> BrokerError {
    let status = match error {
        Error::Api(ApiError { status, .. })
        | Error::Blocked { status, .. }
        | Error::Http { status, .. } => Some(*status),
        Error::Decode { .. } => Some(200),
        _ => None,
    };
    let mut detail = ErrorDetail::new(text(error));
    detail.status = status;
    match (error, status) {
        // The client refused the arguments before it sent anything.
        (Error::InvalidInput(_) | Error::InvalidUrl(_) | Error::NoAccessToken, _) => {
            BrokerError::NotSent(detail.local())
        }
        // A limiter knows no order.
        (Error::Api(answer), Some(429)) if effect == Effect::Write && names_an_order(answer) => {
            unknown(effect, detail.throttled(None))
        }
        // A limiter refuses before the broker executes. The client drops the header `Retry-After`, which Kite does not
        // send.
        (_, Some(429)) => BrokerError::Throttled { retry_after: None, detail },
        (Error::Api(answer), _) => of_kite(effect, answer, detail.code(answer.kind.as_str())),
        // The edge refused it, so Kite did not see it. A person has to fix that.
        (Error::Blocked { status: 400..500, .. }, _) => BrokerError::Fatal(detail),
        // The next answer would look the same, so a read is not repeated.
        (Error::Decode { .. }, _) if effect == Effect::Read => BrokerError::Malformed(detail),
        // `Error::Transport`: even of a connection that was refused, because the client follows redirects, and the
        // refused one may be the second. `writes.rs` knows better.
        _ => unknown(effect, detail),
    }
}

/// Returns whether an answer names an order, which may have been made.
fn names_an_order(answer: &ApiError) -> bool {
    let id = answer.data.as_ref().and_then(|data| data.get("order_id"));
    id.is_some_and(|id| *id != Value::Null)
}

/// Returns the class of an error that the broker itself worded. `kind` alone decides nothing: `NetworkException` is a
/// throttle, an order system that does not answer, and a permanent refusal.
fn of_kite(effect: Effect, answer: &ApiError, detail: ErrorDetail) -> BrokerError {
    let words = answer.message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    let too_fast = says(&["too many requests"]);
    let may_be_executed = effect == Effect::Write && names_an_order(answer);

    // "Order request timed out. Please check the order book and confirm before placing again" has the status 400, and
    // its order may appear seconds later. 408, 425 and 499 are those of gateways, and a 5xx may be anything.
    let refused =
        matches!(answer.status, 200..=299 | 400..=499) && !matches!(answer.status, 408 | 425 | 499);
    if !refused || may_be_executed || says(&["timed out", "timeout", "check the order book"]) {
        return unknown(effect, if too_fast { detail.throttled(None) } else { detail });
    }
    if says(&["maximum allowed order modifications exceeded"]) {
        return BrokerError::Rejected(detail);
    }
    if too_fast {
        // Under a success status the two contradict each other. For a write that proves nothing, but the lane slows
        // down.
        return match (effect, answer.status) {
            (Effect::Write, 200..=299) => unknown(effect, detail.throttled(None)),
            _ => BrokerError::Throttled { retry_after: None, detail },
        };
    }
    match &answer.kind {
        ErrorKind::Token => BrokerError::Unauthorized(detail),
        // Checks before the order is made.
        ErrorKind::Input | ErrorKind::Order | ErrorKind::User | ErrorKind::Permission => {
            BrokerError::Rejected(detail)
        }
        ErrorKind::Other(kind) if kind == "MarginException" || kind == "HoldingException" => {
            BrokerError::Rejected(detail)
        }
        _ => unknown(effect, detail),
    }
}

/// Returns the error of a call whose outcome no answer shows.
fn unknown(effect: Effect, detail: ErrorDetail) -> BrokerError {
    match effect {
        Effect::Read => BrokerError::Transient(detail),
        Effect::Write => BrokerError::OutcomeUnknown(detail),
    }
}

/// Returns the error with its causes, because the client says "request failed" and no more. Its errors have no URL,
/// and so no secret; its own filter is applied all the same.
pub(crate) fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    kiteconnect::error::sanitize_error(&text)
}

/// Returns the error of a call that the adapter refuses before anything is sent.
pub(crate) fn not_sent(why: impl Into<String>) -> BrokerError {
    BrokerError::NotSent(ErrorDetail::new(why).local())
}

/// Returns the error of a read whose answer has another shape.
pub(crate) fn malformed(why: impl Into<String>) -> BrokerError {
    BrokerError::Malformed(ErrorDetail::new(why).status(200))
}

/// Returns the error of a write whose answer does not confirm it.
pub(crate) fn unconfirmed(why: impl Into<String>) -> BrokerError {
    BrokerError::OutcomeUnknown(ErrorDetail::new(why).status(200))
}
