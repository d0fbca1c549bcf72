//! What became of a write whose answer is lost.

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
    /// What became of an order whose answer is `lost`, slice by slice. Where the broker enforces unique
    /// tags it is sent `again`, once.
    pub(in crate::order_guard) fn resolve_placement(
        &self,
        flight: &ClaimedIntent<'_>,
        lost: BrokerError,
        again: impl FnOnce() -> Result<SlicedOrder, BrokerError>,
    ) -> Result<SlicedOrder, BrokerError> {
        let shared = self.state();
        let mut twice = false;
        let intent = &*flight.intent;
        if let TagSupport::Unique { duplicate } = shared.order_tags.support() {
            match again() {
                Ok(order) => return Ok(order),
                // Any other refusal leaves open what became of the first.
                Err(error) => {
                    let is_there = is_duplicate_rejection(&error, duplicate);
                    flight.with_observed(|known| known.is_known_to_broker = is_there);
                    twice = error.was_sent() != Sent::No;
                }
            }
        }
        let sought = PlacementQuery { intent, was_resent: twice, lost_detail: lost.detail() };
        let mut evidence = Evidence::starting_at(shared.polling.clock.now());
        // Before the search, too: a panic may end it.
        flight.set_evidence(evidence);
        let (until, leave) = (shared.polling.search_deadline(), self.caller_deadline());
        let begun = flight.with_observed(|known| known.last_read_before_send);
        let settled = shared.search(&mut evidence, leave, |turn| {
            let book = match shared.read_book(self.lookup_broker(), until, leave) {
                Ok(book) => book,
                Err(error) => return Observation::Failed(error),
            };
            let rows = shared.candidates(intent, begun, &book);
            match shared.observe_order(sought, flight, &rows, &book, turn) {
                Observation::Conclusive(order) => Observation::Conclusive(Ok(order)),
                Observation::NotFound => Observation::NotFound,
                Observation::Unclear(words) => Observation::Unclear(words),
                Observation::Failed(error) => Observation::Failed(error),
            }
        });
        flight.set_evidence(evidence);
        settled.unwrap_or_else(|unsettled| {
            let is_of_today = shared.pending_intents.is_in_todays_book(intent.at);
            let is_there = flight.with_observed(|known| known.is_known_to_broker);
            let words = match is_there {
                true => shared.describe_hidden(intent),
                false => shared.describe(intent, &unsettled),
            };
            let seen = match unsettled {
                Unresolved::Absent(absence) if is_of_today && !is_there => {
                    LookupResult::Absent(absence)
                }
                Unresolved::NotYet if is_of_today && !is_there => LookupResult::NotYet,
                Unresolved::Absent(_) | Unresolved::Unclear(_) | Unresolved::NotYet => {
                    LookupResult::Unclear
                }
                Unresolved::Unreadable(_) => LookupResult::Unreadable,
            };
            match flight.with_observed(|known| shared.partial_result(known, intent, (&words, seen)))
            {
                Some(order) => Ok(order),
                None => Err(unresolved_error(lost, &words, Some(intent.tag.clone()), seen)),
            }
        })
    }

    /// Cancels an order by `send`, and once more if the outcome is unknown: two cancellations do what one
    /// does, and the caller wants to be out. After that the order is looked at.
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

    /// What became of a write to an order that has an id, by looks at the order.
    pub(in crate::order_guard) fn resolve_by_id<A>(
        &self,
        id: &OrderId,
        lost: BrokerError,
        verdict: impl Fn(&Order) -> Observation<Result<A, BrokerError>>,
    ) -> Result<A, BrokerError> {
        let patience = &self.state().polling;
        let mut last = None;
        let evidence = &mut Evidence::starting_at(patience.clock.now());
        let settled = patience.poll_until_settled(evidence, self.caller_deadline(), |_| match self
            .lookup_broker()
            .order(id)
        {
            Ok(order) => {
                let look = verdict(&order);
                last = Some(order.status);
                look
            }
            Err(error) => Observation::Failed(error),
        });
        settled.unwrap_or_else(|unsettled| {
            let settle = patience.settle_time;
            let (words, seen) = match (unsettled, last) {
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

/// Whether nobody knows if it was done.
pub(in crate::order_guard) fn is_outcome_unknown(error: &BrokerError) -> bool {
    error.was_sent() == Sent::Unknown
}

fn is_duplicate_rejection(error: &BrokerError, code: &str) -> bool {
    matches!(error, BrokerError::Rejected(detail) if detail.code.as_deref() == Some(code))
}

/// The error `lost`, with what is known besides. Where the book was read cleanly and does not show the write,
/// that is more than an unknown outcome.
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
