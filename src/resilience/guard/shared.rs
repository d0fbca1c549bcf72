//! What all guards of one account share.

use super::book::Book;
use super::builder::Lookups;
use super::evidence::{Evidence, Turn};
use super::find::Intent;
use super::hooks::{Hooks, Unrecorded};
use super::identity::Identity;
use super::intents::{Flight, Intents};
use super::known::Known;
use super::patience::{Look, Patience, Unsettled};
use super::shown::Shown;
use super::tags::{CallerTags, Tags};
use crate::broker::{
    BrokerError, ErrorDetail, LookupResult, Order, OrderLookup, OrderTags, Rows, Slice,
    SlicedOrder, TagSupport,
};
use crate::quota::Moment;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) lookups: Option<Lookups>,
    pub(super) intents: Intents,
    pub(super) patience: Patience,
    pub(super) caller_tags: CallerTags,
    pub(super) support: OrderTags,
    pub(super) tags: Tags,
    pub(super) book: Book,
    pub(super) identity: Identity,
    pub(super) hooks: Hooks,
}

/// An order that is looked for.
#[derive(Clone, Copy)]
pub(super) struct Sought<'a> {
    pub(super) intent: &'a Intent,
    /// It was sent twice under one tag: one that was rejected may be the second, and the first still on its way.
    pub(super) twice: bool,
    /// What was said when its answer was lost, if that is known.
    pub(super) lost: Option<&'a ErrorDetail>,
}

impl Shared {
    /// Looks for orders by their tags, where the broker shows them.
    pub(super) fn search<A>(
        &self,
        evidence: &mut Evidence,
        leave: Option<Moment>,
        look: impl FnMut(Turn) -> Look<A>,
    ) -> Result<A, Unsettled> {
        match self.support.support() {
            TagSupport::None => Err(Unsettled::Unread(BrokerError::NotSent(ErrorDetail::new(
                "this broker's order book shows no tags",
            )))),
            _ => self.patience.settle(evidence, leave, look),
        }
    }

    /// Tells of an order that is not in the journal.
    pub(super) fn tell_unrecorded(&self, flight: &Flight<'_>) {
        let Some(error) = &flight.unrecorded else { return };
        let Intent { tag, order, .. } = &*flight.intent;
        let error = error.to_string();
        self.hooks.unrecorded.tell(&Unrecorded { tag: tag.clone(), order: order.clone(), error });
    }

    /// Whether the broker takes a second order of one tag for the first, so that each is sent twice if need be.
    pub(super) fn sends_twice(&self) -> bool {
        matches!(self.support.support(), TagSupport::Unique { .. })
    }

    /// What a look shows of an order, if that is its last word. After the settle time it is if the book leaves a
    /// doubt, and of the last look it always is: the quantity that it does not show is a slice of unknown outcome
    /// then, or one that is absent.
    fn last_word(
        &self,
        sought: Sought<'_>,
        shown: Shown,
        book: &Rows<Order>,
        turn: Turn,
    ) -> Option<SlicedOrder> {
        let doubt = shown.rest_doubt.map(str::to_owned);
        let doubt = doubt.or_else(|| sought.intent.unreadable_row(book));
        if turn.absence.is_none() && !(turn.is_late && doubt.is_some()) {
            return shown.is_final(sought.twice).then_some(shown.order);
        }
        let Intent { tag, at, order, .. } = sought.intent;
        let (rest, of, settle) = (shown.rest, order.quantity, self.patience.settle);
        Some(shown.with_rest(|| {
            let shows = format!(
                "{settle:?} later the order book shows no {rest} of {of} with the tag {tag}"
            );
            let because = |words: &str, seen| {
                let detail = sought.lost.cloned().unwrap_or_default();
                detail
                    .and(&format!("{shows}{words}"))
                    .lookup(OrderLookup::new(Some(tag.clone()), seen))
            };
            match (doubt, turn.absence) {
                (Some(row), _) => {
                    Slice::unknown(because(&format!("; {row}"), LookupResult::Unclear))
                }
                (None, Some(absence)) if self.intents.is_of_today(*at) => {
                    Slice::absent(because(&format!(": {absence}"), LookupResult::Absent(absence)))
                }
                (None, _) => Slice::unknown(because(
                    ", and is of another day or about to be",
                    LookupResult::Unclear,
                )),
            }
        }))
    }

    /// The orders of a book that may be the one of this intent, which was sent after `begun`.
    pub(super) fn candidates(&self, intent: &Intent, begun: u64, book: &[Order]) -> Vec<Order> {
        let of_today = self.intents.is_of_today(intent.at);
        self.identity.candidates(intent, begun, of_today, book)
    }

    /// What a book shows of an order, of which `rows` may be it, with all that was seen before.
    pub(super) fn look_for(
        &self,
        sought: Sought<'_>,
        flight: &Flight<'_>,
        rows: &[Order],
        book: &Rows<Order>,
        turn: Turn,
    ) -> Look<SlicedOrder> {
        let intent = sought.intent;
        let Some(shown) = flight.known(|known| known.look_into(intent, rows, book)) else {
            return intent.doubt(rows, book).map_or(Look::NotYet, Look::Unclear);
        };
        let doubt = shown.rest_doubt.map(str::to_owned);
        match self.last_word(sought, shown, book, turn) {
            Some(order) => Look::Settled(order),
            None => {
                doubt.or_else(|| intent.unreadable_row(book)).map_or(Look::NotYet, Look::Unclear)
            }
        }
    }

    /// What was seen of an order, if something of it is in the market, when there is no last word. The quantity
    /// that was not seen is a slice of unknown outcome; in `words`, why.
    pub(super) fn so_far(
        &self,
        known: &Known,
        intent: &Intent,
        (words, seen): (&str, LookupResult),
    ) -> Option<SlicedOrder> {
        let shown = known.shown(intent)?;
        shown.order.placed().next()?;
        let trail = OrderLookup::new(Some(intent.tag.clone()), seen);
        Some(shown.with_rest(|| Slice::unknown(ErrorDetail::new(words).lookup(trail))))
    }

    /// Why nothing is known of an order that the broker has and does not show.
    pub(super) fn not_shown(&self, intent: &Intent) -> String {
        let tag = &intent.tag;
        format!("the broker has an order with the tag {tag}, and does not show it")
    }

    /// Why a book says nothing of an order of another day.
    pub(super) fn of_another_day(&self, intent: &Intent) -> String {
        let tag = &intent.tag;
        format!(
            "the order book is of another day or about to be, look for the tag {tag} in the statements"
        )
    }

    /// Why nobody knows what became of an order.
    pub(super) fn in_words(&self, intent: &Intent, unsettled: &Unsettled) -> String {
        let tag = &intent.tag;
        match unsettled {
            Unsettled::Absent(_) if !self.intents.is_of_today(intent.at) => {
                self.of_another_day(intent)
            }
            Unsettled::Absent(absence) => {
                let settle = self.patience.settle;
                format!("the order book does not show the tag {tag} {settle:?} later: {absence}")
            }
            Unsettled::NotYet => format!(
                "the order book did not show the tag {tag} by the time its caller left, which says nothing yet"
            ),
            Unsettled::Unclear(words) => format!("{words} (the tag is {tag})"),
            Unsettled::Unread(error) => {
                format!("the order book could not be searched for the tag {tag}: {error}")
            }
        }
    }
}
