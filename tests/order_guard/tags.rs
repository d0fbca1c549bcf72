//! Callers' tags: which are accepted, for how long they are reserved, and what they may be mistaken for.

use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerError, Order, OrderId, OrderStatus, OrderTags};
use lanekeeper::jiff::{SignedDuration, Timestamp, Zoned, tz};
use lanekeeper::order_guard::RecoveredOutcome;

use super::shaky::{Fate, Shaky, order};

const DAY: Duration = Duration::from_secs(86_400);

fn echoed() -> Shaky {
    Shaky::new(OrderTags::echoed(20))
}

fn not_sent(answer: Result<OrderId, BrokerError>) -> String {
    match answer {
        Err(BrokerError::NotSent(detail)) => detail.message,
        other => panic!("{other:?}"),
    }
}

/// Returns the wall clock's time `since` the manual clocks began, in India.
fn wall_time(since: Duration) -> Zoned {
    let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let at = began + SignedDuration::try_from(since).unwrap();
    at.to_zoned(tz::TimeZone::fixed(tz::offset(5)))
}

#[test]
fn a_tag_that_the_book_would_not_show_is_not_sent() {
    let broker = echoed();
    let guard = broker.guard();
    for tag in ["a b", "a-b", "ä", &"x".repeat(21)] {
        let why = not_sent(guard.place_order(&order(1).tag(tag)));
        assert!(why.contains("1 to 20 ASCII letters and digits"), "{why}");
    }
    assert_eq!(broker.state().placed, 0);
    guard.place_order(&order(1).tag("x".repeat(20))).unwrap();

    let broker = Shaky::new(OrderTags::echoed(36).symbols("-_"));
    let guard = broker.guard();
    guard.place_order(&order(1).tag("550e8400-e29b-41d4-a716-446655440000")).unwrap();
    let why = not_sent(guard.place_order(&order(1).tag("a b")));
    assert!(why.contains("letters and digits and -_"), "{why}");

    // Where no book shows tags, an odd one does no harm.
    Shaky::new(OrderTags::none()).guard().place_order(&order(1).tag("a b")).unwrap();
}

#[test]
fn an_empty_tag_is_none() {
    let broker = echoed();
    let guard = broker.guard();
    for quantity in 1..=2 {
        guard.place_order(&order(quantity).tag("")).unwrap();
    }
    assert!(broker.ledger().iter().all(|order| order.tag.as_ref().unwrap().len() == 20));
}

/// A caller may read the tag in an error and try again with it.
#[test]
fn the_tag_of_an_order_without_an_answer_is_taken() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostBefore]);
    let lost = guard.place_order(&order(1)).unwrap_err();
    let tag = lost.detail().unwrap().lookup.as_ref().unwrap().tag.clone().unwrap();
    not_sent(guard.place_order(&order(2).tag(&tag)));
    let left = guard.recover();
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0].tag, left[0].order.quantity), (&tag, 1.into()));
}

#[test]
fn a_tag_is_free_again_on_another_day() {
    let broker = echoed();
    let guard = broker.guard();
    guard.place_order(&order(1).tag("mine")).unwrap();
    broker.clock.advance(Duration::from_secs(3600));
    not_sent(guard.place_order(&order(2).tag("mine")));
    broker.clock.advance(DAY);
    guard.place_order(&order(3).tag("mine")).unwrap();
    not_sent(guard.place_order(&order(4).tag("mine")));
    // But not just after midnight, because the clocks of client and broker may differ.
    let broker = echoed();
    let guard = broker.guard();
    broker.clock.advance(DAY - Duration::from_secs(60));
    guard.place_order(&order(1).tag("mine")).unwrap();
    broker.clock.advance(Duration::from_secs(120));
    not_sent(guard.place_order(&order(2).tag("mine")));
    // Only just after midnight.
    broker.clock.advance(Duration::from_secs(2 * 3600));
    guard.place_order(&order(2).tag("mine")).unwrap();
    // The tag of an order without an answer is never free again.
    broker.fates([Fate::LostBefore]);
    guard.place_order(&order(3).tag("lost")).unwrap_err();
    broker.clock.advance(DAY * 2);
    not_sent(guard.place_order(&order(4).tag("lost")));
}

#[test]
fn an_order_of_another_day_does_not_deceive() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostBefore]);
    guard.place_order(&order(1).tag("mine")).unwrap_err();
    broker.clock.advance(DAY);
    let mut other = Order::new(OrderId::new("1"), OrderStatus::Open, &order(1).tag("mine"));
    other.placed_at = Some(wall_time(DAY + Duration::from_secs(60)));
    let now = broker.clock.now();
    broker.state().ledger.push((now, other));
    let outcome = guard.recover().remove(0).outcome;
    assert!(matches!(outcome, RecoveredOutcome::Unknown(_)), "{outcome:?}");
    // An order of the same day is the one.
    broker.state().ledger[0].1.placed_at = Some(wall_time(Duration::from_secs(60)));
    let outcome = guard.recover().remove(0).outcome;
    assert_eq!(outcome, RecoveredOutcome::Placed(OrderId::new("1")));
}
