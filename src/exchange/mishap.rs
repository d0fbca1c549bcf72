//! What comes of a request that meets a fault: whether it is done, and what its sender hears.

use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::answer::{ApiError, plain, respond};
use super::fault::{Fault, RetryAfter, Timing};
use super::payload::{Broken, Payload};
use super::request::{Answered, Asked};

const TIMED_OUT: &str =
    "Order request timed out. Please check the order book and confirm before placing again.";

/// What Kite says of an order that may land later.
pub(super) fn timed_out() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "OrderException", TIMED_OUT)
}

/// Lets `fault` happen to `asked`. Must be called inside of the server's runtime.
pub(super) fn happen(fault: Fault, asked: Asked) -> Answered {
    let mut answered = Answered { late: Duration::ZERO, with: Err(Broken::Reset) };
    answered.with = match fault {
        Fault::Reset(when) => {
            done_if_after(when, asked);
            Err(Broken::Reset)
        }
        Fault::Hang(when) => {
            done_if_after(when, asked);
            Err(Broken::Silent)
        }
        Fault::Slow(time) => {
            answered.late = time;
            Ok(asked.done())
        }
        Fault::Throttled(wait) => Ok(throttled(wait)),
        Fault::Gateway { status, when } => {
            done_if_after(when, asked);
            Ok(gateway(code(status)))
        }
        Fault::Page { status, when } => {
            done_if_after(when, asked);
            Ok(page(code(status), when))
        }
        Fault::TimedOut(time) => {
            // Not awaited by anybody: the answer does not wait for the order.
            drop(tokio::spawn(async move {
                tokio::time::sleep(time).await;
                asked.done();
            }));
            Ok(respond(Err(timed_out())))
        }
        Fault::ErrorUnder200 => {
            Ok(error(StatusCode::OK, "GeneralException", "Something went wrong"))
        }
        // It concerns one slice, and nothing that has none.
        Fault::SliceRefused(_) | Fault::SliceLost(_) => Ok(asked.done_with(Some(fault))),
        Fault::Truncated => Ok(truncated(asked.done())),
        Fault::Malformed => Ok(malformed(asked.done())),
    };
    answered
}

fn done_if_after(when: Timing, asked: Asked) {
    if when == Timing::After {
        asked.done();
    }
}

fn error(status: StatusCode, error_type: &'static str, message: &str) -> Response<Payload> {
    respond(Err(ApiError::new(status, error_type, message)))
}

/// Checked when the faults were set.
fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn throttled(wait: RetryAfter) -> Response<Payload> {
    let mut response = respond(Err(ApiError::too_many_requests()));
    let text = match wait {
        RetryAfter::Unsaid => None,
        RetryAfter::Seconds(time) => Some(time.as_secs_f64().to_string()),
        RetryAfter::Date(time) => Timestamp::try_from(SystemTime::now() + time)
            .and_then(|at| DateTimePrinter::new().timestamp_to_rfc9110_string(&at))
            .ok(),
    };
    if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

fn gateway(status: StatusCode) -> Response<Payload> {
    let message = match status {
        StatusCode::BAD_GATEWAY => "Bad answer from the order system.",
        StatusCode::SERVICE_UNAVAILABLE => "Gateway to the order system is down.",
        StatusCode::GATEWAY_TIMEOUT => "The order system did not answer in time.",
        _ => "Something went wrong.",
    };
    error(status, "NetworkException", message)
}

fn page(status: StatusCode, when: Timing) -> Response<Payload> {
    let title = match (when, status.is_server_error()) {
        (Timing::Before, false) => "Just a moment...",
        _ => status.canonical_reason().unwrap_or("Error"),
    };
    let text = format!(
        "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1>\
         <script>setTimeout(() => location.reload(), 5000)</script></body></html>\n"
    );
    let mut response = plain(status, "text/html; charset=UTF-8", text);
    if when == Timing::Before {
        response.headers_mut().insert("cf-mitigated", HeaderValue::from_static("challenge"));
    }
    response
}

fn truncated(response: Response<Payload>) -> Response<Payload> {
    let length = response.body().bytes().len();
    let half = half(&response);
    let mut response = response.map(|_| Payload::cut(half));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// A part of the answer that says to be all of it.
fn malformed(response: Response<Payload>) -> Response<Payload> {
    let half = half(&response);
    let kind = response.headers().get(CONTENT_TYPE).cloned();
    let mut response = Response::new(Payload::whole(half));
    response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
    response
}

fn half(response: &Response<Payload>) -> Bytes {
    let bytes = response.body().bytes();
    bytes.slice(..bytes.len() / 2)
}
