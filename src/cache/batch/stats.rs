//! How often a cache was asked, and what it took.
//!
//! An answer from memory takes some fifty nanoseconds, so counting must not make threads wait for one
//! another: what is counted on that path is in stripes, a thread to a stripe.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use serde::Serialize;

use super::lookup::Origin;

/// How often the cache was asked, and what it took to answer. A question for many keys counts once
/// for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Answered from memory, fresh.
    pub hits: u64,
    /// Answered from memory, past their time, while a new answer was fetched.
    pub stale: u64,
    /// The first to ask for what was not in memory.
    pub misses: u64,
    /// Asked for what somebody else already waited for, and shared the request.
    pub joined: u64,
    /// Requests made.
    pub batches: u64,
    /// Keys in all of them together.
    pub fetched: u64,
    /// Keys in the largest.
    pub largest_batch: u64,
    /// Requests that failed. Those that were divided are among them.
    pub failures: u64,
    /// Requests that were refused, and made again in parts.
    pub splits: u64,
    /// Gave up at their deadline.
    pub timed_out: u64,
    /// The mean age of an answer when it was given.
    pub mean_age: Duration,
    /// The oldest that was given.
    pub oldest: Duration,
    /// Keys in memory.
    pub entries: usize,
}

impl CacheStats {
    /// How often it was asked.
    pub fn requests(&self) -> u64 {
        self.hits + self.stale + self.misses + self.joined
    }

    /// How often it answered from memory.
    pub fn served(&self) -> u64 {
        self.hits + self.stale
    }

    /// The share that was answered from memory, 0 to 1.
    pub fn hit_ratio(&self) -> f64 {
        self.served() as f64 / self.requests().max(1) as f64
    }

    /// Requests saved against asking for one key at a time.
    pub fn calls_saved(&self) -> u64 {
        self.requests().saturating_sub(self.batches)
    }

    /// The mean number of keys in a request.
    pub fn keys_per_batch(&self) -> f64 {
        self.fetched as f64 / self.batches.max(1) as f64
    }
}

const STRIPES: usize = 8;

#[derive(Debug, Default)]
struct Stripe {
    hits: AtomicU64,
    stale: AtomicU64,
    fetched: AtomicU64,
    /// The ages of all answers together, in nanoseconds: 584 years of them.
    age_nanos: AtomicU64,
    oldest_nanos: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    stripes: [CachePadded<Stripe>; STRIPES],
    pub(super) misses: AtomicU64,
    pub(super) joined: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) fetched: AtomicU64,
    pub(super) largest_batch: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) splits: AtomicU64,
    pub(super) timed_out: AtomicU64,
}

static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl Counters {
    /// An answer was given.
    pub(super) fn record_answer(&self, origin: Origin, age: Duration) {
        let mine = STRIPE.try_with(|stripe| *stripe).unwrap_or(0);
        let Some(stripe) = self.stripes.get(mine) else { return };
        let of_origin = match origin {
            Origin::Memory => &stripe.hits,
            Origin::Stale => &stripe.stale,
            Origin::Fetched => &stripe.fetched,
        };
        of_origin.fetch_add(1, Ordering::Relaxed);
        let age = age.as_nanos() as u64;
        stripe.age_nanos.fetch_add(age, Ordering::Relaxed);
        if age > stripe.oldest_nanos.load(Ordering::Relaxed) {
            stripe.oldest_nanos.fetch_max(age, Ordering::Relaxed);
        }
    }

    /// A request goes, for so many keys.
    pub(super) fn record_batch(&self, keys: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.fetched.fetch_add(keys as u64, Ordering::Relaxed);
        self.largest_batch.fetch_max(keys as u64, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, remembered: usize) -> CacheStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sum = |of_stripe: fn(&Stripe) -> &AtomicU64| -> u64 {
            self.stripes.iter().map(|stripe| of(of_stripe(stripe))).sum()
        };
        let (hits, stale) = (sum(|s| &s.hits), sum(|s| &s.stale));
        let answers = (hits + stale + sum(|s| &s.fetched)).max(1);
        let oldest = self.stripes.iter().map(|stripe| of(&stripe.oldest_nanos)).max();
        CacheStats {
            hits,
            stale,
            misses: of(&self.misses),
            joined: of(&self.joined),
            batches: of(&self.batches),
            fetched: of(&self.fetched),
            largest_batch: of(&self.largest_batch),
            failures: of(&self.failures),
            splits: of(&self.splits),
            timed_out: of(&self.timed_out),
            mean_age: Duration::from_nanos(sum(|s| &s.age_nanos) / answers),
            oldest: Duration::from_nanos(oldest.unwrap_or(0)),
            entries: remembered,
        }
    }
}
