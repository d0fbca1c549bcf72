//! Orders that turn up after all.
//!
//! A caller whose order was absent, or of unknown outcome, was answered, and goes on. If the order appears later it
//! has to be told. Nothing is read for that alone: every order book that is read through the guard is looked
//! over for all orders without a final answer, and of those whose callers were answered this tells.

use std::sync::Arc;

use super::find::Intent;
use super::intents::{End, News};
use super::known::Known;
use super::recover::{RecoveredOrder, RecoveredOutcome};
use super::shared::Shared;
use crate::broker::{Broker, BrokerError, LookupResult, Order, Rows};
use crate::contain::contain;
use crate::quota::Moment;

impl Shared {
    /// Reads the order book for a search, and looks it over for other orders.
    pub(super) fn read_book(
        &self,
        broker: &dyn Broker,
        until: Moment,
        leave: Option<Moment>,
    ) -> Result<Arc<Rows<Order>>, BrokerError> {
        let book = self.book.read(broker, &self.patience, until, leave)?;
        self.look_over(&book, book.problems.is_empty());
        Ok(book)
    }

    /// Reads the book before the first order of an own tag on a day, so that what is in it is not taken for that order.
    /// Only once: if the book cannot be read, no order is to wait for it again. Orders that come meanwhile share the
    /// look. No lock is held: who is told of what the look finds may place an order.
    pub(super) fn read_baseline(&self, broker: &dyn Broker, leave: Option<Moment>) {
        let today = self.intents.today();
        if self.identity.has_baseline(today) || *self.identity.tried.lock() == Some(today) {
            return;
        }
        // A broker that panics says nothing, and the order itself will show it.
        let _ = contain(|| self.read_book(broker, self.patience.until(), leave));
        *self.identity.tried.lock() = Some(today);
    }

    /// Looks for all orders without a final answer, and tells of those that nobody waits for any more. Without a
    /// hook it only remembers what is here; `recover` tells then. It may be a whole book, or less.
    pub(super) fn look_over(&self, book: &[Order], is_whole: bool) {
        self.identity.note(self.intents.today(), book, is_whole);
        let turned_up = self.intents.look_over(|intent, known, is_left| {
            let is_here = known.note(intent, &self.rows_for(intent, known.begun, book));
            let is_told = is_here && is_left && self.hooks.turned_up.is_set();
            is_told.then(|| self.news(intent, known)).flatten()
        });
        for (intent, News { what: outcome, is_final }) in turned_up {
            if is_final {
                let id = match &outcome {
                    RecoveredOutcome::Placed(id) => Some(id),
                    RecoveredOutcome::PartlyPlaced(order) => order.names().next(),
                    _ => None,
                };
                let end = id.map_or(End::NotPlaced, |id| End::Placed(id.clone()));
                self.intents.note_late(&intent, &end);
            }
            let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
            self.hooks.turned_up.tell(&RecoveredOrder { tag, at, order, outcome });
        }
    }

    /// What is to be told of an order: the last word, or that another slice of it is in the market.
    fn news(&self, intent: &Intent, known: &mut Known) -> Option<News<RecoveredOutcome>> {
        let shown = known.shown(intent)?;
        if shown.is_final(self.sends_twice()) {
            return Some(News { what: RecoveredOutcome::of(shown.order), is_final: true });
        }
        let words = "it was not seen so far, while other slices of its order were";
        let order = self.so_far(known, intent, (words, LookupResult::Unclear))?;
        known.tell(&order).then(|| News { what: RecoveredOutcome::of(order), is_final: false })
    }
}
