//! What an answer of Alpaca means for the caller: the one place that turns its errors into classes.
//!
//! Alpaca answers an error with a JSON object that has a `message`, and usually a `code` of eight digits, whose first
//! three are the status: `{"code":40310000,"message":"insufficient buying power"}`. Anything else comes from a machine
//! in front of it. When in doubt, a write is [`BrokerError::OutcomeUnknown`]. A write was surely not executed only if
//! - the status is 429: the rate limiter refuses a request before it reaches the order system, or
//! - the status is 401 or 403: an unknown or forbidden client cannot place an order, or
//! - the status is another 4xx, the body is a whole error object of Alpaca, and its message does not speak of a
//!   timeout, or
//! - the status is 404, 405, 411, 413, 414, 415 or 431: the request fits no route, so nothing took it.
//!
//! 408, 425 and 499 are timeouts. A 5xx leaves the outcome of a write open, above all a 504: Alpaca has taken orders
//! that were answered so.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::broker::{BrokerError, ErrorDetail};
use crate::brokers::http::answer::{HttpAnswer, page_title, parse_http_date, retry_delay};
use crate::brokers::http::de::Text;
use crate::brokers::http::outcome::{ResponseError, decode_error, no_answer_error};
use crate::{Effect, Throttling};

/// The code that this adapter gives to the refusal of a second order with the same `client_order_id`.
///
/// Alpaca's own code is 40010001, which it gives to other invalid requests as well, such as a bad quantity. An
/// [`OrderGuard`](crate::OrderGuard) takes this code for proof that the order exists, so the message decides too.
pub const DUPLICATE_CLIENT_ORDER_ID: &str = "40010001: client_order_id";

/// The longest wait that a `X-Ratelimit-Reset` can ask for. Alpaca counts in minutes, so a longer one is a wrong clock.
pub(super) const MAX_RESET_WAIT: Duration = Duration::from_secs(60);

/// Checks whether the answer reports success.
pub(super) fn check_success(answer: &HttpAnswer, effect: Effect) -> Result<(), BrokerError> {
    match answer.status {
        200..=299 => Ok(()),
        _ => Err(classify_refusal(answer, effect)),
    }
}

/// Returns the error of a call whose successful answer cannot be used.
pub(super) fn response_error(
    answer: &HttpAnswer,
    effect: Effect,
    why: &ResponseError,
) -> BrokerError {
    let detail = |message: String| ErrorDetail::new(message).status(answer.status);
    match why {
        ResponseError::Unreadable(why) => {
            let (words, _) = describe(answer);
            let quoted = if answer.body.trim_ascii_start().starts_with(b"{") { "" } else { &words };
            let separator = if quoted.is_empty() { "" } else { ": " };
            decode_error(
                effect,
                detail(format!("the answer cannot be read: {why}{separator}{quoted}")),
            )
        }
        // The call itself got no answer. A read may be repeated.
        ResponseError::WrongRequest(why) => {
            no_answer_error(effect, detail(format!("the answer is that to another call: {why}")))
        }
    }
}

/// Classifies an answer that is not a success.
fn classify_refusal(answer: &HttpAnswer, effect: Effect) -> BrokerError {
    let (words, code) = describe(answer);
    let by_alpaca = error_object(&answer.body).is_some();
    let status = answer.status;
    let detail = ErrorDetail { code: code.clone(), ..ErrorDetail::new(words.clone()) };
    let detail = detail.status(status);
    if status == 429 {
        return BrokerError::Throttled { retry_after: throttle_wait(answer), detail };
    }
    // The outcome of this call may be open, but the next one has to wait in any case.
    let too_fast = contains(&words, "rate limit") || contains(&words, "too many requests");
    let throttling = too_fast.then(|| Throttling::new(throttle_wait(answer)));
    let lost = |detail| no_answer_error(effect, ErrorDetail { throttling, ..detail });
    let speaks_of_timeout =
        ["timed out", "timeout", "time out"].iter().any(|phrase| contains(&words, phrase));
    match status {
        408 | 425 | 499 => lost(detail),
        401 if by_alpaca => BrokerError::Unauthorized(detail),
        400..=499 if by_alpaca && speaks_of_timeout => lost(detail),
        403 if by_alpaca && is_forbidden(&words) => BrokerError::Unauthorized(detail),
        400..=499 if by_alpaca && is_duplicate(&words) => {
            BrokerError::Rejected(detail.code(DUPLICATE_CLIENT_ORDER_ID))
        }
        400..=499 if by_alpaca => BrokerError::Rejected(detail),
        // A gateway blocks us, and a person has to find out why.
        401 | 403 => BrokerError::Fatal(detail),
        404 | 405 | 411 | 413 | 414 | 415 | 431 => BrokerError::Rejected(detail),
        400..=499 if effect == Effect::Read => BrokerError::Rejected(detail),
        // Alpaca's API does not redirect, so the address is wrong, or a login portal answered.
        300..=399 if effect == Effect::Read => BrokerError::Fatal(ErrorDetail {
            message: format!("redirected, is the base URL right? {}", detail.message),
            ..detail
        }),
        _ => lost(detail),
    }
}

