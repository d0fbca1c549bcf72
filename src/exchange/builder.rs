//! How an exchange is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use rust_decimal::Decimal;

use crate::broker::{Exchange as Market, lanes};
use crate::brokers::PaperBroker;
use crate::brokers::paper::{PaperBuildError, Prices};
use crate::presets;
use crate::quota::{Limits, QuotaError};

use super::faults::{Faults, FaultsError};
use super::gate::Ledger;
use super::handle::SimulatedExchange;
use super::network::Network;
use super::request::SimulatorState;
use super::rules::OrderRules;
use super::server::Server;
use super::sessions::Sessions;
use super::strict::Algorithm;

/// As long as hyper itself waits for a head.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A process may usually have 1,024 files open, and each connection is one.
const MAX_CONNECTIONS: usize = 1000;
/// Nobody waits longer for a network.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Settings of an [`Exchange`]; made by [`SimulatedExchange::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SimulatorBuilder {
    listen: SocketAddr,
    broker: Option<PaperBroker>,
    prices: Option<Prices>,
    algorithm: Algorithm,
    limits: Limits,
    count_refused: bool,
    latency: Duration,
    jitter: Duration,
    seed: u64,
    faults: Faults,
    rules: OrderRules,
    read_timeout: Duration,
    max_connections: usize,
}

