//! The whole stack, built in one step: its layers in their order, in virtual time and over HTTP.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

#[path = "../order_guard/shaky.rs"]
mod shaky;

mod builder;
#[cfg(all(feature = "config", feature = "journal", feature = "kite"))]
mod file;
mod forwarding;
#[cfg(feature = "kite")]
mod http;
#[cfg(feature = "journal")]
mod journal;
mod scripted;
#[cfg(feature = "async")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "async")]
mod tasks;

/// Formats settings without the origins of their clocks, by which they can be compared.
#[cfg(any(feature = "paper", all(feature = "config", feature = "journal", feature = "kite")))]
fn without_clocks(settings: &impl std::fmt::Debug) -> String {
    let text = format!("{settings:?}");
    let parts = text.split("origin: Instant {").enumerate();
    parts.map(|(i, part)| if i == 0 { part } else { part.split_once('}').unwrap().1 }).collect()
}
