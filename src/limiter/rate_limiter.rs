//! The limiter: rules, a storage, and a verdict for each request.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use smallvec::smallvec;

use super::request::Request;
use super::rules::{Match, Matches, Rules, RulesStore, StoredRules};
use super::storage::{
    Charge, CounterKey, GuardedStorage, Storage, StorageError, Take, Taken, Values,
};
use super::verdict::{Readings, Verdict};
use crate::config::ConfigError;
use crate::quota::request_limit::UnixMicros;

/// Judges requests by rules. Cheap to clone; clones share everything. See [the module](super).
#[derive(Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    rules: ArcSwap<Rules>,
    storage: GuardedStorage,
    source: Source,
}

/// Where the rules are from, and which version of them is in use. Locked while they are replaced.
struct Source {
    store: Box<dyn RulesStore>,
    revision: Mutex<Option<u64>>,
}

/// The source of a limiter that was given its rules: it never has others.
struct NoSource;

impl RulesStore for NoSource {
    fn load(&self, _: Option<u64>) -> Result<Option<StoredRules>, ConfigError> {
        Ok(None)
    }
}

impl RateLimiter {
    /// Returns a limiter with these rules, which do not change unless [`set_rules`](Self::set_rules) replaces them.
    pub fn new(rules: Rules, storage: impl Storage) -> Self {
        Self::build(rules, None, NoSource, storage)
    }

    /// Returns a limiter with the rules of a source. [`reload`](Self::reload) asks the source again.
    ///
    /// ```
    /// use lanekeeper::limiter::{FileRules, MemoryStorage, RateLimiter};
    ///
    /// let missing = RateLimiter::from_store(FileRules::new("no-such-file.yaml"), MemoryStorage::new());
    /// assert!(missing.is_err());
    /// ```
    ///
    /// # Errors
    /// The rules cannot be loaded or used.
    pub fn from_store(store: impl RulesStore, storage: impl Storage) -> Result<Self, ConfigError> {
        let (rules, revision) = match store.load(None)? {
            Some(StoredRules { rules, revision }) => (rules, Some(revision)),
            None => (Rules::default(), None),
        };
        Ok(Self::build(rules, revision, store, storage))
    }

    fn build(
        rules: Rules,
        revision: Option<u64>,
        store: impl RulesStore,
        storage: impl Storage,
    ) -> Self {
        let source = Source { store: Box::new(store), revision: Mutex::new(revision) };
        let rules = ArcSwap::from_pointee(rules);
        Self { shared: Arc::new(Shared { rules, storage: GuardedStorage::new(storage), source }) }
    }

    /// Judges a request now, and counts it if it is allowed.
    #[inline]
    pub fn check(&self, request: &Request<'_>) -> Verdict {
        self.judge(request, None)
    }

    /// Judges a request at a moment of recorded traffic. The moments that a limiter is asked about must not decrease.
    pub fn check_at(&self, request: &Request<'_>, moment: UnixMicros) -> Verdict {
        self.judge(request, Some(moment))
    }

