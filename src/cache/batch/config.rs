//! How a batch cache is set up, and what follows for the age of an answer.

use std::time::Duration;

use super::lookup::GetOptions;
use crate::clock::Clock;

/// How a [`BatchCache`](crate::cache::BatchCache) is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchConfig {
    /// How long an answer is fresh, counted from just before its request was sent. 5 s by default;
    /// with zero, only those who wait at the same time share an answer.
    pub ttl: Duration,
    /// By which share of `ttl` some answers stop being fresh earlier, at random, so that caches of
    /// several processes do not ask in step. 0 to 1; 0 by default.
    pub ttl_jitter: f64,
    /// How long it is remembered that the source has nothing for a key, and that it refused one. A key
    /// that is refused again is remembered for twice as long, up to 16 times this. A key for which an
    /// answer could not be read is remembered for this or for `ttl`, whichever is less. 30 s by default.
    pub negative_ttl: Duration,
    /// No answer is older than this, whatever happens and whoever asks. By default as long as the
    /// other settings let an answer live, and a minute at least.
    pub max_age: Option<Duration>,
    /// For how long after `ttl` an answer is still given, while a new one is fetched. Zero by
    /// default: never.
    pub stale_while_revalidate: Duration,
    /// After which share of its `ttl` an answer that is asked for is renewed in advance, if the
    /// source has capacity to spare. Not by default. Less than 0.5 means 0.5.
    pub refresh_ahead: Option<f64>,
    /// How long a key that nobody asks for is still fetched along. 5 minutes by default.
    pub time_to_idle: Duration,
    /// The most keys that are remembered. When there are more, those go that were asked for the
    /// longest ago; those that were named to [`track`](crate::cache::BatchCache::track) stay. 10,000 by
    /// default.
    pub max_capacity: usize,
    /// The most keys in one request.
    pub max_batch_keys: usize,
    /// The most weight in one request, see [`BatchBuilder::weigh`](crate::cache::BatchBuilder::weigher).
    pub max_batch_weight: usize,
    /// How long the first to ask waits for company before the request is made. 2 ms by default:
    /// what a crowd needs to wake up. A clock that is moved by hand never waits.
    pub linger: Duration,
    /// What time it is.
    pub clock: Clock,
}

/// What hard limit there is where none is set.
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
            clock: Clock::system(),
        }
    }
}

/// What an age means for an answer from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It may be given.
    Fresh,
    /// It may be given, and is to be renewed if there is capacity to spare.
    RefreshAhead,
    /// It may be given, but must be renewed.
    Stale,
    /// It may not be given.
    TooOld,
}

/// A share of a time, whatever the time and the share.
pub(super) fn fraction_of(time: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(time)
}

/// What the settings say of ages, worked out once: it is asked at every hit.
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

    /// How old any answer may be.
    pub(super) fn hard_limit(&self) -> Duration {
        self.hard_limit
    }

    /// Up to which age, exclusive, an answer that is fresh for `ttl` satisfies `ask`.
    pub(super) fn max_age_for(&self, ttl: Duration, options: &GetOptions) -> Duration {
        options.max_age.unwrap_or(ttl).min(self.hard_limit)
    }

    /// Whether an answer of this `age`, fresh for `ttl`, may be given.
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
        // Who names an age means it.
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

    fn freshness(settings: &BatchConfig, age: u64, ask: &GetOptions) -> Freshness {
        AgePolicy::new(settings).freshness(secs(age), secs(10), ask)
    }

    #[test]
    fn an_answer_is_fresh_then_renewed_then_stale_then_gone() {
        let settings = BatchConfig {
            stale_while_revalidate: secs(5),
            refresh_ahead: Some(0.8),
            ..BatchConfig::default()
        };
        let ask = GetOptions::new();
        assert_eq!(freshness(&settings, 7, &ask), Freshness::Fresh);
        assert_eq!(freshness(&settings, 8, &ask), Freshness::RefreshAhead);
        assert_eq!(freshness(&settings, 10, &ask), Freshness::Stale);
        assert_eq!(freshness(&settings, 14, &ask), Freshness::Stale);
        assert_eq!(freshness(&settings, 15, &ask), Freshness::TooOld);
    }

    #[test]
    fn who_names_an_age_gets_nothing_older() {
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
            let ages = AgePolicy::new(&settings);
            assert_eq!(ages.freshness(secs(1), ttl, &GetOptions::new()), Freshness::Fresh);
            assert_eq!(ages.freshness(secs(9), secs(9), &GetOptions::new()), Freshness::TooOld);
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
        for ask in [GetOptions::new(), GetOptions::new().max_age(secs(100))] {
            assert_eq!(freshness(&settings, 4, &ask), Freshness::TooOld);
        }
    }
}
