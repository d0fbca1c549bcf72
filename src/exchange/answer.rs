//! Answers in Kite's envelope.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::brokers::paper::PaperError;

use super::payload::FaultyBody;

/// What a request is answered with.
pub(super) type ApiResult = Result<ApiData, ApiError>;

/// The body of a success.
#[derive(Debug)]
pub(super) enum ApiData {
    /// Goes into the envelope's `data`.
    Json(Value),
    /// Goes as it is.
    Csv(String),
}

/// An error in Kite's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        error_type: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { status, error_type, message: message.into() }
    }

    pub(super) fn input(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InputException", message)
    }

    pub(super) fn token(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "TokenException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "GeneralException", message)
    }

    /// As the error of a slice, beside those that were placed.
    pub(super) fn to_slice_json(&self) -> Value {
        json!({
            "code": self.status.as_u16(),
            "error_type": self.error_type,
            "message": self.message,
            "data": null,
        })
    }

    pub(super) fn no_method() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "GeneralException", "The route does not take this method.")
    }

    pub(super) fn uri_too_long() -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "GeneralException", "The address is too long.")
    }

    pub(super) fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "InputException", "The body is too large.")
    }

    pub(super) fn too_slow() -> Self {
        let status = StatusCode::REQUEST_TIMEOUT;
        Self::new(status, "GeneralException", "The request did not come in time.")
    }

    pub(super) fn too_many_requests() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "NetworkException", "Too many requests")
    }

    pub(super) fn internal() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "GeneralException", "The exchange failed.")
    }
}

impl From<PaperError> for ApiError {
    fn from(refusal: PaperError) -> Self {
        let message = refusal.to_string();
        match refusal {
            PaperError::InvalidField { .. }
            | PaperError::InvalidTime(_)
            | PaperError::UnknownInstrument(_) => Self::input(message),
            PaperError::UnknownOrder(_) => Self::not_found("Couldn't find that `order_id`."),
            PaperError::OrderFinal { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "OrderException", message)
            }
            PaperError::InsufficientFunds { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "MarginException", message)
            }
            // The same type as a 429, as Kite has it: clients must look at the message.
            PaperError::TooManyChanges => {
                Self::new(StatusCode::BAD_REQUEST, "NetworkException", message)
            }
        }
    }
}

/// The answer as it goes out.
pub(super) fn to_response(answer: ApiResult) -> Response<FaultyBody> {
    let (status, kind, text) = match answer {
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

/// An answer without an envelope.
pub(super) fn plain_response(
    status: StatusCode,
    kind: &'static str,
    text: String,
) -> Response<FaultyBody> {
    let mut response = Response::new(FaultyBody::complete(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
