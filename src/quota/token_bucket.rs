//! A token bucket: `burst` tokens at first and at most, `limit` more in each `length`, paced by
//! completion.
//!
//! A token is taken when the answer arrives, which is the latest moment at which the broker may have counted the
//! call. Call `j` may be sent at `now` if the bucket, as it will be at `now + credit`, holds a token for each call in
//! flight and one for `j`.
//!
//! Why this is safe: a bucket of burst `b` and rate `r` refuses nothing if and only if at most `b + r (t - s)` calls
//! arrive between any two moments `s <= t`. Take any calls that arrived from `s` to `t`, and let `j` be the one that
//! was sent last. Of the others, `m` were in flight when `j` was sent, and the rest had been answered; let `i` be the
//! one of those that was answered first, at `x`. The rest are among the calls answered since `x`, and because the
//! level was at least `m + 1`,
//!
//! ```text
//! how many answered since x + m + 1  <=  b + r (now + credit - x)
//! ```
//!
//! Call `i` arrived at `x - return_i` or before, so `s <= x - return_i`; and `t >= now + forward_j`. With `credit <=
//! return_i + forward_j` the right side is at most `b + r (t - s)`. If none had been answered, `m + 1 <= b` says the
//! same. With weights, read "how much" for "how many".
//!
//! Levels are whole numbers, in units of one token divided by the nanoseconds of `length`: one nanosecond adds
//! exactly `limit` units.

use super::moment::{Moment, nanos};
use super::permit::NotYet;
use super::query::{QueueAhead, WindowQuery};
use super::window::Window;

#[derive(Debug, Clone)]
pub(super) struct TokenBucket {
    limit: u64,
    length: u64,
    burst: u64,
    /// The level at `updated_at`. Negative if an answer arrived sooner than the credit assumed.
    level: i128,
    updated_at: u64,
}

impl TokenBucket {
    /// Returns a full bucket.
    pub(super) fn new(window: &Window, burst: u32) -> Self {
        // `Quota::check` refuses a window without calls or length. The `max` only rules out a division by zero.
        let (limit, length) = (u64::from(window.limit).max(1), nanos(window.length).max(1));
        let burst = u64::from(burst);
        Self { limit, length, burst, level: i128::from(burst) * i128::from(length), updated_at: 0 }
    }

    /// Returns this bucket with the tokens that are missing in `old`, if both fill at the same rate. This is exact:
    /// the level is the minimum of `burst - spent since x + filled since x`, and only `burst` differs.
    pub(super) fn carry_over(mut self, old: &Self) -> Option<Self> {
        if (self.limit, self.length) != (old.limit, old.length) {
            return None;
        }
        self.level = old.level.saturating_add(self.capacity() - old.capacity());
        self.updated_at = old.updated_at;
        Some(self)
    }

    /// Returns the number of missing tokens, rounded up.
    pub(super) fn used_slots(&self, query: &WindowQuery<'_>) -> u64 {
        let missing = self.capacity() - self.level_at(query.now + query.credit());
        let length = i128::from(self.length);
        u64::try_from((missing + length - 1) / length).unwrap_or(0)
    }

    pub(super) fn check_room(&self, query: &WindowQuery<'_>, needed: u64) -> Result<(), NotYet> {
        let wanted = query.in_flight.saturating_add(needed);
        if wanted > self.burst {
            return Err(NotYet::InFlight);
        }
        let wanted = self.units(wanted);
        if self.level_at(query.now + query.credit()) >= wanted {
            return Ok(());
        }
        Err(NotYet::Until(self.reaches_at(wanted, query.now) - query.credit()))
    }

    pub(super) fn finish(&mut self, weight: u64, finished: Moment) {
        self.level = self.level_at(finished).saturating_sub(self.units(weight));
        // A call of an earlier process may count from a moment in the future.
        self.updated_at = self.updated_at.max(finished.as_nanos());
    }

    /// Tokens are added at their rate, unless the calls in flight hold so many that the bucket is full meanwhile.
    pub(super) fn estimate(&self, query: &WindowQuery<'_>, queue: &QueueAhead) -> Moment {
        let slots = self.burst.saturating_sub(queue.reserve).max(1);
        let held = query.in_flight.saturating_add(queue.reserve);
        let wanted = self.units(held.saturating_add(queue.weight));
        let free = (self.reaches_at(wanted, query.now) - query.credit()).max(query.now);
        let wait = u128::from(free.as_nanos() - query.now.as_nanos());
        let filling = |tokens: u64| u128::from(tokens) * u128::from(self.length);
        let passing = |nanos: u64| u128::from(nanos) * u128::from(self.limit);
        // A token can be used again when its call was answered and the bucket has been refilled.
        let again = filling(queue.call_weight).saturating_sub(passing(query.credit));
        let turn = passing(queue.round_trip).saturating_add(again);
        let fill = filling(slots);
        // In thousandths, so that the product cannot overflow.
        let slower = (turn.saturating_mul(1000) / fill).max(1000);
        let wait = wait.saturating_mul(slower) / 1000;
        Moment::from_nanos(
            query.now.as_nanos().saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)),
        )
    }

    fn capacity(&self) -> i128 {
        self.units(self.burst)
    }

    fn units(&self, tokens: u64) -> i128 {
        i128::from(tokens).saturating_mul(self.length.into())
    }

    fn level_at(&self, moment: Moment) -> i128 {
        let passed = i128::from(moment.as_nanos().saturating_sub(self.updated_at));
        self.capacity().min(self.level.saturating_add(passed * i128::from(self.limit)))
    }

    /// Returns when the level reaches `wanted`, as if the bucket were large enough.
    fn reaches_at(&self, wanted: i128, now: Moment) -> Moment {
        let limit = i128::from(self.limit);
        let missing = wanted.saturating_sub(self.level_at(now)).max(0);
        let after = missing.saturating_add(limit - 1) / limit;
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        Moment::from_nanos(now.as_nanos().max(self.updated_at).saturating_add(after))
    }
}
