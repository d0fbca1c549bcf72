//! Scans: what they send and when, what their readers get, and what they leave to others.
//!
//! The calls of most scans here are in flight until the test answers them (`gate.rs`), so events happen in a known order.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod crowd;
mod gate;
mod pause;
mod quota;
mod readers;
mod refusals;
mod start;
#[path = "../support/mod.rs"]
mod support;
