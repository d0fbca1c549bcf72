//! What became of a write whose answer is lost.

use super::change;
use super::evidence::Evidence;
use super::intents::Flight;
use super::order_guard::OrderGuard;
use super::patience::{Look, Unsettled};
use super::shared::Sought;
use crate::Sent;
use crate::broker::{
    Broker, BrokerError, LookupResult, Order, OrderId, OrderLookup, SlicedOrder, TagSupport,
};

impl<B: Broker> OrderGuard<B> {
    /// What became of an order whose answer is `lost`, slice by slice. Where the broker enforces unique
    /// tags it is sent `again`, once.
    pub(super) fn find_out(
        &self,
        flight: &Flight<'_>,
        lost: BrokerError,
        again: impl FnOnce() -> Result<SlicedOrder, BrokerError>,
    ) -> Result<SlicedOrder, BrokerError> {
        let shared = self.shared();
        let mut twice = false;
        let intent = &*flight.intent;
        if let TagSupport::Unique { duplicate } = shared.support.support() {
            match again() {
                Ok(order) => return Ok(order),
                // Any other refusal leaves open what became of the first.
                Err(error) => {
                    let is_there = is_refused_as(&error, duplicate);
                    flight.known(|known| known.is_there = is_there);
                    twice = error.was_sent() != Sent::No;
                }
            }
        }
        let sought = Sought { intent, twice, lost: lost.detail() };
        let mut evidence = Evidence::since(shared.patience.clock.now());
        // Before the search, too: a panic may end it.
        flight.keep(evidence);
        let (until, leave) = (shared.patience.until(), self.leaves());
        let begun = flight.known(|known| known.begun);
        let settled = shared.search(&mut evidence, leave, |turn| {
            let book = match shared.read_book(self.lookups(), until, leave) {
                Ok(book) => book,
                Err(error) => return Look::Failed(error),
            };
            let rows = shared.candidates(intent, begun, &book);
            match shared.look_for(sought, flight, &rows, &book, turn) {
                Look::Settled(order) => Look::Settled(Ok(order)),
                Look::NotYet => Look::NotYet,
                Look::Unclear(words) => Look::Unclear(words),
                Look::Failed(error) => Look::Failed(error),
            }
        });
        flight.keep(evidence);
        settled.unwrap_or_else(|unsettled| {
            let is_of_today = shared.intents.is_of_today(intent.at);
            let is_there = flight.known(|known| known.is_there);
            let words = match is_there {
                true => shared.not_shown(intent),
                false => shared.in_words(intent, &unsettled),
            };
            let seen = match unsettled {
                Unsettled::Absent(absence) if is_of_today && !is_there => {
                    LookupResult::Absent(absence)
                }
                Unsettled::NotYet if is_of_today && !is_there => LookupResult::NotYet,
                Unsettled::Absent(_) | Unsettled::Unclear(_) | Unsettled::NotYet => {
                    LookupResult::Unclear
                }
                Unsettled::Unread(_) => LookupResult::Unreadable,
            };
            match flight.known(|known| shared.so_far(known, intent, (&words, seen))) {
                Some(order) => Ok(order),
                None => Err(unknown(lost, &words, Some(intent.tag.clone()), seen)),
            }
        })
    }

    /// Cancels an order by `send`, and once more if the outcome is unknown: two cancellations do what one
    /// does, and the caller wants to be out. After that the order is looked at.
    pub(super) fn cancel(
        &self,
        id: &OrderId,
        send: impl Fn() -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        match send() {
            Err(lost) if is_open(&lost) => match send() {
                Ok(()) => Ok(()),
                Err(_) => self.look_at(id, lost, change::cancelled),
            },
            known => known,
        }
    }

    /// What became of a write to an order that has an id, by looks at the order.
    pub(super) fn look_at<A>(
        &self,
        id: &OrderId,
        lost: BrokerError,
        verdict: impl Fn(&Order) -> Look<Result<A, BrokerError>>,
    ) -> Result<A, BrokerError> {
        let patience = &self.shared().patience;
        let mut last = None;
        let evidence = &mut Evidence::since(patience.clock.now());
        let settled =
            patience.settle(evidence, self.leaves(), |_| match self.lookups().order(id) {
                Ok(order) => {
                    let look = verdict(&order);
                    last = Some(order.status);
                    look
                }
                Err(error) => Look::Failed(error),
            });
        settled.unwrap_or_else(|unsettled| {
            let settle = patience.settle;
            let (words, seen) = match (unsettled, last) {
                (Unsettled::Absent(absence), status) => {
                    let words = match status {
                        Some(status) => format!("order {id} is {status} and as before"),
                        None => format!("order {id} does not show it"),
                    };
                    (format!("{settle:?} later {words}: {absence}"), LookupResult::Absent(absence))
                }
                (Unsettled::NotYet, _) => (
                    format!("order {id} did not show it by the time its caller left"),
                    LookupResult::NotYet,
                ),
                (Unsettled::Unclear(words), _) => {
                    (format!("{settle:?} later {words}"), LookupResult::Unclear)
                }
                (Unsettled::Unread(error), _) => (
                    format!("order {id} could not be looked at in time: {error}"),
                    LookupResult::Unreadable,
                ),
            };
            Err(unknown(lost, &words, None, seen))
        })
    }
}

/// Whether nobody knows if it was done.
pub(super) fn is_open(error: &BrokerError) -> bool {
    error.was_sent() == Sent::Unknown
}

fn is_refused_as(error: &BrokerError, code: &str) -> bool {
    matches!(error, BrokerError::Rejected(detail) if detail.code.as_deref() == Some(code))
}

/// The error `lost`, with what is known besides. Where the book was read cleanly and does not show the write,
/// that is more than an unknown outcome.
pub(super) fn unknown(
    lost: BrokerError,
    words: &str,
    tag: Option<String>,
    seen: LookupResult,
) -> BrokerError {
    let detail = lost.detail().cloned().unwrap_or_default();
    let detail = detail.and(words).lookup(OrderLookup::new(tag, seen));
    match seen {
        LookupResult::Absent(_) => BrokerError::Absent(detail),
        LookupResult::NotYet | LookupResult::Unclear | LookupResult::Unreadable => {
            BrokerError::OutcomeUnknown(detail)
        }
    }
}
