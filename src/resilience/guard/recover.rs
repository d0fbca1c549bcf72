//! What became of the orders without a final answer.

use jiff::Timestamp;

use super::find::{Intent, is_in_doubt, placed};
use super::intents::{End, Flight};
use super::patience::{Look, Unsettled};
use super::shared::Shared;
use crate::broker::{Absence, Broker, Detail, Order, OrderId, OrderRequest};

/// An order without a final answer, and what was found out about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The tag it was sent with.
    pub tag: String,
    /// When it was about to be sent, by the clock on this machine's wall.
    pub at: Timestamp,
    /// The order, without its extra fields: those are not kept.
    pub order: OrderRequest,
    /// What became of it.
    pub outcome: Recovered,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// It is in the broker's book under this id: open, filled or cancelled.
    Placed(OrderId),
    /// It is in the broker's book, and was rejected.
    Rejected(Detail),
    /// It is not in the broker's book: a book of the same day was read, the settle time after the process that
    /// was to send it was gone, and does not show it. It may never have been sent. It is not asked after
    /// again; if it turns up after all, [`on_turned_up`](super::OrderGuardBuilder::on_turned_up) is told.
    Absent(Absence),
    /// Nothing is known, and it will be asked after again. The words say why: the book could not
    /// be read, is of another day than the order, does not show tags, has a row that cannot be read, or
    /// has an order of the same tag of the caller's that by its time is another. Once you know from
    /// elsewhere, [`forget`](super::OrderGuard::forget) it.
    Unknown(Detail),
}

impl Recovered {
    /// What an order that was found shows.
    pub(super) fn of(order: &Order) -> Self {
        placed(order).map_or_else(Self::Rejected, Self::Placed)
    }
}

impl Shared {
    /// Asks after all orders without a final answer.
    ///
    /// What is found is noted at the very end: a process that dies before has told nobody, and the
    /// next one is to find it again.
    pub(super) fn recover(&self, broker: &dyn Broker) -> Vec<Recovery> {
        let (mut open, since) = self.intents.left();
        let mut found = Vec::with_capacity(open.len());
        if open.is_empty() {
            return Vec::new();
        }
        let until = self.patience.until(since);
        let settled = self.search(since, |conclusive| {
            let book = match self.read_book(broker, until) {
                Ok(book) => book,
                Err(error) => return Look::Failed(error),
            };
            for flight in std::mem::take(&mut open) {
                match self.found(&flight.intent, &book) {
                    Some(order) if conclusive || !is_in_doubt(order) => {
                        found.push((flight, Recovered::of(order)));
                    }
                    None if conclusive => match flight.intent.may_be(&book) {
                        Some(words) => {
                            let words = Unsettled::Unclear(words);
                            let words = self.in_words(&flight.intent, &words);
                            found.push((flight, Recovered::Unknown(Detail::new(words))));
                        }
                        None => open.push(flight),
                    },
                    _ => open.push(flight),
                }
            }
            // What is of another day will not appear any more.
            let may_appear = open.iter().any(|flight| self.intents.is_of_today(flight.intent.at));
            if may_appear { Look::NotYet } else { Look::Settled(()) }
        });
        found.extend(open.into_iter().map(|flight| {
            let is_of_today = self.intents.is_of_today(flight.intent.at);
            let outcome = match &settled {
                Err(Unsettled::Absent(absence)) if is_of_today => Recovered::Absent(*absence),
                Err(other) => Recovered::Unknown(Detail::new(self.in_words(&flight.intent, other))),
                // Only what is of another day is still open then.
                Ok(()) => Recovered::Unknown(Detail::new(self.of_another_day(&flight.intent))),
            };
            (flight, outcome)
        }));
        found.into_iter().map(conclude).collect()
    }

    /// The order of an intent that may be of another day than the book. A tag of the caller's may be
    /// on another order by now, which only its time would tell.
    pub(super) fn found<'a>(&self, intent: &Intent, book: &'a [Order]) -> Option<&'a Order> {
        let order = intent.find(book)?;
        let told = !intent.own || order.placed_at.is_some() || self.intents.is_of_today(intent.at);
        told.then_some(order)
    }
}

fn conclude((flight, outcome): (Flight<'_>, Recovered)) -> Recovery {
    let intent = &flight.intent;
    let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
    match &outcome {
        Recovered::Placed(id) => flight.end(&End::Placed(id.clone())),
        Recovered::Rejected(_) => flight.end(&End::NotPlaced),
        Recovered::Absent(_) => flight.end_absent(),
        Recovered::Unknown(_) => drop(flight),
    }
    Recovery { tag, at, order, outcome }
}
