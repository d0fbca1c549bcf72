//! What became of the orders without a final answer.

use jiff::Timestamp;

use super::find::answer;
use super::intents::{End, Flight};
use super::order_guard::Shared;
use super::patience::{Look, Unsettled};
use crate::broker::{Broker, BrokerError, Detail, OrderId, OrderRequest};

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
    /// It is not in the market, and will not be: a book of the same day was read, the settle time
    /// after the process that was to send it was gone, and does not show it. It may never have been
    /// sent.
    NotPlaced,
    /// Nothing is known, and it will be asked after again. The words say why: the book could not
    /// be read, is of another day than the order, or does not show tags.
    Unknown(Detail),
}

impl Shared {
    /// Asks after all orders without a final answer.
    pub(super) fn recover(&self, broker: &dyn Broker) -> Vec<Recovery> {
        let (mut open, since) = self.intents.left();
        let mut recovered = Vec::with_capacity(open.len());
        if open.is_empty() {
            return recovered;
        }
        let settled = self.search(since, || {
            let book = match self.book.read(broker) {
                Ok(book) => book,
                Err(error) => return Look::Failed(error),
            };
            for flight in std::mem::take(&mut open) {
                match flight.intent.find(&book) {
                    Some(order) => {
                        let outcome = match answer(order) {
                            Ok(id) => Recovered::Placed(id),
                            Err(BrokerError::Rejected(detail)) => Recovered::Rejected(detail),
                            Err(other) => Recovered::Unknown(Detail::new(other.to_string())),
                        };
                        recovered.push(conclude(flight, outcome));
                    }
                    None => open.push(flight),
                }
            }
            if open.is_empty() { Look::Settled(()) } else { Look::NotYet }
        });
        let Err(unsettled) = settled else { return recovered };
        for flight in open {
            let unsettled = match &unsettled {
                Unsettled::NotDone if self.is_of_today(&flight.intent) => {
                    recovered.push(conclude(flight, Recovered::NotPlaced));
                    continue;
                }
                other => self.in_words(&flight.intent, other),
            };
            recovered.push(conclude(flight, Recovered::Unknown(Detail::new(unsettled))));
        }
        recovered
    }
}

fn conclude(flight: Flight<'_>, outcome: Recovered) -> Recovery {
    let intent = &flight.intent;
    let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
    match &outcome {
        Recovered::Placed(id) => flight.end(&End::Placed(id.clone())),
        Recovered::Rejected(_) | Recovered::NotPlaced => flight.end(&End::NotPlaced),
        Recovered::Unknown(_) => drop(flight),
    }
    Recovery { tag, at, order, outcome }
}
