//! What is known of one order by all that was seen of it so far.
//!
//! A book may come from a server that is behind the one before, and a postback shows one slice alone. So what was
//! seen of an order once stays known: it is never absent after that, and its slices add up.

use std::collections::{BTreeMap, BTreeSet};

use super::find::Intent;
use super::shown::Shown;
use crate::broker::{Order, OrderId, SlicedOrder};

/// What is known of one order.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The orders that were seen and are this one, or slices of it; each as it was seen last.
    seen: BTreeMap<OrderId, Order>,
    /// Those whose placement somebody was told of.
    told: BTreeSet<OrderId>,
    /// The broker refused a second sending because it has the first.
    pub(super) is_there: bool,
}

impl Known {
    /// Adds what these rows show of the order. Gives all that was seen of it.
    pub(super) fn see<'a>(
        &mut self,
        intent: &Intent,
        rows: impl IntoIterator<Item = &'a Order>,
    ) -> Option<Shown> {
        for order in rows.into_iter().filter(|order| intent.matches(order)) {
            self.seen.insert(order.id.clone(), order.clone());
        }
        self.shown(intent)
    }

    /// All that was seen of the order.
    pub(super) fn shown(&self, intent: &Intent) -> Option<Shown> {
        intent.shown(self.seen.values())
    }

    /// Somebody is told of the slices that were placed. Says whether one of them is news.
    pub(super) fn tell(&mut self, order: &SlicedOrder) -> bool {
        let before = self.told.len();
        self.told.extend(order.placed().cloned());
        self.told.len() > before
    }
}
