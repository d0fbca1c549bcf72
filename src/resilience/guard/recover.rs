//! What became of the orders without a final answer.

use jiff::Timestamp;

use super::evidence::Evidence;
use super::find::Intent;
use super::intents::{End, Flight};
use super::known::BEHIND;
use super::patience::{Look, Unsettled};
use super::shared::{Shared, Sought};
use crate::broker::{
    Absence, Broker, BrokerError, ErrorDetail, LookupResult, Order, OrderId, OrderLookup,
    OrderRequest, SlicedOrder,
};
use crate::quota::Moment;

/// An order without a final answer, and what was found out about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredOrder {
    /// The tag it was sent with.
    pub tag: String,
    /// When it was about to be sent, by the clock on this machine's wall.
    pub at: Timestamp,
    /// The order, without its extra fields: those are not kept.
    pub order: OrderRequest,
    /// What became of it.
    pub outcome: RecoveredOutcome,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveredOutcome {
    /// It is in the broker's book under this id: open, filled or cancelled.
    Placed(OrderId),
    /// Some slices of it are in the broker's book, and some were refused, or are absent as the whole order would
    /// be. If a slice is of unknown outcome, the order will be asked after again.
    PartlyPlaced(Box<SlicedOrder>),
    /// It is in the broker's book, and was rejected.
    Rejected(ErrorDetail),
    /// It is not in the broker's book: a book of the same day was read twice, the settle time after the order was
    /// given up or the process that was to send it was gone, and does not show it. It may never have been sent. It is not asked after
    /// again; if it turns up after all, [`on_turned_up`](super::OrderGuardBuilder::on_turned_up) is told. Never said
    /// of an order of which this process heard that the broker refused a second sending as a duplicate; what an
    /// earlier process heard is not in the journal.
    Absent(Absence),
    /// Nothing is known, and it will be asked after again. Its trail has the tag and what was [`LookupResult`]; the words say
    /// why: the caller left before the settle time was over, the book could not
    /// be read, is of another day than the order, does not show tags, has a row that cannot be read, or
    /// has an order of the same tag of the caller's that by its time is another. Once you know from
    /// elsewhere, [`forget`](super::OrderGuard::abandon) it.
    Unknown(ErrorDetail),
}

impl RecoveredOutcome {
    /// What an order that was found shows.
    pub(super) fn of(order: SlicedOrder) -> Self {
        match order.complete() {
            Ok(id) => Self::Placed(id),
            Err(BrokerError::PartlyPlaced(order)) => Self::PartlyPlaced(order),
            Err(BrokerError::Rejected(detail)) => Self::Rejected(detail),
            Err(other) => match other.absence() {
                Some(absence) => Self::Absent(*absence),
                None => Self::Unknown(ErrorDetail::new(other.to_string())),
            },
        }
    }
}

impl Shared {
    /// Asks after these orders without a final answer, until all are found, until the evidence says of all that
    /// they are absent, or until the caller is to `leave`.
    ///
    /// What is found is noted at the very end: a process that dies before has told nobody, and the
    /// next one is to find it again.
    pub(super) fn ask_after(
        &self,
        mut open: Vec<Flight<'_>>,
        broker: &dyn Broker,
        leave: Option<Moment>,
    ) -> Vec<RecoveredOrder> {
        let mut found = Vec::with_capacity(open.len());
        let evidence = open.iter().map(Flight::evidence).reduce(Evidence::of_both);
        let Some(mut evidence) = evidence else { return Vec::new() };
        let (twice, until) = (self.sends_twice(), self.patience.until());
        let settled = self.search(&mut evidence, leave, |turn| {
            let book = match self.read_book(broker, until, leave) {
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
                let rows = self.rows_for(intent, flight.known(|known| known.begun), &book);
                let words = match self.look_for(sought, &flight, &rows, &book, turn) {
                    Look::Settled(order) => {
                        found.push((flight, RecoveredOutcome::of(order)));
                        continue;
                    }
                    Look::Unclear(words) => Some(words),
                    Look::NotYet | Look::Failed(_) => is_behind.then(|| BEHIND.to_owned()),
                };
                match words {
                    Some(words) if turn.is_late => {
                        let words = self.in_words(intent, &Unsettled::Unclear(words));
                        let outcome = self.not_found(&flight, words, LookupResult::Unclear);
                        found.push((flight, outcome));
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
            flight.keep(flight.evidence().after(evidence));
            let intent = &*flight.intent;
            let is_there = flight.known(|known| known.is_there);
            let is_of_today = self.intents.is_of_today(intent.at);
            let (words, seen) = match &settled {
                Err(Unsettled::Absent(absence)) if is_of_today && !is_there => (
                    self.in_words(intent, &Unsettled::Absent(*absence)),
                    LookupResult::Absent(*absence),
                ),
                // Only what is of another day is still open then.
                Ok(()) => (self.of_another_day(intent), LookupResult::Unclear),
                Err(_) if is_there => (self.not_shown(intent), LookupResult::Unclear),
                Err(other @ Unsettled::Unread(_)) => {
                    (self.in_words(intent, other), LookupResult::Unreadable)
                }
                Err(Unsettled::NotYet) if is_of_today => {
                    (self.in_words(intent, &Unsettled::NotYet), LookupResult::NotYet)
                }
                Err(other) => (self.in_words(intent, other), LookupResult::Unclear),
            };
            let outcome = self.not_found(&flight, words, seen);
            (flight, outcome)
        }));
        found.into_iter().map(conclude).collect()
    }

    /// What is to be said of an order that no look settled; in `words`, why.
    fn not_found(
        &self,
        flight: &Flight<'_>,
        words: String,
        seen: LookupResult,
    ) -> RecoveredOutcome {
        let intent = &*flight.intent;
        // A postback may have come since the last look.
        let so_far = flight.known(|known| self.so_far(known, intent, (&words, seen)));
        match (so_far, seen) {
            (Some(order), _) => RecoveredOutcome::of(order),
            (None, LookupResult::Absent(absence)) => RecoveredOutcome::Absent(absence),
            (None, _) => {
                let trail = OrderLookup::new(Some(intent.tag.clone()), seen);
                RecoveredOutcome::Unknown(ErrorDetail::new(words).lookup(trail))
            }
        }
    }

    /// The rows of a book that may be an order, which may be of another day than the book. A tag of the caller's
    /// may be on another order by now, which only its time would tell.
    pub(super) fn rows_for(&self, intent: &Intent, begun: u64, book: &[Order]) -> Vec<Order> {
        let mut rows = self.candidates(intent, begun, book);
        let takes_all = !intent.own || self.intents.is_of_today(intent.at);
        rows.retain(|order| takes_all || order.placed_at.is_some());
        rows
    }
}

fn conclude((flight, outcome): (Flight<'_>, RecoveredOutcome)) -> RecoveredOrder {
    let intent = &flight.intent;
    let (tag, at, order) = (intent.tag.clone(), intent.at, intent.order.clone());
    match &outcome {
        RecoveredOutcome::Placed(id) => flight.end(&End::Placed(id.clone())),
        RecoveredOutcome::PartlyPlaced(order) => flight.recovered_in_slices(order),
        RecoveredOutcome::Rejected(_) => flight.end(&End::NotPlaced),
        RecoveredOutcome::Absent(_) => flight.end_absent(&End::NotPlaced),
        RecoveredOutcome::Unknown(_) => drop(flight),
    }
    RecoveredOrder { tag, at, order, outcome }
}
