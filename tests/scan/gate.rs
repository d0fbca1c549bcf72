//! A broker whose calls are in flight until the test answers them, and what a test asks of a scan.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use lanekeeper::LaneCall;
use lanekeeper::lane::{LaneError, LaneErrorKind};
use lanekeeper::scan::{ScanEvent, ScanEventKind};

use super::support::stepped::{Failure, Stepped};

pub type Answer = Result<u32, Failure>;
pub type Scan = lanekeeper::Scan<u32, u32, Failure>;

/// Longer than any test takes.
pub const LONG: Duration = Duration::from_secs(100_000);

/// The test's end of the broker.
pub struct Gate {
    begin: Sender<Call>,
    begun: Receiver<Call>,
}

/// A call in flight.
pub struct Call {
    pub item: u32,
    answer: Sender<Answer>,
}

impl Call {
    /// Answers with twice the item.
    pub fn answer(self) {
        let answer = Ok(self.item * 2);
        self.answer_with(answer);
    }

    pub fn answer_with(self, answer: Answer) {
        self.answer.send(answer).unwrap();
    }
}

impl Gate {
    pub fn new() -> Self {
        let (begin, begun) = mpsc::channel();
        Self { begin, begun }
    }

    /// Returns what the calls of a scan do.
    pub fn work(&self) -> impl Fn(&u32) -> Answer + Send + Sync + 'static {
        let begin = self.begin.clone();
        move |item| {
            let (answer, answered) = mpsc::channel();
            begin.send(Call { item: *item, answer }).unwrap();
            // Dropping the call ends it too.
            answered.recv().unwrap_or(Err(Failure::Lost))
        }
    }

    /// Waits for the next call that begins.
    pub fn next(&self) -> Call {
        self.begun.recv().unwrap()
    }

    /// Returns the next call that has begun, if there is one.
    pub fn try_next(&self) -> Option<Call> {
        self.begun.try_recv().ok()
    }
}

/// Returns a read in the first lane.
pub fn read(lanes: &Stepped) -> LaneCall {
    LaneCall::read(lanes.lane(0).name()).name("read")
}

/// Returns the results in `events`, by item.
pub fn results(events: &[ScanEvent<u32, Failure>]) -> Vec<(usize, Answer)> {
    let result = |event: &ScanEvent<u32, Failure>| match &event.kind {
        ScanEventKind::Result { index, result } => Some((*index, Answer::clone(result))),
        _ => None,
    };
    events.iter().filter_map(result).collect()
}

/// Returns the words for the events that are neither results nor progress.
pub fn changes(events: &[ScanEvent<u32, Failure>]) -> Vec<&'static str> {
    let change = |event: &ScanEvent<u32, Failure>| match event.kind {
        ScanEventKind::Paused => Some("paused"),
        ScanEventKind::Resumed => Some("resumed"),
        ScanEventKind::Done => Some("done"),
        ScanEventKind::Cancelled => Some("cancelled"),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

/// Waits until the scan is over, and returns its results.
pub fn finish(scan: &Scan) -> Vec<(usize, Answer)> {
    results(&scan.events().collect::<Vec<_>>())
}

/// Returns the kind of the lane's error, if that is the answer.
pub fn lane_error(answer: &Answer) -> Option<&LaneErrorKind> {
    match answer {
        Err(Failure::Lane(LaneError { kind, .. })) => Some(kind),
        _ => None,
    }
}

/// Returns how many others hold this.
pub fn others<T>(shared: &Arc<T>) -> usize {
    Arc::strong_count(shared) - 1
}
