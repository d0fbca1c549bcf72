//! Answers of several pages, and orders of earlier days.

use std::sync::Mutex;

use lanekeeper::broker::{Broker, BrokerError, CandleRequest, Interval};
use lanekeeper::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::requests::aapl;
use super::server::{ReceivedRequest, Reply, Server, json as answer};

fn order(number: usize, at: Timestamp) -> Value {
    json!({"id": format!("o-{number}"), "client_order_id": format!("t-{number}"), "symbol": "AAPL",
        "side": "buy", "status": "new", "qty": "1", "submitted_at": at.to_string()})
}

/// Answers a request for orders from a book, by the bounds and the limit of its query.
fn book_page(book: &[(Timestamp, Value)], request: &ReceivedRequest, is_included: bool) -> Reply {
    let bound = |name| request.query(name).map(|text| text.parse::<Timestamp>().unwrap());
    let (after, until) = (bound("after"), bound("until"));
    let limit: usize = request.query("limit").unwrap().parse().unwrap();
    let is_after =
        |at: Timestamp| after.is_none_or(|after| at > after || (is_included && at == after));
    let shown = book.iter().filter(|(at, _)| is_after(*at) && until.is_none_or(|it| *at < it));
    let page: Vec<&Value> = shown.map(|(_, order)| order).take(limit).collect();
    answer(200, &json!(page).to_string())
}

/// Returns this many orders of today. Five each have the same time.
fn book(count: usize) -> Vec<(Timestamp, Value)> {
    let start = Timestamp::now();
    let at = |number: usize| {
        start + SignedDuration::from_millis(i64::try_from(number / 5).unwrap() * 10)
    };
    (0..count).map(|number| (at(number), order(number, at(number)))).collect()
}

#[test]
fn every_order_of_the_day_is_in_the_book_once() {
    for is_included in [true, false] {
        for count in [0, 499, 500, 501, 1203] {
            let orders = book(count);
            let server = Server::new(move |request| book_page(&orders, request, is_included));
            let read = server.alpaca().orders().unwrap();
            let ids: Vec<_> = read.iter().map(|order| order.id.to_string()).collect();
            let expected: Vec<_> = (0..count).map(|number| format!("o-{number}")).collect();
            assert_eq!(ids, expected, "{count} orders");
            assert!(read.is_complete());
        }
    }
}

#[test]
fn a_book_without_an_end_is_an_error_and_not_a_part_of_one() {
    let at = Timestamp::now();
    let orders: Vec<_> = (0..600).map(|number| (at, order(number, at))).collect();
    let server = Server::new(move |request| book_page(&orders, request, false));
    let error = server.alpaca().orders().unwrap_err();
    assert!(matches!(error, BrokerError::Malformed(_)), "{error}");
    assert!(server.received().len() < 10);
}

#[test]
fn open_orders_of_earlier_days_are_in_the_book() {
    let yesterday = Timestamp::now() - SignedDuration::from_hours(30);
    let carried = Mutex::new(vec![order(1, yesterday)]);
    let server = Server::new(move |request| match request.query("status") {
        Some("open") => {
            answer(200, &json!(std::mem::take(&mut *carried.lock().unwrap())).to_string())
        }
        _ => answer(200, &json!([order(2, Timestamp::now())]).to_string()),
    });
    let alpaca = server.alpaca();
    let ids = || alpaca.orders().unwrap().iter().map(|it| it.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(), ["o-1", "o-2"]);
    assert_eq!(ids(), ["o-2"], "it is not open any more");
    let requests = server.received().len();
    assert_eq!(ids(), ["o-2"]);
    assert_eq!(server.received().len(), requests + 1, "no other can be open from now on");
}

/// Other keys may be those of another account, which has open orders of its own.
#[test]
fn after_a_change_of_keys_orders_of_earlier_days_are_requested_again() {
    let server = Server::new(|_| answer(200, "[]"));
    let alpaca = server.alpaca();
    alpaca.orders().unwrap();
    alpaca.set_keys("PKOTHER", "otherS3cretKey").unwrap();
    alpaca.orders().unwrap();
    let open = server.received();
    let open = open.iter().filter(|request| request.query("status") == Some("open"));
    assert_eq!(open.count(), 2);
}

#[test]
fn trades_go_on_from_the_last_one_of_the_page_before() {
    const TRADES: usize = 250;
    let fill = |number: usize| {
        json!({"id": format!("f-{number}"), "order_id": "o-1", "symbol": "AAPL", "side": "buy",
            "qty": "0.5", "price": "180.5", "transaction_time": "2026-03-02T15:00:00Z"})
    };
    let server = Server::new(move |request| {
        let size: usize = request.query("page_size").unwrap().parse().unwrap();
        let last =
            request.query("page_token").map(|it| it.trim_start_matches("f-").parse().unwrap());
        let first = last.map_or(0, |last: usize| last + 1);
        let page: Vec<Value> = (first..TRADES).take(size).map(fill).collect();
        answer(200, &json!(page).to_string())
    });
    let trades = server.alpaca().trades().unwrap();
    let ids: Vec<_> = trades.iter().map(|trade| trade.id.clone()).collect();
    assert_eq!(ids, (0..TRADES).map(|number| format!("f-{number}")).collect::<Vec<_>>());
    assert_eq!(server.received().len(), 3);
    assert_eq!(server.received()[0].path, "/v2/account/activities/FILL");
    assert_eq!(server.alpaca().order_trades(&lanekeeper::OrderId::new("o-2")).unwrap().len(), 0);
}

#[test]
fn candles_go_on_until_there_is_no_next_page() {
    let bar = json!({"t": "2026-03-02T14:30:00Z", "o": 1, "h": 2, "l": 0.5, "c": 1.5, "v": 7});
    let server = Server::new(move |request| {
        let next = match request.query("page_token") {
            None => json!("p=2"),
            Some("p=2") => json!("p=3"),
            Some("p=3") => Value::Null,
            other => panic!("{other:?}"),
        };
        answer(200, &json!({"bars": {"AAPL": [bar]}, "next_page_token": next}).to_string())
    });
    let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::now());
    let request = CandleRequest::new(aapl(), Interval::Minute, from, to);
    assert_eq!(server.alpaca().candles(&request).unwrap().len(), 3);
    let received = server.received();
    assert_eq!(received.len(), 3);
    assert_eq!(received[2].query("timeframe"), Some("1Min"));
    // A token that leads nowhere ends the call.
    let server = Server::new(|_| answer(200, r#"{"bars":{},"next_page_token":"same"}"#));
    assert!(matches!(server.alpaca().candles(&request), Err(BrokerError::Malformed(_))));
}
