//! The exchange as its owner holds it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::broker::{Instrument, OrderId, OrderStatus, Side};
use crate::brokers::PaperBroker;

use super::builder::SimulatorBuilder;
use super::faults::{Faults, FaultsError};
use super::gate::{Arrival, RequestCounts};
use super::request::SimulatorState;
use super::server::Server;

/// A running exchange; see the [module](crate::exchange). Stops when dropped.
#[derive(Debug)]
pub struct SimulatedExchange {
    server: Server,
    state: Arc<SimulatorState>,
}

/// A line of the exchange's own ledger: an order it took in.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlacedOrder {
    /// The exchange's name for it.
    pub id: OrderId,
    /// The id of the first slice. None on that slice itself, and on an order that was not divided.
    pub parent: Option<OrderId>,
    /// The client's mark.
    pub tag: Option<String>,
    /// Of what.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub quantity: rust_decimal::Decimal,
    /// Where it stands.
    pub status: OrderStatus,
}

impl SimulatedExchange {
    /// Settings, from which an exchange is started.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder::new()
    }

    pub(super) fn new(server: Server, shared: Arc<SimulatorState>) -> Self {
        Self { server, state: shared }
    }

    /// Where clients find it: `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// What was counted for one `api_key`, as Kite counts each alone. The orders of all keys are in one book.
    pub fn account<'a>(&'a self, api_key: &'a str) -> Account<'a> {
        Account { exchange: self, api_key }
    }

    /// The requests that reached it, in the order of arrival. Of very many, the last million.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.ledger.arrivals(None)
    }

    /// How many requests it refused with 429, over all lanes and accounts.
    pub fn refused(&self) -> u64 {
        self.state.ledger.refused(None)
    }

    /// How the requests of `lane` fared, of all accounts: `transactional`, `quote` or `historical`.
    pub fn counts(&self, lane: &str) -> RequestCounts {
        self.state.ledger.counts(None, lane)
    }

    /// The part of the quota of `lane` that was used, from its first arrival to its last: what was
    /// admitted, by the most that a sliding log can admit in that time. `None` if nothing arrived,
    /// or if the lane has no limit. Of several accounts it is what all of them used, by what all of them
    /// could have used.
    pub fn quota_used(&self, lane: &str) -> Option<f64> {
        self.state.ledger.quota_used(None, lane)
    }

    /// Every order it took in, the oldest first: what really happened, whatever the client was
    /// told. An order that lands later is here when it has landed.
    pub fn orders(&self) -> Vec<PlacedOrder> {
        self.state.broker.map_entries(|entry| PlacedOrder {
            id: entry.order.id.clone(),
            parent: entry.order.parent.clone(),
            tag: entry.order.tag.clone(),
            instrument: entry.order.instrument.clone(),
            side: entry.order.side,
            quantity: entry.order.quantity,
            status: entry.order.status.clone(),
        })
    }

    /// From now on `faults` go wrong, and no longer those before; their counts begin anew. What was
    /// struck already stays struck.
    ///
    /// # Errors
    /// The faults make no sense; then those before stay.
    pub fn set_faults(&self, faults: &Faults) -> Result<(), FaultsError> {
        *self.state.faults.lock() = faults.schedule()?;
        Ok(())
    }

    /// The paper broker behind it.
    pub fn broker(&self) -> &PaperBroker {
        &self.state.broker
    }

    /// Stops it: hangs up on all clients, and waits until its threads are gone. What it recorded
    /// can still be read.
    pub fn shutdown(&mut self) {
        self.server.stop();
    }
}

/// How the requests of one account fared; made by [`SimulatedExchange::account`]. Its `Debug` does not show the key.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    exchange: &'a SimulatedExchange,
    api_key: &'a str,
}

impl Account<'_> {
    /// Its requests, in the order of arrival. Of very many of all accounts, those among the last million.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.exchange.state.ledger.arrivals(Some(self.api_key))
    }

    /// How many of its requests were refused with 429, over all lanes.
    pub fn refused(&self) -> u64 {
        self.exchange.state.ledger.refused(Some(self.api_key))
    }

    /// How its requests of `lane` fared.
    pub fn counts(&self, lane: &str) -> RequestCounts {
        self.exchange.state.ledger.counts(Some(self.api_key), lane)
    }

    /// The part of its quota of `lane` that it used; see [`Exchange::quota_used`].
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
