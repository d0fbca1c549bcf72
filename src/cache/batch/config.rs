//! The settings of a batch cache, and the freshness of an entry by its age.

use std::time::Duration;

use super::lookup::GetOptions;
use crate::clock::Clock;

/// The settings of a [`BatchCache`](crate::cache::BatchCache).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchConfig {
    /// How long a value is fresh, counted from just before its request was sent. 5 s by default.
    /// With zero, only callers that wait at the same time share a value.
    pub ttl: Duration,
    /// The fraction of `ttl` by which a value may expire earlier, at random, so that caches of
    /// several processes do not send requests in step. 0 to 1, by default 0.
    pub ttl_jitter: f64,
    /// How long the cache keeps that the source has nothing for a key, or that it refused the key.
    /// Each repeated refusal is kept twice as long as the last, up to 16 times this value. A key
    /// whose row could not be read is kept for this or for `ttl`, whichever is less. 30 s by
    /// default.
    pub negative_ttl: Duration,
    /// The hard limit: no caller gets an older value, whatever its options. By default the longest
    /// time that the other settings let a value live, and at least one minute.
    pub max_age: Option<Duration>,
    /// How long after `ttl` a value is still returned while a new one is fetched. Zero by default,
    /// which means never. An `AsyncQuoteCache` needs a task for that, see its method `refreshes`.
    pub stale_while_revalidate: Duration,
    /// The fraction of its `ttl` after which a lookup of a value refreshes it ahead of time, if the
    /// source has idle capacity. Off by default. A fraction below 0.5 counts as 0.5. An `AsyncQuoteCache` needs a task for that,
    /// see its method `refreshes`.
    pub refresh_ahead: Option<f64>,
    /// How long a key without lookups is still fetched with other keys. 5 minutes by default.
    pub time_to_idle: Duration,
    /// The maximum number of keys in the cache. Above it the least recently used keys are evicted,
    /// except those named to [`track`](crate::cache::BatchCache::track). 10,000 by default.
    pub max_capacity: usize,
    /// The maximum number of keys in one request.
    pub max_batch_keys: usize,
    /// The maximum weight of one request, see
    /// [`BatchBuilder::weigher`](crate::cache::BatchBuilder::weigher).
    pub max_batch_weight: usize,
    /// How long the fetcher lets other callers join before it sends a request. 2 ms by default,
    /// which is about the time that a group of threads takes to wake up. With a manual clock the
    /// fetcher does not wait.
    pub linger: Duration,
    /// Whether to share values with the caches of other processes, if the cache is built with what that needs (feature `redis`):
    /// a quote cache from `quote_ttl` on a proxy with a shared quota, `QuoteCacheBuilder::shared_quotes`, or
    /// [`BatchBuilder::build_shared`]. True by default.
    ///
    /// [`BatchBuilder::build_shared`]: crate::cache::BatchBuilder
    pub share: bool,
    /// The clock that ages are measured with.
    pub clock: Clock,
}

/// The minimum of the default hard limit. A shorter limit has to be set explicitly.
const MIN_HARD_LIMIT: Duration = Duration::from_secs(60);

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(5),
            ttl_jitter: 0.0,
            negative_ttl: Duration::from_secs(30),
            max_age: None,
            stale_while_revalidate: Duration::ZERO,
            refresh_ahead: None,
            time_to_idle: Duration::from_secs(300),
            max_capacity: 10_000,
            max_batch_keys: usize::MAX,
            max_batch_weight: usize::MAX,
            linger: Duration::from_millis(2),
            share: true,
            clock: Clock::system(),
        }
    }
}

/// What callers may do with a cached entry of some age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It may be returned.
    Fresh,
    /// It may be returned, and is refreshed if the source has idle capacity.
    RefreshAhead,
    /// It may be returned, and must be refreshed.
    Stale,
    /// It must not be returned.
    TooOld,
}

/// Returns a fraction of `time`, or `time` itself if the product is not a valid duration.
pub(super) fn fraction_of(time: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(time)
}

/// The age limits of the settings, computed once, because every hit reads them.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgePolicy {
    hard_limit: Duration,
    stale_while_revalidate: Duration,
    refresh_ahead: Option<f64>,
}

