//! Adapters: the brokers that this crate can talk to, each a plain [`Broker`](crate::broker::Broker).

#[cfg(feature = "kite")]
pub mod kite;

#[cfg(feature = "kite")]
pub use kite::Kite;
