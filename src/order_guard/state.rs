//! The state that all handles of one guard share, and the outcome of one order as an order book shows it.
//!
//! `reconcile/resolve.rs`, `recover.rs` and `late_orders.rs` call it. An outcome is never `Absent` if a part of the
//! order was seen, if a row may be the order, or if the order book may be of another day.

use super::hooks::{GuardHooks, Unrecorded};
use super::pending::{ClaimedIntent, PendingIntents};
use super::reconcile::book_history::BookHistory;
use super::reconcile::evidence::{Evidence, PollContext};
use super::reconcile::matching::Intent;
use super::reconcile::observed_order::ObservedOrder;
use super::reconcile::order_book::SharedOrderBook;
use super::reconcile::order_in_book::OrderInBook;
use super::reconcile::polling::{Observation, Polling, Search, Unresolved};
use super::stats::OutcomeCounters;
use super::tags::{CallerTags, TagGenerator};
use super::updates::OrderUpdates;
use crate::broker::{
    BrokerError, ErrorDetail, LookupResult, Order, OrderLookup, OrderTags, Rows, Slice,
    SlicedOrder, TagSupport,
};
use crate::quota::Moment;

#[derive(Debug)]
pub(super) struct GuardState {
    pub(super) pending_intents: PendingIntents,
    pub(super) polling: Polling,
    pub(super) caller_tags: CallerTags,
    pub(super) order_tags: OrderTags,
    pub(super) tag_generator: TagGenerator,
    pub(super) order_book: SharedOrderBook,
    pub(super) book_history: BookHistory,
    pub(super) hooks: GuardHooks,
    pub(super) outcomes: OutcomeCounters,
    pub(super) updates: OrderUpdates,
}

/// An order that is searched for.
#[derive(Clone, Copy)]
pub(super) struct PlacementQuery<'a> {
    pub(super) intent: &'a Intent,
    /// Whether it was sent twice under one tag. Then a rejected order may be the second sending, while the first is
    /// still on its way.
    pub(super) was_resent: bool,
    /// The detail of the error by which its answer was lost, if known.
    pub(super) lost_detail: Option<&'a ErrorDetail>,
}

