//! What was finished lately: the memory that the windows of one quota share.

use std::collections::VecDeque;

use super::Moment;

/// A finished call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) taken: Moment,
    pub(super) finished: Moment,
    /// The weight of this call and of all before it, so that the weight of any stretch is one
    /// difference and a place in it is found by halving.
    pub(super) total: u64,
}

/// Finished calls in the order of their answers, for as long as the longest window wants them.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the first entry, counted from the beginning of time.
    first: u64,
    /// The weight of everything forgotten.
    forgotten: u64,
    /// How long a call is remembered. It never becomes shorter: a window that was taken away and
    /// comes back finds its count again.
    keep: u64,
}

impl Log {
    /// Remembers calls for `nanos` nanoseconds, at least.
    pub(super) fn keep(&mut self, nanos: u64) {
        self.keep = self.keep.max(nanos);
    }

    pub(super) fn push(&mut self, taken: Moment, finished: Moment, weight: u64) {
        let now = finished.as_nanos();
        while let Some(front) = self.entries.front() {
            if front.finished.as_nanos().saturating_add(self.keep) > now {
                break;
            }
            self.forgotten = front.total;
            self.first += 1;
            self.entries.pop_front();
        }
        if self.keep > 0 {
            let total = self.total().saturating_add(weight);
            self.entries.push_back(Entry { taken, finished, total });
        }
    }

    /// The number of the first entry, and the weight of everything before it.
    pub(super) fn start(&self) -> (u64, u64) {
        (self.first, self.forgotten)
    }

    /// The weight of everything so far.
    pub(super) fn total(&self) -> u64 {
        self.entries.back().map_or(self.forgotten, |last| last.total)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get(index)
    }

    /// The first entry up to and with which the weight is at least `total`.
    pub(super) fn reaches(&self, total: u64) -> Option<&Entry> {
        let index = self.entries.partition_point(|entry| entry.total < total);
        self.entries.get(index)
    }

    /// All entries with their weights, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Entry, u64)> {
        let mut before = self.forgotten;
        self.entries.iter().map(move |entry| {
            let weight = entry.total.saturating_sub(before);
            before = entry.total;
            (entry, weight)
        })
    }
}
