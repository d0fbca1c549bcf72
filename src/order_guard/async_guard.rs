//! The guard in front of an [`AsyncBroker`].

use std::fmt;
use std::time::Duration;

use super::builder::OrderGuardBuilder;
use super::handle::GuardHandle;
use super::recover::RecoveredOrder;
use super::state::GuardState;
use super::task_mode::TaskMode;
use crate::broker::{
    AsyncBroker, BrokerError, Order, OrderCancel, OrderChange, OrderId, OrderRequest, Rows,
    SlicedOrder, delegate_async_broker,
};
use crate::proxy::{HasLanes, Lanes};

/// An [`AsyncBroker`] that finds the outcome of an order whose answer was lost: what [`OrderGuard`](super::OrderGuard) is in
/// front of a [`Broker`](crate::Broker). All that [the module](super) says holds for it, and its settings are those of the
/// same [builder](OrderGuardBuilder). The futures are `Send`, and work with any executor. The guard starts a timer
/// thread while one of them waits for a moment.
///
/// ```
/// # #[cfg(feature = "mock")] {
/// use std::sync::{Arc, Mutex};
/// use lanekeeper::broker::{
///     AsyncBroker, BrokerError, ErrorDetail, ImmediateBroker, Instrument, MockBroker, Order, OrderId, OrderRequest,
///     OrderStatus, OrderTags, Side,
/// };
/// use lanekeeper::AsyncOrderGuard;
///
/// async fn buy(broker: &dyn AsyncBroker) -> Result<OrderId, BrokerError> {
///     let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10);
///     broker.place_order(&order).await
/// }
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
/// let broker = AsyncOrderGuard::builder(ImmediateBroker(mock)).build()?;
/// # let mut buys = std::pin::pin!(buy(&broker));
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # let answer = buys.as_mut().poll(&mut context);
/// # assert_eq!(answer, std::task::Poll::Ready(Ok(OrderId::new("1512"))));
/// # }
/// # Ok::<(), lanekeeper::order_guard::GuardBuildError>(())
/// ```
///
/// # Futures that are dropped
///
/// A future is dropped if its task is aborted, or if it loses a `select` or a timeout. Nothing is sent again then, and
/// nothing that was sent is forgotten:
///
/// | a future is dropped | then |
/// |---|---|
/// | before its first poll, or while it reads the order book before the first order of a day with a [tag of the caller](super::CallerTags) | nothing was sent, and the tag is free |
/// | of a placement, later | the order may have been sent, so it stays pending: [`recover`](Self::recover) searches for it, [`on_turned_up`](OrderGuardBuilder::on_turned_up) reports it, and the journal has it for the next process. The settle time counts from the drop, or from when its answer was lost |
/// | of a placement that waits in a lane | the lane takes the call back. The guard does not know that, so the order stays pending like one that was sent, and `recover` finds it absent |
/// | of a change or a cancellation | it may have been sent. It is not recorded: read the order |
/// | of `recover` or `recover_one` | its orders stay pending, with the evidence so far |
/// | while it reads the order book for others too | another one of them reads |
///
/// The answer of a dropped placement is lost, and so is its tag, unless the caller set one: [`stats`](Self::stats) counts the
/// order as pending. To wait for a limited time use [`max_search_wait`](Self::max_search_wait), the deadline of the proxy's
/// handle for the wait in the lane, and the timeout of the adapter: with these each order gets an answer.
///
/// A future that is neither polled nor dropped keeps its order, as a thread that hangs does: neither `recover` nor the hook
/// learns of it. It holds up no other caller.
///
/// # What runs while a future is polled
///
/// With a [journal](OrderGuardBuilder::journal), the poll that sends an order first writes and syncs the file, and blocks its
/// thread meanwhile: a few milliseconds on a local disk. Callbacks run within polls too.
pub struct AsyncOrderGuard<B> {
    handle: GuardHandle<B, TaskMode>,
}

impl<B> AsyncOrderGuard<B> {
    pub(super) fn state(&self) -> &GuardState {
        self.handle.state()
    }
}

