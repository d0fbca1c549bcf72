//! Orders that turn up after all.
//!
//! A caller whose order was absent, or of unknown outcome, was answered, and goes on. If the order appears later it
//! has to be told. Nothing is read for that alone: every order book that is read through the guard is looked
//! over for the orders without a final answer that nobody waits for.

use std::sync::Arc;

use super::find::Intent;
use super::intents::End;
use super::recover::{Recovered, Recovery};
use super::shared::Shared;
use crate::broker::{Broker, BrokerError, Order, Rows};
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
        let turned_up = self.intents.take_those_in(|intent| self.turned_up(intent, book));
        for (intent, outcome) in turned_up {
            let id = match &outcome {
                Recovered::Placed(id) => Some(id),
                Recovered::PartlyPlaced(order) => order.names().next(),
                _ => None,
            };
            let end = id.map_or(End::NotPlaced, |id| End::Placed(id.clone()));
            self.intents.note_late(&intent.tag, &end);
            let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
            self.hooks.turned_up.tell(&Recovery { tag, at, order, outcome });
        }
    }

    /// What the book shows of an order, if that is the last word.
    fn turned_up(&self, intent: &Intent, book: &[Order]) -> Option<Recovered> {
        let shown = self.found(intent, book)?;
        shown.is_final(self.sends_twice()).then(|| Recovered::of(shown.order))
    }
}
