//! Which orders of a book are somebody else's, and which are ours, whatever the clocks say.
//!
//! An order of a caller's own tag may have been in the book before. Its time tells that only if the clocks are right,
//! so what was in the book before is asked first:
//!
//! - An order that the book showed before ours was sent is not ours.
//! - One that an earlier book of the day did not show came since. By its tag it is ours: a caller's tag is unique for
//!   the day.
//! - If the book gives another time to an order of which the guard knows when it was sent, its times say nothing. If
//!   it gives the right one, they speak even against an order that came since: the tag may have been used twice.
//!
//! So one book is read before the first order of an own tag: the baseline. If it cannot be read, the order goes.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use parking_lot::Mutex;

use super::matching::{Intent, is_time_plausible};
use crate::broker::{Order, OrderId};

/// What the books of a day showed.
#[derive(Debug, Default)]
pub(in crate::order_guard) struct BookHistory {
    state: Mutex<State>,
    /// The day of which a baseline was tried.
    pub(in crate::order_guard) baseline_tried_on: Mutex<Option<Date>>,
}

#[derive(Debug, Default)]
struct State {
    day: Option<Date>,
    /// Numbers what was read.
    read_number: u64,
    /// The first book of the day that was read without a problem.
    baseline: Option<u64>,
    /// What showed an order first.
    first_seen: HashMap<OrderId, u64>,
    /// When the orders were sent whose ids the broker itself answered.
    sent_at: HashMap<OrderId, Timestamp>,
}

impl State {
    /// Ids and times are of one day. Says whether it is this one: a thread that was slow may come with one that is
    /// over.
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

/// What is known of the times of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BookClock {
    Right,
    Wrong,
    Unproven,
}

impl BookHistory {
    /// These orders were shown on this `day`: by a whole book, or by something else.
    pub(in crate::order_guard) fn record_orders(
        &self,
        day: Date,
        orders: &[Order],
        is_whole: bool,
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
        if is_whole {
            state.baseline.get_or_insert(number);
        }
    }

    /// The broker answered an order that was sent `at` with this id.
    pub(in crate::order_guard) fn record_placement(&self, day: Date, id: &OrderId, at: Timestamp) {
        let mut state = self.state.lock();
        if state.switch_to_day(day) {
            state.sent_at.insert(id.clone(), at);
        }
    }

    /// The number of what was read last. What comes later was not there before.
    pub(in crate::order_guard) fn last_read_number(&self) -> u64 {
        self.state.lock().read_number
    }

    pub(in crate::order_guard) fn has_baseline(&self, day: Date) -> bool {
        let state = self.state.lock();
        state.day == Some(day) && state.baseline.is_some()
    }

    /// The orders of a book that was noted, and that may be the order of this intent, sent after `begun`. If it is
    /// `of_today`, those that are it have no time, as the book's says nothing.
    pub(in crate::order_guard) fn candidates(
        &self,
        intent: &Intent,
        last_read_before_send: u64,
        of_today: bool,
        book: &[Order],
    ) -> Vec<Order> {
        let fits = || book.iter().filter(|order| intent.matches_identity(order));
        if !intent.own {
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
            let came = first(order).zip(state.baseline).is_some_and(|(first, base)| first > base);
            if times == BookClock::Wrong || (came && times == BookClock::Unproven) {
                order.placed_at = None;
            }
        }
        candidates
    }
}

impl State {
    /// What a book says of the orders of which it is known when they were sent.
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
