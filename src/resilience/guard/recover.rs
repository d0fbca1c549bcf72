//! What became of the orders without a final answer.

use jiff::Timestamp;

use super::find::Intent;
use super::intents::{End, Flight};
use super::known::BEHIND;
use super::patience::{Look, Unsettled};
use super::shared::{Shared, Sought};
use crate::broker::{
    Absence, Broker, BrokerError, Detail, Order, OrderId, OrderRequest, Seen, SlicedOrder,
};

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
    /// Some slices of it are in the broker's book, and some were refused, or are absent as the whole order would
    /// be. If a slice is of unknown outcome, the order will be asked after again.
    PartlyPlaced(Box<SlicedOrder>),
    /// It is in the broker's book, and was rejected.
    Rejected(Detail),
    /// It is not in the broker's book: a book of the same day was read, the settle time after the process that
    /// was to send it was gone, and does not show it. It may never have been sent. It is not asked after
    /// again; if it turns up after all, [`on_turned_up`](super::OrderGuardBuilder::on_turned_up) is told. Never said
    /// of an order of which this process heard that the broker refused a second sending as a duplicate; what an
    /// earlier process heard is not in the journal.
    Absent(Absence),
    /// Nothing is known, and it will be asked after again. The words say why: the book could not
    /// be read, is of another day than the order, does not show tags, has a row that cannot be read, or
    /// has an order of the same tag of the caller's that by its time is another. Once you know from
    /// elsewhere, [`forget`](super::OrderGuard::forget) it.
    Unknown(Detail),
}

impl Recovered {
    /// What an order that was found shows.
    pub(super) fn of(order: SlicedOrder) -> Self {
        match order.whole() {
            Ok(id) => Self::Placed(id),
            Err(BrokerError::PartlyPlaced(order)) => Self::PartlyPlaced(order),
            Err(BrokerError::Rejected(detail)) => Self::Rejected(detail),
            Err(other) => match other.absence() {
                Some(absence) => Self::Absent(*absence),
                None => Self::Unknown(Detail::new(other.to_string())),
            },
        }
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
        let (twice, until) = (self.sends_twice(), self.patience.until(since));
        let settled = self.search(since, |last| {
            let book = match self.read_book(broker, until) {
                Ok(book) => book,
                Err(error) => return Look::Failed(error),
            };
            // One of another day is in no book of this one.
            let is_behind = open.iter().any(|flight| {
                self.intents.is_of_today(flight.intent.at)
                    && flight.known(|known| known.is_ahead_of(&book))
            });
            let mut unclear = None;
            for flight in std::mem::take(&mut open) {
                let intent = &*flight.intent;
                let sought = Sought { intent, twice, lost: None };
                let rows = self.rows_for(intent, &book);
                let words = match self.look_for(sought, &flight, rows, &book, last) {
                    Look::Settled(order) => {
                        found.push((flight, Recovered::of(order)));
                        continue;
                    }
                    Look::Unclear(words) => Some(words),
                    Look::NotYet | Look::Failed(_) => is_behind.then(|| BEHIND.to_owned()),
                };
                match words {
                    Some(words) if last.is_some() => {
                        let words = self.in_words(intent, &Unsettled::Unclear(words));
                        found.push((flight, Recovered::Unknown(Detail::new(words))));
                    }
                    words => {
                        unclear = unclear.or(words);
                        open.push(flight);
                    }
                }
            }
            // What is of another day will not appear any more.
            let may_appear = open.iter().any(|flight| self.intents.is_of_today(flight.intent.at));
            match unclear {
                _ if !may_appear => Look::Settled(()),
                // Of one order it is unclear: the look is no evidence for the others either.
                Some(words) => Look::Unclear(words),
                None => Look::NotYet,
            }
        });
        found.extend(open.into_iter().map(|flight| {
            let intent = &*flight.intent;
            let is_there = flight.known(|known| known.is_there);
            let is_of_today = self.intents.is_of_today(intent.at);
            let (words, seen) = match &settled {
                Err(Unsettled::Absent(absence)) if is_of_today && !is_there => {
                    (self.in_words(intent, &Unsettled::Absent(*absence)), Seen::Absent(*absence))
                }
                // Only what is of another day is still open then.
                Ok(()) => (self.of_another_day(intent), Seen::Unclear),
                Err(_) if is_there => (self.not_shown(intent), Seen::Unclear),
                Err(other @ Unsettled::Unread(_)) => (self.in_words(intent, other), Seen::Unread),
                Err(other) => (self.in_words(intent, other), Seen::Unclear),
            };
            // A postback may have come since the last look.
            let so_far = flight.known(|known| self.so_far(known, intent, (&words, seen)));
            let outcome = match (so_far, seen) {
                (Some(order), _) => Recovered::of(order),
                (None, Seen::Absent(absence)) => Recovered::Absent(absence),
                (None, _) => Recovered::Unknown(Detail::new(words)),
            };
            (flight, outcome)
        }));
        found.into_iter().map(conclude).collect()
    }

    /// The rows of a book that may be an order, which may be of another day than the book. A tag of the caller's
    /// may be on another order by now, which only its time would tell.
    pub(super) fn rows_for<'a>(
        &self,
        intent: &Intent,
        book: &'a [Order],
    ) -> impl Iterator<Item = &'a Order> + use<'a> {
        let takes_all = !intent.own || self.intents.is_of_today(intent.at);
        book.iter().filter(move |order| takes_all || order.placed_at.is_some())
    }
}

fn conclude((flight, outcome): (Flight<'_>, Recovered)) -> Recovery {
    let intent = &flight.intent;
    let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
    match &outcome {
        Recovered::Placed(id) => flight.end(&End::Placed(id.clone())),
        Recovered::PartlyPlaced(order) => flight.recovered_in_slices(order),
        Recovered::Rejected(_) => flight.end(&End::NotPlaced),
        Recovered::Absent(_) => flight.end_absent(&End::NotPlaced),
        Recovered::Unknown(_) => drop(flight),
    }
    Recovery { tag, at, order, outcome }
}
