//! A circuit breaker: keeps calls from a broker that is down, and probes until it is back.
//!
//! - `policy.rs` is the configuration: [`BreakerPolicy`].
//! - `types.rs` holds the inputs and outputs of the state machine.
//! - `machine.rs` holds the states and their transitions: [`CircuitBreaker`].
//! - `half_open.rs` is the half-open state: a few probes and their outcomes.

mod half_open;
mod machine;
mod policy;
mod types;

pub use machine::CircuitBreaker;
pub use policy::BreakerPolicy;
pub use types::{Admission, BreakerMode, BreakerState, CallCounts, CallNotPermitted, CallOutcome};
