//! Margins of orders and of baskets, and of one segment.

use lanekeeper::OrderRequest;
use lanekeeper::broker::{Product, Side, Variety};
use lanekeeper::brokers::kite::{BasketOptions, KiteMargins, MarginSegment};

use crate::support::{
    call, check_answer, dec, infy, is_malformed, is_transient, odd, refused, success,
};

fn orders() -> [OrderRequest; 2] {
    [
        OrderRequest::limit(infy(), Side::Buy, 10, dec("1500.50")).product(Product::Mis).tag("a"),
        OrderRequest::stop_limit(odd(), Side::Sell, 1, 100, dec("99.5")).variety(Variety::Amo),
    ]
}

const ORDERS_JSON: &str = r#"[{"exchange":"NSE","tradingsymbol":"INFY","transaction_type":"BUY","variety":"regular","product":"MIS","order_type":"LIMIT","quantity":10,"price":1500.5},{"exchange":"NSE","tradingsymbol":"M&M","transaction_type":"SELL","variety":"amo","product":"CNC","order_type":"SL","quantity":1,"price":99.5,"trigger_price":100}]"#;

const OF_INFY: &str = r#"{"type":"equity","tradingsymbol":"INFY","exchange":"NSE","span":0,
    "exposure":1.5,"option_premium":-2.25,"additional":3,"bo":4,"cash":5,"var":3001.05000000002,
    "pnl":{"realised":6,"unrealised":-7.5},"leverage":5,
    "charges":{"transaction_tax":0.75,"transaction_tax_type":"stt","exchange_turnover_charge":0.5,
        "sebi_turnover_charge":0.015,"brokerage":4.5,"stamp_duty":0.45,
        "gst":{"igst":0.9,"cgst":0.1,"sgst":0.2,"total":1.2},"total":7.415},
    "total":3001.05000000002}"#;
const OF_ODD: &str = r#"{"type":"equity","tradingsymbol":"M&M","exchange":"NSE","total":20}"#;
const SUM: &str = r#"{"type":"","tradingsymbol":"","exchange":"","total":2500}"#;

#[test]
fn orders_go_as_json_and_each_has_its_margin() {
    let data = format!("[{OF_INFY},{OF_ODD}]");
    let (received, margins) = call(&data, |kite| kite.order_margins(&orders()));
    assert_eq!(received.line, "POST /margins/orders HTTP/1.1");
    assert_eq!(received.header("content-type"), Some("application/json"));
    assert_eq!(received.header("content-length"), Some(received.body.len().to_string().as_str()));
    assert_eq!(received.body, ORDERS_JSON);
    let margins = margins.unwrap().complete().unwrap();
    let [infys, odds] = margins.as_slice() else { panic!("{margins:?}") };
    assert_eq!(
        (infys.instrument.as_ref(), odds.instrument.as_ref()),
        (Some(&infy()), Some(&odd()))
    );
    assert_eq!(infys.segment, Some(MarginSegment::Equity));
    assert_eq!((infys.total, infys.var), (dec("3001.05000000002"), dec("3001.05000000002")));
    assert_eq!((infys.exposure, infys.option_premium), (dec("1.5"), dec("-2.25")));
    assert_eq!((infys.additional, infys.bracket, infys.cash), (dec("3"), dec("4"), dec("5")));
    assert_eq!((infys.realised, infys.unrealised), (dec("6"), dec("-7.5")));
    assert_eq!(infys.leverage, Some(dec("5")));
    let charges = infys.charges.as_ref().unwrap();
    assert_eq!((charges.total, charges.gst.total), (dec("7.415"), dec("1.2")));
    assert_eq!(charges.transaction_tax_type.as_deref(), Some("stt"));
    // A compact answer has only totals.
    assert_eq!((odds.total, odds.span, &odds.charges), (dec("20"), dec("0"), &None));
}

