//! The guard in front of a [`Broker`].

use std::fmt;
use std::time::Duration;

use super::builder::OrderGuardBuilder;
use super::call_mode::{ThreadMode, block_on};
use super::handle::GuardHandle;
use super::recover::RecoveredOrder;
use super::state::GuardState;
use crate::broker::{
    Broker, BrokerError, Order, OrderCancel, OrderChange, OrderId, OrderRequest, Rows, SlicedOrder,
    delegate_broker,
};
use crate::proxy::{HasLanes, Lanes};

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
    handle: GuardHandle<B, ThreadMode>,
}

impl<B> OrderGuard<B> {
    pub(super) fn state(&self) -> &GuardState {
        self.handle.state()
    }
}

impl<B: Broker> OrderGuard<B> {
    /// Returns a builder for a guard in front of `broker`.
    pub fn builder(broker: B) -> OrderGuardBuilder<B> {
        OrderGuardBuilder::new(broker)
    }

    pub(super) fn new(inner: B, state: GuardState, threads: ThreadMode) -> Self {
        Self { handle: GuardHandle::new(inner, state, threads) }
    }

    /// Returns the inner broker.
    pub fn inner(&self) -> &B {
        &self.handle.inner
    }

    /// Returns the lanes of the proxy behind the guard, for example to send a call that no trait declares. Such a call
    /// does not pass the guard: place orders through the guard.
    pub fn lanes(&self) -> &Lanes
    where
        B: HasLanes,
    {
        self.handle.inner.lanes()
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
        OrderGuard { handle: self.handle.with_inner(broker) }
    }

    /// Returns the same guard for callers that wait at most this long once an answer is lost. Then they get
    /// [`OutcomeUnknown`](BrokerError::OutcomeUnknown) with [`NotYet`](crate::LookupResult::NotYet). Without it a caller waits for
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
        Self { handle: self.handle.max_search_wait(wait) }
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
        OrderGuard { handle: self.handle.for_exits(broker) }
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
        block_on(self.handle.recover())
    }

    /// Like [`recover`](Self::recover), for the order with this tag alone; the tag is in the
    /// [`OrderLookup`](crate::broker::OrderLookup) of its error. Returns `None` if there is nothing to search for: a
    /// caller waits for its answer, or the answer is known, as after
    /// [`on_turned_up`](OrderGuardBuilder::on_turned_up). See [`max_search_wait`](Self::max_search_wait) for an
    /// example.
    pub fn recover_one(&self, tag: &str) -> Option<RecoveredOrder> {
        block_on(self.handle.recover_one(tag))
    }

    /// Stops searching for the order with this tag, which stayed [`Unknown`](super::RecoveredOutcome::Unknown),
    /// because its outcome is known from elsewhere, such as the broker's statements or a telephone call. Returns
    /// whether there was such an order. An order stays pending if its caller still waits, or if
    /// [`recover`](Self::recover) is searching for it.
    pub fn abandon(&self, tag: &str) -> bool {
        self.handle.abandon(tag)
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
        self.handle.order_update(order);
    }
}

impl<B: HasLanes> HasLanes for OrderGuard<B> {
    fn lanes(&self) -> &Lanes {
        self.handle.inner.lanes()
    }
}

impl<B: Broker> Broker for OrderGuard<B> {
    delegate_broker! {
        to self.handle.inner;
        except place_order, place_sliced, modify_order, cancel_order, cancel_order_with, orders
    }

    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        block_on(self.handle.place_order(order))
    }

    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        block_on(self.handle.place_sliced(order))
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        block_on(self.handle.modify_order(id, change))
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        block_on(self.handle.cancel_order(id))
    }

    fn cancel_order_with(&self, id: &OrderId, cancel: &OrderCancel) -> Result<(), BrokerError> {
        block_on(self.handle.cancel_order_with(id, cancel))
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        block_on(self.handle.orders())
    }
}

impl<B: Clone> Clone for OrderGuard<B> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone() }
    }
}

impl<B: fmt::Debug> fmt::Debug for OrderGuard<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt_as("OrderGuard", f)
    }
}
