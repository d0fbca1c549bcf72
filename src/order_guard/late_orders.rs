//! Orders that appear after they were given up.
//!
//! A caller whose order was absent or of unknown outcome got that answer and went on. If the order appears later, it
//! must be reported. No read is made for this alone: every order book that is read through the guard is scanned for
//! all pending orders, and those whose callers were answered are reported.

use std::time::Duration;

use super::call_mode::{CallMode, GuardedCalls};
use super::handle::GuardHandle;
use super::pending::{Finding, IntentOutcome};
use super::reconcile::matching::Intent;
use super::reconcile::observed_order::ObservedOrder;
use super::recover::{RecoveredOrder, RecoveredOutcome};
use super::state::GuardState;
use crate::broker::{LookupResult, Order};
use crate::panic::catch_panic_in;

/// How long an order waits for the read of another order before it is sent: several round trips, and short beside the
/// deadlines of orders.
const BASELINE_WAIT: Duration = Duration::from_secs(2);

impl<B, C: CallMode> GuardHandle<B, C>
where
    Self: GuardedCalls<C>,
{
    /// Reads the order book before the first order with a caller's tag on a day, so that orders in it are not
    /// mistaken for that order. It is tried once a day: if the read fails, no later order waits for it again.
    /// Concurrent orders share the read. No lock is held, because the callback for a late order may place an order.
    ///
    /// The handle of the order reads, so that its deadline applies: an order must not be sent later than its caller
    /// wants. For the read of another caller it waits for [`BASELINE_WAIT`] at most.
    pub(super) async fn read_baseline(&self) {
        let GuardState { pending_intents, book_history, .. } = self.state();
        let today = pending_intents.today();
        if book_history.has_baseline(today) || *book_history.baseline_tried_on.lock() == Some(today)
        {
            return;
        }
        // A panic of the broker is ignored here; the order itself will meet it.
        let mut deadlines = self.read_deadlines();
        let latest = self.state().polling.clock.now() + BASELINE_WAIT;
        deadlines.caller = deadlines.caller.map_or(Some(latest), |caller| Some(caller.min(latest)));
        let read = self.read_book(deadlines, || self.read_orders());
        let _ = catch_panic_in(read).await;
        *book_history.baseline_tried_on.lock() = Some(today);
    }
}

impl GuardState {
    /// Scans `book`, which may be incomplete, for all pending orders, and reports those without a waiting caller.
    /// Without a callback it only records them, for `recover`. Returns the tags of the pending orders that it shows.
    pub(super) fn scan_book(&self, book: &[Order], is_complete: bool) -> Vec<String> {
        let mut shown_tags = Vec::new();
        self.book_history.record_orders(self.pending_intents.today(), book, is_complete);
        let turned_up = self.pending_intents.collect_findings(|intent, observed, is_orphaned| {
            let is_shown = observed.record(
                intent,
                &self.candidates_in_book(intent, observed.last_read_before_send, book),
            );
            if is_shown {
                shown_tags.push(intent.tag.clone());
            }
            let is_reported = is_shown && is_orphaned && self.hooks.on_turned_up.is_set();
            is_reported.then(|| self.new_finding(intent, observed)).flatten()
        });
        for (intent, Finding { outcome, is_final }) in turned_up {
            if is_final {
                self.outcomes.record_late(&outcome);
                let id = match &outcome {
                    RecoveredOutcome::Placed(id) => Some(id),
                    RecoveredOutcome::PartlyPlaced(order) => order.known_ids().next(),
                    _ => None,
                };
                let closed_as =
                    id.map_or(IntentOutcome::NotPlaced, |id| IntentOutcome::Placed(id.clone()));
                self.pending_intents.record_late_outcome(&intent, &closed_as);
            }
            let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
            self.hooks.on_turned_up.call(&RecoveredOrder { tag, at, order, outcome });
        }
        shown_tags
    }

    /// Returns the finding to report of an order: its final outcome, or that another slice is in the market.
    fn new_finding(
        &self,
        intent: &Intent,
        observed: &mut ObservedOrder,
    ) -> Option<Finding<RecoveredOutcome>> {
        let shown = observed.order_in_book(intent)?;
        if shown.is_final(self.may_resend()) {
            return Some(Finding {
                outcome: RecoveredOutcome::from_order(shown.order),
                is_final: true,
            });
        }
        let reason = "it was not seen so far, while other slices of its order were";
        let order = self.partial_result(observed, intent, (reason, LookupResult::Unclear))?;
        observed
            .mark_reported(&order)
            .then(|| Finding { outcome: RecoveredOutcome::from_order(order), is_final: false })
    }
}
