//! A transparent, paced proxy in front of a brokerage API trait.

// Lets `#[proxy]`, which writes `::lanekeeper::..`, serve inside the crate too.
extern crate self as lanekeeper;

pub mod broker;
pub mod brokers;
pub mod clock;
#[cfg(feature = "exchange")]
pub mod exchange;
pub mod quota;
mod sent;

pub use lanekeeper_macros::proxy;
pub use sent::Sent;
