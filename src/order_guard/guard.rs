//! The guard in front of a [`Broker`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::builder::OrderGuardBuilder;
use super::pending::{ClaimedIntent, IntentOutcome};
use super::reconcile::amendment;
use super::reconcile::matching::Intent;
use super::reconcile::resolve::{is_outcome_unknown, unresolved_error};
use super::recover::RecoveredOrder;
use super::state::GuardState;
use super::tags::{CallerTags, validate_caller_tag};
use crate::broker::{
    Broker, BrokerError, LookupResult, Order, OrderCancel, OrderChange, OrderId, OrderRequest,
    Rows, SlicedOrder, TagSupport, delegate_broker,
};
use crate::proxy::{HasLanes, Lanes};
use crate::quota::Moment;

/// A [`Broker`] that finds the outcome of an order whose answer was lost; see [the module](super). All other calls
/// pass through.
///
/// Clones, and guards from [`with_inner`](Self::with_inner), share the pending orders and the journal.
///
/// ```
/// # #[cfg(feature = "mock")] {
/// use lanekeeper::broker::{
///     Broker, BrokerError, ErrorDetail, Instrument, MockBroker, Order, OrderId, OrderRequest, OrderStatus,
///     OrderTags, Side,
/// };
/// use lanekeeper::OrderGuard;
/// use std::sync::{Arc, Mutex};
///
/// // A broker that books the order, and whose answer is lost.
/// let book = Arc::new(Mutex::new(Vec::new()));
/// let mut mock = MockBroker::new();
/// mock.expect_order_tags().returning(|| OrderTags::echoed(20));
/// let booked = Arc::clone(&book);
/// mock.expect_place_order().times(1).returning(move |order| {
///     booked.lock().unwrap().push(Order::new(OrderId::new("1512"), OrderStatus::Open, order));
///     Err(BrokerError::OutcomeUnknown(ErrorDetail::new("connection reset")))
/// });
/// mock.expect_orders().returning(move || Ok(book.lock().unwrap().clone().into()));
///
/// let broker = OrderGuard::builder(mock).build()?;
/// let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10);
/// assert_eq!(broker.place_order(&order), Ok(OrderId::new("1512")));
/// # }
/// # Ok::<(), lanekeeper::order_guard::GuardBuildError>(())
/// ```
///
/// `BrokerProxy::builder(..).order_guard(..)` builds the guard with the lanes, as a [`Stack`](crate::Stack). A guard
/// that is built alone reads the order book like any other call. Give it a handle with priority for that:
///
/// ```
/// # #[cfg(feature = "paper")] {
/// use lanekeeper::lane::Priority;
/// use lanekeeper::CallOptions;
/// use lanekeeper::{BrokerProxy, OrderGuard, PaperBroker};
///
/// let broker = BrokerProxy::builder(PaperBroker::builder().build()?).build()?;
/// let urgent = broker.with(CallOptions::new().priority(Priority::URGENT));
/// let broker = OrderGuard::builder(broker).lookup_broker(urgent).build()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OrderGuard<B> {
    inner: B,
    state: Arc<GuardState>,
    /// Whether its orders are exits, which are sent even if the journal cannot record them first.
    is_for_exits: bool,
    /// The maximum wait of a caller once an answer is lost. `None` waits until the search ends.
    max_search_wait: Option<Duration>,
}

impl<B> OrderGuard<B> {
    pub(super) fn state(&self) -> &GuardState {
        &self.state
    }
}

impl<B: Broker> OrderGuard<B> {
    /// Returns a builder for a guard in front of `broker`.
    pub fn builder(broker: B) -> OrderGuardBuilder<B> {
        OrderGuardBuilder::new(broker)
    }

    pub(super) fn new(inner: B, state: GuardState) -> Self {
        Self { inner, state: Arc::new(state), is_for_exits: false, max_search_wait: None }
    }

    /// Returns the inner broker.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Returns the lanes of the proxy behind the guard, for example to send a call that no trait declares. Such a call
    /// does not pass the guard: place orders through the guard.
    pub fn lanes(&self) -> &Lanes
    where
        B: HasLanes,
    {
        self.inner.lanes()
    }

