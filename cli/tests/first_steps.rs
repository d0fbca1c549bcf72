//! The official Python client, unmodified, on `lanekeeper exchange` as it starts without arguments.
//!
//! Needs a Python with `tests/python/requirements.txt` of the repository: `LANEKEEPER_PYTHON`, or `python3`. Without one
//! the test is skipped, unless `CI=true` requires it.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/support/python.rs"]
mod python;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running process, which is killed when the test ends for any reason.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_official_python_client_finds_infy_its_orders_and_the_last_thirty_days() {
    let Some(python) = python::with_client() else { return };
    let mut exchange = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    // Port 8080, the default, may be taken.
    let exchange = exchange.args(["exchange", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut exchange = Running(exchange.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(exchange.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/first_steps.py"))
        .arg(line.trim().strip_prefix("listening on ").unwrap())
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.trim(), "ok");
}
