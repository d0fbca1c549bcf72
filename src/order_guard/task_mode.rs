//! The mode of a guard for tasks: it awaits the futures of the broker, and a timer wakes them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::call_mode::{CallMode, Futures, GuardedCalls};
use super::handle::GuardHandle;
use super::reconcile::order_book::SharedOrderBook;
use super::updates::UpdateWatch;
use crate::broker::{
    AsyncBroker, BrokerError, Order, OrderCancel, OrderChange, OrderId, OrderRequest, Rows,
    SlicedOrder,
};
use crate::clock::Timer;
use crate::quota::Moment;

/// Calls and waits are futures.
pub(super) struct TaskMode {
    pub(super) timer: Timer,
    /// The handle of the broker by which the order book is read, if it is another one.
    pub(super) lookup_broker: Option<Arc<dyn AsyncBroker>>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Futures for TaskMode {
    type Call<'a, T> = Boxed<'a, T>;
}

impl CallMode for TaskMode {
    fn pause<'a>(&'a self, watch: &'a UpdateWatch<'a>, until: Moment) -> Boxed<'a, bool> {
        Box::pin(watch.suspend(&self.timer, until))
    }

    fn read_end<'a>(
        &'a self,
        book: &'a SharedOrderBook,
        ended: u64,
        until: Moment,
    ) -> Boxed<'a, ()> {
        Box::pin(book.suspend_until_end(&self.timer, ended, until))
    }
}

impl<B: AsyncBroker> GuardedCalls<TaskMode> for GuardHandle<B, TaskMode> {
    fn send_order<'a>(
        &'a self,
        order: &'a OrderRequest,
    ) -> Boxed<'a, Result<OrderId, BrokerError>> {
        self.inner.place_order(order)
    }

    fn send_sliced<'a>(
        &'a self,
        order: &'a OrderRequest,
    ) -> Boxed<'a, Result<SlicedOrder, BrokerError>> {
        self.inner.place_sliced(order)
    }

    fn send_change<'a>(
        &'a self,
        id: &'a OrderId,
        change: &'a OrderChange,
    ) -> Boxed<'a, Result<OrderId, BrokerError>> {
        self.inner.modify_order(id, change)
    }

    fn send_cancel<'a>(&'a self, id: &'a OrderId) -> Boxed<'a, Result<(), BrokerError>> {
        self.inner.cancel_order(id)
    }

    fn send_cancel_with<'a>(
        &'a self,
        id: &'a OrderId,
        cancel: &'a OrderCancel,
    ) -> Boxed<'a, Result<(), BrokerError>> {
        self.inner.cancel_order_with(id, cancel)
    }

    fn read_orders(&self) -> Boxed<'_, Result<Rows<Order>, BrokerError>> {
        self.inner.orders()
    }

    fn look_up_orders(&self) -> Boxed<'_, Result<Rows<Order>, BrokerError>> {
        match &self.mode().lookup_broker {
            Some(lookup_broker) => lookup_broker.orders(),
            None => self.inner.orders(),
        }
    }

    fn look_up_order<'a>(&'a self, id: &'a OrderId) -> Boxed<'a, Result<Order, BrokerError>> {
        match &self.mode().lookup_broker {
            Some(lookup_broker) => lookup_broker.order(id),
            None => self.inner.order(id),
        }
    }
}
