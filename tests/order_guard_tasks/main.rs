//! The behaviour that `tests/order_guard` shows of the guard for threads, shown of the guard for tasks.
//!
//! The files are the same. In this crate the name `lanekeeper` stands for the crate itself, which exports the library with
//! another `OrderGuard`: one that passes each call to an `AsyncOrderGuard`, and polls its future until it is ready.

#![cfg(feature = "async")]
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, missing_docs)]

extern crate lanekeeper as library;
extern crate self as lanekeeper;

mod guard;

#[cfg(feature = "kite")]
#[allow(dead_code)] // What it does over HTTP is not used here.
#[path = "../order_safety/check.rs"]
mod check;
#[cfg(feature = "kite")]
#[path = "../order_safety/in_process.rs"]
mod in_process;

#[path = "../order_guard/changes.rs"]
mod changes;
#[path = "../order_guard/clocks.rs"]
mod clocks;
#[path = "../order_guard/delegation.rs"]
mod delegation;
#[path = "../order_guard/faults.rs"]
mod faults;
#[path = "../order_guard/inconclusive.rs"]
mod inconclusive;
#[path = "../order_guard/orders.rs"]
mod orders;
#[path = "../order_guard/reads.rs"]
mod reads;
#[path = "../order_guard/recover.rs"]
mod recover;
#[path = "../order_guard/search_wait.rs"]
mod search_wait;
#[path = "../order_guard/shaky.rs"]
mod shaky;
#[path = "../order_guard/slices.rs"]
mod slices;
#[path = "../order_guard/stats.rs"]
mod stats;
#[path = "../order_guard/tags.rs"]
mod tags;
#[path = "../order_guard/updates.rs"]
mod updates;
#[path = "../order_guard/watch.rs"]
mod watch;

pub use guard::OrderGuard;
pub use library::*;

pub mod order_guard {
    pub use crate::guard::{OrderGuard, OrderGuardBuilder};
    pub use library::order_guard::*;
}
