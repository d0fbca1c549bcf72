//! Carries out a fault: whether the request is executed, and what its sender receives.

use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::fault::{Fault, RetryAfter, Timing};
use crate::dispatch::{AdmittedRequest, Reply};
use crate::http::body::{ConnectionFault, FaultyBody};
use crate::http::response::{ApiError, plain_response, to_response};

/// Injects `fault` into `request`. Must be called inside of the server's runtime.
pub(crate) fn inject(fault: Fault, request: AdmittedRequest) -> Reply {
    let mut reply = Reply { delay: Duration::ZERO, response: Err(ConnectionFault::Reset) };
    reply.response = match fault {
        Fault::Reset(when) => {
            execute_if_after(when, request);
            Err(ConnectionFault::Reset)
        }
        Fault::Hang(when) => {
            execute_if_after(when, request);
            Err(ConnectionFault::Silent)
        }
        Fault::Slow(time) => {
            reply.delay = time;
            Ok(request.execute())
        }
        Fault::Throttled(wait) => Ok(throttled_response(wait)),
        Fault::Gateway { status, when } => {
            execute_if_after(when, request);
            Ok(gateway_response(status_code(status)))
        }
        Fault::Page { status, when } => {
            execute_if_after(when, request);
            Ok(page_response(status_code(status), when))
        }
        Fault::TimedOut(time) => {
            // Detached: the response does not wait for the order.
            drop(tokio::spawn(async move {
                tokio::time::sleep(time).await;
                request.execute();
            }));
            Ok(to_response(Err(ApiError::order_timed_out())))
        }
        Fault::ErrorUnder200 => {
            Ok(error_response(StatusCode::OK, "GeneralException", "Something went wrong"))
        }
        // The fault applies to one slice. A request without slices is executed normally.
        Fault::SliceRefused(_) | Fault::SliceLost(_) => Ok(request.execute_with(Some(fault))),
        Fault::Truncated => Ok(truncated_response(request.execute())),
        Fault::Malformed => Ok(malformed_response(request.execute())),
    };
    reply
}

fn execute_if_after(when: Timing, request: AdmittedRequest) {
    if when == Timing::After {
        request.execute();
    }
}

fn error_response(
    status: StatusCode,
    error_type: &'static str,
    message: &str,
) -> Response<FaultyBody> {
    to_response(Err(ApiError::new(status, error_type, message)))
}

/// Converts a status that was checked when the faults were set.
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

/// Returns the first half of the body as if it were the complete body.
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
