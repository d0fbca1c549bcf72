//! What the adapter sends, and what it makes of ordinary answers.

use lanekeeper::broker::{Broker, BrokerError, Exchange as Place, InstrumentInfo, TagSupport};
use lanekeeper::brokers::alpaca::{self, Trail};
use lanekeeper::{Instrument, OrderId, OrderRequest, Side};
use rust_decimal::Decimal;
use serde_json::json;

use super::exchange::Exchange;
use super::server::{KEY_ID, SECRET_KEY, Server, json as answer};

pub(crate) fn aapl() -> Instrument {
    Instrument::new("US", "AAPL")
}

pub(crate) fn order() -> OrderRequest {
    OrderRequest::limit(aapl(), Side::Buy, 10, 180).tag("t1")
}

#[test]
fn an_order_is_json_with_numbers_as_text_under_both_keys() {
    let exchange = Exchange::default();
    let server = exchange.server();
    let half = OrderRequest::market(aapl(), Side::Buy, Decimal::new(5, 1)).tag("t1");
    assert_eq!(server.alpaca().place_order(&half), Ok(OrderId::new("order-1")));
    let request = server.only();
    assert_eq!(request.route(), "POST /v2/orders");
    assert_eq!(request.header("apca-api-key-id"), Some(KEY_ID));
    assert_eq!(request.header("apca-api-secret-key"), Some(SECRET_KEY));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.json(),
        json!({"symbol": "AAPL", "qty": "0.5", "side": "buy", "type": "market",
            "time_in_force": "day", "client_order_id": "t1"})
    );
}

#[test]
fn an_order_by_value_and_a_trailing_stop_have_their_fields() {
    let exchange = Exchange::default();
    let server = exchange.server();
    let alpaca = server.alpaca();
    alpaca.place_order(&alpaca::market_by_value(aapl(), Side::Buy, 500)).unwrap();
    let trail = Trail::Percent(Decimal::new(25, 1));
    alpaca.place_order(&alpaca::trailing_stop(aapl(), Side::Sell, 10, trail)).unwrap();
    let bodies: Vec<_> = server.received().iter().map(|request| request.json()).collect();
    assert_eq!((bodies[0].get("qty"), &bodies[0]["notional"]), (None, &json!("500")));
    assert_eq!(
        (&bodies[1]["type"], &bodies[1]["trail_percent"]),
        (&json!("trailing_stop"), &json!("2.5"))
    );
    // Each has a tag, by which its answer is known.
    assert_ne!(bodies[0]["client_order_id"], bodies[1]["client_order_id"]);
}

#[test]
fn what_cannot_be_sent_is_refused_before_anything_is_sent() {
    let server = Server::ok(&[]);
    let alpaca = server.alpaca();
    let errors = [
        alpaca.place_order(&order().autoslice(true)).unwrap_err(),
        alpaca
            .place_order(&OrderRequest::market("NSE:INFY".parse().unwrap(), Side::Buy, 1))
            .unwrap_err(),
        alpaca.cancel_order(&OrderId::new("../account")).unwrap_err(),
        alpaca.instruments(Some(&Place::Nse)).unwrap_err(),
        alpaca.quotes(&["NSE:INFY".parse().unwrap()]).unwrap_err(),
    ];
    for error in errors {
        assert!(error.failure().is_local(), "{error}");
    }
    assert_eq!(alpaca.quotes(&[]).unwrap().len(), 0);
    assert_eq!(alpaca.holdings().unwrap().len(), 0);
    assert!(server.received().is_empty());
}

#[test]
fn an_order_is_found_by_its_id_and_by_its_tag() {
    let exchange = Exchange::default();
    let server = exchange.server();
    let alpaca = server.alpaca();
    let id = alpaca.place_order(&order()).unwrap();
    let by_id = alpaca.order(&id).unwrap();
    assert_eq!(by_id, alpaca.order_by_tag("t1").unwrap());
    assert_eq!((by_id.tag.as_deref(), by_id.quantity), (Some("t1"), 10.into()));
    assert!(matches!(alpaca.order_by_tag("t2"), Err(BrokerError::Rejected(_))));
    let paths: Vec<_> = server.received().iter().map(|request| request.route()).collect();
    assert_eq!(paths[1..3], ["GET /v2/orders/order-1", "GET /v2/orders:by_client_order_id"]);
    alpaca.cancel_order(&id).unwrap();
    assert!(alpaca.order(&id).unwrap().status.is_final());
    assert!(matches!(alpaca.cancel_order(&id), Err(BrokerError::Rejected(_))), "it is too late");
}

