//! Fault injection: rules that choose requests by route, and by share or by number.
//!
//! `handler` asks a [`FaultSchedule`] for the fault of each admitted request, and [`inject`] carries it out.
//! Whether a rule applies depends only on the seed and on the number of the request among those to the rule's
//! target. So the seventh order of two runs with one seed meets the same fault, whatever other requests arrived
//! in between.

pub(crate) mod fault;
pub(crate) mod inject;
pub(crate) mod target;

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use self::fault::{Fault, FaultError};
use self::target::{Target, TargetError};

/// The faults of an exchange. Without rules there are none.
///
/// It can be deserialized with serde, for example from TOML:
///
/// ```toml
/// seed = 7
///
/// [[rule]]
/// on = "writes"
/// fault = "reset-after"
/// share = 0.3          # of the requests
///
/// [[rule]]
/// on = "instruments"
/// fault = "error-200"
/// calls = [1, 4]       # the first and the fourth request
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Faults {
    #[serde(default)]
    seed: u64,
    #[serde(default, rename = "rule")]
    rules: Vec<Rule>,
}

/// A fault and the requests that it is injected into: by default all requests to a target. If several rules apply
/// to the same request, the first one wins.
///
/// A rule also has a text form: `place=reset-after`, `writes=502-before@30%`, `instruments=error-200@1,4`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Rule {
    on: Target,
    fault: Fault,
    share: Option<f64>,
    calls: Option<Vec<u64>>,
}

/// A fault rule that is invalid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("fault rule {number}: {reason}")]
#[non_exhaustive]
pub struct FaultsError {
    /// The number of the rule, from 1.
    pub number: usize,
    /// What is invalid about it.
    pub reason: &'static str,
}

/// A text that is not a fault rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// It has no `=`.
    #[error("write ON=FAULT, as in writes=reset-after@30% or orders=slow:2s@1,4")]
    Form,
    /// The route is unknown.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The fault is unknown.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// The text after `@` is neither a share nor a list of numbers.
    #[error("`{0}` is neither a share, as in 30%, nor the numbers of requests, as in 1,4")]
    Often(String),
}

impl Faults {
    /// Returns no faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the seed for rules with a share. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Adds a rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Returns a schedule in which no rule has counted a request yet.
    ///
    /// # Errors
    /// A rule is invalid.
    pub(crate) fn schedule(&self) -> Result<FaultSchedule, FaultsError> {
        for (rule, number) in self.rules.iter().zip(1..) {
            if let Some(reason) = rule.find_problem() {
                return Err(FaultsError { number, reason });
            }
        }
        let activate = |(rule, number): (&Rule, u64)| ActiveRule {
            rule: rule.clone(),
            // The golden ratio spreads the seeds, so that no two rules draw from nearby parts of one sequence.
            random: fastrand::Rng::with_seed(
                self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            ),
            requests: 0,
        };
        Ok(FaultSchedule(self.rules.iter().zip(1..).map(activate).collect()))
    }
}

impl Rule {
    /// Returns a rule that injects `fault` into every request to `on`.
    pub fn new(on: Target, fault: Fault) -> Self {
        Self { on, fault, share: None, calls: None }
    }

    /// Limits the rule to a random share of the requests, 0 to 1.
    pub fn share(mut self, share: f64) -> Self {
        self.share = Some(share);
        self
    }

    /// Limits the rule to the requests with these numbers, counted from 1.
    pub fn calls(mut self, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.calls = Some(numbers.into_iter().collect());
        self
    }

    fn find_problem(&self) -> Option<&'static str> {
        if self.share.is_some() && self.calls.is_some() {
            return Some("it has a share and the numbers of calls; it can have one of them");
        }
        if self.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Some("a share is 0 to 1");
        }
        if self.calls.as_ref().is_some_and(|calls| calls.contains(&0)) {
            return Some("calls are counted from 1");
        }
        self.fault.find_problem()
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (on, rest) = text.split_once('=').ok_or(RuleError::Form)?;
        let (fault, often) = match rest.split_once('@') {
            Some((fault, often)) => (fault, Some(often)),
            None => (rest, None),
        };
        let rule = Self::new(on.parse()?, fault.parse()?);
        let Some(often) = often else { return Ok(rule) };
        let invalid = || RuleError::Often(often.to_owned());
        if let Some(percent) = often.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| invalid())?;
            return Ok(rule.share(percent / 100.0));
        }
        let numbers: Result<Vec<u64>, _> = often.split(',').map(str::parse).collect();
        Ok(rule.calls(numbers.map_err(|_| invalid())?))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.on, self.fault)?;
        if let Some(share) = self.share {
            write!(f, "@{}%", share * 100.0)?;
        }
        if let Some(calls) = &self.calls {
            let calls: Vec<String> = calls.iter().map(u64::to_string).collect();
            write!(f, "@{}", calls.join(","))?;
        }
        Ok(())
    }
}

/// The rules with their counts and random generators.
#[derive(Debug, Default)]
pub(crate) struct FaultSchedule(Vec<ActiveRule>);

#[derive(Debug)]
struct ActiveRule {
    rule: Rule,
    random: fastrand::Rng,
    requests: u64,
}

