//! Whatever is sent to a route is answered in Kite's envelope, and never with a 500.

use crate::client::{form, roomy, send, send_as, still};

#[test]
fn unknown_entries_and_incomplete_forms_are_errors() {
    let exchange = roomy(still()).start().unwrap();
    let fund = "tradingsymbol=INF000P01011";
    for (method, path, body, status, error_type) in [
        ("POST", "/gtt/triggers", "", 400, "InputException"),
        ("POST", "/gtt/triggers", "{}", 400, "InputException"),
        ("GET", "/gtt/triggers/1", "", 404, "GeneralException"),
        ("GET", "/gtt/triggers/first", "", 400, "InputException"),
        ("PUT", "/gtt/triggers/1", "", 404, "GeneralException"),
        ("DELETE", "/gtt/triggers/1", "", 404, "GeneralException"),
        ("DELETE", "/gtt/triggers/99999999999999999999", "", 400, "InputException"),
        ("PATCH", "/gtt/triggers", "", 405, "GeneralException"),
        ("PUT", "/portfolio/positions", "", 400, "InputException"),
        ("GET", "/portfolio/holdings/authorise", "", 405, "GeneralException"),
        ("GET", "/margins/equity", "", 404, "GeneralException"),
        ("GET", "/charges/orders", "", 405, "GeneralException"),
        ("POST", "/alerts", "", 400, "InputException"),
        ("GET", "/alerts/1", "", 404, "GeneralException"),
        ("GET", "/alerts/1/history", "", 404, "GeneralException"),
        ("POST", "/mf/orders", "", 400, "InputException"),
        (
            "POST",
            "/mf/orders",
            "tradingsymbol=X&transaction_type=BUY&amount=1",
            400,
            "InputException",
        ),
        ("POST", "/mf/orders", fund, 400, "InputException"),
        ("GET", "/mf/orders/1", "", 404, "GeneralException"),
        ("DELETE", "/mf/orders/x-y", "", 404, "GeneralException"),
        ("POST", "/mf/sips", "", 400, "InputException"),
        ("POST", "/mf/sips", fund, 400, "InputException"),
        ("GET", "/mf/sips/1", "", 404, "GeneralException"),
        ("PUT", "/mf/sips/000000000000001", "amount=1000", 404, "GeneralException"),
        ("DELETE", "/mf/sips/+00000000000001", "", 404, "GeneralException"),
        ("PUT", "/mf/sips", "", 405, "GeneralException"),
        ("DELETE", "/mf/holdings", "", 405, "GeneralException"),
        ("GET", "/mf/nonsense", "", 404, "GeneralException"),
        ("POST", "/instruments/trigger_range/buy", "", 405, "GeneralException"),
        ("GET", "/session/refresh_token", "", 405, "GeneralException"),
    ] {
        let (got, kind, message) = send(&exchange, method, path, body).error();
        assert_eq!((got, kind.as_str()), (status, error_type), "{method} {path} {body}: {message}");
        assert!(!message.is_empty());
    }
}

#[test]
fn any_bytes_are_answered() {
    let exchange = roomy(still()).fund_holding("INF000P01011", 25, 100).start().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let gtt = form(&[
        ("type", "single"),
        (
            "condition",
            r#"{"exchange":"NSE","tradingsymbol":"YESBANK","trigger_values":[80],"last_price":95}"#,
        ),
        (
            "orders",
            r#"[{"exchange":"NSE","tradingsymbol":"YESBANK","transaction_type":"SELL","quantity":1,
               "order_type":"LIMIT","product":"CNC","price":79.5}]"#,
        ),
    ]);
    let orders = r#"[{"order_id":"1","exchange":"NSE","tradingsymbol":"YESBANK","product":"CNC",
        "transaction_type":"BUY","variety":"regular","order_type":"LIMIT","quantity":10,
        "price":99.5,"average_price":99.5}]"#;
    for (method, path, body) in [
        ("POST", "/gtt/triggers", gtt.as_str()),
        ("POST", "/margins/orders", orders),
        ("POST", "/margins/basket", orders),
        ("POST", "/charges/orders", orders),
        (
            "PUT",
            "/portfolio/positions",
            "exchange=NSE&tradingsymbol=YESBANK&transaction_type=BUY&position_type=day&quantity=1\
             &old_product=MIS&new_product=CNC",
        ),
        ("POST", "/portfolio/holdings/authorise", "isin=INE000000000&quantity=1"),
        ("POST", "/mf/orders", "tradingsymbol=INF000P01011&transaction_type=SELL&quantity=1.5"),
        (
            "POST",
            "/mf/sips",
            "tradingsymbol=INF000P01011&amount=1000&instalments=9&frequency=weekly\
             &initial_amount=5000",
        ),
    ] {
        for _ in 0..150 {
            let mut bytes = body.as_bytes().to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..bytes.len());
                match random.u8(0..3) {
                    0 => bytes[at] = *random.choice(b"09.-e%&=+[]{},:\"\\\xff").unwrap(),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.splice(at..at, b"9".repeat(random.usize(1..40))).for_each(drop),
                }
            }
            let reply = send_as("key", &exchange, method, path, &bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!([200, 400].contains(&reply.status), "{path} {text}: {}", reply.body);
        }
    }
}
