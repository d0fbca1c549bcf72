//! Order updates from another source than a read, such as a postback, for searches that wait.
//!
//! A search reads the order book, and pauses between its reads. An update of its order ends the pause at once. An
//! update may be late, because brokers deliver some twice and out of order. So it is evidence only for what cannot
//! change any more. Any other update causes an early read. An order may have many updates in a second, so
//! `reconcile/polling.rs` bounds how often the order book is read.

use parking_lot::Mutex;

use super::shared_condvar::SharedCondvar;
use crate::broker::{Order, OrderId};
use crate::clock::Clock;
#[cfg(feature = "async")]
use crate::clock::Timer;
use crate::quota::Moment;

/// What a search looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SearchKey {
    /// A placement, by its tag.
    Tag(String),
    /// A change or a cancellation, by the id of the order.
    Id(OrderId),
}

/// The searches that are waiting, and the updates of their orders.
#[derive(Debug, Default)]
pub(super) struct OrderUpdates {
    searches: Mutex<Searches>,
    arrived: SharedCondvar,
}

#[derive(Debug, Default)]
struct Searches {
    waiting: Vec<Search>,
    next_number: u64,
}

#[derive(Debug)]
struct Search {
    number: u64,
    keys: Vec<SearchKey>,
    has_update: bool,
    /// The last update of a final state, for a search by id.
    final_state: Option<Order>,
}

/// Registers a search for updates, until it is dropped.
#[derive(Debug)]
pub(super) struct UpdateWatch<'a> {
    updates: &'a OrderUpdates,
    number: u64,
}

impl OrderUpdates {
    /// Registers a search for these orders.
    pub(super) fn watch(&self, keys: Vec<SearchKey>) -> UpdateWatch<'_> {
        let mut searches = self.searches.lock();
        let number = searches.next_number;
        searches.next_number += 1;
        searches.waiting.push(Search { number, keys, has_update: false, final_state: None });
        UpdateWatch { updates: self, number }
    }

    /// Wakes the searches for this order, or for an order with one of these tags.
    pub(super) fn publish(&self, order: &Order, tags: &[String]) {
        let mut searches = self.searches.lock();
        let mut is_awaited = false;
        for search in &mut searches.waiting {
            let is_by_id = search.keys.iter().any(|key| *key == SearchKey::Id(order.id.clone()));
            let is_tag = |key: &SearchKey| matches!(key, SearchKey::Tag(tag) if tags.contains(tag));
            if is_by_id && order.status.is_final() {
                search.final_state = Some(order.clone());
            }
            if is_by_id || search.keys.iter().any(is_tag) {
                search.has_update = true;
                is_awaited = true;
            }
        }
        if is_awaited {
            self.arrived.notify_all(searches);
        }
    }
}

impl UpdateWatch<'_> {
    /// Returns the final state that an update showed, for a search by id. The next pause is ended only by updates that
    /// come after this call.
    pub(super) fn take(&self) -> Option<Order> {
        let mut searches = self.updates.searches.lock();
        let search = searches.waiting.iter_mut().find(|search| search.number == self.number)?;
        search.has_update = false;
        search.final_state.clone()
    }

    /// Blocks the thread until `until`, or until an update comes. Returns whether one came.
    pub(super) fn pause(&self, clock: &Clock, until: Moment) -> bool {
        let _participation = clock.participate();
        let OrderUpdates { searches, arrived } = self.updates;
        arrived.wait_while(searches, clock, until, |searches| self.is_quiet(searches))
    }

    /// Suspends the task until `until`, or until an update comes. Returns whether one came.
    #[cfg(feature = "async")]
    pub(super) async fn suspend(&self, timer: &Timer, until: Moment) -> bool {
        let OrderUpdates { searches, arrived } = self.updates;
        arrived.suspend_while(searches, timer, until, |searches| self.is_quiet(searches)).await
    }

    fn is_quiet(&self, searches: &Searches) -> bool {
        let mut own = searches.waiting.iter().filter(|search| search.number == self.number);
        !own.any(|search| search.has_update)
    }
}

impl Drop for UpdateWatch<'_> {
    fn drop(&mut self) {
        self.updates.searches.lock().waiting.retain(|search| search.number != self.number);
    }
}
