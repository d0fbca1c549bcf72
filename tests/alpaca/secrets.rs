//! No error and no `Debug` shows a key, whatever the server echoes.

use std::time::Duration;

use lanekeeper::broker::{CandleRequest, Interval};
use lanekeeper::jiff::Timestamp;
use lanekeeper::{Alpaca, Broker, OrderChange, OrderId, OrderRequest, Side};

use super::printed::{Printed, TOKEN};
use super::requests::{aapl, order};
use super::server::{KEY_ID, ReceivedRequest, Reply, SECRET_KEY, Server, json};

fn echo(request: &ReceivedRequest) -> String {
    request.headers.iter().map(|(name, value)| format!("{name}={value} ")).collect()
}

#[test]
fn what_a_gateway_echoes_is_not_shown() {
    type Echo = fn(&ReceivedRequest) -> Reply;
    let echoes: [Echo; 5] = [
        |request| json(502, &echo(request)),
        |request| json(422, &serde_json::json!({"message": echo(request)}).to_string()),
        |request| json(200, &echo(request)),
        |_| json(200, &serde_json::json!({"id": SECRET_KEY, "client_order_id": "t1"}).to_string()),
        |_| json(403, &serde_json::json!({"code": SECRET_KEY, "message": KEY_ID}).to_string()),
    ];
    for echo in echoes {
        let server = Server::new(echo);
        let alpaca = server.alpaca();
        let place = alpaca.place_order(&order()).unwrap_err();
        let read = alpaca.order(&lanekeeper::OrderId::new("1")).unwrap_err();
        for text in [format!("{place} {place:?}"), format!("{read} {read:?}")] {
            assert!(!text.contains(SECRET_KEY) && !text.contains(KEY_ID), "{text}");
        }
    }
}

#[test]
fn a_row_that_echoes_a_key_is_shown_without_it() {
    let row = serde_json::json!([{"symbol": SECRET_KEY, "qty": null}]).to_string();
    let server = Server::ok(&[&row]);
    let positions = server.alpaca().positions().unwrap();
    let shown = format!("{positions:?}");
    assert!(shown.contains("[secret]") && !shown.contains(SECRET_KEY), "{shown}");
}

#[test]
fn debug_shows_no_key() {
    let server = Server::ok(&[]);
    let shown = format!("{:?} {:?}", server.builder(), server.alpaca());
    assert!(!shown.contains(SECRET_KEY) && !shown.contains(KEY_ID), "{shown}");
    let refused = server.alpaca().place_order(&OrderRequest::market(aapl(), Side::Buy, 0));
    assert!(!format!("{refused:?}").contains(SECRET_KEY));
}

fn every_call(alpaca: &Alpaca, printed: &mut Printed) {
    let (id, now) = (OrderId::new("1"), Timestamp::now());
    printed.error(alpaca.place_order(&order()));
    printed.error(alpaca.modify_order(&id, &OrderChange::new().price(1)));
    printed.error(alpaca.cancel_order(&id));
    printed.error(alpaca.order_history(&id));
    printed.error(alpaca.order_by_tag("t1"));
    printed.error(alpaca.orders());
    printed.error(alpaca.trades());
    printed.error(alpaca.positions());
    printed.error(alpaca.margins());
    printed.error(alpaca.profile());
    printed.error(alpaca.instruments(None));
    printed.error(alpaca.quotes(&[aapl()]));
    printed.error(alpaca.candles(&CandleRequest::new(aapl(), Interval::Day, now, now)));
}

#[test]
fn nothing_that_is_printed_in_a_faulty_run_holds_a_key() {
    let mut printed = Printed::with_log();
    type Fault = fn(&ReceivedRequest) -> Reply;
    let faults: [Fault; 8] = [
        |_| Reply::Close,
        |_| Reply::Hang,
        |request| json(200, &echo(request)),
        |request| json(401, &echo(request)),
        |request| json(403, &serde_json::json!({"message": echo(request)}).to_string()),
        |request| json(422, &serde_json::json!({"code": 1, "message": echo(request)}).to_string()),
        |request| json(429, &echo(request)),
        |request| {
            Reply::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: {}", echo(request)))
        },
    ];
    for fault in faults {
        let server = Server::new(fault);
        let builder = server.builder().key_id(TOKEN).secret_key(format!("secret{TOKEN}"));
        let builder = builder.timeout(Duration::from_millis(100));
        let alpaca = builder.clone().build().unwrap();
        every_call(&alpaca, &mut printed);
        printed.add(&builder);
        printed.add(&alpaca);
    }
    printed.assert_clean(faults.len() * 10, 100);
}
