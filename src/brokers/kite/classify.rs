//! What an answer means for the caller: the one place that turns Kite's errors into classes.
//!
//! A pure function of the answer, so that every trap is a row in a table of tests. Kite's `error_type` alone decides
//! nothing: `NetworkException` is a throttle (429), an unreachable order system (503) and a permanent refusal (too
//! many modifications). So the status *and* the message count.
//!
//! When in doubt, a write is [`BrokerError::OutcomeUnknown`]: a needless read of the order book costs one call, a
//! second order costs money. So for a write, every class that means "not executed" needs a reason.
//! [`may_have_executed`] rejects all answers without one. It accepts:
//! - 429: a limiter stands before what it protects.
//! - 4xx in the words of a limiter: the same, by gateways that use 400 or 403 for it.
//! - 503 in the exact words of Kite's limiter.
//! - The 26th change of an order: Kite counts before it changes.
//! - 4xx by Cloudflare's edge: Kite never saw the request.
//! - 4xx, or a whole error under a good status, with a code by which Kite says that it refused: a dead session, bad
//!   input, no funds, no permission. These are checks before the order is made.
//! - 401 and 403: an unknown or
//!   forbidden client cannot place an order.
//! - 404, 405, 411, 413, 414, 415, 431: the request fits no route, so nothing took it.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::order_id::is_order_number;
use super::response::{BodyKind, RawResponse};
use super::secrets::map_detail;
use crate::broker::{BrokerError, ErrorDetail};
pub(super) use crate::brokers::http::outcome::{ResponseError, decode_error, no_answer_error};
use crate::{Effect, Throttling};

#[cfg(test)]
mod tests;

impl ResponseError {
    /// Returns the same error with more context.
    pub(super) fn with_context(self, more: &str) -> Self {
        match self {
            Self::Unreadable(why) => Self::Unreadable(format!("{why}; {more}")),
            Self::WrongRequest(why) => Self::WrongRequest(format!("{why}; {more}")),
        }
    }
}

/// Parses the `data` of an answer that [`check_success`] accepted.
pub(super) fn parse_data<T: DeserializeOwned>(answer: &RawResponse) -> Result<T, ResponseError> {
    #[derive(Deserialize)]
    struct Data<T> {
        data: T,
    }

    match serde_json::from_slice::<Data<T>>(&answer.body) {
        Ok(Data { data }) => Ok(data),
        Err(error) => Err(ResponseError::Unreadable(error.to_string())),
    }
}

/// Builds a value from the `data` of an answer, which must be a success.
pub(super) fn read_data<T: DeserializeOwned, U, E: Into<ResponseError>>(
    answer: &RawResponse,
    effect: Effect,
    build: impl FnOnce(T) -> Result<U, E>,
) -> Result<U, BrokerError> {
    check_success(answer, effect)?;
    parse_data(answer)
        .and_then(|data| build(data).map_err(Into::into))
        .map_err(|why| response_error(answer, effect, &why))
}

/// Returns the error of a call whose answer cannot be used.
pub(super) fn response_error(
    answer: &RawResponse,
    effect: Effect,
    why: &ResponseError,
) -> BrokerError {
    match why {
        ResponseError::Unreadable(why) => unreadable_error(answer, effect, why),
        // The call itself got no answer. A read may be repeated.
        ResponseError::WrongRequest(why) => {
            let message = format!("the answer is that to another call: {why}");
            no_answer_error(effect, ErrorDetail::new(message).status(answer.status))
        }
    }
}

/// Checks whether the answer reports success.
pub(super) fn check_success(answer: &RawResponse, effect: Effect) -> Result<(), BrokerError> {
    if !(200..300).contains(&answer.status) {
        return Err(classify_refusal(answer, effect));
    }
    match answer.envelope() {
        Err(error) => Err(unreadable_error(answer, effect, &error.to_string())),
        Ok(envelope) if envelope.is_error() => Err(classify_refusal(answer, effect)),
        // For a write, this word is the only evidence. And an empty order book without it would make a lost order
        // look absent.
        Ok(envelope) if !envelope.is_success() => {
            Err(unreadable_error(answer, effect, "it does not say `success`"))
        }
        Ok(_) => Ok(()),
    }
}

