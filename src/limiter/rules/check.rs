//! Refuses rules that cannot be meant: two for the same requests, or one that never applies.

use std::collections::HashMap;

use super::problem;
use super::rule::{Rule, Step};
use super::tree::Matching;
use crate::config::Problem;
use crate::limiter::storage::Values;

/// Returns what is wrong with a set of rules.
pub(super) fn problems(rules: &[Rule], matching: Matching) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut by_name: HashMap<&str, &Rule> = HashMap::new();
    let mut by_scope: HashMap<_, &Rule> = HashMap::new();
    for rule in rules {
        if let Some(other) = by_scope.insert(scope(rule), rule) {
            let why = format!("it describes the same requests as the rule {}", shown(other));
            problems.push(problem(rule, why));
        } else if let Some(other) = by_name.insert(&rule.name, rule) {
            let why =
                format!("there is another rule with the name `{}`: {}", rule.name, shown(other));
            problems.push(problem(rule, why));
        }
        if let Some(step) = repeated_key(&rule.steps).filter(|_| matching == Matching::Entries) {
            let why = format!(
                "it names the key `{}` twice, and a request has one value for it",
                step.key
            );
            problems.push(problem(rule, why));
        }
        let too_heavy =
            rule.limit.filter(|limit| limit.capacity() > 0 && rule.weight > limit.capacity());
        if let Some(limit) = too_heavy {
            let (weight, capacity) = (rule.weight, limit.capacity());
            let why = format!(
                "no request would be admitted: it weighs {weight}, and the limit is {capacity}"
            );
            problems.push(problem(rule, why));
        }
        let apart = rule.steps.iter().filter(|step| step.tells_values_apart()).count();
        if apart > Values::MAX {
            let why = format!(
                "it tells {apart} values of a request apart, and {} are the most",
                Values::MAX
            );
            problems.push(problem(rule, why));
        }
        for step in &rule.steps {
            if step.value.as_ref().is_some_and(|value| value.as_str().chars().all(|c| c == '*')) {
                let why = "the value `*` is any value: leave `value` out";
                problems.push(problem(rule, why));
            }
        }
    }
    if matching == Matching::Entries {
        problems.extend(unreachable(rules));
    }
    // The checks of rules do not know of each other.
    problems.dedup();
    problems
}

/// What two rules may not have in common: their path, keys and values.
fn scope(rule: &Rule) -> (Option<String>, Vec<(&str, Option<&str>)>) {
    let path = rule.path.as_ref().map(|path| path.canonical());
    let steps = rule.steps.iter();
    let steps = steps.map(|step| (step.key.as_str(), step.value.as_ref().map(|it| it.as_str())));
    (path, steps.collect())
}

fn repeated_key(steps: &[Step]) -> Option<&Step> {
    (1..steps.len())
        .find(|&at| steps[..at].iter().any(|step| step.key == steps[at].key))
        .map(|at| &steps[at])
}

/// Finds rules that never decide: a rule around them counts all of their requests together with others, and allows no
/// more.
fn unreachable(rules: &[Rule]) -> Vec<Problem> {
    let allows_no_more = |outer: &Rule, inner: &Rule| {
        let (Some(a), Some(b)) = (&outer.limit, &inner.limit) else { return false };
        let scaled = |of: u32, weight: u32| u64::from(of) * u64::from(weight);
        let same_kind = (a.algorithm(), a.period()) == (b.algorithm(), b.period());
        a.capacity() == 0
            || same_kind
                && scaled(a.requests(), inner.weight) <= scaled(b.requests(), outer.weight)
                && scaled(a.burst(), inner.weight) <= scaled(b.burst(), outer.weight)
    };
    let is_around = |outer: &Rule, inner: &Rule| {
        let same_path = scope(outer).0 == scope(inner).0;
        same_path
            && outer.steps.len() < inner.steps.len()
            && inner.steps.starts_with(&outer.steps)
            && !outer.is_shadow
            && !inner.is_shadow
    };
    let never = |inner: &Rule| {
        let outer = rules.iter().find(|it| is_around(it, inner) && allows_no_more(it, inner))?;
        let why = format!(
            "it can never decide: the rule {} counts the same requests too, and allows no more",
            shown(outer)
        );
        Some(problem(inner, why))
    };
    rules.iter().filter_map(never).collect()
}

fn shown(rule: &Rule) -> String {
    match rule.line() {
        Some(line) => format!("`{}` in line {line}", rule.name),
        None => format!("`{}`", rule.name),
    }
}
