//! The routes of the simulated exchange beside orders and prices: shapes, round trips, bad input, counts and faults.
//!
//! `python_client` calls the same routes with the official client.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

mod alerts;
mod bad_input;
mod client;
mod counts;
mod funds;
mod gtt;
mod gtt_triggers;
mod margins;
mod portfolio;
mod session;
