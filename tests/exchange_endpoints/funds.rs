//! Mutual funds over HTTP.

use lanekeeper_simulator::{SimulatedExchange, SimulatorError};
use serde_json::{Value, json};

use crate::client::{fields, get, roomy, send, send_as, still};

const FUND: &str = "INF000P01011";

fn exchange() -> SimulatedExchange {
    roomy(still()).fund_holding(FUND, 25, 100).start().unwrap()
}

#[test]
fn an_order_stays_open_until_it_is_cancelled() {
    let exchange = exchange();
    let buy = format!("tradingsymbol={FUND}&transaction_type=BUY&amount=5000&tag=a");
    let id = send(&exchange, "POST", "/mf/orders", &buy).data()["order_id"].clone();
    let path = format!("/mf/orders/{}", id.as_str().unwrap());
    let order = get(&exchange, &path).data();
    assert_eq!((&order["status"], &order["order_id"]), (&json!("OPEN"), &id));
    assert_eq!((&order["amount"], &order["quantity"]), (&json!(5000), &json!(0)));
    assert_eq!(
        fields(&order),
        [
            "amount",
            "average_price",
            "exchange_order_id",
            "exchange_timestamp",
            "folio",
            "fund",
            "last_price",
            "last_price_date",
            "order_id",
            "order_timestamp",
            "placed_by",
            "purchase_type",
            "quantity",
            "settlement_id",
            "status",
            "status_message",
            "tag",
            "tradingsymbol",
            "transaction_type",
            "variety",
        ]
    );
    assert_eq!(get(&exchange, "/mf/orders").data(), json!([order]));
    assert_eq!(send_as("other", &exchange, "GET", "/mf/orders", b"").data(), json!([]));
    assert_eq!(send_as("other", &exchange, "DELETE", &path, b"").status, 404);
    assert_eq!(send(&exchange, "DELETE", &path, "").data(), json!({"order_id": id}));
    assert_eq!(get(&exchange, &path).data()["status"], "CANCELLED");
    assert_eq!(send(&exchange, "DELETE", &path, "").error().1, "InputException");
}

#[test]
fn a_sip_is_placed_changed_and_cancelled() {
    let exchange = exchange();
    let plan = format!("tradingsymbol={FUND}&amount=1000&instalments=12&frequency=monthly");
    let placed = send(&exchange, "POST", "/mf/sips", &plan).data();
    assert_eq!(placed["order_id"], Value::Null);
    let path = format!("/mf/sips/{}", placed["sip_id"].as_str().unwrap());
    let sip = get(&exchange, &path).data();
    assert_eq!(get(&exchange, "/mf/sips").data(), json!([sip]));
    assert_eq!((&sip["status"], &sip["instalment_amount"]), (&json!("ACTIVE"), &json!(1000)));
    assert!(sip["next_instalment"].as_str().unwrap() > sip["created"].as_str().unwrap());
    let id = json!({"sip_id": placed["sip_id"]});
    assert_eq!(send(&exchange, "PUT", &path, "status=paused&instalment_day=5").data(), id);
    let sip = get(&exchange, &path).data();
    assert_eq!((&sip["status"], &sip["instalment_day"]), (&json!("PAUSED"), &json!(5)));
    assert_eq!(send_as("other", &exchange, "GET", &path, b"").status, 404);
    assert_eq!(send(&exchange, "DELETE", &path, "").data(), id);
    assert_eq!(get(&exchange, &path).data()["status"], "CANCELLED");
    assert_eq!(send(&exchange, "PUT", &path, "amount=2000").error().1, "InputException");

    let placed = send(&exchange, "POST", "/mf/sips", &format!("{plan}&initial_amount=5000")).data();
    let order = get(&exchange, &format!("/mf/orders/{}", placed["order_id"].as_str().unwrap()));
    assert_eq!(order.data()["variety"], "sip");
}

#[test]
fn holdings_and_the_listing_are_shown() {
    let exchange = exchange();
    let holdings = get(&exchange, "/mf/holdings").data();
    assert_eq!(
        (&holdings[0]["tradingsymbol"], &holdings[0]["quantity"]),
        (&json!(FUND), &json!(25))
    );
    // Each account begins with the same.
    assert_eq!(send_as("other", &exchange, "GET", "/mf/holdings", b"").data(), holdings);
    let listing = get(&exchange, "/mf/instruments").body;
    assert!(listing.starts_with("tradingsymbol,amc,name,purchase_allowed,redemption_allowed,"));
    assert_eq!(listing.lines().count(), 4);
    assert!(listing.lines().any(|line| line.starts_with(FUND)));
}

#[test]
fn a_holding_that_makes_no_sense_is_refused() {
    let start = |isin, quantity: i64| {
        SimulatedExchange::builder().fund_holding(isin, quantity, 100).start().unwrap_err()
    };
    assert!(matches!(start("INE000000000", 1), SimulatorError::UnknownFund { .. }));
    for quantity in [0, -1, i64::MAX] {
        assert!(matches!(start(FUND, quantity), SimulatorError::FundHolding { .. }));
    }
}