/// Returns the error for a success status with a body that cannot be used. A write may well have been executed.
pub(super) fn unreadable_error(answer: &RawResponse, effect: Effect, why: &str) -> BrokerError {
    let (kind, words, _) = answer.describe();
    let too_fast = signals_throttling(answer, kind, &words);
    // For a write the message proves nothing about the order: it may stand beside its id.
    if effect == Effect::Read && too_fast {
        return throttled_error(answer, ErrorDetail::new(words).status(answer.status));
    }
    let message = match kind {
        BodyKind::Envelope => format!("the answer cannot be read: {why}"),
        BodyKind::Html | BodyKind::Plain => format!("the answer cannot be read: {why}: {words}"),
    };
    let detail = ErrorDetail::new(message).status(answer.status);
    decode_error(effect, if too_fast { detail.throttled(answer.retry_delay()) } else { detail })
}

/// The whole message for an answer to a login that cannot be read.
const UNREADABLE_LOGIN_MESSAGE: &str = "the login's answer cannot be read";

/// Returns the error of a login without quoting its answer, which may contain new tokens under several names that no
/// list of secrets has yet. Only a complete error of Kite with an error status keeps its message: then there is no
/// session, and so no token.
pub(super) fn without_message(answer: &RawResponse, error: BrokerError) -> BrokerError {
    if answer.status >= 400 && answer.is_complete_error() {
        return error;
    }
    map_detail(error, |_| ErrorDetail::new(UNREADABLE_LOGIN_MESSAGE).status(answer.status))
}

/// Classifies an answer that is not a success.
pub(super) fn classify_refusal(answer: &RawResponse, effect: Effect) -> BrokerError {
    let (kind, words, code) = answer.describe();
    let detail =
        ErrorDetail { code: code.clone(), ..ErrorDetail::new(words.clone()).status(answer.status) };
    let by_kite = kind == BodyKind::Envelope;
    let too_fast = signals_throttling(answer, kind, &words);
    // The outcome of the call may be open, but the next call has to wait in any case.
    let throttling = too_fast.then(|| Throttling::new(answer.retry_delay()));
    let lost = |detail: ErrorDetail| no_answer_error(effect, ErrorDetail { throttling, ..detail });

    if effect == Effect::Write && may_have_executed(answer, &words, code.as_deref()) {
        let id = answer.order_id().filter(|id| is_order_number(id));
        let named = id.map(|id| format!(" (it names the order {id})"));
        let message = format!("{words}{}", named.unwrap_or_default());
        return lost(ErrorDetail { message, ..detail });
    }
    // "Order request timed out. Please check the order book and confirm before placing again" has the status 400, and
    // the order may appear seconds later. This counts only in Kite's envelope: the script of an HTML page that blocks
    // us may well contain `setTimeout`.
    if by_kite && is_ambiguous_message(&words) {
        return lost(detail);
    }
    // The code is NetworkException, but the refusal is permanent: an order may be changed 25 times.
    if by_kite && contains_ignoring_case(&words, TOO_MANY_MODIFICATIONS) {
        return BrokerError::Rejected(detail);
    }
    if too_fast {
        return throttled_error(answer, detail);
    }
    // The edge refused it, so Kite never saw it. A person has to fix that (a banned client, a blocked address), and
    // retries make it worse; so it is neither throttled nor transient.
    if answer.answered_by_edge && answer.status < 500 {
        return BrokerError::Fatal(detail);
    }
    match answer.status {
        200..=299 | 400..=499 => classify_by_code(code.as_deref(), effect, &detail)
            .unwrap_or_else(|| classify_by_status(effect, detail)),
        // Kite's API does not redirect, so the address is wrong, or a login portal answered.
        300..=399 if effect == Effect::Read => BrokerError::Fatal(ErrorDetail {
            message: format!("redirected, is the base URL right? {}", detail.message),
            ..detail
        }),
        // Any 5xx: the order may be on its way, whatever the gateway reports.
        _ => lost(detail),
    }
}

