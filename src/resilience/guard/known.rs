//! What is known of one order by all that was seen of it so far.
//!
//! A book may come from a server that is behind the one before, and a postback shows one slice alone. So what was
//! seen of an order once stays known, whoever read it and whether its caller waits or was answered: it is never
//! absent after that, and its slices add up.

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
    /// What was read last before it was sent, as `Identity` numbers it.
    pub(super) begun: u64,
    /// The broker refused a second sending because it has the first.
    pub(super) is_there: bool,
}

/// Why a book says nothing of what it does not show.
pub(super) const BEHIND: &str = "it lacks an order that was seen before, so it is behind";

impl Known {
    /// Adds what these rows show of the order. Says whether they show something of it.
    pub(super) fn note<'a>(
        &mut self,
        intent: &Intent,
        rows: impl IntoIterator<Item = &'a Order>,
    ) -> bool {
        let mut any = false;
        for order in rows.into_iter().filter(|order| intent.matches(order)) {
            self.seen.insert(order.id.clone(), order.clone());
            any = true;
        }
        any
    }

    /// All that was seen of the order.
    pub(super) fn shown(&self, intent: &Intent) -> Option<Shown> {
        intent.shown(self.seen.values())
    }

    /// All that was seen of the order once a whole book was read, of which `rows` may be this order. If the book is
    /// behind, what it does not show is not absent.
    pub(super) fn look_into<'a>(
        &mut self,
        intent: &Intent,
        rows: impl IntoIterator<Item = &'a Order>,
        book: &[Order],
    ) -> Option<Shown> {
        self.note(intent, rows);
        let mut shown = self.shown(intent)?;
        if self.is_ahead_of(book) {
            shown.rest_doubt = Some(BEHIND);
        }
        Some(shown)
    }

    /// Whether this book is behind another that was read: it lacks what was seen there.
    pub(super) fn is_ahead_of(&self, book: &[Order]) -> bool {
        self.seen.keys().any(|id| !book.iter().any(|order| order.id == *id))
    }

    /// Somebody is told of the slices that were placed. Says whether one of them is news.
    pub(super) fn tell(&mut self, order: &SlicedOrder) -> bool {
        let before = self.told.len();
        self.told.extend(order.placed().cloned());
        self.told.len() > before
    }
}
