//! A window that begins at midnight, in the zone of the broker: at most N from one midnight to the
//! next.
//!
//! A call is counted in every day that its time in the air touches, from when it was let go to when
//! it was answered: the broker counted it in one of them, and which one is not known. A call that
//! is in the air at midnight counts in both days. The time in the air is made wider on both sides by
//! a guard, because the clock that says when it is midnight is the broker's, and ours may be off by
//! as much: 2 s, unless [`Quota::clock_guard`](super::Quota::clock_guard) says otherwise.
//!
//! Why that is safe. Say the broker counted call `j` in a day. Then `j` was in the air in that day,
//! give or take the guard, and so was any other call that it counted in that day. Of these take the
//! one that was let go last. The others were in flight then, and were counted in every day that this
//! one could touch; or they had been answered, and were counted in the days that they touched. So
//! with it they are at most N.
//!
//! A day is as long as the zone says, 23 or 25 hours when the clocks change.

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
    /// The earliest day in which a new call may be counted, and the one after it. All times are
    /// those of the clock on the wall.
    first_day: Day,
    second_day: Day,
}

#[derive(Debug, Clone, Copy)]
struct Day {
    end: i128,
    /// The weight of the calls that were answered and touched it.
    used: u64,
}

impl Calendar {
    pub(super) fn new(window: &Window, zone: &TimeZone, guard: std::time::Duration) -> Self {
        let never = Day { end: i128::MIN, used: 0 };
        let (limit, guard) = (window.limit.into(), nanos(guard).into());
        Self { limit, zone: zone.clone(), guard, first_day: never, second_day: never }
    }

    /// This calendar with the counts of `old`, if its days are the same.
    pub(super) fn carry_over(self, old: &Self) -> Option<Self> {
        (self.zone == old.zone && self.guard == old.guard)
            .then(|| Self { limit: self.limit, ..old.clone() })
    }

    /// The weight in the earliest day that still counts. What was answered and touched the second
    /// touched the first as well, so there is never more in that.
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
        wall: WallClockSample,
    ) {
        let now = self.roll(wall, finished);
        if wall.nanos_at(taken).saturating_sub(self.guard) < self.first_day.end {
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

    /// Moves on to the days in which a call of `moment` may be counted; says what the clock on the
    /// wall reads. Should that have been set back a little, the days stay.
    fn roll(&mut self, wall: WallClockSample, moment: Moment) -> i128 {
        let now = wall.nanos_at(moment);
        let earliest = now.saturating_sub(self.guard);
        if earliest >= self.first_day.end {
            let used = if earliest < self.second_day.end { self.second_day.used } else { 0 };
            let end = self.end_of_day(earliest);
            self.first_day = Day { end, used };
            self.second_day = Day { end: self.end_of_day(end), used: 0 };
        }
        now
    }

    /// The midnight after `at`. Beyond the years that a calendar knows, days have 24 hours.
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
