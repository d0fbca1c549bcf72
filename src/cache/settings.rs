//! How a batch cache is set up, and what follows for the age of an answer.

use std::time::Duration;

use super::answer::Ask;
use crate::clock::Clock;

/// How a [`BatchCache`](super::BatchCache) is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchSettings {
    /// How long an answer is fresh, counted from just before its request was sent. 5 s by default;
    /// with zero, only those who wait at the same time share an answer.
    pub ttl: Duration,
    /// By which share of `ttl` some answers stop being fresh earlier, at random, so that caches of
    /// several processes do not ask in step. 0 to 1; 0 by default.
    pub ttl_jitter: f64,
    /// How long it is remembered that the source has nothing for a key, and that it refused one. A key
    /// that is refused again is remembered for twice as long, up to 16 times this. A key for which an
    /// answer could not be read is remembered for this or for `ttl`, whichever is less. 30 s by default.
    pub absent_ttl: Duration,
    /// No answer is older than this, whatever happens and whoever asks. By default as long as the
    /// other settings let an answer live, and a minute at least.
    pub max_age: Option<Duration>,
    /// For how long after `ttl` an answer is still given, while a new one is fetched. Zero by
    /// default: never.
    pub serve_stale: Duration,
    /// After which share of its `ttl` an answer that is asked for is renewed in advance, if the
    /// source has capacity to spare. Not by default. Less than 0.5 means 0.5.
    pub refresh_ahead: Option<f64>,
    /// How long a key that nobody asks for is still fetched along. 5 minutes by default.
    pub idle: Duration,
    /// The most keys that are remembered. When there are more, those go that were asked for the
    /// longest ago; those that were named to [`track`](super::BatchCache::track) stay. 10,000 by
    /// default.
    pub capacity: usize,
    /// The most keys in one request.
    pub most_keys: usize,
    /// The most weight in one request, see [`BatchBuilder::weigh`](super::BatchBuilder::weigh).
    pub most_weight: usize,
    /// How long the first to ask waits for company before the request is made. 2 ms by default:
    /// what a crowd needs to wake up. A clock that is moved by hand never waits.
    pub gather: Duration,
    /// What time it is.
    pub clock: Clock,
}

/// What hard limit there is where none is set.
const LEAST_MAX_AGE: Duration = Duration::from_secs(60);

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(5),
            ttl_jitter: 0.0,
            absent_ttl: Duration::from_secs(30),
            max_age: None,
            serve_stale: Duration::ZERO,
            refresh_ahead: None,
            idle: Duration::from_secs(300),
            capacity: 10_000,
            most_keys: usize::MAX,
            most_weight: usize::MAX,
            gather: Duration::from_millis(2),
            clock: Clock::system(),
        }
    }
}

/// What an age means for an answer from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be given.
    Fresh,
    /// It may be given, and is to be renewed if there is capacity to spare.
    Ahead,
    /// It may be given, but must be renewed.
    Stale,
    /// It may not be given.
    TooOld,
}

/// A share of a time, whatever the time and the share.
pub(super) fn part_of(time: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(time)
}

/// What the settings say of ages, worked out once: it is asked at every hit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    hard_limit: Duration,
    serve_stale: Duration,
    refresh_ahead: Option<f64>,
}

impl Ages {
    pub(super) fn new(settings: &BatchSettings) -> Self {
        let BatchSettings { ttl, absent_ttl, max_age, serve_stale, refresh_ahead, .. } = settings;
        let longest = ttl.max(absent_ttl).saturating_add(*serve_stale);
        Self {
            hard_limit: max_age.unwrap_or(longest.max(LEAST_MAX_AGE)),
            serve_stale: *serve_stale,
            refresh_ahead: refresh_ahead.map(|share| share.clamp(0.5, 1.0)),
        }
    }

    /// How old any answer may be.
    pub(super) fn hard_limit(&self) -> Duration {
        self.hard_limit
    }

    /// Up to which age, exclusive, an answer that is fresh for `ttl` satisfies `ask`.
    pub(super) fn allowed(&self, ttl: Duration, ask: &Ask) -> Duration {
        ask.max_age.unwrap_or(ttl).min(self.hard_limit)
    }

    /// Whether an answer of this `age`, fresh for `ttl`, may be given.
    pub(super) fn judge(&self, age: Duration, ttl: Duration, ask: &Ask) -> Verdict {
        if age < self.allowed(ttl, ask) {
            return match self.refresh_ahead {
                Some(share) if age >= part_of(ttl, share) => Verdict::Ahead,
                _ => Verdict::Fresh,
            };
        }
        // Who names an age means it.
        let stale = ask.max_age.is_none()
            && age < ttl.saturating_add(self.serve_stale)
            && age < self.hard_limit;
        if stale { Verdict::Stale } else { Verdict::TooOld }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn verdict(settings: &BatchSettings, age: u64, ask: &Ask) -> Verdict {
        Ages::new(settings).judge(secs(age), secs(10), ask)
    }

    #[test]
    fn an_answer_is_fresh_then_renewed_then_stale_then_gone() {
        let settings = BatchSettings {
            serve_stale: secs(5),
            refresh_ahead: Some(0.8),
            ..BatchSettings::default()
        };
        let ask = Ask::new();
        assert_eq!(verdict(&settings, 7, &ask), Verdict::Fresh);
        assert_eq!(verdict(&settings, 8, &ask), Verdict::Ahead);
        assert_eq!(verdict(&settings, 10, &ask), Verdict::Stale);
        assert_eq!(verdict(&settings, 14, &ask), Verdict::Stale);
        assert_eq!(verdict(&settings, 15, &ask), Verdict::TooOld);
    }

    #[test]
    fn who_names_an_age_gets_nothing_older() {
        let settings = BatchSettings { serve_stale: secs(50), ..BatchSettings::default() };
        assert_eq!(verdict(&settings, 2, &Ask::new().max_age(secs(3))), Verdict::Fresh);
        assert_eq!(verdict(&settings, 3, &Ask::new().max_age(secs(3))), Verdict::TooOld);
        assert_eq!(verdict(&settings, 20, &Ask::new().max_age(secs(21))), Verdict::Fresh);
        assert_eq!(verdict(&settings, 0, &Ask::new().max_age(Duration::ZERO)), Verdict::TooOld);
    }

    #[test]
    fn no_setting_is_too_absurd_to_work_with() {
        for share in [f64::NAN, f64::INFINITY, -1.0, 7.0] {
            let ttl = Duration::MAX;
            let settings =
                BatchSettings { refresh_ahead: Some(share), ttl, ..BatchSettings::default() };
            let ages = Ages::new(&settings);
            assert_eq!(ages.judge(secs(1), ttl, &Ask::new()), Verdict::Fresh);
            assert_eq!(ages.judge(secs(9), secs(9), &Ask::new()), Verdict::TooOld);
        }
        assert_eq!(part_of(secs(10), 0.8), secs(8));
    }

    #[test]
    fn nothing_goes_beyond_the_hard_limit() {
        let settings =
            BatchSettings { max_age: Some(secs(4)), serve_stale: secs(50), ..Default::default() };
        assert_eq!(verdict(&settings, 3, &Ask::new().max_age(secs(100))), Verdict::Fresh);
        for ask in [Ask::new(), Ask::new().max_age(secs(100))] {
            assert_eq!(verdict(&settings, 4, &ask), Verdict::TooOld);
        }
    }
}
