//! What a caller of a lane may rely on whatever the others do: observers and tasks that block, callers
//! that leave, drains from within, storms of everything at once.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod ends;
mod observers;
mod order;
mod storms;

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::clock::Clock;
use lanekeeper::lane::{CallOptions, Effect, LaneConfig, LaneError, Observer};
use lanekeeper::proxy::{Call, Lanes, LanesBuilder, Ticket};
use lanekeeper::quota::Limits;

/// Nothing here takes as long, unless it hangs.
pub const LONG: Duration = Duration::from_secs(30);

pub const METHOD: Call =
    Call { lane: 0, method: "method", effect: Effect::Write, priority: 5, weight: 1, budgets: &[] };
pub const READ: Call = Call { effect: Effect::Read, ..METHOD };

pub fn build(
    config: LaneConfig,
    clock: impl Into<Clock>,
    observer: Option<Arc<dyn Observer>>,
) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, config);
    builder.clock(clock.into());
    if let Some(observer) = observer {
        builder.observer(observer);
    }
    builder.build(Limits::new()).unwrap()
}

pub fn submit<R: Send + 'static>(
    lanes: &Lanes,
    call: Call,
    options: &CallOptions,
    work: impl FnOnce() -> R + Send + 'static,
) -> Ticket<R, LaneError> {
    lanes.submit(call, options, || Ok(work()), |error: &LaneError| Some(error.class()))
}

/// The answer of `code` on a thread of its own; `None`: it hangs.
pub fn within<R: Send + 'static>(code: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (done, answer) = mpsc::channel();
    thread::spawn(move || done.send(code()));
    answer.recv_timeout(LONG).ok()
}

/// Long enough for threads to fall asleep where they wait. A test that counts on it asks less if they
/// did not; it does not fail.
pub fn let_pass() {
    thread::sleep(Duration::from_millis(100));
}
