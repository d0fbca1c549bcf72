//! The state of one window, of whatever kind.

use super::calendar::Calendar;
use super::moment::Moment;
use super::permit::NotYet;
use super::query::{QueueAhead, WindowQuery};
use super::sliding_counter::SlidingCounter;
use super::sliding_log::SlidingLog;
use super::token_bucket::TokenBucket;
use super::wall_clock::WallClockSample;
use super::window::{Window, WindowKind};

/// The state of one window.
#[derive(Debug, Clone)]
pub(super) enum WindowState {
    Log(SlidingLog),
    Bucket(TokenBucket),
    Counter(SlidingCounter),
    Calendar(Calendar),
}

impl WindowState {
    /// Nothing used.
    pub(super) fn new(window: &Window) -> Self {
        match &window.kind {
            WindowKind::SlidingLog => Self::Log(SlidingLog::new(window)),
            WindowKind::TokenBucket { burst } => Self::Bucket(TokenBucket::new(window, *burst)),
            WindowKind::SlidingCounter => Self::Counter(SlidingCounter::new(window)),
            WindowKind::Calendar { zone, guard } => {
                Self::Calendar(Calendar::new(window, zone, *guard))
            }
        }
    }

    /// Returns this window with the usage of `old`, if both count in the same way.
    pub(super) fn carry_over(&self, old: &Self) -> Option<Self> {
        match (self.clone(), old) {
            (Self::Bucket(new), Self::Bucket(old)) => new.carry_over(old).map(Self::Bucket),
            (Self::Counter(new), Self::Counter(old)) => new.carry_over(old).map(Self::Counter),
            (Self::Calendar(new), Self::Calendar(old)) => new.carry_over(old).map(Self::Calendar),
            _ => None,
        }
    }

    /// Returns the used slots, without those of calls in flight.
    pub(super) fn used_slots(&mut self, query: &WindowQuery<'_>) -> u64 {
        match self {
            Self::Log(log) => log.used_slots(query),
            Self::Bucket(bucket) => bucket.used_slots(query),
            Self::Counter(counter) => counter.used_slots(query),
            Self::Calendar(calendar) => calendar.used_slots(query),
        }
    }

    /// Checks whether there is room for `needed` slots beside the calls in flight.
    pub(super) fn check_room(
        &mut self,
        query: &WindowQuery<'_>,
        needed: u64,
    ) -> Result<(), NotYet> {
        match self {
            Self::Log(log) => log.check_room(query, needed),
            Self::Bucket(bucket) => bucket.check_room(query, needed),
            Self::Counter(counter) => counter.check_room(query, needed),
            Self::Calendar(calendar) => calendar.check_room(query, needed),
        }
    }

    pub(super) fn finish(
        &mut self,
        weight: u64,
        taken: Moment,
        finished: Moment,
        wall_clock: WallClockSample,
    ) {
        match self {
            // A sliding log reads the quota's completion log instead.
            Self::Log(_) => {}
            Self::Bucket(bucket) => bucket.finish(weight, finished),
            Self::Counter(counter) => counter.finish(weight, finished, wall_clock),
            Self::Calendar(calendar) => calendar.finish(weight, taken, finished, wall_clock),
        }
    }

    /// Estimates when the last call of the queue is sent.
    pub(super) fn estimate(&mut self, query: &WindowQuery<'_>, queue: &QueueAhead) -> Moment {
        match self {
            Self::Log(log) => log.estimate(query, queue),
            Self::Bucket(bucket) => bucket.estimate(query, queue),
            Self::Counter(counter) => counter.estimate(query, queue),
            Self::Calendar(calendar) => calendar.estimate(query, queue),
        }
    }
}
