//! A sliding counter: two counts that follow each other, the older one weighted by how much of it
//! a window that ends now still covers.
//!
//! ```text
//! previous * (time left in this one / length) + current + in flight  <=  N
//! ```
//!
//! The counts begin at whole multiples of the length since 1970, as such counters do. A call is
//! counted here when its answer comes; at the broker it was counted before.
//!
//! Why that is safe. What a call weighs at a later moment `t` is 1 if it was counted in the same
//! stretch as `t`, the part that is left of it if in the one before, and else 0. The later it was
//! counted, the more it weighs; the later one asks, the less. Call `j` arrives no sooner than it is
//! let go, and any other call was counted no later than it is counted here. So what a call weighs
//! here when `j` is let go is at least what it weighs there when `j` arrives, and calls in flight
//! weigh 1. This asks two things of the broker: that it begins its stretches where they begin here,
//! and that its clock agrees with ours.
//!
//! It must not be the only guard. If the calls of the previous stretch came bunched at its end, its
//! weight falls as if they had been spread out, and a broker that keeps an exact log counts up to
//! twice N in one span. Use it for a broker that is known to count like that, beside a sliding log
//! for what must never happen.

use super::moment::{Moment, nanos};
use super::permit::NotYet;
use super::query::{QueueAhead, WindowQuery};
use super::wall_clock::WallClockSample;
use super::window::Window;

#[derive(Debug, Clone)]
pub(super) struct SlidingCounter {
    limit: u64,
    length: i128,
    /// When the current stretch ends, by the clock on the wall.
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

    /// This counter with the counts of `old`, if its stretches are the same.
    pub(super) fn carry_over(self, old: &Self) -> Option<Self> {
        (self.length == old.length).then(|| Self { limit: self.limit, ..old.clone() })
    }

    /// What the counts weigh now, a broken call counted whole.
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
        // In this stretch; or in the next, where the calls of this one weigh less and less.
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

    pub(super) fn finish(&mut self, weight: u64, finished: Moment, wall: WallClockSample) {
        self.roll(wall, finished);
        self.current = self.current.saturating_add(weight);
    }

    /// Each stretch takes a limit of calls, evenly once the first is over, less what is in flight.
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

    /// From when on `fading` calls of the stretch before weigh no more than `rest`, in the stretch
    /// that ends at `end`.
    fn fits_at(&self, fading: u64, rest: u64, end: i128) -> i128 {
        match i128::from(rest).saturating_mul(self.length).checked_div(fading.into()) {
            None => end - self.length,
            Some(left) => end.saturating_sub(left),
        }
    }

    /// Moves on to the stretch of `moment`; says what the clock on the wall reads.
    fn roll(&mut self, wall: WallClockSample, moment: Moment) -> i128 {
        let at = wall.nanos_at(moment);
        if at >= self.interval_end {
            let end = at.div_euclid(self.length).saturating_add(1).saturating_mul(self.length);
            let follows = self.interval_end.saturating_add(self.length) == end;
            self.previous = if follows { self.current } else { 0 };
            (self.current, self.interval_end) = (0, end);
        }
        // Should the wall's clock have been set back a little, this stretch goes on.
        at.max(self.interval_end - self.length)
    }
}