    /// Returns the same guard around another handle of the same broker, for example one with other call options.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::lane::CallOptions;
    /// use lanekeeper::{BrokerProxy, OrderGuard, PaperBroker};
    ///
    /// let proxy = BrokerProxy::builder(PaperBroker::builder().build()?).build()?;
    /// let broker = OrderGuard::builder(proxy.clone()).build()?;
    /// let alpha = broker.with_inner(proxy.with(CallOptions::new().user("alpha")));
    /// # let _ = alpha;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_inner<C: Broker>(&self, broker: C) -> OrderGuard<C> {
        OrderGuard {
            inner: broker,
            state: Arc::clone(&self.state),
            is_for_exits: false,
            max_search_wait: self.max_search_wait,
        }
    }

    /// Returns the same guard for callers that wait at most this long once an answer is lost. Then they get
    /// [`OutcomeUnknown`](BrokerError::OutcomeUnknown) with [`LookupResult::NotYet`]. Without it a caller waits for
    /// the settle time.
    ///
    /// The order stays pending. [`on_turned_up`](OrderGuardBuilder::on_turned_up) is called if an order book that is
    /// read later shows it. [`recover_one`](Self::recover_one) continues the search: in another thread, or from the
    /// strategy's own loop with a wait of zero, which is one read each time.
    ///
    /// The caller waits for a read that it sent itself: bound it with a deadline on the handle of
    /// [`lookup_broker`](OrderGuardBuilder::lookup_broker). It does not wait for a read of another caller.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use std::time::Duration;
    /// use lanekeeper::broker::{
    ///     Broker, BrokerError, ErrorDetail, Instrument, MockBroker, OrderRequest, OrderTags, Side,
    /// };
    /// use lanekeeper::order_guard::RecoveredOutcome;
    /// use lanekeeper::{ManualClock, OrderGuard, LookupResult};
    ///
    /// // A broker that loses the order on the way.
    /// let mut mock = MockBroker::new();
    /// mock.expect_order_tags().returning(|| OrderTags::echoed(20));
    /// let lost = || BrokerError::OutcomeUnknown(ErrorDetail::new("connection reset"));
    /// mock.expect_place_order().times(1).returning(move |_| Err(lost()));
    /// mock.expect_orders().returning(|| Ok(Vec::new().into()));
    ///
    /// let clock = ManualClock::auto_advancing();
    /// let guard = OrderGuard::builder(std::sync::Arc::new(mock)).clock(clock.clone()).build()?;
    /// let strategy = guard.clone().max_search_wait(Duration::from_secs(1));
    /// let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10);
    /// let error = strategy.place_order(&order).unwrap_err();
    /// let lookup = error.detail().and_then(|detail| detail.lookup.clone()).expect("a lookup");
    /// assert_eq!(lookup.result, LookupResult::NotYet);
    ///
    /// // In another thread, or later.
    /// let tag = lookup.tag.unwrap_or_default();
    /// let found = guard.recover_one(&tag).expect("no other search has it");
    /// assert!(matches!(found.outcome, RecoveredOutcome::Absent(_)));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it is another handle of the same guard"]
    pub fn max_search_wait(self, wait: Duration) -> Self {
        Self { max_search_wait: Some(wait), ..self }
    }

    /// Returns the same guard for exits, around a handle of the same broker, for example one with
    /// [`Priority::URGENT`](crate::Priority::URGENT). The handle decides the priority. This guard adds that an order
    /// is sent even if the journal cannot be written, as on a full disk: a position that cannot be closed is worse
    /// than an order that is not recovered if the process dies during its call.
    /// [`on_unrecorded`](OrderGuardBuilder::on_unrecorded) is then called.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::lane::{CallOptions, Priority};
    /// use lanekeeper::{Broker, BrokerProxy, Instrument, OrderGuard, OrderRequest, PaperBroker, Side};
    ///
    /// let proxy = BrokerProxy::builder(PaperBroker::builder().build()?).build()?;
    /// let urgent = proxy.with(CallOptions::new().priority(Priority::URGENT));
    /// let broker = OrderGuard::builder(proxy).build()?;
    /// let exits = broker.for_exits(urgent);
    /// exits.place_order(&OrderRequest::market(Instrument::new("NSE", "YESBANK"), Side::Sell, 1))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_exits<C: Broker>(&self, broker: C) -> OrderGuard<C> {
        OrderGuard { is_for_exits: true, ..self.with_inner(broker) }
    }

    /// Searches for every order without a final answer: those that an earlier process left in the journal, and those
    /// of this one that ended as [`OutcomeUnknown`](BrokerError::OutcomeUnknown) or [`Absent`](BrokerError::Absent),
    /// wholly or in part. Nothing is sent again. Orders in flight are left alone.
    ///
    /// Waits until all are found, or for the settle time, which counts from when an order was given up. So an order
    /// that was searched for that long needs at most two more reads. For an order of an earlier process it counts from
    /// when this guard was built, because it is unknown when that process sent its last order. An order of another
    /// trading day is not waited for.
    ///
    /// An order with the outcome [`RecoveredOutcome::Unknown`](super::RecoveredOutcome), or with a slice of unknown
    /// outcome, stays pending for the next call. Outcomes are recorded in the journal at the end: if the process dies
    /// before, the next one finds them again.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::order_guard::RecoveredOutcome;
    /// use lanekeeper::{OrderGuard, PaperBroker};
    ///
    /// let broker = OrderGuard::builder(PaperBroker::builder().build()?).build()?;
    /// for order in broker.recover() {
    ///     match &order.outcome {
    ///         RecoveredOutcome::Placed(id) => println!("{} is order {id}", order.tag),
    ///         RecoveredOutcome::PartlyPlaced(slices) => println!("{}: {slices}", order.tag),
    ///         RecoveredOutcome::Rejected(why) => println!("{} was rejected: {why}", order.tag),
    ///         RecoveredOutcome::Absent(evidence) => println!("{} is absent: {evidence}", order.tag),
    ///         // The outcome must be found by other means. Then call `abandon`.
    ///         other => println!("{}: {other:?}", order.tag),
    ///     }
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recover(&self) -> Vec<RecoveredOrder> {
        self.state.recover_orders(
            self.state.pending_intents.claim_orphaned(),
            self.lookup_broker(),
            self.caller_deadline(),
        )
    }

    /// Like [`recover`](Self::recover), for the order with this tag alone; the tag is in the
    /// [`OrderLookup`](crate::broker::OrderLookup) of its error. Returns `None` if there is nothing to search for: a
    /// caller waits for its answer, or the answer is known, as after
    /// [`on_turned_up`](OrderGuardBuilder::on_turned_up). See [`max_search_wait`](Self::max_search_wait) for an
    /// example.
    pub fn recover_one(&self, tag: &str) -> Option<RecoveredOrder> {
        let claimed = self.state.pending_intents.claim_orphaned_by_tag(tag)?;
        self.state.recover_orders(vec![claimed], self.lookup_broker(), self.caller_deadline()).pop()
    }

    /// Stops searching for the order with this tag, which stayed [`Unknown`](super::RecoveredOutcome::Unknown),
    /// because its outcome is known from elsewhere, such as the broker's statements or a telephone call. Returns
    /// whether there was such an order. An order stays pending if its caller still waits, or if
    /// [`recover`](Self::recover) is searching for it.
    pub fn abandon(&self, tag: &str) -> bool {
        let claimed = self.state.pending_intents.claim_orphaned_by_tag(tag);
        claimed.map(|claimed| claimed.close_as(&IntentOutcome::Forgotten)).is_some()
    }

    /// Records the state of an order from another source: a postback, a stream, a web page. If the order was reported
    /// as absent or of unknown outcome, [`on_turned_up`](OrderGuardBuilder::on_turned_up) is called and the outcome is
    /// final. Without that callback, the state is only kept for [`recover`](Self::recover).
    ///
    /// The slices of an order may arrive one by one: each one in the market is reported, and the last one makes the
    /// outcome final. Each order needs the [id](Order::id) of the broker's order book, which identifies it later. If
    /// its caller still waits for a lost answer, the update settles the outcome at once: of a placement if it shows
    /// the whole order, and of a change or a cancellation if it shows a final state. Any other update of that order
    /// leads to a read soon, because it may be older than the write.
    ///
    /// An update has to be authentic: for a postback of Kite see `brokers::kite::postback`.
    pub fn order_update(&self, order: &Order) {
        let shown = self.state.scan_book(std::slice::from_ref(order), false);
        self.state.updates.publish(order, &shown);
    }

    /// Returns when a caller that starts to wait now stops waiting.
    pub(super) fn caller_deadline(&self) -> Option<Moment> {
        self.max_search_wait.map(|wait| self.state.polling.clock.now() + wait)
    }

    pub(super) fn lookup_broker(&self) -> &dyn Broker {
        match &self.state.lookup_broker {
            Some(lookup_broker) => &*lookup_broker.0,
            None => &self.inner,
        }
    }

    /// Registers an order that is about to be sent. Before the first one with a caller's tag, the order book is read;
    /// an exit does not wait for that.
    fn register_intent(&self, order: &OrderRequest) -> Result<ClaimedIntent<'_>, BrokerError> {
        let state = &self.state;
        let has_caller_tag = state.caller_tags == CallerTags::AsIs
            && order.tag.as_ref().is_some_and(|tag| !tag.is_empty())
            && *state.order_tags.support() != TagSupport::None;
        if has_caller_tag && !self.is_for_exits {
            // The handle of the order reads, so that its deadline applies: an order must not be sent later than its
            // caller wants.
            state.read_baseline(&self.inner, self.caller_deadline());
        }
        let last_read = state.book_history.last_read_number();
        self.new_intent(order)
            .and_then(|intent| state.pending_intents.register(intent, self.is_for_exits, last_read))
            .inspect_err(|error| state.outcomes.record_error(error))
    }

    /// Returns the order with a unique tag.
    fn new_intent(&self, order: &OrderRequest) -> Result<Intent, BrokerError> {
        let GuardState { caller_tags, tag_generator: tags, polling, order_tags: support, .. } =
            &*self.state;
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
}

