//! Decides which call is sent next. Pure: the scheduler takes the time as an argument, and locks nothing.
//!
//! - `scheduler.rs` holds the queued calls, and `selection.rs` is one pass over them that selects a call.
//! - `priority_level.rs` holds the calls of one priority, in one queue for each user.
//! - `held.rs` keeps calls aside while the circuit breaker of their route class is open.
//! - `load.rs` counts queued calls and their weight, by cost.

pub(super) mod held;
pub(super) mod load;
pub(super) mod priority_level;
pub(super) mod scheduler;
pub(super) mod selection;
