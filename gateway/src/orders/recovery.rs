//! Finds out, when a gateway starts, what became of the orders that the previous process left.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lanekeeper::Broker;
use lanekeeper::broker::{Order, OrderStatus};
use lanekeeper::order_guard::{RecoveredOrder, RecoveredOutcome};

use super::guarded::settle;
use super::placements::{LeftOpen, Outcome};
use super::reply::OrderReply;
use crate::account::Account;
use crate::notices::{Notice, Notices, Severity};

/// How often the order book is read for the orders of which the journal knows nothing.
const READS: u32 = 5;

/// The time between two of these reads.
const BETWEEN_READS: Duration = Duration::from_secs(2);

/// How far the broker's clock may be from this machine's, in seconds.
const MAX_CLOCK_SKEW: i64 = 60;

/// Searches for the orders of the previous process. Blocks the thread, mostly for the guard's settle time at most.
///
/// What is not found stays unknown, so that a repetition is not sent.
pub(crate) fn recover(account: &Account, notices: &Notices) {
    let Some(kite) = &account.kite else { return };
    let Some(guard) = &kite.guard else { return };
    let left = kite.placements.left_open();
    if left.is_empty() && guard.stats().pending == 0 {
        return;
    }
    let settled_at = Instant::now() + account.settle_time();
    // Most orders are in the order book already. The search below waits for the rest before it says anything.
    let mut left = match guard.inner().orders() {
        Ok(book) => still_open(left, &book.rows),
        Err(_) => left,
    };
    for order in guard.recover() {
        if let Some(at) = left.iter().position(|left| left.tag == order.tag) {
            let LeftOpen { sender, tag, .. } = left.swap_remove(at);
            settle(&sender, &tag, &order.outcome);
        }
        notices.push(notice(account, &order));
    }
    // The journal has no open order of the rest. Its end was recorded there, but not in the other file, or it was an exit
    // that the journal could not record.
    sleep(settled_at.saturating_duration_since(Instant::now()));
    let mut was_absent = false;
    for _ in 0..READS {
        if left.is_empty() {
            return;
        }
        match guard.inner().orders() {
            Ok(book) if book.problems.is_empty() => {
                left = still_open(left, &book.rows);
                // As elsewhere, only two reads show that an order is not there: one of them may be old.
                if was_absent {
                    for left in left {
                        if matches!(in_book(&book.rows, &left), InBook::No) {
                            left.sender.finish(Outcome::NotPlaced);
                        }
                    }
                    return;
                }
                was_absent = true;
            }
            _ => was_absent = false,
        }
        sleep(BETWEEN_READS);
    }
}

/// Settles the placements that an order book shows. Returns the others.
fn still_open(left: Vec<LeftOpen>, book: &[Order]) -> Vec<LeftOpen> {
    let mut open = Vec::new();
    for left in left {
        match in_book(book, &left) {
            InBook::Placed(id) => left.sender.placed(id, OrderReply::placed(id)),
            InBook::Rejected => left.sender.finish(Outcome::NotPlaced),
            InBook::No | InBook::Unclear => open.push(left),
        }
    }
    open
}

/// What an order book shows of a tag.
enum InBook<'a> {
    No,
    Placed(&'a str),
    Rejected,
    /// Several orders have it, or a slice of an order, or an order of an earlier time.
    Unclear,
}

fn in_book<'a>(book: &'a [Order], left: &LeftOpen) -> InBook<'a> {
    let has_tag = |order: &&Order| {
        let mut tags = order.tag.iter().chain(&order.other_tags);
        tags.any(|tag| tag.eq_ignore_ascii_case(&left.tag))
    };
    let mut found = book.iter().filter(has_tag);
    let is_later = |order: &Order| {
        let placed_at = order.placed_at.as_ref().map(|at| at.timestamp().as_second());
        placed_at.is_none_or(|at| at >= left.since - MAX_CLOCK_SKEW)
    };
    match (found.next(), found.next()) {
        (None, _) => InBook::No,
        (Some(order), None) if order.parent.is_none() && is_later(order) => match order.status {
            OrderStatus::Rejected => InBook::Rejected,
            _ => InBook::Placed(order.id.as_str()),
        },
        _ => InBook::Unclear,
    }
}

fn notice(account: &Account, order: &RecoveredOrder) -> Notice {
    let (severity, what) = match &order.outcome {
        RecoveredOutcome::Placed(id) => (Severity::Info, format!("is in the market as {id}")),
        RecoveredOutcome::PartlyPlaced(_) => {
            (Severity::Warning, "is in the market in part".to_owned())
        }
        RecoveredOutcome::Rejected(why) => (Severity::Info, format!("was rejected: {why}")),
        RecoveredOutcome::Absent(_) => (Severity::Info, "is not in the market".to_owned()),
        _ => (Severity::Error, "has an unknown outcome: check the order book".to_owned()),
    };
    let text = format!(
        "an order of the previous process {what}: {} {} of {}, tag {}",
        order.order.side, order.order.quantity, order.order.instrument, order.tag
    );
    let account = Some(Arc::clone(&account.name));
    Notice { kind: "order_turned_up", severity, account, lane: None, text }
}
