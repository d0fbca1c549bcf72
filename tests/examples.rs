//! The small examples as programs. Each checks its own claims, and ends with an error if one does not hold. That it
//! prints something is checked here.
#![cfg(all(
    feature = "limiter",
    feature = "metrics",
    feature = "mock",
    feature = "paper",
    feature = "tower",
    feature = "tracing"
))]
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "support/example.rs"]
mod example;

use std::net::TcpListener;
use std::process::Command;

/// Returns what the example `name` prints. It has to succeed.
fn printed(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(example::built(name)).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn own_trait() {
    let printed = printed("own_trait", &[]);
    assert!(printed.contains("lanekeeper:   50 asked, 0 refused"), "{printed}");
}

#[test]
fn unit_testing() {
    assert!(printed("unit_testing", &[]).contains("sold 100"));
}

#[test]
fn async_tickets() {
    assert!(printed("async_tickets", &[]).contains("19 of 21 were sent"));
}

/// The example fails if there are more requests for quotes than one a second, or if it uses more than 2 % of a core.
#[test]
fn moving_average() {
    let printed = printed("moving_average", &[]);
    assert!(printed.contains("requests for quotes"), "{printed}");
    assert_eq!(printed.contains("of a core"), cfg!(target_os = "linux"), "{printed}");
}

#[test]
fn paper_trading() {
    assert!(printed("paper_trading", &[]).contains("profit and loss"));
}

#[test]
fn limiter_axum() {
    assert!(printed("limiter_axum", &["--once"]).contains("retry-after: "));
}

#[test]
fn observability() {
    // A port that was free a moment ago.
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let printed = printed("observability", &["--seconds", "2", "--listen", &listen]);
    assert!(printed.contains("lane=\"transactional\""), "{printed}");
}
