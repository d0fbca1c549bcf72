//! The answers that are kept, and the fetches that are under way.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::cacheable::{CacheArgument, Cacheable};
use super::hasher::KnownHash;
use super::key::{AnyKey, CallKey, StoredKey};
use crate::cache::stripe;
use crate::clock::Clock;
use crate::lane::ResponseStats;
use crate::quota::Moment;

/// What an entry costs beside its key and its answer, in bytes: the nodes of moka, and the counts of references.
const ENTRY_OVERHEAD: usize = 320;

/// The capacity of a cache for which none is set, in bytes: 64 MiB.
const DEFAULT_CAPACITY: u64 = 64 << 20;

/// moka refuses more than a thousand years.
const MAX_TIME_TO_LIVE: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The settings of a response cache.
#[derive(Debug, Clone)]
pub(crate) struct ResponseCacheSettings {
    /// The methods whose answers can be kept, each with for how long. `None`: they are not kept.
    pub(crate) methods: Vec<(&'static str, Option<Duration>)>,
    /// In bytes.
    pub(crate) max_capacity: u64,
}

impl Default for ResponseCacheSettings {
    fn default() -> Self {
        Self { methods: Vec::new(), max_capacity: DEFAULT_CAPACITY }
    }
}

/// The answers of a proxy's methods that are kept. Cheap to clone, and clones share the answers.
///
/// Returned by the method `responses` of a proxy whose trait has methods with `cache`. A write through the proxy does not
/// remove answers; [`clear`](Self::clear) does:
///
/// ```
/// # #[cfg(feature = "mock")] {
/// use std::time::Duration;
/// use lanekeeper::{Broker, BrokerProxy, MockBroker};
/// # use lanekeeper::broker::lanes;
/// # use lanekeeper::quota::{Limits, Quota};
/// # let unlimited = lanes::ALL.into_iter()
/// #     .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
/// #     .budget(lanes::ORDERS, Quota::unlimited());
///
/// let mut mock = MockBroker::new();
/// mock.expect_holdings().times(2).returning(|| Ok(Vec::new().into()));
/// let broker = BrokerProxy::builder(mock)
///     .response_ttl("holdings", Duration::from_secs(3600))
/// #   .limits(unlimited)
///     .build()?;
/// broker.holdings()?;
/// broker.holdings()?; // from memory
/// broker.responses().clear("holdings")?;
/// broker.holdings()?;
/// let stats = broker.responses().stats();
/// assert_eq!((stats.hits, stats.misses, stats.entries), (1, 2, 1));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ResponseCache(Arc<Shared>);

struct Shared {
    methods: Vec<CachedMethod>,
    /// `None` if no method keeps its answers.
    store: Option<Cache<StoredKey, Arc<Entry>, KnownHash>>,
    flights: Mutex<Flights>,
    clock: Clock,
    counters: Counters,
}

struct CachedMethod {
    name: &'static str,
    ttl: Option<Duration>,
    /// Raised by each `clear`. An answer of an earlier epoch is not returned.
    epoch: AtomicU64,
}

/// The fetches that a caller may join. Each is a `Flight` of the types of its key.
pub(super) type Flights = HashMap<StoredKey, Arc<dyn Any + Send + Sync>, KnownHash>;

/// An answer that is kept.
struct Entry {
    sent: Moment,
    ttl: Duration,
    epoch: u64,
    /// In bytes.
    weight: u32,
    /// A `Result<V, E>` of the types of the key, always `Ok`.
    answer: Arc<dyn Any + Send + Sync>,
}

#[derive(Default)]
struct Counters {
    hits: [CachePadded<AtomicU64>; stripe::STRIPES],
    misses: AtomicU64,
    joined: AtomicU64,
    failures: AtomicU64,
}

/// Where the answers of one call are kept, and how old one may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseLookup {
    pub(crate) method: usize,
    /// For how long its answer is kept.
    pub(crate) ttl: Duration,
    /// How old an answer may be for this caller.
    pub(crate) max_age: Duration,
}

