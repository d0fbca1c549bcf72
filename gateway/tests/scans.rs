//! Scans: long lists of reads at low priority, streamed, and controlled while they run.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lanekeeper_gateway::Gateway;
use lanekeeper_simulator::SimulatedExchange;
use serde_json::{Value, json};
use support::{Client, at_exchange, kite, start};

/// The header lines of a request to the interface.
const OWN: &str = "x-lanekeeper-request: 1\r\ncontent-type: application/json\r\n";

fn post(gateway: &Gateway, path: &str, body: &Value) -> support::Answer {
    let body = body.to_string();
    let mut client = Client::connect(gateway.address());
    client.send(format!(
        "POST /_lanekeeper{path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{OWN}content-length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.read("POST")
}

fn begin(gateway: &Gateway, body: &Value) -> String {
    let started = post(gateway, "/scans", body);
    assert_eq!(started.status, 201, "{}", started.text());
    started.json()["id"].as_str().unwrap().to_owned()
}

/// Reads a stream to its end, after the event with this id.
fn events(gateway: &Gateway, id: &str, after: u64) -> Vec<(String, Option<u64>, Value)> {
    let mut client = Client::connect(gateway.address());
    let lines = format!("last-event-id: {after}\r\n");
    let answer = client.request_with("GET", &format!("/_lanekeeper/scans/{id}/events"), &lines, "");
    assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{}", answer.text());
    let text = answer.text();
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    text.split("\n\n")
        .filter_map(|event| {
            let data = serde_json::from_str(&field(event, "data: ")?).unwrap();
            let id = field(event, "id: ").map(|id| id.parse().unwrap());
            Some((field(event, "event: ")?, id, data))
        })
        .collect()
}

/// Waits until a scan is in a state in which `is` holds.
fn wait_for(gateway: &Gateway, id: &str, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..3000 {
        let list =
            Client::connect(gateway.address()).request("GET", "/_lanekeeper/scans", "").json();
        let scan = list["scans"].as_array().unwrap().iter().find(|scan| scan["id"] == id).cloned();
        if let Some(scan) = scan.filter(|scan| is(scan)) {
            return scan;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the scan {id} does not get there");
}

#[test]
fn a_scan_of_instruments_brings_each_of_them_and_ends() {
    let (exchange, gateway) = at_exchange();
    let id = begin(&gateway, &json!({"instruments": ["NSE:YESBANK", "NSE:NOPE", "NSE:YESBANK"]}));
    let events = events(&gateway, &id, 0);
    let results: Vec<_> =
        events.iter().filter(|(kind, ..)| kind == "result").map(|(_, _, data)| data).collect();
    assert_eq!(results.len(), 3);
    assert_eq!((&results[0]["name"], &results[0]["ok"]), (&json!("NSE:YESBANK"), &json!(true)));
    assert!(results[0]["body"]["last_price"].is_number());
    assert_eq!((&results[1]["ok"], &results[1]["index"]), (&json!(false), &json!(1)));
    let (kind, _, done) = events.last().unwrap();
    assert_eq!((kind.as_str(), &done["done"], &done["total"]), ("done", &json!(3), &json!(3)));
    assert_eq!(done["failed"], 1, "the broker has no quote of one of them");
    // All of them in one request.
    assert_eq!(exchange.counts("quote").admitted, 1);
}

#[test]
fn a_scan_is_paused_and_resumed_and_a_reader_that_comes_back_misses_nothing() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let mut config = kite(&exchange.base_url());
    let slow = "5/s".parse().unwrap();
    let account = config.accounts.get_mut("main").unwrap();
    account.lanes = vec![("transactional".to_owned(), lanekeeper::LaneConfig::new(slow))];
    let gateway = start(config);
    let requests: Vec<_> = (0..12).map(|_| json!({"path": "/user/margins"})).collect();
    let id = begin(&gateway, &json!({ "requests": requests }));
    wait_for(&gateway, &id, |scan| scan["done"].as_u64() >= Some(3));
    assert_eq!(post(&gateway, &format!("/scans/{id}/pause"), &json!({})).json()["state"], "paused");
    // What was in flight ends. Then nothing is sent.
    let in_flight = || {
        let status = Client::connect(gateway.address()).request("GET", "/_lanekeeper/status", "");
        status.json()["accounts"][0]["lanes"][0]["in_flight"].as_u64()
    };
    while in_flight() != Some(0) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let paused_at = exchange.arrivals().len();
    let paused = wait_for(&gateway, &id, |scan| scan["state"] == "paused");
    assert!(paused["done"].as_u64() < Some(12), "{paused}");
    // Another client's call is not held up by it, and is the only one that is sent.
    assert_eq!(Client::connect(gateway.address()).request("GET", "/orders", "").status, 200);
    assert_eq!(exchange.arrivals().len(), paused_at + 1);

    assert_eq!(
        post(&gateway, &format!("/scans/{id}/resume"), &json!({})).json()["state"],
        "running"
    );
    let all = events(&gateway, &id, 0);
    let (_, half, _) = all.iter().filter(|(kind, ..)| kind == "result").nth(5).unwrap();
    let rest = events(&gateway, &id, half.unwrap());
    let index = |events: &[(String, Option<u64>, Value)]| -> Vec<u64> {
        let results = events.iter().filter(|(kind, ..)| kind == "result");
        results.map(|(_, _, data)| data["index"].as_u64().unwrap()).collect()
    };
    let mut both = [&index(&all)[..6], &index(&rest)[..]].concat();
    both.sort_unstable();
    assert_eq!(both, (0..12).collect::<Vec<_>>());
    assert_eq!(rest.last().unwrap().0, "done");
    assert_eq!(exchange.refused(), 0);
}

#[test]
fn a_scan_that_is_cancelled_sends_nothing_more() {
    let (exchange, gateway) = at_exchange();
    let requests: Vec<_> = (0..200).map(|_| json!({"path": "/orders"})).collect();
    let id = begin(&gateway, &json!({ "requests": requests }));
    wait_for(&gateway, &id, |scan| scan["done"].as_u64() >= Some(1));
    assert_eq!(
        post(&gateway, &format!("/scans/{id}/cancel"), &json!({})).json()["state"],
        "cancelled"
    );
    assert_eq!(events(&gateway, &id, 0).last().unwrap().0, "cancelled");
    assert!(exchange.arrivals().len() < 200);
}

#[test]
fn a_scan_takes_reads_only() {
    let (exchange, gateway) = at_exchange();
    for body in [
        json!({}),
        json!({"instruments": []}),
        json!({"instruments": [""]}),
        json!({"instruments": ["NSE:INFY"], "requests": [{"path": "/orders"}]}),
        json!({"requests": [{"method": "POST", "path": "/orders/regular"}]}),
        json!({"requests": [{"method": "DELETE", "path": "/orders/regular/1"}]}),
        json!({"requests": [{"method": "POST", "path": "/margins/orders"}]}),
        json!({"requests": [{"path": "/quote/../orders"}]}),
        json!({"requests": [{"path": "//orders"}]}),
        json!({"requests": [{"path": "/orders"}, {"path": "http://evil.example/"}]}),
        json!({"account": "other", "instruments": ["NSE:INFY"]}),
    ] {
        let refused = post(&gateway, "/scans", &body);
        assert!((400..=404).contains(&refused.status), "{body}: {}", refused.text());
    }
    for action in ["pause", "resume", "cancel"] {
        assert_eq!(post(&gateway, &format!("/scans/s9/{action}"), &json!({})).status, 404);
    }
    assert_eq!(exchange.arrivals().len(), 0);
}
