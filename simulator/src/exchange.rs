//! The handle of a running exchange: what it counted, recorded and booked.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use lanekeeper::broker::{Instrument, OrderId, OrderStatus, Side};
use lanekeeper::brokers::PaperBroker;

use crate::dispatch::SimulatorState;
use crate::faults::{Faults, FaultsError};
use crate::http::server::Server;
use crate::limits::ledger::{Arrival, RequestCounts};

/// A running simulated exchange; see the [crate documentation](crate). It stops when dropped.
#[derive(Debug)]
pub struct SimulatedExchange {
    server: Server,
    state: Arc<SimulatorState>,
}

/// An order that the exchange accepted, as its own records have it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlacedOrder {
    /// The id that the exchange gave it.
    pub id: OrderId,
    /// The id of the first slice; `None` on that slice and on an order that was not divided.
    pub parent: Option<OrderId>,
    /// The tag that the client set.
    pub tag: Option<String>,
    /// The instrument.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// The quantity.
    pub quantity: rust_decimal::Decimal,
    /// The present status.
    pub status: OrderStatus,
}

impl SimulatedExchange {
    pub(crate) fn new(server: Server, state: Arc<SimulatorState>) -> Self {
        Self { server, state }
    }

    /// Returns the base URL for clients: `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Returns what was counted for one `api_key`: Kite counts each key alone. The orders of all keys are in one
    /// order book.
    pub fn account<'a>(&'a self, api_key: &'a str) -> Account<'a> {
        Account { exchange: self, api_key }
    }

    /// Returns the requests that arrived, in the order of arrival: at most the last million.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.ledger.arrivals(None)
    }

    /// Returns how many requests were refused with 429, over all lanes and accounts.
    pub fn refused(&self) -> u64 {
        self.state.ledger.refused(None)
    }

    /// Returns the request counts of `lane` over all accounts: `transactional`, `quote` or `historical`.
    pub fn counts(&self, lane: &str) -> RequestCounts {
        self.state.ledger.counts(None, lane)
    }

    /// Returns the used share of the quota of `lane`, from its first arrival to its last: the admitted requests
    /// divided by the most that a sliding log can admit in that time. Over several accounts, both are sums.
    /// Returns `None` if no request arrived, or if the lane has no limit.
    pub fn quota_used(&self, lane: &str) -> Option<f64> {
        self.state.ledger.quota_used(None, lane)
    }

    /// Returns every order that was accepted, the oldest first: what really happened, whatever response the
    /// client received. An order that a fault delays is here once it is placed.
    pub fn orders(&self) -> Vec<PlacedOrder> {
        self.state.broker.backend().map_entries(|entry| PlacedOrder {
            id: entry.order.id.clone(),
            parent: entry.order.parent.clone(),
            tag: entry.order.tag.clone(),
            instrument: entry.order.instrument.clone(),
            side: entry.order.side,
            quantity: entry.order.quantity,
            status: entry.order.status.clone(),
        })
    }

    /// Replaces the faults; the counts of the new rules begin at zero. A fault that was already injected into a
    /// request still takes its course.
    ///
    /// # Errors
    /// A rule is invalid. The present faults then stay in force.
    pub fn set_faults(&self, faults: &Faults) -> Result<(), FaultsError> {
        *self.state.faults.lock() = faults.schedule()?;
        Ok(())
    }

    /// Returns the paper broker behind the exchange.
    pub fn broker(&self) -> &PaperBroker {
        &self.state.broker
    }

    /// Closes all connections, stops the server, and blocks until its threads have ended. The records can still
    /// be read.
    pub fn shutdown(&mut self) {
        self.server.stop();
    }
}

/// The requests of one account; made by [`SimulatedExchange::account`]. Its `Debug` does not show the key.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    exchange: &'a SimulatedExchange,
    api_key: &'a str,
}

impl Account<'_> {
    /// Returns its requests in the order of arrival: those among the last million of all accounts.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.exchange.state.ledger.arrivals(Some(self.api_key))
    }

    /// Returns how many of its requests were refused with 429, over all lanes.
    pub fn refused(&self) -> u64 {
        self.exchange.state.ledger.refused(Some(self.api_key))
    }

    /// Returns the counts of its requests of `lane`.
    pub fn counts(&self, lane: &str) -> RequestCounts {
        self.exchange.state.ledger.counts(Some(self.api_key), lane)
    }

    /// Returns the share of its quota of `lane` that it used; see [`SimulatedExchange::quota_used`].
    pub fn quota_used(&self, lane: &str) -> Option<f64> {
        self.exchange.state.ledger.quota_used(Some(self.api_key), lane)
    }
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

impl Drop for SimulatedExchange {
    fn drop(&mut self) {
        self.shutdown();
    }
}
