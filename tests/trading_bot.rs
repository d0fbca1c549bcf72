//! The example as a program: what it reports must be what happened.
#![cfg(all(feature = "kite", feature = "exchange"))]
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use lanekeeper::broker::OrderStatus;
use lanekeeper::exchange::Exchange;
use serde_json::Value;

/// Built here, since `cargo test --test trading_bot` builds no examples; after a plain `cargo test`
/// there is nothing left to do.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--all-features", "--example", "trading_bot", "--target-dir"]);
    build.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    profile.join("examples").join("trading_bot")
});

fn bot() -> Command {
    let mut bot = Command::new(&*PROGRAM);
    bot.env_remove("KITE_API_KEY").env_remove("KITE_ACCESS_TOKEN");
    bot
}

fn with_keys(mut bot: Command) -> Command {
    bot.env("KITE_API_KEY", "key").env("KITE_ACCESS_TOKEN", "verysecret");
    bot
}

/// One clear line, a non-zero exit, and nothing traded.
fn refused(output: &Output) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(!error.contains("verysecret"), "{error}");
    error
}

#[test]
fn the_report_agrees_with_the_ledger_of_the_exchange() {
    let exchange = Exchange::builder().start().unwrap();
    let report = tempfile("report.json");
    let output = with_keys(bot())
        .args(["--base-url", &exchange.base_url(), "--seconds", "3", "--strategies", "8"])
        .args(["--report", report.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();

    let ledger: HashMap<String, _> =
        exchange.orders().into_iter().map(|order| (order.tag.clone().unwrap(), order)).collect();
    let orders = report["orders"].as_array().unwrap();
    assert!(orders.len() > 5, "{orders:?}");
    let tags: HashSet<&str> = orders.iter().map(|order| order["tag"].as_str().unwrap()).collect();
    assert_eq!(tags.len(), orders.len(), "each has a tag of its own");
    for order in orders {
        let known = ledger.get(order["tag"].as_str().unwrap());
        match order["outcome"].as_str().unwrap() {
            "placed" => assert_eq!(known.unwrap().id.as_str(), order["order_id"].as_str().unwrap()),
            "rejected" => assert!(known.is_none_or(|k| k.status == OrderStatus::Rejected)),
            "not_sent" => assert!(known.is_none()),
            other => assert_eq!(other, "unknown"),
        }
        assert!(order["latency_ms"].as_f64().unwrap() > 0.0);
    }
    let placed = orders.iter().filter(|order| order["outcome"] == "placed").count();
    assert_eq!(placed, ledger.len(), "the exchange knows of no order that the report does not");

    let calls = &report["calls"];
    assert_eq!(calls["throttled"], 0);
    assert_eq!(calls["sent"].as_u64().unwrap(), exchange.arrivals().len() as u64);
    assert!(calls["from_cache"].as_u64().unwrap() > 0);
    let of_lane = |lane: &str| report["lanes"][lane]["sent"].as_u64().unwrap();
    assert_eq!(of_lane("transactional"), exchange.counts("transactional").admitted);
    assert_eq!(of_lane("quote"), exchange.counts("quote").admitted);
    assert!(report["lanes"]["transactional"]["quota_used"].as_f64().unwrap() > 0.5);
    assert!(report["seconds"].as_f64().unwrap() >= 3.0);
}

#[test]
fn what_cannot_work_is_told_in_one_line() {
    let told = |args: &[&str]| refused(&with_keys(bot()).args(args).output().unwrap());
    assert!(told(&["--strategys", "3"]).contains("--strategys"));
    assert!(told(&["--strategies", "0"]).contains("0"));
    assert!(told(&["--seconds", "soon"]).contains("soon"));
    assert!(told(&["--instruments", "INFY"]).contains("EXCHANGE:SYMBOL"));
    assert!(told(&["--base-url", "ftp://localhost"]).contains("ftp://localhost"));
    assert!(told(&["--report", "/no/such/folder/report.json"]).contains("/no/such/folder"));
    // Nothing listens there: the port was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(told(&["--base-url", &format!("http://{free}")]).contains("not sent"));
}

#[test]
fn without_its_keys_it_says_which_one_is_missing() {
    let output = bot().args(["--base-url", "http://127.0.0.1:1"]).output().unwrap();
    assert!(refused(&output).contains("KITE_API_KEY"));
}

#[test]
fn a_run_that_never_began_keeps_the_report_of_an_older_one() {
    let report = tempfile("older.json");
    std::fs::write(&report, "older").unwrap();
    let output = with_keys(bot())
        .args(["--base-url", "http://127.0.0.1:1", "--report", report.to_str().unwrap()])
        .output()
        .unwrap();
    refused(&output);
    assert_eq!(std::fs::read_to_string(report).unwrap(), "older");
}

/// Nobody reads what it prints, and it is interrupted long before its time is over.
#[test]
#[cfg(unix)]
fn an_interrupted_run_still_reports_every_order() {
    let exchange = Exchange::builder().start().unwrap();
    let report = tempfile("interrupted.json");
    let mut bot = with_keys(bot())
        .args(["--base-url", &exchange.base_url(), "--seconds", "600", "--strategies", "4"])
        .args(["--report", report.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(bot.stdout.take());
    while exchange.orders().len() < 3 {
        std::thread::yield_now();
    }
    let kill = Command::new("kill").args(["-INT", &bot.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert!(bot.wait().unwrap().success());
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let orders = report["orders"].as_array().unwrap();
    let placed = orders.iter().filter(|order| order["outcome"] == "placed").count();
    assert_eq!(placed, exchange.orders().len());
    let open = |order: &lanekeeper::exchange::PlacedOrder| order.status == OrderStatus::Open;
    assert!(!exchange.orders().iter().any(open), "nothing of it stays in the market");
}

fn tempfile(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("lanekeeper-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}
