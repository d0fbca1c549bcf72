//! Finds the rules of a request.
//!
//! The rules are a tree: each level tells requests apart by the values of some keys, and a node has a rule, further
//! levels, or both. Rules of ours look for each key of a level among the entries of a request, in any order, and a node
//! applies together with those below it. Rules of envoy follow the entries of a descriptor one by one, and only a node
//! at the depth of the last entry applies.

use std::collections::HashMap;

use super::path::{PathPattern, normal};
use super::rule::{Rule, Step};
use super::value::ValuePattern;
use super::{Match, Matches};
use crate::limiter::request::{Entries, Request};
use crate::limiter::storage::Picks;

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
    /// The place of a rule. `None` if there are only rules below.
    rule: Option<u32>,
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
    pub(super) fn new(rules: &[Rule], matching: Matching) -> Self {
        let mut tree = Self { matching, ..Self::default() };
        let mut at: HashMap<String, usize> = HashMap::new();
        for (place, rule) in (0..).zip(rules) {
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
            root.add(place, &rule.steps);
        }
        tree.paths.sort_by(|(a, _), (b, _)| b.precision().cmp(&a.precision()));
        tree.everywhere.sort(matching);
        for (_, root) in &mut tree.paths {
            root.sort(matching);
        }
        tree
    }

    #[inline]
    pub(super) fn find(&self, request: &Request<'_>, found: &mut Matches) {
        let of_path = (!self.paths.is_empty()).then(|| {
            let path = normal(request.path());
            self.paths.iter().find(|(pattern, _)| pattern.matches_normal(&path))
        });
        let of_path = of_path.flatten().map(|(_, root)| root);
        for root in of_path.into_iter().chain([&self.everywhere]) {
            match self.matching {
                Matching::Entries => root.by_entries(request, Picks::default(), found),
                Matching::Descriptors => {
                    for (descriptor, entries) in request.descriptors() {
                        root.by_descriptor(descriptor, entries, found);
                    }
                }
            }
        }
    }
}

impl Node {
    fn add(&mut self, rule: u32, steps: &[Step]) {
        let Some((step, rest)) = steps.split_first() else {
            self.rule = Some(rule);
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

    fn by_entries(&self, request: &Request<'_>, picks: Picks, found: &mut Matches) {
        if let Some(rule) = self.rule {
            found.push(Match { rule, picks, descriptor: None });
        }
        for key in &self.keys {
            let Some((place, value)) = request.find(&key.name) else { continue };
            let Some(branch) = key.branch(value) else { continue };
            let mut picks = picks;
            if branch.tells_values_apart {
                picks.push(place);
            }
            branch.node.by_entries(request, picks, found);
        }
    }

    fn by_descriptor(&self, descriptor: Option<u32>, entries: &Entries<'_>, found: &mut Matches) {
        let (mut node, mut picks) = (self, Picks::default());
        for (place, (name, value)) in entries.iter().enumerate() {
            let key = node.keys.iter().find(|key| key.name == *name);
            let Some(branch) = key.and_then(|key| key.branch(value)) else { return };
            if branch.tells_values_apart {
                picks.push(place);
            }
            node = &branch.node;
        }
        if let Some(rule) = node.rule {
            found.push(Match { rule, picks, descriptor });
        }
    }
}

impl Key {
    /// Returns the branch with the most specific value.
    #[inline]
    fn branch(&self, value: &str) -> Option<&Branch> {
        let exact = self.exact.get(value);
        let pattern = || self.patterns.iter().find(|(pattern, _)| pattern.matches(value));
        exact.or_else(|| pattern().map(|(_, branch)| branch)).or(self.any.as_ref())
    }
}
