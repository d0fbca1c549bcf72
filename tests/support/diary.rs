//! An observer that records its events, in order, of calls that are attempted more than once.

use std::any::Any;
use std::sync::Mutex;
use std::time::Duration;

use lanekeeper::lane::{CallInfo, FinishedCall, LaneErrorKind, Observer};

use super::failing::Fault;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiaryEvent {
    FailedAttempt(u32, Fault),
    Throttled(Duration),
    Finished(u32, Fault),
    Refused,
    Expired,
    Cancelled,
    Unanswered,
    Late,
}

#[derive(Default)]
pub struct Diary(Mutex<Vec<DiaryEvent>>);

impl Diary {
    fn record(&self, events: DiaryEvent) {
        self.0.lock().unwrap().push(events);
    }

    pub fn events(&self) -> Vec<DiaryEvent> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Diary {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.record(DiaryEvent::Finished(call.attempt, call.failure));
    }
    fn attempt_failed(&self, call: &FinishedCall<'_>, _delay: Duration) {
        self.record(DiaryEvent::FailedAttempt(call.attempt, call.failure));
    }
    fn throttled(&self, _lane: &'static str, pause: Duration) {
        self.record(DiaryEvent::Throttled(pause));
    }
    fn refused(&self, _: &CallInfo<'_>, _: &LaneErrorKind) {
        self.record(DiaryEvent::Refused);
    }
    fn expired(&self, _: &CallInfo<'_>) {
        self.record(DiaryEvent::Expired);
    }
    fn cancelled(&self, _: &CallInfo<'_>) {
        self.record(DiaryEvent::Cancelled);
    }
    fn deadline_missed(&self, _: &CallInfo<'_>) {
        self.record(DiaryEvent::Unanswered);
    }
    fn late_result(&self, _: &CallInfo<'_>, _: &dyn Any) {
        self.record(DiaryEvent::Late);
    }
}
