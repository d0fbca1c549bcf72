//! What a lane does when the broker refuses its calls for coming too fast.
//!
//! - `policy.rs` is what users set: [`ThrottlePolicy`].
//! - `machine.rs` is the pause and the cut: [`Throttle`].

mod machine;
mod policy;
#[cfg(test)]
mod tests;

pub use machine::{SendStamp, Throttle};
pub use policy::ThrottlePolicy;
