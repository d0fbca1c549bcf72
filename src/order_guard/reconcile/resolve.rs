//! The outcome of a write whose answer was lost.

use super::amendment;
use super::evidence::Evidence;
use super::polling::{Observation, Unresolved};
use crate::Sent;
use crate::broker::{
    Broker, BrokerError, LookupResult, Order, OrderId, OrderLookup, SlicedOrder, TagSupport,
};
use crate::order_guard::guard::OrderGuard;
use crate::order_guard::pending::ClaimedIntent;
use crate::order_guard::state::PlacementQuery;

impl<B: Broker> OrderGuard<B> {
    /// Finds the outcome of an order whose answer was `lost`, slice by slice. If the broker enforces unique tags, the
    /// order is sent `again`, once.
    pub(in crate::order_guard) fn resolve_placement(
        &self,
        claimed: &ClaimedIntent<'_>,
        lost: BrokerError,
        again: impl FnOnce() -> Result<SlicedOrder, BrokerError>,
    ) -> Result<SlicedOrder, BrokerError> {
        let shared = self.state();
        let mut twice = false;
        let intent = &*claimed.intent;
        if let TagSupport::Unique { duplicate } = shared.order_tags.support() {
            match again() {
                Ok(order) => return Ok(order),
                // Any other refusal leaves the outcome of the first sending open.
                Err(error) => {
                    let is_there = is_duplicate_rejection(&error, duplicate);
                    claimed.with_observed(|known| known.is_known_to_broker = is_there);
                    twice = error.was_sent() != Sent::No;
                }
            }
        }
        let sought = PlacementQuery { intent, was_resent: twice, lost_detail: lost.detail() };
        let mut evidence = Evidence::starting_at(shared.polling.clock.now());
        // Stored before the search too, since a panic may end it.
        claimed.set_evidence(evidence);
        let (until, leave) = (shared.polling.search_deadline(), self.caller_deadline());
        let begun = claimed.with_observed(|known| known.last_read_before_send);
        let settled = shared.search(&mut evidence, leave, |turn| {
            let book = match shared.read_book(self.lookup_broker(), until, leave) {
                Ok(book) => book,
                Err(error) => return Observation::Failed(error),
            };
            let rows = shared.candidates(intent, begun, &book);
            match shared.observe_order(sought, claimed, &rows, &book, turn) {
                Observation::Conclusive(order) => Observation::Conclusive(Ok(order)),
                Observation::NotFound => Observation::NotFound,
                Observation::Unclear(words) => Observation::Unclear(words),
                Observation::Failed(error) => Observation::Failed(error),
            }
        });
        claimed.set_evidence(evidence);
        settled.unwrap_or_else(|unresolved| {
            let is_of_today = shared.pending_intents.is_in_todays_book(intent.at);
            let is_there = claimed.with_observed(|known| known.is_known_to_broker);
            let words = match is_there {
                true => shared.describe_hidden(intent),
                false => shared.describe(intent, &unresolved),
            };
            let seen = match unresolved {
                Unresolved::Absent(absence) if is_of_today && !is_there => {
                    LookupResult::Absent(absence)
                }
                Unresolved::NotYet if is_of_today && !is_there => LookupResult::NotYet,
                Unresolved::Absent(_) | Unresolved::Unclear(_) | Unresolved::NotYet => {
                    LookupResult::Unclear
                }
                Unresolved::Unreadable(_) => LookupResult::Unreadable,
            };
            match claimed
                .with_observed(|known| shared.partial_result(known, intent, (&words, seen)))
            {
                Some(order) => Ok(order),
                None => Err(unresolved_error(lost, &words, Some(intent.tag.clone()), seen)),
            }
        })
    }

    /// Cancels an order by `send`, and once more if the outcome is unknown: a cancellation is idempotent, and the
    /// caller wants to exit. After that it reads the order.
    pub(in crate::order_guard) fn cancel_and_resolve(
        &self,
        id: &OrderId,
        send: impl Fn() -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        match send() {
            Err(lost) if is_outcome_unknown(&lost) => match send() {
                Ok(()) => Ok(()),
                Err(_) => self.resolve_by_id(id, lost, amendment::check_cancelled),
            },
            known => known,
        }
    }

    /// Finds the outcome of a write to an order that has an id, by reading the order.
    pub(in crate::order_guard) fn resolve_by_id<A>(
        &self,
        id: &OrderId,
        lost: BrokerError,
        verdict: impl Fn(&Order) -> Observation<Result<A, BrokerError>>,
    ) -> Result<A, BrokerError> {
        let polling = &self.state().polling;
        let mut last = None;
        let evidence = &mut Evidence::starting_at(polling.clock.now());
        let settled = polling.poll_until_settled(evidence, self.caller_deadline(), |_| match self
            .lookup_broker()
            .order(id)
        {
            Ok(order) => {
                let read = verdict(&order);
                last = Some(order.status);
                read
            }
            Err(error) => Observation::Failed(error),
        });
        settled.unwrap_or_else(|unresolved| {
            let settle = polling.settle_time;
            let (words, seen) = match (unresolved, last) {
                (Unresolved::Absent(absence), status) => {
                    let words = match status {
                        Some(status) => format!("order {id} is {status} and as before"),
                        None => format!("order {id} does not show it"),
                    };
                    (format!("{settle:?} later {words}: {absence}"), LookupResult::Absent(absence))
                }
                (Unresolved::NotYet, _) => (
                    format!("order {id} did not show it by the time its caller left"),
                    LookupResult::NotYet,
                ),
                (Unresolved::Unclear(words), _) => {
                    (format!("{settle:?} later {words}"), LookupResult::Unclear)
                }
                (Unresolved::Unreadable(error), _) => (
                    format!("order {id} could not be looked at in time: {error}"),
                    LookupResult::Unreadable,
                ),
            };
            Err(unresolved_error(lost, &words, None, seen))
        })
    }
}

/// Returns whether the outcome is unknown.
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
    words: &str,
    tag: Option<String>,
    seen: LookupResult,
) -> BrokerError {
    let detail = lost.detail().cloned().unwrap_or_default();
    let detail = detail.append_message(words).lookup(OrderLookup::new(tag, seen));
    match seen {
        LookupResult::Absent(_) => BrokerError::Absent(detail),
        LookupResult::NotYet | LookupResult::Unclear | LookupResult::Unreadable => {
            BrokerError::OutcomeUnknown(detail)
        }
    }
}