#[test]
fn the_account_is_margins_and_a_profile() {
    let account = r#"{"id":"u-1","account_number":"PA01","status":"ACTIVE","crypto_status":"ACTIVE",
        "buying_power":"400000.5","cash":"100000","trading_blocked":false}"#;
    let server = Server::ok(&[account, account]);
    let alpaca = server.alpaca();
    let margins = alpaca.margins().unwrap();
    assert_eq!(margins.segment("account").unwrap().net.to_string(), "400000.5");
    let profile = alpaca.profile().unwrap();
    assert_eq!((profile.user_id.as_str(), profile.exchanges.len()), ("PA01", 2));
}

#[test]
fn assets_are_instruments_of_a_class() {
    let server = Server::ok(&[
        r#"[{"class":"us_equity","symbol":"AAPL","exchange":"NASDAQ","tradable":true}]"#,
        "[]",
    ]);
    let alpaca = server.alpaca();
    let listed = alpaca.instruments(Some(&Place::Us)).unwrap();
    let shown = |info: &InstrumentInfo| (info.instrument.to_string(), info.segment.clone());
    assert_eq!(shown(&listed[0]), ("US:AAPL".to_owned(), "NASDAQ".to_owned()));
    alpaca.instruments(None).unwrap();
    let received = server.received();
    assert_eq!(received[0].query("asset_class"), Some("us_equity"));
    assert_eq!(received[1].query("asset_class"), None);
}

#[test]
fn quotes_of_many_symbols_are_one_request_of_market_data() {
    let server = Server::ok(&[r#"{"AAPL":{"latestTrade":{"p":190.25}},"IBM":null}"#]);
    let alpaca = server.builder().data_feed("iex").build().unwrap();
    let quotes = alpaca.quotes(&[aapl(), Instrument::new("US", "IBM")]).unwrap();
    assert_eq!((quotes.len(), quotes[&aapl()].last_price.to_string().as_str()), (1, "190.25"));
    let request = server.only();
    assert_eq!(request.route(), "GET /v2/stocks/snapshots");
    assert_eq!((request.query("symbols"), request.query("feed")), (Some("AAPL,IBM"), Some("iex")));
}

#[test]
fn trading_and_market_data_have_addresses_of_their_own() {
    let (trading, data) = (Server::ok(&["[]"]), Server::ok(&["{}"]));
    let address = |server: &Server| {
        let shown = format!("{:?}", server.alpaca());
        shown.split('"').nth(1).unwrap().to_owned()
    };
    let alpaca = trading.builder().data_url(address(&data)).build().unwrap();
    alpaca.positions().unwrap();
    alpaca.quotes(&[aapl()]).unwrap();
    assert_eq!(trading.only().path, "/v2/positions");
    assert_eq!(data.only().path, "/v2/stocks/snapshots");
}

#[test]
fn tags_are_unique_and_changes_are_not_in_place() {
    let tags = Server::ok(&[]).alpaca().order_tags();
    assert!(matches!(tags.support(), TagSupport::Unique { .. }));
    assert!(!tags.is_changed_in_place());
    assert_eq!(tags.day_zone().iana_name(), Some("America/New_York"));
}

#[test]
fn an_answer_to_another_call_is_not_taken() {
    let other = r#"{"id":"9","client_order_id":"t9","symbol":"AAPL","side":"buy","status":"new",
        "replaces":"8"}"#;
    let server = Server::new(move |_| answer(200, other));
    let alpaca = server.alpaca();
    let id = OrderId::new("1");
    let change = lanekeeper::OrderChange::new().price(1);
    for write in [alpaca.place_order(&order()), alpaca.modify_order(&id, &change)] {
        assert!(matches!(write, Err(BrokerError::OutcomeUnknown(_))), "{write:?}");
    }
    assert!(matches!(alpaca.order(&id), Err(BrokerError::Transient(_))));
}

/// A page of a gateway, or the answer to another call, does not say that an order is cancelled.
#[test]
fn only_an_answer_without_a_body_is_that_to_a_cancellation() {
    let id = OrderId::new("1");
    for body in [r#"{"id":"9","status":"new"}"#, "[]", "<html><title>Maintenance</title></html>"] {
        let server = Server::ok(&[body]);
        let cancelled = server.alpaca().cancel_order(&id);
        assert!(matches!(cancelled, Err(BrokerError::OutcomeUnknown(_))), "{body}: {cancelled:?}");
    }
    let server = Server::script([answer(204, ""), answer(200, "")]);
    let alpaca = server.alpaca();
    assert_eq!((alpaca.cancel_order(&id), alpaca.cancel_order(&id)), (Ok(()), Ok(())));
}
