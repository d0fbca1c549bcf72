//! The ids of known orders, so that none of them is accepted as the id of a new order.
//!
//! An answer that belongs to another call looks like the right one; only its id can tell (see [`http`](super::http)).
//! Kite never reuses an id: ids begin with the date. So an id that this client has seen in an answer is that of
//! another order, if
//! - it was the answer to another placement, or
//! - any other answer named it before this placement was sent. After that it may be the new order itself, seen in the
//!   order book.
//!
//! This does not detect an answer with an id that this client has not seen: an order of another program, or, with two
//! placements in flight, the answer to the other one. In the latter case the second answer with the same id is
//! detected; only the order book shows which of the two it belongs to.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

/// How many ids are kept; beyond that the oldest is dropped. Kite takes 5000 orders a day, so this covers two full
/// days, in about 1 MB. A late answer arrives within seconds.
const MAX_IDS: usize = 10_000;

/// The ids that one client has seen. Only the number counts: no two varieties share one.
#[derive(Debug, Default)]
pub(super) struct KnownIds(Mutex<SeenIds>);

#[derive(Debug, Default)]
struct SeenIds {
    ids: HashMap<Arc<str>, SeenId>,
    oldest_first: VecDeque<Arc<str>>,
    placements: u64,
}

#[derive(Debug, Clone, Copy)]
struct SeenId {
    /// How many placements had begun when it was first seen.
    placements_before: u64,
    /// Whether it was the answer to a placement.
    is_assigned: bool,
}

/// A placement that is about to be sent.
pub(super) struct PendingPlacement<'a> {
    known: &'a KnownIds,
    number: u64,
}

impl KnownIds {
    /// Begins a placement. Call this before the order is sent.
    pub(super) fn begin_placement(&self) -> PendingPlacement<'_> {
        let mut known = self.0.lock();
        known.placements += 1;
        PendingPlacement { known: self, number: known.placements }
    }

    /// Records the id of an existing order.
    pub(super) fn record(&self, id: &str) {
        self.record_all([id]);
    }

    /// Records many ids.
    pub(super) fn record_all<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let mut known = self.0.lock();
        for id in ids {
            if !known.ids.contains_key(id) {
                let at = known.placements;
                known.insert(id, SeenId { placements_before: at, is_assigned: false });
            }
        }
    }
}

impl PendingPlacement<'_> {
    /// Returns whether `id` can be that of the new order, and records it.
    pub(super) fn claim(&self, id: &str) -> bool {
        let mut known = self.known.0.lock();
        let at = known.placements;
        match known.ids.get_mut(id) {
            Some(seen) if seen.is_assigned || seen.placements_before < self.number => false,
            Some(seen) => {
                seen.is_assigned = true;
                true
            }
            None => {
                known.insert(id, SeenId { placements_before: at, is_assigned: true });
                true
            }
        }
    }
}

impl SeenIds {
    /// Adds an id that is not known yet.
    fn insert(&mut self, id: &str, seen: SeenId) {
        if self.oldest_first.len() >= MAX_IDS {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.ids.remove(&oldest);
            }
        }
        let id: Arc<str> = id.into();
        self.oldest_first.push_back(Arc::clone(&id));
        self.ids.insert(id, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_one_new_order() {
        let known = KnownIds::default();
        let (first, second) = (known.begin_placement(), known.begin_placement());
        assert!(first.claim("1"));
        assert!(!first.claim("1") && !second.claim("1") && !known.begin_placement().claim("1"));
        assert!(second.claim("2"));
    }

    #[test]
    fn an_order_that_was_seen_before_is_not_the_new_one() {
        let known = KnownIds::default();
        known.record_all(["1", "2"]);
        let placement = known.begin_placement();
        // The order book may show the new order before its placement is answered.
        known.record("3");
        assert!(!placement.claim("1") && !placement.claim("2"));
        assert!(placement.claim("3"));
        assert!(!known.begin_placement().claim("3"));
    }

    #[test]
    fn a_day_of_orders_is_known_and_no_more() {
        let known = KnownIds::default();
        for number in 0..=MAX_IDS {
            known.record(&number.to_string());
            known.record("0");
        }
        let held = known.0.lock().ids.len();
        assert_eq!((held, known.0.lock().oldest_first.len()), (MAX_IDS, MAX_IDS));
        let placement = known.begin_placement();
        assert!(placement.claim("1"), "the oldest was forgotten");
        assert!(!placement.claim(&MAX_IDS.to_string()));
    }
}
