//! What is known of one order by all that was seen of it so far.
//!
//! A book may come from a server that is behind the one before, and a postback shows one slice alone. So what was
//! seen of an order once stays known, whoever read it and whether its caller waits or was answered: it is never
//! absent after that, and its slices add up.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::Intent;
use super::order_in_book::OrderInBook;
use crate::broker::{Order, OrderId, SlicedOrder};

/// What is known of one order.
#[derive(Debug, Clone, Default)]
pub(in crate::order_guard) struct ObservedOrder {
    /// The orders that were seen and are this one, or slices of it; each as it was seen last.
    orders: BTreeMap<OrderId, Order>,
    /// Those whose placement somebody was told of.
    reported: BTreeSet<OrderId>,
    /// What was read last before it was sent, as `BookHistory` numbers it.
    pub(in crate::order_guard) last_read_before_send: u64,
    /// The broker refused a second sending because it has the first.
    pub(in crate::order_guard) is_known_to_broker: bool,
}

/// Why a book says nothing of what it does not show.
pub(in crate::order_guard) const STALE_BOOK: &str =
    "it lacks an order that was seen before, so it is behind";

impl ObservedOrder {
    /// Adds what these rows show of the order. Says whether they show something of it.
    pub(in crate::order_guard) fn record<'a>(
        &mut self,
        intent: &Intent,
        rows: impl IntoIterator<Item = &'a Order>,
    ) -> bool {
        let mut any = false;
        for order in rows.into_iter().filter(|order| intent.matches(order)) {
            self.orders.insert(order.id.clone(), order.clone());
            any = true;
        }
        any
    }

    /// All that was seen of the order.
    pub(in crate::order_guard) fn order_in_book(&self, intent: &Intent) -> Option<OrderInBook> {
        intent.find_in_book(self.orders.values())
    }

    /// All that was seen of the order once a whole book was read, of which `rows` may be this order. If the book is
    /// behind, what it does not show is not absent.
    pub(in crate::order_guard) fn merge_book<'a>(
        &mut self,
        intent: &Intent,
        rows: impl IntoIterator<Item = &'a Order>,
        book: &[Order],
    ) -> Option<OrderInBook> {
        self.record(intent, rows);
        let mut shown = self.order_in_book(intent)?;
        if self.is_ahead_of(book) {
            shown.missing_doubt = Some(STALE_BOOK);
        }
        Some(shown)
    }

    /// Whether this book is behind another that was read: it lacks what was seen there.
    pub(in crate::order_guard) fn is_ahead_of(&self, book: &[Order]) -> bool {
        self.orders.keys().any(|id| !book.iter().any(|order| order.id == *id))
    }

    /// Somebody is told of the slices that were placed. Says whether one of them is news.
    pub(in crate::order_guard) fn mark_reported(&mut self, order: &SlicedOrder) -> bool {
        let before = self.reported.len();
        self.reported.extend(order.placed().cloned());
        self.reported.len() > before
    }
}
