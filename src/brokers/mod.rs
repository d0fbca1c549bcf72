//! Adapters for brokers, each a plain [`Broker`](crate::broker::Broker). `http` is what those over HTTP share.

#[cfg(feature = "alpaca")]
pub mod alpaca;
#[cfg(any(feature = "alpaca", feature = "kite"))]
mod http;
pub(crate) mod india;
#[cfg(feature = "kite")]
pub mod kite;
#[cfg(feature = "paper")]
pub mod paper;

#[cfg(feature = "alpaca")]
pub use alpaca::Alpaca;
#[cfg(feature = "kite")]
pub use kite::Kite;
#[cfg(feature = "paper")]
pub use paper::PaperBroker;
