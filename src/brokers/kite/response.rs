//! An answer as it arrived, and what can be read from it before decoding.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Map, Value};

use super::de::Text;
use crate::brokers::http::answer::{page_title, retry_delay};

/// An HTTP answer, read to its end.
// No `Debug`: the body of a login is a token.
#[derive(Clone, Default)]
pub(super) struct RawResponse {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    /// The broker's `Date`; against it a `Retry-After` is right even where our clock is wrong.
    pub(super) date: Option<String>,
    /// Our clock, for an answer without a date.
    pub(super) received: Timestamp,
    /// Cloudflare's `cf-mitigated`: its edge answered, Kite never saw the request.
    pub(super) answered_by_edge: bool,
    pub(super) body: Vec<u8>,
}

/// The part of Kite's envelope that distinguishes success from failure.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Envelope {
    pub(super) status: Text,
    pub(super) message: Text,
    pub(super) error_type: Text,
    /// Where gateways in front of Kite put what Kite puts in `message`.
    error: Text,
}

impl Envelope {
    pub(super) fn is_success(&self) -> bool {
        self.status.as_deref() == Some("success")
    }

    /// Returns whether it is an error, by the rule of Kite's own client: either field decides.
    pub(super) fn is_error(&self) -> bool {
        self.status.as_deref() == Some("error") || self.error_type.0.is_some()
    }
}

/// The kind of a body, which shows its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// Kite's JSON envelope.
    Envelope,
    /// An HTML page: of an edge server, a proxy, or a hotel's login.
    Html,
    /// Anything else.
    Plain,
}

impl RawResponse {
    pub(super) fn envelope(&self) -> Result<Envelope, serde_json::Error> {
        // serde would accept a list too, by position.
        if !self.body.trim_ascii_start().starts_with(b"{") {
            return Err(serde_json::Error::custom("it is not an object"));
        }
        serde_json::from_slice(&self.body)
    }

    /// Returns whether it begins as an envelope but is not one: it was cut, or there are two in one.
    pub(super) fn is_broken_envelope(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"{") && self.envelope().is_err()
    }

    /// Returns whether the whole body is an error as Kite documents it, and nothing else.
    pub(super) fn is_complete_error(&self) -> bool {
        let is_error = |envelope: Envelope| {
            envelope.status.as_deref() == Some("error") && envelope.error_type.0.is_some()
        };
        let no_more = |(key, value): (&String, &Value)| match key.as_str() {
            "status" | "message" | "error_type" => value.is_string(),
            "data" => is_empty_value(value),
            _ => false,
        };
        self.envelope().is_ok_and(is_error) && self.top_level_members().iter().all(no_more)
    }

    /// Returns whether anything in it hints at success, whatever else it contains.
    pub(super) fn hints_at_success(&self) -> bool {
        // Within a message the quotes would be escaped.
        if self.contains("\"order_id\"") {
            return true;
        }
        let Ok(envelope) = self.envelope() else { return self.contains("\"success\"") };
        envelope.is_success()
            || self.top_level_members().get("data").is_some_and(|data| !is_empty_value(data))
    }

    /// Returns the order id at the place where a success has it.
    pub(super) fn order_id(&self) -> Option<String> {
        let data = self.top_level_members().remove("data")?;
        serde_json::from_value::<Text>(data.get("order_id")?.clone()).ok()?.0
    }

    fn top_level_members(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns whether the body contains these words, ignoring case.
    pub(super) fn contains_ignoring_case(&self, words: &str) -> bool {
        self.body.windows(words.len()).any(|part| part.eq_ignore_ascii_case(words.as_bytes()))
    }

    fn contains(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|part| part == text.as_bytes())
    }

    /// Returns the kind of the body, its message, and its error code.
    pub(super) fn describe(&self) -> (BodyKind, String, Option<String>) {
        if let Ok(envelope) = self.envelope() {
            let message = envelope.message.0.or(envelope.error.0);
            let message = message.unwrap_or_else(|| "the broker gave no reason".into());
            return (BodyKind::Envelope, message, envelope.error_type.0);
        }
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        if text.starts_with('<') {
            let title = page_title(text).unwrap_or("without a title");
            return (BodyKind::Html, format!("a page instead of an answer: {title}"), None);
        }
        let words = if text.is_empty() { "an answer without a body" } else { text };
        (BodyKind::Plain, words.to_owned(), None)
    }

    /// Returns how long the broker asked to wait: in seconds, possibly fractional, or until a date.
    pub(super) fn retry_delay(&self) -> Option<Duration> {
        retry_delay(self.retry_after.as_deref()?, self.date.as_deref(), self.received)
    }
}

fn is_empty_value(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brokers::http::answer::MAX_RETRY_DELAY;

    fn wait(retry_after: &str, date: Option<&str>) -> Option<f64> {
        let answer = RawResponse {
            retry_after: Some(retry_after.into()),
            date: date.map(Into::into),
            received: "2015-10-21T07:27:00Z".parse().unwrap(),
            ..RawResponse::default()
        };
        answer.retry_delay().map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date() {
        assert_eq!(wait(" 3 ", None), Some(3.0));
        assert_eq!(wait("0.25", None), Some(0.25));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT", None), Some(60.0));
        let date = Some("Wed, 21 Oct 2015 07:27:50 GMT");
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT", date), Some(10.0));
        assert_eq!(wait("Wed, 21 Oct 2015 07:20:00 GMT", date), Some(0.0));
    }

    #[test]
    fn a_wait_that_makes_no_sense_is_none_or_bounded() {
        for text in
            ["", "soon", "-5", "NaN", "inf", "-inf", "1e300", "Wed, 99 Oct 2015 07:28:00 GMT"]
        {
            assert_eq!(wait(text, None), None, "{text}");
        }
        for text in ["18446744073709551615", "Thu, 31 Dec 9998 00:00:00 GMT"] {
            assert_eq!(wait(text, None), Some(MAX_RETRY_DELAY.as_secs_f64()), "{text}");
        }
    }

    #[test]
    fn a_page_is_known_by_its_title() {
        let page =
            |body: &str| RawResponse { body: body.into(), ..RawResponse::default() }.describe();
        let (kind, words, _) = page("<!DOCTYPE html><HTML><Title> Just a moment... </Title>");
        assert_eq!(
            (kind, words.as_str()),
            (BodyKind::Html, "a page instead of an answer: Just a moment...")
        );
        assert_eq!(page("<html>").0, BodyKind::Html);
        assert_eq!(page("error code: 1010").0, BodyKind::Plain);
    }
}
