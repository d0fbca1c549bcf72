//! Conversions, holdings and trigger ranges.

use lanekeeper::broker::{Holding, Instrument};
use lanekeeper_simulator::SimulatedExchange;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::client::{Reply, form, get, roomy, send, still};

const ISIN: &str = "INF732E01045";

fn buy(exchange: &SimulatedExchange, product: &str) {
    let order = format!(
        "exchange=NSE&tradingsymbol=YESBANK&transaction_type=BUY&order_type=MARKET&quantity=10\
         &product={product}&market_protection=-1"
    );
    send(exchange, "POST", "/orders/regular", &order).data();
}

fn quantities(exchange: &SimulatedExchange) -> Vec<(String, String)> {
    let positions = get(exchange, "/portfolio/positions").data();
    let row =
        |row: &Value| (row["product"].as_str().unwrap().to_owned(), row["quantity"].to_string());
    positions["net"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn a_position_is_converted_and_the_money_stays() {
    let exchange = roomy(still()).start().unwrap();
    buy(&exchange, "MIS");
    let before = get(&exchange, "/user/margins/equity").data();
    let fields = [
        ("exchange", "NSE"),
        ("tradingsymbol", "YESBANK"),
        ("transaction_type", "BUY"),
        ("position_type", "day"),
        ("quantity", "4"),
        ("old_product", "MIS"),
        ("new_product", "CNC"),
    ];
    let convert = |fields: &[(&str, &str)]| -> Reply {
        send(&exchange, "PUT", "/portfolio/positions", &form(fields))
    };
    assert_eq!(convert(&fields).data(), json!(true));
    let expected = [("CNC", "4"), ("MIS", "6")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(quantities(&exchange), expected);
    assert_eq!(get(&exchange, "/user/margins/equity").data(), before);

    for (name, _) in fields {
        let without: Vec<_> = fields.into_iter().filter(|(other, _)| *other != name).collect();
        let (status, kind, message) = convert(&without).error();
        assert_eq!((status, kind.as_str()), (400, "InputException"));
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
    for (name, wrong) in [
        ("quantity", "7"),
        ("quantity", "0"),
        ("quantity", "-1"),
        ("quantity", "1.5"),
        ("quantity", "99999999999999999999"),
        ("transaction_type", "SELL"),
        ("transaction_type", "HOLD"),
        ("position_type", "overnight"),
        ("position_type", "week"),
        ("old_product", "NRML"),
        ("new_product", "MIS"),
        ("new_product", "CO"),
        ("new_product", "XYZ"),
        ("tradingsymbol", "NONE"),
    ] {
        let changed =
            fields.map(|(field, value)| (field, if field == name { wrong } else { value }));
        let (status, kind, _) = convert(&changed).error();
        assert_eq!((status, kind.as_str()), (400, "InputException"), "{name}={wrong}");
    }
    assert_eq!(quantities(&exchange), expected);
}

#[test]
fn holdings_are_summed_listed_and_authorised() {
    let junior = Instrument::new("NSE", "JUNIORBEES");
    let mut holding = Holding::new(junior, Decimal::from(4), Decimal::from(200));
    holding.isin = Some(ISIN.to_owned());
    let exchange = roomy(still().holding(holding)).start().unwrap();
    let held = get(&exchange, "/portfolio/holdings").data();
    for zero in ["authorised_quantity", "collateral_quantity", "used_quantity", "short_quantity"] {
        assert_eq!(held[0][zero], 0, "{zero}");
    }
    assert_eq!(held[0]["mtf"]["quantity"], 0);
    let last = held[0]["last_price"].as_f64().unwrap();

    let summary = get(&exchange, "/portfolio/holdings/summary").data();
    assert_eq!(summary["invested_amount"].to_string(), "800");
    assert_eq!(summary["current_value"].as_f64().unwrap(), 4.0 * last);
    assert_eq!(summary["total_pnl"].as_f64().unwrap(), 4.0 * last - 800.0);
    assert!(!summary["today_pnl_percent"].is_null());
    let compact = get(&exchange, "/portfolio/holdings/compact").data();
    assert_eq!(
        (&compact[0]["quantity"], &compact[0]["tradingsymbol"]),
        (&json!(4), &json!("JUNIORBEES"))
    );
    assert_eq!(get(&exchange, "/portfolio/holdings/auctions").data(), json!([]));

    let authorise = |form: &str| send(&exchange, "POST", "/portfolio/holdings/authorise", form);
    let all = authorise("").data()["request_id"].as_str().unwrap().to_owned();
    let some = authorise(&format!("type=equity&isin={ISIN}&quantity=2.000000")).data();
    assert_eq!(all.len(), 32);
    assert_ne!(some["request_id"], all);
    for wrong in [
        format!("isin={ISIN}"),
        "quantity=1".to_owned(),
        format!("isin={ISIN}&quantity=5"),
        format!("isin={ISIN}&quantity=0"),
        format!("isin={ISIN}&quantity=many"),
        "isin=INE000000000&quantity=1".to_owned(),
        "other=1".to_owned(),
    ] {
        let (status, kind, _) = authorise(&wrong).error();
        assert_eq!((status, kind.as_str()), (400, "InputException"), "{wrong}");
    }
}

#[test]
fn a_summary_of_nothing_is_zero() {
    let exchange = roomy(still()).start().unwrap();
    let summary = get(&exchange, "/portfolio/holdings/summary").data();
    assert!(summary.as_object().unwrap().values().all(|value| *value == 0), "{summary}");
}

#[test]
fn a_trigger_range_lies_on_the_side_of_the_stop_loss() {
    let exchange = roomy(still()).start().unwrap();
    let range = |side: &str| {
        get(&exchange, &format!("/instruments/trigger_range/{side}?i=NSE:YESBANK&i=NSE:NONE"))
    };
    let price = get(&exchange, "/quote/ltp?i=NSE:YESBANK").data()["NSE:YESBANK"].clone();
    let (buy, sell) = (range("buy").data(), range("sell").data());
    assert_eq!(buy.as_object().unwrap().len(), 1);
    let (buy, sell) = (&buy["NSE:YESBANK"], &sell["NSE:YESBANK"]);
    assert_eq!((&buy["upper"], &sell["lower"]), (&price["last_price"], &price["last_price"]));
    assert_eq!(buy["instrument_token"], price["instrument_token"]);
    let ratio = |part: &Value| part.as_f64().unwrap() / price["last_price"].as_f64().unwrap();
    assert!((ratio(&buy["lower"]) - 0.945).abs() < 1e-9);
    assert!((ratio(&sell["upper"]) - 1.055).abs() < 1e-9);
    assert_eq!(range("hold").error().1, "InputException");
    assert_eq!(get(&exchange, "/instruments/trigger_range/buy").error().1, "InputException");
}
