//! The virtual contract note.

use lanekeeper::broker::{
    Order, OrderId, OrderRequest, OrderStatus, OrderType, Product, Side, Variety,
};
use lanekeeper::brokers::kite::{ChargedOrder, KiteMargins};

use crate::support::{call, check_answer, dec, infy, is_malformed, is_transient, refused, success};

fn charged() -> ChargedOrder {
    ChargedOrder::new(OrderId::new("amo/260119000000001"), infy(), Side::Buy, 10, dec("1500.50"))
        .order_type(OrderType::Stop)
        .product(Product::Mis)
        .variety(Variety::Amo)
}

const NOTE: &str = r#"{"transaction_type":"BUY","tradingsymbol":"INFY","exchange":"NSE",
    "variety":"amo","product":"MIS","order_type":"SL-M","quantity":10,"price":1500.5,
    "charges":{"transaction_tax":1.5,"transaction_tax_type":"stt","exchange_turnover_charge":0.5,
        "sebi_turnover_charge":0.015,"brokerage":4.5,"stamp_duty":0.45,
        "gst":{"igst":0.9027,"cgst":0,"sgst":0,"total":0.9027},"total":7.8677}}"#;

#[test]
fn filled_orders_go_as_json_and_each_has_its_charges() {
    let (received, charges) = call(&format!("[{NOTE}]"), |kite| kite.order_charges(&[charged()]));
    assert_eq!(received.line, "POST /charges/orders HTTP/1.1");
    assert_eq!(received.header("content-type"), Some("application/json"));
    assert_eq!(
        received.body,
        r#"[{"order_id":"260119000000001","exchange":"NSE","tradingsymbol":"INFY","transaction_type":"BUY","variety":"amo","product":"MIS","order_type":"SL-M","quantity":10,"average_price":1500.5}]"#
    );
    let charges = charges.unwrap().complete().unwrap();
    let [note] = charges.as_slice() else { panic!("{charges:?}") };
    assert_eq!((&note.instrument, note.side, note.quantity), (&infy(), Side::Buy, dec("10")));
    assert_eq!((note.price, &note.order_type), (Some(dec("1500.5")), &Some(OrderType::Stop)));
    assert_eq!((&note.product, &note.variety), (&Some(Product::Mis), &Some(Variety::Amo)));
    let costs = &note.charges;
    assert_eq!((costs.total, costs.transaction_tax), (dec("7.8677"), dec("1.5")));
    assert_eq!((costs.exchange_turnover, costs.sebi_turnover), (dec("0.5"), dec("0.015")));
    assert_eq!((costs.brokerage, costs.stamp_duty), (dec("4.5"), dec("0.45")));
    assert_eq!((costs.gst.integrated, costs.gst.total), (dec("0.9027"), dec("0.9027")));
}

#[test]
fn an_order_of_the_book_is_charged_for_what_is_filled() {
    let request = OrderRequest::limit(infy(), Side::Sell, 10, 1500).product(Product::Mis);
    let mut order = Order::new(OrderId::new("1"), OrderStatus::Open, &request);
    assert_eq!(ChargedOrder::of(&order), None);
    order.filled_quantity = dec("4");
    order.average_price = Some(dec("1501.5"));
    let charged = ChargedOrder::of(&order).unwrap();
    assert_eq!((charged.quantity, charged.average_price), (dec("4"), dec("1501.5")));
    assert_eq!((charged.side, charged.order_type), (Side::Sell, OrderType::Limit));
}

#[test]
fn charges_without_a_total_are_a_problem() {
    let data = format!("[{},{NOTE}]", NOTE.replace(",\"total\":7.8677", ""));
    let charges = call(&data, |kite| kite.order_charges(&[charged()])).1.unwrap();
    assert_eq!((charges.len(), charges.problems.len()), (1, 1));
    let other = success(&format!("[{NOTE}]").replace("INFY", "TCS"));
    check_answer(&other, |kite| kite.order_charges(&[charged()]), is_transient);
    check_answer(&success("{}"), |kite| kite.order_charges(&[charged()]), is_malformed);
}

#[test]
fn bad_orders_are_refused_before_they_are_sent() {
    refused("no orders", |kite| kite.order_charges(&[]));
    let check = |words: &str, change: fn(&mut ChargedOrder)| {
        let mut order = charged();
        change(&mut order);
        refused(words, |kite| kite.order_charges(&[order]));
    };
    check("quantity is 0", |order| order.quantity = dec("0"));
    check("average price is 0", |order| order.average_price = dec("0"));
    check("no order id", |order| order.id = OrderId::new("amo/1/2"));
    check("no order variety", |order| order.variety = "a/b".into());
}
