//! The evidence of reads that did not show a write.
//!
//! A write is absent after two clean reads that were sent after the settle time. The second is sent some time after
//! the first was answered, so that a single server that lags behind is not believed. The evidence is kept with an
//! order while it is pending. The next search, by a caller or by `recover`, continues where the last one ended.

use std::time::Duration;

use crate::broker::Absence;
use crate::quota::{Moment, WallClockSample};

/// The gap between the two conclusive reads, as a part of the settle time: a tenth, so that it lengthens a search
/// little.
const CONFIRMATION_GAP_DIVISOR: u32 = 10;
/// The maximum of that gap, since a caller is waiting.
const MAX_CONFIRMATION_GAP: Duration = Duration::from_secs(2);

/// The evidence of the reads so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::order_guard) struct Evidence {
    /// When the write was given up. The settle time counts from here.
    given_up_at: Moment,
    /// The number of clean reads, which did not show the write.
    clean_reads: u32,
    /// When the first of these was sent.
    first_clean_at: Option<Moment>,
    /// When the first of these that was sent after the settle time was answered.
    first_conclusive_at: Option<Moment>,
}

/// The context of a read: what it would prove if it is sent at this moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::order_guard) struct PollContext {
    /// Whether it is sent after the settle time.
    pub(in crate::order_guard) is_after_settle_time: bool,
    /// The absence that is proven if this read is clean and does not show the write.
    pub(in crate::order_guard) absence: Option<Absence>,
}

impl Evidence {
    /// Creates empty evidence for a write that was given up at `since`.
    pub(in crate::order_guard) fn starting_at(since: Moment) -> Self {
        Self { given_up_at: since, clean_reads: 0, first_clean_at: None, first_conclusive_at: None }
    }

    /// Returns the evidence that two writes share, so that one read is conclusive for both.
    pub(in crate::order_guard) fn intersect(self, other: Self) -> Self {
        let later = |one: Option<Moment>, other: Option<Moment>| Some(one?.max(other?));
        Self {
            given_up_at: self.given_up_at.max(other.given_up_at),
            clean_reads: self.clean_reads.min(other.clean_reads),
            first_clean_at: later(self.first_clean_at, other.first_clean_at),
            first_conclusive_at: later(self.first_conclusive_at, other.first_conclusive_at),
        }
    }

    /// Returns this evidence after a search for several writes that did not find this one. `search` is their shared
    /// evidence, which is taken unless only this one has a conclusive read.
    pub(in crate::order_guard) fn after_search(self, search: Self) -> Self {
        let has_more = search.first_conclusive_at.is_some() || self.first_conclusive_at.is_none();
        if has_more { Self { given_up_at: self.given_up_at, ..search } } else { self }
    }

    /// Returns what a read that is sent now would prove.
    pub(super) fn poll_context(&self, sent: WallClockSample, settle: Duration) -> PollContext {
        let is_after_settle_time = sent.moment >= self.given_up_at + settle;
        let is_last =
            self.first_conclusive_at.is_some() && sent.moment >= self.next_conclusive_at(settle);
        let span = sent.moment.since(self.first_clean_at.unwrap_or(sent.moment));
        let absence = || Absence::new(self.clean_reads.saturating_add(1), span, sent.timestamp);
        PollContext { is_after_settle_time, absence: is_last.then(absence) }
    }

    /// Records a clean read without the write. The read may have waited long before the broker processed it, so the
    /// next one counts only some time after its answer.
    pub(super) fn record_clean_read(&mut self, sent: Moment, now: Moment, settle: Duration) {
        self.clean_reads = self.clean_reads.saturating_add(1);
        self.first_clean_at.get_or_insert(sent);
        if sent >= self.given_up_at + settle {
            self.first_conclusive_at.get_or_insert(now);
        }
    }

    /// Returns when the next read that counts may be sent.
    pub(super) fn next_conclusive_at(&self, settle: Duration) -> Moment {
        match self.first_conclusive_at {
            None => self.given_up_at + settle,
            Some(first) => first + (settle / CONFIRMATION_GAP_DIVISOR).min(MAX_CONFIRMATION_GAP),
        }
    }
}
