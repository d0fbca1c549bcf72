//! The recently finished calls, which the windows of one quota share.

use std::collections::VecDeque;

use super::Moment;

/// A finished call.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoggedCall {
    pub(super) taken_at: Moment,
    pub(super) finished_at: Moment,
    /// The weight of this call and of all before it, so that the weight of any range is one subtraction, and a
    /// position is found by binary search.
    pub(super) cumulative_weight: u64,
}

/// Finished calls in the order of their answers, kept for as long as the longest window needs them.
#[derive(Debug, Clone, Default)]
pub(super) struct CompletionLog {
    entries: VecDeque<LoggedCall>,
    /// The number of the first entry, counted from the first call ever logged.
    first_number: u64,
    /// The weight of all entries that were dropped.
    dropped_weight: u64,
    /// How long a call is kept, in nanoseconds. It never shrinks, so a window that was removed and added again finds
    /// its count.
    retention: u64,
}

impl CompletionLog {
    /// Keeps calls for at least `nanos` nanoseconds.
    pub(super) fn retain_for(&mut self, nanos: u64) {
        self.retention = self.retention.max(nanos);
    }

    pub(super) fn push(&mut self, taken: Moment, finished: Moment, weight: u64) {
        let now = finished.as_nanos();
        while let Some(front) = self.entries.front() {
            if front.finished_at.as_nanos().saturating_add(self.retention) > now {
                break;
            }
            self.dropped_weight = front.cumulative_weight;
            self.first_number += 1;
            self.entries.pop_front();
        }
        if self.retention > 0 {
            let total = self.total_weight().saturating_add(weight);
            self.entries.push_back(LoggedCall {
                taken_at: taken,
                finished_at: finished,
                cumulative_weight: total,
            });
        }
    }

    /// Returns the number of the first entry, and the weight of everything before it.
    pub(super) fn start(&self) -> (u64, u64) {
        (self.first_number, self.dropped_weight)
    }

    /// Returns the weight of all calls so far.
    pub(super) fn total_weight(&self) -> u64 {
        self.entries.back().map_or(self.dropped_weight, |last| last.cumulative_weight)
    }

    pub(super) fn get(&self, number: u64) -> Option<&LoggedCall> {
        let index = usize::try_from(number.checked_sub(self.first_number)?).ok()?;
        self.entries.get(index)
    }

    /// Returns the first entry whose cumulative weight is at least `total`.
    pub(super) fn first_reaching(&self, total: u64) -> Option<&LoggedCall> {
        let index = self.entries.partition_point(|entry| entry.cumulative_weight < total);
        self.entries.get(index)
    }

    /// Iterates over all entries with their weights, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&LoggedCall, u64)> {
        let mut before = self.dropped_weight;
        self.entries.iter().map(move |entry| {
            let weight = entry.cumulative_weight.saturating_sub(before);
            before = entry.cumulative_weight;
            (entry, weight)
        })
    }
}
