//! The quarantine: keys of refused requests, and when to isolate single keys. `pending.rs` owns it.
//!
//! A source that *refuses* a request (as opposed to one that is lost on the way) may do so because
//! of one key. All keys of the request are then quarantined: they are requested apart from the
//! others, and are not piggybacked. A key is released when a request with it is answered, or after
//! a while. Only a key that is refused alone is a bad key, and `store.rs` keeps that.
//!
//! # Isolating single keys
//!
//! `pending.rs` finds the bad keys by halving. If most keys are bad, or the source refuses
//! everything, halving takes two requests for each key. So after [`REFUSALS_BEFORE_ISOLATION`]
//! refusals in a row, single keys are isolated from the parts and requested first, which takes one
//! request each. An answered one shows that the source still answers, and halving continues. The
//! next isolation then takes twice as many refusals.
//!
//! No number of bad keys proves that the others are bad. So a source that refuses everything is
//! asked for each awaited key, and each caller waits until its deadline at most.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::keys::BatchQueue;
use crate::quota::Moment;

/// The number of refusals in a row after which single keys are isolated. One bad key among any
/// number of good ones causes at most three in a row: the request, the request without piggybacked
/// keys, and a half.
const REFUSALS_BEFORE_ISOLATION: u32 = 4;

/// The maximum ratio of a repeated quarantine or refusal to the first one. Bounds the doubling to 8
/// min for a first duration of 30 s.
const MAX_BACKOFF_FACTOR: u32 = 16;

/// Returns how long a refusal is kept that follows one that was kept for `before`.
pub(super) fn next_backoff(before: Duration, first: Duration) -> Duration {
    before.saturating_mul(2).clamp(first, first.saturating_mul(MAX_BACKOFF_FACTOR))
}

/// The quarantine of one key.
#[derive(Debug, Clone, Copy)]
struct QuarantineEntry {
    until: Moment,
    /// How long the quarantine lasts. It is doubled if the key is in a refused request again soon
    /// after.
    duration: Duration,
}

#[derive(Debug)]
pub(super) struct Quarantine<K> {
    keys: HashMap<K, QuarantineEntry>,
    /// Refused requests for quarantined keys since one of them was answered.
    refusals_in_a_row: u32,
    /// The number of refusals in a row after which single keys are isolated.
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
        self.keys.get(key).is_some_and(|entry| now < entry.until)
    }

    /// Quarantines `keys` after a request for them was refused.
    pub(super) fn on_refused(&mut self, keys: &[K], now: Moment, first: Duration) {
        self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
        for key in keys {
            let duration = match self.keys.get(key) {
                None => first,
                Some(entry) if now < entry.until => entry.duration,
                Some(entry) => next_backoff(entry.duration, first),
            };
            self.keys.insert(key.clone(), QuarantineEntry { until: now + duration, duration });
        }
    }

    /// Releases `keys` after a request for them was answered.
    pub(super) fn on_answered(&mut self, queue: BatchQueue, keys: &[K]) {
        keys.iter().for_each(|key| self.remove(key));
        if queue == BatchQueue::Quarantined {
            if self.should_isolate_keys() {
                self.isolate_after = self.isolate_after.saturating_mul(2);
            }
            self.refusals_in_a_row = 0;
        }
    }

    /// Counts the refusal of a single key of a split request.
    pub(super) fn on_single_refused(&mut self) {
        self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.keys.remove(key);
    }

    pub(super) fn should_isolate_keys(&self) -> bool {
        self.refusals_in_a_row >= self.isolate_after
    }

    /// Resets the refusal counts: no part of a refused request is left.
    pub(super) fn reset(&mut self) {
        (self.refusals_in_a_row, self.isolate_after) = (0, REFUSALS_BEFORE_ISOLATION);
    }

    /// Removes the keys whose quarantine ended long enough ago that the next one is a first one
    /// again.
    pub(super) fn expire(&mut self, now: Moment) {
        self.keys.retain(|_, entry| now < entry.until + entry.duration);
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
    fn quarantine_ends_with_an_answer_or_with_its_time() {
        let mut quarantine = Quarantine::new();
        quarantine.on_refused(&[1, 2], at(0), secs(30));
        assert!(
            quarantine.contains(&1, at(29))
                && !quarantine.contains(&1, at(30))
                && !quarantine.contains(&3, at(0))
        );
        quarantine.on_answered(BatchQueue::Quarantined, &[1]);
        assert!(!quarantine.contains(&1, at(0)) && quarantine.contains(&2, at(0)));
    }

    #[test]
    fn quarantine_that_comes_back_lasts_longer() {
        let mut quarantine = Quarantine::new();
        quarantine.on_refused(&[1], at(0), secs(30));
        quarantine.on_refused(&[1], at(10), secs(30));
        assert!(!quarantine.contains(&1, at(40)), "it is still the first");
        quarantine.expire(at(41));
        quarantine.on_refused(&[1], at(41), secs(30));
        assert!(quarantine.contains(&1, at(100)) && !quarantine.contains(&1, at(101)));
        quarantine.expire(at(161));
        quarantine.on_refused(&[1], at(161), secs(30));
        assert!(!quarantine.contains(&1, at(191)), "and after a while it is the first again");
        assert_eq!(next_backoff(secs(400), secs(30)), secs(480));
        assert_eq!(next_backoff(Duration::ZERO, secs(30)), secs(30));
    }

    #[test]
    fn single_keys_are_isolated_after_refusals_in_a_row_and_then_more_seldom() {
        let mut quarantine = Quarantine::new();
        let mut refused = |times| {
            (0..times).for_each(|_| quarantine.on_refused(&[1], at(0), secs(30)));
            let isolates = quarantine.should_isolate_keys();
            quarantine.on_answered(BatchQueue::Trusted, &[]);
            assert_eq!(quarantine.should_isolate_keys(), isolates, "it is no answer of a part");
            quarantine.on_answered(BatchQueue::Quarantined, &[]);
            isolates
        };
        assert_eq!([refused(3), refused(4), refused(4), refused(8)], [false, true, false, true]);
    }
}
