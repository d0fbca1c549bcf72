//! How far a scan is, and the estimate of when it is done.

use std::collections::VecDeque;
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
    /// The estimated time until all items have their results: what the lane's quota permits, or what the latest answers
    /// took if that is longer. `None` if it is not known: the scan is not running, or the lane refuses its calls for now.
    /// Zero for a scan that is done.
    pub estimated_wait: Option<Duration>,
}

/// The times of the latest answers.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<Moment>);

/// How many answers the pace is measured over. More would be slow to show a change, fewer would show single bursts.
const MEASURED: usize = 32;

impl Pace {
    pub(super) fn note_answer(&mut self, now: Moment) {
        if self.0.len() == MEASURED {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// Forgets the times, because the scan was paused in between.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns how long this many more answers take at the present pace. `None` before the second answer.
    pub(super) fn time_for(&self, answers: usize) -> Option<Duration> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let gaps = u32::try_from(self.0.len() - 1).ok().filter(|gaps| *gaps > 0)?;
        let answers = u32::try_from(answers).unwrap_or(u32::MAX);
        Some((last.since(*first) / gaps).saturating_mul(answers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_latest_answers() {
        let mut pace = Pace::default();
        let at = |seconds| Moment::ORIGIN + Duration::from_secs(seconds);
        pace.note_answer(at(1));
        assert_eq!(pace.time_for(10), None);
        pace.note_answer(at(3));
        assert_eq!(pace.time_for(10), Some(Duration::from_secs(20)));
        // Answers that came too long ago do not count any more.
        (4..40).for_each(|second| pace.note_answer(at(second)));
        assert_eq!(pace.time_for(10), Some(Duration::from_secs(10)));
        assert_eq!(pace.time_for(0), Some(Duration::ZERO));
        pace.clear();
        assert_eq!(pace.time_for(10), None);
    }
}
