//! What a client gets of a request about an order: the broker's own answer where that says what the guard says, or an
//! ordinary answer in the broker's form.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use lanekeeper::broker::SlicedOrder;
use lanekeeper::brokers::kite::wire;
use lanekeeper::proxy::Classify;
use lanekeeper::{BrokerError, Effect, OrderId, Sent};

use crate::account::Account;
use crate::call::{CallTerms, Failed};
use crate::judge::{Answered, Times};
use crate::refusal::Refusal;
use crate::upstream::{Answer, AnswerBody};

/// What a client gets of a request about an order.
#[derive(Debug, Clone)]
pub(crate) struct OrderReply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) times: Option<Times>,
    pub(crate) sent: Sent,
    /// Whether it is the answer to an earlier request, which this one repeats.
    pub(crate) is_repeated: bool,
}

impl OrderReply {
    /// An order that is in the market, in Kite's words.
    pub(crate) fn placed(id: &str) -> Self {
        Self::json(StatusCode::OK, wire::order_body(&OrderId::new(id)), Sent::Yes)
    }

    fn json(status: StatusCode, body: String, sent: Sent) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { status, headers, body: Bytes::from(body), times: None, sent, is_repeated: false }
    }

    /// The upstream's own answer.
    fn of(answered: Answered) -> Option<Self> {
        let Answered { answer, times } = answered;
        let AnswerBody::Whole(body) = answer.body else { return None };
        let Answer { status, headers, .. } = answer;
        Some(Self {
            status,
            headers,
            body,
            times: Some(times),
            sent: Sent::Yes,
            is_repeated: false,
        })
    }
}

impl Account {
    /// Returns what the client gets: the upstream's own answer where it says the same as the guard.
    pub(super) fn order_answer(
        &self,
        result: Result<SlicedOrder, BrokerError>,
        last: Option<Result<Answered, Failed>>,
        terms: &CallTerms,
    ) -> Result<OrderReply, Refusal> {
        let error = match (result, last) {
            (Ok(_), Some(Ok(answered))) if answered.answer.whole().is_some() => {
                return OrderReply::of(answered)
                    .ok_or_else(|| Refusal::unknown(Effect::Write, "the answer is too long"));
            }
            // Its answer was lost, and the guard found it.
            (Ok(order), _) => {
                let body = wire::placement_body(&order).ok_or_else(|| {
                    Refusal::unknown(Effect::Write, "the order book shows nothing of it")
                })?;
                return Ok(OrderReply::json(StatusCode::OK, body, Sent::Yes));
            }
            // The guard has nothing to add to what the last attempt came to.
            (Err(error), Some(Err(failed))) if says_the_same(&error, &failed) => {
                let answered = self.explain(failed, terms)?;
                return OrderReply::of(answered)
                    .ok_or_else(|| Refusal::unknown(Effect::Write, "the answer is too long"));
            }
            // An autosliced order of which a part was refused.
            (Err(BrokerError::PartlyPlaced(_)), Some(Ok(answered))) => {
                return OrderReply::of(answered)
                    .ok_or_else(|| Refusal::unknown(Effect::Write, "the answer is too long"));
            }
            (Err(error), _) => error,
        };
        Err(match &error {
            // The guard refused it: its journal cannot be written, or its tag was used today.
            BrokerError::NotSent(detail) => Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("not sent: {}", detail.message),
            ),
            BrokerError::Absent(_) => Refusal {
                error_type: "OrderException",
                ..Refusal::unknown_after(Effect::Write, &error)
            },
            // The order book shows it as rejected.
            BrokerError::Rejected(detail) => Refusal {
                error_type: "OrderException",
                sent: Sent::Yes,
                ..Refusal::new(StatusCode::BAD_REQUEST, detail.message.clone())
            },
            error => Refusal::unknown_after(Effect::Write, error),
        })
    }
}

/// Returns whether the guard says no more than the last attempt.
fn says_the_same(error: &BrokerError, failed: &Failed) -> bool {
    match failed {
        Failed::Gone | Failed::OutOfTime => matches!(error, BrokerError::NotSent(_)),
        Failed::InFlight => false,
        // Of an unknown outcome the guard says what it found so far.
        Failed::Call(call) => {
            error.was_sent() != Sent::Unknown && call.class().as_str() == error.class().as_str()
        }
    }
}
