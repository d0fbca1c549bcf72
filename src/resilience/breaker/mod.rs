//! A circuit breaker: keeps calls from a broker that is down, and finds out when it is back.
//!
//! - `config.rs` is what users set: [`BreakerPolicy`].
//! - `words.rs` is what goes in and out of the machine.
//! - `machine.rs` is the states and the ways between them: [`CircuitBreaker`].
//! - `trial.rs` is the half-open state: a few probes, and what they came to.

mod config;
mod machine;
mod trial;
mod words;

pub use config::BreakerPolicy;
pub use machine::CircuitBreaker;
pub use words::{Admission, BreakerMode, BreakerState, CallCounts, CallNotPermitted, CallOutcome};
