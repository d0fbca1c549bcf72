//! The official Python client, unmodified, against the simulator.
//!
//! Needs a Python with `tests/python/requirements.txt`: `LANEKEEPER_PYTHON`, or `python3`. Without one the test is
//! skipped, unless `CI=true` requires it.

use std::process::Command;

use lanekeeper::broker::{Holding, Instrument};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::SimulatedExchange;
use rust_decimal::Decimal;

fn python() -> Result<String, String> {
    let python = std::env::var("LANEKEEPER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python)
        .args(["-c", "import kiteconnect"])
        .output()
        .map_err(|error| format!("`{python}` does not start: {error}"))?;
    match output.status.success() {
        true => Ok(python),
        false => Err(format!("`{python}` has no package kiteconnect")),
    }
}

#[test]
fn the_official_python_client_trades_on_the_simulator() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "must run in CI: {why}");
            println!("skipped: {why}; see tests/python/requirements.txt");
            return;
        }
    };
    let junior = Instrument::new("NSE", "JUNIORBEES");
    let broker = PaperBroker::builder()
        .holding(Holding::new(junior, Decimal::from(4), Decimal::new(2805, 1)))
        .build()
        .unwrap();
    // The client has no pacing of its own, and this part is not about limits.
    let roomy = ["transactional", "quote", "historical"]
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()));
    // Its orders rest far from the market.
    let roomy = SimulatedExchange::builder().broker(broker).limits(roomy).circuit_limits(false);
    let roomy = roomy.start().unwrap();
    let paced = Limits::new().lane("quote", Quota::new(1, std::time::Duration::from_secs(600)));
    let paced = SimulatedExchange::builder().limits(paced).start().unwrap();

    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/kite_client.py"))
        .args([roomy.base_url(), paced.base_url()])
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.trim(), "ok");
    assert_eq!((roomy.refused(), paced.refused()), (0, 3));
}
