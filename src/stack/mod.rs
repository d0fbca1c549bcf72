//! The whole stack in front of one adapter, built in one step: order guard, quote cache and lanes.
//!
//! ```text
//! strategy -> OrderGuard -> QuoteCache -> BrokerProxy -> adapter
//! ```
//!
//! ```
//! # #[cfg(feature = "paper")] {
//! use std::time::Duration;
//! use lanekeeper::{Broker, BrokerProxy, Instrument, OrderRequest, PaperBroker, Side, Stack};
//!
//! let broker: Stack<PaperBroker> = BrokerProxy::builder(PaperBroker::builder().build()?)
//!     .quote_ttl(Duration::from_secs(5))
//!     .order_guard(|guard| guard.settle_time(Duration::from_secs(30)))
//!     .build()?;
//!
//! let yes = Instrument::new("NSE", "YESBANK");
//! broker.ltp(&yes)?;
//! broker.place_order(&OrderRequest::market(yes.clone(), Side::Buy, 10))?;
//! // For the code that closes positions: urgent, and sent even if the journal cannot be written.
//! broker.for_exits().place_order(&OrderRequest::market(yes, Side::Sell, 10))?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A part alone has a builder of its own: [`BrokerProxy::builder`](crate::BrokerProxy::builder) without
//! [`order_guard`](crate::broker::BrokerProxyBuilder::order_guard) builds the lanes, or the lanes and the cache;
//! [`QuoteCache::builder`](crate::QuoteCache::builder) and [`OrderGuard::builder`](crate::OrderGuard::builder) are for
//! any [`Broker`](crate::Broker).
//!
//! With the feature `async`, `AsyncBrokerProxy::builder` builds an `AsyncStack` in the same way, for an adapter whose calls
//! are futures.
//!
//! # Implementation
//!
//! - `builder` builds the layers, and hands the guard its clock and its urgent handle for lookups.
//! - `handle` is the stack as its callers hold it, and `async_handle` that of an asynchronous adapter.
//! - `paced` is what is behind the guard: the lanes, with or without a quote cache.

#[cfg(feature = "async")]
mod async_handle;
mod builder;
mod handle;
mod paced;

#[cfg(feature = "async")]
pub use async_handle::AsyncStack;
pub use builder::{StackBuildError, StackBuilder};
pub use handle::{Stack, StackStatus};
