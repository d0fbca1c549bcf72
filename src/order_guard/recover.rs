//! What became of the orders without a final answer.

use jiff::Timestamp;

use super::pending::{ClaimedIntent, IntentOutcome};
use super::reconcile::evidence::Evidence;
use super::reconcile::matching::Intent;
use super::reconcile::observed_order::STALE_BOOK;
use super::reconcile::polling::{Observation, Unresolved};
use super::state::{GuardState, PlacementQuery};
use crate::broker::{
    Absence, Broker, BrokerError, ErrorDetail, LookupResult, Order, OrderId, OrderLookup,
    OrderRequest, SlicedOrder,
};
use crate::quota::Moment;

/// An order without a final answer, and what was found out about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredOrder {
    /// The tag it was sent with.
    pub tag: String,
    /// When it was about to be sent, by the clock on this machine's wall.
    pub at: Timestamp,
    /// The order, without its extra fields: those are not kept.
    pub order: OrderRequest,
    /// What became of it.
    pub outcome: RecoveredOutcome,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveredOutcome {
    /// It is in the broker's book under this id: open, filled or cancelled.
    Placed(OrderId),
    /// Some slices of it are in the broker's book, and some were refused, or are absent as the whole order would
    /// be. If a slice is of unknown outcome, the order will be asked after again.
    PartlyPlaced(Box<SlicedOrder>),
    /// It is in the broker's book, and was rejected.
    Rejected(ErrorDetail),
    /// It is not in the broker's book: a book of the same day was read twice, the settle time after the order was
    /// given up or the process that was to send it was gone, and does not show it. It may never have been sent. It is not asked after
    /// again; if it turns up after all, [`on_turned_up`](super::OrderGuardBuilder::on_turned_up) is told. Never said
    /// of an order of which this process heard that the broker refused a second sending as a duplicate; what an
    /// earlier process heard is not in the journal.
    Absent(Absence),
    /// Nothing is known, and it will be asked after again. Its trail has the tag and what was [`LookupResult`]; the words say
    /// why: the caller left before the settle time was over, the book could not
    /// be read, is of another day than the order, does not show tags, has a row that cannot be read, or
    /// has an order of the same tag of the caller's that by its time is another. Once you know from
    /// elsewhere, [`forget`](super::OrderGuard::abandon) it.
    Unknown(ErrorDetail),
}

