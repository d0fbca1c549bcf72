//! The answers that the gateway gives in place of the broker, in the broker's own form.
//!
//! Clients raise the exceptions of their own library from them. What the status says of a call is the same everywhere:
//!
//! | status | the call |
//! |---|---|
//! | 429, with `Retry-After` | was certainly not sent, and never will be: it may be made again after that time |
//! | 503 | may have been sent, and its outcome is unknown: a write is to be looked for in the order book. Never 504, which clients take for a reason to send again |
//! | 502 | was not sent, because the upstream cannot be reached, or it reads and the answer makes no sense |
//! | 400 to 431, 501 | was not sent, because it is wrong or not allowed |
//! | 500 | was not sent, because the gateway cannot keep its promise for it |
//!
//! `X-Lanekeeper-Sent` says it too: `no`, `yes` or `unknown`.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use lanekeeper::brokers::kite::wire;
use lanekeeper::lane::LaneErrorKind;
use lanekeeper::{BrokerError, Effect, LaneError, Sent};

use crate::auth::{AuthError, TierRefusal};
use crate::body::ReplyBody;

/// The words of every answer whose outcome is unknown.
pub(crate) const CHECK_ORDER_BOOK: &str =
    "what became of it is unknown: check the order book before you send it again";

/// The header that says whether a call was sent.
pub(crate) const SENT_HEADER: &str = "x-lanekeeper-sent";

/// How long the start of another gateway takes.
const RESTART: Duration = Duration::from_secs(5);

/// An answer of the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error_type: &'static str,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) sent: Sent,
    /// Whether the connection is closed, because it is unknown where its next request begins.
    pub(crate) closes: bool,
}

impl Refusal {
    /// A request that was not sent.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let error_type = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "PermissionException",
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::URI_TOO_LONG
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => "InputException",
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE => "NetworkException",
            _ => "GeneralException",
        };
        let (message, retry_after, sent) = (message.into(), None, Sent::No);
        Self { status, error_type, message, retry_after, sent, closes: false }
    }

    /// A request that is wrong.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A request that was not sent, and can be made again after this time.
    pub(crate) fn later(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let retry_after = Some(retry_after.unwrap_or(Duration::from_secs(1)));
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// A request that may have been sent, and has no answer.
    pub(crate) fn unknown(effect: Effect, what: &str) -> Self {
        let message = match effect {
            Effect::Write => format!("{what}; {CHECK_ORDER_BOOK}"),
            Effect::Read => format!("{what}; it changes nothing, so it can be made again"),
        };
        Self { sent: Sent::Unknown, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// A request whose outcome this error leaves unknown. Only its detail is shown, because the error itself says to look
    /// in the order book too.
    pub(crate) fn unknown_after(effect: Effect, error: &BrokerError) -> Self {
        match error.detail() {
            Some(detail) => Self::unknown(effect, &detail.message),
            None => Self::unknown(effect, &error.to_string()),
        }
    }

    /// The broker does not accept the credentials of the gateway, in the broker's own words.
    pub(crate) fn session_expired() -> Self {
        Self {
            error_type: "TokenException",
            ..Self::new(StatusCode::FORBIDDEN, "Incorrect `api_key` or `access_token`.")
        }
    }

    /// The answer closes the connection.
    pub(crate) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// The gateway takes no new requests. The next one may be up soon.
    pub(crate) fn draining() -> Self {
        Self::later("not sent: the gateway is shutting down", Some(RESTART)).closing()
    }

    /// Returns the answer of a lane in place of the broker.
    pub(crate) fn of_lane(error: &LaneError, wait: Option<Duration>) -> Self {
        let what = error.kind.to_string();
        match &error.kind {
            LaneErrorKind::TooLate { retry_in } => Self::later(what, Some(*retry_in)),
            LaneErrorKind::BrokerDown { retry_in } => Self::later(what, *retry_in),
            LaneErrorKind::QueueFull { .. }
            | LaneErrorKind::Shed
            | LaneErrorKind::DeadlinePassed { .. }
            | LaneErrorKind::Cancelled => Self::later(what, wait),
            LaneErrorKind::Closed => Self::draining(),
            LaneErrorKind::SessionExpired => Self::session_expired(),
            LaneErrorKind::Unanswered
            | LaneErrorKind::CutOff
            | LaneErrorKind::Dropped
            | LaneErrorKind::Panicked { .. }
            | LaneErrorKind::AlreadyTaken => Self::unknown(error.effect, &what),
            // A kind that is not known here yet must not be told as unsent if it is not.
            _ if error.was_sent() != Sent::No => Self::unknown(error.effect, &what),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, what),
        }
    }

    /// Returns it as the bytes of an answer, for a connection on which no request can be read.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let body = wire::error_body(self.error_type, &self.message);
        let mut bytes = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in self.to_response().headers() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        Bytes::from(bytes)
    }

    /// Returns it as a response.
    pub(crate) fn to_response(&self) -> Response<ReplyBody> {
        let body = wire::error_body(self.error_type, &self.message);
        let mut response = Response::new(ReplyBody::from(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(SENT_HEADER, HeaderValue::from_static(sent_word(self.sent)));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"lanekeeper\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let (status, message) = match error {
            AuthError::Missing => (
                StatusCode::UNAUTHORIZED,
                "send the key of a client: `Authorization: token NAME:SECRET`, or `X-Lanekeeper-Key: NAME:SECRET`",
            ),
            AuthError::Wrong => (StatusCode::FORBIDDEN, "Incorrect `api_key` or `access_token`."),
            AuthError::Ambiguous => {
                (StatusCode::BAD_REQUEST, "the credentials are there twice, or cannot be read")
            }
        };
        let error_type =
            if error == AuthError::Ambiguous { "InputException" } else { "TokenException" };
        Self { error_type, ..Self::new(status, message) }
    }
}

impl From<TierRefusal> for Refusal {
    fn from(refusal: TierRefusal) -> Self {
        match refusal {
            TierRefusal::TooMany { what, retry_in } => Self::later(
                format!(
                    "not sent: this client has made all the {what} that its tier allows for now"
                ),
                retry_in,
            ),
            TierRefusal::ReadOnly => {
                Self::new(StatusCode::FORBIDDEN, "not sent: the tier of this client only reads")
            }
            TierRefusal::Lane => Self::new(
                StatusCode::FORBIDDEN,
                "not sent: the tier of this client lacks this lane",
            ),
        }
    }
}

/// Returns the word of the header for whether a call was sent.
pub(crate) fn sent_word(sent: Sent) -> &'static str {
    match sent {
        Sent::Yes => "yes",
        Sent::No => "no",
        Sent::Unknown => "unknown",
    }
}

/// Rounds up, as a client that comes too early is refused again.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero()))
}