impl GuardState {
    /// Begins a search for orders by their tags, if the broker shows tags.
    pub(super) fn search<'a>(
        &'a self,
        evidence: &'a mut Evidence,
        caller_deadline: Option<Moment>,
    ) -> Result<Search<'a>, Unresolved> {
        match self.order_tags.support() {
            TagSupport::None => Err(Unresolved::Unreadable(BrokerError::NotSent(
                ErrorDetail::new("this broker's order book shows no tags"),
            ))),
            _ => Ok(self.polling.search(evidence, caller_deadline)),
        }
    }

    /// Reports an order that is not in the journal.
    pub(super) fn report_unrecorded(&self, claimed: &ClaimedIntent<'_>) {
        let Some(error) = &claimed.log_error else { return };
        let Intent { tag, order, .. } = &*claimed.intent;
        let error = error.to_string();
        self.hooks.on_unrecorded.call(&Unrecorded {
            tag: tag.clone(),
            order: order.clone(),
            error,
        });
    }

    /// Returns whether the broker refuses a second order with the same tag, so that an order may be sent twice.
    pub(super) fn may_resend(&self) -> bool {
        matches!(self.order_tags.support(), TagSupport::Unique { .. })
    }

    /// Returns what a read shows of an order, if that is final. After the settle time an ambiguous order book is final
    /// too, and the last read always is: then the missing quantity is a slice of unknown outcome, or an absent one.
    fn final_result(
        &self,
        query: PlacementQuery<'_>,
        shown: OrderInBook,
        book: &Rows<Order>,
        context: PollContext,
    ) -> Option<SlicedOrder> {
        let ambiguity = shown.missing_doubt.map(str::to_owned);
        let ambiguity = ambiguity.or_else(|| query.intent.unreadable_row(book));
        if context.absence.is_none() && !(context.is_after_settle_time && ambiguity.is_some()) {
            return shown.is_final(query.was_resent).then_some(shown.order);
        }
        let Intent { tag, at, order, .. } = query.intent;
        let (missing, total) = (shown.missing, order.quantity);
        let settle_time = self.polling.settle_time;
        Some(shown.with_missing(|| {
            let shows = format!(
                "{settle_time:?} later the order book shows no {missing} of {total} with the tag {tag}"
            );
            let detail = |reason: &str, result| {
                let lost = query.lost_detail.cloned().unwrap_or_default();
                lost.append_message(&format!("{shows}{reason}"))
                    .lookup(OrderLookup::new(Some(tag.clone()), result))
            };
            match (ambiguity, context.absence) {
                (Some(reason), _) => {
                    Slice::unknown(detail(&format!("; {reason}"), LookupResult::Unclear))
                }
                (None, Some(absence)) if self.pending_intents.is_in_todays_book(*at) => {
                    Slice::absent(detail(&format!(": {absence}"), LookupResult::Absent(absence)))
                }
                (None, _) => Slice::unknown(detail(
                    ", and is of another day or about to be",
                    LookupResult::Unclear,
                )),
            }
        }))
    }

    /// Returns what was seen of an order so far, if that is final: no read is needed then.
    pub(super) fn known_result(
        &self,
        query: PlacementQuery<'_>,
        claimed: &ClaimedIntent<'_>,
    ) -> Option<SlicedOrder> {
        let shown = claimed.with_observed(|observed| observed.order_in_book(query.intent))?;
        shown.is_final(query.was_resent).then_some(shown.order)
    }

    /// Returns the orders of an order book that may be the one of this intent.
    pub(super) fn candidates(
        &self,
        intent: &Intent,
        last_read_before_send: u64,
        book: &[Order],
    ) -> Vec<Order> {
        let of_today = self.pending_intents.is_in_todays_book(intent.at);
        self.book_history.candidates(intent, last_read_before_send, of_today, book)
    }

    /// Returns what an order book shows of an order, merged with everything seen before. `rows` are the candidates.
    pub(super) fn observe_order(
        &self,
        query: PlacementQuery<'_>,
        claimed: &ClaimedIntent<'_>,
        rows: &[Order],
        book: &Rows<Order>,
        context: PollContext,
    ) -> Observation<SlicedOrder> {
        let intent = query.intent;
        let Some(shown) = claimed.with_observed(|observed| observed.merge_book(intent, rows, book))
        else {
            return intent
                .ambiguity(rows, book)
                .map_or(Observation::NotFound, Observation::Unclear);
        };
        let ambiguity = shown.missing_doubt.map(str::to_owned);
        match self.final_result(query, shown, book, context) {
            Some(order) => Observation::Conclusive(order),
            None => ambiguity
                .or_else(|| intent.unreadable_row(book))
                .map_or(Observation::NotFound, Observation::Unclear),
        }
    }

    /// Returns what was seen of an order without a final outcome, if a part of it is in the market. The missing
    /// quantity becomes a slice of unknown outcome, with the reason.
    pub(super) fn partial_result(
        &self,
        observed: &ObservedOrder,
        intent: &Intent,
        (reason, result): (&str, LookupResult),
    ) -> Option<SlicedOrder> {
        let shown = observed.order_in_book(intent)?;
        shown.order.placed().next()?;
        let lookup = OrderLookup::new(Some(intent.tag.clone()), result);
        Some(shown.with_missing(|| Slice::unknown(ErrorDetail::new(reason).lookup(lookup))))
    }

    /// Describes why nothing is known of an order that the broker has but does not show.
    pub(super) fn describe_hidden(&self, intent: &Intent) -> String {
        let tag = &intent.tag;
        format!("the broker has an order with the tag {tag}, and does not show it")
    }

    /// Describes why an order book is no evidence for an order of another day.
    pub(super) fn describe_other_day(&self, intent: &Intent) -> String {
        let tag = &intent.tag;
        format!(
            "the order book is of another day or about to be; search the broker's statements for the tag {tag}"
        )
    }

    /// Describes why the outcome of an order is unknown.
    pub(super) fn describe(&self, intent: &Intent, unresolved: &Unresolved) -> String {
        let tag = &intent.tag;
        match unresolved {
            Unresolved::Absent(_) if !self.pending_intents.is_in_todays_book(intent.at) => {
                self.describe_other_day(intent)
            }
            Unresolved::Absent(absence) => {
                let settle_time = self.polling.settle_time;
                format!(
                    "the order book does not show the tag {tag} {settle_time:?} later: {absence}"
                )
            }
            Unresolved::NotYet => format!(
                "the order book did not show the tag {tag} by the time its caller left, which proves nothing yet"
            ),
            Unresolved::Unclear(reason) => format!("{reason} (the tag is {tag})"),
            Unresolved::Unreadable(error) => {
                format!("the order book could not be searched for the tag {tag}: {error}")
            }
        }
    }
}
