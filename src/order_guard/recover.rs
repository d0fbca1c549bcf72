//! Recovery: searches for all orders without a final answer.

use jiff::Timestamp;

use super::call_mode::{CallMode, GuardedCalls};
use super::handle::GuardHandle;
use super::pending::{ClaimedIntent, IntentOutcome};
use super::reconcile::evidence::{Evidence, PollContext};
use super::reconcile::matching::Intent;
use super::reconcile::observed_order::STALE_BOOK;
use super::reconcile::polling::{Observation, Unresolved};
use super::state::{GuardState, PlacementQuery};
use super::updates::SearchKey;
use crate::broker::{
    Absence, BrokerError, ErrorDetail, LookupResult, Order, OrderId, OrderLookup, OrderRequest,
    Rows, SlicedOrder,
};

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

impl<B, C: CallMode> GuardHandle<B, C>
where
    Self: GuardedCalls<C>,
{
    /// Searches for these pending orders, until all are found, until the evidence proves that the rest are absent, or
    /// until the caller's deadline. One read of the order book serves all of them.
    ///
    /// Outcomes are recorded at the very end: a process that dies before has reported none of them, so the next one
    /// must find them again. The same holds for a future that is dropped before.
    pub(super) async fn recover_orders(
        &self,
        pending: Vec<ClaimedIntent<'_>>,
    ) -> Vec<RecoveredOrder> {
        let state = self.state();
        let evidence = pending.iter().map(ClaimedIntent::evidence).reduce(Evidence::intersect);
        let Some(mut evidence) = evidence else { return Vec::new() };
        let deadlines = self.read_deadlines();
        let keys = pending.iter().map(|claimed| SearchKey::Tag(claimed.intent.tag.clone()));
        let watch = state.updates.watch(keys.collect());
        let mut recovery = Recovery { state, evidence, pending, resolved: Vec::new() };
        let found = match state.search(&mut evidence, deadlines.caller) {
            Err(unresolved) => Err(unresolved),
            Ok(mut search) => loop {
                let context = search.begin_read();
                watch.take();
                let observation = match recovery.resolve_known() {
                    Some(()) => Observation::Conclusive(()),
                    None => match self.read_book(deadlines, || self.look_up_orders()).await {
                        Ok(book) => recovery.observe_book(&book, context),
                        Err(error) => Observation::Failed(error),
                    },
                };
                let end = search.end_read(observation);
                recovery.evidence = search.evidence();
                if let Some(end) = end {
                    break end;
                }
                let known = || {
                    watch.take();
                    recovery.resolve_known()
                };
                if let Some(()) = search.pause(self.mode(), &watch, known).await {
                    break Ok(());
                }
            },
        };
        recovery.end(&found)
    }
}

/// A search for several pending orders. If it is dropped, its evidence is kept with the orders that are still pending.
struct Recovery<'a> {
    state: &'a GuardState,
    /// The evidence of all of them together.
    evidence: Evidence,
    pending: Vec<ClaimedIntent<'a>>,
    resolved: Vec<(ClaimedIntent<'a>, RecoveredOutcome)>,
}

impl Recovery<'_> {
    /// Resolves the orders whose outcome is known without a read. Returns `Some` if no order is left.
    fn resolve_known(&mut self) -> Option<()> {
        for claimed in std::mem::take(&mut self.pending) {
            match self.state.known_result(self.state.query_of(&claimed.intent), &claimed) {
                Some(order) => {
                    self.resolved.push((claimed, RecoveredOutcome::from_order(order)));
                }
                None => self.pending.push(claimed),
            }
        }
        self.pending.is_empty().then_some(())
    }

    /// Resolves the orders whose outcome this order book shows.
    fn observe_book(&mut self, book: &Rows<Order>, context: PollContext) -> Observation<()> {
        let Self { state, pending, resolved, .. } = self;
        // An order of another day is not in today's order book.
        let is_stale = pending.iter().any(|claimed| {
            state.pending_intents.is_in_todays_book(claimed.intent.at)
                && claimed.with_observed(|observed| observed.is_ahead_of(book))
        });
        let mut unclear = None;
        for claimed in std::mem::take(pending) {
            let intent = &*claimed.intent;
            let rows = state.candidates_in_book(
                intent,
                claimed.with_observed(|observed| observed.last_read_before_send),
                book,
            );
            let query = state.query_of(intent);
            let reason = match state.observe_order(query, &claimed, &rows, book, context) {
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
                    let reason = state.describe(intent, &Unresolved::Unclear(reason));
                    let outcome = state.unresolved_outcome(&claimed, reason, LookupResult::Unclear);
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
            .any(|claimed| state.pending_intents.is_in_todays_book(claimed.intent.at));
        match unclear {
            _ if !may_appear => Observation::Conclusive(()),
            // If one order is unclear, the read is no evidence for the others either.
            Some(reason) => Observation::Unclear(reason),
            None => Observation::NotFound,
        }
    }

    /// Stores the evidence of the search with the orders that it has not found.
    fn keep_evidence(&self) {
        for claimed in &self.pending {
            claimed.set_evidence(claimed.evidence().after_search(self.evidence));
        }
    }

    /// Returns the outcomes of all orders, and records them.
    fn end(mut self, found: &Result<(), Unresolved>) -> Vec<RecoveredOrder> {
        self.keep_evidence();
        let (state, pending) = (self.state, std::mem::take(&mut self.pending));
        let mut resolved = std::mem::take(&mut self.resolved);
        resolved.extend(pending.into_iter().map(|claimed| {
            let intent = &*claimed.intent;
            let is_known = claimed.with_observed(|observed| observed.is_known_to_broker);
            let is_of_today = state.pending_intents.is_in_todays_book(intent.at);
            let (reason, result) = match found {
                Err(Unresolved::Absent(absence)) if is_of_today && !is_known => (
                    state.describe(intent, &Unresolved::Absent(*absence)),
                    LookupResult::Absent(*absence),
                ),
                // Only orders of another day are still pending then.
                Ok(()) => (state.describe_other_day(intent), LookupResult::Unclear),
                Err(_) if is_known => (state.describe_hidden(intent), LookupResult::Unclear),
                Err(other @ Unresolved::Unreadable(_)) => {
                    (state.describe(intent, other), LookupResult::Unreadable)
                }
                Err(Unresolved::NotYet) if is_of_today => {
                    (state.describe(intent, &Unresolved::NotYet), LookupResult::NotYet)
                }
                Err(other) => (state.describe(intent, other), LookupResult::Unclear),
            };
            let outcome = state.unresolved_outcome(&claimed, reason, result);
            (claimed, outcome)
        }));
        resolved.into_iter().map(close_recovered).collect()
    }
}

impl Drop for Recovery<'_> {
    fn drop(&mut self) {
        self.keep_evidence();
    }
}

impl GuardState {
    /// Returns the query for an order whose caller has left. It may have been sent twice.
    fn query_of<'a>(&self, intent: &'a Intent) -> PlacementQuery<'a> {
        PlacementQuery { intent, was_resent: self.may_resend(), lost_detail: None }
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
