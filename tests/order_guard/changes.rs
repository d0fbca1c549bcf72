//! Changing and cancelling an order.

use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, Detail, OrderChange, OrderId, OrderStatus, OrderTags, Seen,
};
use lanekeeper::resilience::guard::OrderGuard;

use super::shaky::{Fate, SETTLE, Shaky, order, to_price, transient};

fn with_order() -> (Shaky, OrderGuard<Shaky>, OrderId) {
    let broker = Shaky::new(OrderTags::none());
    let guard = broker.guard();
    let id = guard.place_order(&order(1)).unwrap();
    (broker, guard, id)
}

fn seen<A: std::fmt::Debug>(answer: Result<A, BrokerError>) -> (Seen, String) {
    match answer {
        Err(BrokerError::OutcomeUnknown(detail)) => {
            let trail = detail.trail.expect("a trail");
            assert_eq!(trail.tag, None);
            (trail.seen, detail.message)
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
    assert_eq!(broker.state().looks, 0);

    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore, Fate::LostBefore]);
    let (seen, message) = seen(guard.cancel_order(&id));
    assert_eq!(seen, Seen::Nothing);
    assert_eq!(message, "connection reset; 10s later order 000001 is OPEN and as before");
    assert_eq!(broker.state().cancelled, 2);
}

#[test]
fn an_order_that_was_filled_first_was_neither_cancelled_nor_changed() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostAsFilled]);
    let answer = guard.cancel_order(&id);
    let late = BrokerError::Rejected(Detail::new("too late: order 000001 is FILLED"));
    assert_eq!(answer, Err(late.clone()));

    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostAsFilled]);
    assert_eq!(guard.modify_order(&id, &to_price(1501)), Err(late));
}

#[test]
fn an_order_that_cannot_be_looked_at_says_so() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore, Fate::LostBefore]);
    broker.blind(500, &transient());
    assert_eq!(seen(guard.cancel_order(&id)).0, Seen::Unread);
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
    assert_eq!(seen(guard.modify_order(&id, &to_price(1501))).0, Seen::Nothing);
    assert_eq!(broker.state().modified, 1);
}

#[test]
fn a_change_that_shows_nowhere_is_not_looked_for() {
    let (broker, guard, id) = with_order();
    broker.fates([Fate::LostBefore]);
    let change = OrderChange::new().disclosed_quantity(1);
    assert_eq!(seen(guard.modify_order(&id, &change)).0, Seen::Unread);
    assert_eq!(broker.state().looks, 0);
}