/// Returns whether a write may have been executed, whatever the answer claims.
///
/// The danger is a gateway that forwarded the order, got no answer, sent it again, and returns the result of the
/// second attempt, such as "too many requests".
fn may_have_executed(answer: &RawResponse, words: &str, code: Option<&str>) -> bool {
    // Two answers in one, a gateway whose timeout expired, or an order system whose answer Kite could not read.
    if answer.hints_at_success()
        || is_ambiguous_message(words)
        || code.is_some_and(|code| is_ambiguous_message(code) || code == "DataException")
    {
        return true;
    }
    match answer.status {
        // The status alone decides, so the body may be cut.
        429 => false,
        // A timeout of a gateway (408), or a refusal of early data (425).
        408 | 425 | 499 => true,
        400..=499 => answer.is_broken_envelope(),
        // A success status contradicts a refusal; only a complete error of Kite itself is believed. Its limiter never
        // answers like that.
        200..=299 => !answer.is_complete_error() || is_throttle_message(words),
        503 => {
            let exactly = |phrase: &str| words.trim_end_matches('.').eq_ignore_ascii_case(phrase);
            let by_counter = exactly("too many requests") || exactly(TOO_MANY_MODIFICATIONS);
            !(by_counter && answer.is_complete_error() && code == Some("NetworkException"))
        }
        // A redirect may follow an executed call; a 5xx comes from a gateway, or from Kite when the outcome is
        // unknown to it too.
        _ => true,
    }
}

/// Classifies by Kite's code, if it is decisive for a 4xx or for an error with a success status.
fn classify_by_code(
    code: Option<&str>,
    effect: Effect,
    detail: &ErrorDetail,
) -> Option<BrokerError> {
    let detail = detail.clone();
    match code? {
        "TokenException" => Some(BrokerError::Unauthorized(detail)),
        // Understood and refused. A missing permission is among them, as it is about one call (candles without a
        // subscription), not about the account.
        "InputException"
        | "MarginException"
        | "HoldingException"
        | "OrderException"
        | "UserException"
        | "PermissionException" => Some(BrokerError::Rejected(detail)),
        // The API did not reach the order system behind it, or could not read its answer.
        "NetworkException" | "DataException" => Some(no_answer_error(effect, detail)),
        _ => None,
    }
}

/// Classifies by the status alone, if neither the message nor the code is known. An HTML page (401 or 403) ends here.
fn classify_by_status(effect: Effect, detail: ErrorDetail) -> BrokerError {
    match detail.status.unwrap_or_default() {
        401 | 403 => BrokerError::Fatal(detail),
        // The request was malformed or had no route, so no order system saw it.
        404 | 405 | 411 | 413 | 414 | 415 | 431 => BrokerError::Rejected(detail),
        408 | 425 => no_answer_error(effect, detail),
        400..=499 if effect == Effect::Read => BrokerError::Rejected(detail),
        _ => no_answer_error(effect, detail),
    }
}

fn throttled_error(answer: &RawResponse, detail: ErrorDetail) -> BrokerError {
    BrokerError::Throttled { retry_after: answer.retry_delay(), detail }
}

/// Returns whether the answer signals throttling: by its status, its message, or the page of the edge. That is about
/// the rate, and no evidence about this call.
fn signals_throttling(answer: &RawResponse, kind: BodyKind, words: &str) -> bool {
    answer.status == 429
        || match kind {
            BodyKind::Envelope | BodyKind::Plain => is_throttle_message(words),
            BodyKind::Html => answer.contains_ignoring_case("you are being rate limited"),
        }
}

/// Of an order that has had its 25 changes.
const TOO_MANY_MODIFICATIONS: &str = "maximum allowed order modifications exceeded";

/// In the words of Kite, of other Indian brokers' gateways, and of Cloudflare.
fn is_throttle_message(words: &str) -> bool {
    let phrases = [
        "too many requests",
        "exceeding access rate",
        "error code: 1015",
        "rate limit exceeded",
        "rate limit reached",
        "rate limited",
        "rate-limited",
    ];
    // "Corporate Limited" is a company.
    phrases.iter().any(|phrase| contains_at_word_start(words, phrase))
}

fn is_ambiguous_message(words: &str) -> bool {
    let phrases = [
        "timed out",
        "timeout",
        "time out",
        "did not respond",
        "did not answer",
        "no response",
        "check the order book",
        "check the orderbook",
    ];
    phrases.iter().any(|phrase| contains_ignoring_case(words, phrase))
}

fn contains_at_word_start(words: &str, phrase: &str) -> bool {
    let words = words.to_ascii_lowercase();
    let mut places = words.match_indices(phrase).filter_map(|(place, _)| words.get(..place));
    places.any(|before| !before.ends_with(char::is_alphanumeric))
}

fn contains_ignoring_case(words: &str, phrase: &str) -> bool {
    words.to_ascii_lowercase().contains(phrase)
}
