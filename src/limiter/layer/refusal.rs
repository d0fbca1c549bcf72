//! What a client is told whose request is refused.

use std::fmt;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::extract::Rejection;
use crate::limiter::verdict::Verdict;

/// Why a request does not reach the service. Its text is for the client, and names no rule and no storage.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Refusal {
    /// A limit refuses it: 429.
    Limited(Verdict),
    /// The storage gave no verdict, and a rule denies requests without one: 503. The verdict has the
    /// [error](Verdict::storage_error).
    Unjudged(Verdict),
    /// The extractor rejects it, with its own status.
    Rejected(Rejection),
}

impl Refusal {
    /// Returns the refusal of a request that is not allowed.
    pub(super) fn new(verdict: Verdict) -> Self {
        match verdict.storage_error() {
            None => Self::Limited(verdict),
            Some(_) => Self::Unjudged(verdict),
        }
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unjudged(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Rejected(rejection) => rejection.status(),
        }
    }

    /// Returns the verdict, unless the request was not judged.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Limited(verdict) | Self::Unjudged(verdict) => Some(verdict),
            Self::Rejected(_) => None,
        }
    }

    /// Returns the time after which the request is admitted: see [`Verdict::retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        self.verdict()?.retry_after()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(_) => f.write_str("too many requests"),
            Self::Unjudged(_) => f.write_str("the limit of requests cannot be checked"),
            Self::Rejected(rejection) => rejection.fmt(f),
        }
    }
}

/// Makes the response to a refused request. A closure that takes a `&Refusal` is one.
pub trait Refuse<T> {
    /// Returns the response. The layer adds the headers of the verdict to it.
    fn refuse(&self, refusal: &Refusal) -> Response<T>;
}

impl<F, T> Refuse<T> for F
where
    F: Fn(&Refusal) -> Response<T>,
{
    fn refuse(&self, refusal: &Refusal) -> Response<T> {
        self(refusal)
    }
}

/// Refuses with the status and a JSON body, such as `{"error":"too many requests","retry_after_ms":250}`, for bodies that
/// can be made of a `String`. The time is rounded up, and left out if there is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonRefusal;

impl<T: From<String>> Refuse<T> for JsonRefusal {
    fn refuse(&self, refusal: &Refusal) -> Response<T> {
        let mut body = json!({ "error": refusal.to_string() });
        if let Some(wait) = refusal.retry_after() {
            let millis = wait.as_micros().div_ceil(1000);
            body["retry_after_ms"] = json!(u64::try_from(millis).unwrap_or(u64::MAX));
        }
        let mut response = Response::new(T::from(body.to_string()));
        *response.status_mut() = refusal.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