impl<B: AsyncBroker> AsyncOrderGuard<B> {
    /// Returns a builder for a guard in front of `broker`.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::broker::{AsyncBrokerProxy, ImmediateBroker};
    /// use lanekeeper::{AsyncOrderGuard, CallOptions, PaperBroker, Priority};
    ///
    /// let paper = ImmediateBroker(PaperBroker::builder().build()?);
    /// let proxy = AsyncBrokerProxy::builder(paper).build()?;
    /// let urgent = proxy.with(CallOptions::new().priority(Priority::URGENT));
    /// let broker = AsyncOrderGuard::builder(proxy).lookup_broker(urgent.clone()).build()?;
    /// let exits = broker.for_exits(urgent);
    /// # let _ = exits;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(broker: B) -> OrderGuardBuilder<B, dyn AsyncBroker> {
        OrderGuardBuilder::new(broker)
    }

    pub(super) fn new(inner: B, state: GuardState, tasks: TaskMode) -> Self {
        Self { handle: GuardHandle::new(inner, state, tasks) }
    }

    /// Returns the inner broker.
    pub fn inner(&self) -> &B {
        &self.handle.inner
    }

    /// Returns the lanes of the proxy behind the guard. A call that is sent by them does not pass the guard: place orders
    /// through the guard.
    pub fn lanes(&self) -> &Lanes
    where
        B: HasLanes,
    {
        self.handle.inner.lanes()
    }

    /// Returns the same guard around another handle of the same broker, for example one with other call options; see
    /// [`OrderGuard::with_inner`](super::OrderGuard::with_inner).
    pub fn with_inner<C: AsyncBroker>(&self, broker: C) -> AsyncOrderGuard<C> {
        AsyncOrderGuard { handle: self.handle.with_inner(broker) }
    }

    /// Returns the same guard for callers that wait at most this long once an answer is lost; see
    /// [`OrderGuard::max_search_wait`](super::OrderGuard::max_search_wait). A caller waits for a read that it sent itself, so
    /// give the adapter a timeout: a deadline of the lanes does not end a call of a task that has begun.
    #[must_use = "it is another handle of the same guard"]
    pub fn max_search_wait(self, wait: Duration) -> Self {
        Self { handle: self.handle.max_search_wait(wait) }
    }

    /// Returns the same guard for exits, around a handle of the same broker, for example one with
    /// [`Priority::URGENT`](crate::Priority::URGENT); see [`OrderGuard::for_exits`](super::OrderGuard::for_exits).
    pub fn for_exits<C: AsyncBroker>(&self, broker: C) -> AsyncOrderGuard<C> {
        AsyncOrderGuard { handle: self.handle.for_exits(broker) }
    }

    /// Searches for every order without a final answer: those that an earlier process left in the journal, those of this one
    /// that ended as of unknown outcome or absent, and those whose futures were dropped. Nothing is sent again; see
    /// [`OrderGuard::recover`](super::OrderGuard::recover).
    pub async fn recover(&self) -> Vec<RecoveredOrder> {
        self.handle.recover().await
    }

    /// Like [`recover`](Self::recover), for the order with this tag alone. Returns `None` if there is nothing to search for;
    /// see [`OrderGuard::recover_one`](super::OrderGuard::recover_one).
    pub async fn recover_one(&self, tag: &str) -> Option<RecoveredOrder> {
        self.handle.recover_one(tag).await
    }

    /// Stops searching for the order with this tag, because its outcome is known from elsewhere. Returns whether there was
    /// such an order; see [`OrderGuard::abandon`](super::OrderGuard::abandon).
    pub fn abandon(&self, tag: &str) -> bool {
        self.handle.abandon(tag)
    }

    /// Records the state of an order from another source, such as a postback; see
    /// [`OrderGuard::order_update`](super::OrderGuard::order_update).
    pub fn order_update(&self, order: &Order) {
        self.handle.order_update(order);
    }
}

impl<B: HasLanes> HasLanes for AsyncOrderGuard<B> {
    fn lanes(&self) -> &Lanes {
        self.handle.inner.lanes()
    }
}

#[allow(renamed_and_removed_lints)] // In what async-trait writes for the methods that are forwarded.
#[crate::async_trait]
impl<B: AsyncBroker> AsyncBroker for AsyncOrderGuard<B> {
    delegate_async_broker! {
        to self.handle.inner;
        except place_order, place_sliced, modify_order, cancel_order, cancel_order_with, orders
    }

    async fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.handle.place_order(order).await
    }

    async fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        self.handle.place_sliced(order).await
    }

    async fn modify_order(
        &self,
        id: &OrderId,
        change: &OrderChange,
    ) -> Result<OrderId, BrokerError> {
        self.handle.modify_order(id, change).await
    }

    async fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.handle.cancel_order(id).await
    }

    async fn cancel_order_with(
        &self,
        id: &OrderId,
        cancel: &OrderCancel,
    ) -> Result<(), BrokerError> {
        self.handle.cancel_order_with(id, cancel).await
    }

    async fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        self.handle.orders().await
    }
}

impl<B: Clone> Clone for AsyncOrderGuard<B> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone() }
    }
}

impl<B: fmt::Debug> fmt::Debug for AsyncOrderGuard<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt_as("AsyncOrderGuard", f)
    }
}
