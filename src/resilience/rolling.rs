//! Rolling counts over a recent span of time, in a few buckets.

use std::time::Duration;

use crate::quota::Moment;

/// The number of buckets in a span. The oldest bucket expires as a whole, so the counts cover
/// between nine tenths of the span and all of it.
const BUCKET_COUNT: usize = 10;

/// Counts over the last span of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RollingCounter<T> {
    /// The length of a bucket, in nanoseconds.
    bucket_nanos: u64,
    /// The number of the current bucket, counted from the clock's origin.
    current: u64,
    buckets: [T; BUCKET_COUNT],
}

impl<T: Copy + Default> RollingCounter<T> {
    pub(super) fn new(span: Duration) -> Self {
        let length = (span / BUCKET_COUNT as u32).as_nanos();
        let length = u64::try_from(length).unwrap_or(u64::MAX).max(1);
        Self { bucket_nanos: length, current: 0, buckets: [T::default(); BUCKET_COUNT] }
    }

    /// Returns the bucket of `now`. A time before the latest one counts as the latest.
    pub(super) fn bucket_at(&mut self, now: Moment) -> &mut T {
        self.expire(now);
        let index = self.current % BUCKET_COUNT as u64;
        &mut self.buckets[index as usize]
    }

    /// Returns the bucket of an earlier time, unless it has expired.
    pub(super) fn bucket_of(&mut self, then: Moment) -> Option<&mut T> {
        let number = then.as_nanos() / self.bucket_nanos;
        let is_kept = number <= self.current && self.current - number < BUCKET_COUNT as u64;
        is_kept.then(|| &mut self.buckets[(number % BUCKET_COUNT as u64) as usize])
    }

    /// Returns all buckets of the span that ends at `now`.
    pub(super) fn buckets_until(&mut self, now: Moment) -> impl Iterator<Item = T> {
        self.expire(now);
        self.buckets.iter().copied()
    }

    fn expire(&mut self, now: Moment) {
        let number = now.as_nanos() / self.bucket_nanos;
        let passed = number.saturating_sub(self.current);
        for step in 1..=passed.min(BUCKET_COUNT as u64) {
            let index = (self.current + step) % BUCKET_COUNT as u64;
            self.buckets[index as usize] = T::default();
        }
        self.current = self.current.max(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn what_is_older_than_the_span_is_forgotten_bucket_by_bucket() {
        let mut buckets = RollingCounter::<u32>::new(Duration::from_secs(1));
        *buckets.bucket_at(at(0)) += 1;
        *buckets.bucket_at(at(950)) += 2;
        assert_eq!(buckets.buckets_until(at(999)).sum::<u32>(), 3);
        assert_eq!(buckets.buckets_until(at(1000)).sum::<u32>(), 2);
        assert_eq!(buckets.buckets_until(at(1899)).sum::<u32>(), 2);
        assert_eq!(buckets.buckets_until(at(1900)).sum::<u32>(), 0);
        *buckets.bucket_at(at(1_000_000)) += 4;
        assert_eq!(buckets.buckets_until(at(1_000_000)).sum::<u32>(), 4);
    }

    #[test]
    fn a_time_that_goes_back_counts_as_the_latest() {
        let mut buckets = RollingCounter::<u32>::new(Duration::from_secs(1));
        *buckets.bucket_at(at(5000)) += 1;
        *buckets.bucket_at(at(100)) += 1;
        assert_eq!(buckets.buckets_until(at(5999)).sum::<u32>(), 2);
        assert_eq!(buckets.buckets_until(at(6000)).sum::<u32>(), 0);
    }
}
