//! An observer that records its events, in order, of calls that are attempted more than once.

use std::any::Any;
use std::sync::Mutex;
use std::time::Duration;

use lanekeeper::lane::{CallInfo, FinishedCall, LaneErrorKind, Observer};

use super::failing::Fault;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
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
pub struct Diary(Mutex<Vec<Heard>>);

impl Diary {
    fn note(&self, heard: Heard) {
        self.0.lock().unwrap().push(heard);
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Diary {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.note(Heard::Finished(call.attempt, call.failure));
    }
    fn attempt_failed(&self, call: &FinishedCall<'_>, _delay: Duration) {
        self.note(Heard::FailedAttempt(call.attempt, call.failure));
    }
    fn throttled(&self, _lane: &'static str, pause: Duration) {
        self.note(Heard::Throttled(pause));
    }
    fn refused(&self, _: &CallInfo<'_>, _: &LaneErrorKind) {
        self.note(Heard::Refused);
    }
    fn expired(&self, _: &CallInfo<'_>) {
        self.note(Heard::Expired);
    }
    fn cancelled(&self, _: &CallInfo<'_>) {
        self.note(Heard::Cancelled);
    }
    fn deadline_missed(&self, _: &CallInfo<'_>) {
        self.note(Heard::Unanswered);
    }
    fn late_result(&self, _: &CallInfo<'_>, _: &dyn Any) {
        self.note(Heard::Late);
    }
}
