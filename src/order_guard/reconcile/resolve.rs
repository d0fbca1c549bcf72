//! The outcome of one write whose answer was lost: a placement, a cancellation or a change.
//!
//! `handle.rs` calls it. A placement is sent again only if the broker enforces unique tags, a
//! cancellation once, and a change never.

use std::future::Future;

use super::amendment;
use super::evidence::Evidence;
use super::polling::{Observation, Unresolved};
use crate::Sent;
use crate::broker::{
    BrokerError, LookupResult, Order, OrderChange, OrderId, OrderLookup, SlicedOrder, TagSupport,
};
use crate::order_guard::call_mode::{CallMode, GuardedCalls};
use crate::order_guard::handle::GuardHandle;
use crate::order_guard::pending::ClaimedIntent;
use crate::order_guard::state::PlacementQuery;
use crate::order_guard::updates::SearchKey;

/// The most replacements of one order that a search follows. An order that was replaced more often meanwhile is not
/// found to be as asked for.
const MAX_REPLACEMENTS: usize = 8;

impl<B, C: CallMode> GuardHandle<B, C>
where
    Self: GuardedCalls<C>,
{
    /// Finds the outcome of an order whose answer was `lost`, slice by slice. If the broker enforces unique tags, the
    /// order is sent `again`, once.
    pub(in crate::order_guard) async fn resolve_placement<F>(
        &self,
        claimed: &ClaimedIntent<'_>,
        lost: BrokerError,
        again: impl FnOnce() -> F,
    ) -> Result<SlicedOrder, BrokerError>
    where
        F: Future<Output = Result<SlicedOrder, BrokerError>>,
    {
        let state = self.state();
        let mut was_resent = false;
        let intent = &*claimed.intent;
        let watch = state.updates.watch(vec![SearchKey::Tag(intent.tag.clone())]);
        // A postback may have come before the answer was lost.
        let query = PlacementQuery { intent, was_resent, lost_detail: lost.detail() };
        if let Some(known) = state.known_result(query, claimed) {
            return Ok(known);
        }
        if let TagSupport::Unique { duplicate } = state.order_tags.support() {
            match again().await {
                Ok(order) => return Ok(order),
                // Any other refusal leaves the outcome of the first sending open.
                Err(error) => {
                    let is_known = is_duplicate_rejection(&error, duplicate);
                    claimed.with_observed(|observed| observed.is_known_to_broker = is_known);
                    was_resent = error.was_sent() != Sent::No;
                }
            }
        }
        let query = PlacementQuery { intent, was_resent, lost_detail: lost.detail() };
        let mut evidence = Evidence::starting_at(state.polling.clock.now());
        // Stored before the search and after each read, since a panic or the drop of the future may end it.
        claimed.set_evidence(evidence);
        let deadlines = self.read_deadlines();
        let last_read = claimed.with_observed(|observed| observed.last_read_before_send);
        let known = || {
            watch.take();
            state.known_result(query, claimed)
        };
        let found = match state.search(&mut evidence, deadlines.caller) {
            Err(unresolved) => Err(unresolved),
            Ok(mut search) => loop {
                let context = search.begin_read();
                let observation = match known() {
                    Some(known) => Observation::Conclusive(known),
                    None => match self.read_book(deadlines, || self.look_up_orders()).await {
                        Ok(book) => {
                            let rows = state.candidates(intent, last_read, &book);
                            state.observe_order(query, claimed, &rows, &book, context)
                        }
                        Err(error) => Observation::Failed(error),
                    },
                };
                let end = search.end_read(observation);
                claimed.set_evidence(search.evidence());
                if let Some(end) = end {
                    break end;
                }
                if let Some(known) = search.pause(self.mode(), &watch, known).await {
                    break Ok(known);
                }
            },
        };
        found.or_else(|unresolved| {
            let is_of_today = state.pending_intents.is_in_todays_book(intent.at);
            let is_known = claimed.with_observed(|observed| observed.is_known_to_broker);
            let reason = match is_known {
                true => state.describe_hidden(intent),
                false => state.describe(intent, &unresolved),
            };
            let result = match unresolved {
                Unresolved::Absent(absence) if is_of_today && !is_known => {
                    LookupResult::Absent(absence)
                }
                Unresolved::NotYet if is_of_today && !is_known => LookupResult::NotYet,
                Unresolved::Absent(_) | Unresolved::Unclear(_) | Unresolved::NotYet => {
                    LookupResult::Unclear
                }
                Unresolved::Unreadable(_) => LookupResult::Unreadable,
            };
            let partial = claimed.with_observed(|observed| {
                state.partial_result(observed, intent, (&reason, result))
            });
            match partial {
                Some(order) => Ok(order),
                None => Err(unresolved_error(lost, &reason, Some(intent.tag.clone()), result)),
            }
        })
    }

    /// Returns the error of a first sending. A refusal as a duplicate is of unknown outcome if the tag is the guard's own:
    /// no other order has such a tag, so this one was taken before. Something on the way sent it twice, and this is the
    /// answer to the second. With a caller's tag it may be an order of another process.
    pub(in crate::order_guard) fn judge_first_error(
        &self,
        claimed: &ClaimedIntent<'_>,
        error: BrokerError,
    ) -> BrokerError {
        match (self.state().order_tags.support(), error) {
            (TagSupport::Unique { duplicate }, BrokerError::Rejected(detail))
                if !claimed.intent.is_caller_tag
                    && detail.code.as_deref() == Some(duplicate.as_str()) =>
            {
                BrokerError::OutcomeUnknown(detail)
            }
            (_, error) => error,
        }
    }

    /// Cancels an order by `send`, and once more if the outcome is unknown: a cancellation is idempotent, and the
    /// caller wants to exit. If the second one fails too, the outcome is found by reads of the order.
    pub(in crate::order_guard) async fn cancel_and_resolve<F>(
        &self,
        id: &OrderId,
        send: impl Fn() -> F,
    ) -> Result<(), BrokerError>
    where
        F: Future<Output = Result<(), BrokerError>>,
    {
        match send().await {
            Err(lost) if is_outcome_unknown(&lost) => match send().await {
                Ok(()) => Ok(()),
                Err(_) => {
                    let read = || self.look_up_order(id);
                    self.resolve_by_id(id, lost, read, amendment::check_cancelled).await
                }
            },
            known => known,
        }
    }

    /// Reads an order, or the one that changes have put in its place, as far as the broker names it.
    pub(in crate::order_guard) async fn read_replacement(
        &self,
        id: &OrderId,
    ) -> Result<Order, BrokerError> {
        let mut order = self.look_up_order(id).await?;
        for _ in 0..MAX_REPLACEMENTS {
            let Some(new) = order.replaced_by.clone() else { break };
            order = self.look_up_order(&new).await?;
        }
        Ok(order)
    }

    /// Returns the order in the place of `id`, if it is as `change` asks for. A change that something on the way sent
    /// twice is refused the second time, because the first has replaced the order.
    pub(in crate::order_guard) async fn find_replacement(
        &self,
        id: &OrderId,
        change: &OrderChange,
    ) -> Option<OrderId> {
        let order = self.read_replacement(id).await.ok().filter(|order| order.id != *id)?;
        match amendment::check_amended(&order, change, false) {
            Observation::Conclusive(Ok(new)) => Some(new),
            _ => None,
        }
    }

    /// Finds the outcome of a write to an order that has an id. `read` reads the order, and `observe` judges it. An
    /// update of a final state is judged without a read. Any other one may be older than the write.
    pub(in crate::order_guard) async fn resolve_by_id<A, F>(
        &self,
        id: &OrderId,
        lost: BrokerError,
        read: impl Fn() -> F,
        observe: impl Fn(&Order) -> Observation<Result<A, BrokerError>>,
    ) -> Result<A, BrokerError>
    where
        F: Future<Output = Result<Order, BrokerError>>,
    {
        let polling = &self.state().polling;
        let mut last_status = None;
        let mut evidence = Evidence::starting_at(polling.clock.now());
        let watch = self.state().updates.watch(vec![SearchKey::Id(id.clone())]);
        let known = || match observe(&watch.take()?) {
            Observation::Conclusive(answer) => Some(answer),
            _ => None,
        };
        let mut search = polling.search(&mut evidence, self.caller_deadline());
        let found = loop {
            search.begin_read();
            let observation = match known() {
                Some(answer) => Observation::Conclusive(answer),
                None => match read().await {
                    Ok(order) => {
                        let observation = observe(&order);
                        last_status = Some(order.status);
                        observation
                    }
                    Err(error) => Observation::Failed(error),
                },
            };
            if let Some(end) = search.end_read(observation) {
                break end;
            }
            if let Some(answer) = search.pause(self.mode(), &watch, known).await {
                break Ok(answer);
            }
        };
        found.unwrap_or_else(|unresolved| {
            let settle_time = polling.settle_time;
            let (reason, result) = match (unresolved, last_status) {
                (Unresolved::Absent(absence), status) => {
                    let state = match status {
                        Some(status) => format!("order {id} is {status} and as before"),
                        None => format!("order {id} does not show it"),
                    };
                    let reason = format!("{settle_time:?} later {state}: {absence}");
                    (reason, LookupResult::Absent(absence))
                }
                (Unresolved::NotYet, _) => (
                    format!("order {id} did not show it by the time its caller left"),
                    LookupResult::NotYet,
                ),
                (Unresolved::Unclear(reason), _) => {
                    (format!("{settle_time:?} later {reason}"), LookupResult::Unclear)
                }
                (Unresolved::Unreadable(error), _) => (
                    format!("order {id} could not be read in time: {error}"),
                    LookupResult::Unreadable,
                ),
            };
            Err(unresolved_error(lost, &reason, None, result))
        })
    }
}

/// Returns whether the error leaves the outcome of a write unknown.
pub(in crate::order_guard) fn is_outcome_unknown(error: &BrokerError) -> bool {
    error.was_sent() == Sent::Unknown
}

fn is_duplicate_rejection(error: &BrokerError, code: &str) -> bool {
    matches!(error, BrokerError::Rejected(detail) if detail.code.as_deref() == Some(code))
}

/// Returns the error `lost` with what the search has found. If clean reads do not show the write, the error is
/// `Absent`.
pub(in crate::order_guard) fn unresolved_error(
    lost: BrokerError,
    reason: &str,
    tag: Option<String>,
    result: LookupResult,
) -> BrokerError {
    let detail = lost.detail().cloned().unwrap_or_default();
    let detail = detail.append_message(reason).lookup(OrderLookup::new(tag, result));
    match result {
        LookupResult::Absent(_) => BrokerError::Absent(detail),
        LookupResult::NotYet | LookupResult::Unclear | LookupResult::Unreadable => {
            BrokerError::OutcomeUnknown(detail)
        }
    }
}
