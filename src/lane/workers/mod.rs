//! The threads of a lane, and what the lane knows of the broker's health.
//!
//! - `pool.rs` decides which worker polls, sleeps and is woken (Leader/Followers).
//! - `in_flight.rs` holds the call that each worker executes, so that a drain can cut it off.
//! - `idle.rs` wakes threads that wait for the lane to become idle.
//! - `health.rs` joins retry, circuit breakers and throttle; `route_breakers.rs` is a breaker for each route.

pub(super) mod health;
pub(super) mod idle;
pub(super) mod in_flight;
pub(super) mod pool;
pub(super) mod route_breakers;