impl ResponseCache {
    pub(crate) fn new(settings: &ResponseCacheSettings, clock: Clock) -> Self {
        let method = |&(name, ttl): &(&'static str, Option<Duration>)| CachedMethod {
            name,
            ttl: ttl.filter(|ttl| !ttl.is_zero()),
            epoch: AtomicU64::new(0),
        };
        let methods: Vec<_> = settings.methods.iter().map(method).collect();
        let longest = methods.iter().filter_map(|method| method.ttl).max();
        let store = longest.map(|longest| {
            Cache::builder()
                .max_capacity(settings.max_capacity)
                .weigher(|_, entry: &Arc<Entry>| entry.weight)
                .time_to_live(longest.min(MAX_TIME_TO_LIVE))
                .build_with_hasher(KnownHash)
        });
        let (flights, counters) = (Mutex::default(), Counters::default());
        Self(Arc::new(Shared { methods, store, flights, clock, counters }))
    }

    /// Returns the index of a method whose answers are kept, and for how long.
    #[inline]
    pub(crate) fn method(&self, name: &str) -> Option<(usize, Duration)> {
        // The names are literals, so most are found without a look at their letters.
        let index = self.0.methods.iter().position(|method| std::ptr::eq(method.name, name));
        let by_text = || self.0.methods.iter().position(|method| method.name == name);
        let index = index.or_else(by_text)?;
        Some((index, self.0.methods[index].ttl?))
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns the answer to a call, if it is kept and young enough.
    pub(crate) fn get<A: CacheArgument, V: Cacheable, E: Cacheable>(
        &self,
        key: &CallKey<A, V, E>,
        lookup: ResponseLookup,
        now: Moment,
    ) -> Option<V> {
        let entry = self.0.store.as_ref()?.get(key as &dyn AnyKey)?;
        // Zero accepts only the answer to a request that is sent after the call.
        let age = now.since(entry.sent);
        let is_young =
            age < entry.ttl.min(lookup.ttl) && age <= lookup.max_age && !lookup.max_age.is_zero();
        if !is_young || entry.epoch != self.epoch(lookup.method) {
            return None;
        }
        let answer = entry.answer.downcast_ref::<Result<V, E>>()?;
        let value = answer.as_ref().ok()?.clone();
        self.0.counters.hits[stripe::mine()].fetch_add(1, Ordering::Relaxed);
        Some(value)
    }

    /// Keeps the answer to a call, unless there is a newer one. `heap_bytes` is what it and the arguments hold on the
    /// heap.
    pub(crate) fn insert<A: CacheArgument, V: Cacheable, E: Cacheable>(
        &self,
        key: &Arc<CallKey<A, V, E>>,
        lookup: ResponseLookup,
        answer: Arc<Result<V, E>>,
        (sent, epoch): (Moment, u64),
        heap_bytes: usize,
    ) {
        let Some(store) = &self.0.store else { return };
        let age = self.0.clock.now().since(sent);
        let is_newest = || {
            let known = store.get(&**key as &dyn AnyKey);
            known.is_none_or(|known| known.sent <= sent || known.epoch < epoch)
        };
        if age >= lookup.ttl || epoch != self.epoch(lookup.method) || !is_newest() {
            return;
        }
        let own = CallKey::<A, V, E>::SIZE + size_of::<Result<V, E>>() + size_of::<Entry>();
        let weight = own.saturating_add(ENTRY_OVERHEAD).saturating_add(heap_bytes);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let entry = Entry { sent, ttl: lookup.ttl, epoch, weight, answer };
        store.insert(StoredKey::new(Arc::<CallKey<A, V, E>>::clone(key)), Arc::new(entry));
    }

    #[inline]
    pub(crate) fn epoch(&self, method: usize) -> u64 {
        self.0.methods.get(method).map_or(0, |method| method.epoch.load(Ordering::Acquire))
    }

    pub(super) fn flights(&self) -> &Mutex<Flights> {
        &self.0.flights
    }

    pub(crate) fn count_miss(&self) {
        self.0.counters.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_joined(&self) {
        self.0.counters.joined.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failure(&self) {
        self.0.counters.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets all answers of `method`, and those that fetches under way bring. The next call fetches anew.
    ///
    /// It looks at every kept answer once, to free the memory.
    ///
    /// # Errors
    /// The trait has no method of this name with `cache`.
    pub fn clear(&self, method: &str) -> Result<(), UncachedMethod> {
        let index = self.0.methods.iter().position(|known| known.name == method);
        let index = index.ok_or_else(|| self.unknown(method))?;
        self.forget(&|known| known == index);
        Ok(())
    }

    /// Forgets all answers, for example after a login with another account.
    pub fn clear_all(&self) {
        self.forget(&|_| true);
    }

    fn forget(&self, is_cleared: &dyn Fn(usize) -> bool) {
        for (index, method) in self.0.methods.iter().enumerate() {
            if is_cleared(index) {
                method.epoch.fetch_add(1, Ordering::AcqRel);
            }
        }
        let Some(store) = &self.0.store else { return };
        for (key, _) in store.iter().filter(|(key, _)| is_cleared(key.method())) {
            store.invalidate(&*key);
        }
    }

    pub(crate) fn unknown(&self, method: &str) -> UncachedMethod {
        let known: Vec<_> = self.0.methods.iter().map(|method| method.name).collect();
        UncachedMethod { method: method.to_owned(), known: known.join(", ") }
    }

    /// Returns the counters, and what is kept.
    pub fn stats(&self) -> ResponseStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { hits, misses, joined, failures } = &self.0.counters;
        let mut stats = ResponseStats {
            hits: hits.iter().map(|stripe| of(stripe)).sum(),
            misses: of(misses),
            joined: of(joined),
            failures: of(failures),
            ..ResponseStats::default()
        };
        if let Some(store) = &self.0.store {
            store.run_pending_tasks();
            (stats.entries, stats.bytes) = (store.entry_count(), store.weighted_size());
        }
        stats
    }

    /// Returns whether any method keeps its answers.
    pub(crate) fn is_used(&self) -> bool {
        self.0.store.is_some()
    }
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = self.0.methods.iter().map(|method| (method.name, method.ttl));
        f.debug_map().entries(methods).finish()
    }
}

/// A method whose answers are never kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no method `{method}` has `cache` in its #[lane(..)]; these have: {known}")]
pub struct UncachedMethod {
    method: String,
    known: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// `tests/response_cache_memory.rs` compares the estimate with the memory of the process.
    #[test]
    fn a_million_keys_stay_within_the_capacity() {
        let capacity = 1 << 20;
        let settings = ResponseCacheSettings {
            methods: vec![("square", Some(Duration::from_secs(3600)))],
            max_capacity: capacity,
        };
        let cache = ResponseCache::new(&settings, Clock::from(ManualClock::new()));
        let (method, ttl) = cache.method("square").unwrap();
        let lookup = ResponseLookup { method, ttl, max_age: Duration::MAX };
        let now = cache.clock().now();
        for number in 0..1_000_000_u64 {
            let key = CallKey::<_, u64, ()>::new(method, number);
            cache.insert(&key.to_shared(), lookup, Arc::new(Ok(number)), (now, 0), 0);
        }
        let stats = cache.stats();
        assert!(stats.bytes <= capacity && stats.entries > 1000, "{stats}");
    }

    #[test]
    fn a_newer_answer_is_not_replaced_by_an_older_one() {
        let settings = ResponseCacheSettings {
            methods: vec![("a", Some(Duration::from_secs(9)))],
            ..Default::default()
        };
        let clock = ManualClock::new();
        let cache = ResponseCache::new(&settings, clock.clone().into());
        let lookup =
            ResponseLookup { method: 0, ttl: Duration::from_secs(9), max_age: Duration::MAX };
        let key = CallKey::<_, u8, ()>::new(0, "key");
        let older = clock.now();
        clock.advance(Duration::from_secs(1));
        let newer = clock.now();
        for (sent, answer) in [(newer, 2), (older, 1)] {
            cache.insert(&key.to_shared(), lookup, Arc::new(Ok(answer)), (sent, 0), 0);
        }
        assert_eq!(cache.get(&key, lookup, newer), Some(2));
        // After a clear the older one would be all that there is, and it is not kept either.
        cache.clear("a").unwrap();
        cache.insert(&key.to_shared(), lookup, Arc::new(Ok(3)), (newer, 0), 0);
        assert_eq!(cache.get(&key, lookup, newer), None);
    }
}
