//! Answers that another HTTP client received, read as this adapter reads its own.

use std::collections::HashSet;
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
/// Of `order`, only the variety and the quantity are used. Whether an id is that of an earlier order is not checked,
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
        let mut named = HashSet::new();
        // No two slices are one order.
        let is_new = |id: &str| !secrets.appear_in(id) && named.insert(id.to_owned());
        let read = |placed: WirePlacement| sliced_order(placed, order, is_new);
        let placed = classify::read_data(response, Effect::Write, read)?;
        Ok(secrets.redact_slices(placed))
    })
}

/// Returns the order that the answer to the change or the cancellation of the order `id` names, which is `id`.
///
/// # Errors
/// As for [`Broker::modify_order`](crate::Broker::modify_order) and
/// [`Broker::cancel_order`](crate::Broker::cancel_order). A success that names another order, or none, is
/// [`OutcomeUnknown`](BrokerError::OutcomeUnknown): it may be the answer to another request.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ErrorClass;
    use crate::broker::{Instrument, Side, Variety};

    const TOKEN: &str = "s3cr3tT0ken";

    fn answer(body: &str) -> WireAnswer {
        WireAnswer::new(200, body)
    }

    fn placed(body: &str) -> Result<SlicedOrder, BrokerError> {
        let order = OrderRequest::market(Instrument::new("NFO", "X"), Side::Buy, 10);
        read_placement_answer(&answer(body).secret(TOKEN), &order.variety(Variety::Amo))
    }

    fn confirmed(body: &str, id: &str) -> Result<OrderId, BrokerError> {
        read_order_answer(&answer(body), &OrderId::new(id))
    }

    fn is_unknown<T>(read: Result<T, BrokerError>) -> bool {
        matches!(read, Err(BrokerError::OutcomeUnknown(_)))
    }

    #[test]
    fn a_placement_has_an_id_with_its_variety() {
        let one = placed(r#"{"status":"success","data":{"order_id":"1"}}"#).unwrap();
        assert_eq!(one.complete().unwrap().as_str(), "amo/1");
        let body = r#"{"status":"success","data":{"order_id":"1","children":[
            {"order_id":"2"},
            {"error":{"code":400,"error_type":"MarginException","message":"Insufficient funds","data":null}}]}}"#;
        let several = placed(body).unwrap();
        let ids: Vec<&str> = several.placed().map(OrderId::as_str).collect();
        assert_eq!((ids, several.rejected().count()), (vec!["amo/1", "amo/2"], 1));
    }

    #[test]
    fn a_success_that_names_no_order_may_be_an_order() {
        for body in [
            r#"{"status":"success","data":null}"#,
            r#"{"status":"success","data":{}}"#,
            r#"{"status":"success","data":{"order_id":"../user"}}"#,
            r#"{"status":"success"}"#,
            r#"{"data":{"order_id":"1"}}"#,
            r#"{"status":"success","data":{"order_id":"s3cr3tT0ken"}}"#,
            "order_id,status\n1,OPEN\n",
            "",
        ] {
            assert!(is_unknown(placed(body)), "{body}");
            assert!(is_unknown(confirmed(body, "1")), "{body}");
        }
    }

    #[test]
    fn a_confirmation_names_the_order_of_the_request() {
        let one = r#"{"status":"success","data":{"order_id":"1"}}"#;
        assert_eq!(confirmed(one, "1").unwrap().as_str(), "1");
        assert_eq!(confirmed(one, "amo/1").unwrap().as_str(), "amo/1");
        // The request was sent, so an id that cannot be one is not reported as unsent.
        for other in ["2", "amo/2", "", "a/b/1", "x y"] {
            assert!(is_unknown(confirmed(one, other)), "{other}");
        }
    }

    #[test]
    fn a_listing_is_a_success_of_a_read_alone() {
        let csv = answer("instrument_token,exchange\n1,NSE\n");
        assert_eq!(check_answer(&csv, Effect::Read), Ok(()));
        assert!(is_unknown(check_answer(&csv, Effect::Write)));
        for body in ["", "<html>", r#"{"status":"success","da"#, "{}"] {
            assert!(check_answer(&answer(body), Effect::Read).is_err(), "{body}");
        }
    }

    #[test]
    fn headers_that_matter_are_known_by_any_spelling() {
        let class = |answer: &WireAnswer| check_answer(answer, Effect::Write).unwrap_err().class();
        let wait =
            |seconds| ErrorClass::Throttled { retry_after: Some(Duration::from_secs(seconds)) };
        let too_fast =
            WireAnswer::new(429, "").header("RETRY-AFTER", "3").header("retry-after", "9");
        assert_eq!(class(&too_fast), wait(3));
        let until = WireAnswer::new(429, "")
            .header("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")
            .header("Date", "Wed, 21 Oct 2015 07:27:50 GMT");
        assert_eq!(class(&until), wait(10));
        let page = WireAnswer::new(400, "<title>Attention</title>");
        assert_eq!(class(&page), ErrorClass::Unknown);
        assert_eq!(class(&page.header("CF-Mitigated", "challenge")), ErrorClass::Fatal);
    }

    #[test]
    fn no_error_shows_a_secret_or_a_whole_page() {
        let body = format!("{} token key:{TOKEN} {}", "x".repeat(200), "y".repeat(2000));
        let error = check_answer(&WireAnswer::new(500, body).secret(TOKEN), Effect::Write);
        let text = format!("{:?}", error.unwrap_err());
        assert!(text.contains("[secret]") && !text.contains("s3cr3t"), "{text}");
        assert!(text.len() < 1000, "{text}");
        // A login may answer with tokens that were not known before.
        let login = answer("access_token=s3cr3tT0ken").request_path("/session/token");
        let error = check_answer(&login, Effect::Write).unwrap_err();
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        assert_eq!(format!("{login:?}"), "WireAnswer(200, 24 bytes)");
    }
}
