//! Lanes without the macro, for tests: how to build one, call it, and hold it up.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use lanekeeper::Effect;
use lanekeeper::Session;
use lanekeeper::clock::Clock;
use lanekeeper::jiff::Timestamp;
use lanekeeper::lane::{
    CallOptions, Lane, LaneConfig, LaneError, LaneStatus, Observer, PaceLog, Priority,
    RecordedCall, RecordedUsage, Ticket,
};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, PaceSnapshot, PriorUsage, Quota};

pub const SECOND: Duration = Duration::from_secs(1);

pub const WRITE: CallSpec = CallSpec::new(0, "write", Effect::Write);
pub const READ: CallSpec = CallSpec { method: "read", effect: Effect::Read, ..WRITE };

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Builds one lane, named `test`.
pub fn one(config: LaneConfig, clock: impl Into<Clock>) -> Lanes {
    observed(config, clock, None)
}

/// Builds one lane with an observer.
pub fn observed(
    config: LaneConfig,
    clock: impl Into<Clock>,
    observer: Option<Arc<dyn Observer>>,
) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, config);
    builder.clock(clock.into());
    builder.session(Session::new());
    if let Some(observer) = observer {
        builder.observer(observer);
    }
    builder.build(Limits::new()).unwrap()
}

/// Returns a lane without a quota, with `in_flight` calls at once.
pub fn unlimited(in_flight: usize) -> LaneConfig {
    LaneConfig::new(Quota::unlimited()).in_flight(in_flight)
}

pub fn the(lanes: &Lanes) -> &Lane {
    lanes.lane("test").unwrap()
}

pub fn status(lanes: &Lanes) -> LaneStatus {
    the(lanes).status()
}

pub fn options() -> CallOptions {
    CallOptions::new()
}

pub fn priority(number: u8) -> CallOptions {
    options().priority(Priority::new(number).unwrap())
}

/// Queues a call that does `work`.
pub fn submit<R: Send + 'static>(
    lanes: &Lanes,
    call: CallSpec,
    options: &CallOptions,
    work: impl FnOnce() -> R + Send + 'static,
) -> Ticket<R, LaneError> {
    lanes.submit_spec(call, options, || Ok(work()), |error: &LaneError| Some(error.class()))
}

/// A call that is in flight until it is released.
pub struct Held {
    pub go: Sender<()>,
    pub ticket: Ticket<(), LaneError>,
}

impl Held {
    pub fn let_go(self) -> Ticket<(), LaneError> {
        self.go.send(()).unwrap();
        self.ticket
    }
}

/// Makes a call that holds its worker, and returns once it is in flight.
pub fn hold(lanes: &Lanes, call: CallSpec) -> Held {
    let (go, held) = mpsc::channel::<()>();
    let (begun, began) = mpsc::channel();
    let ticket = submit(lanes, call, &options(), move || {
        begun.send(()).unwrap();
        // Dropping the sender ends the call too.
        let _ = held.recv();
    });
    began.recv().unwrap();
    Held { go, ticket }
}

/// Returns the answer of a ticket, once it is there, without waiting on the ticket: a waiter would expire its
/// deadline itself.
pub fn answer<R>(ticket: &mut Ticket<R, LaneError>) -> Result<R, LaneError> {
    loop {
        if let Some(answer) = ticket.try_wait() {
            return answer;
        }
        thread::yield_now();
    }
}

/// Polls until `is_so` holds. Only for what another thread is about to do anyway.
pub fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

/// Longer than any test takes on a slow and busy machine. The bound only ends a test that hangs, so a large value
/// costs nothing: the test with the most threads takes a minute on two busy cores.
const HANGS: Duration = Duration::from_secs(600);

/// Runs a test that hangs if it fails, and makes it fail then.
pub fn within_reason<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, is_done) = mpsc::channel();
    let test = thread::spawn(move || {
        let result = test();
        let _ = done.send(());
        result
    });
    match is_done.recv_timeout(HANGS) {
        Err(RecvTimeoutError::Timeout) => panic!("it hangs"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            test.join().unwrap_or_else(|panic| resume_unwind(panic))
        }
    }
}

/// A pace log that records nothing. A lane does not know that, and takes it for one that could hang.
#[derive(Debug)]
pub struct Recorder;

impl PaceLog for Recorder {
    fn begin(
        &self,
        now: Timestamp,
        _: &[(&str, Duration)],
        _: PriorUsage,
    ) -> io::Result<RecordedUsage> {
        Ok(RecordedUsage { used: PaceSnapshot::at(now), since: None })
    }
    fn taken(&self, _: &RecordedCall<'_>, _: Timestamp) -> io::Result<()> {
        Ok(())
    }
    fn urgent(&self, _: &RecordedCall<'_>, _: Timestamp, _: Timestamp) -> io::Result<()> {
        Ok(())
    }
    fn finished(&self, _: u64, _: Timestamp) -> io::Result<()> {
        Ok(())
    }
}
