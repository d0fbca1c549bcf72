//! The adapter against a server that no one here wrote: both agree on what Alpaca's wire is.
#![allow(clippy::unwrap_used)]

use lanekeeper::brokers::alpaca::{self, DUPLICATE_CLIENT_ORDER_ID};
use lanekeeper::{
    Alpaca, Broker, BrokerError, BrokerProxy, Instrument, OrderChange, OrderRequest, OrderStatus,
    PriorUsage, Side,
};
use lanekeeper_alpaca_mock::Mock;
use rust_decimal::Decimal;

fn aapl() -> Instrument {
    Instrument::new("US", "AAPL")
}

/// Too low to be filled.
fn resting(quantity: u64) -> OrderRequest {
    OrderRequest::limit(aapl(), Side::Buy, quantity, 15_000)
}

fn alpaca(mock: &Mock) -> Alpaca {
    let keys = Alpaca::builder().key_id("PKTESTKEY0123456").secret_key("s3cr3tKeyOfAlpaca");
    keys.trading_url(mock.url()).build().unwrap()
}

#[test]
fn an_order_is_placed_replaced_and_cancelled() {
    let mock = Mock::start().unwrap();
    let alpaca = alpaca(&mock);
    let old = alpaca.place_order(&resting(10).tag("first")).unwrap();
    let placed = alpaca.order(&old).unwrap();
    assert_eq!((placed.status, placed.quantity), (OrderStatus::Open, 10.into()));
    assert_eq!((placed.instrument, placed.tag.as_deref()), (aapl(), Some("first")));
    assert_eq!((placed.price, placed.side), (Some(15_000.into()), Side::Buy));
    assert!(placed.placed_at.is_some());

    let change = OrderChange::new().price(15_100).quantity(7);
    let new = alpaca.modify_order(&old, &change).unwrap();
    assert_ne!(new, old);
    let replaced = alpaca.order(&old).unwrap();
    assert_eq!((replaced.status, replaced.replaced_by), (OrderStatus::Replaced, Some(new.clone())));
    let present = alpaca.order(&new).unwrap();
    assert_eq!((present.quantity, present.price), (7.into(), Some(15_100.into())));

    alpaca.cancel_order(&new).unwrap();
    assert_eq!(alpaca.order(&new).unwrap().status, OrderStatus::Cancelled);
    assert!(matches!(alpaca.cancel_order(&new), Err(BrokerError::Rejected(_))));
    let mut ids: Vec<_> = alpaca.orders().unwrap().iter().map(|order| order.id.clone()).collect();
    ids.sort();
    let mut both = vec![old, new];
    both.sort();
    assert_eq!(ids, both, "each order is in the book once");
}

#[test]
fn a_second_order_with_the_same_tag_is_a_duplicate() {
    let mock = Mock::start().unwrap();
    let alpaca = alpaca(&mock);
    let id = alpaca.place_order(&resting(1).tag("once")).unwrap();
    let error = alpaca.place_order(&resting(1).tag("once")).unwrap_err();
    assert_eq!(error.detail().unwrap().code.as_deref(), Some(DUPLICATE_CLIENT_ORDER_ID), "{error}");
    assert_eq!(alpaca.order_by_tag("once").unwrap().id, id);
    assert!(matches!(alpaca.order_by_tag("never"), Err(BrokerError::Rejected(_))));
}

#[test]
fn a_fill_is_a_trade_and_a_position() {
    let mock = Mock::start().unwrap();
    let alpaca = alpaca(&mock);
    let half = Decimal::new(5, 1);
    let id = alpaca.place_order(&OrderRequest::market(aapl(), Side::Buy, half)).unwrap();
    let order = alpaca.order(&id).unwrap();
    assert_eq!((order.status, order.filled_quantity), (OrderStatus::Filled, half));
    let trades = alpaca.order_trades(&id).unwrap();
    assert_eq!((trades.len(), trades[0].quantity, trades[0].side), (1, half, Side::Buy));
    let positions = alpaca.positions().unwrap();
    assert!(positions.is_complete(), "{positions:?}");
    assert_eq!((&positions.net[0].instrument, positions.net[0].quantity), (&aapl(), half));
    assert_eq!(positions.net[0].average_price, order.average_price.unwrap());

    // By value: its quantity follows from the price.
    let id = alpaca.place_order(&alpaca::market_by_value(aapl(), Side::Buy, 38_000)).unwrap();
    assert_eq!(alpaca.order(&id).unwrap().filled_quantity, 2.into());
}

#[test]
fn the_account_can_be_read() {
    let mock = Mock::start().unwrap();
    let alpaca = alpaca(&mock);
    let margins = alpaca.margins().unwrap();
    let account = margins.segment("account").unwrap();
    assert!(account.enabled && account.net > Decimal::ZERO, "{account:?}");
    assert_eq!(alpaca.profile().unwrap().broker, "ALPACA");
}

#[test]
fn the_whole_stack_trades() {
    let mock = Mock::start().unwrap();
    // Nothing else uses the account.
    let proxy = BrokerProxy::builder(alpaca(&mock)).prior_usage(PriorUsage::None);
    let broker = proxy.order_guard(|guard| guard).build().unwrap();
    let id = broker.place_order(&resting(3)).unwrap();
    assert_eq!(broker.order(&id).unwrap().tag.unwrap().len(), 20);
    broker.for_exits().cancel_order(&id).unwrap();
    assert!(broker.order(&id).unwrap().status.is_final());
}
