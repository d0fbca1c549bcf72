//! What a limiter says of a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use smallvec::{SmallVec, smallvec};

use super::rules::{Rule, Rules};
use super::storage::StorageError;
use crate::quota::request_limit::{Reading, UnixMicros};

/// Whether a request is allowed, and what its limits say.
///
/// Numbers are those of the rule that decided: of a refused request the one whose wait is longest, of an allowed one the
/// one that has least left.
pub struct Verdict {
    allowed: bool,
    decided_by: usize,
    at: UnixMicros,
    /// For each rule of the request its place in the set, and what its limit says: `None` if it allows everything, or
    /// the storage said nothing.
    readings: Readings,
    /// The rules by which the request was judged. They are not counted as used once more, which would cost two atomic
    /// operations for each verdict.
    rules: Guard<Arc<Rules>>,
    error: Option<StorageError>,
}

pub(super) type Readings = SmallVec<[(u32, Option<Reading>); 1]>;

/// What one rule says of a request.
#[derive(Debug, Clone, Copy)]
pub struct RuleVerdict<'v> {
    rule: &'v Rule,
    at: UnixMicros,
    reading: Option<Reading>,
}

/// What a rule said of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The request is within the limit.
    Within,
    /// It is within the limit, of which more than 80 % is used.
    Near,
    /// It is over the limit, and refused.
    Over,
    /// It is over the limit of a rule in shadow mode, and not refused by it.
    Shadow,
    /// The storage gave no verdict.
    Error,
}

impl Outcome {
    /// Returns the name: `within`, `near`, `over`, `shadow` or `error`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Near => "near",
            Self::Over => "over",
            Self::Shadow => "shadow",
            Self::Error => "error",
        }
    }
}

impl Verdict {
    /// Returns the verdict of the limits of a request.
    #[inline]
    pub(super) fn new(rules: Guard<Arc<Rules>>, at: UnixMicros, readings: Readings) -> Self {
        let mut verdict = Self { allowed: true, decided_by: 0, at, readings, rules, error: None };
        let allowed = verdict.rules().all(|it| it.rule.is_shadow() || !it.is_over());
        verdict.allowed = allowed;
        if verdict.readings.len() > 1 {
            verdict.decided_by = verdict.decisive_index();
        }
        #[cfg(feature = "metrics")]
        super::metrics::count(&verdict);
        verdict
    }

    /// Returns the verdict of one limit.
    #[inline]
    pub(super) fn of_one(
        rules: Guard<Arc<Rules>>,
        at: UnixMicros,
        place: u32,
        is_shadow: bool,
        reading: Reading,
    ) -> Self {
        let allowed = is_shadow || reading.is_admitted();
        let readings = smallvec![(place, Some(reading))];
        let verdict = Self { allowed, decided_by: 0, at, readings, rules, error: None };
        #[cfg(feature = "metrics")]
        super::metrics::count(&verdict);
        verdict
    }

    /// Returns the verdict of a request whose storage gave none. Each rule says what is done then.
    pub(super) fn without_storage(
        rules: Guard<Arc<Rules>>,
        readings: Readings,
        error: StorageError,
    ) -> Self {
        let at = UnixMicros::default();
        let mut verdict =
            Self { allowed: true, decided_by: 0, at, readings, rules, error: Some(error) };
        let denied_by = verdict.rules().position(|it| it.rule.denies_without_storage());
        verdict.allowed = denied_by.is_none();
        verdict.decided_by = denied_by.unwrap_or_default();
        #[cfg(feature = "metrics")]
        super::metrics::count(&verdict);
        verdict
    }

    fn decisive_index(&self) -> usize {
        let rules = self.rules().enumerate();
        let decisive = match self.allowed {
            true => rules.min_by(|(_, a), (_, b)| a.left().total_cmp(&b.left())),
            false => rules.max_by_key(|(_, it)| it.wait()),
        };
        decisive.map(|(index, _)| index).unwrap_or_default()
    }

    /// Returns whether the request is allowed.
    #[inline]
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Returns the rule that decided. `None` if no rule describes the request.
    pub fn rule(&self) -> Option<&Rule> {
        self.decisive().map(|it| it.rule)
    }

    /// Returns how many requests a key that was not used can have at once: the number of requests per unit, or the
    /// burst of a token bucket. `None` if no limit decided.
    pub fn limit(&self) -> Option<u32> {
        self.decisive()?.limit()
    }

    /// Returns how much weight would be admitted now, after this request. `None` if no limit decided.
    pub fn remaining(&self) -> Option<u32> {
        self.decisive()?.remaining()
    }

    /// Returns the time until the key has its whole limit again. `None` if no limit decided.
    pub fn reset_after(&self) -> Option<Duration> {
        self.decisive()?.reset_after()
    }

