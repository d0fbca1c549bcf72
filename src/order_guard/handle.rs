//! What a guard does with the calls that it watches, for threads and for tasks.
//!
//! An order is registered before it is sent. If its future is dropped after that, or if the broker panics, its
//! [`ClaimedIntent`] is dropped without an outcome, and the order stays pending for `recover`. Between the registration
//! and the first poll of the call there is no other await, so a dropped order that is registered may have been sent.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::call_mode::{CallMode, GuardedCalls};
use super::pending::{ClaimedIntent, IntentOutcome};
use super::reconcile::amendment;
use super::reconcile::matching::Intent;
use super::reconcile::order_book::ReadDeadlines;
use super::reconcile::resolve::{is_outcome_unknown, unresolved_error};
use super::recover::RecoveredOrder;
use super::state::GuardState;
use super::tags::{CallerTags, validate_caller_tag};
use crate::broker::{
    BrokerError, LookupResult, Order, OrderCancel, OrderChange, OrderId, OrderRequest, Rows,
    SlicedOrder, TagSupport,
};
use crate::quota::Moment;

/// A handle of a guard: the handle of a broker that its calls go to, and what all handles share.
pub(super) struct GuardHandle<B, C> {
    pub(super) inner: B,
    shared: Arc<Shared<C>>,
    /// Whether its orders are exits, which are sent even if the journal cannot record them first.
    is_for_exits: bool,
    /// The maximum wait of a caller once an answer is lost. `None` waits until the search ends.
    max_search_wait: Option<Duration>,
}

struct Shared<C> {
    state: GuardState,
    mode: C,
}

impl<B, C> GuardHandle<B, C> {
    pub(super) fn new(inner: B, state: GuardState, mode: C) -> Self {
        let shared = Arc::new(Shared { state, mode });
        Self { inner, shared, is_for_exits: false, max_search_wait: None }
    }

    pub(super) fn state(&self) -> &GuardState {
        &self.shared.state
    }

    pub(super) fn mode(&self) -> &C {
        &self.shared.mode
    }

    pub(super) fn with_inner<D>(&self, inner: D) -> GuardHandle<D, C> {
        GuardHandle {
            inner,
            shared: Arc::clone(&self.shared),
            is_for_exits: false,
            max_search_wait: self.max_search_wait,
        }
    }

    pub(super) fn for_exits<D>(&self, inner: D) -> GuardHandle<D, C> {
        GuardHandle { is_for_exits: true, ..self.with_inner(inner) }
    }

    pub(super) fn max_search_wait(self, wait: Duration) -> Self {
        Self { max_search_wait: Some(wait), ..self }
    }

    pub(super) fn abandon(&self, tag: &str) -> bool {
        let claimed = self.state().pending_intents.claim_orphaned_by_tag(tag);
        claimed.map(|claimed| claimed.close_as(&IntentOutcome::Forgotten)).is_some()
    }

    pub(super) fn order_update(&self, order: &Order) {
        let shown = self.state().scan_book(std::slice::from_ref(order), false);
        self.state().updates.publish(order, &shown);
    }

    /// Returns the deadlines for the reads of a caller that starts to wait now.
    pub(super) fn read_deadlines(&self) -> ReadDeadlines {
        let polling = &self.state().polling;
        ReadDeadlines { search: polling.search_deadline(), caller: self.caller_deadline() }
    }

    /// Returns when a caller that starts to wait now stops waiting.
    pub(super) fn caller_deadline(&self) -> Option<Moment> {
        self.max_search_wait.map(|wait| self.state().polling.clock.now() + wait)
    }

    /// Returns the order with a unique tag.
    fn new_intent(&self, order: &OrderRequest) -> Result<Intent, BrokerError> {
        let GuardState { caller_tags, tag_generator: tags, polling, order_tags: support, .. } =
            self.state();
        let tag = order.tag.as_deref().unwrap_or_default();
        let (tag, is_caller_tag) = match caller_tags {
            CallerTags::AsIs if !tag.is_empty() => {
                (validate_caller_tag(tag, support)?.to_owned(), true)
            }
            CallerTags::AsIs | CallerTags::Prefix => (tags.next(tag)?, false),
        };
        let at = polling.clock.wall_clock().timestamp;
        Ok(Intent { order: order.clone().tag(tag.clone()), tag, is_caller_tag, at })
    }

    /// Writes the settings of the guard `name`, for `Debug`.
    pub(super) fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result
    where
        B: fmt::Debug,
    {
        let GuardState { polling, caller_tags, order_tags: support, .. } = self.state();
        f.debug_struct(name)
            .field("inner", &self.inner)
            .field("settle_time", &polling.settle_time)
            .field("caller_tags", caller_tags)
            .field("tags", support)
            .finish_non_exhaustive()
    }
}

