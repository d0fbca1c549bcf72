//! One look into the order book for everybody who waits for one.
//!
//! When a broker falters it loses many orders at once, and each of them would ask for the whole book
//! again and again. So whoever asks while a look is under way waits, and shares the next one: a look
//! counts for a caller only if it was sent after the caller asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::broker::{Broker, BrokerError, Order};

/// The order book, as it was last read.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Numbers the askings and the sendings, so that their order is known even if the clock stands.
    numbers: AtomicU64,
    /// Held while the broker is asked: that is what the others wait for.
    last: Mutex<Option<Reading>>,
}

#[derive(Debug)]
struct Reading {
    sent: u64,
    orders: Result<Arc<[Order]>, BrokerError>,
}

impl Book {
    /// The book, by a look that is sent after this is called.
    pub(super) fn read(&self, broker: &dyn Broker) -> Result<Arc<[Order]>, BrokerError> {
        let asked = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock();
        if let Some(reading) = last.as_ref().filter(|reading| reading.sent > asked) {
            return reading.orders.clone();
        }
        let sent = self.numbers.fetch_add(1, Ordering::Relaxed);
        let orders = broker.orders().map(Arc::from);
        *last = Some(Reading { sent, orders: orders.clone() });
        orders
    }
}
