//! What a refused request says of its keys, and of the source.
//!
//! A source that *refuses* a request (as opposed to one that is lost on the way) may refuse it because
//! of one key. All of its keys are then in doubt: they are asked for apart from the others, and are not
//! taken along. A key is trusted again when a request with it is answered, or after a while. Only a key
//! that is refused when it is asked for alone is a bad one, and that is remembered in `memory.rs`.
//!
//! `board.rs` finds the bad keys by halving. Where most of the keys are bad, or the source refuses everything,
//! that takes two requests for each key. So after [`REFUSALS_BEFORE_ISOLATION`] refusals in a row single keys are
//! picked out of the parts and asked for first, which takes one for each. One that is answered shows that the
//! source still answers, and halving goes on; the next picking takes twice as many refusals.
//!
//! No number of bad keys shows that the others are bad. So a source that refuses everything is asked for each key
//! that somebody waits for, and each caller waits until its deadline at most.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::keys::BatchQueue;
use crate::quota::Moment;

/// After so many refusals in a row single keys are picked. One bad key among any number of good ones
/// brings three in a row at most: the request, the same without what was only taken along, and a half.
const REFUSALS_BEFORE_ISOLATION: u32 = 4;

/// How many times the first time of a refusal the time of a repeated one is, at most.
const MAX_BACKOFF_FACTOR: u32 = 16;

/// For how long a refusal counts that comes after one that counted for `before`.
pub(super) fn next_backoff(before: Duration, first: Duration) -> Duration {
    before.saturating_mul(2).clamp(first, first.saturating_mul(MAX_BACKOFF_FACTOR))
}

/// A key in doubt.
#[derive(Debug, Clone, Copy)]
struct QuarantineEntry {
    until: Moment,
    /// How long it lasts. It lasts longer if the key is in a refused request again soon after.
    duration: Duration,
}

#[derive(Debug)]
pub(super) struct Quarantine<K> {
    keys: HashMap<K, QuarantineEntry>,
    /// Requests for keys in doubt that were refused since one of them was answered.
    refusals_in_a_row: u32,
    /// How many refusals in a row it takes to pick single keys.
    isolate_after: u32,
}

impl<K: Clone + Eq + Hash> Quarantine<K> {
    pub(super) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            refusals_in_a_row: 0,
            isolate_after: REFUSALS_BEFORE_ISOLATION,
        }
    }

    pub(super) fn contains(&self, key: &K, now: Moment) -> bool {
        self.keys.get(key).is_some_and(|doubt| now < doubt.until)
    }

    /// A request for `keys` was refused.
    pub(super) fn on_refused(&mut self, keys: &[K], now: Moment, first: Duration) {
        self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
        for key in keys {
            let time = match self.keys.get(key) {
                None => first,
                Some(doubt) if now < doubt.until => doubt.duration,
                Some(doubt) => next_backoff(doubt.duration, first),
            };
            self.keys.insert(key.clone(), QuarantineEntry { until: now + time, duration: time });
        }
    }

    /// A request was answered: there is no doubt of its keys.
    pub(super) fn on_answered(&mut self, queue: BatchQueue, keys: &[K]) {
        keys.iter().for_each(|key| self.remove(key));
        if queue == BatchQueue::Quarantined {
            if self.should_isolate_keys() {
                self.isolate_after = self.isolate_after.saturating_mul(2);
            }
            self.refusals_in_a_row = 0;
        }
    }

    /// A key out of a refused request was refused alone.
    pub(super) fn on_single_refused(&mut self) {
        self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.keys.remove(key);
    }

    pub(super) fn should_isolate_keys(&self) -> bool {
        self.refusals_in_a_row >= self.isolate_after
    }

    /// Nothing is left of a refused request.
    pub(super) fn reset(&mut self) {
        (self.refusals_in_a_row, self.isolate_after) = (0, REFUSALS_BEFORE_ISOLATION);
    }

    /// What was in doubt long ago is as any other key.
    pub(super) fn expire(&mut self, now: Moment) {
        self.keys.retain(|_, doubt| now < doubt.until + doubt.duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(seconds: u64) -> Moment {
        Moment::ORIGIN + secs(seconds)
    }

    #[test]
    fn a_doubt_ends_with_an_answer_or_with_its_time() {
        let mut doubts = Quarantine::new();
        doubts.on_refused(&[1, 2], at(0), secs(30));
        assert!(
            doubts.contains(&1, at(29))
                && !doubts.contains(&1, at(30))
                && !doubts.contains(&3, at(0))
        );
        doubts.on_answered(BatchQueue::Quarantined, &[1]);
        assert!(!doubts.contains(&1, at(0)) && doubts.contains(&2, at(0)));
    }

    #[test]
    fn a_doubt_that_comes_back_lasts_longer() {
        let mut doubts = Quarantine::new();
        doubts.on_refused(&[1], at(0), secs(30));
        doubts.on_refused(&[1], at(10), secs(30));
        assert!(!doubts.contains(&1, at(40)), "it is still the first");
        doubts.expire(at(41));
        doubts.on_refused(&[1], at(41), secs(30));
        assert!(doubts.contains(&1, at(100)) && !doubts.contains(&1, at(101)));
        doubts.expire(at(161));
        doubts.on_refused(&[1], at(161), secs(30));
        assert!(!doubts.contains(&1, at(191)), "and after a while it is the first again");
        assert_eq!(next_backoff(secs(400), secs(30)), secs(480));
        assert_eq!(next_backoff(Duration::ZERO, secs(30)), secs(30));
    }

    #[test]
    fn single_keys_are_picked_after_refusals_in_a_row_and_then_more_seldom() {
        let mut doubts = Quarantine::new();
        let mut refused = |times| {
            (0..times).for_each(|_| doubts.on_refused(&[1], at(0), secs(30)));
            let picks = doubts.should_isolate_keys();
            doubts.on_answered(BatchQueue::Trusted, &[]);
            assert_eq!(doubts.should_isolate_keys(), picks, "it is no answer of a part");
            doubts.on_answered(BatchQueue::Quarantined, &[]);
            picks
        };
        assert_eq!([refused(3), refused(4), refused(4), refused(8)], [false, true, false, true]);
    }
}
