//! Orders with a caller's tag in an order book whose times are wrong: they are recognised by the book's earlier
//! contents.

use std::time::Duration;

use lanekeeper::broker::{Broker, LookupResult, Order, OrderId, OrderStatus};

use super::orders::{absence, echoed, lookup};
use super::shaky::{Fate, Shaky, order, transient};

/// Returns a broker that dates all orders months too early.
fn wrongly_dated() -> Shaky {
    let broker = echoed();
    broker.state().dated = Some("2025-06-30T10:00:00+05:30[+05:30]".parse().unwrap());
    broker
}

fn lost_and_booked(broker: &Shaky) {
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
}

#[test]
fn orders_of_callers_tags_are_found_by_a_baseline_whatever_their_time() {
    let broker = wrongly_dated();
    let guard = broker.guard();
    for number in 1..=20 {
        lost_and_booked(&broker);
        let id = guard.place_order(&order(number).tag(format!("mine{number}")));
        assert_eq!(id, Ok(OrderId::new(format!("{number:06}"))));
    }
    assert_eq!(broker.placed_and_reads(), (20, 21), "one read for the baseline");
}

#[test]
fn without_a_baseline_the_order_goes_and_is_known_by_its_coming() {
    let broker = wrongly_dated();
    let guard = broker.guard();
    broker.blind(1, &transient());
    broker.fates([Fate::LostAfter(Duration::from_secs(3))]);
    // A read after it was sent did not show it.
    assert_eq!(guard.place_order(&order(1).tag("mine")), Ok(OrderId::new("000001")));
}

#[test]
fn times_that_known_orders_contradict_are_discarded() {
    for is_known in [true, false] {
        let broker = wrongly_dated();
        let guard = broker.guard();
        broker.blind(1, &transient());
        if is_known {
            guard.place_order(&order(1)).unwrap();
        }
        lost_and_booked(&broker);
        let answer = guard.place_order(&order(2).tag("mine"));
        match is_known {
            true => assert_eq!(answer, Ok(OrderId::new("000002"))),
            // It may have been there before.
            false => assert_eq!(lookup(answer).result, LookupResult::Unclear),
        }
    }
}

/// Its time suggests that it may be the one.
#[test]
fn order_that_was_in_the_book_before_is_not_taken_for_the_one_that_was_sent() {
    let broker = echoed();
    let guard = broker.guard();
    let earlier = Order::new(OrderId::new("earlier"), OrderStatus::Open, &order(1).tag("mine"));
    let now = broker.clock.now();
    broker.state().ledger.push((now, earlier));
    broker.fates([Fate::LostBefore]);
    absence(guard.place_order(&order(1).tag("mine")));
}

#[test]
fn baseline_is_read_once_a_day_before_the_first_order_of_a_callers_tag() {
    let broker = echoed();
    let guard = broker.guard();
    guard.place_order(&order(1)).unwrap();
    assert_eq!(broker.state().reads, 0, "the guard's own tags need none");
    for (day, fails) in [(1, false), (2, true)] {
        broker.blind(usize::from(fails), &transient());
        for number in 0..3 {
            guard.place_order(&order(1).tag(format!("mine{number}"))).unwrap();
        }
        assert_eq!(broker.state().reads, day);
        broker.clock.advance(Duration::from_secs(86_400));
    }
}

#[test]
fn exit_does_not_wait_for_a_baseline() {
    let broker = echoed();
    let exits = broker.guard().for_exits(broker.clone());
    exits.place_order(&order(1).tag("mine")).unwrap();
    assert_eq!(broker.placed_and_reads(), (1, 0));
}

/// A book that was read for any reason is a baseline too.
#[test]
fn book_that_was_read_before_is_enough() {
    let broker = wrongly_dated();
    let guard = broker.guard();
    guard.orders().unwrap();
    lost_and_booked(&broker);
    assert_eq!(guard.place_order(&order(1).tag("mine")), Ok(OrderId::new("000001")));
    assert_eq!(broker.state().reads, 2);
}

/// The handle for orders has the caller's deadline, and an order must not go after that.
#[test]
fn baseline_is_read_by_the_handle_of_the_order() {
    let (broker, lookups) = (echoed(), echoed());
    let guard = broker.guarded().lookup_broker(lookups.clone()).build().unwrap();
    guard.place_order(&order(1).tag("mine")).unwrap();
    assert_eq!((broker.state().reads, lookups.state().reads), (1, 0));
}

/// Another client has used the tag since the baseline. If a known order shows that the book's times are right, its
/// time decides. If none does, nothing can.
#[test]
fn order_of_another_client_under_the_same_tag_is_recognised_by_a_time_that_is_right() {
    for is_known in [true, false] {
        let broker = echoed();
        let guard = broker.guard();
        guard.orders().unwrap();
        if is_known {
            broker.state().dated = Some("2026-01-01T00:00:00+00:00[UTC]".parse().unwrap());
            guard.place_order(&order(1)).unwrap();
        }
        broker.clock.advance(Duration::from_secs(7_200));
        let mut other = Order::new(OrderId::new("other"), OrderStatus::Open, &order(2).tag("mine"));
        other.placed_at = Some("2026-01-01T01:00:00+00:00[UTC]".parse().unwrap());
        let now = broker.clock.now();
        broker.state().ledger.push((now + Duration::from_millis(50), other));
        broker.fates([Fate::LostBefore]);
        let answer = guard.place_order(&order(2).tag("mine"));
        match is_known {
            true => assert_eq!(lookup(answer).result, LookupResult::Unclear),
            false => assert_eq!(answer, Ok(OrderId::new("other"))),
        }
    }
}
