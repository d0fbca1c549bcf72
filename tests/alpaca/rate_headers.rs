//! The broker's own count, which every answer reports, reaches the lanes.

use std::time::Duration;

use lanekeeper::jiff::Timestamp;
use lanekeeper::quota::PriorUsage;
use lanekeeper::{Alpaca, Broker, BrokerError, BrokerProxy, CallOptions, OrderId, Priority};

use super::requests::{aapl, order};
use super::server::{Reply, Server, with_headers};

/// An answer that reports how many requests remain until the count begins anew in `seconds`. Its clock is a day behind.
fn counted(status: u16, remaining: u32, seconds: i64, body: &str) -> Reply {
    let now = Timestamp::now().as_second() - 86_400;
    let date = Timestamp::from_second(now).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let headers = [
        ("Date", date.to_string()),
        ("X-Ratelimit-Limit", "200".to_owned()),
        ("X-Ratelimit-Remaining", remaining.to_string()),
        ("X-Ratelimit-Reset", (now + seconds).to_string()),
    ];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    with_headers(status, &headers, body)
}

fn proxy(server: &Server) -> BrokerProxy<Alpaca> {
    let proxy = BrokerProxy::builder(server.alpaca()).prior_usage(PriorUsage::None);
    proxy.build().unwrap()
}

/// Returns whether a call with a deadline of 5 s is refused because its turn comes later.
fn must_wait<T>(answer: Result<T, BrokerError>) -> bool {
    match answer {
        Ok(_) => false,
        Err(error @ BrokerError::NotSent(_)) => error.to_string().contains("it could go in about"),
        Err(error) => panic!("{error}"),
    }
}

fn soon() -> CallOptions {
    CallOptions::new().deadline(Duration::from_secs(5))
}

#[test]
fn a_used_up_count_holds_the_lanes_of_its_api_and_no_other() {
    let server = Server::new(|request| match request.path.as_str() {
        "/v2/positions" => counted(200, 0, 40, "[]"),
        "/v2/stocks/snapshots" => counted(200, 100, 40, r#"{"AAPL":{"latestTrade":{"p":190}}}"#),
        _ => counted(204, 0, 40, ""),
    });
    let broker = proxy(&server);
    broker.positions().unwrap();
    let soon = broker.with(soon());
    assert!(must_wait(soon.positions()), "the count of trading is used up");
    assert!(!must_wait(soon.quotes(&[aapl()])), "market data has a count of its own");
    // An exit is not held.
    broker.cancel_order(&OrderId::new("1")).unwrap();
    let urgent = broker.with(CallOptions::new().priority(Priority::URGENT));
    urgent.positions().unwrap();
}

#[test]
fn both_lanes_of_market_data_share_one_count() {
    let server = Server::new(|_| counted(200, 1, 40, r#"{"AAPL":{"latestTrade":{"p":190}}}"#));
    let broker = proxy(&server);
    broker.quotes(&[aapl()]).unwrap();
    let soon = broker.with(soon());
    let now = Timestamp::now();
    let interval = lanekeeper::broker::Interval::Day;
    let request = lanekeeper::broker::CandleRequest::new(aapl(), interval, now, now);
    // One request is left. Its answer is of another form, which is no matter here.
    assert!(matches!(soon.candles(&request), Err(BrokerError::Malformed(_))));
    assert!(must_wait(soon.candles(&request)) && must_wait(soon.quotes(&[aapl()])));
}

#[test]
fn headers_that_make_no_sense_hold_nothing() {
    for (remaining, reset) in [("0", "1"), ("0", "soon"), ("-1", "99999999999"), ("", "")] {
        let headers = [("X-Ratelimit-Remaining", remaining), ("X-Ratelimit-Reset", reset)];
        let server =
            Server::script([with_headers(200, &headers, "[]"), with_headers(200, &headers, "[]")]);
        let broker = proxy(&server);
        broker.positions().unwrap();
        assert!(!must_wait(broker.with(soon()).positions()), "{remaining} {reset}");
    }
}

/// A page more would be refused, so the call ends without it, and may be made again.
#[test]
fn no_page_is_requested_that_the_count_does_not_allow() {
    let page = || {
        let now = Timestamp::now();
        let order = |number: i64| {
            let at = now + lanekeeper::jiff::SignedDuration::from_millis(number * 10);
            serde_json::json!({"id": format!("o-{number}"), "symbol": "AAPL", "side": "buy",
                "status": "filled", "submitted_at": at.to_string()})
        };
        serde_json::json!((0..500).map(order).collect::<Vec<_>>()).to_string()
    };
    let server = Server::script([counted(200, 1, 40, "[]"), counted(200, 0, 40, &page())]);
    let error = server.alpaca().orders().unwrap_err();
    assert_eq!(error.failure().throttling, None, "the broker has refused nothing");
    assert_eq!(error.failure().reachability, lanekeeper::Reachability::Answered);
    let BrokerError::Transient(detail) = error else { panic!("{error}") };
    let wait = detail.retry_in.unwrap();
    assert!(wait > Duration::from_secs(30) && wait < Duration::from_secs(41), "{wait:?}");
    assert_eq!(server.received().len(), 2);
}

#[test]
fn an_order_is_answered_whatever_its_headers_say() {
    let body = r#"{"id":"1","client_order_id":"t1"}"#;
    let server = Server::script([counted(200, 0, 40, body)]);
    assert_eq!(server.alpaca().place_order(&order()), Ok(OrderId::new("1")));
}

/// Calls of two requests: the orders of today and those of earlier days, and quotes of two classes.
#[test]
fn no_second_request_of_a_call_is_made_that_the_count_does_not_allow() {
    let server = Server::new(|_| counted(200, 0, 40, "[]"));
    let error = server.alpaca().orders().unwrap_err();
    assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    assert_eq!(server.received().len(), 1);

    let server = Server::new(|_| counted(200, 0, 40, "{}"));
    let bitcoin = "CRYPTO:BTC/USD".parse().unwrap();
    let error = server.alpaca().quotes(&[aapl(), bitcoin]).unwrap_err();
    assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    assert_eq!(server.received().len(), 1);
}
