//! What the looks so far say of a write that none of them showed.
//!
//! A write is absent after two clean looks that were sent after the settle time. The second is sent some time after
//! the first was answered, so that one server that is behind is not believed. The looks are kept with an order as long
//! as it is open. Whoever asks after it next, the caller or `recover`, goes on where the last search ended.

use std::time::Duration;

use crate::broker::Absence;
use crate::quota::{Moment, WallClockSample};

/// How far apart the two looks are: this part of the settle time, and not more than this.
const CONFIRMATION_GAP_DIVISOR: u32 = 10;
const MAX_CONFIRMATION_GAP: Duration = Duration::from_secs(2);

/// The looks so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::order_guard) struct Evidence {
    /// When the write was given up. The settle time counts from here.
    given_up_at: Moment,
    /// How many looks were clean and showed nothing.
    clean_reads: u32,
    /// When the first of these was sent.
    first_clean_at: Option<Moment>,
    /// When the first of these was answered that counts.
    first_conclusive_at: Option<Moment>,
}

/// What a look of this moment would say.
#[derive(Debug, Clone, Copy)]
pub(in crate::order_guard) struct PollContext {
    /// It is sent after the settle time.
    pub(in crate::order_guard) is_after_settle_time: bool,
    /// It is the last word if it is clean and shows nothing: this is known then.
    pub(in crate::order_guard) absence: Option<Absence>,
}

impl Evidence {
    /// No look yet at what was given up then.
    pub(in crate::order_guard) fn starting_at(since: Moment) -> Self {
        Self { given_up_at: since, clean_reads: 0, first_clean_at: None, first_conclusive_at: None }
    }

    /// What both of two writes have, so that a look is a last word on both.
    pub(in crate::order_guard) fn intersect(self, other: Self) -> Self {
        let both = |one: Option<Moment>, other: Option<Moment>| Some(one?.max(other?));
        Self {
            given_up_at: self.given_up_at.max(other.given_up_at),
            clean_reads: self.clean_reads.min(other.clean_reads),
            first_clean_at: both(self.first_clean_at, other.first_clean_at),
            first_conclusive_at: both(self.first_conclusive_at, other.first_conclusive_at),
        }
    }

    /// This, after a search for several writes that showed none of them.
    pub(in crate::order_guard) fn after_search(self, search: Self) -> Self {
        let has_more = search.first_conclusive_at.is_some() || self.first_conclusive_at.is_none();
        if has_more { Self { given_up_at: self.given_up_at, ..search } } else { self }
    }

    /// What a look that is sent now would say.
    pub(super) fn poll_context(&self, sent: WallClockSample, settle: Duration) -> PollContext {
        let is_late = sent.moment >= self.given_up_at + settle;
        let is_last =
            self.first_conclusive_at.is_some() && sent.moment >= self.next_conclusive_at(settle);
        let over = sent.moment.since(self.first_clean_at.unwrap_or(sent.moment));
        let absence = || Absence::new(self.clean_reads.saturating_add(1), over, sent.timestamp);
        PollContext { is_after_settle_time: is_late, absence: is_last.then(absence) }
    }

    /// A look that was sent then was clean and showed nothing, as is known now. It may have waited for long before
    /// the broker saw it, so the next one that counts is some time after its answer.
    pub(super) fn record_clean_read(&mut self, sent: Moment, now: Moment, settle: Duration) {
        self.clean_reads = self.clean_reads.saturating_add(1);
        self.first_clean_at.get_or_insert(sent);
        if sent >= self.given_up_at + settle {
            self.first_conclusive_at.get_or_insert(now);
        }
    }

    /// From when on a look counts that did not count before.
    pub(super) fn next_conclusive_at(&self, settle: Duration) -> Moment {
        match self.first_conclusive_at {
            None => self.given_up_at + settle,
            Some(first) => first + (settle / CONFIRMATION_GAP_DIVISOR).min(MAX_CONFIRMATION_GAP),
        }
    }
}
