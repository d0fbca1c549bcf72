//! The calls that wait until the broker answers those of their route class again.
//!
//! They stand beside the lines, so that no look at whose turn it is has to pass them by.

use std::collections::BTreeMap;

use super::priority_level::{Job, QueueEntry};
use crate::lane::call::CallMeta;
use crate::lane::workers::route_breakers::BlockedRoute;
use crate::quota::Moment;

/// By their routes. There are few.
#[derive(Default)]
pub(super) struct HeldCalls(Vec<RouteCalls>);

struct RouteCalls {
    route: &'static str,
    calls: BTreeMap<u64, QueueEntry>,
    /// The trial in vain of which they have heard.
    last_failed_half_open: Option<Moment>,
}

impl HeldCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are of a route.
    pub(super) fn count(&self, route: &'static str) -> usize {
        self.route(route).map_or(0, |known| known.calls.len())
    }

    fn route(&self, route: &'static str) -> Option<&RouteCalls> {
        self.0.iter().find(|known| known.route == route)
    }

    pub(super) fn hold(&mut self, route: &'static str, entries: Vec<QueueEntry>) {
        if entries.is_empty() {
            return;
        }
        let numbered = entries.into_iter().map(|entry| (entry.job.meta().number, entry));
        match self.0.iter_mut().find(|known| known.route == route) {
            Some(known) => known.calls.extend(numbered),
            None => self.0.push(RouteCalls {
                route,
                calls: numbered.collect(),
                last_failed_half_open: None,
            }),
        }
    }

    /// Whether there was another trial in vain since this was asked last.
    pub(super) fn note_failed_half_open(&mut self, down: &BlockedRoute) -> bool {
        let known = self.0.iter_mut().find(|known| known.route == down.route);
        known.is_some_and(|known| {
            std::mem::replace(&mut known.last_failed_half_open, down.last_failed_half_open)
                != down.last_failed_half_open
        })
    }

    /// Those of a route of which this is true.
    pub(super) fn matching(
        &self,
        route: &'static str,
        is_so: impl Fn(&CallMeta) -> bool,
    ) -> Vec<Job> {
        let calls = self.route(route).into_iter().flat_map(|known| known.calls.values());
        calls.map(|entry| &entry.job).filter(|job| is_so(job.meta())).cloned().collect()
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &Job> {
        self.0.iter().flat_map(|known| known.calls.values()).map(|entry| &entry.job)
    }

    pub(super) fn remove(&mut self, info: &CallMeta) -> Option<QueueEntry> {
        let index = self.0.iter().position(|known| known.route == info.route)?;
        let entry = self.0[index].calls.remove(&info.number)?;
        if self.0[index].calls.is_empty() {
            self.0.swap_remove(index);
        }
        Some(entry)
    }

    /// Those whose route is down no more, in the order in which they came.
    pub(super) fn release(&mut self, is_down: impl Fn(&'static str) -> bool) -> Vec<QueueEntry> {
        let all = std::mem::take(&mut self.0).into_iter();
        let (down, up): (Vec<_>, Vec<_>) = all.partition(|known| is_down(known.route));
        self.0 = down;
        let released: BTreeMap<_, _> = up.into_iter().flat_map(|known| known.calls).collect();
        released.into_values().collect()
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = QueueEntry> {
        self.0.into_iter().flat_map(|known| known.calls.into_values())
    }
}
