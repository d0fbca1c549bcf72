//! Recovery: searches for all orders without a final answer.

use jiff::Timestamp;

use super::pending::{ClaimedIntent, IntentOutcome};
use super::reconcile::evidence::Evidence;
use super::reconcile::matching::Intent;
use super::reconcile::observed_order::STALE_BOOK;
use super::reconcile::polling::{Observation, Unresolved};
use super::state::{GuardState, PlacementQuery};
use super::updates::SearchKey;
use crate::broker::{
    Absence, Broker, BrokerError, ErrorDetail, LookupResult, Order, OrderId, OrderLookup,
    OrderRequest, SlicedOrder,
};
use crate::quota::Moment;

/// An order without a final answer, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredOrder {
    /// The tag that it was sent with.
    pub tag: String,
    /// When it was about to be sent, by this machine's wall clock.
    pub at: Timestamp,
    /// The order.
    pub order: OrderRequest,
    /// The outcome.
    pub outcome: RecoveredOutcome,
}

/// The outcome of an order after recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveredOutcome {
    /// It is in the broker's order book under this id: open, filled or cancelled.
    Placed(OrderId),
    /// Some slices are in the broker's order book, and some were rejected or are absent. If a slice is of unknown
    /// outcome, the order stays pending.
    PartlyPlaced(Box<SlicedOrder>),
    /// It is in the broker's order book as rejected.
    Rejected(ErrorDetail),
    /// It is not in the broker's order book: two reads of the same day, after the settle time, do not show it. The
    /// settle time counts from when the order was given up, or from when this guard opened the journal of the process
    /// that was to send it. It may never have been sent. It is not searched for again; if it appears later,
    /// [`on_turned_up`](super::OrderGuardBuilder::on_turned_up) is called. This is never the outcome if the broker
    /// refused a second sending to this process as a duplicate. What an earlier process was answered is not in the
    /// journal.
    Absent(Absence),
    /// The outcome is unknown, and the order stays pending. Its lookup has the tag and the [`LookupResult`]. The
    /// message says why: the caller left before the settle time was over; or the order book could not be read, is of
    /// another day than the order, does not show tags, has an unreadable row, or has an order with the same caller
    /// tag that by its time is another one. Once you know the outcome from elsewhere,
    /// [`abandon`](super::OrderGuard::abandon) it.
    Unknown(ErrorDetail),
}

impl RecoveredOutcome {
    /// Returns the outcome that an order in the order book shows.
    pub(super) fn from_order(order: SlicedOrder) -> Self {
        match order.complete() {
            Ok(id) => Self::Placed(id),
            Err(BrokerError::PartlyPlaced(order)) => Self::PartlyPlaced(order),
            Err(BrokerError::Rejected(detail)) => Self::Rejected(detail),
            Err(other) => match other.absence() {
                Some(absence) => Self::Absent(*absence),
                None => Self::Unknown(ErrorDetail::new(other.to_string())),
            },
        }
    }
}

