//! The Kite adapter against a scripted server: what it sends, and what it makes of a wire that misbehaves.
#![cfg(feature = "kite")]
// `clippy.toml` allows it in tests, but applies only to functions marked as tests.
#![allow(clippy::unwrap_used)]

mod answers;
mod desync;
mod exits;
mod faults;
mod forwarded;
mod requests;
mod secrets;
mod server;
mod session;
mod size;
mod traps;
