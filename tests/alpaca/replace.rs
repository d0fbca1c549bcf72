//! A change replaces the order by another one, also if its answer is lost.

use lanekeeper::broker::{Broker, BrokerError};
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::{Alpaca, ManualClock, OrderChange, OrderId, OrderStatus};

use super::exchange::{Exchange, Fate};
use super::requests::order;
use super::server::{Server, json};

fn guard(alpaca: Alpaca) -> OrderGuard<Alpaca> {
    OrderGuard::builder(alpaca).clock(ManualClock::auto_advancing()).build().unwrap()
}

#[test]
fn a_change_returns_the_id_of_the_new_order() {
    let exchange = Exchange::default();
    let server = exchange.server();
    let alpaca = server.alpaca();
    let old = alpaca.place_order(&order()).unwrap();
    let new = alpaca.modify_order(&old, &OrderChange::new().price(185)).unwrap();
    assert_eq!((old.as_str(), new.as_str()), ("order-1", "order-2"));
    assert_eq!(server.received()[1].route(), "PATCH /v2/orders/order-1");
    assert_eq!(server.received()[1].json(), serde_json::json!({"limit_price": "185"}));
    let (before, after) = (alpaca.order(&old).unwrap(), alpaca.order(&new).unwrap());
    assert_eq!((before.status, before.replaced_by), (OrderStatus::Replaced, Some(new.clone())));
    assert_eq!((after.status, after.price), (OrderStatus::Open, Some(185.into())));
    // Cancelled by its new id, and not by the old one.
    assert!(matches!(alpaca.cancel_order(&old), Err(BrokerError::Rejected(_))));
    alpaca.cancel_order(&new).unwrap();
}

#[test]
fn a_change_whose_answer_is_lost_is_found_in_the_order_that_replaced_it() {
    for fate in [Fate::TakenThen504, Fate::TakenThenCut] {
        let exchange = Exchange::default();
        let server = exchange.server();
        let guard = guard(server.alpaca());
        let old = guard.place_order(&order()).unwrap();
        exchange.fates([fate]);
        let new = guard.modify_order(&old, &OrderChange::new().price(185));
        assert_eq!(new, Ok(OrderId::new("order-2")), "{fate:?}");
        assert_eq!(exchange.state().orders.len(), 2, "and it was sent once");
    }
}

/// The first sending replaced the order, so the second is refused, and the client sees that refusal alone.
#[test]
fn a_change_that_something_on_the_way_sent_twice_is_made() {
    let exchange = Exchange::default();
    let server = exchange.server();
    let guard = guard(server.alpaca());
    let old = guard.place_order(&order()).unwrap();
    exchange.fates([Fate::SentTwice]);
    let change = OrderChange::new().price(185);
    assert_eq!(guard.modify_order(&old, &change), Ok(OrderId::new("order-2")));
    // A refusal of another change stays one.
    let other = guard.modify_order(&old, &OrderChange::new().price(186));
    assert!(matches!(other, Err(BrokerError::Rejected(_))), "{other:?}");
    exchange.fates([Fate::Rejected]);
    let refused = guard.modify_order(&OrderId::new("order-2"), &change);
    assert!(matches!(refused, Err(BrokerError::Rejected(_))), "{refused:?}");
}

#[test]
fn a_change_that_never_arrived_is_absent() {
    let exchange = Exchange::default();
    let server = exchange.server();
    let guard = guard(server.alpaca());
    let old = guard.place_order(&order()).unwrap();
    exchange.fates([Fate::LostAs502]);
    let error = guard.modify_order(&old, &OrderChange::new().price(185)).unwrap_err();
    assert!(matches!(error, BrokerError::Absent(_)), "{error}");
}

#[test]
fn a_lost_cancellation_of_a_replaced_order_names_the_one_in_its_place() {
    let exchange = Exchange::default();
    let server = exchange.server();
    let guard = guard(server.alpaca());
    let old = guard.place_order(&order()).unwrap();
    guard.modify_order(&old, &OrderChange::new().price(185)).unwrap();
    exchange.fates([Fate::LostAs502, Fate::LostByCut]);
    let error = guard.cancel_order(&old).unwrap_err();
    assert!(matches!(error, BrokerError::Rejected(_)), "{error}");
    assert!(error.to_string().contains("order-2"), "{error}");
}

/// Alpaca may count what was filled before against the quantity of the new order.
#[test]
fn a_lost_change_of_an_order_that_was_replaced_differently_is_in_doubt() {
    for status in ["new", "filled"] {
        let order = |id: &str, status: &str, replaced_by: Option<&str>| {
            serde_json::json!({"id": id, "symbol": "AAPL", "side": "buy", "status": status,
                "qty": "6", "limit_price": "185", "replaced_by": replaced_by})
            .to_string()
        };
        let server = Server::new(move |request| match request.route().as_str() {
            "PATCH /v2/orders/1" => json(504, ""),
            "GET /v2/orders/1" => json(200, &order("1", "replaced", Some("2"))),
            _ => json(200, &order("2", status, None)),
        });
        let change = OrderChange::new().price(185).quantity(10);
        let error = guard(server.alpaca()).modify_order(&OrderId::new("1"), &change).unwrap_err();
        assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{status}: {error}");
        assert!(error.to_string().contains("order 2"), "{error}");
    }
}
