//! A transparent, paced proxy in front of a brokerage API trait.
//!
//! Many strategies, on threads or in tasks, share one broker account. lanekeeper puts a proxy in front of the broker that
//! implements the same trait: strategy code does not change, does not sleep, and does not meet a rate limit. It makes
//! four promises:
//!
//! 1. **Never over the quota, where it counts: at the broker.** A slot is freed by the *answer*, not by the sending, so
//!    jitter cannot push one call too many into a window. See [`quota`].
//! 2. **All of the quota.** A lane never idles while it has work that its quota permits.
//! 3. **At most once, and always an answer.** A write is executed at most once: it is sent again only if it surely was
//!    not executed, or if the broker itself refuses a second one. Every caller gets exactly one answer, which states
//!    whether the call was sent.
//! 4. **Whatever fails, an exit goes out.** Cancellations and urgent calls are not refused by a circuit breaker or a
//!    full queue, and do not wait behind calls that hang.
//!
//! # Start here
//!
//! | you want | start with |
//! |---|---|
//! | the trait of your strategies | [`Broker`], with [`OrderRequest`], [`OrderId`], [`Quote`], [`BrokerError`] |
//! | all layers in front of any `Broker` | `BrokerProxy::builder(..)`, as below, which ends in a [`Stack`] |
//! | rate limits, queues, retries alone | [`BrokerProxy`] |
//! | an order whose answer is lost | [`OrderGuard`], or `order_guard` on the proxy's builder |
//! | one quote request for all strategies | [`QuoteCache`], or `quote_ttl` on the proxy's builder |
//! | Zerodha's Kite Connect | `Kite` (feature `kite`, on by default) |
//! | its GTT, margins, mutual funds | the traits `KiteGtt`, `KiteMargins`, .. in `brokers::kite` |
//! | its other endpoints | `KiteRaw` in `brokers::kite` |
//! | Alpaca | `Alpaca` (feature `alpaca`) |
//! | priorities, users, deadlines of a call | [`CallOptions`] |
//! | whether a failed call was sent | [`Sent`], by `error.was_sent()` |
//! | other limits | [`Limits`], [`Quota`], [`LaneConfig`] |
//! | a trait of your own | [`#[proxy]`](macro@proxy) |
//! | a long list of reads that disturbs no other call | [`Scan`] |
//! | limits for those who call a server of yours | `RateLimiter` in `limiter` (feature `limiter`) |
//! | several traits over the same lanes, or calls without a trait | [`HasLanes`], [`LaneCall`], [`RouteTable`] |
//! | a client whose calls are futures | `AsyncBroker` (feature `async`), or [`#[proxy]`](macro@proxy) on an asynchronous trait of your own |
//! | unit tests without a network | `MockBroker` (feature `mock`), `PaperBroker` (feature `paper`), [`ManualClock`] |
//!
//! ```
//! # #[cfg(all(feature = "mock", feature = "kite", feature = "journal"))] {
//! use std::time::Duration;
//! use lanekeeper::{Broker, BrokerError, BrokerProxy, Instrument, Kite, OrderRequest, PaceFile, Side};
//! use lanekeeper::rust_decimal::Decimal;
//!
//! // Strategy code is written against the trait, and does not know what is behind it.
//! fn strategy(broker: &dyn Broker) -> Result<(), BrokerError> {
//!     let infy = Instrument::new("NSE", "INFY");
//!     if broker.ltp(&infy)? < Decimal::from(1500) {
//!         broker.place_order(&OrderRequest::market(infy, Side::Buy, 10))?;
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A plain adapter: one request for each call, no pacing, no retries.
//! let kite = Kite::builder().api_key("key").access_token("token").build()?;
//! // The layers in front of it, with the limits that Kite documents.
//! let broker = BrokerProxy::builder(kite)
//!     .pace_log(PaceFile::open("account.pace")?)      // What was sent, for the next process.
//!     .quote_ttl(Duration::from_secs(5))              // One request fetches the quotes for all strategies.
//!     .order_guard(|guard| guard.journal("orders.journal")) // An order whose answer is lost is looked up.
//!     .build()?;
//! for order in broker.recover() {
//!     println!("an order of the previous process: {order:?}");
//! }
//! strategy(&broker)?;
//! // For the code that closes positions: it is not held up by the other calls.
//! let exits = broker.for_exits();
//! # let _ = exits;
//! # Ok(()) }
//!
//! // In a unit test, the same function takes a mock.
//! let mut broker = lanekeeper::MockBroker::new();
//! broker.expect_ltp().returning(|_| Ok(Decimal::from(1600)));
//! strategy(&broker)?; // The price is too high: any order would fail this test.
//! # }
//! # Ok::<(), lanekeeper::BrokerError>(())
//! ```
//!
//! # Layers
//!
//! ```text
//! strategy -> OrderGuard -> QuoteCache -> BrokerProxy -> Kite -> HTTP
//!                                         lanes: schedule, pace, retry, break
//! ```
//!
//! A [`Stack`] has all of them. Each layer is a [`Broker`] in front of a [`Broker`], and can be built alone.
//!
//! | layer | module | types at the root |
//! |---|---|---|
//! | orders | [`broker`] | [`OrderRequest`], [`OrderChange`], [`OrderCancel`], [`MarketProtection`], [`Side`] |
//! | answers | [`broker`] | [`Order`], [`OrderStatus`], [`OrderId`], [`SlicedOrder`], [`Quote`], [`Partial`] |
//! | errors | [`broker`] | [`BrokerError`], [`ErrorDetail`], [`LookupResult`], [`Absence`], [`LaneError`], [`Sent`] |
//! | all layers | [`stack`] | [`Stack`], [`StackBuildError`]; `AsyncStack` for tasks |
//! | order safety | [`order_guard`] | [`OrderGuard`]; `AsyncOrderGuard` for tasks |
//! | quotes | [`cache`] | [`QuoteCache`], [`Instrument`]; `AsyncQuoteCache` for tasks |
//! | calls | [`lane`] | [`CallOptions`], [`Priority`], [`Ticket`], [`Observer`] |
//! | lanes | [`lane`], [`mod@proxy`] | [`Lane`], [`LaneConfig`], [`Status`], [`BuildError`] |
//! | quotas | [`quota`], [`presets`] | [`Limits`], [`Quota`], [`Window`], [`Budget`], [`RttCredit`] |
//! | restarts | [`quota`] | [`PaceSnapshot`], [`PriorUsage`], `PaceFile` |
//! | failures | [`resilience`] | [`RetryPolicy`], [`BreakerPolicy`], [`ThrottlePolicy`] |
//! | adapters | [`brokers`] | `Kite`, `Alpaca`, `PaperBroker`, `MockBroker`; [`Session`], [`ReportedLimits`] |
//! | own adapters | [`broker`] | [`Failure`], [`ErrorClass`], [`Effect`], [`Reachability`], [`Throttling`] |
//! | operation | `config`, `telemetry` | `Config` |
//! | time | [`clock`] | [`Clock`], [`ManualClock`] |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `kite` (default) | the adapter for Zerodha's Kite Connect. Without it there is no HTTP client |
//! | `alpaca` | the adapter for Alpaca |
//! | `paper` | a broker in memory |
//! | `mock` | `MockBroker` |
//! | `journal` | the file of an [`OrderGuard`], and `PaceFile` |
//! | `config` | settings from a file, TOML or YAML |
//! | `async` | `AsyncBroker`: [`Broker`] for clients whose calls are futures |
//! | `responses` | a cache for the answers of chosen methods: [`ResponseStats`](lane::ResponseStats) counts its hits |
//! | `limiter` | a keyed limiter with rules, for the requests that reach a server of yours |
//! | `tower` | layers for services of tower: `outbound` puts lanes in front of an HTTP client; with `limiter`, one for axum and the like |
//! | `redis` | one quota for several processes, and their quotes, through Redis or Valkey; with `limiter`, its storages there |
//! | `metrics`, `tracing` | counters and spans, for any exporter and subscriber |
//!
//! `alpaca`, `kite` and `journal` switch on `arbitrary_precision` of `serde_json`, which holds for every user of that crate in
//! the same build: prices must not go through a float. The crate `lanekeeper-simulator` has a simulated exchange that
//! speaks Kite's wire.

