//! The adapter against fakes: the strict simulator, and a server of a few lines for what no exchange should do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod lanes;
mod outcomes;
mod tasks;
mod transport;

use std::time::Duration;

use kiteconnect_adapter::{Blocking, OfficialKite};
use lanekeeper::quota::Quota;
use lanekeeper::{Instrument, Limits, OrderRequest, Side};
use lanekeeper_simulator::{Fault, Faults, Rule, SimulatedExchange, Target};

/// Returns an adapter. Its timeout is short enough for tests of calls that are never answered, and long enough for a
/// busy machine.
fn official(base_url: &str) -> OfficialKite {
    OfficialKite::new("key", "token", base_url, Duration::from_secs(2)).unwrap()
}

/// Returns the same adapter for threads.
fn blocking(base_url: &str) -> Blocking<OfficialKite> {
    Blocking::new(official(base_url)).unwrap()
}

/// Returns an exchange that counts nothing.
fn unlimited() -> SimulatedExchange {
    let limits = ["transactional", "quote", "historical"]
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()));
    SimulatedExchange::builder().limits(limits).start().unwrap()
}

/// Returns the faults of which the first request of `target` meets one.
fn first(target: Target, fault: Fault) -> Faults {
    Faults::new().rule(Rule::new(target, fault).calls([1]))
}

fn yes_bank() -> Instrument {
    Instrument::new("NSE", "YESBANK")
}

fn buy(tag: &str) -> OrderRequest {
    OrderRequest::market(yes_bank(), Side::Buy, 1).tag(tag)
}
