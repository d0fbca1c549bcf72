//! A sliding counter: the counts of two consecutive intervals, the older one weighted by the share of it that a
//! window ending now still covers.
//!
//! ```text
//! previous * (time left in this one / length) + current + in flight  <=  N
//! ```
//!
//! Intervals begin at whole multiples of the length since 1970, as is usual for such counters. A call is counted here
//! when its answer arrives, which is after the broker counted it.
//!
//! Why this is safe: at a later moment `t`, a call weighs 1 if it was counted in the interval of `t`, the remaining
//! share of that interval if it was counted in the one before, and 0 otherwise. This weight grows with the moment of
//! counting and shrinks with `t`. Call `j` arrives no sooner than it is sent, and the broker counted any other call
//! no later than it is counted here. So a call weighs at least as much here when `j` is sent as it weighs there when
//! `j` arrives, and calls in flight weigh 1. Two things are assumed of the broker: its intervals begin at the same
//! moments, and its clock agrees with ours.
//!
//! It must not be the only window of a lane. If the calls of the previous interval arrived in a burst at its end,
//! their weight falls as if they had been spread out, and an exact log then counts up to twice N in one span. Use it
//! for a broker that is known to count like this, beside a sliding log for the hard limit.

use super::moment::{Moment, nanos};
use super::permit::NotYet;
use super::query::{QueueAhead, WindowQuery};
use super::wall_clock::WallClockSample;
use super::window::Window;

#[derive(Debug, Clone)]
pub(super) struct SlidingCounter {
    limit: u64,
    length: i128,
    /// When the current interval ends, by the wall clock.
    interval_end: i128,
    previous: u64,
    current: u64,
}

impl SlidingCounter {
    pub(super) fn new(window: &Window) -> Self {
        let length = i128::from(nanos(window.length).max(1));
        Self {
            limit: window.limit.into(),
            length,
            interval_end: i128::MIN,
            previous: 0,
            current: 0,
        }
    }

    /// Returns this counter with the counts of `old`, if their intervals are the same.
    pub(super) fn carry_over(self, old: &Self) -> Option<Self> {
        (self.length == old.length).then(|| Self { limit: self.limit, ..old.clone() })
    }

    /// Returns the weight of the counts now, rounded up to whole calls.
    pub(super) fn used_slots(&mut self, query: &WindowQuery<'_>) -> u64 {
        let now = self.roll(query.wall_clock, query.now);
        let weighted = i128::from(self.previous).saturating_mul(self.interval_end - now);
        let whole = weighted.saturating_add(self.length - 1) / self.length;
        u64::try_from(whole).unwrap_or(u64::MAX).saturating_add(self.current)
    }

    pub(super) fn check_room(
        &mut self,
        query: &WindowQuery<'_>,
        needed: u64,
    ) -> Result<(), NotYet> {
        let now = self.roll(query.wall_clock, query.now);
        let wanted = query.in_flight.saturating_add(needed);
        // In this interval, or in the next one, where the calls of this interval weigh less and less.
        let here = (self.previous, self.current.saturating_add(wanted), self.interval_end);
        let next = (self.current, wanted, self.interval_end + self.length);
        for (fading, firm, end) in [here, next] {
            let Some(rest) = self.limit.checked_sub(firm) else { continue };
            let fits = self.fits_at(fading, rest, end).max(end - self.length);
            let until = query.wall_clock.moment_at(fits);
            return if fits <= now { Ok(()) } else { Err(NotYet::Until(until)) };
        }
        Err(NotYet::InFlight)
    }

    pub(super) fn finish(&mut self, weight: u64, finished: Moment, wall_clock: WallClockSample) {
        self.roll(wall_clock, finished);
        self.current = self.current.saturating_add(weight);
    }

    /// After the current interval, each interval takes `limit` calls, evenly spread, without those in flight.
    pub(super) fn estimate(&mut self, query: &WindowQuery<'_>, queue: &QueueAhead) -> Moment {
        self.roll(query.wall_clock, query.now);
        let slots = self.limit.saturating_sub(queue.reserve).max(1);
        let firm = self.current.saturating_add(query.in_flight);
        let rest = slots.saturating_sub(firm);
        let at = match rest.checked_sub(queue.weight) {
            Some(rest) => self.fits_at(self.previous, rest, self.interval_end),
            None => {
                let beyond = u128::from(queue.weight - rest);
                let length = self.length.unsigned_abs();
                let slower = length.saturating_add(queue.round_trip.into());
                let after = beyond.saturating_mul(slower) / u128::from(slots);
                self.interval_end.saturating_add(i128::try_from(after).unwrap_or(i128::MAX))
            }
        };
        query.wall_clock.moment_at(at).max(query.now)
    }

    /// Returns from when on `fading` calls of the previous interval weigh at most `rest`, within the interval that
    /// ends at `end`.
    fn fits_at(&self, fading: u64, rest: u64, end: i128) -> i128 {
        match i128::from(rest).saturating_mul(self.length).checked_div(fading.into()) {
            None => end - self.length,
            Some(left) => end.saturating_sub(left),
        }
    }

    /// Moves on to the interval of `moment`. Returns the reading of the wall clock.
    fn roll(&mut self, wall_clock: WallClockSample, moment: Moment) -> i128 {
        let at = wall_clock.nanos_at(moment);
        if at >= self.interval_end {
            let end = at.div_euclid(self.length).saturating_add(1).saturating_mul(self.length);
            let follows = self.interval_end.saturating_add(self.length) == end;
            self.previous = if follows { self.current } else { 0 };
            (self.current, self.interval_end) = (0, end);
        }
        // If the wall clock stepped back a little, the current interval continues.
        at.max(self.interval_end - self.length)
    }
}
