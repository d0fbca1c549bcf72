//! The results and events of a scan, by their sequence numbers.
//!
//! Every result is kept. Of the other events only the latest of each kind is, so that a scan that is paused and resumed
//! for ever does not grow.

use std::sync::Arc;

/// An event of a scan.
#[derive(Debug)]
pub struct ScanEvent<R, E> {
    /// Its sequence number. The first is 1, and later events have higher ones. There are gaps where an event was replaced
    /// by a later one.
    pub seq: u64,
    /// What happened.
    pub kind: ScanEventKind<R, E>,
}

/// What happened in a scan.
#[derive(Debug)]
#[non_exhaustive]
pub enum ScanEventKind<R, E> {
    /// An item has its result. Each item has one, in the order in which the answers come.
    Result {
        /// The index of the item.
        index: usize,
        /// The answer, or an error in its place.
        result: Arc<Result<R, E>>,
    },
    /// How many items have their results. It follows the results, and replaces the one before.
    Progress {
        /// The number of items with a result, failed ones included.
        done: usize,
        /// The number of items whose result is an error.
        failed: usize,
        /// The number of items.
        total: usize,
    },
    /// The scan was paused. Replaced when it is resumed.
    Paused,
    /// The scan was resumed. Replaced when it is paused.
    Resumed,
    /// All items have their results. The last event.
    Done,
    /// The scan was cancelled. The last event.
    Cancelled,
}

/// The events of one scan.
pub(super) struct EventLog<R, E> {
    total: usize,
    done: usize,
    failed: usize,
    last_seq: u64,
    /// By sequence number.
    results: Vec<LoggedResult<R, E>>,
    /// The sequence number of the latest progress.
    progress: Option<u64>,
    state_change: Option<(u64, StateChange)>,
}

struct LoggedResult<R, E> {
    seq: u64,
    index: usize,
    result: Arc<Result<R, E>>,
}

/// An event that has no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StateChange {
    Paused,
    Resumed,
    Done,
    Cancelled,
}

impl<R, E> EventLog<R, E> {
    pub(super) fn new(total: usize) -> Self {
        Self {
            total,
            done: 0,
            failed: 0,
            last_seq: 0,
            results: Vec::new(),
            progress: None,
            state_change: None,
        }
    }

    /// Returns how many items have a result, and how many of the results are errors.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.done, self.failed)
    }

    /// Returns whether every item has its result.
    pub(super) fn is_complete(&self) -> bool {
        self.done == self.total
    }

    /// Adds the result of an item. `None` if there is none: the conversion of the lane's error panicked. Then it only counts
    /// as failed.
    pub(super) fn push_result(&mut self, index: usize, result: Option<Arc<Result<R, E>>>) {
        self.done += 1;
        self.failed += usize::from(result.as_ref().is_none_or(|result| result.is_err()));
        if let Some(result) = result {
            let seq = self.next_seq();
            self.results.push(LoggedResult { seq, index, result });
        }
        self.progress = Some(self.next_seq());
    }

    pub(super) fn push_state_change(&mut self, change: StateChange) {
        self.state_change = Some((self.next_seq(), change));
    }

    fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// Returns whether there are events after `seq`.
    pub(super) fn has_after(&self, seq: u64) -> bool {
        self.last_seq > seq
    }

    /// Returns the events after `seq`.
    pub(super) fn after(&self, seq: u64) -> Vec<ScanEvent<R, E>> {
        let first = self.results.partition_point(|logged| logged.seq <= seq);
        let results = self.results.iter().skip(first).map(|logged| {
            let LoggedResult { seq, index, result } = logged;
            let kind = ScanEventKind::Result { index: *index, result: Arc::clone(result) };
            ScanEvent { seq: *seq, kind }
        });
        let Self { done, failed, total, .. } = *self;
        let progress = self
            .progress
            .map(|at| ScanEvent { seq: at, kind: ScanEventKind::Progress { done, failed, total } });
        let state_change =
            self.state_change.map(|(at, change)| ScanEvent { seq: at, kind: change.into() });
        let others = progress.into_iter().chain(state_change).filter(|event| event.seq > seq);
        let mut events: Vec<_> = results.chain(others).collect();
        events.sort_by_key(|event| event.seq);
        events
    }
}

impl<R, E> From<StateChange> for ScanEventKind<R, E> {
    fn from(change: StateChange) -> Self {
        match change {
            StateChange::Paused => Self::Paused,
            StateChange::Resumed => Self::Resumed,
            StateChange::Done => Self::Done,
            StateChange::Cancelled => Self::Cancelled,
        }
    }
}

impl<R, E> Clone for ScanEvent<R, E> {
    fn clone(&self) -> Self {
        Self { seq: self.seq, kind: self.kind.clone() }
    }
}

impl<R, E> Clone for ScanEventKind<R, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Result { index, result } => {
                Self::Result { index: *index, result: Arc::clone(result) }
            }
            Self::Progress { done, failed, total } => {
                Self::Progress { done: *done, failed: *failed, total: *total }
            }
            Self::Paused => Self::Paused,
            Self::Resumed => Self::Resumed,
            Self::Done => Self::Done,
            Self::Cancelled => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(log: &EventLog<u8, ()>, after: u64) -> Vec<u64> {
        log.after(after).iter().map(|event| event.seq).collect()
    }

    #[test]
    fn results_are_kept_and_of_the_other_events_the_latest_of_each_kind() {
        let mut log = EventLog::new(3);
        log.push_result(2, Some(Arc::new(Ok(7))));
        log.push_state_change(StateChange::Paused);
        log.push_result(0, Some(Arc::new(Err(()))));
        // 1 is a result, 2 the progress after it, 3 the pause, and 4 and 5 are the second result.
        assert_eq!(seqs(&log, 0), [1, 3, 4, 5]);
        assert_eq!(log.counts(), (2, 1));
        log.push_state_change(StateChange::Resumed);
        assert_eq!(seqs(&log, 0), [1, 4, 5, 6]);
        assert_eq!(seqs(&log, 4), [5, 6]);
        assert!(!log.is_complete());
        // A result that could not be made counts, and there is only its progress.
        log.push_result(1, None);
        assert_eq!((seqs(&log, 6), log.counts(), log.is_complete()), (vec![7], (3, 2), true));
        let last = log.after(6).pop().map(|event| event.kind);
        assert!(matches!(last, Some(ScanEventKind::Progress { done: 3, failed: 2, total: 3 })));
    }

    #[test]
    fn there_is_nothing_after_the_last_event() {
        let mut log = EventLog::<u8, ()>::new(1);
        assert!(!log.has_after(0));
        log.push_state_change(StateChange::Cancelled);
        assert!(log.has_after(0) && !log.has_after(1) && !log.has_after(u64::MAX));
        assert!(log.after(1).is_empty());
    }
}
