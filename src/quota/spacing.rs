//! Even spacing: a minimum time between the departures of two calls of one quota.
//!
//! A window alone allows all of its calls at once, and then none until the window has passed. A spaced window also
//! keeps a gap of `length / limit` after each call. The gap is counted from when a call is *sent*, not from its
//! answer. It spreads the calls, and does not protect the broker; the windows do that. A gap that began at the answer
//! would allow one call in flight at a time, and on a path with a round trip longer than the gap a part of the quota
//! would be lost.
//!
//! Urgent calls do not wait for the gap. They count as departures, so the gap is kept after them too.

use std::time::Duration;

use super::moment::Moment;
use super::permit::NotYet;
use super::window::Window;

/// The gap of a quota, and the departure that it is counted from.
#[derive(Debug, Clone, Default)]
pub(super) struct Spacing {
    /// In nanoseconds. Zero if no window is spaced.
    gap: u64,
    last: Option<Departure>,
    /// The value of `last` before that call, for the case that the call is given back.
    before_last: Option<Departure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Departure {
    at: Moment,
    weight: u64,
}

impl Spacing {
    /// Sets the gap to the widest of these windows. The last departure stays known, so a new gap holds at once.
    pub(super) fn set_windows<'a>(&mut self, windows: impl Iterator<Item = &'a Window>) {
        self.gap = windows.filter_map(Window::gap).max().unwrap_or(0);
    }

    /// Checks whether the gap after the last departure has passed.
    pub(super) fn check_room(&self, now: Moment) -> Result<(), NotYet> {
        match self.free_at(self.gap) {
            Some(free) if free > now => Err(NotYet::Until(free)),
            _ => Ok(()),
        }
    }

    /// Returns when a gap of this many nanoseconds after the last departure has passed, if there was one. A call of
    /// weight `n` is followed by `n` gaps.
    pub(super) fn free_at(&self, gap: u64) -> Option<Moment> {
        self.last.map(|last| last.free_at(gap))
    }

    /// Estimates when a call is sent behind calls of this weight.
    pub(super) fn estimate(&self, now: Moment, weight_ahead: u64) -> Moment {
        let first = self.free_at(self.gap).map_or(now, |free| free.max(now));
        first + Duration::from_nanos(self.gap.saturating_mul(weight_ahead))
    }

    /// Returns how many of `free` slots can be used at this moment.
    pub(super) fn usable_slots(&self, free: u64, now: Moment) -> u64 {
        match (self.gap, self.check_room(now)) {
            (0, _) => free,
            (_, Ok(())) => free.min(1),
            (_, Err(_)) => 0,
        }
    }

    /// Records a departure. Of two departures, the one whose gap ends later counts.
    pub(super) fn depart(&mut self, at: Moment, weight: u64) {
        let departure = Departure { at, weight };
        if self.last.is_none_or(|last| last.free_at(self.gap) <= departure.free_at(self.gap)) {
            self.before_last = self.last.replace(departure);
        }
    }

    /// Forgets the last departure, if it is this one. The gap of an earlier one is over: a call was sent after it.
    pub(super) fn take_back(&mut self, at: Moment, weight: u64) {
        if self.last == Some(Departure { at, weight }) {
            self.last = self.before_last.take();
        }
    }
}

impl Departure {
    fn free_at(self, gap: u64) -> Moment {
        self.at + Duration::from_nanos(gap.saturating_mul(self.weight))
    }
}
