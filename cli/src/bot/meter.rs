//! The meters: calls and orders of the strategies, waits in the queue, and requests on the wire.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lanekeeper::Observer;
use lanekeeper::Sent;
use lanekeeper::broker::{BrokerError, ErrorDetail, OrderId, OrderRequest};
use lanekeeper::lane::FinishedCall;
use lanekeeper::order_guard::RecoveredOrder;

use super::orders::Orders;
use super::tap::CallListener;

/// The meter of the outermost layer: the calls of the strategies, and the outcomes of their orders.
pub struct StrategyMeter {
    may_trade: bool,
    asked: AtomicU64,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default, Clone)]
pub struct StrategySummary {
    pub asked: u64,
    pub orders: Orders,
}

impl StrategyMeter {
    pub fn new(may_trade: bool) -> Self {
        Self { may_trade, asked: AtomicU64::new(0), orders: Mutex::default() }
    }

    pub fn summary(&self) -> StrategySummary {
        StrategySummary {
            asked: self.asked.load(Ordering::Relaxed),
            orders: locked(&self.orders).clone(),
        }
    }
}

impl CallListener for StrategyMeter {
    fn allow_write(&self) -> Result<(), BrokerError> {
        match self.may_trade {
            true => Ok(()),
            false => Err(BrokerError::NotSent(ErrorDetail::new("--live is not set"))),
        }
    }

    fn on_call(&self, _lane: &'static str, _began: Instant, _error: Option<&BrokerError>) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    fn on_order(
        &self,
        order: &OrderRequest,
        began: Instant,
        result: &Result<OrderId, BrokerError>,
    ) {
        locked(&self.orders).record(order, began.elapsed(), result);
    }
}

/// The meter of the innermost layer: the requests to the broker, and their round trips.
#[derive(Default)]
pub struct WireMeter {
    lanes: Mutex<BTreeMap<&'static str, WireStats>>,
}

#[derive(Debug, Default, Clone)]
pub struct WireStats {
    pub sent: u64,
    pub throttled: u64,
    pub round_trips: Vec<Duration>,
}

impl WireMeter {
    pub fn summary(&self) -> BTreeMap<&'static str, WireStats> {
        locked(&self.lanes).clone()
    }

    /// Returns how many requests of `lane` were sent and refused so far.
    pub fn so_far(&self, lane: &str) -> (u64, u64) {
        locked(&self.lanes).get(lane).map_or((0, 0), |lane| (lane.sent, lane.throttled))
    }
}

impl CallListener for WireMeter {
    fn on_call(&self, lane: &'static str, began: Instant, error: Option<&BrokerError>) {
        let round_trip = began.elapsed();
        let mut lanes = locked(&self.lanes);
        let lane = lanes.entry(lane).or_default();
        if error.is_some_and(|error| error.was_sent() == Sent::No) {
            return;
        }
        lane.sent += 1;
        lane.throttled += u64::from(matches!(error, Some(BrokerError::Throttled { .. })));
        lane.round_trips.push(round_trip);
    }
}

/// The meter of the lanes: how long calls were queued.
#[derive(Default)]
pub struct QueueMeter(Mutex<BTreeMap<&'static str, Vec<Duration>>>);

impl QueueMeter {
    pub fn summary(&self) -> BTreeMap<&'static str, Vec<Duration>> {
        locked(&self.0).clone()
    }
}

impl Observer for QueueMeter {
    fn finished(&self, call: &FinishedCall<'_>) {
        locked(&self.0).entry(call.call.lane).or_default().push(call.queued);
    }
}

/// The orders that turned up after their strategies had received an absent or unknown outcome.
#[derive(Default)]
pub struct LateOrders(Mutex<Vec<RecoveredOrder>>);

impl LateOrders {
    pub fn turned_up(&self, order: &RecoveredOrder) {
        locked(&self.0).push(order.clone());
    }

    pub fn summary(&self) -> Vec<RecoveredOrder> {
        locked(&self.0).clone()
    }
}

/// Locks `mutex`, and ignores poisoning: a panic leaves no invalid numbers behind.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