impl AgePolicy {
    pub(super) fn new(settings: &BatchConfig) -> Self {
        let BatchConfig {
            ttl, negative_ttl, max_age, stale_while_revalidate, refresh_ahead, ..
        } = settings;
        let longest = ttl.max(negative_ttl).saturating_add(*stale_while_revalidate);
        Self {
            hard_limit: max_age.unwrap_or(longest.max(MIN_HARD_LIMIT)),
            stale_while_revalidate: *stale_while_revalidate,
            refresh_ahead: refresh_ahead.map(|share| share.clamp(0.5, 1.0)),
        }
    }

    /// Returns the maximum age of any returned value.
    pub(super) fn hard_limit(&self) -> Duration {
        self.hard_limit
    }

    /// Returns the age, exclusive, up to which a value that is fresh for `ttl` satisfies `options`.
    pub(super) fn max_age_for(&self, ttl: Duration, options: &GetOptions) -> Duration {
        options.max_age.unwrap_or(ttl).min(self.hard_limit)
    }

    /// Returns the freshness of a value of this `age` that is fresh for `ttl`.
    pub(super) fn freshness(
        &self,
        age: Duration,
        ttl: Duration,
        options: &GetOptions,
    ) -> Freshness {
        if age < self.max_age_for(ttl, options) {
            return match self.refresh_ahead {
                Some(share) if age >= fraction_of(ttl, share) => Freshness::RefreshAhead,
                _ => Freshness::Fresh,
            };
        }
        // An explicit `max_age` disables serving stale values.
        let stale = options.max_age.is_none()
            && age < ttl.saturating_add(self.stale_while_revalidate)
            && age < self.hard_limit;
        if stale { Freshness::Stale } else { Freshness::TooOld }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn freshness(settings: &BatchConfig, age: u64, options: &GetOptions) -> Freshness {
        AgePolicy::new(settings).freshness(secs(age), secs(10), options)
    }

    #[test]
    fn an_answer_is_fresh_then_renewed_then_stale_then_gone() {
        let settings = BatchConfig {
            stale_while_revalidate: secs(5),
            refresh_ahead: Some(0.8),
            ..BatchConfig::default()
        };
        let options = GetOptions::new();
        assert_eq!(freshness(&settings, 7, &options), Freshness::Fresh);
        assert_eq!(freshness(&settings, 8, &options), Freshness::RefreshAhead);
        assert_eq!(freshness(&settings, 10, &options), Freshness::Stale);
        assert_eq!(freshness(&settings, 14, &options), Freshness::Stale);
        assert_eq!(freshness(&settings, 15, &options), Freshness::TooOld);
    }

    #[test]
    fn an_explicit_max_age_gets_nothing_older() {
        let settings = BatchConfig { stale_while_revalidate: secs(50), ..BatchConfig::default() };
        assert_eq!(freshness(&settings, 2, &GetOptions::new().max_age(secs(3))), Freshness::Fresh);
        assert_eq!(freshness(&settings, 3, &GetOptions::new().max_age(secs(3))), Freshness::TooOld);
        assert_eq!(
            freshness(&settings, 20, &GetOptions::new().max_age(secs(21))),
            Freshness::Fresh
        );
        assert_eq!(
            freshness(&settings, 0, &GetOptions::new().max_age(Duration::ZERO)),
            Freshness::TooOld
        );
    }

    #[test]
    fn no_setting_is_too_absurd_to_work_with() {
        for share in [f64::NAN, f64::INFINITY, -1.0, 7.0] {
            let ttl = Duration::MAX;
            let settings =
                BatchConfig { refresh_ahead: Some(share), ttl, ..BatchConfig::default() };
            let age_policy = AgePolicy::new(&settings);
            assert_eq!(age_policy.freshness(secs(1), ttl, &GetOptions::new()), Freshness::Fresh);
            assert_eq!(
                age_policy.freshness(secs(9), secs(9), &GetOptions::new()),
                Freshness::TooOld
            );
        }
        assert_eq!(fraction_of(secs(10), 0.8), secs(8));
    }

    #[test]
    fn nothing_goes_beyond_the_hard_limit() {
        let settings = BatchConfig {
            max_age: Some(secs(4)),
            stale_while_revalidate: secs(50),
            ..Default::default()
        };
        assert_eq!(
            freshness(&settings, 3, &GetOptions::new().max_age(secs(100))),
            Freshness::Fresh
        );
        for options in [GetOptions::new(), GetOptions::new().max_age(secs(100))] {
            assert_eq!(freshness(&settings, 4, &options), Freshness::TooOld);
        }
    }
}
