//! Sends one request about an order through the guard, and says what its client gets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use lanekeeper::broker::{Broker, OrderChange, SlicedOrder};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::wire;
use lanekeeper::{BrokerError, BrokerProxy, Effect, OrderGuard, OrderId, OrderRequest, Sent};
use parking_lot::Mutex;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::form::{self, Fingerprint};
use super::forwarded::{ForwardedOrder, LastAttempt};
use super::placements::{Begun, Outcome, Placement, PlacementSender, Told};
use super::route::OrderRoute;
use crate::account::{Account, KiteParts};
use crate::call::{CallTerms, Failed, HangUp};
use crate::judge::{Answered, Times};
use crate::refusal::Refusal;
use crate::upstream::{Answer, AnswerBody, UpstreamRequest};

/// How long a client waits beyond its time for the word whether a call that was taken back was sent.
const GRACE: Duration = Duration::from_millis(100);

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

/// What a request about an order came to.
pub(crate) struct OrderResult {
    pub(crate) reply: Result<OrderReply, Refusal>,
    /// To be reported once the client has the answer.
    pub(crate) told: Option<Told>,
}

impl From<Refusal> for OrderResult {
    fn from(refusal: Refusal) -> Self {
        Self { reply: Err(refusal), told: None }
    }
}

/// A request about an order, before it is sent.
pub(crate) struct OrderCall {
    pub(crate) route: OrderRoute,
    pub(crate) terms: CallTerms,
    pub(crate) request: UpstreamRequest,
    /// The path, without the query.
    pub(crate) path: String,
    pub(crate) client_name: Arc<str>,
    pub(crate) idempotency_key: Option<String>,
}

/// What the guard is asked for.
enum Task {
    Place(OrderRequest),
    /// A placement that the guard could not find. It is sent once, without the guard.
    Forward(OrderRequest),
    Change(OrderId, OrderChange),
    Cancel(OrderId),
}

type Guard = OrderGuard<BrokerProxy<Kite>>;

/// The fields of a form.
type Pairs = Vec<(String, String)>;

impl Account {
    /// Sends a request about an order through the guard. Returns it as it is if the guard cannot take it.
    pub(crate) async fn send_order(
        self: &Arc<Self>,
        call: OrderCall,
        client: HangUp,
    ) -> Result<OrderResult, (OrderCall, HangUp)> {
        let Some((guard, task, pairs)) = self.guarded_task(&call) else {
            return Err((call, client));
        };
        let Task::Place(order) = task else {
            let effort = self.begin(call, guard, task, None, client);
            return Ok(OrderResult { reply: effort.await.0, told: None });
        };
        Ok(self.place(call, guard, order, &pairs, client).await)
    }

    fn guarded_task(&self, call: &OrderCall) -> Option<(Guard, Task, Pairs)> {
        let guard = self.kite.as_ref()?.guard.clone()?;
        if let OrderRoute::Cancel { variety, number } = &call.route {
            return Some((guard, Task::Cancel(wire::order_id(variety, number)), Vec::new()));
        }
        // What cannot be read is for the broker to judge.
        let pairs = form::pairs(&call.request.headers, &call.request.body)?;
        let task = match &call.route {
            OrderRoute::Place { variety } => {
                Task::Place(wire::read_placement_form(variety, &pairs).ok()?)
            }
            OrderRoute::Change { variety, number } => {
                let change = wire::read_change_form(&pairs).ok()?;
                Task::Change(wire::order_id(variety, number), change)
            }
            OrderRoute::Cancel { .. } => return None,
        };
        Some((guard, task, pairs))
    }

