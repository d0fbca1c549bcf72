//! The official Python client, unmodified, against the simulator: what a trading day needs, and then every REST method
//! that the client has.
//!
//! Needs a Python with `tests/python/requirements.txt`: `LANEKEEPER_PYTHON`, or `python3`. Without one the tests are
//! skipped, unless `CI=true` requires them.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

#[path = "support/python.rs"]
mod python;

use std::process::Command;
use std::time::Duration;

use lanekeeper::broker::{Holding, Instrument};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::PaperBuilder;
use lanekeeper::clock::ManualClock;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::SimulatedExchange;
use rust_decimal::Decimal;

/// Returns the settings of an account that holds four shares.
fn account() -> PaperBuilder {
    let junior = Instrument::new("NSE", "JUNIORBEES");
    PaperBroker::builder().holding(Holding::new(junior, Decimal::from(4), Decimal::new(2805, 1)))
}

/// Returns limits that a client without any pacing keeps to.
fn roomy() -> Limits {
    ["transactional", "quote", "historical"]
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
}

/// Runs a script of `tests/python`, which prints `ok` if all is well.
fn run(python: &str, script: &str, base_urls: &[String]) {
    let output = Command::new(python)
        // Writes no compiled modules beside the scripts.
        .arg("-B")
        .arg(format!("{}/tests/python/{script}", env!("CARGO_MANIFEST_DIR")))
        .args(base_urls)
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.trim(), "ok");
}

#[test]
fn the_official_python_client_trades_on_the_simulator() {
    let Some(python) = python::with_client() else { return };
    // Its orders rest far from the market.
    let broker = account().build().unwrap();
    let roomy = SimulatedExchange::builder().broker(broker).limits(roomy()).circuit_limits(false);
    let roomy = roomy.start().unwrap();
    let paced = Limits::new().lane("quote", Quota::new(1, Duration::from_secs(600)));
    let paced = SimulatedExchange::builder().limits(paced).start().unwrap();
    run(&python, "kite_client.py", &[roomy.base_url(), paced.base_url()]);
    assert_eq!((roomy.refused(), paced.refused()), (0, 3));
}

#[test]
fn every_method_of_the_official_python_client_works_on_the_simulator() {
    let Some(python) = python::with_client() else { return };
    // The prices stand still, so that what a call returns can be compared with what another one does.
    let broker = account().clock(ManualClock::new()).build().unwrap();
    let exchange = SimulatedExchange::builder()
        .broker(broker)
        .limits(roomy())
        .circuit_limits(false)
        .fund_holding("INF000P01011", 25, 100)
        .start()
        .unwrap();
    run(&python, "kite_endpoints.py", &[exchange.base_url()]);
    assert_eq!(exchange.refused(), 0);
    // Every request was to a route that the simulator knows.
    let unknown = exchange.arrivals().into_iter().find(|arrival| arrival.route.is_none());
    assert_eq!(unknown.map(|arrival| arrival.path), None);
}
