//! What the gateway does not understand it passes on byte for byte, both ways.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are not functions of tests to clippy.

mod support;

#[path = "transparent/answers.rs"]
mod answers;
#[path = "transparent/connections.rs"]
mod connections;
#[path = "transparent/exchange.rs"]
mod exchange;
#[path = "transparent/kept.rs"]
mod kept;
#[path = "transparent/large.rs"]
mod large;
#[path = "transparent/requests.rs"]
mod requests;
