//! What to do when a broker fails: try again, wait, or leave it alone for a while.
//!
//! Everything in here is a pure function of time and randomness. There are no threads, no sleeping, no I/O
//! and no look at a clock: whoever calls says what time it is, as a [`Moment`](crate::quota::Moment),
//! and brings the randomness. So a storm of refusals that lasts for hours is a test of milliseconds.
//!
//! - [`RetryPolicy`] says whether a call that failed is sent again, and when; [`RetryBudget`] keeps
//!   the retries of a lane a small share of its calls.
//! - [`BreakerPolicy`] sets up a [`CircuitBreaker`], which keeps calls from a broker that is down, and finds
//!   out with a few of them when it is back.
//! - [`ThrottlePolicy`] sets up a [`Throttle`], which pauses and slows a lane that the broker refused
//!   for coming too fast.
//! - [`retry_after()`] reads what a broker says in `Retry-After`.

mod breaker;
mod random;
mod retry;
mod retry_after;
mod retry_budget;
mod rolling;
mod throttle;
mod validate;

pub use breaker::{
    Admission, BreakerMode, BreakerPolicy, BreakerState, CallCounts, CallNotPermitted, CallOutcome,
    CircuitBreaker,
};
pub use retry::RetryPolicy;
pub use retry_after::retry_after;
pub use retry_budget::RetryBudget;
pub use throttle::{SendStamp, Throttle, ThrottlePolicy};
pub use validate::PolicyError;