impl<B: HasLanes> HasLanes for OrderGuard<B> {
    fn lanes(&self) -> &Lanes {
        self.inner.lanes()
    }
}

impl<B: Broker> Broker for OrderGuard<B> {
    delegate_broker! {
        to self.inner;
        except place_order, place_sliced, modify_order, cancel_order, cancel_order_with, orders
    }

    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        let claim = self.register_intent(order)?;
        let intent = Arc::clone(&claim.intent);
        let resend = || {
            let placed = self.inner.place_order(&intent.order);
            placed.map(|id| SlicedOrder::single(id, intent.order.quantity))
        };
        let answer = self.inner.place_order(&intent.order);
        let placed = match answer.map_err(|error| self.judge_first_error(&claim, error)) {
            Err(lost) if is_outcome_unknown(&lost) => {
                self.resolve_placement(&claim, lost, resend).and_then(SlicedOrder::complete)
            }
            Err(BrokerError::PartlyPlaced(order)) => {
                Err(BrokerError::PartlyPlaced(Box::new(intent.with_lookup(*order))))
            }
            known => {
                // If the order waited past midnight, `intent.at` is a time of the day before.
                if let (Ok(id), true) =
                    (&known, self.state.pending_intents.is_in_todays_book(intent.at))
                {
                    self.state.book_history.record_placement(
                        self.state.pending_intents.today(),
                        id,
                        intent.at,
                    );
                }
                known
            }
        };
        // Reported after the order was sent, because the callback must not delay it.
        self.state.report_unrecorded(&claim);
        claim.record_answer(&placed);
        self.state.outcomes.record(&placed, |_| true);
        placed
    }

    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        let claim = self.register_intent(order)?;
        let intent = Arc::clone(&claim.intent);
        let resend = || self.inner.place_sliced(&intent.order);
        let answer = self.inner.place_sliced(&intent.order);
        let placed = match answer.map_err(|error| self.judge_first_error(&claim, error)) {
            Err(lost) if is_outcome_unknown(&lost) => {
                self.resolve_placement(&claim, lost, resend).and_then(SlicedOrder::in_market)
            }
            known => known.map(|order| intent.with_lookup(order)),
        };
        self.state.report_unrecorded(&claim);
        match &placed {
            Ok(order) => claim.record_sliced_answer(order),
            Err(error) => claim.record_answer(&Err(error.clone())),
        }
        self.state.outcomes.record(&placed, SlicedOrder::is_placed);
        placed
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        match self.inner.modify_order(id, change) {
            Err(lost) if is_outcome_unknown(&lost) && !amendment::is_visible(change) => {
                let reason = format!("order {id} does not show {}", amendment::INVISIBLE_PARTS);
                Err(unresolved_error(lost, &reason, None, LookupResult::Unclear))
            }
            Err(lost) if is_outcome_unknown(&lost) => {
                let in_place = self.state.order_tags.is_changed_in_place();
                let read = || self.read_replacement(id);
                self.resolve_by_id(id, lost, read, |order| {
                    amendment::check_replaced(id, order, change, in_place)
                })
            }
            Err(refused @ BrokerError::Rejected(_))
                if !self.state.order_tags.is_changed_in_place() =>
            {
                self.find_replacement(id, change).ok_or(refused)
            }
            known => known,
        }
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.cancel_and_resolve(id, || self.inner.cancel_order(id))
    }

    fn cancel_order_with(&self, id: &OrderId, cancel: &OrderCancel) -> Result<(), BrokerError> {
        self.cancel_and_resolve(id, || self.inner.cancel_order_with(id, cancel))
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        let book = self.inner.orders()?;
        self.state.scan_book(&book, book.problems.is_empty());
        Ok(book)
    }
}

impl<B: Clone> Clone for OrderGuard<B> {
    fn clone(&self) -> Self {
        let Self { inner, state, is_for_exits, max_search_wait } = self;
        Self {
            inner: inner.clone(),
            state: Arc::clone(state),
            is_for_exits: *is_for_exits,
            max_search_wait: *max_search_wait,
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for OrderGuard<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GuardState { polling, caller_tags, order_tags: support, .. } = &*self.state;
        f.debug_struct("OrderGuard")
            .field("inner", &self.inner)
            .field("settle_time", &polling.settle_time)
            .field("caller_tags", caller_tags)
            .field("tags", support)
            .finish_non_exhaustive()
    }
}