impl FaultSchedule {
    /// Returns the fault of the next request. `matches` returns whether the request is to a target.
    pub(crate) fn next(&mut self, matches: impl Fn(Target) -> bool) -> Option<Fault> {
        let mut fault = None;
        for active in self.0.iter_mut().filter(|active| matches(active.rule.on)) {
            // Every rule counts and draws, so that no rule changes the decisions of another.
            if active.applies_to_next() {
                fault = fault.or(Some(active.rule.fault));
            }
        }
        fault
    }
}

impl ActiveRule {
    fn applies_to_next(&mut self) -> bool {
        self.requests += 1;
        let draw = self.random.f64();
        let by_chance = self.rule.share.is_none_or(|share| draw < share);
        by_chance && self.rule.calls.as_ref().is_none_or(|calls| calls.contains(&self.requests))
    }
}

#[cfg(test)]
mod tests {
    use super::fault::Timing;
    use super::*;

    const CUT: Fault = Fault::Reset(Timing::After);

    fn scheduled_faults(faults: &Faults, requests: usize) -> Vec<Option<Fault>> {
        let mut schedule = faults.schedule().unwrap();
        (0..requests).map(|_| schedule.next(|on| on == Target::Place)).collect()
    }

    #[test]
    fn a_rule_applies_by_number() {
        let faults = Faults::new().rule(Rule::new(Target::Place, CUT).calls([2, 4]));
        assert_eq!(scheduled_faults(&faults, 5), [None, Some(CUT), None, Some(CUT), None]);
    }

    #[test]
    fn a_rule_applies_to_its_share() {
        let share = |share| Faults::new().seed(5).rule(Rule::new(Target::Place, CUT).share(share));
        let hit = |faults| scheduled_faults(&faults, 10_000).iter().flatten().count();
        assert_eq!((hit(share(0.0)), hit(share(1.0))), (0, 10_000));
        // Five standard deviations; the seed is fixed anyway.
        assert!(hit(share(0.3)).abs_diff(3000) < 230);
    }

    #[test]
    fn the_fault_of_a_request_depends_on_its_seed_and_number_alone() {
        let one = Rule::new(Target::Place, CUT).share(0.5);
        let other = Rule::new(Target::Orders, Fault::Malformed).share(0.5);
        let alone = Faults::new().seed(9).rule(one.clone());
        assert_eq!(scheduled_faults(&alone, 50), scheduled_faults(&alone, 50));
        assert_ne!(scheduled_faults(&alone, 50), scheduled_faults(&alone.clone().seed(10), 50));
        let mut both = alone.clone().rule(other).schedule().unwrap();
        let between: Vec<_> = (0..50)
            .map(|_| {
                both.next(|on| on == Target::Orders);
                both.next(|on| on == Target::Place)
            })
            .collect();
        assert_eq!(between, scheduled_faults(&alone, 50));
    }

    #[test]
    fn of_two_rules_the_first_applies_and_both_count() {
        let rules = Faults::new()
            .rule(Rule::new(Target::Place, Fault::Malformed).calls([2]))
            .rule(Rule::new(Target::Place, CUT).calls([2, 4]));
        assert_eq!(scheduled_faults(&rules, 4), [None, Some(Fault::Malformed), None, Some(CUT)]);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let rule = || Rule::new(Target::All, CUT);
        let far = Fault::Slow(std::time::Duration::MAX);
        for (rule, why) in [
            (rule().share(1.1), "a share is 0 to 1"),
            (rule().share(f64::NAN), "a share is 0 to 1"),
            (rule().calls([0]), "counted from 1"),
            (rule().share(0.5).calls([1]), "one of them"),
            (Rule::new(Target::All, far), "a day at most"),
        ] {
            let error = Faults::new().rule(Rule::new(Target::All, CUT)).rule(rule).schedule();
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("fault rule 2: ") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        for text in ["place=reset-after", "writes=502-before@30%", "orders=slow:2s@1,4"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("place", "write ON=FAULT"),
            ("places=429", "`places` is no route"),
            ("place=430", "`430` is no fault"),
            ("place=429@often", "`often` is neither"),
            ("place=429@", "`` is neither"),
            ("place=429@x%", "`x%` is neither"),
        ] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_file_of_rules_is_read_and_unknown_keys_are_refused() {
        let read = |text| serde_json::from_str::<Faults>(text).map_err(|error| error.to_string());
        let faults = read(
            r#"{"seed":7,"rule":[{"on":"place","fault":"reset-after","share":0.3},
                {"on":"all","fault":"malformed","calls":[1,4]}]}"#,
        );
        let expected = Faults::new()
            .seed(7)
            .rule(Rule::new(Target::Place, CUT).share(0.3))
            .rule(Rule::new(Target::All, Fault::Malformed).calls([1, 4]));
        assert_eq!(faults.unwrap(), expected);
        assert_eq!(read("{}").unwrap(), Faults::new());
        for (text, why) in [
            (r#"{"rules":[]}"#, "unknown field `rules`"),
            (r#"{"rule":[{"on":"all","fault":"429","chance":1}]}"#, "unknown field `chance`"),
            (r#"{"rule":[{"fault":"429"}]}"#, "missing field `on`"),
            (r#"{"rule":[{"on":"all","fault":"x"}]}"#, "`x` is no fault"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
