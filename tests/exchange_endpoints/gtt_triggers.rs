//! GTTs that are triggered by the prices of the paper broker.

use std::time::{Duration, Instant};

use lanekeeper::broker::{Broker, Instrument, OrderRequest, Side};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::{PaperBuilder, Prices};
use lanekeeper::clock::ManualClock;
use lanekeeper_simulator::SimulatedExchange;
use serde_json::{Value, json};

use crate::client::{form, get, roomy, send};

/// Returns a broker at which `X` costs 100, 101, 95, 90 and 110, each for a second of `clock`.
fn moving(clock: &ManualClock) -> PaperBuilder {
    let rows: String = [100, 101, 95, 90, 110]
        .iter()
        .enumerate()
        .map(|(minute, price)| {
            format!(
                "2019-01-01T09:{}:00+05:30,NSE,X,{price},{price},{price},{price},5\n",
                15 + minute
            )
        })
        .collect();
    let csv = format!("time,exchange,symbol,open,high,low,close,volume\n{rows}");
    PaperBroker::builder().prices(Prices::from_csv(&csv).unwrap()).clock(clock.clone())
}

/// Places a GTT at a last price of 100. Its orders have the prices of its triggers, unless `price` is given.
fn place(exchange: &SimulatedExchange, side: &str, triggers: &[i64], price: Option<i64>) -> String {
    let order = |trigger: &i64| {
        json!({
            "exchange": "NSE", "tradingsymbol": "X", "transaction_type": side, "quantity": 2,
            "order_type": "LIMIT", "product": "CNC", "price": price.unwrap_or(*trigger),
        })
    };
    let orders: Vec<Value> = triggers.iter().map(order).collect();
    let condition = json!({
        "exchange": "NSE", "tradingsymbol": "X", "trigger_values": triggers, "last_price": 100,
    });
    let gtt = form(&[
        ("type", if triggers.len() == 1 { "single" } else { "two-leg" }),
        ("condition", &condition.to_string()),
        ("orders", &Value::from(orders).to_string()),
    ]);
    let placed = send(exchange, "POST", "/gtt/triggers", &gtt).data();
    format!("/gtt/triggers/{}", placed["trigger_id"])
}

fn x() -> Instrument {
    Instrument::new("NSE", "X")
}

#[test]
fn a_trigger_that_is_met_places_its_order_once() {
    let clock = ManualClock::new();
    let exchange = roomy(moving(&clock)).start().unwrap();
    exchange.broker().place_order(&OrderRequest::market(x(), Side::Buy, 2)).unwrap();
    let path = place(&exchange, "SELL", &[95, 110], None);
    clock.advance(Duration::from_secs(1));
    assert_eq!(get(&exchange, &path).data()["status"], "active");
    assert_eq!(exchange.orders().len(), 1);

    clock.advance(Duration::from_secs(1));
    let gtt = get(&exchange, &path).data();
    assert_eq!(gtt["status"], "triggered");
    assert_eq!(gtt["orders"][1]["result"], Value::Null);
    let result = &gtt["orders"][0]["result"];
    assert_eq!(result["triggered_at"].to_string(), "95");
    assert_eq!((&result["quantity"], &result["transaction_type"]), (&json!(2), &json!("SELL")));
    assert!(result["meta"].as_str().unwrap().contains("\"gtt\""));
    let order_id = result["order_result"]["order_id"].as_str().unwrap();
    assert_eq!(result["order_result"]["status"], "success");

    let orders = get(&exchange, "/orders").data();
    assert_eq!(orders[1]["order_id"], order_id);
    assert_eq!((&orders[1]["status"], &orders[1]["price"]), (&json!("COMPLETE"), &json!(95)));

    // The other trigger is met later, and the first one again on the next round of the tape.
    for _ in 0..8 {
        clock.advance(Duration::from_secs(1));
        get(&exchange, "/gtt/triggers").data();
    }
    assert_eq!(exchange.orders().len(), 2);
    assert_eq!(get(&exchange, "/gtt/triggers").data().as_array().unwrap().len(), 1);
}

#[test]
fn a_trigger_is_met_while_no_request_arrives() {
    let clock = ManualClock::new();
    let exchange = roomy(moving(&clock)).start().unwrap();
    place(&exchange, "BUY", &[95], None);
    clock.advance(Duration::from_secs(2));
    let began = Instant::now();
    while exchange.orders().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "no order was placed");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(exchange.orders()[0].instrument, x());
}

#[test]
fn an_order_that_fails_is_shown_with_its_reason() {
    let clock = ManualClock::new();
    // Enough for two shares at 96, and not for two at 120.
    let exchange = roomy(moving(&clock).cash(230)).start().unwrap();
    // The circuit limits are 80 and 120.
    let beyond = place(&exchange, "BUY", &[95], Some(121));
    let dear = place(&exchange, "BUY", &[96], Some(120));
    clock.advance(Duration::from_secs(2));
    let result = |path: &str| {
        let gtt = get(&exchange, path).data();
        assert_eq!(gtt["status"], "triggered");
        gtt["orders"][0]["result"]["order_result"].clone()
    };
    let beyond = result(&beyond);
    assert_eq!((&beyond["status"], &beyond["order_id"]), (&json!("failed"), &json!("")));
    let reason = beyond["rejection_reason"].as_str().unwrap();
    assert!(reason.starts_with("Your order price is higher than the current upper circuit limit"));
    let dear = result(&dear);
    assert_eq!(dear["status"], "failed");
    let orders = get(&exchange, "/orders").data();
    assert_eq!(
        (&orders[0]["order_id"], &orders[0]["status"]),
        (&dear["order_id"], &json!("REJECTED"))
    );
    assert_eq!(dear["rejection_reason"], orders[0]["status_message"]);
}

#[test]
fn a_gtt_that_was_deleted_in_time_places_nothing() {
    let clock = ManualClock::new();
    let exchange = roomy(moving(&clock)).start().unwrap();
    let path = place(&exchange, "BUY", &[95], None);
    send(&exchange, "DELETE", &path, "").data();
    clock.advance(Duration::from_secs(2));
    assert_eq!(get(&exchange, &path).data()["status"], "deleted");
    assert!(exchange.orders().is_empty());
}
