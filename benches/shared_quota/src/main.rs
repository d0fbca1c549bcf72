//! Measures a quota that several processes share.
//!
//! ```text
//! cargo run --release --manifest-path benches/shared_quota/Cargo.toml -- decisions # decisions a second, beside redis-benchmark
//! cargo run --release --manifest-path benches/shared_quota/Cargo.toml -- cost      # what a decision costs Redis
//! cargo run --release --manifest-path benches/shared_quota/Cargo.toml -- traffic   # commands a second of lanes
//! cargo run --release --manifest-path benches/shared_quota/Cargo.toml -- peers     # beside other limiters, five minutes
//! cargo run --release --manifest-path benches/shared_quota/Cargo.toml -- quick     # that all of it runs
//! ```
//!
//! Each part starts a Redis of its own on a Unix socket, and is skipped if `redis-server` does not start.

mod broker;
mod contenders;
mod cost;
mod decisions;
mod peers;
mod server;
mod traffic;

use std::time::Duration;

use server::Server;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    decisions: usize,
    rounds: usize,
    /// How many threads of a process make calls.
    strategies: usize,
    /// For how long lanes are observed.
    seconds: Duration,
    /// Before that.
    warm_up: Duration,
    /// For how long each limiter runs.
    peer: Duration,
}

type Part = fn(&Server, Size);

fn main() {
    let full = Size {
        decisions: 20_000,
        rounds: 5,
        strategies: 16,
        seconds: Duration::from_secs(10),
        warm_up: Duration::from_secs(3),
        peer: Duration::from_secs(20),
    };
    let quick = Size {
        decisions: 400,
        rounds: 1,
        strategies: 2,
        seconds: Duration::from_millis(1200),
        warm_up: Duration::from_secs(2),
        peer: Duration::from_millis(1200),
    };
    let parts: [(&str, Part); 4] = [
        ("decisions", decisions::run),
        ("cost", cost::run),
        ("traffic", traffic::run),
        ("peers", peers::run),
    ];
    let wanted = std::env::args().nth(1);
    let size = if wanted.as_deref() == Some("quick") { quick } else { full };
    let is_wanted = |name: &str| match wanted.as_deref() {
        None | Some("quick") => true,
        Some(wanted) => wanted == name,
    };
    let chosen: Vec<_> = parts.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    if chosen.is_empty() {
        eprintln!("there is no such part: write decisions, cost, traffic, peers or quick");
        std::process::exit(2);
    }
    for (name, part) in chosen {
        match Server::start() {
            Some(server) => part(&server, size),
            None => println!("skipped: {name}, since `redis-server` does not start"),
        }
    }
}
