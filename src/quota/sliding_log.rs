//! A sliding log: at most N in any span of W, paced by completion.
//!
//! A limiter that stamps a slot when its call is *sent* is wrong at the broker: if a slow call is followed by a quick
//! one, both arrive close together, and the broker counts one too many. So a slot is stamped when the *answer*
//! arrives. Call `j` may be sent at `now` if the calls in flight, the calls with
//!
//! ```text
//! finished > now + credit - W
//! ```
//!
//! and `j` itself are at most N. In other words, a slot is free again at `finished - credit + W`, with the credit at
//! the moment of the check.
//!
//! Why this is safe: take any calls that the broker counted within less than W of each other, and let `j` be the one
//! that was sent last. Any other call `i` was either still in flight when `j` was sent, and so was counted here. Or
//! it had been answered: then it arrived no later than `finished_i - return_i`, while `j` arrived no sooner than `now
//! + forward_j`. These are less than W apart, so
//!
//! ```text
//! finished_i > now + forward_j + return_i - W >= now + credit - W
//! ```
//!
//! as long as `credit <= return_i + forward_j`, and `i` was counted here too. So there are at most N such calls,
//! whatever the network does and however long a call takes. With weights, read "how much" for "how many".
//!
//! Calls that pass a sliding log also pass any fixed window of W and any token bucket of capacity N and rate N / W.

use super::moment::{Moment, nanos};
use super::permit::NotYet;
use super::query::{QueueAhead, WindowQuery};
use super::window::Window;

/// The position in the completion log from which on slots are not free yet.
#[derive(Debug, Clone)]
pub(super) struct SlidingLog {
    limit: u64,
    length: u64,
    /// The number of the first entry whose slots are not free yet.
    next_entry: u64,
    /// The weight of all entries before that.
    freed_weight: u64,
}

impl SlidingLog {
    pub(super) fn new(window: &Window) -> Self {
        Self {
            limit: window.limit.into(),
            length: nanos(window.length),
            next_entry: 0,
            freed_weight: 0,
        }
    }

    /// Returns the weight of calls that were answered and whose slots are not free yet.
    pub(super) fn used_slots(&mut self, query: &WindowQuery<'_>) -> u64 {
        self.roll(query);
        query.log.total_weight().saturating_sub(self.freed_weight)
    }

    pub(super) fn check_room(
        &mut self,
        query: &WindowQuery<'_>,
        needed: u64,
    ) -> Result<(), NotYet> {
        let cooling = self.used_slots(query);
        let wanted = query.in_flight.saturating_add(needed);
        let Some(over) = cooling.saturating_add(wanted).checked_sub(self.limit + 1) else {
            return Ok(());
        };
        if wanted > self.limit {
            return Err(NotYet::InFlight);
        }
        match self.next_free_at(query, over + 1) {
            Some(moment) => Err(NotYet::Until(moment)),
            None => Err(NotYet::InFlight),
        }
    }

    /// In a saturated lane each slot is used once in `W - credit + round trip`. So the estimate hands out slots in
    /// the order in which they become free, round after round.
    pub(super) fn estimate(&mut self, query: &WindowQuery<'_>, queue: &QueueAhead) -> Moment {
        // Slots left over when as many calls as fit hold theirs cannot be used.
        let each = queue.call_weight.max(1);
        let slots = (self.limit.saturating_sub(queue.reserve) / each).max(1) * each;
        let used = self.used_slots(query).saturating_add(query.in_flight);
        let (rounds, place) = (queue.last_slot() / slots, queue.last_slot() % slots);
        let first = match (used + place).checked_sub(slots) {
            None => query.now,
            Some(over) => self
                .next_free_at(query, over + 1)
                .unwrap_or_else(|| self.slot_free_at(queue.in_flight_answered_at, query.credit)),
        };
        let round = self.length.saturating_sub(query.credit).saturating_add(queue.round_trip);
        let later = first.as_nanos().saturating_add(round.saturating_mul(rounds));
        Moment::from_nanos(later).max(query.now)
    }

    /// Returns when `weight` more slots will be free.
    fn next_free_at(&self, query: &WindowQuery<'_>, weight: u64) -> Option<Moment> {
        // The first entry is nearly always enough.
        let wanted = self.freed_weight.saturating_add(weight);
        let entry = query
            .log
            .get(self.next_entry)
            .filter(|entry| entry.cumulative_weight >= wanted)
            .or_else(|| query.log.first_reaching(wanted))?;
        Some(self.slot_free_at(entry.finished_at, query.credit))
    }

    fn slot_free_at(&self, finished: Moment, credit: u64) -> Moment {
        let uncredited = finished.as_nanos().saturating_add(self.length);
        Moment::from_nanos(uncredited.saturating_sub(credit))
    }

    /// Frees the slots whose window has passed, and takes some back if the credit has become smaller.
    fn roll(&mut self, query: &WindowQuery<'_>) {
        let (first, forgotten) = query.log.start();
        if self.next_entry < first {
            (self.next_entry, self.freed_weight) = (first, forgotten);
        }
        let cools = |finished: Moment| self.slot_free_at(finished, query.credit) > query.now;
        let before = self.next_entry.checked_sub(1).and_then(|number| query.log.get(number));
        if before.is_some_and(|entry| cools(entry.finished_at)) {
            (self.next_entry, self.freed_weight) = (first, forgotten);
        }
        while let Some(entry) = query.log.get(self.next_entry) {
            if self.slot_free_at(entry.finished_at, query.credit) > query.now {
                break;
            }
            (self.next_entry, self.freed_weight) = (self.next_entry + 1, entry.cumulative_weight);
        }
    }
}
