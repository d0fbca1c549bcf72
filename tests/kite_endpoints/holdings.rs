//! What a holding says beside its quantity.

use lanekeeper::broker::{Broker, Holding};

use crate::support::{call, dec, infy};

#[test]
fn a_holding_says_what_is_authorised_pledged_and_borrowed() {
    let data = r#"[{"tradingsymbol":"INFY","exchange":"NSE","isin":"INE009A01021","quantity":16,
        "used_quantity":3,"t1_quantity":2,"realised_quantity":14,"authorised_quantity":5,
        "authorised_date":"2026-01-19 00:00:00","authorisation":{},"collateral_quantity":7,
        "collateral_type":"WD","discrepancy":true,"average_price":801.78125,"last_price":762.45,
        "close_price":766.4,"pnl":-629.2999999999993,"mtf":{"quantity":100,"used_quantity":1,
        "average_price":99.5,"value":9950,"initial_margin":1990.25}},
        {"tradingsymbol":"INFY","exchange":"NSE","quantity":1,"authorised_date":"0001-01-01 00:00:00",
        "collateral_type":"","mtf":{"quantity":0,"used_quantity":0,"average_price":0,"value":0,
        "initial_margin":0}}]"#;
    let (received, holdings) = call(data, |kite| kite.holdings());
    assert_eq!(received.line, "GET /portfolio/holdings HTTP/1.1");
    let holdings = holdings.unwrap().complete().unwrap();
    let [held, bare] = holdings.as_slice() else { panic!("{holdings:?}") };
    assert_eq!((held.quantity, held.used_quantity), (dec("16"), dec("3")));
    assert_eq!((held.unsettled_quantity, held.authorised_quantity), (dec("2"), dec("5")));
    assert_eq!(
        held.authorised_at.as_ref().unwrap().to_string(),
        "2026-01-19T00:00:00+05:30[+05:30]"
    );
    assert_eq!((held.collateral_quantity, held.collateral_type.as_deref()), (dec("7"), Some("WD")));
    assert_eq!((held.discrepancy, held.close_price), (true, Some(dec("766.4"))));
    let funded = held.margin_funded.as_ref().unwrap();
    assert_eq!((funded.quantity, funded.used_quantity), (dec("100"), dec("1")));
    assert_eq!((funded.average_price, funded.value), (dec("99.5"), dec("9950")));
    assert_eq!(funded.initial_margin, dec("1990.25"));
    assert_eq!((&bare.authorised_at, &bare.collateral_type), (&None, &None));
    assert_eq!((&bare.margin_funded, bare.discrepancy), (&None, false));
    assert_eq!((bare.authorised_quantity, bare.collateral_quantity), (dec("0"), dec("0")));
}

#[test]
fn a_holding_that_was_stored_before_is_still_read() {
    let stored = r#"{"instrument":"NSE:INFY","isin":null,"quantity":"1","unsettled_quantity":"0",
        "average_price":"2","last_price":null,"pnl":null}"#;
    let holding: Holding = serde_json::from_str(stored).unwrap();
    assert_eq!(holding, Holding::new(infy(), dec("1"), dec("2")));
}