/// Returns whether the message is that of a wrong key pair, or one of the other environment, such as paper keys at the
/// live address. It stops all lanes, so only these words count. Any other 403 is about its call: no buying power, no
/// subscription to recent prices.
fn is_forbidden(words: &str) -> bool {
    words.trim().trim_end_matches('.').eq_ignore_ascii_case("forbidden")
}

/// Returns whether the message is the refusal of a `client_order_id` that was used before. Alpaca has written it with
/// underscores and with spaces.
fn is_duplicate(words: &str) -> bool {
    let words = words.to_ascii_lowercase().replace([' ', '-'], "_");
    words.contains("client_order_id")
        && (words.contains("must_be_unique") || words.contains("already_exists"))
}

/// Returns the members of the body, if the whole of it is an error of Alpaca: an object with a message, and without
/// the ids of an order.
fn error_object(body: &[u8]) -> Option<Map<String, Value>> {
    let members: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let is_error = members.get("message").is_some_and(Value::is_string);
    let is_order = members.contains_key("id") || members.contains_key("client_order_id");
    (is_error && !is_order).then_some(members)
}

/// Returns the message of an answer, and its code.
fn describe(answer: &HttpAnswer) -> (String, Option<String>) {
    if let Some(mut members) = error_object(&answer.body) {
        let mut text =
            |name| serde_json::from_value::<Text>(members.remove(name).unwrap_or_default()).ok()?.0;
        let message = text("message").unwrap_or_else(|| "the broker gave no reason".into());
        return (message, text("code"));
    }
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim();
    if text.starts_with('<') {
        let title = page_title(text).unwrap_or("without a title");
        return (format!("a page instead of an answer: {title}"), None);
    }
    (if text.is_empty() { "an answer without a body" } else { text }.to_owned(), None)
}

/// Returns how long to wait after a throttled call: what `Retry-After` says, else until `X-Ratelimit-Reset`.
fn throttle_wait(answer: &HttpAnswer) -> Option<Duration> {
    let said = answer.header("retry-after");
    let said = said.and_then(|text| retry_delay(text, answer.header("date"), answer.received));
    said.or_else(|| reset_wait(answer))
}

/// Returns how long it is until the broker's counter starts anew, at most [`MAX_RESET_WAIT`].
///
/// `X-Ratelimit-Reset` is a time of the broker's clock, in seconds since 1970. The `Date` of the same answer is the
/// reading of that clock, so that neither clock has to be right. It is rounded down to a second, so the wait is too
/// long by less than that.
pub(super) fn reset_wait(answer: &HttpAnswer) -> Option<Duration> {
    let reset: i64 = answer.header("x-ratelimit-reset")?.trim().parse().ok()?;
    let now = answer.header("date").and_then(parse_http_date).unwrap_or(answer.received);
    let wait = Timestamp::from_second(reset).ok()?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default().min(MAX_RESET_WAIT))
}

fn contains(words: &str, phrase: &str) -> bool {
    words.to_ascii_lowercase().contains(phrase)
}

