//! How a guard makes its calls and waits: it blocks a thread, or it awaits futures.
//!
//! What a guard does is written once, as `async fn`s over the two traits here. A guard for threads makes its calls and its
//! waits on the thread of the caller, so each of its futures is ready when it is first polled, and [`block_on`] polls it
//! once. A guard for tasks awaits the futures of its broker.
//!
//! The futures of the second must be `Send`, and those of the first need not be. So the traits do not ask for it: the
//! compiler derives it for the guard that has to be. It can do so only if no type of a future depends on the lifetime of a
//! borrow in a way that it has to prove for all lifetimes. That is why [`Futures`] is a trait of its own, whose type for
//! tasks is a boxed `dyn Future + Send`, and why the drivers take closures that return futures, and no `async` closures.

use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::handle::GuardHandle;
use super::reconcile::order_book::SharedOrderBook;
use super::updates::UpdateWatch;
use crate::broker::{
    Broker, BrokerError, Order, OrderCancel, OrderChange, OrderId, OrderRequest, Rows, SlicedOrder,
};
use crate::clock::Clock;
use crate::quota::Moment;

/// The futures of one mode.
pub(super) trait Futures {
    /// A call or a wait, which may borrow for `'a`.
    type Call<'a, T>: Future<Output = T>;
}

/// A mode: how a guard waits in it.
pub(super) trait CallMode: Futures {
    /// Pauses a search until `until`, or until an update comes. Returns whether one came.
    fn pause<'a>(&'a self, watch: &'a UpdateWatch<'a>, until: Moment) -> Self::Call<'a, bool>;

    /// Waits until more than `ended` reads of the order book have ended, but no longer than until `until`.
    fn read_end<'a>(
        &'a self,
        book: &'a SharedOrderBook,
        ended: u64,
        until: Moment,
    ) -> Self::Call<'a, ()>;
}

/// The calls that a guard makes of its broker. A call for threads is made at once, and not when its future is polled.
pub(super) trait GuardedCalls<C: CallMode> {
    fn send_order<'a>(
        &'a self,
        order: &'a OrderRequest,
    ) -> C::Call<'a, Result<OrderId, BrokerError>>;

    fn send_sliced<'a>(
        &'a self,
        order: &'a OrderRequest,
    ) -> C::Call<'a, Result<SlicedOrder, BrokerError>>;

    fn send_change<'a>(
        &'a self,
        id: &'a OrderId,
        change: &'a OrderChange,
    ) -> C::Call<'a, Result<OrderId, BrokerError>>;

    fn send_cancel<'a>(&'a self, id: &'a OrderId) -> C::Call<'a, Result<(), BrokerError>>;

    fn send_cancel_with<'a>(
        &'a self,
        id: &'a OrderId,
        cancel: &'a OrderCancel,
    ) -> C::Call<'a, Result<(), BrokerError>>;

    /// Reads the order book by the handle of the caller.
    fn read_orders(&self) -> C::Call<'_, Result<Rows<Order>, BrokerError>>;

    /// Reads the order book by the handle for lookups.
    fn look_up_orders(&self) -> C::Call<'_, Result<Rows<Order>, BrokerError>>;

    /// Reads one order by the handle for lookups.
    fn look_up_order<'a>(&'a self, id: &'a OrderId) -> C::Call<'a, Result<Order, BrokerError>>;
}

/// Calls and waits block the thread of the caller.
pub(super) struct ThreadMode {
    pub(super) clock: Clock,
    /// The handle of the broker by which the order book is read, if it is another one.
    pub(super) lookup_broker: Option<Arc<dyn Broker>>,
}

impl Futures for ThreadMode {
    type Call<'a, T> = Ready<T>;
}

impl CallMode for ThreadMode {
    fn pause<'a>(&'a self, watch: &'a UpdateWatch<'a>, until: Moment) -> Ready<bool> {
        ready(watch.pause(&self.clock, until))
    }

    fn read_end<'a>(&'a self, book: &'a SharedOrderBook, ended: u64, until: Moment) -> Ready<()> {
        book.wait_for_end(&self.clock, ended, until);
        ready(())
    }
}

impl<B: Broker> GuardHandle<B, ThreadMode> {
    fn lookup_broker(&self) -> &dyn Broker {
        match &self.mode().lookup_broker {
            Some(lookup_broker) => &**lookup_broker,
            None => &self.inner,
        }
    }
}

impl<B: Broker> GuardedCalls<ThreadMode> for GuardHandle<B, ThreadMode> {
    fn send_order<'a>(&'a self, order: &'a OrderRequest) -> Ready<Result<OrderId, BrokerError>> {
        ready(self.inner.place_order(order))
    }

    fn send_sliced<'a>(
        &'a self,
        order: &'a OrderRequest,
    ) -> Ready<Result<SlicedOrder, BrokerError>> {
        ready(self.inner.place_sliced(order))
    }

    fn send_change<'a>(
        &'a self,
        id: &'a OrderId,
        change: &'a OrderChange,
    ) -> Ready<Result<OrderId, BrokerError>> {
        ready(self.inner.modify_order(id, change))
    }

    fn send_cancel<'a>(&'a self, id: &'a OrderId) -> Ready<Result<(), BrokerError>> {
        ready(self.inner.cancel_order(id))
    }

    fn send_cancel_with<'a>(
        &'a self,
        id: &'a OrderId,
        cancel: &'a OrderCancel,
    ) -> Ready<Result<(), BrokerError>> {
        ready(self.inner.cancel_order_with(id, cancel))
    }

    fn read_orders(&self) -> Ready<Result<Rows<Order>, BrokerError>> {
        ready(self.inner.orders())
    }

    fn look_up_orders(&self) -> Ready<Result<Rows<Order>, BrokerError>> {
        ready(self.lookup_broker().orders())
    }

    fn look_up_order<'a>(&'a self, id: &'a OrderId) -> Ready<Result<Order, BrokerError>> {
        ready(self.lookup_broker().order(id))
    }
}

/// Returns the output of a future of a guard for threads, which is ready when it is first polled. If one is not, the
/// thread sleeps until it is woken: any other answer would be invented.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return output;
    }
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Wakes a thread that is parked.
struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_future_that_is_not_ready_is_waited_for() {
        assert_eq!(block_on(ready(1)), 1);
        let mut polls = 0;
        let third = poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(polls) } else { Poll::Pending }
        });
        assert_eq!(block_on(third), 3);
    }
}
