//! Normal calls that wait until the circuit breaker of their route class lets calls through again.
//!
//! `scheduler.rs` keeps them here, outside the user queues, so that a selection pass does not have to skip them.

use std::collections::BTreeMap;

use super::priority_level::{Job, QueueEntry};
use crate::lane::call::CallMeta;
use crate::lane::workers::route_breakers::BlockedRoute;
use crate::quota::Moment;

/// Held calls by route class. There are few classes, so a list suffices.
#[derive(Default)]
pub(super) struct HeldCalls(Vec<RouteCalls>);

struct RouteCalls {
    route: &'static str,
    calls: BTreeMap<u64, QueueEntry>,
    /// When the last half-open period failed, as of the latest poll of the blocked route.
    last_failed_half_open: Option<Moment>,
}

impl HeldCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of calls held for a route class.
    pub(super) fn count(&self, route: &'static str) -> usize {
        self.route(route).map_or(0, |entry| entry.calls.len())
    }

    fn route(&self, route: &'static str) -> Option<&RouteCalls> {
        self.0.iter().find(|entry| entry.route == route)
    }

    pub(super) fn hold(&mut self, route: &'static str, entries: Vec<QueueEntry>) {
        if entries.is_empty() {
            return;
        }
        let numbered = entries.into_iter().map(|entry| (entry.job.meta().number, entry));
        match self.0.iter_mut().find(|entry| entry.route == route) {
            Some(entry) => entry.calls.extend(numbered),
            None => self.0.push(RouteCalls {
                route,
                calls: numbered.collect(),
                last_failed_half_open: None,
            }),
        }
    }

    /// Records when the route's last half-open period failed. Returns whether another one failed since the last call.
    pub(super) fn note_failed_half_open(&mut self, blocked: &BlockedRoute) -> bool {
        let entry = self.0.iter_mut().find(|entry| entry.route == blocked.route);
        entry.is_some_and(|entry| {
            std::mem::replace(&mut entry.last_failed_half_open, blocked.last_failed_half_open)
                != blocked.last_failed_half_open
        })
    }

    /// Returns the calls of a route class for which `matches` holds.
    pub(super) fn matching(
        &self,
        route: &'static str,
        matches: impl Fn(&CallMeta) -> bool,
    ) -> Vec<Job> {
        let calls = self.route(route).into_iter().flat_map(|entry| entry.calls.values());
        calls.map(|entry| &entry.job).filter(|job| matches(job.meta())).cloned().collect()
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &Job> {
        self.0.iter().flat_map(|entry| entry.calls.values()).map(|entry| &entry.job)
    }

    pub(super) fn remove(&mut self, meta: &CallMeta) -> Option<QueueEntry> {
        let index = self.0.iter().position(|entry| entry.route == meta.route)?;
        let entry = self.0[index].calls.remove(&meta.number)?;
        if self.0[index].calls.is_empty() {
            self.0.swap_remove(index);
        }
        Some(entry)
    }

    /// Removes and returns the calls whose route class is no longer blocked, in the order of submission.
    pub(super) fn release(&mut self, is_blocked: impl Fn(&'static str) -> bool) -> Vec<QueueEntry> {
        let all = std::mem::take(&mut self.0).into_iter();
        let (blocked, unblocked): (Vec<_>, Vec<_>) = all.partition(|entry| is_blocked(entry.route));
        self.0 = blocked;
        let released: BTreeMap<_, _> =
            unblocked.into_iter().flat_map(|entry| entry.calls).collect();
        released.into_values().collect()
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = QueueEntry> {
        self.0.into_iter().flat_map(|entry| entry.calls.into_values())
    }
}