impl<B, C: CallMode> GuardHandle<B, C>
where
    Self: GuardedCalls<C>,
{
    pub(super) async fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        let claim = self.register_intent(order).await?;
        let unrecorded = UnrecordedReport { state: self.state(), claim: &claim };
        let intent = &claim.intent;
        let answer = self.send_order(&intent.order).await;
        let placed = match answer.map_err(|error| self.judge_first_error(&claim, error)) {
            Err(lost) if is_outcome_unknown(&lost) => {
                let resend = || async {
                    let placed = self.send_order(&intent.order).await;
                    placed.map(|id| SlicedOrder::single(id, intent.order.quantity))
                };
                let resolved = self.resolve_placement(&claim, lost, resend).await;
                resolved.and_then(SlicedOrder::complete)
            }
            Err(BrokerError::PartlyPlaced(order)) => {
                Err(BrokerError::PartlyPlaced(Box::new(intent.with_lookup(*order))))
            }
            known => {
                let GuardState { pending_intents, book_history, .. } = self.state();
                // If the order waited past midnight, `intent.at` is a time of the day before.
                if let (Ok(id), true) = (&known, pending_intents.is_in_todays_book(intent.at)) {
                    book_history.record_placement(pending_intents.today(), id, intent.at);
                }
                known
            }
        };
        drop(unrecorded);
        claim.record_answer(&placed);
        self.state().outcomes.record(&placed, |_| true);
        placed
    }

    pub(super) async fn place_sliced(
        &self,
        order: &OrderRequest,
    ) -> Result<SlicedOrder, BrokerError> {
        let claim = self.register_intent(order).await?;
        let unrecorded = UnrecordedReport { state: self.state(), claim: &claim };
        let intent = &claim.intent;
        let answer = self.send_sliced(&intent.order).await;
        let placed = match answer.map_err(|error| self.judge_first_error(&claim, error)) {
            Err(lost) if is_outcome_unknown(&lost) => {
                let resend = || self.send_sliced(&intent.order);
                let resolved = self.resolve_placement(&claim, lost, resend).await;
                resolved.and_then(SlicedOrder::in_market)
            }
            known => known.map(|order| intent.with_lookup(order)),
        };
        drop(unrecorded);
        match &placed {
            Ok(order) => claim.record_sliced_answer(order),
            Err(error) => claim.record_answer(&Err(error.clone())),
        }
        self.state().outcomes.record(&placed, SlicedOrder::is_placed);
        placed
    }

    pub(super) async fn modify_order(
        &self,
        id: &OrderId,
        change: &OrderChange,
    ) -> Result<OrderId, BrokerError> {
        match self.send_change(id, change).await {
            Err(lost) if is_outcome_unknown(&lost) && !amendment::is_visible(change) => {
                let reason = format!("order {id} does not show {}", amendment::INVISIBLE_PARTS);
                Err(unresolved_error(lost, &reason, None, LookupResult::Unclear))
            }
            Err(lost) if is_outcome_unknown(&lost) => {
                let in_place = self.state().order_tags.is_changed_in_place();
                let read = || self.read_replacement(id);
                let observe =
                    |order: &Order| amendment::check_replaced(id, order, change, in_place);
                self.resolve_by_id(id, lost, read, observe).await
            }
            Err(refused @ BrokerError::Rejected(_))
                if !self.state().order_tags.is_changed_in_place() =>
            {
                self.find_replacement(id, change).await.ok_or(refused)
            }
            known => known,
        }
    }

    pub(super) async fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.cancel_and_resolve(id, || self.send_cancel(id)).await
    }

    pub(super) async fn cancel_order_with(
        &self,
        id: &OrderId,
        cancel: &OrderCancel,
    ) -> Result<(), BrokerError> {
        self.cancel_and_resolve(id, || self.send_cancel_with(id, cancel)).await
    }

    pub(super) async fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        let book = self.read_orders().await?;
        self.state().scan_book(&book, book.problems.is_empty());
        Ok(book)
    }

    pub(super) async fn recover(&self) -> Vec<RecoveredOrder> {
        self.recover_orders(self.state().pending_intents.claim_orphaned()).await
    }

    pub(super) async fn recover_one(&self, tag: &str) -> Option<RecoveredOrder> {
        let claimed = self.state().pending_intents.claim_orphaned_by_tag(tag)?;
        self.recover_orders(vec![claimed]).await.pop()
    }

    /// Reads the order book for a search, by a read that is shared with others, and scans it for other orders.
    pub(super) async fn read_book<F>(
        &self,
        deadlines: ReadDeadlines,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<Rows<Order>>, BrokerError>
    where
        F: Future<Output = Result<Rows<Order>, BrokerError>>,
    {
        let state = self.state();
        let read = state.order_book.read(self.mode(), &state.polling, deadlines, read);
        let book = read.await?;
        state.scan_book(&book, book.problems.is_empty());
        Ok(book)
    }

    /// Registers an order that is about to be sent. Before the first one with a caller's tag, the order book is read;
    /// an exit does not wait for that.
    async fn register_intent(
        &self,
        order: &OrderRequest,
    ) -> Result<ClaimedIntent<'_>, BrokerError> {
        let state = self.state();
        let has_caller_tag = state.caller_tags == CallerTags::AsIs
            && order.tag.as_ref().is_some_and(|tag| !tag.is_empty())
            && *state.order_tags.support() != TagSupport::None;
        if has_caller_tag && !self.is_for_exits {
            self.read_baseline().await;
        }
        let last_read = state.book_history.last_read_number();
        self.new_intent(order)
            .and_then(|intent| state.pending_intents.register(intent, self.is_for_exits, last_read))
            .inspect_err(|error| state.outcomes.record_error(error))
    }
}

impl<B: Clone, C> Clone for GuardHandle<B, C> {
    fn clone(&self) -> Self {
        let Self { inner, shared, is_for_exits, max_search_wait } = self;
        Self {
            inner: inner.clone(),
            shared: Arc::clone(shared),
            is_for_exits: *is_for_exits,
            max_search_wait: *max_search_wait,
        }
    }
}

/// Reports an exit that is not in the journal when it is dropped: after the order was sent, because the callback must not
/// delay it, and also if the future of the order is dropped meanwhile.
struct UnrecordedReport<'a> {
    state: &'a GuardState,
    claim: &'a ClaimedIntent<'a>,
}

impl Drop for UnrecordedReport<'_> {
    fn drop(&mut self) {
        self.state.report_unrecorded(self.claim);
    }
}