#[cfg(test)]
mod tests {
    use ureq::http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
            })
            .collect();
        let received = "2026-03-02T15:00:00Z".parse().unwrap();
        HttpAnswer { status, headers, received, body: body.into() }
    }

    fn class(status: u16, effect: Effect, body: &str) -> &'static str {
        match check_success(&answer(status, &[], body), effect) {
            Ok(()) => "ok",
            Err(error) => error.class().as_str(),
        }
    }

    #[test]
    fn each_answer_has_its_class() {
        const PAGE: &str = "<html><title>403 Forbidden</title>";
        const FUNDS: &str = r#"{"code":40310000,"message":"insufficient buying power"}"#;
        for (status, body, read, write) in [
            (200, "[]", "ok", "ok"),
            (204, "", "ok", "ok"),
            (400, r#"{"code":40010000,"message":"bad request"}"#, "rejected", "rejected"),
            (401, r#"{"message":"unauthorized."}"#, "unauthorized", "unauthorized"),
            (401, PAGE, "fatal", "fatal"),
            (403, r#"{"message":"forbidden."}"#, "unauthorized", "unauthorized"),
            (403, FUNDS, "rejected", "rejected"),
            // Without a code, and yet about this call alone.
            (403, r#"{"message":"subscription does not permit it"}"#, "rejected", "rejected"),
            (403, PAGE, "fatal", "fatal"),
            (404, r#"{"code":40410000,"message":"order not found"}"#, "rejected", "rejected"),
            (404, PAGE, "rejected", "rejected"),
            (408, "", "transient", "unknown"),
            (422, r#"{"code":42210000,"message":"sub-penny"}"#, "rejected", "rejected"),
            (422, PAGE, "rejected", "unknown"),
            (422, r#"{"code":42210000,"message":"request timed out"}"#, "transient", "unknown"),
            // Two answers in one, a cut one, and one with an order in it.
            (422, &[FUNDS, FUNDS].concat(), "rejected", "unknown"),
            (422, &FUNDS[..20], "rejected", "unknown"),
            (422, r#"{"message":"odd","id":"1","client_order_id":"t"}"#, "rejected", "unknown"),
            (429, r#"{"message":"too many requests."}"#, "throttled", "throttled"),
            (429, "", "throttled", "throttled"),
            (302, "", "fatal", "unknown"),
            (499, FUNDS, "transient", "unknown"),
            (500, r#"{"code":50010000,"message":"internal server error"}"#, "transient", "unknown"),
            (502, PAGE, "transient", "unknown"),
            (503, r#"{"message":"rate limit"}"#, "transient", "unknown"),
            (504, "", "transient", "unknown"),
        ] {
            assert_eq!(class(status, Effect::Read, body), read, "read {status} {body}");
            assert_eq!(class(status, Effect::Write, body), write, "write {status} {body}");
        }
    }

    #[test]
    fn only_the_message_makes_a_refusal_a_duplicate() {
        let code = |body: &str| {
            let error = check_success(&answer(422, &[], body), Effect::Write).unwrap_err();
            error.detail().unwrap().code.clone().unwrap_or_default()
        };
        for message in [
            "client_order_id must be unique",
            "client order id must be unique",
            "client_order_id t1 already exists",
        ] {
            let body = format!(r#"{{"code":40010001,"message":"{message}"}}"#);
            assert_eq!(code(&body), DUPLICATE_CLIENT_ORDER_ID, "{message}");
        }
        // The same code, and the order does not exist.
        for message in ["qty is required", "client_order_id must be no more than 128 characters"] {
            let body = format!(r#"{{"code":40010001,"message":"{message}"}}"#);
            assert_eq!(code(&body), "40010001", "{message}");
        }
    }

    #[test]
    fn a_throttled_call_waits_for_the_reset() {
        let wait =
            |headers: &[(&str, &str)]| match check_success(&answer(429, headers, ""), Effect::Read)
                .unwrap_err()
            {
                BrokerError::Throttled { retry_after, .. } => retry_after.map(|it| it.as_secs()),
                other => panic!("{other}"),
            };
        let date = ("date", "Mon, 02 Mar 2026 15:00:10 GMT");
        // 2026-03-02T15:00:40Z.
        let reset = ("x-ratelimit-reset", "1772463640");
        assert_eq!(wait(&[reset, date]), Some(30), "by the broker's clock");
        assert_eq!(wait(&[reset]), Some(40), "by ours, without a date");
        assert_eq!(wait(&[reset, date, ("retry-after", "3")]), Some(3));
        assert_eq!(wait(&[("x-ratelimit-reset", "1")]), Some(0), "it has passed");
        assert_eq!(wait(&[("x-ratelimit-reset", "4102444800")]), Some(60), "a wrong clock");
        for text in ["soon", "", "-1e9", "99999999999999999999"] {
            assert_eq!(wait(&[("x-ratelimit-reset", text)]), None, "{text}");
        }
    }
}
