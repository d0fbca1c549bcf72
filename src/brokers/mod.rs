//! Adapters: the brokers that this crate can talk to, each a plain [`Broker`](crate::broker::Broker).

#[cfg(any(feature = "kite", feature = "paper"))]
pub(crate) mod india;
#[cfg(feature = "kite")]
pub mod kite;
#[cfg(any(feature = "kite", feature = "exchange"))]
pub(crate) mod kite_limits;
#[cfg(feature = "paper")]
pub mod paper;

#[cfg(feature = "kite")]
pub use kite::Kite;
#[cfg(feature = "paper")]
pub use paper::PaperBroker;
