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

use super::charge::NotYet;
use super::meter::{Look, Queue};
use super::moment::{Moment, nanos};
use super::wall::WallClockSample;
use super::window::Window;

const DAY: i128 = 86_400_000_000_000;

#[derive(Debug, Clone)]
pub(super) struct Calendar {
    limit: u64,
    zone: TimeZone,
    guard: i128,
    /// The earliest day in which a new call may be counted, and the one after it. All times are
    /// those of the clock on the wall.
    first: Day,
    second: Day,
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
        Self { limit, zone: zone.clone(), guard, first: never, second: never }
    }

    /// This calendar with the counts of `old`, if its days are the same.
    pub(super) fn after(self, old: &Self) -> Option<Self> {
        (self.zone == old.zone && self.guard == old.guard)
            .then(|| Self { limit: self.limit, ..old.clone() })
    }

    /// The weight in the earliest day that still counts. What was answered and touched the second
    /// touched the first as well, so there is never more in that.
    pub(super) fn used(&mut self, look: &Look<'_>) -> u64 {
        self.roll(look.wall, look.now);
        self.first.used
    }

    pub(super) fn room(&mut self, look: &Look<'_>, claim: u64) -> Result<(), NotYet> {
        self.roll(look.wall, look.now);
        let wanted = look.in_flight.saturating_add(claim);
        if wanted > self.limit {
            return Err(NotYet::InFlight);
        }
        let has_room = |day: &Day| day.used.saturating_add(wanted) <= self.limit;
        let until = if has_room(&self.first) {
            return Ok(());
        } else if has_room(&self.second) {
            self.first.end
        } else {
            self.second.end
        };
        Err(NotYet::Until(look.wall.when(until.saturating_add(self.guard))))
    }

    pub(super) fn finish(
        &mut self,
        weight: u64,
        taken: Moment,
        finished: Moment,
        wall: WallClockSample,
    ) {
        let now = self.roll(wall, finished);
        if wall.at(taken).saturating_sub(self.guard) < self.first.end {
            self.first.used = self.first.used.saturating_add(weight);
        }
        if self.touches_second(now) {
            self.second.used = self.second.used.saturating_add(weight);
        }
    }

    pub(super) fn estimate(&mut self, look: &Look<'_>, queue: &Queue) -> Moment {
        self.roll(look.wall, look.now);
        let slots = self.limit.saturating_sub(queue.reserve).max(1);
        let rest = slots.saturating_sub(self.first.used.saturating_add(look.in_flight));
        match queue.last().checked_sub(rest) {
            None => look.now,
            Some(beyond) => {
                let days = i128::from(beyond / slots).saturating_mul(DAY);
                let end = self.first.end.saturating_add(self.guard).saturating_add(days);
                look.wall.when(end).max(look.now)
            }
        }
    }

    fn touches_second(&self, now: i128) -> bool {
        now.saturating_add(self.guard) >= self.first.end
    }

    /// Moves on to the days in which a call of `moment` may be counted; says what the clock on the
    /// wall reads. Should that have been set back a little, the days stay.
    fn roll(&mut self, wall: WallClockSample, moment: Moment) -> i128 {
        let now = wall.at(moment);
        let earliest = now.saturating_sub(self.guard);
        if earliest >= self.first.end {
            let used = if earliest < self.second.end { self.second.used } else { 0 };
            let end = self.end_of_day(earliest);
            self.first = Day { end, used };
            self.second = Day { end: self.end_of_day(end), used: 0 };
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
        midnight().unwrap_or_else(|| at.div_euclid(DAY).saturating_add(1).saturating_mul(DAY))
    }
}
