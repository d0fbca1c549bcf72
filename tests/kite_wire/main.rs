//! The Kite adapter against a scripted server: what goes over the wire, and what comes of it when the
//! wire misbehaves.
#![cfg(feature = "kite")]
// `clippy.toml` allows it in tests, by which it means functions marked so and not their helpers.
#![allow(clippy::unwrap_used)]

mod answers;
mod faults;
mod requests;
mod secrets;
mod server;
