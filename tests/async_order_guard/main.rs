//! `AsyncOrderGuard`: what only tasks do. Their futures are dropped at any await, and some are never polled again.
//!
//! What it has in common with `OrderGuard` is in `tests/order_guard_tasks`.

#![cfg(all(feature = "async", feature = "journal"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dropped;
mod held;
mod model;
mod reads;
#[path = "../order_guard/shaky.rs"]
mod shaky;
#[path = "../support/mod.rs"]
mod support;