    /// Returns the time after which the same request is admitted, if nothing else arrives until then: exactly, and not
    /// a microsecond before. `None` if the request is allowed, if it never will be (a limit of 0, or a weight above the
    /// limit), or if the storage gave no verdict.
    pub fn retry_after(&self) -> Option<Duration> {
        if self.allowed { None } else { self.decisive()?.retry_after() }
    }

    /// Returns what each rule of the request says.
    pub fn rules(&self) -> impl Iterator<Item = RuleVerdict<'_>> {
        self.readings.iter().filter_map(|&(place, reading)| {
            Some(RuleVerdict { rule: self.rules.get(place)?, at: self.at, reading })
        })
    }

    /// Returns what each rule of the request says, with the counters of the rule.
    #[cfg(feature = "metrics")]
    pub(super) fn rules_with_counters(
        &self,
    ) -> impl Iterator<Item = (RuleVerdict<'_>, &super::metrics::RuleCounters)> {
        let counters = self.readings.iter().filter_map(|&(place, _)| self.rules.counters(place));
        self.rules().zip(counters)
    }

    /// Returns why the storage gave no verdict. Then the rules decided by their `on_storage_error`.
    pub fn storage_error(&self) -> Option<&StorageError> {
        self.error.as_ref()
    }

    /// Returns when the request was judged, by the clock of the storage.
    pub fn moment(&self) -> UnixMicros {
        self.at
    }

    fn decisive(&self) -> Option<RuleVerdict<'_>> {
        self.rules().nth(self.decided_by)
    }
}

impl Clone for Verdict {
    fn clone(&self) -> Self {
        Self {
            allowed: self.allowed,
            decided_by: self.decided_by,
            at: self.at,
            readings: self.readings.clone(),
            rules: Guard::from_inner(Arc::clone(&self.rules)),
            error: self.error.clone(),
        }
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("allowed", &self.allowed)
            .field("rule", &self.rule().map(Rule::name))
            .field("limit", &self.limit())
            .field("remaining", &self.remaining())
            .field("retry_after", &self.retry_after())
            .field("storage_error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<'v> RuleVerdict<'v> {
    /// Returns the rule.
    pub fn rule(&self) -> &'v Rule {
        self.rule
    }

    /// Returns whether the request is over the limit. In shadow mode it is allowed all the same.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.reading.is_some_and(|reading| !reading.is_admitted())
    }

    /// Returns what the rule said, in one word. It is what metrics count.
    pub fn outcome(&self) -> Outcome {
        match (self.is_over(), self.rule.is_shadow()) {
            _ if self.rule.limit().is_some() && self.reading.is_none() => Outcome::Error,
            (true, true) => Outcome::Shadow,
            (true, false) => Outcome::Over,
            _ if self.is_near() => Outcome::Near,
            _ => Outcome::Within,
        }
    }

    /// Returns whether more than 80 % of the limit is used. The figure is that of envoy's rate limit service.
    pub fn is_near(&self) -> bool {
        let (Some(limit), Some(remaining)) = (self.limit(), self.remaining()) else { return false };
        let used = u64::from(limit.saturating_sub(remaining));
        used > u64::from(limit) * 4 / 5
    }

    /// Returns how many requests a key that was not used can have at once. `None` without a limit.
    pub fn limit(&self) -> Option<u32> {
        self.rule.limit().map(|limit| limit.capacity())
    }

    /// Returns how much weight would be admitted now. `None` without a limit, or without a verdict of the storage.
    pub fn remaining(&self) -> Option<u32> {
        self.reading.map(|reading| reading.remaining)
    }

    /// Returns the time until the key has its whole limit again.
    pub fn reset_after(&self) -> Option<Duration> {
        self.reading.map(|reading| reading.reset_at.since(self.at))
    }

    /// Returns the time after which this rule admits the same request. Zero if it does now, `None` if it never will.
    pub fn retry_after(&self) -> Option<Duration> {
        self.reading?.retry_at.map(|at| at.since(self.at))
    }

    /// The share that is left, for the choice of the rule that decides.
    fn left(&self) -> f64 {
        match (self.limit(), self.remaining()) {
            (Some(limit), Some(remaining)) if !self.rule.is_shadow() => {
                f64::from(remaining) / f64::from(limit.max(1))
            }
            // It would not refuse, however little is left.
            _ => f64::INFINITY,
        }
    }

    /// How long the request has to wait for this rule, for the same choice.
    fn wait(&self) -> Duration {
        match self.is_over() && !self.rule.is_shadow() {
            true => self.retry_after().unwrap_or(Duration::MAX),
            false => Duration::ZERO,
        }
    }
}
