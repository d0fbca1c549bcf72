//! The limiter: rules, a storage, and a verdict for each request.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::request::Request;
use super::rules::{Match, Matches};
use super::rules::{OnStorageError, Rules, RulesStore, StoredRules};
use super::storage::{Charge, CounterKey, Storage, StorageError, Take, Taken};
use super::verdict::{RuleVerdict, Verdict};
use crate::config::ConfigError;
use crate::quota::request_limit::UnixMicros;

/// Judges requests by rules. Cheap to clone; clones share everything. See [the module](super).
#[derive(Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    rules: ArcSwap<Rules>,
    storage: Box<dyn Storage>,
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
        Self { shared: Arc::new(Shared { rules, storage: Box::new(storage), source }) }
    }

    /// Judges a request now, and counts it if it is allowed.
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
        let found: Vec<Matches<'_, '_>> = requests.iter().map(|it| rules.matches(it)).collect();
        let takes: Vec<Take<'_, '_>> =
            requests.iter().zip(&found).map(|(request, found)| take(request, found)).collect();
        let with_limits: Vec<Take<'_, '_>> =
            takes.iter().filter(|take| !take.charges().is_empty()).cloned().collect();
        let mut taken = self.shared.storage.take_all(&with_limits).into_iter();
        let verdict = |(found, take): (Matches<'_, '_>, &Take<'_, '_>)| match take.charges() {
            [] => without_limits(found),
            _ => {
                let lost =
                    || Err(StorageError::new("it gave fewer verdicts than it was asked for"));
                verdict(found, take, taken.next().unwrap_or_else(lost))
            }
        };
        found.into_iter().zip(&takes).map(verdict).collect()
    }

    /// Takes back one failure in each rule of the request that is a backoff: the attempt succeeded.
    ///
    /// # Errors
    /// The storage cannot be reached. The attempt stays counted as a failure.
    pub fn forgive(&self, request: &Request<'_>) -> Result<(), StorageError> {
        let rules = self.shared.rules.load();
        let found = rules.matches(request);
        self.shared.storage.forgive(&take(request, &found))
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

    fn judge(&self, request: &Request<'_>, at: Option<UnixMicros>) -> Verdict {
        let rules = self.shared.rules.load();
        let found = rules.matches(request);
        let mut take = take(request, &found);
        if take.charges().is_empty() {
            return without_limits(found);
        }
        if let Some(at) = at {
            take = take.at(at);
        }
        let taken = self.shared.storage.take(&take);
        verdict(found, &take, taken)
    }
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rules = self.shared.rules.load().len();
        f.debug_struct("RateLimiter").field("rules", &rules).finish_non_exhaustive()
    }
}

/// Returns the limits of a request.
fn take<'r, 'a>(request: &Request<'a>, found: &[Match<'r, 'a>]) -> Take<'r, 'a> {
    Take::new(found.iter().filter_map(|&Match { rule, ref values }| {
        Some(Charge {
            key: CounterKey { rule: rule.fingerprint(), values: values.clone() },
            limit: rule.limit()?,
            weight: request.get_weight().saturating_mul(rule.weight),
            is_shadow: rule.is_shadow(),
        })
    }))
}

/// A request that no rule describes, or only rules without a limit.
fn without_limits(found: Matches<'_, '_>) -> Verdict {
    let at = UnixMicros::default();
    Verdict::new(
        at,
        found.into_iter().map(|it| RuleVerdict::new(it.rule.clone(), at, None)).collect(),
    )
}

fn verdict(
    found: Matches<'_, '_>,
    take: &Take<'_, '_>,
    taken: Result<Taken, StorageError>,
) -> Verdict {
    let (at, readings, error) = match taken {
        Ok(taken) if taken.readings.len() == take.charges().len() => {
            (taken.at, Some(taken.readings), None)
        }
        Ok(_) => {
            let error = StorageError::new("its answer is about other limits");
            (UnixMicros::default(), None, Some(error))
        }
        Err(error) => (UnixMicros::default(), None, Some(error)),
    };
    // Several rules with one key have one reading.
    let reading = |it: &Match<'_, '_>| {
        let is_same = |charge: &Charge<'_, '_>| {
            charge.key.rule == it.rule.fingerprint() && charge.key.values == it.values
        };
        let index = take.charges().iter().position(is_same)?;
        readings.as_ref()?.get(index).copied()
    };
    let rules: SmallVec<[RuleVerdict; 1]> =
        found.iter().map(|it| RuleVerdict::new(it.rule.clone(), at, reading(it))).collect();
    let Some(error) = error else { return Verdict::new(at, rules) };
    let denies = |it: &RuleVerdict| {
        let rule = it.rule();
        rule.limit().is_some() && !rule.is_shadow() && rule.on_storage_error == OnStorageError::Deny
    };
    let denied_by = rules.iter().position(denies);
    Verdict::without_storage(denied_by.is_none(), rules, denied_by.unwrap_or_default(), error)
}
