//! Which orders of an order book are ours, decided without relying on clocks.
//!
//! An order with a caller tag may have been in the order book before ours was sent. Its time shows that only if the
//! clocks are right, so earlier reads of the order book decide first:
//!
//! - An order that the order book showed before ours was sent is not ours.
//! - An order that an earlier read of the day did not show is new. By its tag it is ours: a caller tag is unique for
//!   the day.
//! - If the order book shows a wrong time for an order whose sending time the guard knows, its times are ignored. If
//!   it shows the right one, times count even against a new order: the tag may have been used twice.
//!
//! So the order book is read once before the first order with a caller tag: the baseline. If that read fails, the
//! order is sent nevertheless.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use parking_lot::Mutex;

use super::matching::{Intent, is_time_plausible};
use crate::broker::{Order, OrderId};

/// What the order book has shown during one day.
#[derive(Debug, Default)]
pub(in crate::order_guard) struct BookHistory {
    state: Mutex<State>,
    /// The day on which a baseline read was tried.
    pub(in crate::order_guard) baseline_tried_on: Mutex<Option<Date>>,
}

#[derive(Debug, Default)]
struct State {
    day: Option<Date>,
    /// The number of the last read.
    read_number: u64,
    /// The first complete read of the day.
    baseline: Option<u64>,
    /// The read that showed each order first.
    first_seen: HashMap<OrderId, u64>,
    /// When the orders whose ids the broker returned were sent.
    sent_at: HashMap<OrderId, Timestamp>,
}

impl State {
    /// Clears the records of an earlier day, since ids and times are of one day. Returns whether `day` is the day of
    /// the records: a slow thread may still pass an earlier one.
    fn switch_to_day(&mut self, day: Date) -> bool {
        if self.day.is_none_or(|known| known < day) {
            self.day = Some(day);
            self.baseline = None;
            self.first_seen.clear();
            self.sent_at.clear();
        }
        self.day == Some(day)
    }
}

/// Whether the broker's clock agrees with ours, judged by the times in an order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BookClock {
    Right,
    Wrong,
    Unproven,
}

impl BookHistory {
    /// Records orders that were shown on `day`, by a complete order book or by another source. The first complete one
    /// of a day is its baseline.
    pub(in crate::order_guard) fn record_orders(
        &self,
        day: Date,
        orders: &[Order],
        is_complete: bool,
    ) {
        let mut state = self.state.lock();
        if !state.switch_to_day(day) {
            return;
        }
        state.read_number += 1;
        let number = state.read_number;
        for order in orders.iter().filter(|order| order.tags().next().is_some()) {
            if !state.first_seen.contains_key(&order.id) {
                state.first_seen.insert(order.id.clone(), number);
            }
        }
        if is_complete {
            state.baseline.get_or_insert(number);
        }
    }

    /// Records the id that the broker returned for an order sent at `at`.
    pub(in crate::order_guard) fn record_placement(&self, day: Date, id: &OrderId, at: Timestamp) {
        let mut state = self.state.lock();
        if state.switch_to_day(day) {
            state.sent_at.insert(id.clone(), at);
        }
    }

    /// Returns the number of the last read. An order that a later read shows first was not there before.
    pub(in crate::order_guard) fn last_read_number(&self) -> u64 {
        self.state.lock().read_number
    }

    pub(in crate::order_guard) fn has_baseline(&self, day: Date) -> bool {
        let state = self.state.lock();
        state.day == Some(day) && state.baseline.is_some()
    }

    /// Returns the orders of a recorded order book that may be the order of this intent. If times are to be ignored,
    /// the returned orders have none.
    pub(in crate::order_guard) fn candidates(
        &self,
        intent: &Intent,
        last_read_before_send: u64,
        of_today: bool,
        book: &[Order],
    ) -> Vec<Order> {
        let fits = || book.iter().filter(|order| intent.matches_identity(order));
        if !intent.is_caller_tag {
            return fits().cloned().collect();
        }
        let state = self.state.lock();
        let first = |order: &Order| state.first_seen.get(&order.id).copied();
        let mut candidates: Vec<Order> = fits()
            .filter(|order| first(order).is_none_or(|first| first > last_read_before_send))
            .cloned()
            .collect();
        if candidates.is_empty() || !of_today {
            return candidates;
        }
        let times = state.check_clock(book);
        for order in &mut candidates {
            let is_new = first(order).zip(state.baseline).is_some_and(|(first, base)| first > base);
            if times == BookClock::Wrong || (is_new && times == BookClock::Unproven) {
                order.placed_at = None;
            }
        }
        candidates
    }
}

impl State {
    /// Compares the times in an order book with those of the orders whose sending time is known.
    fn check_clock(&self, book: &[Order]) -> BookClock {
        let fits = |order: &Order| {
            let sent = self.sent_at.get(&order.id)?;
            Some(is_time_plausible(*sent, order.placed_at.as_ref()?))
        };
        let known: Vec<bool> = book.iter().filter_map(fits).collect();
        match (known.contains(&false), known.is_empty()) {
            (true, _) => BookClock::Wrong,
            (false, true) => BookClock::Unproven,
            (false, false) => BookClock::Right,
        }
    }
}
