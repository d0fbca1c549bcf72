//! Adapters: brokers that implement [`Broker`](crate::broker::Broker).

#[cfg(feature = "paper")]
pub mod paper;

#[cfg(feature = "paper")]
pub use paper::PaperBroker;
