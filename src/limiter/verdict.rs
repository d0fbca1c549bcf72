//! What a limiter says of a request.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::rules::Rule;
use super::storage::StorageError;
use crate::quota::request_limit::{Reading, UnixMicros};

/// Whether a request is allowed, and what its limits say.
///
/// Numbers are those of the rule that decided: of a refused request the one whose wait is longest, of an allowed one the
/// one that has least left.
#[derive(Debug, Clone)]
pub struct Verdict {
    allowed: bool,
    at: UnixMicros,
    rules: SmallVec<[RuleVerdict; 1]>,
    decided_by: usize,
    error: Option<StorageError>,
}

/// What one rule says of a request.
#[derive(Debug, Clone)]
pub struct RuleVerdict {
    rule: Arc<Rule>,
    at: UnixMicros,
    /// `None` if the rule allows everything, or the storage said nothing.
    reading: Option<Reading>,
}

impl Verdict {
    /// Returns the verdict of the limits of a request.
    pub(super) fn new(at: UnixMicros, rules: SmallVec<[RuleVerdict; 1]>) -> Self {
        let allowed = rules.iter().all(|it| it.rule.is_shadow() || !it.is_over());
        let decided_by = match allowed {
            true => rules.iter().enumerate().min_by(|(_, a), (_, b)| a.left().total_cmp(&b.left())),
            false => rules.iter().enumerate().max_by_key(|(_, it)| it.wait()),
        };
        let decided_by = decided_by.map(|(index, _)| index).unwrap_or_default();
        Self { allowed, at, rules, decided_by, error: None }
    }

    /// Returns the verdict of a request whose storage gave none.
    pub(super) fn without_storage(
        allowed: bool,
        rules: SmallVec<[RuleVerdict; 1]>,
        decided_by: usize,
        error: StorageError,
    ) -> Self {
        Self { allowed, at: UnixMicros::default(), rules, decided_by, error: Some(error) }
    }

    /// Returns whether the request is allowed.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Returns the rule that decided. `None` if no rule describes the request.
    pub fn rule(&self) -> Option<&Rule> {
        self.decisive().map(|it| &*it.rule)
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
    pub fn rules(&self) -> &[RuleVerdict] {
        &self.rules
    }

    /// Returns why the storage gave no verdict. Then the rules decided by their `on_storage_error`.
    pub fn storage_error(&self) -> Option<&StorageError> {
        self.error.as_ref()
    }

    /// Returns when the request was judged, by the clock of the storage.
    pub fn moment(&self) -> UnixMicros {
        self.at
    }

    fn decisive(&self) -> Option<&RuleVerdict> {
        self.rules.get(self.decided_by)
    }
}

impl RuleVerdict {
    pub(super) fn new(rule: Arc<Rule>, at: UnixMicros, reading: Option<Reading>) -> Self {
        Self { rule, at, reading }
    }

    /// Returns the rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Returns whether the request is over the limit. In shadow mode it is allowed all the same.
    pub fn is_over(&self) -> bool {
        self.reading.is_some_and(|reading| !reading.is_admitted())
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
            (Some(limit), Some(remaining)) => f64::from(remaining) / f64::from(limit.max(1)),
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
