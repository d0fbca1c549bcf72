//! Which call is sent next. Pure: the scheduler is told the time, and locks nothing.
//!
//! - `scheduler.rs` holds what waits; `selection.rs` is one pass over it to select a call.
//! - `priority_level.rs` holds the calls of one priority, one queue for each user.
//! - `held.rs` keeps calls aside while the circuit breaker of their route is open.
//! - `load.rs` counts what waits, by cost.

pub(super) mod held;
pub(super) mod load;
pub(super) mod priority_level;
pub(super) mod scheduler;
pub(super) mod selection;
