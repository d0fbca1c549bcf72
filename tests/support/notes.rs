//! An observer that records the events of each call.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use lanekeeper::lane::{CallInfo, FinishedCall, LaneErrorKind, LaneState, Observer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Submitted,
    Dispatched,
    Finished,
    Cancelled,
    Expired,
    Refused,
    Late,
}

/// The events of each call, by its lane and its number, in order.
pub type EventsByCall = HashMap<(String, u64), Vec<Event>>;

#[derive(Default)]
pub struct EventLog {
    events: Mutex<EventsByCall>,
    /// How often an attempt of a call failed that is made again.
    retries: Mutex<HashMap<(String, u64), usize>>,
    states: Mutex<Vec<LaneState>>,
    panics: bool,
}

impl EventLog {
    /// Creates the observer. If it `panics`, it does so at each event, after recording it.
    pub fn new(panics: bool) -> Self {
        Self { panics, ..Self::default() }
    }

    pub fn of(&self, lane: &str, number: u64) -> Vec<Event> {
        self.events.lock().unwrap().get(&(lane.to_owned(), number)).cloned().unwrap_or_default()
    }

    /// Returns how often an attempt of a call failed after which the lane meant to make another one.
    pub fn retries_of(&self, lane: &str, number: u64) -> usize {
        self.retries.lock().unwrap().get(&(lane.to_owned(), number)).copied().unwrap_or_default()
    }

    /// Waits until a call has had `events`, in this order. A worker that rejects a call reports it after the answer.
    pub fn wait_for(&self, lane: &str, number: u64, events: &[Event]) {
        while self.of(lane, number) != events {
            std::thread::yield_now();
        }
    }

    pub fn all(&self) -> EventsByCall {
        self.events.lock().unwrap().clone()
    }

    /// Returns the states that lanes entered.
    pub fn states(&self) -> Vec<LaneState> {
        self.states.lock().unwrap().clone()
    }

    fn record(&self, call: &CallInfo<'_>, event: Event) {
        let of_call = (call.lane.to_owned(), call.number);
        self.events.lock().unwrap().entry(of_call).or_default().push(event);
        self.panic();
    }

    fn panic(&self) {
        if self.panics {
            std::panic::panic_any("an observer that panics");
        }
    }
}

impl Observer for EventLog {
    fn submitted(&self, call: &CallInfo<'_>) {
        self.record(call, Event::Submitted);
    }
    fn dispatched(&self, call: &CallInfo<'_>, _: Duration) {
        self.record(call, Event::Dispatched);
    }
    fn finished(&self, call: &FinishedCall<'_>) {
        self.record(&call.call, Event::Finished);
    }
    fn attempt_failed(&self, call: &FinishedCall<'_>, _: Duration) {
        let of_call = (call.call.lane.to_owned(), call.call.number);
        *self.retries.lock().unwrap().entry(of_call).or_default() += 1;
        self.panic();
    }
    fn cancelled(&self, call: &CallInfo<'_>) {
        self.record(call, Event::Cancelled);
    }
    fn expired(&self, call: &CallInfo<'_>) {
        self.record(call, Event::Expired);
    }
    fn refused(&self, call: &CallInfo<'_>, _: &LaneErrorKind) {
        self.record(call, Event::Refused);
    }
    fn late_result(&self, call: &CallInfo<'_>, _: &dyn Any) {
        self.record(call, Event::Late);
    }
    fn lane_state(&self, _: &'static str, state: LaneState) {
        self.states.lock().unwrap().push(state);
        self.panic();
    }
}
