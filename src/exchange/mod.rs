//! A strict exchange for tests and trials, which speaks Zerodha's Kite Connect v3 over real HTTP.
//!
//! The vendor offers no sandbox. This one listens on loopback, trades against a
//! [`PaperBroker`](crate::brokers::PaperBroker), and counts every request to the nanosecond: one
//! request over a limit is refused with 429. The network can be made as slow and as uneven as
//! wanted, which is what brings a careless limiter down.
//!
//! ```
//! use std::time::Duration;
//! use lanekeeper::exchange::SimulatedExchange;
//!
//! let exchange = SimulatedExchange::builder()
//!     .latency(Duration::from_millis(2))
//!     .jitter(Duration::from_millis(1))
//!     .start()?;
//! assert!(exchange.base_url().starts_with("http://127.0.0.1:"));
//! // .. point a client at it, then:
//! assert_eq!(exchange.refused(), 0);
//! # Ok::<(), lanekeeper::exchange::SimulatorError>(())
//! ```
//!
//! The way of a request: it is read, travels (`network`), **arrives** (`request`: it is counted and
//! recorded by `gate`, and done by `wire`), and its answer travels back. A request that was read
//! arrives even if its sender has hung up.
//!
//! What is counted: everything but `/session/token`, and but requests without a valid header or
//! with an address that is too long, which a real exchange turns away at the door.
//!
//! Each `api_key` is counted alone; [`SimulatedExchange::account`] tells how one fared. Orders are refused in Kite's
//! words, where they are known, for a price that is no step of the instrument, a market order without
//! protection, a quantity above the freeze quantity, and fields that are unknown or repeated. Iceberg and
//! cover orders are checked, and rest as one order: the exchange does not simulate their legs.
//!
//! What goes wrong is said by [`Faults`]: which requests (`faults`, `target`), how (`fault`), and what
//! comes of it (`mishap`). The ledger, [`SimulatedExchange::orders`], tells what really happened:
//!
//! ```
//! use std::time::Duration;
//! use lanekeeper::exchange::{SimulatedExchange, Fault, Faults, Rule, Target, Timing};
//!
//! let faults = Faults::new()
//!     .seed(7)
//!     // Three of ten orders are booked, and nobody hears of it.
//!     .rule(Rule::new(Target::Place, Fault::Reset(Timing::After)).share(0.3))
//!     // The first look into the order book gets no answer.
//!     .rule(Rule::new(Target::Orders, Fault::Hang(Timing::Before)).calls([1]));
//! let exchange = SimulatedExchange::builder().faults(faults).start()?;
//! # Ok::<(), lanekeeper::exchange::SimulatorError>(())
//! ```

mod answer;
mod builder;
mod fault;
mod faults;
mod form;
mod gate;
mod handle;
mod mishap;
mod network;
mod patient;
mod payload;
mod request;
mod route;
mod rules;
mod server;
mod sessions;
mod strict;
mod target;
mod wire;

pub use builder::{SimulatorBuilder, SimulatorError};
pub use fault::{Fault, FaultError, RetryAfter, Timing};
pub use faults::{Faults, FaultsError, Rule, RuleError};
pub use gate::{Arrival, RequestCounts};
pub use handle::{Account, PlacedOrder, SimulatedExchange};
pub use strict::{Algorithm, AlgorithmError};
pub use target::{Target, TargetError};
