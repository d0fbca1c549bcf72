//! A window that begins at midnight in the broker's time zone: at most N calls from one midnight to the next.
//!
//! A call is counted in every day that its time in flight touches, from when it was sent to when it was answered. The
//! broker counted it in one of these days, but it is unknown in which. So a call in flight at midnight counts in both
//! days. The time in flight is widened on both sides by a guard, because the broker's clock decides when it is
//! midnight, and ours may differ by that much: 2 s, or as set by [`Quota::clock_guard`](super::Quota::clock_guard).
//!
//! Why this is safe: take the calls that the broker counted in one day. Each of them was in flight in that day, give
//! or take the guard. Let `j` be the one that was sent last. The others were in flight when `j` was sent, and were
//! counted in every day that `j` could touch; or they had been answered, and were counted in the days that they
//! touched. So together with `j` they are at most N.
//!
//! A day is as long as the zone defines it: 23 or 25 hours when the clocks change.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::moment::{Moment, nanos};
use super::permit::NotYet;
use super::query::{QueueAhead, WindowQuery};
use super::wall_clock::WallClockSample;
use super::window::Window;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

#[derive(Debug, Clone)]
pub(super) struct Calendar {
    limit: u64,
    zone: TimeZone,
    guard: i128,
    /// The earliest day in which a new call may be counted, and the one after it. All times are those of the wall
    /// clock.
    first_day: Day,
    second_day: Day,
}

#[derive(Debug, Clone, Copy)]
struct Day {
    end: i128,
    /// The weight of the answered calls that touched it.
    used: u64,
}

impl Calendar {
    pub(super) fn new(window: &Window, zone: &TimeZone, guard: std::time::Duration) -> Self {
        let never = Day { end: i128::MIN, used: 0 };
        let (limit, guard) = (window.limit.into(), nanos(guard).into());
        Self { limit, zone: zone.clone(), guard, first_day: never, second_day: never }
    }

    /// Returns this calendar with the counts of `old`, if their days are the same.
    pub(super) fn carry_over(self, old: &Self) -> Option<Self> {
        (self.zone == old.zone && self.guard == old.guard)
            .then(|| Self { limit: self.limit, ..old.clone() })
    }

    /// Returns the weight in the earliest day that still counts. Every answered call that touched the second day
    /// touched the first one too, so the second never holds more.
    pub(super) fn used_slots(&mut self, query: &WindowQuery<'_>) -> u64 {
        self.roll(query.wall_clock, query.now);
        self.first_day.used
    }

    pub(super) fn check_room(
        &mut self,
        query: &WindowQuery<'_>,
        needed: u64,
    ) -> Result<(), NotYet> {
        self.roll(query.wall_clock, query.now);
        let wanted = query.in_flight.saturating_add(needed);
        if wanted > self.limit {
            return Err(NotYet::InFlight);
        }
        let has_room = |day: &Day| day.used.saturating_add(wanted) <= self.limit;
        let until = if has_room(&self.first_day) {
            return Ok(());
        } else if has_room(&self.second_day) {
            self.first_day.end
        } else {
            self.second_day.end
        };
        Err(NotYet::Until(query.wall_clock.moment_at(until.saturating_add(self.guard))))
    }

    pub(super) fn finish(
        &mut self,
        weight: u64,
        taken: Moment,
        finished: Moment,
        wall_clock: WallClockSample,
    ) {
        let now = self.roll(wall_clock, finished);
        if wall_clock.nanos_at(taken).saturating_sub(self.guard) < self.first_day.end {
            self.first_day.used = self.first_day.used.saturating_add(weight);
        }
        if self.counts_in_second_day(now) {
            self.second_day.used = self.second_day.used.saturating_add(weight);
        }
    }

    pub(super) fn estimate(&mut self, query: &WindowQuery<'_>, queue: &QueueAhead) -> Moment {
        self.roll(query.wall_clock, query.now);
        let slots = self.limit.saturating_sub(queue.reserve).max(1);
        let rest = slots.saturating_sub(self.first_day.used.saturating_add(query.in_flight));
        match queue.last_slot().checked_sub(rest) {
            None => query.now,
            Some(beyond) => {
                let days = i128::from(beyond / slots).saturating_mul(NANOS_PER_DAY);
                let end = self.first_day.end.saturating_add(self.guard).saturating_add(days);
                query.wall_clock.moment_at(end).max(query.now)
            }
        }
    }

    fn counts_in_second_day(&self, now: i128) -> bool {
        now.saturating_add(self.guard) >= self.first_day.end
    }

    /// Moves on to the days in which a call at `moment` may be counted. Returns the reading of the wall clock. If
    /// that stepped back a little, the days stay.
    fn roll(&mut self, wall_clock: WallClockSample, moment: Moment) -> i128 {
        let now = wall_clock.nanos_at(moment);
        let earliest = now.saturating_sub(self.guard);
        if earliest >= self.first_day.end {
            let used = if earliest < self.second_day.end { self.second_day.used } else { 0 };
            let end = self.end_of_day(earliest);
            self.first_day = Day { end, used };
            self.second_day = Day { end: self.end_of_day(end), used: 0 };
        }
        now
    }

    /// Returns the midnight after `at`. Beyond the years that jiff covers, days have 24 hours.
    fn end_of_day(&self, at: i128) -> i128 {
        let midnight = || {
            let here = Timestamp::from_nanosecond(at).ok()?.to_zoned(self.zone.clone());
            let midnight = here.tomorrow().ok()?.start_of_day().ok()?;
            Some(midnight.timestamp().as_nanosecond()).filter(|&midnight| midnight > at)
        };
        midnight().unwrap_or_else(|| {
            at.div_euclid(NANOS_PER_DAY).saturating_add(1).saturating_mul(NANOS_PER_DAY)
        })
    }
}
