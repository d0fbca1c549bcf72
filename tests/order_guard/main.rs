//! What becomes of orders whose answer is lost: at most once, and always an answer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod changes;
mod clocks;
mod delegation;
mod doubts;
mod faults;
mod looks;
mod orders;
mod patience;
mod recover;
mod shaky;
mod slices;
mod tags;
mod watch;
