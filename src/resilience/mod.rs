//! Policies for a failing broker: retry, pause, slow down, or stop calling it for a while.
//!
//! The lanes call these state machines. Everything in here is a pure function of time and
//! randomness: no threads, no sleeping, no I/O and no clock. The caller passes the time as a
//! [`Moment`](crate::quota::Moment), and a random number. So a test of a storm that lasts for hours
//! takes milliseconds.
//!
//! - [`RetryPolicy`] decides whether and when a failed call is retried. [`RetryBudget`] limits the
//!   retries of a lane to a small fraction of its calls.
//! - [`BreakerPolicy`] configures a [`CircuitBreaker`], which keeps calls from a broker that is
//!   down, and probes with a few of them when it is back.
//! - [`ThrottlePolicy`] configures a [`Throttle`], which pauses and slows down a lane whose calls
//!   were too fast for the broker.
//! - [`retry_after()`] parses a `Retry-After` header.

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
