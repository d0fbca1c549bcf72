//! What becomes of orders whose answer is lost: at most once, and always an answer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod changes;
mod clocks;
mod delegation;
mod faults;
mod inconclusive;
mod orders;
mod reads;
mod recover;
mod search_wait;
mod shaky;
mod slices;
mod stats;
mod tags;
mod updates;
mod watch;
