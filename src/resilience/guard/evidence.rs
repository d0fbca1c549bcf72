//! What the looks so far say of a write that none of them showed.
//!
//! A write is absent after two clean looks that were sent after the settle time. The second is sent some time after
//! the first was answered, so that one server that is behind is not believed. The looks are kept with an order as long
//! as it is open. Whoever asks after it next, the caller or `recover`, goes on where the last search ended.

use std::time::Duration;

use crate::broker::Absence;
use crate::quota::{Moment, WallClockSample};

/// How far apart the two looks are: this part of the settle time, and not more than this.
const APART: u32 = 10;
const FARTHEST_APART: Duration = Duration::from_secs(2);

/// The looks so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    /// When the write was given up. The settle time counts from here.
    since: Moment,
    /// How many looks were clean and showed nothing.
    clean: u32,
    /// When the first of these was sent.
    first: Option<Moment>,
    /// When the first of these was answered that counts.
    conclusive: Option<Moment>,
}

/// What a look of this moment would say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// It is sent after the settle time.
    pub(super) is_late: bool,
    /// It is the last word if it is clean and shows nothing: this is known then.
    pub(super) absence: Option<Absence>,
}

impl Evidence {
    /// No look yet at what was given up then.
    pub(super) fn since(since: Moment) -> Self {
        Self { since, clean: 0, first: None, conclusive: None }
    }

    /// What both of two writes have, so that a look is a last word on both.
    pub(super) fn of_both(self, other: Self) -> Self {
        let both = |one: Option<Moment>, other: Option<Moment>| Some(one?.max(other?));
        Self {
            since: self.since.max(other.since),
            clean: self.clean.min(other.clean),
            first: both(self.first, other.first),
            conclusive: both(self.conclusive, other.conclusive),
        }
    }

    /// This, after a search for several writes that showed none of them.
    pub(super) fn after(self, search: Self) -> Self {
        let has_more = search.conclusive.is_some() || self.conclusive.is_none();
        if has_more { Self { since: self.since, ..search } } else { self }
    }

    /// What a look that is sent now would say.
    pub(super) fn turn(&self, sent: WallClockSample, settle: Duration) -> Turn {
        let is_late = sent.moment >= self.since + settle;
        let is_last = self.conclusive.is_some() && sent.moment >= self.due(settle);
        let over = sent.moment.since(self.first.unwrap_or(sent.moment));
        let absence = || Absence::new(self.clean.saturating_add(1), over, sent.timestamp);
        Turn { is_late, absence: is_last.then(absence) }
    }

    /// A look that was sent then was clean and showed nothing, as is known now. It may have waited for long before
    /// the broker saw it, so the next one that counts is some time after its answer.
    pub(super) fn shows_nothing(&mut self, sent: Moment, now: Moment, settle: Duration) {
        self.clean = self.clean.saturating_add(1);
        self.first.get_or_insert(sent);
        if sent >= self.since + settle {
            self.conclusive.get_or_insert(now);
        }
    }

    /// From when on a look counts that did not count before.
    pub(super) fn due(&self, settle: Duration) -> Moment {
        match self.conclusive {
            None => self.since + settle,
            Some(first) => first + (settle / APART).min(FARTHEST_APART),
        }
    }
}
