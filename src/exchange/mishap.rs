//! What comes of a request that meets a fault: whether it is done, and what its sender hears.

use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::answer::{ApiError, plain_response, to_response};
use super::fault::{Fault, RetryAfter, Timing};
use super::payload::{ConnectionFault, FaultyBody};
use super::request::{AdmittedRequest, Reply};

const TIMED_OUT: &str =
    "Order request timed out. Please check the order book and confirm before placing again.";

/// What Kite says of an order that may land later.
pub(super) fn timed_out_error() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "OrderException", TIMED_OUT)
}

/// Lets `fault` happen to `asked`. Must be called inside of the server's runtime.
pub(super) fn inject(fault: Fault, asked: AdmittedRequest) -> Reply {
    let mut answered = Reply { delay: Duration::ZERO, response: Err(ConnectionFault::Reset) };
    answered.response = match fault {
        Fault::Reset(when) => {
            execute_if_after(when, asked);
            Err(ConnectionFault::Reset)
        }
        Fault::Hang(when) => {
            execute_if_after(when, asked);
            Err(ConnectionFault::Silent)
        }
        Fault::Slow(time) => {
            answered.delay = time;
            Ok(asked.execute())
        }
        Fault::Throttled(wait) => Ok(throttled_response(wait)),
        Fault::Gateway { status, when } => {
            execute_if_after(when, asked);
            Ok(gateway_response(status_code(status)))
        }
        Fault::Page { status, when } => {
            execute_if_after(when, asked);
            Ok(page_response(status_code(status), when))
        }
        Fault::TimedOut(time) => {
            // Not awaited by anybody: the answer does not wait for the order.
            drop(tokio::spawn(async move {
                tokio::time::sleep(time).await;
                asked.execute();
            }));
            Ok(to_response(Err(timed_out_error())))
        }
        Fault::ErrorUnder200 => {
            Ok(error_response(StatusCode::OK, "GeneralException", "Something went wrong"))
        }
        // It concerns one slice, and nothing that has none.
        Fault::SliceRefused(_) | Fault::SliceLost(_) => Ok(asked.execute_with(Some(fault))),
        Fault::Truncated => Ok(truncated_response(asked.execute())),
        Fault::Malformed => Ok(malformed_response(asked.execute())),
    };
    answered
}

fn execute_if_after(when: Timing, asked: AdmittedRequest) {
    if when == Timing::After {
        asked.execute();
    }
}

fn error_response(
    status: StatusCode,
    error_type: &'static str,
    message: &str,
) -> Response<FaultyBody> {
    to_response(Err(ApiError::new(status, error_type, message)))
}

/// Checked when the faults were set.
fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn throttled_response(wait: RetryAfter) -> Response<FaultyBody> {
    let mut response = to_response(Err(ApiError::too_many_requests()));
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

fn gateway_response(status: StatusCode) -> Response<FaultyBody> {
    let message = match status {
        StatusCode::BAD_GATEWAY => "Bad answer from the order system.",
        StatusCode::SERVICE_UNAVAILABLE => "Gateway to the order system is down.",
        StatusCode::GATEWAY_TIMEOUT => "The order system did not answer in time.",
        _ => "Something went wrong.",
    };
    error_response(status, "NetworkException", message)
}

fn page_response(status: StatusCode, when: Timing) -> Response<FaultyBody> {
    let title = match (when, status.is_server_error()) {
        (Timing::Before, false) => "Just a moment...",
        _ => status.canonical_reason().unwrap_or("Error"),
    };
    let text = format!(
        "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1>\
         <script>setTimeout(() => location.reload(), 5000)</script></body></html>\n"
    );
    let mut response = plain_response(status, "text/html; charset=UTF-8", text);
    if when == Timing::Before {
        response.headers_mut().insert("cf-mitigated", HeaderValue::from_static("challenge"));
    }
    response
}

fn truncated_response(response: Response<FaultyBody>) -> Response<FaultyBody> {
    let length = response.body().bytes().len();
    let half = first_half(&response);
    let mut response = response.map(|_| FaultyBody::truncated(half));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// A part of the answer that says to be all of it.
fn malformed_response(response: Response<FaultyBody>) -> Response<FaultyBody> {
    let half = first_half(&response);
    let kind = response.headers().get(CONTENT_TYPE).cloned();
    let mut response = Response::new(FaultyBody::complete(half));
    response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
    response
}

fn first_half(response: &Response<FaultyBody>) -> Bytes {
    let bytes = response.body().bytes();
    bytes.slice(..bytes.len() / 2)
}
