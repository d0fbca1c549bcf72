//! The Alpaca adapter against a fake of its wire: what it sends, and what it makes of a wire that misbehaves.
#![cfg(feature = "alpaca")]
// `clippy.toml` allows it in tests, but applies only to functions marked as tests.
#![allow(clippy::unwrap_used)]

#[path = "../order_safety/check.rs"]
mod check;
mod exchange;
mod faults;
mod order_safety;
mod pages;
#[path = "../support/printed.rs"]
mod printed;
mod rate_headers;
mod replace;
mod requests;
mod secrets;
mod server;
