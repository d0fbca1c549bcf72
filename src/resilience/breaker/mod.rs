//! A circuit breaker: keeps calls from a broker that is down, and finds out when it is back.
//!
//! - `config.rs` is what users set: [`BreakerPolicy`].
//! - `words.rs` is what goes in and out of the machine.
//! - `machine.rs` is the states and the ways between them: [`CircuitBreaker`].
//! - `trial.rs` is the half-open state: a few probes, and what they came to.

mod half_open;
mod machine;
mod policy;
mod types;

pub use machine::CircuitBreaker;
pub use policy::BreakerPolicy;
pub use types::{Admission, BreakerMode, BreakerState, CallCounts, CallNotPermitted, CallOutcome};
