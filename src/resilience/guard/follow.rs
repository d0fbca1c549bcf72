//! What became of a write whose answer is lost.

use super::change;
use super::find::{Intent, Shown};
use super::order_guard::OrderGuard;
use super::patience::{Look, Unsettled};
use super::shared::Shared;
use crate::Sent;
use crate::broker::{
    Broker, BrokerError, Detail, Order, OrderId, Rows, Seen, Slice, SlicedOrder, TagSupport, Trail,
};

impl<B: Broker> OrderGuard<B> {
    /// What became of an order whose answer is `lost`, slice by slice. Where the broker enforces unique
    /// tags it is sent `again`, once.
    pub(super) fn find_out(
        &self,
        intent: &Intent,
        lost: BrokerError,
        again: impl FnOnce() -> Result<SlicedOrder, BrokerError>,
    ) -> Result<SlicedOrder, BrokerError> {
        let shared = self.shared();
        let (mut there, mut twice) = (false, false);
        if let TagSupport::Unique { duplicate } = shared.support.support() {
            match again() {
                Ok(order) => return Ok(order),
                // Any other refusal leaves open what became of the first.
                Err(error) => {
                    there = is_refused_as(&error, duplicate);
                    twice = error.was_sent() != Sent::No;
                }
            }
        }
        let since = shared.patience.clock.now();
        let until = shared.patience.until(since);
        let settled = shared.search(since, |conclusive| {
            match shared.book.read(self.lookups(), &shared.patience, until) {
                Ok(book) => match intent.shown(&**book) {
                    Some(shown) if conclusive => {
                        Look::Settled(Ok(self.with_rest(intent, shown, &book, &lost)))
                    }
                    Some(shown) if shown.is_in_doubt => Look::NotYet,
                    // A rejected one may be the second, and the first still on its way.
                    Some(shown) if twice && shown.order.placed().next().is_none() => Look::NotYet,
                    Some(shown) => Look::Settled(Ok(shown.order)),
                    None => intent.may_be(&book).map_or(Look::NotYet, Look::Unclear),
                },
                Err(error) => Look::Failed(error),
            }
        });
        settled.unwrap_or_else(|unsettled| {
            let is_of_today = shared.intents.is_of_today(intent.at);
            let (words, seen) = match &unsettled {
                _ if there => {
                    let tag = &intent.tag;
                    let words =
                        format!("the broker has an order with the tag {tag}, and does not show it");
                    (words, Seen::Unread)
                }
                Unsettled::NotDone if is_of_today => {
                    (shared.in_words(intent, &unsettled), Seen::Nothing)
                }
                other => (shared.in_words(intent, other), Seen::Unread),
            };
            Err(unknown(lost, &words, Some(intent.tag.clone()), seen))
        })
    }

    /// What the last look shows of an order. The quantity that it does not show is of unknown outcome: it may
    /// have been refused, or never sent.
    fn with_rest(
        &self,
        intent: &Intent,
        shown: Shown,
        book: &Rows<Order>,
        lost: &BrokerError,
    ) -> SlicedOrder {
        let Shared { patience, intents, .. } = self.shared();
        let (tag, rest, of) = (&intent.tag, shown.rest, intent.order.quantity);
        shown.with_rest(|| {
            let words = format!(
                "{:?} later the order book shows no {rest} of {of} with the tag {tag}",
                patience.settle
            );
            let (words, seen) = match intent.may_be_unread(book) {
                Some(unread) => (format!("{words}; {unread}"), Seen::Unread),
                None if intents.is_of_today(intent.at) => (words, Seen::Nothing),
                None => (words, Seen::Unread),
            };
            Slice::unknown(traced(lost, &words, Some(tag.clone()), seen))
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
        let settled = patience.settle(patience.clock.now(), |_| match self.lookups().order(id) {
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
                (Unsettled::NotDone, Some(status)) => (
                    format!("{settle:?} later order {id} is {status} and as before"),
                    Seen::Nothing,
                ),
                (Unsettled::NotDone, None) => {
                    (format!("order {id} does not show it"), Seen::Nothing)
                }
                (Unsettled::Unclear(words), _) => {
                    (format!("{settle:?} later {words}"), Seen::Unread)
                }
                (Unsettled::Unread(error), _) => {
                    (format!("order {id} could not be looked at in time: {error}"), Seen::Unread)
                }
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

/// The error `lost`, with what is known besides.
pub(super) fn unknown(
    lost: BrokerError,
    words: &str,
    tag: Option<String>,
    seen: Seen,
) -> BrokerError {
    BrokerError::OutcomeUnknown(traced(&lost, words, tag, seen))
}

/// What was said of `lost`, with what is known besides.
fn traced(lost: &BrokerError, words: &str, tag: Option<String>, seen: Seen) -> Detail {
    let mut detail = lost.detail().cloned().unwrap_or_default();
    detail.message = format!("{}; {words}", detail.message);
    detail.trail(Trail::new(tag, seen))
}
