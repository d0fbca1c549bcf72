//! At most once, and always an answer: thousands of orders through the whole stack, guard, cache,
//! lanes, adapter and wire, while a third of what is sent goes wrong.
//!
//! What the callers were told is compared with the ledger of the broker, which knows what really happened
//! (`check`). The stack runs in process and in virtual time (`in_process`), and over HTTP against a simulator
//! (`over_http`). A client that tries three times fails the same comparison (`three_times`).
//!
//! `LANEKEEPER_INTENTS=10000` sets how many orders go over HTTP.

#![cfg(feature = "kite")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod in_process;
mod over_http;
#[path = "../order_guard/shaky.rs"]
mod shaky;
mod three_times;
