//! The margin calculator and the charges.

use lanekeeper_simulator::SimulatedExchange;
use serde_json::{Value, json};

use crate::client::{Reply, fields, get, roomy, send, still};

/// The routes that take orders as JSON.
const ROUTES: [&str; 3] = ["/margins/orders", "/margins/basket", "/charges/orders"];

fn order(side: &str, product: &str, quantity: i64, price: i64) -> Value {
    json!({
        "order_id": "1", "exchange": "NSE", "tradingsymbol": "YESBANK", "transaction_type": side,
        "variety": "regular", "product": product, "order_type": "LIMIT", "quantity": quantity,
        "price": price, "trigger_price": 0, "average_price": price,
    })
}

fn post(exchange: &SimulatedExchange, path: &str, body: &Value) -> Reply {
    send(exchange, "POST", path, &body.to_string())
}

#[test]
fn the_margin_of_an_order_is_what_the_paper_broker_blocks() {
    let exchange = roomy(still()).circuit_limits(false).start().unwrap();
    let net = || get(&exchange, "/user/margins/equity").data()["net"].as_f64().unwrap();
    let total = |order: &Value| {
        let margins = post(&exchange, "/margins/orders", &json!([order])).data();
        margins[0]["total"].as_f64().unwrap()
    };
    let place = |order: &Value| {
        let fields = ["exchange", "tradingsymbol", "transaction_type", "product", "order_type"];
        let mut form: String =
            fields.map(|name| format!("{name}={}&", order[name].as_str().unwrap())).concat();
        form += &format!("quantity={}&price={}", order["quantity"], order["price"]);
        send(&exchange, "POST", "/orders/regular", &form).data();
    };
    // A purchase that rests, one that is filled, a sale that closes, and one that turns the position round.
    for (side, quantity, price) in
        [("BUY", 10, 5), ("BUY", 10, 500), ("SELL", 4, 50), ("SELL", 20, 50)]
    {
        let order = order(side, "CNC", quantity, price);
        let (asked, before) = (total(&order), net());
        place(&order);
        if price == 5 {
            assert_eq!(before - net(), asked);
        }
        let closes = side == "SELL" && quantity == 4;
        assert_eq!(asked == 0.0, closes, "{order}");
    }
    assert_eq!(total(&order("SELL", "CNC", 1, 7)), 7.0);
}

#[test]
fn a_basket_needs_what_is_left_when_its_orders_close_each_other() {
    let exchange = roomy(still()).start().unwrap();
    let basket = json!([order("BUY", "NRML", 10, 100), order("SELL", "NRML", 4, 100)]);
    let margins = post(&exchange, "/margins/basket?consider_positions=True", &basket).data();
    assert_eq!(margins["initial"]["total"].to_string(), "1400");
    assert_eq!(margins["final"]["total"].to_string(), "600");
    assert_eq!(margins["orders"], post(&exchange, "/margins/orders", &basket).data());
    let compact = post(&exchange, "/margins/basket?mode=compact", &basket).data();
    assert_eq!(
        compact["final"],
        json!({"type": "", "tradingsymbol": "", "exchange": "", "total": 600})
    );
    let compact = post(&exchange, "/margins/orders?mode=compact", &basket).data();
    assert_eq!(compact[0].as_object().unwrap().len(), 4);
    for query in ["mode=small", "consider_positions=perhaps"] {
        let reply = post(&exchange, &format!("/margins/basket?{query}"), &basket);
        assert_eq!(reply.error().1, "InputException", "{query}");
    }
}

#[test]
fn a_market_order_has_the_margin_of_the_last_price() {
    let exchange = roomy(still()).start().unwrap();
    let price =
        get(&exchange, "/quote/ltp?i=NSE:YESBANK").data()["NSE:YESBANK"]["last_price"].clone();
    let mut market = order("BUY", "MIS", 1, 0);
    market["order_type"] = "MARKET".into();
    let margins = post(&exchange, "/margins/orders", &json!([market])).data();
    assert_eq!(margins[0]["total"], price);
    assert_eq!(
        fields(&margins[0]),
        [
            "additional",
            "bo",
            "cash",
            "charges",
            "exchange",
            "exposure",
            "leverage",
            "option_premium",
            "pnl",
            "span",
            "total",
            "tradingsymbol",
            "type",
            "var",
        ]
    );
}

#[test]
fn charges_are_itemised() {
    let exchange = roomy(still()).start().unwrap();
    let note = post(&exchange, "/charges/orders", &json!([order("BUY", "CNC", 10, 100)])).data();
    assert_eq!((&note[0]["price"], &note[0]["quantity"]), (&json!(100), &json!(10)));
    let charges = &note[0]["charges"];
    for (name, expected) in [
        ("transaction_tax", "1"),
        ("exchange_turnover_charge", "0.0297"),
        ("sebi_turnover_charge", "0.001"),
        ("brokerage", "0"),
        ("stamp_duty", "0.15"),
        ("total", "1.186226"),
    ] {
        assert_eq!(charges[name].to_string(), expected, "{name}");
    }
    assert_eq!(charges["gst"]["total"].to_string(), "0.005526");
}

#[test]
fn bad_orders_are_refused_with_the_name_of_the_field() {
    let exchange = roomy(still()).start().unwrap();
    let good = order("BUY", "CNC", 1, 100);
    let refused = |path: &str, body: &str, message: &str| {
        let (status, kind, said) = send(&exchange, "POST", path, body).error();
        assert_eq!((status, kind.as_str()), (400, "InputException"), "{path} {body}");
        assert!(said.contains(message), "{path}: {said}, not {message}");
    };
    for path in ROUTES {
        assert_eq!(post(&exchange, path, &json!([good])).status, 200);
        for (name, wrong) in [
            ("exchange", json!(null)),
            ("tradingsymbol", json!("NONE")),
            ("tradingsymbol", json!("")),
            ("transaction_type", json!("HOLD")),
            ("variety", json!(null)),
            ("product", json!("XYZ")),
            ("order_type", json!(7)),
            ("quantity", json!(0)),
            ("quantity", json!(-1)),
            ("quantity", json!(1.5)),
            ("quantity", json!("1")),
            ("quantity", json!(1e30)),
        ] {
            let mut order = good.clone();
            order[name] = wrong;
            refused(path, &json!([order]).to_string(), &format!("`{name}`"));
        }
        for (body, message) in [
            ("", "Invalid JSON"),
            ("exchange=NSE", "Invalid JSON"),
            ("[", "Invalid JSON"),
            ("[]", "`orders`"),
            ("{}", "`orders`"),
            ("[1]", "`orders`"),
            (&"[".repeat(50_000), "Invalid JSON"),
        ] {
            refused(path, body, message);
        }
    }
    let mut order = good.clone();
    order["price"] = 0.into();
    refused("/margins/orders", &json!([order]).to_string(), "`price`");
    order["average_price"] = 0.into();
    refused("/charges/orders", &json!([order]).to_string(), "`average_price`");
}