#[test]
fn a_basket_says_what_counts_and_how_much_is_told() {
    let data = format!(r#"{{"initial":{SUM},"final":{SUM},"orders":[{OF_INFY},{{"total":"?"}}]}}"#);
    let options = BasketOptions::new();
    for (options, query) in [
        (options, "consider_positions=true"),
        (options.consider_positions(false), "consider_positions=false"),
        (options.compact(true), "consider_positions=true&mode=compact"),
    ] {
        let (received, basket) = call(&data, |kite| kite.basket_margins(&orders(), options));
        assert_eq!(received.line, format!("POST /margins/basket?{query} HTTP/1.1"));
        assert_eq!(received.header("content-type"), Some("application/json"));
        assert_eq!(received.body, ORDERS_JSON);
        let basket = basket.unwrap();
        assert_eq!((basket.initial.total, basket.after.total), (dec("2500"), dec("2500")));
        assert_eq!((&basket.initial.instrument, &basket.initial.segment), (&None, &None));
        assert_eq!((basket.orders.len(), basket.problems.len()), (1, 1));
    }
}

#[test]
fn a_basket_without_its_sums_is_malformed() {
    for data in [
        format!(r#"{{"initial":{SUM},"orders":[]}}"#),
        format!(r#"{{"final":{SUM},"orders":[]}}"#),
        format!(r#"{{"initial":{{"span":1}},"final":{SUM},"orders":[]}}"#),
    ] {
        let options = BasketOptions::new();
        let basket = |kite: &lanekeeper::Kite| kite.basket_margins(&orders(), options);
        check_answer(&success(&data), basket, is_malformed);
    }
}

#[test]
fn a_margin_without_a_total_is_a_problem() {
    let data = format!(r#"[{{"tradingsymbol":"INFY","exchange":"NSE"}},{OF_ODD}]"#);
    let margins = call(&data, |kite| kite.order_margins(&orders())).1.unwrap();
    assert_eq!((margins.len(), margins.problems.len()), (1, 1));
    assert_eq!(margins.problems[0].name.as_deref(), Some("INFY"));
}

#[test]
fn the_margin_of_another_instrument_is_another_answer() {
    let other = success(&format!("[{OF_INFY}]").replace("INFY", "TCS"));
    check_answer(&other, |kite| kite.order_margins(&orders()), is_transient);
    let basket = format!(r#"{{"initial":{SUM},"final":{SUM},"orders":[{OF_INFY}]}}"#);
    let basket = success(&basket.replace("INFY", "TCS"));
    let options = BasketOptions::new();
    check_answer(&basket, |kite| kite.basket_margins(&orders(), options), is_transient);
}

#[test]
fn one_segment_has_its_funds() {
    let data = r#"{"enabled":true,"net":99725.05000000002,"available":{"cash":245431.6},
        "utilised":{"span":101989}}"#;
    let (received, margin) = call(data, |kite| kite.segment_margins(&MarginSegment::Commodity));
    assert_eq!(received.line, "GET /user/margins/commodity HTTP/1.1");
    let margin = margin.unwrap();
    assert_eq!((margin.enabled, margin.net), (true, dec("99725.05000000002")));
    assert_eq!((margin.available["cash"], margin.used["span"]), (dec("245431.6"), dec("101989")));
    let no_sum = success(r#"{"enabled":true,"available":{"cash":1}}"#);
    check_answer(&no_sum, |kite| kite.segment_margins(&MarginSegment::Equity), is_malformed);
}

#[test]
fn bad_orders_are_refused_before_they_are_sent() {
    let check = |words: &str, order: OrderRequest| {
        let orders = [order];
        refused(words, |kite| kite.order_margins(&orders));
        refused(words, |kite| kite.basket_margins(&orders, BasketOptions::new()));
    };
    refused("no orders", |kite| kite.order_margins(&[]));
    refused("no orders", |kite| kite.basket_margins(&[], BasketOptions::new()));
    check("quantity is 0", OrderRequest::market(infy(), Side::Buy, 0));
    check("price is 0", OrderRequest::limit(infy(), Side::Buy, 1, 0));
    let [mut order, _] = orders();
    order.price = None;
    check("needs a price", order);
    let nowhere = lanekeeper::Instrument::new("", "INFY");
    check("lacks an exchange", OrderRequest::market(nowhere, Side::Buy, 1));
    check("no order variety", OrderRequest::market(infy(), Side::Buy, 1).variety("a/b".into()));
    refused("no segment", |kite| kite.segment_margins(&"equity/../profile".into()));
    refused("no segment", |kite| kite.segment_margins(&"".into()));
}
