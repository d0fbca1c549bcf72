//! Finds out, when a gateway starts, what became of the orders that the previous process left.

use std::sync::Arc;

use lanekeeper::Broker;
use lanekeeper::broker::{Order, OrderStatus};
use lanekeeper::order_guard::RecoveredOutcome;

use super::guarded::{FINGERPRINT_FIELD, OrderReply, recovered};
use super::placements::Outcome;
use crate::account::Account;
use crate::notices::{Notice, Notices, Severity};

/// Searches for the orders of the previous process. Blocks the thread, for the guard's settle time at most.
pub(crate) fn recover(account: &Account, notices: &Notices) {
    let Some(kite) = &account.kite else { return };
    let Some(guard) = &kite.guard else { return };
    let left = kite.placements.left_open();
    if left.is_empty() && guard.stats().pending == 0 {
        return;
    }
    // Most orders are in the order book already. The search below waits for the rest before it says anything.
    if let Ok(book) = guard.orders() {
        for (fingerprint, tag) in &left {
            let outcome = tag.as_deref().and_then(|tag| in_book(&book.rows, tag));
            if let Some(outcome) = outcome {
                kite.placements.resolve_left(*fingerprint, outcome);
            }
        }
    }
    for order in guard.recover() {
        let fingerprint =
            order.order.extra.get(FINGERPRINT_FIELD).and_then(|text| text.parse().ok());
        if let (Some(fingerprint), Some(outcome)) = (fingerprint, recovered(&order.outcome)) {
            kite.placements.resolve_left(fingerprint, outcome);
        }
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
        notices.push(Notice { kind: "order_turned_up", severity, account, lane: None, text });
    }
    // What was never tagged was never sent. What the order book does not show after the search is not in the market:
    // the journal knows of none of these that is still open.
    for (fingerprint, _) in left {
        kite.placements.resolve_left(fingerprint, Outcome::NotPlaced);
    }
}

/// Returns the outcome that the order book shows of a placement, if exactly one order has its tag.
fn in_book(rows: &[Order], tag: &str) -> Option<Outcome> {
    let mut found = rows.iter().filter(|order| order.tag.as_deref() == Some(tag));
    let (Some(order), None) = (found.next(), found.next()) else { return None };
    match order.status {
        OrderStatus::Rejected => Some(Outcome::NotPlaced),
        _ => Some(Outcome::Placed(Arc::new(OrderReply::placed(order.id.as_str())))),
    }
}
