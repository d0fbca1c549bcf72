//! The official Python client, unmodified, against the simulator.
//!
//! Needs a Python with `tests/python/requirements.txt`: `LANEKEEPER_PYTHON`, or `python3`. Without one the test is
//! skipped, unless `CI=true` requires it.

#[path = "support/python.rs"]
mod python;

use std::process::Command;

use lanekeeper::broker::{Holding, Instrument};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::SimulatedExchange;
use rust_decimal::Decimal;

#[test]
fn the_official_python_client_trades_on_the_simulator() {
    let Some(python) = python::with_client() else { return };
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
