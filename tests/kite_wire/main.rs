//! The Kite adapter against a scripted server: what goes over the wire, and what comes of it when the
//! wire misbehaves.
#![cfg(feature = "kite")]
// `clippy.toml` allows it in tests, but looks only at functions marked as tests.
#![allow(clippy::unwrap_used)]

mod answers;
mod desync;
mod exits;
mod faults;
mod requests;
mod secrets;
mod server;
mod session;
mod size;
mod traps;
