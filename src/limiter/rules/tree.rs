//! Finds the rules of a request.
//!
//! The rules are a tree: each level tells requests apart by the values of some keys, and a node has a rule, further
//! levels, or both. Rules of ours look for each key of a level among the entries of a request, in any order, and a node
//! applies together with those below it. Rules of envoy follow the entries of a descriptor one by one, and only a node
//! at the depth of the last entry applies.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::path::{PathPattern, normal};
use super::rule::{Rule, Step};
use super::value::ValuePattern;
use super::{Match, Matches};
use crate::limiter::request::{Entries, Request};

/// How the entries of a request are compared with the keys of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Matching {
    /// By key, in any order.
    #[default]
    Entries,
    /// As envoy's rate limit service: in their order, and all of them.
    Descriptors,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    matching: Matching,
    /// The rules without a path.
    everywhere: Node,
    /// The rules of each path, the most precise path first.
    paths: Vec<(PathPattern, Node)>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// `None` if there are only rules below.
    rule: Option<Arc<Rule>>,
    keys: Vec<Key>,
}

/// The rules of one level for one key.
#[derive(Debug, Clone)]
struct Key {
    name: String,
    exact: HashMap<String, Branch>,
    /// The most specific pattern first.
    patterns: Vec<(ValuePattern, Branch)>,
    any: Option<Branch>,
}

#[derive(Debug, Clone)]
struct Branch {
    tells_values_apart: bool,
    node: Node,
}

impl Tree {
    pub(super) fn new(rules: &[Arc<Rule>], matching: Matching) -> Self {
        let mut tree = Self { matching, ..Self::default() };
        let mut at: HashMap<String, usize> = HashMap::new();
        for rule in rules {
            let root = match &rule.path {
                None => &mut tree.everywhere,
                Some(path) => {
                    let at = *at.entry(path.canonical()).or_insert_with(|| {
                        tree.paths.push((path.clone(), Node::default()));
                        tree.paths.len() - 1
                    });
                    &mut tree.paths[at].1
                }
            };
            root.add(rule, &rule.steps);
        }
        tree.paths.sort_by(|(a, _), (b, _)| b.precision().cmp(&a.precision()));
        tree.everywhere.sort(matching);
        for (_, root) in &mut tree.paths {
            root.sort(matching);
        }
        tree
    }

    pub(super) fn matches<'r, 'a>(&'r self, request: &Request<'a>) -> Matches<'r, 'a> {
        let mut found = Matches::new();
        let of_path = (!self.paths.is_empty()).then(|| {
            let path = normal(request.path());
            self.paths.iter().find(|(pattern, _)| pattern.matches_normal(&path))
        });
        let of_path = of_path.flatten().map(|(_, root)| root);
        for root in of_path.into_iter().chain([&self.everywhere]) {
            match self.matching {
                Matching::Entries => root.by_entries(request, &mut SmallVec::new(), &mut found),
                Matching::Descriptors => {
                    for entries in request.descriptors() {
                        root.by_descriptor(entries, &mut found);
                    }
                }
            }
        }
        if found.iter().any(|it| !it.rule.replaces.is_empty()) {
            drop_replaced(&mut found);
        }
        found
    }
}

/// Leaves out the rules that another rule of the same request replaces.
fn drop_replaced(found: &mut Matches<'_, '_>) {
    let replaced: Vec<String> = found.iter().flat_map(|it| it.rule.replaces.clone()).collect();
    found.retain(|it| !it.rule.label.as_ref().is_some_and(|label| replaced.contains(label)));
}

impl Node {
    fn add(&mut self, rule: &Arc<Rule>, steps: &[Step]) {
        let Some((step, rest)) = steps.split_first() else {
            self.rule = Some(Arc::clone(rule));
            return;
        };
        let at = self.keys.iter().position(|key| key.name == step.key).unwrap_or_else(|| {
            let name = step.key.clone();
            self.keys.push(Key { name, exact: HashMap::new(), patterns: Vec::new(), any: None });
            self.keys.len() - 1
        });
        let key = &mut self.keys[at];
        let tells_values_apart = step.tells_values_apart();
        let branch = || Branch { tells_values_apart, node: Node::default() };
        let branch = match &step.value {
            None => key.any.get_or_insert_with(branch),
            Some(value) if value.is_exact() => {
                key.exact.entry(value.as_str().to_owned()).or_insert_with(branch)
            }
            Some(value) => {
                let at = key.patterns.iter().position(|(known, _)| known == value);
                let at = at.unwrap_or_else(|| {
                    key.patterns.push((value.clone(), branch()));
                    key.patterns.len() - 1
                });
                &mut key.patterns[at].1
            }
        };
        branch.node.add(rule, rest);
    }

    /// Orders patterns by how specific they are. Envoy tries them in the order of the file.
    fn sort(&mut self, matching: Matching) {
        for key in &mut self.keys {
            if matching == Matching::Entries {
                key.patterns.sort_by_key(|(value, _)| std::cmp::Reverse(value.precision()));
            }
            let patterns = key.patterns.iter_mut().map(|(_, branch)| branch);
            for branch in key.exact.values_mut().chain(patterns).chain(&mut key.any) {
                branch.node.sort(matching);
            }
        }
    }

    fn by_entries<'r, 'a>(
        &'r self,
        request: &Request<'a>,
        values: &mut SmallVec<[&'a str; 2]>,
        found: &mut Matches<'r, 'a>,
    ) {
        if let Some(rule) = &self.rule {
            found.push(Match { rule, values: values.clone() });
        }
        for key in &self.keys {
            let Some(value) = request.value(&key.name) else { continue };
            let Some(branch) = key.branch(value) else { continue };
            values.extend(branch.tells_values_apart.then_some(value));
            branch.node.by_entries(request, values, found);
            if branch.tells_values_apart {
                values.pop();
            }
        }
    }

    fn by_descriptor<'r, 'a>(&'r self, entries: &Entries<'a>, found: &mut Matches<'r, 'a>) {
        let (mut node, mut values) = (self, SmallVec::new());
        for (name, value) in entries {
            let key = node.keys.iter().find(|key| key.name == *name);
            let Some(branch) = key.and_then(|key| key.branch(value)) else { return };
            values.extend(branch.tells_values_apart.then_some(*value));
            node = &branch.node;
        }
        if let Some(rule) = &node.rule {
            found.push(Match { rule, values });
        }
    }
}

impl Key {
    /// Returns the branch with the most specific value.
    fn branch(&self, value: &str) -> Option<&Branch> {
        let exact = self.exact.get(value);
        let pattern = || self.patterns.iter().find(|(pattern, _)| pattern.matches(value));
        exact.or_else(|| pattern().map(|(_, branch)| branch)).or(self.any.as_ref())
    }
}
