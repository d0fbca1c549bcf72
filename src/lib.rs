//! A transparent, paced proxy in front of a brokerage API trait.
//!
//! Many synchronous strategy threads share one broker account. lanekeeper puts a proxy in front of
//! the broker that still is the broker's trait: strategy code does not change, never sleeps, and
//! never meets a rate limit. It makes four promises:
//!
//! 1. **Never over the quota, where it counts: at the broker.** Slots are stamped by the *answer*,
//!    not by the sending, so jitter on the way cannot push one call too many into a window. See
//!    [`quota`].
//! 2. **All of the quota.** A lane never idles while it has work that its allowance permits.
//! 3. **At most once, and always an answer.** A write is executed at most once: it is sent again only
//!    if it surely was not, or if the broker itself refuses a second. Every caller gets exactly one
//!    answer, which says whether the call was sent.
//! 4. **Whatever fails, an exit goes out.** Cancellations and urgent calls are not refused by a circuit
//!    breaker or a full queue, and do not wait behind calls that hang.
//!
//! ```
//! # #[cfg(all(feature = "mock", feature = "kite"))] {
//! use std::time::Duration;
//! use lanekeeper::{Broker, BrokerError, BrokerProxy, Instrument, Kite, OrderRequest, Side};
//! use lanekeeper::rust_decimal::Decimal;
//!
//! // Strategy code is written against the trait, and stays as it is.
//! fn strategy(broker: &dyn Broker) -> Result<(), BrokerError> {
//!     let infy = Instrument::new("NSE", "INFY");
//!     if broker.ltp(&infy)? < Decimal::from(1500) {
//!         broker.place_order(&OrderRequest::market(infy, Side::Buy, 10))?;
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A plain, unpaced adapter, and the proxy in front of it: Kite's documented limits by default.
//! let kite = Kite::builder().api_key("key").access_token("token").build()?;
//! let broker = BrokerProxy::builder(kite).quote_ttl(Duration::from_secs(5)).build()?;
//! # Ok(()) }
//!
//! // In a unit test, the same function of a mock.
//! let mut broker = lanekeeper::MockBroker::new();
//! broker.expect_ltp().returning(|_| Ok(Decimal::from(1600)));
//! strategy(&broker)?; // Too dear: any order would fail this test.
//! # }
//! # Ok::<(), lanekeeper::BrokerError>(())
//! ```
//!
//! # Layers
//!
//! ```text
//! strategy -> OrderGuard -> QuoteCache -> BrokerProxy (lanes: schedule, pace, retry, break) -> Kite -> HTTP
//! ```
//!
//! - [`broker`] is the trait and the nouns of trading.
//! - [`quota`] is windows and pacing, as pure functions of time.
//! - [`lane`] is one lane, with its queue and its workers.
//! - [`mod@proxy`] is what the attribute [`#[proxy]`](macro@proxy) expands against. It works on any
//!   trait of yours.
//! - [`cache`] is one quote request for everybody.
//! - [`resilience`] is what keeps a failure from becoming two orders, or none.
//! - [`brokers`] are adapters.
//! - [`presets`] are the limits that brokers document.
//! - [`clock`] is the one place that knows what time it is, and has a clock for tests.
//! - `config` (a feature) is settings from a file.
//! - `telemetry` (the features `metrics` and `tracing`) tells exporters and subscribers how it goes.
//!
//! # Features
//!
//! `kite` (default) is the adapter for Zerodha's Kite Connect; `paper` a broker in memory; `mock` the mock broker;
//! `journal` the file of an [`OrderGuard`]; `config` settings from a file, TOML or YAML; `metrics` and
//! `tracing` report the calls to whatever exporter and subscriber is installed. Without default features there
//! is no HTTP client.
//!
//! Two crates of the same repository come on top: `lanekeeper-simulator`, a strict exchange on loopback that
//! speaks Kite's wire, and `lanekeeper-cli`, the command `lanekeeper`.
//!
//! `kite` and `journal` switch on `arbitrary_precision` of `serde_json`, which holds for every user of that
//! crate in the same build: prices must not go through a float.

// Lets `#[proxy]`, which writes `::lanekeeper::..`, serve inside the crate too.
extern crate self as lanekeeper;

#[cfg(any(feature = "config", feature = "journal", feature = "paper"))]
mod bounded;
pub mod broker;
pub mod brokers;
pub mod cache;
mod class;
pub mod clock;
#[cfg(feature = "config")]
pub mod config;
#[cfg(all(
    doctest,
    feature = "config",
    feature = "journal",
    feature = "kite",
    feature = "mock",
    feature = "paper"
))]
mod doctests;
#[cfg(feature = "journal")]
mod files;
pub mod lane;
pub mod order_guard;
#[cfg(feature = "journal")]
mod pace_file;
mod panic;
pub mod presets;
pub mod proxy;
pub mod quota;
pub mod resilience;
mod sent;
mod session;
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub mod telemetry;

#[cfg(feature = "mock")]
pub use broker::MockBroker;
pub use broker::{
    Absence, Broker, BrokerError, BrokerProxy, ErrorDetail, Instrument, LookupResult,
    MarketProtection, Order, OrderCancel, OrderChange, OrderId, OrderRequest, OrderStatus, Partial,
    Quote, Side, SlicedOrder,
};
#[cfg(feature = "kite")]
pub use brokers::Kite;
#[cfg(feature = "paper")]
pub use brokers::PaperBroker;
pub use cache::QuoteCache;
pub use class::{Effect, ErrorClass, Failure, Reachability, Throttling};
pub use clock::{Clock, ManualClock};
#[cfg(feature = "config")]
pub use config::Config;
pub use lane::{CallOptions, Lane, LaneConfig, LaneError, Priority, Status, Ticket};
pub use lanekeeper_macros::proxy;
pub use order_guard::OrderGuard;
#[cfg(feature = "journal")]
pub use pace_file::{PaceFile, PaceFileError};
pub use proxy::{BuildError, Observer};
pub use quota::{Budget, Limits, PaceSnapshot, PriorUsage, Quota, RttCredit, Window};
pub use resilience::{BreakerPolicy, RetryPolicy, ThrottlePolicy};
pub use sent::Sent;
pub use session::Session;
// Types of theirs are in our interface: use them through here, and versions agree. jiff has the time
// zones of the system, or else a copy of its own.
pub use {jiff, rust_decimal};
