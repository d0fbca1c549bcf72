//! Everything that has been seen of one order.
//!
//! An order book may come from a server that lags behind an earlier one, and a postback shows a single slice. So an
//! order that was seen once stays known, whichever search saw it and whether or not its caller still waits: it is
//! never absent after that, and its slices add up.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::Intent;
use super::order_in_book::OrderInBook;
use crate::broker::{Order, OrderId, SlicedOrder};

/// Everything that has been seen of one order, by reads and postbacks.
#[derive(Debug, Clone, Default)]
pub(in crate::order_guard) struct ObservedOrder {
    /// The orders that are this one, or slices of it, each as it was seen last.
    orders: BTreeMap<OrderId, Order>,
    /// The orders whose placement was reported.
    reported: BTreeSet<OrderId>,
    /// The last read before it was sent, by the numbers of `BookHistory`.
    pub(in crate::order_guard) last_read_before_send: u64,
    /// Whether the broker refused a second sending as a duplicate of the first.
    pub(in crate::order_guard) is_known_to_broker: bool,
}

/// Why an order is not absent although an order book does not show it, for error messages.
pub(in crate::order_guard) const STALE_BOOK: &str =
    "it lacks an order that was seen before, so it is stale";

impl ObservedOrder {
    /// Records what these rows show of the order. Returns whether they show any of it. A row that shows an order
    /// as open after one that showed it as final is stale: brokers deliver updates out of order, and servers lag behind.
    pub(in crate::order_guard) fn record<'a>(
        &mut self,
        intent: &Intent,
        rows: impl IntoIterator<Item = &'a Order>,
    ) -> bool {
        let mut is_shown = false;
        for order in rows.into_iter().filter(|order| intent.matches(order)) {
            is_shown = true;
            let known = self.orders.get(&order.id);
            if known.is_some_and(|known| known.status.is_final()) && !order.status.is_final() {
                continue;
            }
            self.orders.insert(order.id.clone(), order.clone());
        }
        is_shown
    }

    /// Returns everything that was seen of the order.
    pub(in crate::order_guard) fn order_in_book(&self, intent: &Intent) -> Option<OrderInBook> {
        intent.find_in_book(self.orders.values())
    }

    /// Records a complete order book, whose `rows` may be this order, and returns everything that was seen. If the
    /// order book lags behind, what it does not show is not absent.
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

    /// Returns whether this order book lags behind an earlier read: it lacks an order that was seen there.
    pub(in crate::order_guard) fn is_ahead_of(&self, book: &[Order]) -> bool {
        self.orders.keys().any(|id| !book.iter().any(|order| order.id == *id))
    }

    /// Marks the placed slices as reported. Returns whether one of them was not reported before.
    pub(in crate::order_guard) fn mark_reported(&mut self, order: &SlicedOrder) -> bool {
        let before = self.reported.len();
        self.reported.extend(order.placed().cloned());
        self.reported.len() > before
    }
}
