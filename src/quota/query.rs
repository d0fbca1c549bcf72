//! The questions that the states of windows and quotas answer.

use std::time::Duration;

use super::budget::Reserve;
use super::completion_log::CompletionLog;
use super::moment::Moment;
use super::wall_clock::WallClockSample;

/// What a window needs to know to answer.
#[derive(Clone, Copy)]
pub(super) struct WindowQuery<'a> {
    pub(super) now: Moment,
    /// In nanoseconds.
    pub(super) credit: u64,
    pub(super) wall_clock: WallClockSample,
    pub(super) log: &'a CompletionLog,
    /// The weight in flight.
    pub(super) in_flight: u64,
}

impl WindowQuery<'_> {
    pub(super) fn credit(&self) -> Duration {
        Duration::from_nanos(self.credit)
    }
}

/// The calls that an estimate is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueAhead {
    /// The weight of the calls ahead plus the call's own. At least 1.
    pub(super) weight: u64,
    /// The weight of one call.
    pub(super) call_weight: u64,
    /// The slots that none of them may use.
    pub(super) reserve: u64,
    /// The round trip of a call, in nanoseconds.
    pub(super) round_trip: u64,
    /// When the calls in flight will probably have been answered.
    pub(super) in_flight_answered_at: Moment,
}

impl QueueAhead {
    /// Returns the index of the last slot that is needed, counted from zero.
    pub(super) fn last_slot(&self) -> u64 {
        self.weight.saturating_sub(1)
    }
}

/// The call that an estimate is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct EstimateQuery {
    pub(super) urgent: bool,
    pub(super) weight_ahead: u64,
    pub(super) weight: u64,
    pub(super) reserve: Reserve,
    /// In nanoseconds.
    pub(super) round_trip: u64,
}