    async fn place(
        self: &Arc<Self>,
        call: OrderCall,
        guard: Guard,
        order: OrderRequest,
        pairs: &[(String, String)],
        mut client: HangUp,
    ) -> OrderResult {
        let Some(kite) = &self.kite else {
            return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "no such account").into();
        };
        let deadline = call.terms.deadline();
        let fingerprint = match &call.idempotency_key {
            Some(key) => Fingerprint::of_key(&call.client_name, key),
            None => Fingerprint::of_form(&call.client_name, &call.path, pairs),
        };
        loop {
            match kite.placements.begin(fingerprint, call.idempotency_key.is_some()) {
                Begun::Repeated(placement) => {
                    match self.repeat(placement, &guard, deadline, &mut client).await {
                        Some(result) => return result,
                        // It is surely not in the market, so it can be sent.
                        None => continue,
                    }
                }
                Begun::New(placement) => {
                    let sender = placement.sender();
                    // So that the order is known again in the journal of the next process.
                    let order = order.extra(FINGERPRINT_FIELD, fingerprint.to_string());
                    // A tag that other orders have, or that the order book would not show, finds no order.
                    let task = match can_be_found(kite, &order) {
                        true => Task::Place(order),
                        false => Task::Forward(order),
                    };
                    let effort = self.begin(call, guard, task, Some(sender), client);
                    let (reply, is_told_outcome) = effort.await;
                    let told = is_told_outcome.then(|| placement.into_told());
                    return OrderResult { reply, told };
                }
            }
        }
    }

    /// Returns the outcome of a placement that a client repeats. `None` if it is not in the market.
    async fn repeat(
        self: &Arc<Self>,
        mut placement: Placement,
        guard: &Guard,
        deadline: Instant,
        client: &mut HangUp,
    ) -> Option<OrderResult> {
        let mut has_looked = false;
        loop {
            let outcome = select! {
                outcome = placement.outcome() => outcome,
                () = client.wait() => return Some(Refusal::later("the client is gone", None).into()),
                () = sleep_until(deadline) => Outcome::Unknown,
            };
            match outcome {
                Outcome::Placed(reply) => {
                    let reply = OrderReply { is_repeated: true, ..(*reply).clone() };
                    return Some(OrderResult {
                        reply: Ok(reply),
                        told: Some(placement.into_told()),
                    });
                }
                Outcome::NotPlaced => return None,
                Outcome::UnderWay => {}
                Outcome::Unknown if !has_looked && Instant::now() < deadline => {
                    has_looked = true;
                    self.look_again(&placement, guard, deadline).await;
                }
                Outcome::Unknown => {
                    let what =
                        "the outcome of the same order, which was sent before, is not known yet";
                    return Some(Refusal::unknown(Effect::Write, what).into());
                }
            }
        }
    }

    /// Searches for a placement of unknown outcome once more.
    async fn look_again(&self, placement: &Placement, guard: &Guard, deadline: Instant) {
        let Some(tag) = placement.tag() else { return };
        let (guard, sender) = (guard.clone(), placement.sender());
        let search = tokio::task::spawn_blocking(move || {
            match guard.recover_one(&tag).and_then(|found| recovered(&found.outcome)) {
                Some(outcome) => sender.finish(outcome),
                // Another search has it, or it is as unknown as before.
                None => sender.leave(),
            }
        });
        let _ = tokio::time::timeout_at(deadline, search).await;
    }

    /// Sends a request on a thread of its own, which goes on if its client leaves. Returns what the client gets, and
    /// whether that is the final outcome of a placement.
    async fn begin(
        self: &Arc<Self>,
        call: OrderCall,
        guard: Guard,
        task: Task,
        placement: Option<PlacementSender>,
        client: HangUp,
    ) -> (Result<OrderReply, Refusal>, bool) {
        let deadline = call.terms.deadline();
        let account = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            account.run(call, &guard, &task, placement.map(Arc::new), client)
        });
        select! {
            result = work => result.unwrap_or_else(|_| {
                (Err(Refusal::unknown(Effect::Write, "the gateway failed")), false)
            }),
            () = sleep_until(deadline + GRACE) => {
                let what = "the broker has not answered within the client's time";
                (Err(Refusal::unknown(Effect::Write, what)), false)
            }
        }
    }

    /// Sends a request through the guard, and waits for its outcome. Blocks the thread.
    fn run(
        self: &Arc<Self>,
        call: OrderCall,
        guard: &Guard,
        task: &Task,
        placement: Option<Arc<PlacementSender>>,
        client: HangUp,
    ) -> (Result<OrderReply, Refusal>, bool) {
        let last = LastAttempt::default();
        let is_urgent = call.terms.is_urgent;
        let forwarded = ForwardedOrder {
            proxy: guard.inner().clone(),
            account: Arc::clone(self),
            terms: call.terms.clone(),
            request: call.request,
            placement: placement.clone(),
            client: Mutex::new(client),
            last: Arc::clone(&last),
        };
        let guard = match is_urgent {
            true => guard.for_exits(forwarded),
            false => guard.with_inner(forwarded),
        };
        let result = match task {
            Task::Forward(order) => guard.inner().place_sliced(order),
            Task::Place(order) if order.autoslice => guard.place_sliced(order),
            Task::Place(order) => {
                guard.place_order(order).map(|id| SlicedOrder::single(id, order.quantity))
            }
            Task::Change(id, change) => {
                guard.modify_order(id, change).map(|id| SlicedOrder::single(id, 0))
            }
            Task::Cancel(id) => guard.cancel_order(id).map(|()| SlicedOrder::single(id.clone(), 0)),
        };
        let outcome = Outcome::of(&result);
        let reply = self.reply(result, last.lock().take(), &call.terms);
        let is_final = !matches!(outcome, Outcome::Unknown);
        if let Some(placement) = placement {
            let outcome = match (outcome, &reply) {
                (Outcome::Placed(_), Ok(reply)) => Outcome::Placed(Arc::new(reply.clone())),
                (outcome, _) => outcome,
            };
            placement.finish(outcome);
        }
        (reply, is_final)
    }

    /// Returns what the client gets: the upstream's own answer where it says the same as the guard.
    fn reply(
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
                let id = order.placed().next().map_or("", OrderId::as_str).to_owned();
                return Ok(OrderReply::placed(order.parent.as_ref().map_or(&id, |id| id.as_str())));
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
                sent: Sent::Unknown,
                ..Refusal::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!(
                        "the answer was lost, and the order book does not show the order: {error}"
                    ),
                )
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

