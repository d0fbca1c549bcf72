//! What looks like an answer and is none.

use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, LookupResult, Order, OrderId, OrderStatus, OrderTags,
};
use lanekeeper::jiff::{SignedDuration, Timestamp, tz::TimeZone};
use lanekeeper::order_guard::RecoveredOutcome;

use super::orders::{absence, echoed, lookup};
use super::shaky::{DUPLICATE, Fate, SETTLE, Shaky, absent, order, transient, without_evidence};

const DAY: Duration = Duration::from_secs(86_400);

/// Returns an open order with the tag `mine`.
fn mine(id: &str) -> Order {
    Order::new(OrderId::new(id), OrderStatus::Open, &order(1).tag("mine"))
}

/// Where a lost order is sent once more, the second sending may be refused before the first arrives.
#[test]
fn a_refusal_of_the_second_sending_is_no_evidence_about_the_first() {
    for first_arrives in [true, false] {
        let broker = Shaky::new(OrderTags::unique(20, DUPLICATE));
        broker.fates([Fate::LostBefore, Fate::LostRejected]);
        let (before, late) = (broker.clock.now(), broker.clone());
        broker.meanwhile(move |read| {
            if first_arrives && read == 2 {
                let now = late.clock.now();
                late.state().ledger.push((now, mine("first")));
            }
        });
        let answer = broker.guard().place_order(&order(1).tag("mine"));
        assert_eq!(broker.state().placed, 2);
        if first_arrives {
            assert_eq!(answer, Ok(OrderId::new("first")));
        } else {
            assert!(matches!(answer, Err(BrokerError::Rejected(_))), "{answer:?}");
            assert!(broker.clock.now().since(before) >= SETTLE);
        }
    }
}

#[test]
fn the_longest_settle_time_is_no_panic() {
    let broker = echoed();
    broker.fates([Fate::LostAfter(Duration::from_secs(3))]);
    let guard = broker.guarded().settle_time(Duration::MAX).build().unwrap();
    assert_eq!(guard.place_order(&order(1)), Ok(OrderId::new("000001")));
}

/// Only its time distinguishes an order with a caller's tag from one of another day.
#[test]
fn an_order_of_unknown_time_is_not_taken_for_that_of_another_day() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostBefore]);
    absence(guard.place_order(&order(1).tag("mine")));
    broker.clock.advance(DAY);
    let now = broker.clock.now();
    broker.state().ledger.push((now, mine("of another")));
    let outcome = guard.recover().remove(0).outcome;
    assert!(matches!(outcome, RecoveredOutcome::Unknown(_)), "{outcome:?}");
}

/// By the broker's clock it may be past midnight already, and its book an empty one.
#[test]
fn a_book_read_at_midnight_is_no_evidence() {
    for (before_midnight, is_evidence) in [(30, false), (300, true)] {
        let broker = echoed();
        broker.clock.advance(DAY - Duration::from_secs(before_midnight));
        broker.fates([Fate::LostBefore]);
        let answer = broker.guard().place_order(&order(1));
        match is_evidence {
            true => drop(absence(answer)),
            false => assert_eq!(lookup(answer).result, LookupResult::Unclear),
        }
    }
}

/// This machine's wall clock may be wrong by more than is allowed for.
#[test]
fn an_order_that_is_wrong_by_its_time_alone_is_not_nothing() {
    let broker = echoed();
    let guard = broker.guard();
    broker.clock.advance(DAY / 2);
    let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let placed = began + SignedDuration::from_secs(43_200 - 300);
    let mut order_there = mine("there");
    order_there.placed_at = Some(placed.to_zoned(TimeZone::UTC));
    let now = broker.clock.now();
    broker.state().ledger.push((now, order_there));
    // It is unknown whether it was there before.
    broker.blind(1, &transient());
    broker.fates([Fate::LostBefore]);
    let answer = guard.place_order(&order(1).tag("mine"));
    let message = answer.as_ref().unwrap_err().to_string();
    assert!(message.contains("order there") && message.contains("clock"), "{message}");
    assert_eq!(lookup(answer).result, LookupResult::Unclear);
    let outcome = guard.recover().remove(0).outcome;
    assert!(matches!(outcome, RecoveredOutcome::Unknown(_)), "{outcome:?}");
    // An order that differs by more than that belongs to another client.
    broker.state().ledger[0].1.side = lanekeeper::Side::Sell;
    assert_eq!(without_evidence(guard.recover().remove(0).outcome), absent());
}
