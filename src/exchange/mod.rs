//! A strict exchange for tests and trials, which speaks Zerodha's Kite Connect v3 over real HTTP.
//!
//! The vendor offers no sandbox. This one listens on loopback, trades against a
//! [`PaperBroker`](crate::brokers::PaperBroker), and counts every request to the nanosecond: one
//! request over a limit is refused with 429. The network can be made as slow and as uneven as
//! wanted, which is what brings a careless limiter down.
//!
//! ```
//! use std::time::Duration;
//! use lanekeeper::exchange::Exchange;
//!
//! let exchange = Exchange::builder()
//!     .latency(Duration::from_millis(2))
//!     .jitter(Duration::from_millis(1))
//!     .start()?;
//! assert!(exchange.base_url().starts_with("http://127.0.0.1:"));
//! // .. point a client at it, then:
//! assert_eq!(exchange.refused(), 0);
//! # Ok::<(), lanekeeper::exchange::ExchangeError>(())
//! ```
//!
//! The way of a request, which is where later faults would be put: it is read, travels
//! (`network`), **arrives** (`request`: it is counted and recorded by `gate`, and done by `wire`),
//! and its answer travels back. A request that was read arrives even if its sender has hung up.
//!
//! What is counted: everything but `/session/token`, and but requests without a valid header or
//! with an address that is too long, which a real exchange turns away at the door.

mod answer;
mod builder;
mod form;
mod gate;
mod handle;
mod network;
mod request;
mod route;
mod server;
mod sessions;
mod strict;
mod wire;

pub use builder::{ExchangeBuilder, ExchangeError};
pub use gate::{Arrival, Counts};
pub use handle::{Exchange, PlacedOrder};
pub use strict::{Algorithm, AlgorithmError};
