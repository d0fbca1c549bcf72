//! Sends one request about an order through the guard, and waits for its outcome within the client's time.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use lanekeeper::broker::{Broker, OrderChange, SlicedOrder};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::wire;
use lanekeeper::order_guard::RecoveredOutcome;
use lanekeeper::proxy::Classify;
use lanekeeper::{BrokerError, BrokerProxy, Effect, OrderGuard, OrderId, OrderRequest, Sent};
use parking_lot::Mutex;
use tokio::select;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::form::{self, Fingerprint};
use super::forwarded::{ForwardedOrder, LastAttempt, unknown};
use super::placement::{Delivery, Placement, PlacementSender};
use super::placements::{Begun, Outcome, hang_up_delay};
use super::reply::OrderReply;
use super::route::OrderRoute;
use crate::account::{Account, KiteParts};
use crate::call::{CallTerms, Failed};
use crate::hang_up::HangUp;
use crate::refusal::Refusal;
use crate::upstream::UpstreamRequest;

/// How long a client waits beyond its time for the word whether a call that was taken back was sent.
const GRACE: Duration = Duration::from_millis(100);

/// What a request about an order came to.
pub(crate) struct OrderResult {
    pub(crate) reply: Result<OrderReply, Refusal>,
    /// To be reported once the client has the answer.
    pub(crate) delivery: Option<Delivery>,
}

