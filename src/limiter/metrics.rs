//! Counts of verdicts, by rule and by outcome, through the facade `metrics`.
//!
//! Labels are the names of rules and a few fixed words, so callers cannot make new ones. The counters of a rule are looked
//! up once, when the rules are built: the exporter is installed first.

use metrics::{Counter, counter};

use super::verdict::{Outcome, Verdict};

/// The name of the counter. Its labels are `rule` and `outcome`: `within` the limit; `near` it, if more than 80 % is used;
/// `over` it, so that the request was refused; over it in `shadow` mode; or an `error` of the storage.
pub const VERDICTS: &str = "lanekeeper_limiter_verdicts_total";

/// The counters of one rule.
#[derive(Clone)]
pub(super) struct RuleCounters {
    within: Counter,
    near: Counter,
    over: Counter,
    shadow: Counter,
    error: Counter,
}

impl RuleCounters {
    pub(super) fn new(rule: &str) -> Self {
        let of = |outcome: Outcome| counter!(VERDICTS, "rule" => rule.to_owned(), "outcome" => outcome.name());
        let counters = Self {
            within: of(Outcome::Within),
            near: of(Outcome::Near),
            over: of(Outcome::Over),
            shadow: of(Outcome::Shadow),
            error: of(Outcome::Error),
        };
        // Alerts depend on them, so they are there before the first refusal.
        counters.over.increment(0);
        counters.error.increment(0);
        counters
    }
}

impl std::fmt::Debug for RuleCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleCounters").finish_non_exhaustive()
    }
}

/// Counts a verdict in each of its rules.
pub(super) fn count(verdict: &Verdict) {
    for (of_rule, counters) in verdict.rules_with_counters() {
        let counter = match of_rule.outcome() {
            Outcome::Within => &counters.within,
            Outcome::Near => &counters.near,
            Outcome::Over => &counters.over,
            Outcome::Shadow => &counters.shadow,
            Outcome::Error => &counters.error,
        };
        counter.increment(1);
    }
}
