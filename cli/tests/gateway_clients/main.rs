//! The official clients of Python and JavaScript, unmodified but for the address, behind `lanekeeper gateway`.
//!
//! Needs a Python with `tests/python/requirements.txt` of the repository (`LANEKEEPER_PYTHON`, or `python3`), and a `node`
//! with `tests/js/package.json` (in `NODE_PATH`, or in `node_modules` beside it). What a client lacks is printed and
//! skipped, unless `CI=true` requires it.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod errors;
#[path = "../support/gateway.rs"]
mod gateway;
mod latency;
#[path = "../../../tests/support/node.rs"]
mod node;
mod official;
#[path = "../../../tests/support/python.rs"]
mod python;
mod smoke;