// `#[proxy]` writes paths that begin with `::lanekeeper`. This makes them valid inside the crate too.
extern crate self as lanekeeper;

/// Selects what `#[proxy]` wrote for a build with the feature `responses`, or without it.
#[cfg(feature = "responses")]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_responses {
    ({ $($with:tt)* } { $($without:tt)* }) => { $($with)* };
}

/// Selects what `#[proxy]` wrote for a build with the feature `responses`, or without it.
#[cfg(not(feature = "responses"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_responses {
    ({ $($with:tt)* } { $($without:tt)* }) => { $($without)* };
}

/// Selects what `#[proxy]` wrote for a build with the feature `async`.
#[cfg(feature = "async")]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_async {
    ({ $($with:tt)* }) => { $($with)* };
}

/// Selects what `#[proxy]` wrote for a build with the feature `async`.
#[cfg(not(feature = "async"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_async {
    ({ $($with:tt)* }) => {};
}

/// Selects what `#[proxy]` wrote for a build with the feature `redis`.
#[cfg(feature = "redis")]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_redis {
    ({ $($with:tt)* }) => { $($with)* };
}

/// Selects what `#[proxy]` wrote for a build with the feature `redis`.
#[cfg(not(feature = "redis"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_redis {
    ({ $($with:tt)* }) => {};
}

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
    feature = "alpaca",
    feature = "async",
    feature = "config",
    feature = "journal",
    feature = "kite",
    feature = "limiter",
    feature = "mock",
    feature = "paper",
    feature = "redis",
    feature = "responses",
    feature = "tower"
))]
mod doctests;
#[cfg(feature = "journal")]
mod files;
pub mod lane;
#[cfg(feature = "limiter")]
pub mod limiter;
pub mod order_guard;
#[cfg(feature = "tower")]
pub mod outbound;
#[cfg(feature = "journal")]
mod pace_file;
mod panic;
pub mod presets;
pub mod proxy;
pub mod quota;
#[cfg(feature = "redis")]
mod redis;
mod reported_limits;
pub mod resilience;
pub mod routes;
pub mod scan;
mod sent;
mod session;
#[cfg(feature = "redis")]
pub mod shared_quota;
#[cfg(feature = "redis")]
mod shared_quotes;
pub mod stack;
#[cfg(any(feature = "async", feature = "responses"))]
mod task_flight;
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub mod telemetry;

