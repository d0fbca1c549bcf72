//! The endpoints of Kite that `Broker` does not have: what each sends, what it makes of the answer, what it refuses
//! before anything is sent, and what it makes of an answer that cannot be used.
#![cfg(feature = "kite")]
// `clippy.toml` allows it in tests, but applies only to functions marked as tests.
#![allow(clippy::unwrap_used)]

mod charges;
mod funds;
mod gtt;
mod holdings;
mod margins;
mod portfolio;
mod proxies;
mod quotes;
mod raw;
mod renewal;
#[allow(dead_code)] // The other test of Kite's wire uses more of it.
#[path = "../kite_wire/server.rs"]
mod server;
mod support;
mod unusable;
