//! How far a scan is, and the estimate of when it is done.

use std::fmt;
use std::time::Duration;

use crate::quota::Moment;

/// The state of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScanState {
    /// Calls are submitted.
    Running,
    /// No call is submitted until the scan is resumed.
    Paused,
    /// Every item has its result, or failed.
    Done,
    /// The scan was cancelled.
    Cancelled,
}

impl ScanState {
    /// Returns whether the scan is over: nothing more will happen.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    /// Returns the state as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for ScanState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A point-in-time snapshot of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanProgress {
    /// The state.
    pub state: ScanState,
    /// The number of items with a result, failed ones included.
    pub done: usize,
    /// The number of items whose result is an error.
    pub failed: usize,
    /// The number of items.
    pub total: usize,
    /// How many calls go before the next call of the scan in the queue of its lane. `None` if none of its calls is queued,
    /// or if they wait for another attempt or an open breaker.
    pub position: Option<usize>,
    /// The estimated time until all items have their results: as the quota and the queue of the lane permit, or at the pace
    /// so far if that takes longer. `None` if it is not known: the scan or its lane is paused, the session is expired, or the
    /// lane refuses the calls for now. Zero for a scan that is done.
    pub estimated_wait: Option<Duration>,
}

/// How fast answers came since the scan was started, resumed, or took up again what the lane had refused.
///
/// A quota lets calls through in bursts. So the pace is measured over all of that time, and not over the latest answers:
/// a few bursts more or less would change it.
#[derive(Debug)]
pub(super) struct Pace {
    since: Moment,
    until: Moment,
    answers: u32,
}

impl Pace {
    pub(super) fn new(now: Moment) -> Self {
        Self { since: now, until: now, answers: 0 }
    }

    pub(super) fn note_answer(&mut self, now: Moment) {
        self.until = now;
        self.answers = self.answers.saturating_add(1);
    }

    /// Returns how long this many more answers take at this pace. `None` before the first answer.
    pub(super) fn time_for(&self, answers: usize) -> Option<Duration> {
        let for_one = self.until.since(self.since).checked_div(self.answers)?;
        Some(for_one.saturating_mul(u32::try_from(answers).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_the_mean_since_the_beginning() {
        let at = |seconds| Moment::ORIGIN + Duration::from_secs(seconds);
        let mut pace = Pace::new(at(1));
        assert_eq!(pace.time_for(10), None);
        pace.note_answer(at(3));
        assert_eq!(pace.time_for(10), Some(Duration::from_secs(20)));
        // A burst.
        (0..9).for_each(|_| pace.note_answer(at(6)));
        assert_eq!(pace.time_for(10), Some(Duration::from_secs(5)));
        assert_eq!(pace.time_for(0), Some(Duration::ZERO));
    }
}