/// Returns whether the guard can find an order whose answer is lost. One without a tag gets one of its own.
fn can_be_found(kite: &KiteParts, order: &OrderRequest) -> bool {
    let Some(tag) = order.tag.as_deref().filter(|tag| !tag.is_empty()) else { return true };
    let tags = kite.kite.order_tags();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || tags.allowed_symbols().contains(c);
    let is_shown = tag.len() <= tags.max_length() && tag.chars().all(is_allowed);
    is_shown && kite.placements.claim_tag(tag)
}

/// The field of an order in the journal by which the next process knows the placement again. It is not sent.
pub(crate) const FINGERPRINT_FIELD: &str = "lanekeeper_placement";

/// Returns whether an error of the guard is that of the last attempt.
fn says_the_same(error: &BrokerError, failed: &Failed) -> bool {
    use lanekeeper::proxy::Classify;
    match failed {
        Failed::Gone | Failed::OutOfTime => matches!(error, BrokerError::NotSent(_)),
        Failed::UnderWay => false,
        Failed::Call(call) => call.class().as_str() == error.class().as_str(),
    }
}

/// Returns the outcome that a recovery found. `None` if it is as unknown as before.
pub(crate) fn recovered(outcome: &lanekeeper::order_guard::RecoveredOutcome) -> Option<Outcome> {
    use lanekeeper::order_guard::RecoveredOutcome as Recovered;
    match outcome {
        Recovered::Placed(id) => Some(Outcome::Placed(Arc::new(OrderReply::placed(id.as_str())))),
        Recovered::Rejected(_) | Recovered::Absent(_) => Some(Outcome::NotPlaced),
        // A part is in the market, so the whole must not be sent again.
        _ => None,
    }
}

impl Outcome {
    /// Returns what a result of the guard says of a placement.
    fn of(result: &Result<SlicedOrder, BrokerError>) -> Self {
        match result {
            Ok(_) | Err(BrokerError::PartlyPlaced(_)) => {
                Self::Placed(Arc::new(OrderReply::placed("")))
            }
            Err(
                BrokerError::NotSent(_)
                | BrokerError::Throttled { .. }
                | BrokerError::Rejected(_)
                | BrokerError::Unauthorized(_)
                | BrokerError::Absent(_)
                | BrokerError::Fatal(_),
            ) => Self::NotPlaced,
            Err(_) => Self::Unknown,
        }
    }
}