    /// Judges several requests, each on its own, in their order. A storage that is far away needs one trip for them.
    pub fn check_all(&self, requests: &[Request<'_>]) -> Vec<Verdict> {
        let rules = self.shared.rules.load();
        let all: Vec<_> = requests
            .iter()
            .map(|request| {
                let found = rules.matches(request);
                let take = take(&rules, request, &found);
                (found, take)
            })
            .collect();
        let takes: Vec<Take<'_, '_>> = all.iter().map(|(_, take)| take.clone()).collect();
        let taken = self.shared.storage.take_all(&takes);
        let verdict = |((request, asked), taken): ((&Request<'_>, &(Matches, Take<'_, '_>)), _)| {
            let (found, take) = asked;
            verdict(Guard::from_inner(Arc::clone(&rules)), request, found, take, taken)
        };
        requests.iter().zip(&all).zip(taken).map(verdict).collect()
    }

    /// Returns the rules in use.
    pub fn rules(&self) -> Arc<Rules> {
        self.shared.rules.load_full()
    }

    /// Replaces the rules, for all requests from now on. What was counted for rules with the same path, keys, values,
    /// unit and algorithm stays counted.
    pub fn set_rules(&self, rules: Rules) {
        self.shared.rules.store(Arc::new(rules));
    }

    /// Loads the rules from their source again. Returns whether they have changed. Requests are judged by the old rules
    /// or by the new ones, never by some of both.
    ///
    /// # Errors
    /// The new rules cannot be loaded or used. The old ones stay in use.
    pub fn reload(&self) -> Result<bool, ConfigError> {
        let source = &self.shared.source;
        let mut revision = source.revision.lock();
        let Some(new) = source.store.load(*revision)? else { return Ok(false) };
        self.set_rules(new.rules);
        *revision = Some(new.revision);
        Ok(true)
    }

    /// Returns whether a verdict may wait for another machine.
    pub fn may_block(&self) -> bool {
        self.shared.storage.may_block()
    }

    /// Judges a request as [`check`](Self::check) does, if that needs no other machine. `None` if it does; then nothing is
    /// counted.
    ///
    /// ```
    /// use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rules};
    ///
    /// let rules = Rules::from_yaml("descriptors: [{ key: user, unit: second, requests_per_unit: 5 }]")?;
    /// let limiter = RateLimiter::new(rules, MemoryStorage::new());
    /// assert!(limiter.check_here(&Request::new("/").entry("user", "a")).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check_here(&self, request: &Request<'_>) -> Option<Verdict> {
        if !self.may_block() {
            return Some(self.check(request));
        }
        let rules = self.shared.rules.load();
        let found = rules.matches(request);
        let take = take(&rules, request, &found);
        let taken = self.shared.storage.take_here(&take)?;
        let kept = Guard::from_inner(Arc::clone(&rules));
        Some(verdict(kept, request, &found, &take, taken))
    }

    fn judge(&self, request: &Request<'_>, at: Option<UnixMicros>) -> Verdict {
        let rules = self.shared.rules.load();
        let found = rules.matches(request);
        // One rule is the common case, and needs no list.
        if let [it] = found.as_slice() {
            if let Some(charge) = charge(&rules, request, it) {
                let (rule, is_shadow) = (it.rule, charge.is_shadow);
                return match self.shared.storage.take_one(&charge, at) {
                    Ok((at, reading)) => Verdict::of_one(rules, at, rule, is_shadow, reading),
                    Err(error) => Verdict::without_storage(rules, smallvec![(rule, None)], error),
                };
            }
        }
        let mut take = take(&rules, request, &found);
        if let Some(at) = at {
            take = take.at(at);
        }
        let taken = match take.charges() {
            [] => Ok(Taken::nothing()),
            _ => self.shared.storage.take(&take),
        };
        // The guard cannot move while the limits are borrowed from it.
        let kept = Guard::from_inner(Arc::clone(&rules));
        verdict(kept, request, &found, &take, taken)
    }
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rules = self.shared.rules.load().len();
        f.debug_struct("RateLimiter").field("rules", &rules).finish_non_exhaustive()
    }
}

/// Returns the limits of a request.
fn take<'r, 'q>(rules: &'r Rules, request: &'q Request<'_>, found: &[Match]) -> Take<'r, 'q> {
    Take::new(found.iter().filter_map(|it| charge(rules, request, it)))
}

/// Returns the limit of a request that a rule has, if it has one.
#[inline]
fn charge<'r, 'q>(
    rules: &'r Rules,
    request: &'q Request<'_>,
    it: &Match,
) -> Option<Charge<'r, 'q>> {
    let rule = rules.get(it.rule)?;
    Some(Charge {
        key: CounterKey { rule: rule.fingerprint(), values: values(request, it) },
        limit: rule.limit()?,
        weight: request.get_weight().saturating_mul(rule.weight),
        is_shadow: rule.is_shadow(),
    })
}

/// Returns the values of a request that a rule tells apart.
#[inline]
fn values<'q>(request: &'q Request<'_>, it: &Match) -> Values<'q> {
    Values::of(request.entries_of(it.descriptor), it.picks)
}

fn verdict(
    rules: Guard<Arc<Rules>>,
    request: &Request<'_>,
    found: &[Match],
    take: &Take<'_, '_>,
    taken: Result<Taken, StorageError>,
) -> Verdict {
    let readings = taken.as_ref().map(|taken| taken.readings.as_slice()).unwrap_or_default();
    // Several rules with one key have one reading.
    let reading = |it: &Match| {
        let fingerprint = rules.get(it.rule)?.fingerprint();
        let is_same = |charge: &Charge<'_, '_>| {
            (charge.key.rule, charge.key.values) == (fingerprint, values(request, it))
        };
        readings.get(take.charges().iter().position(is_same)?).copied()
    };
    let readings: Readings = found.iter().map(|it| (it.rule, reading(it))).collect();
    match taken {
        Ok(taken) => Verdict::new(rules, taken.at, readings),
        Err(error) => Verdict::without_storage(rules, readings, error),
    }
}