/// Writes the methods of an implementor of a trait such as [`AsyncBroker`]: from the crate `async-trait`.
#[cfg(feature = "async")]
#[doc(inline)]
pub use async_trait::async_trait;
/// A [`Broker`] whose calls are futures: strategies of tasks are written against it, and a client whose calls are futures
/// implements it. What it means to drop a future is in the chapter "Asynchronous code" of the book.
///
/// ```
/// use lanekeeper::{AsyncBroker, BrokerError, Instrument, OrderId, OrderRequest, Side};
///
/// async fn strategy(broker: &dyn AsyncBroker) -> Result<OrderId, BrokerError> {
///     let infy = Instrument::new("NSE", "INFY");
///     let price = broker.ltp(&infy).await?;
///     broker.place_order(&OrderRequest::limit(infy, Side::Buy, 1, price)).await
/// }
/// # let _ = strategy;
/// ```
#[cfg(feature = "async")]
#[doc(inline)]
pub use broker::AsyncBroker;
/// The lanes in front of an [`AsyncBroker`], which is one itself. A task waits for its turn, and then polls the future of the
/// call itself. With `quote_ttl` and `order_guard` its builder makes an [`AsyncStack`].
///
/// ```
/// # #[cfg(feature = "paper")] {
/// use std::time::Duration;
/// use lanekeeper::{AsyncBroker, AsyncBrokerProxy, CallOptions, ImmediateBroker, PaperBroker};
///
/// // `ImmediateBroker` stands for an adapter with asynchronous calls.
/// let broker = AsyncBrokerProxy::builder(ImmediateBroker(PaperBroker::builder().build()?)).build()?;
/// // For each call of this handle: its user, and how long it may wait for its turn.
/// let alpha = broker.with(CallOptions::new().user("alpha").deadline(Duration::from_secs(5)));
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let margins = alpha.margins().await?;
/// # let _ = margins;
/// # Ok::<(), lanekeeper::BrokerError>(())
/// # })?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "async")]
#[doc(inline)]
pub use broker::AsyncBrokerProxy;
/// Makes an [`AsyncBroker`] of a [`Broker`] that answers at once, for tests of code that is written for tasks.
///
/// ```
/// # #[cfg(feature = "mock")] {
/// use lanekeeper::{AsyncBroker, ImmediateBroker, Instrument, MockBroker};
///
/// let mut mock = MockBroker::new();
/// mock.expect_ltp().returning(|_| Ok(1500.into()));
/// let broker = ImmediateBroker(mock);
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// assert_eq!(broker.ltp(&Instrument::new("NSE", "INFY")).await?, 1500.into());
/// # Ok::<(), lanekeeper::BrokerError>(())
/// # })?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "async")]
#[doc(inline)]
pub use broker::ImmediateBroker;
#[cfg(feature = "mock")]
#[doc(inline)]
pub use broker::MockBroker;
#[doc(inline)]
pub use broker::{
    Absence, Broker, BrokerError, BrokerProxy, ErrorDetail, Instrument, LookupResult,
    MarketProtection, Order, OrderCancel, OrderChange, OrderId, OrderRequest, OrderStatus, Partial,
    Quote, Side, SlicedOrder,
};
#[cfg(feature = "alpaca")]
#[doc(inline)]
pub use brokers::Alpaca;
#[cfg(feature = "kite")]
#[doc(inline)]
pub use brokers::Kite;
#[cfg(feature = "paper")]
#[doc(inline)]
pub use brokers::PaperBroker;
#[cfg(feature = "async")]
#[doc(inline)]
pub use cache::AsyncQuoteCache;
#[doc(inline)]
pub use cache::QuoteCache;
#[doc(inline)]
pub use class::{Effect, ErrorClass, Failure, Reachability, Throttling};
#[doc(inline)]
pub use clock::{Clock, ManualClock};
#[cfg(feature = "config")]
#[doc(inline)]
pub use config::Config;
#[doc(inline)]
pub use lane::{
    CallOptions, Lane, LaneConfig, LaneError, LaneErrorKind, Observer, Priority, Status, Ticket,
};
pub use lanekeeper_macros::proxy;
#[cfg(feature = "async")]
#[doc(inline)]
pub use order_guard::AsyncOrderGuard;
#[doc(inline)]
pub use order_guard::OrderGuard;
#[cfg(feature = "journal")]
#[doc(inline)]
pub use pace_file::{PaceFile, PaceFileError};
#[doc(inline)]
pub use proxy::{BuildError, HasLanes, LaneCall};
#[doc(inline)]
pub use quota::{Budget, Limits, PaceSnapshot, PriorUsage, Quota, RttCredit, Window};
#[doc(inline)]
pub use reported_limits::ReportedLimits;
#[doc(inline)]
pub use resilience::{BreakerPolicy, RetryPolicy, ThrottlePolicy};
#[doc(inline)]
pub use routes::{RouteError, RouteTable};
#[doc(inline)]
pub use scan::Scan;
#[doc(inline)]
pub use sent::Sent;
#[doc(inline)]
pub use session::Session;
#[cfg(feature = "redis")]
#[doc(inline)]
pub use shared_quota::SharedQuota;
#[cfg(feature = "async")]
#[doc(inline)]
pub use stack::AsyncStack;
#[doc(inline)]
pub use stack::{Stack, StackBuildError};
// Their types are in the public interface. Named through here, they have the same versions. jiff uses the time zones of
// the system, or else its bundled copy.
#[doc(no_inline)]
pub use {jiff, rust_decimal};
