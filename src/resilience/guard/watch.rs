//! Orders that turn up after all.
//!
//! A caller whose order was absent, or of unknown outcome, was answered, and goes on. If the order appears later it
//! has to be told. Nothing is read for that alone: every order book that is read through the guard is looked
//! over for the orders without a final answer that nobody waits for.

use std::sync::Arc;

use super::find::Intent;
use super::intents::{End, News};
use super::known::Known;
use super::recover::{Recovered, Recovery};
use super::shared::Shared;
use crate::broker::{Broker, BrokerError, Order, Rows, Seen};
use crate::quota::Moment;

impl Shared {
    /// Reads the order book for a search, and looks it over for other orders.
    pub(super) fn read_book(
        &self,
        broker: &dyn Broker,
        until: Moment,
    ) -> Result<Arc<Rows<Order>>, BrokerError> {
        let book = self.book.read(broker, &self.patience, until)?;
        self.look_over(&book);
        Ok(book)
    }

    /// Looks for orders that nobody waits for any more, and tells of those that are here.
    pub(super) fn look_over(&self, book: &[Order]) {
        if !self.hooks.turned_up.is_set() {
            return; // `recover` tells.
        }
        let turned_up = self.intents.look_over(|intent, known| self.turned_up(intent, known, book));
        for (intent, News { what: outcome, is_final }) in turned_up {
            let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
            if !is_final {
                self.hooks.turned_up.tell(&Recovery { tag, at, order, outcome });
                continue;
            }
            let id = match &outcome {
                Recovered::Placed(id) => Some(id),
                Recovered::PartlyPlaced(order) => order.names().next(),
                _ => None,
            };
            let end = id.map_or(End::NotPlaced, |id| End::Placed(id.clone()));
            self.intents.note_late(&intent.tag, &end);
            self.hooks.turned_up.tell(&Recovery { tag, at, order, outcome });
        }
    }

    /// What the book shows of an order, with all that was seen before: the last word, or that another slice of it
    /// is in the market.
    fn turned_up(
        &self,
        intent: &Intent,
        known: &mut Known,
        book: &[Order],
    ) -> Option<News<Recovered>> {
        if !book.iter().any(|order| intent.matches(order)) {
            return None;
        }
        let shown = self.see(intent, known, book)?;
        if shown.is_final(self.sends_twice()) {
            return Some(News { what: Recovered::of(shown.order), is_final: true });
        }
        let words = "it was not seen so far, while other slices of its order were";
        let order = self.so_far(known, intent, (words, Seen::Unclear))?;
        known.tell(&order).then(|| News { what: Recovered::of(order), is_final: false })
    }
}
