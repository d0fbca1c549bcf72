//! Answers that another HTTP client received, read as this adapter reads its own.

use std::fmt;

use jiff::Timestamp;
use secrecy::SecretString;

use super::super::classify;
use super::super::classify::ResponseError;
use super::super::order_id::order_number;
use super::super::orders::{WireConfirmation, check_confirmation};
use super::super::placement::{WirePlacement, sliced_order};
use super::super::raw;
use super::super::raw_request::has_secret_answer;
use super::super::response::RawResponse;
use super::super::secrets::Secrets;
use crate::Effect;
use crate::broker::{BrokerError, OrderId, OrderRequest, SlicedOrder};

/// An answer of Kite, as another HTTP client received it. Its `Debug` does not show the body, which may be a token.
///
/// ```
/// use lanekeeper::brokers::kite::wire::{self, WireAnswer};
/// use lanekeeper::{BrokerError, Effect};
///
/// let answer = WireAnswer::new(429, r#"{"status":"error","message":"Too many requests"}"#)
///     .header("Retry-After", "2")
///     .header("Content-Type", "application/json");
/// let error = wire::check_answer(&answer, Effect::Write).unwrap_err();
/// assert!(matches!(error, BrokerError::Throttled { retry_after: Some(wait), .. } if wait.as_secs() == 2));
/// ```
#[derive(Clone)]
pub struct WireAnswer {
    response: RawResponse,
    secrets: Vec<SecretString>,
    /// Whether no error may show any of it.
    is_secret: bool,
}

impl WireAnswer {
    /// Creates an answer that was received just now. The body must be decompressed.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let response = RawResponse {
            status,
            body: body.into(),
            received: Timestamp::now(),
            ..RawResponse::default()
        };
        Self { response, secrets: Vec::new(), is_secret: false }
    }

    /// Adds a header, by its name in any case. Only headers that change the meaning of an answer are kept:
    /// `Retry-After`, `Date`, and Cloudflare's `cf-mitigated`. Of a repeated header, the first counts.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let response = &mut self.response;
        if name.eq_ignore_ascii_case("retry-after") {
            response.retry_after.get_or_insert_with(|| value.to_owned());
        } else if name.eq_ignore_ascii_case("date") {
            response.date.get_or_insert_with(|| value.to_owned());
        } else if name.eq_ignore_ascii_case("cf-mitigated") {
            response.answered_by_edge = true;
        }
        self
    }

    /// Adds a secret that was sent with the request, such as the access token. A faulty server may send it back, and no
    /// error then shows it. One of fewer than 8 bytes is not looked for.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Sets the path of the request. The answer to one below `/session` may be a new token, so no error quotes it.
    #[must_use]
    pub fn request_path(mut self, path: &str) -> Self {
        self.is_secret = has_secret_answer(path);
        self
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.response.body
    }

    /// Returns the body, and drops the rest.
    pub fn into_body(self) -> Vec<u8> {
        self.response.body
    }

    /// Reads the answer. Secrets are removed from the error, whose message is bounded.
    fn read<T>(
        &self,
        read: impl FnOnce(&RawResponse, &Secrets) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let secrets = Secrets::new(self.secrets.clone());
        read(&self.response, &secrets).map_err(|error| {
            let error = if self.is_secret {
                classify::without_message(&self.response, error)
            } else {
                error
            };
            secrets.redact(error)
        })
    }
}

impl fmt::Debug for WireAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WireAnswer({}, {} bytes)", self.status(), self.body().len())
    }
}

/// Checks that an answer is a success: Kite's envelope says so, or a read has a listing (CSV), which has no envelope.
///
/// # Errors
/// What the answer means for its caller, as for [`KiteRaw::request`](super::super::KiteRaw::request). A write that may
/// have been executed is [`OutcomeUnknown`](BrokerError::OutcomeUnknown).
pub fn check_answer(answer: &WireAnswer, effect: Effect) -> Result<(), BrokerError> {
    answer.read(|response, _| raw::check_answer(response, effect))
}

/// Returns the order that the answer to the placement of `order` names, or the slices of an order that Kite divided, as
/// [`Broker::place_sliced`](crate::Broker::place_sliced) returns them.
///
/// Of `order`, only the variety and the quantity are used. Whether the id is that of an earlier order is not checked,
/// because that takes a record of all ids that were seen.
///
/// # Errors
/// As for [`Broker::place_sliced`](crate::Broker::place_sliced). A success without a usable id is
/// [`OutcomeUnknown`](BrokerError::OutcomeUnknown).
pub fn read_placement_answer(
    answer: &WireAnswer,
    order: &OrderRequest,
) -> Result<SlicedOrder, BrokerError> {
    answer.read(|response, secrets| {
        let is_new = |id: &str| !secrets.appear_in(id);
        let read = |placed: WirePlacement| sliced_order(placed, order, is_new);
        let placed = classify::read_data(response, Effect::Write, read)?;
        Ok(secrets.redact_slices(placed))
    })
}

/// Returns the order that the answer to the change or the cancellation of the order `id` names, which is `id`.
///
/// # Errors
/// As for [`Broker::modify`](crate::Broker::modify) and [`Broker::cancel`](crate::Broker::cancel). A success that names
/// another order, or none, is [`OutcomeUnknown`](BrokerError::OutcomeUnknown): it may be the answer to another request.
pub fn read_order_answer(answer: &WireAnswer, id: &OrderId) -> Result<OrderId, BrokerError> {
    answer.read(|response, _| {
        classify::read_data(response, Effect::Write, |done: WireConfirmation| {
            // The request is out, whatever its id: so this is no `NotSent`.
            let number = order_number(id).map_err(|_| {
                ResponseError::WrongRequest(format!("no order has the id {:?}", id.as_str()))
            })?;
            check_confirmation(&done, number)
        })?;
        Ok(id.clone())
    })
}
