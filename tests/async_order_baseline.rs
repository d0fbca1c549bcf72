//! An order with a caller's tag behind a task that reads the order book and is not polled any more.
#![cfg(all(feature = "async", feature = "mock"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{
    AsyncBroker, AsyncBrokerProxy, BrokerError, ImmediateBroker, Order, OrderId, OrderRequest,
    OrderTags, Rows, lanes,
};
use lanekeeper::order_guard::AsyncOrderGuard;
use lanekeeper::quota::{Limits, Moment, Quota};
use lanekeeper::{
    CallOptions, Instrument, ManualClock, MockBroker, PriorUsage, Side, delegate_async_broker,
};
use support::tasks::Task;

const SECOND: Duration = Duration::from_secs(1);

struct Adapter {
    inner: ImmediateBroker<MockBroker>,
    clock: ManualClock,
    reads: Arc<AtomicUsize>,
    placed: Arc<Mutex<Vec<Moment>>>,
}

#[lanekeeper::async_trait]
impl AsyncBroker for Adapter {
    delegate_async_broker! { to self.inner; except orders, place_order, place_sliced, order_tags }

    async fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        // The first read waits for an answer, the others have one.
        if self.reads.fetch_add(1, Ordering::SeqCst) == 0 {
            pending::<()>().await;
        }
        Ok(Rows::default())
    }

    async fn place_order(&self, _: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.placed.lock().unwrap().push(self.clock.now());
        Ok(OrderId::new("1"))
    }

    fn order_tags(&self) -> OrderTags {
        OrderTags::echoed(20)
    }
}

fn limits() -> Limits {
    lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
        .budget(lanes::ORDERS, Quota::unlimited())
}

fn order(tag: &str) -> OrderRequest {
    OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1).tag(tag)
}

#[test]
fn an_order_is_not_sent_later_than_its_caller_wants() {
    let clock = ManualClock::new();
    let (reads, placed) = (Arc::default(), Arc::<Mutex<Vec<Moment>>>::default());
    let inner = ImmediateBroker(MockBroker::new());
    let adapter = Adapter { inner, clock: clock.clone(), reads, placed: Arc::clone(&placed) };
    let proxy = AsyncBrokerProxy::builder(adapter)
        .limits(limits())
        .prior_usage(PriorUsage::None)
        .clock(clock.clone())
        .build()
        .unwrap();
    // For the strategies of which orders are worthless after 5 s.
    let hasty = proxy.with(CallOptions::new().deadline(5 * SECOND));
    let guard = AsyncOrderGuard::builder(hasty).clock(clock.clone()).build().unwrap();
    let task = |tag: &str| {
        let (guard, order) = (guard.clone(), order(tag));
        Task::waiting(async move { guard.place_order(&order).await })
    };
    let (_stuck, mut second) = (task("a"), task("b"));
    let began = clock.now();
    clock.advance(3 * SECOND);
    assert_eq!(second.run(), Ok(OrderId::new("1")));
    let late = placed.lock().unwrap().first().map(|at| at.since(began));
    assert_eq!(late, Some(3 * SECOND));
}
