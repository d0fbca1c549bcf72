//! The settings of a simulated exchange, and how it starts from them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use rust_decimal::Decimal;

use lanekeeper::broker::{Exchange as Market, lanes};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::presets;
use lanekeeper::quota::Limits;

use crate::accounts::{AccountState, Accounts};
use crate::dispatch::SimulatorState;
use crate::error::SimulatorError;
use crate::exchange::SimulatedExchange;
use crate::faults::Faults;
use crate::http::server::Server;
use crate::latency::Network;
use crate::limits::counter::Algorithm;
use crate::limits::ledger::{Arrival, Ledger};
use crate::mutual_funds::listing::Fund;
use crate::mutual_funds::{FundHolding, MAX_NUMBER};
use crate::observer::RequestObserver;
use crate::order_rules::OrderRules;
use crate::sessions::Sessions;

/// Default bound on reading the head of a request, and on reading its body. hyper's own default for a head.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Default bound on connections. A process may usually have 1,024 files open, and each connection is one.
const MAX_CONNECTIONS: usize = 1000;
/// Bounds latency and jitter: a longer delay is almost certainly a mistake.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// The settings of a [`SimulatedExchange`]; made by [`SimulatedExchange::builder`].
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
    order_rules: OrderRules,
    fund_holdings: Vec<(String, Decimal, Decimal)>,
    observer: Option<RequestObserver>,
    read_timeout: Duration,
    max_connections: usize,
}