impl GuardState {
    /// Searches for these pending orders, until all are found, until the evidence proves that the rest are absent, or
    /// until the caller's deadline. One read of the order book serves all of them.
    ///
    /// Outcomes are recorded at the very end: a process that dies before has reported none of them, so the next one
    /// must find them again.
    pub(super) fn recover_orders(
        &self,
        mut pending: Vec<ClaimedIntent<'_>>,
        broker: &dyn Broker,
        caller_deadline: Option<Moment>,
    ) -> Vec<RecoveredOrder> {
        let mut resolved = Vec::with_capacity(pending.len());
        let evidence = pending.iter().map(ClaimedIntent::evidence).reduce(Evidence::intersect);
        let Some(mut evidence) = evidence else { return Vec::new() };
        let (may_resend, search_deadline) = (self.may_resend(), self.polling.search_deadline());
        let keys = pending.iter().map(|claimed| SearchKey::Tag(claimed.intent.tag.clone()));
        let watch = self.updates.watch(keys.collect());
        let search_result = self.search(&mut evidence, caller_deadline, &watch, |context| {
            watch.take();
            for claimed in std::mem::take(&mut pending) {
                let intent = &*claimed.intent;
                let query = PlacementQuery { intent, was_resent: may_resend, lost_detail: None };
                match self.known_result(query, &claimed) {
                    Some(order) => {
                        resolved.push((claimed, RecoveredOutcome::from_order(order)));
                    }
                    None => pending.push(claimed),
                }
            }
            if pending.is_empty() {
                return Observation::Conclusive(());
            }
            let Some(context) = context else { return Observation::NotFound };
            let book = match self.read_book(broker, search_deadline, caller_deadline) {
                Ok(book) => book,
                Err(error) => return Observation::Failed(error),
            };
            // An order of another day is not in today's order book.
            let is_stale = pending.iter().any(|claimed| {
                self.pending_intents.is_in_todays_book(claimed.intent.at)
                    && claimed.with_observed(|observed| observed.is_ahead_of(&book))
            });
            let mut unclear = None;
            for claimed in std::mem::take(&mut pending) {
                let intent = &*claimed.intent;
                let query = PlacementQuery { intent, was_resent: may_resend, lost_detail: None };
                let rows = self.candidates_in_book(
                    intent,
                    claimed.with_observed(|observed| observed.last_read_before_send),
                    &book,
                );
                let reason = match self.observe_order(query, &claimed, &rows, &book, context) {
                    Observation::Conclusive(order) => {
                        resolved.push((claimed, RecoveredOutcome::from_order(order)));
                        continue;
                    }
                    Observation::Unclear(reason) => Some(reason),
                    Observation::NotFound | Observation::Failed(_) => {
                        is_stale.then(|| STALE_BOOK.to_owned())
                    }
                };
                match reason {
                    Some(reason) if context.is_after_settle_time => {
                        let reason = self.describe(intent, &Unresolved::Unclear(reason));
                        let outcome =
                            self.unresolved_outcome(&claimed, reason, LookupResult::Unclear);
                        resolved.push((claimed, outcome));
                    }
                    reason => {
                        unclear = unclear.or(reason);
                        pending.push(claimed);
                    }
                }
            }
            // An order of another day will not appear any more.
            let may_appear = pending
                .iter()
                .any(|claimed| self.pending_intents.is_in_todays_book(claimed.intent.at));
            match unclear {
                _ if !may_appear => Observation::Conclusive(()),
                // If one order is unclear, the read is no evidence for the others either.
                Some(reason) => Observation::Unclear(reason),
                None => Observation::NotFound,
            }
        });
        resolved.extend(pending.into_iter().map(|claimed| {
            claimed.set_evidence(claimed.evidence().after_search(evidence));
            let intent = &*claimed.intent;
            let is_known = claimed.with_observed(|observed| observed.is_known_to_broker);
            let is_of_today = self.pending_intents.is_in_todays_book(intent.at);
            let (reason, result) = match &search_result {
                Err(Unresolved::Absent(absence)) if is_of_today && !is_known => (
                    self.describe(intent, &Unresolved::Absent(*absence)),
                    LookupResult::Absent(*absence),
                ),
                // Only orders of another day are still pending then.
                Ok(()) => (self.describe_other_day(intent), LookupResult::Unclear),
                Err(_) if is_known => (self.describe_hidden(intent), LookupResult::Unclear),
                Err(other @ Unresolved::Unreadable(_)) => {
                    (self.describe(intent, other), LookupResult::Unreadable)
                }
                Err(Unresolved::NotYet) if is_of_today => {
                    (self.describe(intent, &Unresolved::NotYet), LookupResult::NotYet)
                }
                Err(other) => (self.describe(intent, other), LookupResult::Unclear),
            };
            let outcome = self.unresolved_outcome(&claimed, reason, result);
            (claimed, outcome)
        }));
        resolved.into_iter().map(close_recovered).collect()
    }

    /// Returns the outcome of an order that no read settled, with the reason.
    fn unresolved_outcome(
        &self,
        claimed: &ClaimedIntent<'_>,
        reason: String,
        result: LookupResult,
    ) -> RecoveredOutcome {
        let intent = &*claimed.intent;
        // A postback may have arrived since the last read.
        let partial = claimed
            .with_observed(|observed| self.partial_result(observed, intent, (&reason, result)));
        match (partial, result) {
            (Some(order), _) => RecoveredOutcome::from_order(order),
            (None, LookupResult::Absent(absence)) => RecoveredOutcome::Absent(absence),
            (None, _) => {
                let lookup = OrderLookup::new(Some(intent.tag.clone()), result);
                RecoveredOutcome::Unknown(ErrorDetail::new(reason).lookup(lookup))
            }
        }
    }

    /// Returns the rows of an order book that may be the order, which may be of another day than the book. A caller
    /// tag may be on another order by now, so without a time such a row is no candidate.
    pub(super) fn candidates_in_book(
        &self,
        intent: &Intent,
        last_read_before_send: u64,
        book: &[Order],
    ) -> Vec<Order> {
        let mut rows = self.candidates(intent, last_read_before_send, book);
        let needs_time = intent.is_caller_tag && !self.pending_intents.is_in_todays_book(intent.at);
        rows.retain(|order| !needs_time || order.placed_at.is_some());
        rows
    }
}

/// Records the outcome of an order, and closes its intent unless the order stays pending.
fn close_recovered((claimed, outcome): (ClaimedIntent<'_>, RecoveredOutcome)) -> RecoveredOrder {
    let intent = &claimed.intent;
    let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
    match &outcome {
        RecoveredOutcome::Placed(id) => claimed.close_as(&IntentOutcome::Placed(id.clone())),
        RecoveredOutcome::PartlyPlaced(order) => claimed.record_recovered_slices(order),
        RecoveredOutcome::Rejected(_) => claimed.close_as(&IntentOutcome::NotPlaced),
        RecoveredOutcome::Absent(_) => claimed.close_as_absent(&IntentOutcome::NotPlaced),
        RecoveredOutcome::Unknown(_) => drop(claimed),
    }
    RecoveredOrder { tag, at, order, outcome }
}
