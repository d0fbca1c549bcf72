//! Changing and cancelling an order.

use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, ErrorDetail, LookupResult, MarketProtection, OrderCancel, OrderChange,
    OrderId, OrderStatus, OrderTags, OrderType,
};
use lanekeeper::order_guard::OrderGuard;

use super::shaky::{Fate, SETTLE, Shaky, order, to_price, transient};

fn with_order() -> (Shaky, OrderGuard<Shaky>, OrderId) {
    with_order_at(OrderTags::none())
}

fn with_order_at(tags: OrderTags) -> (Shaky, OrderGuard<Shaky>, OrderId) {
    let broker = Shaky::new(tags);
    let guard = broker.guard();
    let id = guard.place_order(&order(1)).unwrap();
    (broker, guard, id)
}

fn lookup_of<A: std::fmt::Debug>(answer: Result<A, BrokerError>) -> (LookupResult, String) {
    match answer {
        Err(BrokerError::OutcomeUnknown(detail) | BrokerError::Absent(detail)) => {
            let lookup = detail.lookup.expect("a trail");
            assert_eq!(lookup.tag, None);
            (lookup.result, detail.message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cancellation_that_was_done_is_done() {
    for late in [Duration::ZERO, Duration::from_secs(8)] {
        let (broker, guard, id) = with_order();
        broker.fates([Fate::LostAfter(late), Fate::LostBefore]);
        assert_eq!(guard.cancel_order(&id), Ok(()));
        assert_eq!(broker.state().ledger[0].1.status, OrderStatus::Cancelled);
    }
}

#[test]
fn a_lost_cancellation_is_made_again_once() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore]);
    assert_eq!(guard.cancel_order(&id), Ok(()));
    assert_eq!(broker.state().cancelled, 2);
    assert_eq!(broker.state().reads, 0);

    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore, Fate::LostBefore]);
    let (lookup_of, message) = lookup_of(guard.cancel_order(&id));
    let LookupResult::Absent(absence) = lookup_of else { panic!("{lookup_of:?}") };
    let before = format!("10s later order 000001 is OPEN and as before: {absence}");
    assert_eq!(message, format!("connection reset; {before}"));
    assert_eq!(broker.state().cancelled, 2);
}

#[test]
fn a_cancellation_with_extra_fields_is_followed_up_like_one_without() {
    let cancel = OrderCancel::new().extra("parent_order_id", "7");
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore]);
    assert_eq!(guard.cancel_order_with(&id, &cancel), Ok(()));
    assert_eq!(broker.state().cancelled, 2);
    assert_eq!(broker.state().reads, 0);
    assert_eq!(broker.state().cancelled_with, cancel);

    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostAfter(Duration::from_secs(8)), Fate::LostBefore]);
    assert_eq!(guard.cancel_order_with(&id, &cancel), Ok(()));
    assert_eq!(broker.state().cancelled, 2);

    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore, Fate::LostBefore]);
    let (lookup_of, _) = lookup_of(guard.cancel_order_with(&id, &cancel));
    assert!(matches!(lookup_of, LookupResult::Absent(_)), "{lookup_of:?}");
}

#[test]
fn an_order_that_was_filled_first_was_neither_cancelled_nor_changed() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostAs("FILLED")]);
    let answer = guard.cancel_order(&id);
    let late = BrokerError::Rejected(ErrorDetail::new("too late: order 000001 is FILLED"));
    assert_eq!(answer, Err(late.clone()));

    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostAs("FILLED")]);
    assert_eq!(guard.modify_order(&id, &to_price(1501)), Err(late));
}

#[test]
fn an_order_that_cannot_be_read_says_so() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore, Fate::LostBefore]);
    broker.blind(500, &transient());
    assert_eq!(lookup_of(guard.cancel_order(&id)).0, LookupResult::Unreadable);
}

#[test]
fn a_change_that_was_made_is_made() {
    for late in [Duration::ZERO, SETTLE] {
        let (broker, guard, id) = with_order();
        broker.fates([Fate::LostAfter(late)]);
        assert_eq!(guard.modify_order(&id, &to_price(1501)), Ok(id));
        assert_eq!(broker.state().modified, 1);
    }
}

#[test]
fn a_lost_change_is_not_made_again() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore]);
    let (lookup_of, _) = lookup_of(guard.modify_order(&id, &to_price(1501)));
    assert!(matches!(lookup_of, LookupResult::Absent(_)), "{lookup_of:?}");
    assert_eq!(broker.state().modified, 1);
}

#[test]
fn a_change_that_shows_nowhere_is_not_searched_for() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore]);
    let change = OrderChange::new().disclosed_quantity(1);
    assert_eq!(lookup_of(guard.modify_order(&id, &change)).0, LookupResult::Unclear);
    for unseen in [
        OrderChange::new().market_protection(MarketProtection::AUTO),
        OrderChange::new().extra("parent_order_id", "7"),
    ] {
        broker.fates([Fate::LostBefore]);
        assert_eq!(lookup_of(guard.modify_order(&id, &unseen)).0, LookupResult::Unclear);
    }
    assert_eq!(broker.state().reads, 0);
}

/// For an order with market protection, Kite shows the limit order that it makes of it.
#[test]
fn an_exit_that_shows_as_a_limit_order_is_not_reported_as_unchanged() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore]);
    let exit = OrderChange::new().order_type(OrderType::Market);
    let (result, message) = lookup_of(guard.modify_order(&id, &exit));
    assert_eq!(result, LookupResult::Unclear);
    assert!(
        message.contains("a LIMIT order, and a MARKET order with a market protection"),
        "{message}"
    );
}

/// Where a change may make a new order, the old one shows as cancelled whether or not it was replaced.
#[test]
fn a_cancelled_order_may_have_been_replaced() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostAs("CANCELLED")]);
    let (lookup_of, message) = lookup_of(guard.modify_order(&id, &to_price(1501)));
    assert_eq!(lookup_of, LookupResult::Unclear);
    assert!(message.contains("another order in its place"), "{message}");

    let (broker, guard, id) = with_order_at(OrderTags::none().changed_in_place());
    broker.fates([Fate::LostAs("CANCELLED")]);
    let late = BrokerError::Rejected(ErrorDetail::new("too late: order 000001 is CANCELLED"));
    assert_eq!(guard.modify_order(&id, &to_price(1501)), Err(late));
}

#[test]
fn an_order_between_two_states_is_not_as_before() {
    for state in ["MODIFY VALIDATION PENDING", "CANCEL PENDING"] {
        let (broker, guard, id) = with_order();
        broker.fates([Fate::LostAs(state)]);
        assert_eq!(
            lookup_of(guard.modify_order(&id, &to_price(1501))).0,
            LookupResult::Unclear,
            "{state}"
        );
        let (broker, guard, id) = with_order();
        broker.fates([Fate::LostAs(state), Fate::LostBefore]);
        assert_eq!(lookup_of(guard.cancel_order(&id)).0, LookupResult::Unclear, "{state}");
    }
}

/// The rest of the change was true before: it is no evidence for the part that shows nowhere.
#[test]
fn what_shows_does_not_speak_for_the_visible_quantity() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore]);
    let (lookup_of, message) =
        lookup_of(guard.modify_order(&id, &to_price(1500).disclosed_quantity(1)));
    assert_eq!(lookup_of, LookupResult::Unclear);
    assert!(message.contains("visible quantity"), "{message}");
}
