//! The state of one window, of whatever kind.

use std::time::Duration;

use super::calendar::Calendar;
use super::charge::NotYet;
use super::log::Log;
use super::moment::Moment;
use super::sliding_counter::SlidingCounter;
use super::sliding_log::SlidingLog;
use super::token_bucket::TokenBucket;
use super::wall::WallClockSample;
use super::window::{Window, WindowKind};

/// What a window looks at to answer.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) now: Moment,
    /// In nanoseconds.
    pub(super) credit: u64,
    pub(super) wall: WallClockSample,
    pub(super) log: &'a Log,
    /// The weight in flight.
    pub(super) in_flight: u64,
}

impl Look<'_> {
    pub(super) fn credit(&self) -> Duration {
        Duration::from_nanos(self.credit)
    }
}

/// The calls that an estimate is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    /// The weight of those ahead, and the call's own. At least 1.
    pub(super) weight: u64,
    /// The weight of one call.
    pub(super) each: u64,
    /// What none of them may use.
    pub(super) reserve: u64,
    /// How long a call takes, in nanoseconds.
    pub(super) round_trip: u64,
    /// When the calls in flight will have been answered.
    pub(super) answered: Moment,
}

impl Queue {
    /// The place of the last slot that is needed, counted from zero.
    pub(super) fn last(&self) -> u64 {
        self.weight.saturating_sub(1)
    }
}

/// The state of one window.
#[derive(Debug, Clone)]
pub(super) enum Meter {
    Log(SlidingLog),
    Bucket(TokenBucket),
    Counter(SlidingCounter),
    Calendar(Calendar),
}

impl Meter {
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

    /// Used as much as `old`, if that counts in the same way.
    pub(super) fn after(&self, old: &Self) -> Option<Self> {
        match (self.clone(), old) {
            (Self::Bucket(new), Self::Bucket(old)) => new.after(old).map(Self::Bucket),
            (Self::Counter(new), Self::Counter(old)) => new.after(old).map(Self::Counter),
            (Self::Calendar(new), Self::Calendar(old)) => new.after(old).map(Self::Calendar),
            _ => None,
        }
    }

    /// What is used, without what is in flight.
    pub(super) fn used(&mut self, look: &Look<'_>) -> u64 {
        match self {
            Self::Log(log) => log.used(look),
            Self::Bucket(bucket) => bucket.used(look),
            Self::Counter(counter) => counter.used(look),
            Self::Calendar(calendar) => calendar.used(look),
        }
    }

    /// Whether there is room for `claim`.
    pub(super) fn room(&mut self, look: &Look<'_>, claim: u64) -> Result<(), NotYet> {
        match self {
            Self::Log(log) => log.room(look, claim),
            Self::Bucket(bucket) => bucket.room(look, claim),
            Self::Counter(counter) => counter.room(look, claim),
            Self::Calendar(calendar) => calendar.room(look, claim),
        }
    }

    pub(super) fn finish(
        &mut self,
        weight: u64,
        taken: Moment,
        finished: Moment,
        wall: WallClockSample,
    ) {
        match self {
            // It looks into the log of the quota.
            Self::Log(_) => {}
            Self::Bucket(bucket) => bucket.finish(weight, finished),
            Self::Counter(counter) => counter.finish(weight, finished, wall),
            Self::Calendar(calendar) => calendar.finish(weight, taken, finished, wall),
        }
    }

    /// When the last call of the queue would be let go.
    pub(super) fn estimate(&mut self, look: &Look<'_>, queue: &Queue) -> Moment {
        match self {
            Self::Log(log) => log.estimate(look, queue),
            Self::Bucket(bucket) => bucket.estimate(look, queue),
            Self::Counter(counter) => counter.estimate(look, queue),
            Self::Calendar(calendar) => calendar.estimate(look, queue),
        }
    }
}
