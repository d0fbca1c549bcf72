//! What `#[lanekeeper::proxy]` makes of a trait, seen from a user's crate.
//!
//! The lints are those of a strict user: nothing that the macro writes may trip them.

#![deny(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#![deny(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::missing_errors_doc,
    clippy::many_single_char_names
)]

pub mod arguments;
pub mod asynchronous;
pub mod calls;
pub mod conditions;
pub mod delegate;
pub mod first;
pub mod kinds;
pub mod limits;
pub mod shared;
pub mod types;
pub mod visibility;
pub mod written_by_a_macro;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::thread;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, LaneError};
use lanekeeper::quota::{Limits, Quota};

/// A failed call.
#[derive(Debug, PartialEq)]
pub struct Failure(String);

impl From<LaneError> for Failure {
    fn from(refused: LaneError) -> Self {
        Self(refused.to_string())
    }
}

/// An alias with one argument, as in `io::Result`.
pub type Result<T> = std::result::Result<T, Failure>;

/// A value that can be cloned and implements nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    text: String,
}

/// Returns a quota that no test waits for.
fn ample() -> Quota {
    Quota::per_second(1000)
}

/// Returns whether this code runs on the thread that the test runs on.
fn on(caller: thread::ThreadId) -> bool {
    thread::current().id() == caller
}
