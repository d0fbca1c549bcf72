//! The small examples as programs. Each checks its own claims, and ends with an error if one does not
//! hold; that it says something is checked here.
#![cfg(all(feature = "mock", feature = "paper"))]
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "support/example.rs"]
mod example;

use std::process::Command;

/// What the example `name` prints, which has to end well.
fn printed(name: &str) -> String {
    let output = Command::new(example::built(name)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn own_trait() {
    let printed = printed("own_trait");
    assert!(printed.contains("lanekeeper:   50 asked, 0 refused"), "{printed}");
}

#[test]
fn unit_testing() {
    assert!(printed("unit_testing").contains("sold 100"));
}

#[test]
fn async_tickets() {
    assert!(printed("async_tickets").contains("19 of 21 were sent"));
}

#[test]
fn paper_trading() {
    assert!(printed("paper_trading").contains("profit and loss"));
}