impl From<Refusal> for OrderResult {
    fn from(refusal: Refusal) -> Self {
        Self { reply: Err(refusal), delivery: None }
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
            return Ok(OrderResult { reply: effort.await.0, delivery: None });
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
        let form = Fingerprint::of_form(&call.client_name, &call.path, pairs);
        let (fingerprint, keyed_form) = match &call.idempotency_key {
            Some(key) => (Fingerprint::of_key(&call.client_name, key), Some(form)),
            None => (form, None),
        };
        let mut has_waited = false;
        loop {
            match kite.placements.begin(fingerprint, keyed_form, &client, has_waited) {
                Begun::Twin => {
                    tokio::time::sleep(hang_up_delay(client.is_local())).await;
                    has_waited = true;
                }
                Begun::OtherOrder => {
                    let message = "not sent: this Idempotency-Key was given to another order";
                    return Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message).into();
                }
                Begun::Repeated(placement) => {
                    match self.repeat(placement, &guard, deadline, &mut client).await {
                        Some(result) => return result,
                        // It is surely not in the market, so it can be sent.
                        None => continue,
                    }
                }
                Begun::New(placement) => {
                    let sender = placement.sender();
                    let effort = self.begin(call, guard, Task::Place(order), Some(sender), client);
                    let (reply, is_told_outcome) = effort.await;
                    let delivery = is_told_outcome.then(|| placement.into_delivery());
                    return OrderResult { reply, delivery };
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
                        delivery: Some(placement.into_delivery()),
                    });
                }
                Outcome::NotPlaced => return None,
                Outcome::InFlight => {}
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
        let thread = Arc::clone(&self.order_threads).acquire_owned();
        let Ok(Ok(thread)) = tokio::time::timeout_at(deadline, thread).await else { return };
        let (guard, sender) = (guard.clone(), placement.sender());
        let search = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            match guard.recover_one(&tag) {
                Some(found) => settle(&sender, &tag, &found.outcome),
                // Another search has it, or it is known already.
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
        mut client: HangUp,
    ) -> (Result<OrderReply, Refusal>, bool) {
        let deadline = call.terms.deadline();
        // Exits find a thread however many other orders wait.
        let thread = match call.terms.is_urgent {
            true => Ok(None),
            false => self.order_thread(&call.terms, &mut client).await.map(Some),
        };
        let thread = match thread {
            Ok(thread) => thread,
            Err(refusal) => {
                if let Some(placement) = placement {
                    placement.finish(Outcome::NotPlaced);
                }
                return (Err(refusal), true);
            }
        };
        let account = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let _thread = thread;
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

    /// Waits for one of the threads of orders that are no exits.
    async fn order_thread(
        &self,
        terms: &CallTerms,
        client: &mut HangUp,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        let late = || {
            let wait = self.wait(terms.call.lane_name());
            Refusal::later("not sent: the client's time was over first", wait)
        };
        select! {
            // An error means that the semaphore was closed, which it never is.
            thread = Arc::clone(&self.order_threads).acquire_owned() => thread.map_err(|_| late()),
            () = client.wait() => Err(Refusal::later("the client is gone", None)),
            () = sleep_until(terms.deadline()) => Err(late()),
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
        let OrderCall { terms, request, .. } = call;
        let forwarded = ForwardedOrder {
            // What the guard reads before an order counts against the time of that order.
            proxy: guard.inner().with(terms.lane_options(self)),
            account: Arc::clone(self),
            terms: terms.clone(),
            request,
            placement: placement.clone(),
            client: Mutex::new(client),
            last: Arc::clone(&last),
        };
        let guard = match terms.is_urgent {
            true => guard.for_exits(forwarded),
            false => guard.with_inner(forwarded),
        };
        let result = match task {
            Task::Place(order) => self.place_by_tag(&guard, order, &last),
            Task::Change(id, change) => {
                guard.modify_order(id, change).map(|id| SlicedOrder::single(id, 0))
            }
            Task::Cancel(id) => guard.cancel_order(id).map(|()| SlicedOrder::single(id.clone(), 0)),
        };
        let (is_placed, id) = (is_placed(&result), named_id(&result).map(ToString::to_string));
        let reply = self.order_answer(result, last.lock().take(), &terms);
        let is_final = match (is_placed, &reply) {
            (Some(true), Ok(_)) | (Some(false), _) => true,
            // A part of it is in the market, and its client cannot be told which.
            (Some(true), Err(_)) | (None, _) => false,
        };
        if let Some(placement) = placement {
            match (is_placed.filter(|_| is_final), &reply, id) {
                (Some(true), Ok(reply), Some(id)) => placement.placed(&id, reply.clone()),
                (Some(true), Ok(reply), None) => {
                    placement.finish(Outcome::Placed(Arc::new(reply.clone())));
                }
                (Some(false), ..) => placement.finish(Outcome::NotPlaced),
                _ => placement.finish(Outcome::Unknown),
            }
        }
        (reply, is_final)
    }

    /// Places an order by the guard, if the guard can find it by its tag. Any other order is sent once, without the guard.
    fn place_by_tag(
        &self,
        guard: &OrderGuard<ForwardedOrder>,
        order: &OrderRequest,
        last: &LastAttempt,
    ) -> Result<SlicedOrder, BrokerError> {
        let Some(kite) = &self.kite else { return guard.inner().place_sliced(order) };
        let own_tag = order.tag.as_deref().filter(|tag| !tag.is_empty());
        if let Some(tag) = own_tag {
            let is_found = can_be_found(kite, tag);
            if let Some(placement) = &guard.inner().placement {
                placement.tagged(tag);
            }
            if !is_found {
                return guard.inner().place_sliced(order);
            }
        }
        let result = match order.autoslice {
            true => guard.place_sliced(order),
            false => guard.place_order(order).map(|id| SlicedOrder::single(id, order.quantity)),
        };
        let Some(tag) = own_tag else { return result };
        match result {
            Err(error @ (BrokerError::NotSent(_) | BrokerError::Throttled { .. })) => {
                kite.placements.free_tag(tag);
                Err(error)
            }
            // It was found by its tag, and meanwhile another order has the same one.
            Ok(_) | Err(BrokerError::Rejected(_) | BrokerError::PartlyPlaced(_))
                if kite.placements.is_shared(tag) && is_lost(last) =>
            {
                Err(unknown("its answer was lost, and other orders have its tag"))
            }
            result => result,
        }
    }
}

/// Returns whether the guard can find an order by the tag of its client. It cannot if other orders have the tag, or if
/// the order book would not show it.
fn can_be_found(kite: &KiteParts, tag: &str) -> bool {
    let tags = kite.kite.order_tags();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || tags.allowed_symbols().contains(c);
    let is_shown = tag.len() <= tags.max_length() && tag.chars().all(is_allowed);
    is_shown && kite.placements.claim_tag(tag)
}

/// Returns whether the answer of the last attempt was lost, so that what is known comes from the order book.
fn is_lost(last: &LastAttempt) -> bool {
    match &*last.lock() {
        Some(Err(Failed::Call(error))) => error.class().was_sent() == Sent::Unknown,
        Some(Err(Failed::InFlight)) => true,
        _ => false,
    }
}

/// Sets the outcome of a placement to what a search by its tag found. What is as unknown as before stays so.
pub(super) fn settle(sender: &PlacementSender, tag: &str, found: &RecoveredOutcome) {
    match found {
        // Which of the orders with this tag it is, nothing says.
        _ if sender.is_shared(tag) => sender.finish(Outcome::Unknown),
        RecoveredOutcome::Placed(id) => sender.placed(id.as_str(), OrderReply::placed(id.as_str())),
        RecoveredOutcome::Rejected(_) | RecoveredOutcome::Absent(_) => {
            sender.finish(Outcome::NotPlaced);
        }
        // A part is in the market, so the whole must not be sent again.
        _ => sender.finish(Outcome::Unknown),
    }
}

/// Returns whether a placement is in the market, at least in part. `None` if that is unknown.
fn is_placed(result: &Result<SlicedOrder, BrokerError>) -> Option<bool> {
    match result {
        Ok(_) | Err(BrokerError::PartlyPlaced(_)) => Some(true),
        // By all evidence it is not.
        Err(BrokerError::Absent(_)) => Some(false),
        Err(error) => (error.was_sent() != Sent::Unknown).then_some(false),
    }
}

/// Returns the id by which a client knows an order: that of the parent, if it is in slices.
fn named_id(result: &Result<SlicedOrder, BrokerError>) -> Option<&OrderId> {
    let order = match result {
        Ok(order) => order,
        Err(BrokerError::PartlyPlaced(order)) => order,
        Err(_) => return None,
    };
    order.parent.as_ref().or_else(|| order.placed().next())
}
