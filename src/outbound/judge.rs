//! What a lane learns from a response.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::resilience::retry_after;
use crate::{Effect, ErrorClass, Failure, Reachability, Throttling};

/// A year. A longer pause is a mistake of the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(366 * 86_400);

/// Judges a response by its status, as servers in general mean it. It decides whether the lane pauses, and what its observers and
/// metrics are told. Any response shows that the server can be reached, so the circuit breaker counts it as a success: it counts
/// requests without a response.
///
/// | status | what the lane learns |
/// |---|---|
/// | 429 | calls come too fast: the lane cuts its rate, and pauses for `Retry-After` |
/// | 503 with `Retry-After` | the server fails, and asks for the same |
/// | 408, 500 and above | the server fails. A write may have been executed |
/// | any other from 400 on | the server refused this request |
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use lanekeeper::outbound::by_status;
/// use lanekeeper::{Effect, ErrorClass};
///
/// let headers = HeaderMap::new();
/// let class = |status| by_status(Effect::Write, status, &headers).map(|failure| failure.class);
/// assert_eq!(class(StatusCode::OK), None);
/// assert_eq!(class(StatusCode::TOO_MANY_REQUESTS), Some(ErrorClass::Throttled { retry_after: None }));
/// assert_eq!(class(StatusCode::BAD_GATEWAY), Some(ErrorClass::Unknown));
/// assert_eq!(class(StatusCode::NOT_FOUND), Some(ErrorClass::Rejected));
/// ```
pub fn by_status(effect: Effect, status: StatusCode, headers: &HeaderMap) -> Option<Failure> {
    let pause = || {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
        Some(retry_after(text, Timestamp::now())?.min(LONGEST_PAUSE))
    };
    let fails = || {
        let class = ErrorClass::unknown(effect);
        Failure::from(class).with_reachability(Reachability::Answered)
    };
    match status.as_u16() {
        ..400 => None,
        429 => Some(ErrorClass::Throttled { retry_after: pause() }.into()),
        503 => {
            let throttling = pause().map(|pause| Throttling::new(Some(pause)));
            Some(fails().with_throttling(throttling))
        }
        408 | 500.. => Some(fails()),
        _ => Some(ErrorClass::Rejected.into()),
    }
}
