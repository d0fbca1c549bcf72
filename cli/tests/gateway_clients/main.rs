//! The official clients, unmodified but for the address, behind `lanekeeper gateway`.
//!
//! Needs a Python with `tests/python/requirements.txt` of the repository: `LANEKEEPER_PYTHON`, or `python3`. Without one
//! the tests are skipped, unless `CI=true` requires them.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

#[path = "../support/gateway.rs"]
mod gateway;
mod latency;
#[path = "../../../tests/support/python.rs"]
mod python;