impl SimulatorBuilder {
    pub(crate) fn new() -> Self {
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
            order_rules: OrderRules::default(),
            fund_holdings: Vec::new(),
            observer: None,
            read_timeout: READ_TIMEOUT,
            max_connections: MAX_CONNECTIONS,
        }
    }

    /// Sets the address to listen on, which must be a loopback address. Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Sets the bars to replay, on a paper broker with default settings. Default: [`Prices::sample`].
    pub fn prices(mut self, prices: Prices) -> Self {
        self.prices = Some(prices);
        self
    }

    /// Sets the paper broker to trade against, for settings of your own. It has its own prices, so
    /// [`SimulatorBuilder::prices`] is ignored.
    pub fn broker(mut self, broker: PaperBroker) -> Self {
        self.broker = Some(broker);
        self
    }

    /// Sets how requests are counted. Default: the sliding log, the strictest.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets the limits of the lanes that `limits` names, with any number of windows. The other lanes keep
    /// Kite's limits: `transactional` 10/s, `quote` 1/s, `historical` 3/s.
    pub fn limits(mut self, limits: Limits) -> Self {
        for (lane, quota) in limits.lanes() {
            self.limits = self.limits.lane(lane, quota.clone());
        }
        self
    }

    /// Sets whether a refused request uses the quota too. What Kite does is not known. Default: no.
    pub fn count_refused(mut self, count_refused: bool) -> Self {
        self.count_refused = count_refused;
        self
    }

    /// Sets the minimum network delay of each direction. Default: none.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Sets the mean of the exponentially distributed delay that each direction adds to the latency. Default: none.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets the seed of the jitter. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the largest quantity of one order at `market`, for every instrument. A larger order is rejected with
    /// Kite's message. With `autoslice` it is divided into at most 10 slices of this quantity instead.
    /// Default: 100,000 at NSE and BSE, 1,800 at NFO, 1,000 at BFO, and no bound elsewhere.
    pub fn freeze_quantity(
        mut self,
        market: impl Into<Market>,
        quantity: impl Into<Decimal>,
    ) -> Self {
        self.order_rules.set_freeze_quantity(market.into(), quantity.into());
        self
    }

    /// Sets whether an order with a price beyond the circuit limits is rejected, as at Kite. The limits are a fifth
    /// below and above the close of the day before, as [`Quote`](lanekeeper::broker::Quote) shows them. Without
    /// them a limit order can be placed so far from the market that it never fills. Default: yes.
    pub fn circuit_limits(mut self, enforced: bool) -> Self {
        self.order_rules.set_circuit_limits(enforced);
        self
    }

    /// Adds units of a mutual fund that every account holds from the start. `isin` is one of the listing at
    /// `/mf/instruments`. Default: none.
    ///
    /// ```
    /// # use lanekeeper_simulator::SimulatedExchange;
    /// let exchange = SimulatedExchange::builder().fund_holding("INF000P01011", 25, 100).start()?;
    /// # Ok::<(), lanekeeper_simulator::SimulatorError>(())
    /// ```
    pub fn fund_holding(
        mut self,
        isin: impl Into<String>,
        quantity: impl Into<Decimal>,
        average_price: impl Into<Decimal>,
    ) -> Self {
        self.fund_holdings.push((isin.into(), quantity.into(), average_price.into()));
        self
    }

    /// Bounds the time in which a client sends the head of a request, counted from when the connection is ready
    /// for it, and then the time in which it sends the body. A request that takes longer never arrives, and its
    /// connection is closed. A connection is also closed if it is idle for this time, or if its client reads
    /// nothing of a response for this time. Default: 30 s.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Bounds the connections that are open at once. A further connection is closed as soon as it is accepted,
    /// before any of it is read. Set it below the number of files that the process may open: a connection
    /// without a free file descriptor waits, and [`read_timeout`](Self::read_timeout) does not apply to it.
    /// Default: 1000.
    ///
    /// ```
    /// # use lanekeeper_simulator::SimulatedExchange;
    /// let exchange = SimulatedExchange::builder().max_connections(64).start()?;
    /// # Ok::<(), lanekeeper_simulator::SimulatorError>(())
    /// ```
    pub fn max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// Calls `observe` for each request that arrived, when its response is due: with its record, and the time since it
    /// was read, network delays and faults included. A record holds no query, header or body, and so no secrets.
    ///
    /// `observe` runs on the threads of the server and delays the response, so it must be short.
    ///
    /// ```
    /// # use lanekeeper_simulator::SimulatedExchange;
    /// let exchange = SimulatedExchange::builder()
    ///     .on_request(|arrival, latency| {
    ///         eprintln!("{} {} {:?} {latency:?}", arrival.method, arrival.path, arrival.status);
    ///     })
    ///     .start()?;
    /// # Ok::<(), lanekeeper_simulator::SimulatorError>(())
    /// ```
    pub fn on_request(
        mut self,
        observe: impl Fn(&Arrival, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(RequestObserver::new(observe));
        self
    }

    /// Sets the faults to inject. Default: none. A request that the counters refuse, or that has no valid
    /// session, meets no fault.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Starts the exchange.
    ///
    /// # Errors
    /// A setting is invalid, or the address cannot be listened on.
    pub fn start(self) -> Result<SimulatedExchange, SimulatorError> {
        if !self.listen.ip().is_loopback() {
            return Err(SimulatorError::NotLoopback { address: self.listen });
        }
        for (lane, quota) in self.limits.lanes() {
            if !lanes::ALL.contains(&lane) {
                return Err(SimulatorError::UnknownLane { name: lane.to_owned() });
            }
            let invalid = |source| SimulatorError::Quota { lane: lane.to_owned(), source };
            quota.check().map_err(invalid)?;
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
        if let Some(market) = self.order_rules.invalid_exchange() {
            return Err(SimulatorError::Freeze { market: market.clone() });
        }
        let mut initial = AccountState::default();
        for (isin, quantity, average_price) in self.fund_holdings {
            let Some(fund) = Fund::with_isin(&isin) else {
                return Err(SimulatorError::UnknownFund { isin });
            };
            let in_range = |number| number > Decimal::ZERO && number <= MAX_NUMBER;
            if !in_range(quantity) || !in_range(average_price) {
                return Err(SimulatorError::FundHolding { isin });
            }
            initial.funds.holdings.push(FundHolding { fund, quantity, average_price });
        }
        let faults = Mutex::new(self.faults.schedule()?);
        let broker = match self.broker {
            Some(broker) => broker,
            None => {
                let prices = self.prices.unwrap_or_else(Prices::sample);
                PaperBroker::builder().prices(prices).build()?
            }
        };
        let ledger = Ledger::new(&lanes::ALL, &self.limits, self.algorithm, self.count_refused);
        let state = Arc::new(SimulatorState {
            ledger,
            sessions: Sessions::default(),
            accounts: Accounts::new(initial),
            network: Network::new(self.latency, self.jitter, self.seed),
            faults,
            order_rules: self.order_rules,
            observer: self.observer,
            read_timeout: self.read_timeout,
            broker,
        });
        let server = Server::start(self.listen, self.max_connections, state.clone())?;
        Ok(SimulatedExchange::new(server, state))
    }
}

impl SimulatedExchange {
    /// Returns a builder with the default settings.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder::new()
    }
}
