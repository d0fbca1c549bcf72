//! Writes the answers of the interface, and reads its requests.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::secure;
use crate::body::ReplyBody;
use crate::door::ClientRequest;
use crate::refusal::Refusal;

/// Returns an answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<ReplyBody> {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(status, "application/json", body.into()),
        Err(error) => {
            let message = format!("the answer cannot be written: {error}");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message).to_response()
        }
    }
}

/// Returns an answer that is in JSON already.
pub(super) fn bytes(body: Bytes) -> Response<ReplyBody> {
    with_type(StatusCode::OK, "application/json", body)
}

/// Returns an answer in plain text.
pub(super) fn text(status: StatusCode, text: &str) -> Response<ReplyBody> {
    with_type(status, "text/plain; charset=utf-8", Bytes::from(text.to_owned()))
}

/// Returns an answer of any type.
pub(super) fn with_type(
    status: StatusCode,
    kind: &'static str,
    body: Bytes,
) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    secure(headers);
    response
}

/// Sends a browser to another path of the gateway.
pub(super) fn redirect(to: &'static str) -> Response<ReplyBody> {
    let mut response = text(StatusCode::PERMANENT_REDIRECT, "");
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(to));
    response
}

/// Reads the body of a request.
pub(super) fn read<T: DeserializeOwned>(request: &ClientRequest) -> Result<T, Refusal> {
    // The message of the decoder may quote the body, which may have a token.
    serde_json::from_slice(&request.body).map_err(|error| {
        let message =
            format!("the body cannot be read, at line {} column {}", error.line(), error.column());
        Refusal::bad_request(message)
    })
}
