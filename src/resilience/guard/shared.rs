//! What all guards of one account share.

use super::book::Book;
use super::builder::{Lookups, OnTurnedUp, OnUnrecorded, Unrecorded};
use super::find::Intent;
use super::intents::{Flight, Intents};
use super::patience::{Look, Patience, Unsettled};
use super::tags::{OwnTags, Tags};
use crate::broker::{Absence, BrokerError, Detail, OrderTags, TagSupport};
use crate::lane::contain;
use crate::quota::Moment;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) lookups: Option<Lookups>,
    pub(super) intents: Intents,
    pub(super) patience: Patience,
    pub(super) own_tags: OwnTags,
    pub(super) support: OrderTags,
    pub(super) tags: Tags,
    pub(super) book: Book,
    /// Told of orders that turn up after their callers were answered.
    pub(super) on_turned_up: Option<OnTurnedUp>,
    /// Told of exits that are not in the journal.
    pub(super) on_unrecorded: Option<OnUnrecorded>,
}

impl Shared {
    /// Looks for orders by their tags, where the broker shows them.
    pub(super) fn search<A>(
        &self,
        since: Moment,
        look: impl FnMut(Option<Absence>) -> Look<A>,
    ) -> Result<A, Unsettled> {
        match self.support.support() {
            TagSupport::None => Err(Unsettled::Unread(BrokerError::NotSent(Detail::new(
                "this broker's order book shows no tags",
            )))),
            _ => self.patience.settle(since, look),
        }
    }

    /// Tells of an order that is not in the journal.
    pub(super) fn tell_unrecorded(&self, flight: &Flight<'_>) {
        let (Some(tell), Some(error)) = (&self.on_unrecorded, &flight.unrecorded) else { return };
        let Intent { tag, order, .. } = &*flight.intent;
        let error = error.to_string();
        let told = Unrecorded { tag: tag.clone(), order: order.clone(), error };
        // A panic in it is the caller's own, and no reason to lose the answer.
        let _ = contain(|| (tell.0)(&told));
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
            Unsettled::Unclear(words) => format!("{words} (the tag is {tag})"),
            Unsettled::Unread(error) => {
                format!("the order book could not be searched for the tag {tag}: {error}")
            }
        }
    }
}
