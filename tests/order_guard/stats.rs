//! The counters of a guard: how its orders ended.

use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerError};
use lanekeeper::order_guard::GuardStats;

use super::orders::{absence, echoed, lookup};
use super::shaky::{Fate, SETTLE, order, transient};

/// The counters, without `pending`.
fn counts(stats: GuardStats) -> [u64; 7] {
    let GuardStats {
        placed, partly_placed, rejected, not_sent, absent, unknown, turned_up, ..
    } = stats;
    [placed, partly_placed, rejected, not_sent, absent, unknown, turned_up]
}

#[test]
fn each_order_counts_once_by_its_answer_whichever_handle_placed_it() {
    let broker = echoed();
    let guard = broker.guarded().on_turned_up(|_| {}).build().unwrap();
    let other = guard.with_inner(broker.clone());
    assert_eq!(counts(guard.stats()), [0; 7]);
    // Answered, found in the order book, and one slice that is the whole order.
    guard.place_order(&order(1)).unwrap();
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    other.place_order(&order(2)).unwrap();
    guard.place_sliced(&order(3)).unwrap();
    broker.fates([Fate::Rejected, Fate::Throttled, Fate::NotSent]);
    (4..7).for_each(|quantity| drop(guard.place_order(&order(quantity)).unwrap_err()));
    // A tag that the broker does not take: the guard refuses it.
    let refused = guard.place_order(&order(7).tag("far too long for any tag"));
    assert!(matches!(refused, Err(BrokerError::NotSent(_))), "{refused:?}");
    assert_eq!(counts(guard.stats()), [3, 0, 2, 2, 0, 0, 0]);
    assert_eq!(guard.stats(), other.stats());
}

#[test]
fn an_order_that_turns_up_late_was_absent_or_unknown_and_then_turned_up() {
    let broker = echoed();
    let guard = broker.guarded().on_turned_up(|_| {}).build().unwrap();
    broker.fates([Fate::LostAfter(SETTLE * 2)]);
    absence(guard.place_order(&order(1)));
    broker.fates([Fate::LostAfter(SETTLE * 2)]);
    broker.blind(50, &transient());
    lookup(guard.place_order(&order(2)));
    broker.state().blind.clear();
    assert_eq!(counts(guard.stats()), [0, 0, 0, 0, 1, 1, 0]);
    assert_eq!(guard.stats().pending, 2, "`recover` would search for both");
    broker.clock.advance(SETTLE * 3);
    for _ in 0..2 {
        guard.orders().unwrap();
        assert_eq!(counts(guard.stats()), [0, 0, 0, 0, 1, 1, 2]);
        assert_eq!(guard.stats().pending, 0);
    }
}
