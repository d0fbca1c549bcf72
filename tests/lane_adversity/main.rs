//! What a caller of a lane may rely on, whatever others do: observers and tasks that block, callers that detach,
//! drains by calls of the lane, and everything at once.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod ends;
mod mixed_load;
mod observers;
mod order;
#[path = "../support/mod.rs"]
mod support;

use std::thread;
use std::time::Duration;

/// Sleeps long enough for threads to fall asleep where they wait. If they did not, a test that relies on it checks
/// less, but does not fail.
pub fn let_pass() {
    thread::sleep(Duration::from_millis(100));
}
