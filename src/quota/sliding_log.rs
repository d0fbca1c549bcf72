//! A sliding log: at most N in any span of W, paced by completion.
//!
//! A limiter that stamps calls when they are sent is wrong at the broker: a slow call followed by a
//! quick one arrives late and close, and the broker counts one too many. So a slot is stamped when
//! the *answer* is here. Call `j` is let go at `now` if those in flight, those with
//!
//! ```text
//! finished > now + credit - W
//! ```
//!
//! and `j` itself are no more than N. In other words, a slot is free again at
//! `finished - credit + W`, where the credit is the one of the moment at which it is asked for.
//!
//! Why that is safe. Take any calls that the broker counted within less than W of each other, and of
//! them the one, `j`, that was let go last. Any other, `i`, was either in flight then, and so was
//! counted. Or it had been answered: then it arrived no later than `finished_i - return_i`, while
//! `j` arrived no sooner than `now + forward_j`. These are less than W apart, so
//!
//! ```text
//! finished_i > now + forward_j + return_i - W >= now + credit - W
//! ```
//!
//! as long as `credit <= return_i + forward_j`: it was counted too. So they are at most N, whatever
//! the network does, and however long a call takes. With weights, "how many" is "how much".
//!
//! Such a schedule passes a sliding log, and with it any fixed window of W and any token bucket of
//! capacity N and rate N / W.

use super::charge::NotYet;
use super::meter::{Look, Queue};
use super::moment::{Moment, nanos};
use super::window::Window;

/// Where in the log the slots begin that are not free yet.
#[derive(Debug, Clone)]
pub(super) struct SlidingLog {
    limit: u64,
    length: u64,
    /// The number of the first entry whose slots are not free.
    next: u64,
    /// The weight of all before it.
    free: u64,
}

impl SlidingLog {
    pub(super) fn new(window: &Window) -> Self {
        Self { limit: window.limit.into(), length: nanos(window.length), next: 0, free: 0 }
    }

    /// The weight that cools: answered, but not free yet.
    pub(super) fn used(&mut self, look: &Look<'_>) -> u64 {
        self.roll(look);
        look.log.total().saturating_sub(self.free)
    }

    pub(super) fn room(&mut self, look: &Look<'_>, claim: u64) -> Result<(), NotYet> {
        let cooling = self.used(look);
        let wanted = look.in_flight.saturating_add(claim);
        let Some(over) = cooling.saturating_add(wanted).checked_sub(self.limit + 1) else {
            return Ok(());
        };
        if wanted > self.limit {
            return Err(NotYet::InFlight);
        }
        match self.frees(look, over + 1) {
            Some(moment) => Err(NotYet::Until(moment)),
            None => Err(NotYet::InFlight),
        }
    }

    /// In a saturated lane each slot is used once in `W - credit + round trip`. So the slots are
    /// handed out in the order in which they become free, round after round.
    pub(super) fn estimate(&mut self, look: &Look<'_>, queue: &Queue) -> Moment {
        // What is left over when as many calls as fit hold theirs is of no use.
        let each = queue.each.max(1);
        let slots = (self.limit.saturating_sub(queue.reserve) / each).max(1) * each;
        let used = self.used(look).saturating_add(look.in_flight);
        let (rounds, place) = (queue.last() / slots, queue.last() % slots);
        let first = match (used + place).checked_sub(slots) {
            None => look.now,
            Some(over) => self
                .frees(look, over + 1)
                .unwrap_or_else(|| self.free_at(queue.answered, look.credit)),
        };
        let round = self.length.saturating_sub(look.credit).saturating_add(queue.round_trip);
        let later = first.as_nanos().saturating_add(round.saturating_mul(rounds));
        Moment::from_nanos(later).max(look.now)
    }

    /// When `weight` more will be free.
    fn frees(&self, look: &Look<'_>, weight: u64) -> Option<Moment> {
        // Nearly always the first one is enough.
        let wanted = self.free.saturating_add(weight);
        let entry = look
            .log
            .get(self.next)
            .filter(|entry| entry.total >= wanted)
            .or_else(|| look.log.reaches(wanted))?;
        Some(self.free_at(entry.finished, look.credit))
    }

    fn free_at(&self, finished: Moment, credit: u64) -> Moment {
        let uncredited = finished.as_nanos().saturating_add(self.length);
        Moment::from_nanos(uncredited.saturating_sub(credit))
    }

    /// Frees the slots whose time has come; and takes some back if the credit has become less.
    fn roll(&mut self, look: &Look<'_>) {
        let (first, forgotten) = look.log.start();
        if self.next < first {
            (self.next, self.free) = (first, forgotten);
        }
        let cools = |finished: Moment| self.free_at(finished, look.credit) > look.now;
        let before = self.next.checked_sub(1).and_then(|number| look.log.get(number));
        if before.is_some_and(|entry| cools(entry.finished)) {
            (self.next, self.free) = (first, forgotten);
        }
        while let Some(entry) = look.log.get(self.next) {
            if self.free_at(entry.finished, look.credit) > look.now {
                break;
            }
            (self.next, self.free) = (self.next + 1, entry.total);
        }
    }
}
