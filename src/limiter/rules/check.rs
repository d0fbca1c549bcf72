//! Refuses rules that cannot be meant: two for the same requests, or one that never applies.

use std::collections::HashMap;

use super::problem;
use super::rule::{Rule, Step};
use super::tree::Matching;
use crate::config::Problem;
use crate::limiter::storage::Values;
use crate::quota::request_limit::Algorithm;

/// Returns what is wrong with a set of rules.
pub(super) fn problems(rules: &[Rule], matching: Matching) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut by_name: HashMap<&str, &Rule> = HashMap::new();
    let mut by_scope: HashMap<Scope<'_>, &Rule> = HashMap::new();
    for rule in rules {
        if let Some(other) = by_scope.insert(scope(rule), rule) {
            let why = format!("it describes the same requests as the rule {}", shown(other));
            problems.push(problem(rule, why));
        } else if let Some(other) = by_name.insert(&rule.name, rule) {
            let why =
                format!("there is another rule with the name `{}`: {}", rule.name, shown(other));
            problems.push(problem(rule, why));
        }
        if rule.weight == 0 {
            problems.push(problem(rule, "its weight is 0, so that it would count nothing"));
        }
        if rule.limit.is_some_and(|limit| limit.algorithm() == Algorithm::Backoff) {
            problems
                .push(problem(rule, "a backoff counts failures, not requests: use a `LoginGuard`"));
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
    }
    if matching == Matching::Entries {
        let tree = RuleTree::new(rules, by_scope);
        for rule in rules {
            problems.extend(keys(rule).map(|why| problem(rule, why)));
            let never = tree.never_found(rule).or_else(|| tree.never_decides(rule));
            problems.extend(never.map(|why| problem(rule, why)));
        }
    }
    problems
}

/// What two rules may not have in common: their path, keys and values.
type Scope<'a> = (Option<String>, Vec<(&'a str, Option<&'a str>)>);

fn scope(rule: &Rule) -> Scope<'_> {
    (rule.path.as_ref().map(|path| path.canonical()), rule.steps.iter().map(texts).collect())
}

fn texts(step: &Step) -> (&str, Option<&str>) {
    (&step.key, step.value.as_ref().map(|value| value.as_str()))
}

/// Returns what is wrong with the keys and values of a rule of ours.
fn keys(rule: &Rule) -> impl Iterator<Item = String> + '_ {
    let steps = rule.steps.iter().enumerate();
    let repeated = |(at, step): (usize, &Step)| {
        let is_repeated = rule.steps[..at].iter().any(|other| other.key == step.key);
        is_repeated.then(|| {
            format!("it names the key `{}` twice, and a request has one value for it", step.key)
        })
    };
    let any = |step: &Step| step.value.as_ref().is_some_and(|it| it.is_any()) && !step.is_shared;
    let any = rule.steps.iter().any(any);
    let any = any.then(|| "the value `*` is any value: leave `value` out".to_owned());
    steps.filter_map(repeated).chain(any)
}

/// The rules of ours as the tree that a request is looked up in.
struct RuleTree<'a> {
    by_scope: HashMap<Scope<'a>, &'a Rule>,
    /// The values that are told apart at each place, by the path, the steps before, and the key.
    values: HashMap<(Scope<'a>, &'a str), Vec<&'a Step>>,
}

impl<'a> RuleTree<'a> {
    fn new(rules: &'a [Rule], by_scope: HashMap<Scope<'a>, &'a Rule>) -> Self {
        let mut values: HashMap<_, Vec<&Step>> = HashMap::new();
        for rule in rules {
            let (path, steps) = scope(rule);
            for (at, step) in rule.steps.iter().enumerate() {
                let before = (path.clone(), steps[..at].to_vec());
                let known = values.entry((before, step.key.as_str())).or_default();
                // Rules that are read from a file are in the order of its tree, so that one look back finds the most.
                if known.last().is_none_or(|other| other.value != step.value) {
                    known.push(step);
                }
            }
        }
        Self { by_scope, values }
    }

    /// Returns the values that the key of a step is compared with, where the steps before apply.
    fn values<'t>(
        &'t self,
        path: &Option<String>,
        before: &'a [Step],
        step: &'a Step,
    ) -> &'t [&'a Step] {
        let before = (path.clone(), before.iter().map(texts).collect());
        self.values.get(&(before, step.key.as_str())).map_or(&[], Vec::as_slice)
    }

    /// Finds a rule for any value of a key beside one whose pattern describes every value.
    fn never_found(&self, rule: &'a Rule) -> Option<String> {
        let path = rule.path.as_ref().map(|path| path.canonical());
        let hidden = |(at, step): (usize, &'a Step)| {
            let is_any = |other: &&Step| other.value.as_ref().is_some_and(|value| value.is_any());
            let others = self.values(&path, &rule.steps[..at], step);
            (step.value.is_none() && others.iter().any(is_any)).then_some(step)
        };
        let step = rule.steps.iter().enumerate().find_map(hidden)?;
        let key = &step.key;
        Some(format!(
            "it never applies: another rule for `{key}` has the value `*`, which is more specific"
        ))
    }

    /// Finds a rule that never decides: another one counts all of its requests, together with others, and allows no more.
    fn never_decides(&self, rule: &'a Rule) -> Option<String> {
        let path = rule.path.as_ref().map(|path| path.canonical());
        let around = |path: &Option<String>, len: usize| {
            let steps = rule.steps[..len].iter().map(texts).collect();
            self.by_scope.get(&(path.clone(), steps)).copied()
        };
        let same_path = (0..rule.steps.len()).filter_map(|len| around(&path, len));
        // Of the rules without a path, only if they have none with a more specific value.
        let is_alone = |len: usize| {
            rule.steps[..len].iter().enumerate().all(|(at, step)| {
                let others = self.values(&None, &rule.steps[..at], step);
                step.value.as_ref().is_some_and(|value| value.is_exact())
                    || others.iter().all(|other| other.value == step.value)
            })
        };
        let lengths = (0..=rule.steps.len()).filter(|_| path.is_some());
        let no_path = lengths.filter(|len| is_alone(*len)).filter_map(|len| around(&None, len));
        let outer = same_path.chain(no_path).find(|outer| allows_no_more(outer, rule))?;
        let hint = match (&outer.path, &rule.path) {
            (None, Some(_)) => ". Rules without a path apply to every path",
            _ => "",
        };
        let outer = shown(outer);
        Some(format!(
            "it can never decide: the rule {outer} counts the same requests too, and allows no more{hint}"
        ))
    }
}

/// Returns whether `outer`, which counts all requests of `inner` and maybe others, refuses whatever `inner` does.
fn allows_no_more(outer: &Rule, inner: &Rule) -> bool {
    let (Some(a), Some(b)) = (&outer.limit, &inner.limit) else { return false };
    let scaled = |of: u32, weight: u32| u64::from(of) * u64::from(weight);
    let same_kind = (a.algorithm(), a.period()) == (b.algorithm(), b.period());
    // Without a storage, the inner one decides if only it denies.
    let decides_without_storage = inner.denies_without_storage() && !outer.denies_without_storage();
    !outer.is_shadow
        && !inner.is_shadow
        && !decides_without_storage
        && (a.capacity() == 0
            || same_kind
                && scaled(a.requests(), inner.weight) <= scaled(b.requests(), outer.weight)
                && scaled(a.burst(), inner.weight) <= scaled(b.burst(), outer.weight))
}

fn shown(rule: &Rule) -> String {
    match rule.line() {
        Some(line) => format!("`{}` in line {line}", rule.name),
        None => format!("`{}`", rule.name),
    }
}