/// An exchange that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// An address that others could reach. The exchange takes any password and is for tests.
    #[error("{address} is not a loopback address; listen on 127.0.0.1 or [::1]")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address is taken, or not there.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The machine gives no threads.
    #[error("cannot start the exchange: {0}")]
    Start(std::io::Error),
    /// A limit for a lane that there is not.
    #[error("there is no lane `{name}`; the lanes are {}", lanes::ALL.join(", "))]
    UnknownLane {
        /// The name.
        name: String,
    },
    /// A limit that cannot be kept.
    #[error("the limit of the lane {lane}: {source}")]
    Quota {
        /// The lane.
        lane: String,
        /// What is wrong with the limit.
        source: QuotaError,
    },
    /// A network slower than an hour.
    #[error("a {what} of {delay:?} is more than an hour")]
    TooSlow {
        /// `latency` or `jitter`.
        what: &'static str,
        /// What was set.
        delay: Duration,
    },
    /// A freeze quantity that no order can meet.
    #[error("the freeze quantity of {market} is not a whole number of at least 1")]
    Freeze {
        /// Of which exchange.
        market: Market,
    },
    /// A time in which no request can be read.
    #[error("a read timeout of zero lets no request in")]
    NoTimeToRead,
    /// A bound that lets no connection in.
    #[error("a bound of zero connections lets nobody in")]
    NoConnections,
    /// Faults that make no sense.
    #[error(transparent)]
    Faults(#[from] FaultsError),
    /// The paper broker cannot be built.
    #[error(transparent)]
    Paper(#[from] PaperBuildError),
}

impl SimulatorBuilder {
    pub(super) fn new() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            broker: None,
            prices: None,
            algorithm: Algorithm::default(),
            limits: presets::kite(),
            count_refused: false,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            seed: 0,
            faults: Faults::new(),
            rules: OrderRules::default(),
            read_timeout: READ_TIMEOUT,
            max_connections: MAX_CONNECTIONS,
        }
    }

    /// Where to listen; loopback only. Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The bars to replay, on a paper broker with the usual settings. Default: [`Prices::sample`].
    pub fn prices(mut self, prices: Prices) -> Self {
        self.prices = Some(prices);
        self
    }

    /// The paper broker to trade against, for those who want their own settings. It has its own
    /// prices: [`SimulatorBuilder::prices`] is not looked at.
    pub fn broker(mut self, broker: PaperBroker) -> Self {
        self.broker = Some(broker);
        self
    }

    /// How requests are counted. Default: the sliding log, the strictest.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The limits of the lanes that `limits` names, of any number of windows. The other lanes keep
    /// Kite's: `transactional` 10/s, `quote` 1/s, `historical` 3/s.
    pub fn limits(mut self, limits: Limits) -> Self {
        for (lane, quota) in limits.lanes() {
            self.limits = self.limits.lane(lane, quota.clone());
        }
        self
    }

    /// Whether a refused request uses the quota too. What Kite does is not known. Default: no.
    pub fn count_refused(mut self, count_refused: bool) -> Self {
        self.count_refused = count_refused;
        self
    }

    /// The least time that a message travels, each way. Default: none.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The mean of what comes on top, each way, exponentially distributed. Default: none.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// The seed of the jitter. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The most that one order at `market` may be for, whatever its instrument. A larger one is refused in
    /// Kite's words, or divided into slices of this quantity if it asks for that by `autoslice`: 10 at
    /// most. Default: 100,000 at NSE and BSE, 1,800 at NFO, 1,000 at BFO, and no bound elsewhere.
    pub fn freeze_quantity(
        mut self,
        market: impl Into<Market>,
        quantity: impl Into<Decimal>,
    ) -> Self {
        self.rules.set_freeze_quantity(market.into(), quantity.into());
        self
    }

    /// How long a client may take to send the head of a request, counted from when the connection is ready
    /// for it, and then its body. After that the connection is closed, and the request never arrived; one
    /// that is idle for so long is closed too. So is one whose client takes nothing of an answer for so
    /// long. Default: 30 s.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// The most connections that are held at once. One more is closed as soon as it is accepted, before
    /// anything of it is read. Set it below the number of files that the process may open: a connection
    /// for which there is no file waits, and [`read_timeout`](Self::read_timeout) does not count for it.
    /// Default: 1000.
    ///
    /// ```
    /// # use lanekeeper::exchange::SimulatedExchange;
    /// let exchange = SimulatedExchange::builder().max_connections(64).start()?;
    /// # Ok::<(), lanekeeper::exchange::SimulatorError>(())
    /// ```
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// What goes wrong on purpose. Default: nothing. A request that the counters refuse, or that has
    /// no valid session, meets no fault.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Starts the exchange.
    ///
    /// # Errors
    /// A setting makes no sense, or the address cannot be listened on.
    pub fn start(self) -> Result<SimulatedExchange, SimulatorError> {
        if !self.listen.ip().is_loopback() {
            return Err(SimulatorError::NotLoopback { address: self.listen });
        }
        for (lane, quota) in self.limits.lanes() {
            if !lanes::ALL.contains(&lane) {
                return Err(SimulatorError::UnknownLane { name: lane.to_owned() });
            }
            let wrong = |source| SimulatorError::Quota { lane: lane.to_owned(), source };
            quota.check().map_err(wrong)?;
        }
        for (what, delay) in [("latency", self.latency), ("jitter", self.jitter)] {
            if delay > MAX_DELAY {
                return Err(SimulatorError::TooSlow { what, delay });
            }
        }
        if self.read_timeout.is_zero() {
            return Err(SimulatorError::NoTimeToRead);
        }
        if self.max_connections == 0 {
            return Err(SimulatorError::NoConnections);
        }
        if let Some(market) = self.rules.invalid_exchange() {
            return Err(SimulatorError::Freeze { market: market.clone() });
        }
        let faults = Mutex::new(self.faults.schedule()?);
        let broker = match self.broker {
            Some(broker) => broker,
            None => {
                let prices = self.prices.unwrap_or_else(Prices::sample);
                PaperBroker::builder().prices(prices).build()?
            }
        };
        let gate = Ledger::new(&lanes::ALL, &self.limits, self.algorithm, self.count_refused);
        let network = Network::new(self.latency, self.jitter, self.seed);
        let (sessions, rules, read_timeout) = (Sessions::default(), self.rules, self.read_timeout);
        let shared = Arc::new(SimulatorState {
            ledger: gate,
            sessions,
            network,
            faults,
            rules,
            read_timeout,
            broker,
        });
        let server = Server::start(self.listen, self.max_connections, shared.clone())?;
        Ok(SimulatedExchange::new(server, shared))
    }
}
