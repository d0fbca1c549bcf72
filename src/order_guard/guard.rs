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
use crate::quota::Moment;

/// A [`Broker`] that finds out what became of an order when the broker within cannot say; see [the
/// module](super). All other calls go through.
///
/// A clone, and a guard made by [`around`](Self::around), share the orders without an answer and
/// the journal.
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
/// Looks into the order book go through the lanes like any other call. Let them go first:
///
/// ```
/// # #[cfg(feature = "paper")] {
/// use lanekeeper::lane::Priority;
/// use lanekeeper::proxy::CallOptions;
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
    /// Its orders are exits: they are sent even if they cannot be written down first.
    is_for_exits: bool,
    /// For how long a caller waits once an answer is lost; `None` as long as it takes.
    max_search_wait: Option<Duration>,
}

impl<B: Broker> OrderGuard<B> {
    /// A guard to be set up.
    pub fn builder(broker: B) -> OrderGuardBuilder<B> {
        OrderGuardBuilder::new(broker)
    }

    pub(super) fn new(within: B, shared: GuardState) -> Self {
        Self { inner: within, state: Arc::new(shared), is_for_exits: false, max_search_wait: None }
    }

    /// The broker within.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// The same guard around another handle of the same broker, as one with other call options.
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
        let shared = Arc::clone(&self.state);
        OrderGuard {
            inner: broker,
            state: shared,
            is_for_exits: false,
            max_search_wait: self.max_search_wait,
        }
    }

    /// The same guard for callers that wait no longer than this once an answer is lost. Then they leave, with
    /// [`OutcomeUnknown`](BrokerError::OutcomeUnknown) and [`LookupResult::NotYet`] in its trail, and go on. Without it a
    /// caller waits for the settle time.
    ///
    /// The order is not lost by that. [`on_turned_up`](OrderGuardBuilder::on_turned_up) is told if it is in a book
    /// that is read later, and [`recover_one`](Self::recover_one) goes on with the search where its caller left it: in a
    /// thread of its own, or with a patience of zero, which is one look each time, from the strategy's own loop.
    ///
    /// A look that this caller sent is waited for: bound it by a deadline of the handle for
    /// [`lookups`](OrderGuardBuilder::lookup_broker). One that another caller sent is not.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use std::time::Duration;
    /// use lanekeeper::broker::{Broker, BrokerError, ErrorDetail, Instrument, MockBroker, OrderRequest, OrderTags, Side};
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
    /// let trail = error.detail().and_then(|detail| detail.lookup.clone()).expect("a trail");
    /// assert_eq!(trail.result, LookupResult::NotYet);
    ///
    /// // Elsewhere, or later.
    /// let found = guard.recover_one(&trail.tag.unwrap_or_default()).expect("nobody else asked");
    /// assert!(matches!(found.outcome, RecoveredOutcome::Absent(_)));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it is another handle of the same guard"]
    pub fn max_search_wait(self, patience: Duration) -> Self {
        Self { max_search_wait: Some(patience), ..self }
    }

    /// The same guard for exits, around a handle of the same broker, as one of
    /// [`Priority::URGENT`](crate::Priority::URGENT): that the order goes first is a matter of the handle. What this
    /// adds is that it is sent even if the journal cannot be written, as on a full disk: a position that cannot be closed is worse than an order
    /// that is not asked after when the process dies within its call.
    /// [`on_unrecorded`](OrderGuardBuilder::on_unrecorded) is told of it.
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

    /// Asks after every order without a final answer: those that an earlier process left in the
    /// journal, and those of this one that were answered as [`OutcomeUnknown`](BrokerError::OutcomeUnknown) or
    /// [`Absent`](BrokerError::Absent), or in part so. Nothing is sent again. Orders under way are
    /// left alone.
    ///
    /// Waits until all are found, or for the settle time. It counts from when an order was given up, so what was
    /// looked for that long already needs two looks at most; and for an order of an earlier process
    /// from when this guard was built, since nobody knows when the other sent its last. What is
    /// [`RecoveredOutcome::Unknown`](super::RecoveredOutcome), or has a slice of unknown outcome, is kept, and asked after again
    /// by the next call; for
    /// an order of another trading day nobody waits. Answers are noted in the journal at the end: if
    /// the process dies before, the next one finds them again.
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
    ///         RecoveredOutcome::Absent(evidence) => println!("{} is not there: {evidence}", order.tag),
    ///         // Somebody has to find out: `forget` it then.
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

    /// The same for the order of this tag alone, which is in the trail of the error that its caller got. `None` if
    /// nothing is to be asked: somebody waits for its answer, or the answer is known, as after
    /// [`on_turned_up`](OrderGuardBuilder::on_turned_up) was told. See [`patience`](Self::max_search_wait) for an example.
    pub fn recover_one(&self, tag: &str) -> Option<RecoveredOrder> {
        let left = self.state.pending_intents.claim_orphaned_by_tag(tag)?;
        self.state.recover_orders(vec![left], self.lookup_broker(), self.caller_deadline()).pop()
    }

    /// Asks no more after the order of this tag, which stayed
    /// [`Unknown`](super::RecoveredOutcome::Unknown): somebody knows by now what became of it, from the
    /// broker's statements or a telephone. Says whether there was one. One whose caller still waits
    /// is left alone, and so is one that [`recover`](Self::recover) asks after at this moment.
    pub fn abandon(&self, tag: &str) -> bool {
        let left = self.state.pending_intents.claim_orphaned_by_tag(tag);
        left.map(|flight| flight.close_as(&IntentOutcome::Forgotten)).is_some()
    }

    /// Hands in the state of an order that was learned elsewhere: from a postback, a stream, a page. If it is
    /// one whose caller was told that it is absent or of unknown outcome, that is settled now, and
    /// [`on_turned_up`](OrderGuardBuilder::on_turned_up) is told; where that is not set this does nothing. The
    /// slices of an order may come one by one: each that is in the market is told, and the last settles it. Give
    /// each order the [id](Order::id) that the broker's book gives it, for by that it is known again. While its caller
    /// waits, the order is found by this as well.
    pub fn order_update(&self, order: &Order) {
        self.state.scan_book(std::slice::from_ref(order), false);
    }

    pub(super) fn state(&self) -> &GuardState {
        &self.state
    }

    /// When a caller leaves that begins to wait now.
    pub(super) fn caller_deadline(&self) -> Option<Moment> {
        self.max_search_wait.map(|patience| self.state.polling.clock.now() + patience)
    }

    pub(super) fn lookup_broker(&self) -> &dyn Broker {
        match &self.state.lookup_broker {
            Some(lookups) => &*lookups.0,
            None => &self.inner,
        }
    }

    /// Notes an order that is about to be sent. Before the first one with a tag of the caller's own the book is read;
    /// an exit does not wait for that.
    fn register_intent(&self, order: &OrderRequest) -> Result<ClaimedIntent<'_>, BrokerError> {
        let shared = &self.state;
        let has_own = shared.caller_tags == CallerTags::AsIs
            && order.tag.as_ref().is_some_and(|tag| !tag.is_empty())
            && *shared.order_tags.support() != TagSupport::None;
        if has_own && !self.is_for_exits {
            // By the handle of the order, whose deadline holds for this too: an order must not go later than its
            // caller would have it.
            shared.read_baseline(&self.inner, self.caller_deadline());
        }
        let begun = shared.book_history.last_read_number();
        shared.pending_intents.register(self.new_intent(order)?, self.is_for_exits, begun)
    }

    /// The order with a tag that no other has.
    fn new_intent(&self, order: &OrderRequest) -> Result<Intent, BrokerError> {
        let GuardState {
            caller_tags,
            tag_generator: tags,
            polling: patience,
            order_tags: support,
            ..
        } = &*self.state;
        let tag = order.tag.as_deref().unwrap_or_default();
        let (tag, own) = match caller_tags {
            CallerTags::AsIs if !tag.is_empty() => {
                (validate_caller_tag(tag, support)?.to_owned(), true)
            }
            CallerTags::AsIs | CallerTags::Prefix => (tags.next(tag)?, false),
        };
        let at = patience.clock.wall_clock().timestamp;
        Ok(Intent { order: order.clone().tag(tag.clone()), tag, own, at })
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
        let placed = match self.inner.place_order(&intent.order) {
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
        placed
    }

    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        let claim = self.register_intent(order)?;
        let intent = Arc::clone(&claim.intent);
        let resend = || self.inner.place_sliced(&intent.order);
        let placed = match self.inner.place_sliced(&intent.order) {
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
                self.resolve_by_id(id, lost, |order| {
                    amendment::check_amended(order, change, in_place)
                })
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
        let Self { inner: within, state: shared, is_for_exits: exits, max_search_wait: patience } =
            self;
        let shared = Arc::clone(shared);
        Self {
            inner: within.clone(),
            state: shared,
            is_for_exits: *exits,
            max_search_wait: *patience,
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for OrderGuard<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GuardState { polling: patience, caller_tags, order_tags: support, .. } = &*self.state;
        f.debug_struct("OrderGuard")
            .field("within", &self.inner)
            .field("settle", &patience.settle_time)
            .field("caller_tags", caller_tags)
            .field("tags", support)
            .finish_non_exhaustive()
    }
}
