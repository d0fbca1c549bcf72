//! An asynchronous broker whose calls stop where the test wants.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use lanekeeper::broker::{
    AsyncBroker, BrokerError, ImmediateBroker, Order, OrderChange, OrderId, OrderRequest,
    OrderTags, Rows, SlicedOrder,
};
use lanekeeper::order_guard::{AsyncOrderGuard, OrderGuardBuilder};
use lanekeeper::{Broker as _, delegate_async_broker};

use super::shaky::{SETTLE, Shaky};

/// Where a call stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Gate {
    /// Before it has any effect at the broker, as one that waits in a lane.
    BeforeWrite,
    /// After its effect, before its answer.
    AfterWrite,
    /// A read, before its answer.
    Read,
}

/// The broker. Clones are the same.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) shaky: Shaky,
    inner: ImmediateBroker<Shaky>,
    gates: Arc<Mutex<Gates>>,
}

#[derive(Default)]
struct Gates {
    closed: HashSet<Gate>,
    waiting: HashMap<Gate, Vec<Waker>>,
    /// How many calls may pass each closed gate.
    passes: HashMap<Gate, u32>,
    /// In place of all gates, for a model: at how many polls in a row a call stops.
    stops: Option<fastrand::Rng>,
}

impl Held {
    pub(crate) fn new(tags: OrderTags) -> Self {
        let shaky = Shaky::new(tags);
        Self { inner: ImmediateBroker(shaky.clone()), shaky, gates: Arc::default() }
    }

    pub(crate) fn echoed() -> Self {
        Self::new(OrderTags::echoed(20))
    }

    pub(crate) fn guarded(&self) -> OrderGuardBuilder<Self, dyn AsyncBroker> {
        let guard = AsyncOrderGuard::builder(self.clone()).settle_time(SETTLE);
        guard.clock(self.shaky.clock.clone())
    }

    pub(crate) fn guard(&self) -> AsyncOrderGuard<Self> {
        self.guarded().build().unwrap()
    }

    pub(crate) fn close(&self, gate: Gate) {
        self.gates.lock().unwrap().closed.insert(gate);
    }

    pub(crate) fn open(&self, gate: Gate) {
        let waiting = {
            let mut gates = self.gates.lock().unwrap();
            gates.closed.remove(&gate);
            gates.waiting.remove(&gate)
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Lets one call pass a closed gate.
    pub(crate) fn let_through(&self, gate: Gate) {
        let waiting = {
            let mut gates = self.gates.lock().unwrap();
            *gates.passes.entry(gate).or_default() += 1;
            gates.waiting.remove(&gate)
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Makes each call stop at a random number of polls, where it would stop at gates.
    pub(crate) fn stop_at_random(&self, seed: u64) {
        self.gates.lock().unwrap().stops = Some(fastrand::Rng::with_seed(seed));
    }

    pub(crate) fn placed_and_reads(&self) -> (usize, usize) {
        self.shaky.placed_and_reads()
    }

    async fn pass(&self, gate: Gate) {
        let mut stops = self.gates.lock().unwrap().stops.as_mut().map(|random| random.u32(0..3));
        poll_fn(|context| {
            if let Some(left) = &mut stops {
                let is_over = *left == 0;
                *left = left.saturating_sub(1);
                context.waker().wake_by_ref();
                return if is_over { Poll::Ready(()) } else { Poll::Pending };
            }
            let mut gates = self.gates.lock().unwrap();
            if !gates.closed.contains(&gate) {
                return Poll::Ready(());
            }
            if let Some(left) = gates.passes.get_mut(&gate).filter(|left| **left > 0) {
                *left -= 1;
                return Poll::Ready(());
            }
            gates.waiting.entry(gate).or_default().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn write<T>(
        &self,
        write: impl FnOnce(&Shaky) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        self.pass(Gate::BeforeWrite).await;
        let answer = write(&self.shaky);
        self.pass(Gate::AfterWrite).await;
        answer
    }
}

#[lanekeeper::async_trait]
impl AsyncBroker for Held {
    async fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.write(|shaky| shaky.place_order(order)).await
    }

    async fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        self.write(|shaky| shaky.place_sliced(order)).await
    }

    async fn modify_order(
        &self,
        id: &OrderId,
        change: &OrderChange,
    ) -> Result<OrderId, BrokerError> {
        self.write(|shaky| shaky.modify_order(id, change)).await
    }

    async fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.write(|shaky| shaky.cancel_order(id)).await
    }

    async fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        let book = self.shaky.orders();
        self.pass(Gate::Read).await;
        book
    }

    async fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        let history = self.shaky.order_history(id);
        self.pass(Gate::Read).await;
        history
    }

    delegate_async_broker! {
        to self.inner;
        except place_order, place_sliced, modify_order, cancel_order, cancel_order_with, orders,
            order_history, order
    }
}
