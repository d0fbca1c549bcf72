//! Pauses and slows down a lane whose calls the broker throttles.
//!
//! - `policy.rs` is the configuration: [`ThrottlePolicy`].
//! - `machine.rs` is the pause and the rate cut: [`Throttle`].

mod machine;
mod policy;
#[cfg(test)]
mod tests;

pub use machine::{SendStamp, Throttle};
pub use policy::ThrottlePolicy;