impl RecoveredOutcome {
    /// What an order that was found shows.
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
    /// Asks after these orders without a final answer, until all are found, until the evidence says of all that
    /// they are absent, or until the caller is to `leave`.
    ///
    /// What is found is noted at the very end: a process that dies before has told nobody, and the
    /// next one is to find it again.
    pub(super) fn recover_orders(
        &self,
        mut open: Vec<ClaimedIntent<'_>>,
        broker: &dyn Broker,
        caller_deadline: Option<Moment>,
    ) -> Vec<RecoveredOrder> {
        let mut found = Vec::with_capacity(open.len());
        let evidence = open.iter().map(ClaimedIntent::evidence).reduce(Evidence::intersect);
        let Some(mut evidence) = evidence else { return Vec::new() };
        let (twice, until) = (self.may_resend(), self.polling.search_deadline());
        let settled = self.search(&mut evidence, caller_deadline, |turn| {
            let book = match self.read_book(broker, until, caller_deadline) {
                Ok(book) => book,
                Err(error) => return Observation::Failed(error),
            };
            // One of another day is in no book of this one.
            let is_behind = open.iter().any(|flight| {
                self.pending_intents.is_in_todays_book(flight.intent.at)
                    && flight.with_observed(|known| known.is_ahead_of(&book))
            });
            let mut unclear = None;
            for flight in std::mem::take(&mut open) {
                let intent = &*flight.intent;
                let sought = PlacementQuery { intent, was_resent: twice, lost_detail: None };
                let rows = self.candidates_in_book(
                    intent,
                    flight.with_observed(|known| known.last_read_before_send),
                    &book,
                );
                let words = match self.observe_order(sought, &flight, &rows, &book, turn) {
                    Observation::Conclusive(order) => {
                        found.push((flight, RecoveredOutcome::from_order(order)));
                        continue;
                    }
                    Observation::Unclear(words) => Some(words),
                    Observation::NotFound | Observation::Failed(_) => {
                        is_behind.then(|| STALE_BOOK.to_owned())
                    }
                };
                match words {
                    Some(words) if turn.is_after_settle_time => {
                        let words = self.describe(intent, &Unresolved::Unclear(words));
                        let outcome =
                            self.unresolved_outcome(&flight, words, LookupResult::Unclear);
                        found.push((flight, outcome));
                    }
                    words => {
                        unclear = unclear.or(words);
                        open.push(flight);
                    }
                }
            }
            // What is of another day will not appear any more.
            let may_appear =
                open.iter().any(|flight| self.pending_intents.is_in_todays_book(flight.intent.at));
            match unclear {
                _ if !may_appear => Observation::Conclusive(()),
                // Of one order it is unclear: the look is no evidence for the others either.
                Some(words) => Observation::Unclear(words),
                None => Observation::NotFound,
            }
        });
        found.extend(open.into_iter().map(|flight| {
            flight.set_evidence(flight.evidence().after_search(evidence));
            let intent = &*flight.intent;
            let is_there = flight.with_observed(|known| known.is_known_to_broker);
            let is_of_today = self.pending_intents.is_in_todays_book(intent.at);
            let (words, seen) = match &settled {
                Err(Unresolved::Absent(absence)) if is_of_today && !is_there => (
                    self.describe(intent, &Unresolved::Absent(*absence)),
                    LookupResult::Absent(*absence),
                ),
                // Only what is of another day is still open then.
                Ok(()) => (self.describe_other_day(intent), LookupResult::Unclear),
                Err(_) if is_there => (self.describe_hidden(intent), LookupResult::Unclear),
                Err(other @ Unresolved::Unreadable(_)) => {
                    (self.describe(intent, other), LookupResult::Unreadable)
                }
                Err(Unresolved::NotYet) if is_of_today => {
                    (self.describe(intent, &Unresolved::NotYet), LookupResult::NotYet)
                }
                Err(other) => (self.describe(intent, other), LookupResult::Unclear),
            };
            let outcome = self.unresolved_outcome(&flight, words, seen);
            (flight, outcome)
        }));
        found.into_iter().map(close_recovered).collect()
    }

    /// What is to be said of an order that no look settled; in `words`, why.
    fn unresolved_outcome(
        &self,
        flight: &ClaimedIntent<'_>,
        words: String,
        seen: LookupResult,
    ) -> RecoveredOutcome {
        let intent = &*flight.intent;
        // A postback may have come since the last look.
        let so_far =
            flight.with_observed(|known| self.partial_result(known, intent, (&words, seen)));
        match (so_far, seen) {
            (Some(order), _) => RecoveredOutcome::from_order(order),
            (None, LookupResult::Absent(absence)) => RecoveredOutcome::Absent(absence),
            (None, _) => {
                let trail = OrderLookup::new(Some(intent.tag.clone()), seen);
                RecoveredOutcome::Unknown(ErrorDetail::new(words).lookup(trail))
            }
        }
    }

    /// The rows of a book that may be an order, which may be of another day than the book. A tag of the caller's
    /// may be on another order by now, which only its time would tell.
    pub(super) fn candidates_in_book(
        &self,
        intent: &Intent,
        last_read_before_send: u64,
        book: &[Order],
    ) -> Vec<Order> {
        let mut rows = self.candidates(intent, last_read_before_send, book);
        let takes_all = !intent.own || self.pending_intents.is_in_todays_book(intent.at);
        rows.retain(|order| takes_all || order.placed_at.is_some());
        rows
    }
}

fn close_recovered((flight, outcome): (ClaimedIntent<'_>, RecoveredOutcome)) -> RecoveredOrder {
    let intent = &flight.intent;
    let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
    match &outcome {
        RecoveredOutcome::Placed(id) => flight.close_as(&IntentOutcome::Placed(id.clone())),
        RecoveredOutcome::PartlyPlaced(order) => flight.record_recovered_slices(order),
        RecoveredOutcome::Rejected(_) => flight.close_as(&IntentOutcome::NotPlaced),
        RecoveredOutcome::Absent(_) => flight.close_as_absent(&IntentOutcome::NotPlaced),
        RecoveredOutcome::Unknown(_) => drop(flight),
    }
    RecoveredOrder { tag, at, order, outcome }
}
