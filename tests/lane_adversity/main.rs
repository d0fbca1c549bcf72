//! What a caller of a lane may rely on whatever the others do: observers and tasks that block, callers
//! that leave, drains from within, storms of everything at once.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod ends;
mod observers;
mod order;
mod storms;
#[path = "../support/mod.rs"]
mod support;

use std::thread;
use std::time::Duration;

/// Long enough for threads to fall asleep where they wait. A test that counts on it asks less if they
/// did not; it does not fail.
pub fn let_pass() {
    thread::sleep(Duration::from_millis(100));
}
