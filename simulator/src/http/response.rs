//! Responses in Kite's envelope.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use lanekeeper::brokers::paper::PaperError;

use super::body::FaultyBody;

/// Kite's message for an order that the order system did not confirm in time.
const TIMED_OUT: &str =
    "Order request timed out. Please check the order book and confirm before placing again.";

/// The result of a request.
pub(crate) type ApiResult = Result<ApiData, ApiError>;

/// The body of a success.
#[derive(Debug)]
pub(crate) enum ApiData {
    /// The value of the envelope's `data`.
    Json(Value),
    /// A body without an envelope.
    Csv(String),
}

/// An error with Kite's type and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        error_type: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { status, error_type, message: message.into() }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InputException", message)
    }

    pub(crate) fn token(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "TokenException", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "GeneralException", message)
    }

    /// Returns the message alone.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the error of one slice, as it stands beside the slices that were placed.
    pub(crate) fn to_slice_json(&self) -> Value {
        json!({
            "code": self.status.as_u16(),
            "error_type": self.error_type,
            "message": self.message,
            "data": null,
        })
    }

    /// Kite's error for a method that a route does not take.
    pub(crate) fn no_method() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "GeneralException", "Request method not allowed")
    }

    pub(crate) fn uri_too_long() -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "GeneralException", "The address is too long.")
    }

    pub(crate) fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "InputException", "The body is too large.")
    }

    pub(crate) fn too_slow() -> Self {
        let status = StatusCode::REQUEST_TIMEOUT;
        Self::new(status, "GeneralException", "The request did not come in time.")
    }

    pub(crate) fn too_many_requests() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "NetworkException", "Too many requests")
    }

    /// Kite's error for an order that may still be placed later.
    pub(crate) fn order_timed_out() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "OrderException", TIMED_OUT)
    }

    pub(crate) fn internal() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "GeneralException", "The exchange failed.")
    }
}

impl From<PaperError> for ApiError {
    fn from(error: PaperError) -> Self {
        let message = error.to_string();
        match error {
            PaperError::UnknownOrder(_) => Self::not_found("Couldn't find that `order_id`."),
            PaperError::OrderFinal { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "OrderException", message)
            }
            PaperError::InsufficientFunds { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "MarginException", message)
            }
            // Kite uses the same type as for a 429, so a client must read the message.
            PaperError::TooManyChanges => {
                Self::new(StatusCode::BAD_REQUEST, "NetworkException", message)
            }
            // Invalid fields, times and instruments.
            _ => Self::input(message),
        }
    }
}

/// Returns the HTTP response for `result`.
pub(crate) fn to_response(result: ApiResult) -> Response<FaultyBody> {
    let (status, kind, text) = match result {
        Ok(ApiData::Csv(text)) => (StatusCode::OK, "text/csv", text),
        Ok(ApiData::Json(data)) => {
            let envelope = json!({"status": "success", "data": data});
            (StatusCode::OK, "application/json", envelope.to_string())
        }
        Err(error) => {
            let envelope = json!({
                "status": "error",
                "message": error.message,
                "error_type": error.error_type,
            });
            (error.status, "application/json", envelope.to_string())
        }
    };
    plain_response(status, kind, text)
}

/// Returns a response without an envelope.
pub(crate) fn plain_response(
    status: StatusCode,
    kind: &'static str,
    text: String,
) -> Response<FaultyBody> {
    let mut response = Response::new(FaultyBody::complete(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
