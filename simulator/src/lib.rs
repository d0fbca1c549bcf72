//! A strict simulated exchange for tests and trials, which speaks Zerodha's Kite Connect v3 over real HTTP.
//!
//! Kite offers no sandbox. The simulator listens on loopback and trades against a
//! [`PaperBroker`](lanekeeper::brokers::PaperBroker). It counts every request to the nanosecond and refuses one
//! that is over a limit with 429. The network can be made as slow and as uneven as a test needs: jitter is what
//! makes a careless rate limiter exceed a limit.
//!
//! ```
//! use std::time::Duration;
//! use lanekeeper_simulator::SimulatedExchange;
//!
//! let exchange = SimulatedExchange::builder()
//!     .latency(Duration::from_millis(2))
//!     .jitter(Duration::from_millis(1))
//!     .start()?;
//! assert!(exchange.base_url().starts_with("http://127.0.0.1:"));
//! // .. point a client at it, then:
//! assert_eq!(exchange.refused(), 0);
//! # Ok::<(), lanekeeper_simulator::SimulatorError>(())
//! ```
//!
//! The command `lanekeeper exchange`, of the crate `lanekeeper-cli`, runs it as a process of its own.
//!
//! # The path of a request
//!
//! `http::server` reads the request and delays it (`latency`). Then it **arrives**: `handler` authenticates it,
//! `limits::ledger` counts and records it, and `dispatch` executes it by way of `wire`, on the paper broker and on the
//! `accounts`. Its response is delayed too. A request that was read completely arrives even if its sender has closed
//! the connection.
//!
//! # What is counted
//!
//! Every request is counted, except those to `/session/token` and `/session/refresh_token`, requests without a valid
//! header, and requests with an address that is too long: a real exchange rejects those before it counts them. Each
//! `api_key` is counted alone; [`SimulatedExchange::account`] returns the counts of one.
//!
//! # Orders
//!
//! Orders are rejected with Kite's message, where it is known: for a price that is not a multiple of the tick size, a
//! price beyond the circuit limits, a market order without protection, a quantity above the freeze quantity, and
//! unknown or repeated fields.
//!
//! Only regular orders are simulated. After market, cover, iceberg and auction orders are rejected, since they would be
//! filled like regular ones. The market is always open: the tape of prices does not stop.
//!
//! # The other routes
//!
//! Every REST route that Kite's official Python client uses is answered, and its methods work unchanged.
//!
//! - GTTs are triggered by the prices of the paper broker. Price alerts are kept, and none is ever met.
//! - Mutual funds are three invented ones, whose orders stay open until they are cancelled.
//! - Margins are what the paper broker would block. Charges are informative: it takes none.
//! - Each `api_key` has its own GTTs, alerts and mutual funds. Orders, positions and holdings are one account for all.
//!
//! # Faults
//!
//! [`Faults`] inject failures: rules choose the requests ([`Rule`], [`Target`]) and the failure ([`Fault`]).
//! [`SimulatedExchange::orders`] shows what really happened:
//!
//! ```
//! use std::time::Duration;
//! use lanekeeper_simulator::{SimulatedExchange, Fault, Faults, Rule, Target, Timing};
//!
//! let faults = Faults::new()
//!     .seed(7)
//!     // Three of ten orders are placed, and their clients receive no answer.
//!     .rule(Rule::new(Target::Place, Fault::Reset(Timing::After)).share(0.3))
//!     // The first read of the order book gets no answer.
//!     .rule(Rule::new(Target::Orders, Fault::Hang(Timing::Before)).calls([1]));
//! let exchange = SimulatedExchange::builder().faults(faults).start()?;
//! # Ok::<(), lanekeeper_simulator::SimulatorError>(())
//! ```

mod accounts;
mod alerts;
mod builder;
mod dispatch;
mod error;
mod exchange;
mod faults;
mod gtt;
mod handler;
mod http;
mod latency;
mod limits;
mod mutual_funds;
mod observer;
mod order_rules;
mod route;
mod sessions;
mod wire;

pub use builder::SimulatorBuilder;
pub use error::SimulatorError;
pub use exchange::{Account, PlacedOrder, SimulatedExchange};
pub use faults::fault::{Fault, FaultError, RetryAfter, Timing};
pub use faults::target::{Target, TargetError};
pub use faults::{Faults, FaultsError, Rule, RuleError};
pub use limits::counter::{Algorithm, AlgorithmError};
pub use limits::ledger::{Arrival, RequestCounts};
