//! Orders that turn up after all.
//!
//! A caller whose order was absent, or of unknown outcome, was answered, and goes on. If the order appears later it
//! has to be told. Nothing is read for that alone: every order book that is read through the guard is looked
//! over for all orders without a final answer, and of those whose callers were answered this tells.

use std::sync::Arc;

use super::pending::{Finding, IntentOutcome};
use super::reconcile::matching::Intent;
use super::reconcile::observed_order::ObservedOrder;
use super::recover::{RecoveredOrder, RecoveredOutcome};
use super::state::GuardState;
use crate::broker::{Broker, BrokerError, LookupResult, Order, Rows};
use crate::panic::catch_panic;
use crate::quota::Moment;

impl GuardState {
    /// Reads the order book for a search, and looks it over for other orders.
    pub(super) fn read_book(
        &self,
        broker: &dyn Broker,
        search_deadline: Moment,
        caller_deadline: Option<Moment>,
    ) -> Result<Arc<Rows<Order>>, BrokerError> {
        let book = self.order_book.read(broker, &self.polling, search_deadline, caller_deadline)?;
        self.scan_book(&book, book.problems.is_empty());
        Ok(book)
    }

    /// Reads the book before the first order of an own tag on a day, so that what is in it is not taken for that order.
    /// Only once: if the book cannot be read, no order is to wait for it again. Orders that come meanwhile share the
    /// look. No lock is held: who is told of what the look finds may place an order.
    pub(super) fn read_baseline(&self, broker: &dyn Broker, caller_deadline: Option<Moment>) {
        let today = self.pending_intents.today();
        if self.book_history.has_baseline(today)
            || *self.book_history.baseline_tried_on.lock() == Some(today)
        {
            return;
        }
        // A broker that panics says nothing, and the order itself will show it.
        let _ =
            catch_panic(|| self.read_book(broker, self.polling.search_deadline(), caller_deadline));
        *self.book_history.baseline_tried_on.lock() = Some(today);
    }

    /// Looks for all orders without a final answer, and tells of those that nobody waits for any more. Without a
    /// hook it only remembers what is here; `recover` tells then. It may be a whole book, or less.
    pub(super) fn scan_book(&self, book: &[Order], is_whole: bool) {
        self.book_history.record_orders(self.pending_intents.today(), book, is_whole);
        let turned_up = self.pending_intents.collect_findings(|intent, known, is_left| {
            let is_here = known.record(
                intent,
                &self.candidates_in_book(intent, known.last_read_before_send, book),
            );
            let is_told = is_here && is_left && self.hooks.on_turned_up.is_set();
            is_told.then(|| self.new_finding(intent, known)).flatten()
        });
        for (intent, Finding { outcome, is_final }) in turned_up {
            if is_final {
                let id = match &outcome {
                    RecoveredOutcome::Placed(id) => Some(id),
                    RecoveredOutcome::PartlyPlaced(order) => order.known_ids().next(),
                    _ => None,
                };
                let end =
                    id.map_or(IntentOutcome::NotPlaced, |id| IntentOutcome::Placed(id.clone()));
                self.pending_intents.record_late_outcome(&intent, &end);
            }
            let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
            self.hooks.on_turned_up.call(&RecoveredOrder { tag, at, order, outcome });
        }
    }

    /// What is to be told of an order: the last word, or that another slice of it is in the market.
    fn new_finding(
        &self,
        intent: &Intent,
        known: &mut ObservedOrder,
    ) -> Option<Finding<RecoveredOutcome>> {
        let shown = known.order_in_book(intent)?;
        if shown.is_final(self.may_resend()) {
            return Some(Finding {
                outcome: RecoveredOutcome::from_order(shown.order),
                is_final: true,
            });
        }
        let words = "it was not seen so far, while other slices of its order were";
        let order = self.partial_result(known, intent, (words, LookupResult::Unclear))?;
        known
            .mark_reported(&order)
            .then(|| Finding { outcome: RecoveredOutcome::from_order(order), is_final: false })
    }
}
