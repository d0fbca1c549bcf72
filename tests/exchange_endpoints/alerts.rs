//! Price alerts over HTTP.

use serde_json::json;

use crate::client::{form, get, roomy, send, send_as, still};

const FIELDS: [(&str, &str); 8] = [
    ("name", "falls"),
    ("type", "simple"),
    ("lhs_exchange", "NSE"),
    ("lhs_tradingsymbol", "YESBANK"),
    ("lhs_attribute", "LastTradedPrice"),
    ("operator", "<="),
    ("rhs_type", "constant"),
    ("rhs_constant", "80.5"),
];

fn with(name: &str, value: &str) -> String {
    form(&FIELDS.map(|(field, before)| (field, if field == name { value } else { before })))
}

#[test]
fn an_alert_is_created_listed_changed_and_deleted() {
    let exchange = roomy(still()).start().unwrap();
    let create = |form: &str| send(&exchange, "POST", "/alerts", form).data();
    let first = create(&form(&FIELDS));
    assert_eq!((&first["status"], &first["alert_count"]), (&json!("enabled"), &json!(0)));
    assert_eq!(
        (first["rhs_constant"].to_string().as_str(), &first["rhs_exchange"]),
        ("80.5", &json!(""))
    );
    let other: Vec<_> = FIELDS[..6]
        .iter()
        .copied()
        .chain([
            ("rhs_type", "instrument"),
            ("rhs_exchange", "NSE"),
            ("rhs_tradingsymbol", "JUNIORBEES"),
            ("rhs_attribute", "LastTradedPrice"),
        ])
        .collect();
    let second = create(&form(&other));
    assert_eq!(second["rhs_tradingsymbol"], "JUNIORBEES");
    assert_eq!(get(&exchange, "/alerts").data(), json!([second, first]));

    let path = format!("/alerts/{}", first["uuid"].as_str().unwrap());
    assert_eq!(get(&exchange, &path).data(), first);
    assert_eq!(get(&exchange, &format!("{path}/history")).data(), json!([]));
    assert_eq!(send_as("other", &exchange, "GET", &path, b"").status, 404);
    let change = format!("{}&status=disabled", with("rhs_constant", "70"));
    let changed = send(&exchange, "PUT", &path, &change).data();
    assert_eq!((&changed["status"], &changed["rhs_constant"]), (&json!("disabled"), &json!(70)));
    assert_eq!(get(&exchange, "/alerts?status=enabled").data(), json!([second]));

    let uuids = [&first, &second].map(|alert| alert["uuid"].as_str().unwrap());
    // One that is unknown keeps the others.
    for unknown in ["1", "00000000-0000-4000-8000-0000000000ff"] {
        let path = format!("/alerts?uuid={}&uuid={unknown}", uuids[0]);
        assert_eq!(send(&exchange, "DELETE", &path, "").status, 404);
    }
    assert_eq!(get(&exchange, "/alerts").data().as_array().unwrap().len(), 2);
    let both = format!("/alerts?uuid={}&uuid={}", uuids[0], uuids[1]);
    assert_eq!(send(&exchange, "DELETE", &both, "").data(), json!(null));
    assert_eq!(get(&exchange, "/alerts").data(), json!([]));
    assert_eq!(get(&exchange, &path).status, 404);
    assert_eq!(send(&exchange, "PUT", &path, &change).status, 404);
}

#[test]
fn an_alert_that_makes_no_sense_is_refused() {
    let exchange = roomy(still()).start().unwrap();
    let refused = |form: &str, message: &str| {
        let (status, kind, said) = send(&exchange, "POST", "/alerts", form).error();
        assert_eq!((status, kind.as_str()), (400, "InputException"), "{form}");
        assert!(said.contains(message), "{said}, not {message}");
    };
    for (name, _) in FIELDS {
        let without: Vec<_> = FIELDS.into_iter().filter(|(field, _)| *field != name).collect();
        refused(&form(&without), &format!("`{name}`"));
    }
    for (name, wrong) in [
        ("type", "loud"),
        ("lhs_tradingsymbol", "NONE"),
        ("operator", "!="),
        ("rhs_type", "x"),
        ("rhs_constant", "many"),
        ("name", &"n".repeat(101)),
    ] {
        refused(&with(name, wrong), &format!("`{name}`"));
    }
    refused(&with("type", "ato"), "not simulated");
    refused(&format!("{}&more=1", form(&FIELDS)), "unknown field `more`");
    assert_eq!(send(&exchange, "DELETE", "/alerts", "").error().1, "InputException");
}
