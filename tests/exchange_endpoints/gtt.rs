//! GTTs over HTTP: what is placed, listed, changed and deleted.

use lanekeeper_simulator::SimulatedExchange;
use serde_json::{Value, json};

use crate::client::{Reply, fields, form, get, roomy, send, send_as, still};

/// The form of a GTT that sells one share.
pub(crate) fn gtt_form(kind: &str, triggers: &[f64], last_price: f64, prices: &[f64]) -> String {
    let order = |price: &f64| {
        json!({
            "exchange": "NSE", "tradingsymbol": "YESBANK", "transaction_type": "SELL",
            "quantity": 1, "order_type": "LIMIT", "product": "CNC", "price": price,
        })
    };
    let condition = json!({
        "exchange": "NSE", "tradingsymbol": "YESBANK", "trigger_values": triggers,
        "last_price": last_price,
    });
    let orders: Vec<Value> = prices.iter().map(order).collect();
    form(&[
        ("type", kind),
        ("condition", &condition.to_string()),
        ("orders", &Value::from(orders).to_string()),
    ])
}

fn place(exchange: &SimulatedExchange, form: &str) -> Reply {
    send(exchange, "POST", "/gtt/triggers", form)
}

fn ids(exchange: &SimulatedExchange) -> Vec<u64> {
    let list = get(exchange, "/gtt/triggers").data();
    list.as_array().unwrap().iter().map(|gtt| gtt["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_gtt_is_placed_listed_changed_and_deleted() {
    let exchange = roomy(still()).start().unwrap();
    let single = gtt_form("single", &[80.0], 95.0, &[79.5]);
    let id = place(&exchange, &single).data()["trigger_id"].as_u64().unwrap();
    let two = place(&exchange, &gtt_form("two-leg", &[80.0, 110.5], 95.0, &[79.5, 110.0]));
    let two = two.data()["trigger_id"].as_u64().unwrap();
    assert_eq!(ids(&exchange), [two, id]);

    let path = format!("/gtt/triggers/{id}");
    let gtt = get(&exchange, &path).data();
    assert_eq!(
        fields(&gtt),
        [
            "condition",
            "created_at",
            "expires_at",
            "id",
            "meta",
            "orders",
            "parent_trigger",
            "status",
            "type",
            "updated_at",
            "user_id",
        ]
    );
    assert_eq!((&gtt["status"], &gtt["type"]), (&json!("active"), &json!("single")));
    assert_eq!(gtt["condition"]["trigger_values"].to_string(), "[80]");
    assert_eq!(gtt["orders"][0]["price"].to_string(), "79.5");
    assert_eq!(gtt["orders"][0]["result"], Value::Null);

    let changed = gtt_form("single", &[70.0], 95.0, &[69.0]);
    assert_eq!(send(&exchange, "PUT", &path, &changed).data(), json!({"trigger_id": id}));
    let gtt = get(&exchange, &path).data();
    assert_eq!(gtt["condition"]["trigger_values"].to_string(), "[70]");

    assert_eq!(send(&exchange, "DELETE", &path, "").data(), json!({"trigger_id": id}));
    assert_eq!(get(&exchange, &path).data()["status"], "deleted");
    assert_eq!(ids(&exchange), [two]);
    assert_eq!(send(&exchange, "DELETE", &path, "").status, 400);
    assert_eq!(send(&exchange, "PUT", &path, &changed).status, 400);
}

#[test]
fn a_gtt_belongs_to_one_account() {
    let exchange = roomy(still()).start().unwrap();
    let placed = place(&exchange, &gtt_form("single", &[80.0], 95.0, &[79.5])).data();
    let path = format!("/gtt/triggers/{}", placed["trigger_id"]);
    let other = |method, path: &str| send_as("other", &exchange, method, path, b"");
    assert_eq!(other("GET", "/gtt/triggers").data(), json!([]));
    for method in ["GET", "DELETE"] {
        let (status, kind, _) = other(method, &path).error();
        assert_eq!((status, kind.as_str()), (404, "GeneralException"), "{method}");
    }
    assert_eq!(get(&exchange, &path).data()["status"], "active");
}

#[test]
fn an_account_has_a_bounded_number_of_gtts() {
    let exchange = roomy(still()).start().unwrap();
    let form = gtt_form("single", &[80.0], 95.0, &[79.5]);
    for _ in 0..250 {
        place(&exchange, &form).data();
    }
    let (status, kind, message) = place(&exchange, &form).error();
    assert_eq!((status, kind.as_str()), (400, "InputException"));
    assert!(message.contains("250 GTTs"), "{message}");
    assert_eq!(send_as("other", &exchange, "POST", "/gtt/triggers", form.as_bytes()).status, 200);
}

#[test]
fn a_gtt_that_kite_refuses_is_refused() {
    let exchange = roomy(still()).start().unwrap();
    let condition = |text: &str| {
        let condition = json!({
            "exchange": "NSE", "tradingsymbol": "YESBANK", "trigger_values": [80],
            "last_price": 95,
        });
        let mut condition: Value = condition;
        let change: Value = serde_json::from_str(text).unwrap();
        condition.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        condition.to_string()
    };
    let order = r#"[{"exchange":"NSE","tradingsymbol":"YESBANK","transaction_type":"SELL",
        "quantity":1,"order_type":"LIMIT","product":"CNC","price":79.5}]"#;
    let good = condition("{}");
    assert_eq!(
        place(&exchange, &form(&[("type", "single"), ("condition", &good), ("orders", order)]))
            .status,
        200
    );
    let leg = |text: &str, by: &str| order.replace(text, by);
    for (kind, condition, orders, message) in [
        ("", good.clone(), order.to_owned(), "Missing or empty field `type`"),
        ("many", good.clone(), order.to_owned(), "Invalid `type`."),
        ("two-leg", good.clone(), order.to_owned(), "Invalid `trigger_values`."),
        ("single", String::new(), order.to_owned(), "Missing or empty field `condition`"),
        ("single", "{".to_owned(), order.to_owned(), "Invalid `condition`."),
        ("single", "[]".to_owned(), order.to_owned(), "Invalid `condition`."),
        (
            "single",
            condition(r#"{"exchange":null}"#),
            order.to_owned(),
            "Missing or empty field `exchange`",
        ),
        (
            "single",
            condition(r#"{"trigger_values":null}"#),
            order.to_owned(),
            "Missing or empty field `trigger_values`",
        ),
        (
            "single",
            condition(r#"{"trigger_values":["80"]}"#),
            order.to_owned(),
            "Invalid `trigger_values`.",
        ),
        (
            "single",
            condition(r#"{"trigger_values":[-1]}"#),
            order.to_owned(),
            "Invalid `trigger_values`.",
        ),
        (
            "single",
            condition(r#"{"last_price":null}"#),
            order.to_owned(),
            "Missing or empty field `last_price`",
        ),
        (
            "single",
            condition(r#"{"tradingsymbol":"NONE"}"#),
            order.to_owned(),
            "Invalid `tradingsymbol`.",
        ),
        ("single", good.clone(), String::new(), "Missing or empty field `orders`"),
        ("single", good.clone(), "[]".to_owned(), "Invalid `orders`."),
        ("single", good.clone(), "[1]".to_owned(), "Invalid `orders`."),
        ("single", good.clone(), leg("\"quantity\":1", "\"quantity\":1.5"), "Invalid `quantity`."),
        ("single", good.clone(), leg("\"quantity\":1,", ""), "Missing or empty field `quantity`"),
        ("single", good.clone(), leg("YESBANK", "JUNIORBEES"), "Invalid `tradingsymbol`."),
        ("single", good.clone(), leg("LIMIT", "MARKET"), "Invalid `order_type`."),
        ("single", good.clone(), leg("CNC", "MIS"), "Invalid `product`."),
        ("single", good.clone(), leg("79.5", "79.51"), "Tick size for this script is 0.05."),
    ] {
        let form = form(&[("type", kind), ("condition", &condition), ("orders", &orders)]);
        let (status, error_type, said) = place(&exchange, &form).error();
        assert_eq!((status, error_type.as_str()), (400, "InputException"), "{form}");
        assert!(said.starts_with(message), "{said}, not {message}");
    }
    let met = gtt_form("single", &[80.0], 70.0, &[79.5]);
    assert_eq!(place(&exchange, &met).error().2, "Trigger already met.");
    let more = form(&[("type", "single"), ("condition", &good), ("orders", order), ("x", "1")]);
    assert!(place(&exchange, &more).error().2.contains("unknown field `x`"));
    assert_eq!(ids(&exchange).len(), 1);
}
