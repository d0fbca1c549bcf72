//! How many more calls the broker takes by its own count, for the lanes that share that count.
//!
//! It is one more condition beside the windows, and can only make a lane slower:
//!
//! - The broker has counted the call whose answer reports the count. It is unknown whether it has counted the other calls
//!   in flight, so the weights of all of them are subtracted. That is too much by at most those weights.
//! - Answers may arrive in another order than the broker counted. Of several reports about one period the smallest one
//!   is used. Two reports are about one period if the ends that they state differ by at most [`SAME_PERIOD`].
//! - Urgent calls are counted and do not wait: a report may be wrong, and only the broker may refuse an exit. What a lane
//!   reserves for them is kept of the count too.

use std::time::Duration;

use super::moment::Moment;
use super::permit::NotYet;

/// The ends of one period differ by less than this. Brokers write them in whole seconds, by a clock that is read in
/// whole seconds.
const SAME_PERIOD: Duration = Duration::from_millis(2500);

/// What is left of the broker's count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReportedRoom {
    /// The lanes that share it, by their numbers.
    pub(super) lanes: Vec<usize>,
    remaining: u64,
    /// When the broker begins to count anew.
    until: Moment,
}

impl ReportedRoom {
    pub(super) fn new(lanes: Vec<usize>, remaining: u64, until: Moment) -> Self {
        Self { lanes, remaining, until }
    }

    /// Takes over a newer report about the same lanes. Returns whether there is more room than before.
    pub(super) fn update(&mut self, newer: Self, now: Moment) -> bool {
        let before = self.remaining;
        if newer.until > self.until + SAME_PERIOD || self.until <= now {
            *self = newer;
        } else if self.until <= newer.until + SAME_PERIOD {
            self.remaining = self.remaining.min(newer.remaining);
        }
        self.remaining > before
    }

    /// Returns when a call of this weight may be sent, if that is not now.
    pub(super) fn blocks_until(&self, lane: usize, weight: u64, now: Moment) -> Option<Moment> {
        let binds = now < self.until && self.remaining < weight && self.lanes.contains(&lane);
        binds.then_some(self.until)
    }

    /// Checks whether the broker would take a call.
    pub(super) fn check(&self, lane: usize, weight: u64, now: Moment) -> Result<(), NotYet> {
        self.blocks_until(lane, weight, now).map_or(Ok(()), |until| Err(NotYet::Until(until)))
    }

    /// Counts a call that is sent.
    pub(super) fn take(&mut self, lane: usize, weight: u64) {
        if self.lanes.contains(&lane) {
            self.remaining = self.remaining.saturating_sub(weight);
        }
    }

    /// Returns whether a lane shares the count with another one.
    pub(super) fn is_shared_by(&self, lane: usize) -> bool {
        self.lanes.len() > 1 && self.lanes.contains(&lane)
    }

    /// Uncounts a call of which nothing was sent.
    pub(super) fn give_back(&mut self, lane: usize, weight: u64) {
        if self.lanes.contains(&lane) {
            self.remaining = self.remaining.saturating_add(weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::ORIGIN + Duration::from_secs_f64(seconds)
    }

    fn room(remaining: u64, until: f64) -> ReportedRoom {
        ReportedRoom::new(vec![1, 2], remaining, at(until))
    }

    #[test]
    fn the_smallest_report_of_a_period_counts() {
        let mut reported = room(5, 60.0);
        assert!(!reported.update(room(7, 61.0), at(0.0)), "an answer that was overtaken");
        assert!(!reported.update(room(4, 59.0), at(0.0)));
        assert_eq!(reported, room(4, 60.0));
        // The next period, and a late answer of the one before.
        assert!(reported.update(room(200, 120.0), at(59.0)));
        assert!(!reported.update(room(0, 60.0), at(59.0)));
        assert_eq!(reported, room(200, 120.0));
    }

    /// A broker whose count rolls reports another end each time.
    #[test]
    fn a_period_that_moves_is_a_new_one_in_the_end() {
        let mut reported = room(1, 60.0);
        for second in 1..=3 {
            reported.update(room(100, 60.0 + f64::from(second)), at(0.0));
        }
        assert_eq!(reported, room(100, 63.0));
        // So is one that follows an end that has passed, however short the two are.
        let mut short = room(0, 1.0);
        short.update(room(3, 1.5), at(1.0));
        assert_eq!(short, room(3, 1.5));
    }

    #[test]
    fn only_the_lanes_of_a_count_are_bound_and_only_until_its_end() {
        let reported = room(2, 60.0);
        assert_eq!(reported.check(1, 2, at(0.0)), Ok(()));
        assert_eq!(reported.check(1, 3, at(0.0)), Err(NotYet::Until(at(60.0))));
        assert_eq!(reported.check(0, 3, at(0.0)), Ok(()), "another lane");
        assert_eq!(reported.check(1, 3, at(60.0)), Ok(()), "it has begun anew");
        let mut used = reported;
        used.take(0, 2);
        used.take(2, 5);
        assert_eq!(used.check(1, 1, at(0.0)), Err(NotYet::Until(at(60.0))));
        used.give_back(2, 1);
        assert_eq!(used.check(1, 1, at(0.0)), Ok(()));
    }
}
