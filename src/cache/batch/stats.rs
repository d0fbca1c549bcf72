//! Counters of a batch cache.
//!
//! A cached value is returned within about 50 ns, so counting must not make threads contend. The
//! counters on that path are striped, and each thread is assigned one stripe.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use serde::Serialize;

use super::lookup::Origin;
use crate::cache::stripe;

/// Lookup and request counters of a cache. A query for many keys counts once for each key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Lookups of a fresh cached value.
    pub hits: u64,
    /// Lookups of a cached value past its `ttl`, returned while a new one was fetched.
    pub stale: u64,
    /// Lookups of a key that was neither cached nor already requested by another caller.
    pub misses: u64,
    /// Lookups that shared a request: it was in flight, or another caller already waited for the
    /// key.
    pub joined: u64,
    /// Requests sent.
    pub batches: u64,
    /// Keys in all requests together.
    pub fetched: u64,
    /// Values that other processes had fetched, in place of a request of this cache.
    pub shared: u64,
    /// Keys in the largest request.
    pub largest_batch: u64,
    /// Requests that failed, including those that were split.
    pub failures: u64,
    /// Requests that were refused and sent again in parts.
    pub splits: u64,
    /// Queries that reached their deadline. A query for many keys counts once.
    pub timed_out: u64,
    /// The mean age of the returned values.
    pub mean_age: Duration,
    /// The maximum age of a returned value.
    pub oldest: Duration,
    /// Keys in the cache.
    pub entries: usize,
}

impl CacheStats {
    /// Returns the number of lookups.
    pub fn lookups(&self) -> u64 {
        self.hits + self.stale + self.misses + self.joined
    }

    /// Returns the number of lookups that were answered from the cache.
    pub fn served(&self) -> u64 {
        self.hits + self.stale
    }

    /// Returns the fraction of lookups that were answered from the cache, 0 to 1.
    pub fn hit_ratio(&self) -> f64 {
        self.served() as f64 / self.lookups().max(1) as f64
    }

    /// Returns the number of requests saved compared with one request for each lookup.
    pub fn calls_saved(&self) -> u64 {
        self.lookups().saturating_sub(self.batches)
    }

    /// Returns the mean number of keys in a request.
    pub fn keys_per_batch(&self) -> f64 {
        self.fetched as f64 / self.batches.max(1) as f64
    }
}

/// One line: the lookups, and the requests that they cost.
impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { joined, batches, fetched, shared, failures, entries, .. } = *self;
        let percent = (100 * self.served()).checked_div(self.lookups()).unwrap_or(0);
        write!(f, "lookups {}  from memory {percent} %  joined {joined}", self.lookups())?;
        write!(f, "  requests {batches}")?;
        write!(f, "  keys requested {fetched}  ")?;
        if shared > 0 {
            write!(f, "from other processes {shared}  ")?;
        }
        write!(f, "failed {failures}  keys in memory {entries}")
    }
}

#[derive(Debug, Default)]
struct Stripe {
    hits: AtomicU64,
    stale: AtomicU64,
    fetched: AtomicU64,
    /// The sum of all ages, in nanoseconds. Overflows after 584 years.
    age_nanos: AtomicU64,
    oldest_nanos: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    stripes: [CachePadded<Stripe>; stripe::STRIPES],
    pub(super) misses: AtomicU64,
    pub(super) joined: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) fetched: AtomicU64,
    pub(super) shared: AtomicU64,
    pub(super) largest_batch: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) splits: AtomicU64,
    pub(super) timed_out: AtomicU64,
}

impl Counters {
    /// Records a returned value.
    pub(super) fn record_answer(&self, origin: Origin, age: Duration) {
        let Some(stripe) = self.stripes.get(stripe::mine()) else { return };
        let of_origin = match origin {
            Origin::Memory => &stripe.hits,
            Origin::Stale => &stripe.stale,
            Origin::Fetched | Origin::Shared => &stripe.fetched,
        };
        of_origin.fetch_add(1, Ordering::Relaxed);
        let age = age.as_nanos() as u64;
        stripe.age_nanos.fetch_add(age, Ordering::Relaxed);
        if age > stripe.oldest_nanos.load(Ordering::Relaxed) {
            stripe.oldest_nanos.fetch_max(age, Ordering::Relaxed);
        }
    }

    /// Records a request for `keys` keys.
    pub(super) fn record_batch(&self, keys: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.fetched.fetch_add(keys as u64, Ordering::Relaxed);
        self.largest_batch.fetch_max(keys as u64, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, entries: usize) -> CacheStats {
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
            shared: of(&self.shared),
            largest_batch: of(&self.largest_batch),
            failures: of(&self.failures),
            splits: of(&self.splits),
            timed_out: of(&self.timed_out),
            mean_age: Duration::from_nanos(sum(|s| &s.age_nanos) / answers),
            oldest: Duration::from_nanos(oldest.unwrap_or(0)),
            entries,
        }
    }
}
