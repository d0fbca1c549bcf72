//! The simulated exchange with a gateway in front of it, and without.

use std::net::SocketAddr;

use lanekeeper_gateway::Gateway;
use lanekeeper_simulator::SimulatedExchange;

use crate::support::door::exchange;
use crate::support::{API_KEY, Answer, Client, TOKEN, kite, start};

fn at_exchange() -> (SimulatedExchange, Gateway) {
    let exchange = exchange();
    let gateway = start(kite(&exchange.base_url()));
    (exchange, gateway)
}

/// Makes a request at the exchange itself, with the gateway's credentials.
fn direct(address: SocketAddr, method: &str, target: &str, body: &str) -> Answer {
    let lines = format!("authorization: token {API_KEY}:{TOKEN}\r\n");
    Client::connect(address).request_with(method, target, &lines, body)
}

#[test]
fn gtt_and_margins_are_byte_for_byte_what_the_exchange_says() {
    let (exchange, gateway) = at_exchange();
    let mut client = Client::connect(gateway.address());
    let gtt = "type=single&condition=%7B%22exchange%22%3A%22NSE%22%2C%22tradingsymbol%22%3A%22INFY%22%2C\
               %22trigger_values%22%3A%5B1.0%5D%2C%22last_price%22%3A1500.0%7D&orders=%5B%7B%22exchange%22\
               %3A%22NSE%22%2C%22tradingsymbol%22%3A%22INFY%22%2C%22transaction_type%22%3A%22BUY%22%2C\
               %22quantity%22%3A1%2C%22order_type%22%3A%22LIMIT%22%2C%22product%22%3A%22CNC%22%2C\
               %22price%22%3A1.0%7D%5D";
    let placed = client.request("POST", "/gtt/triggers", gtt);
    assert_eq!(placed.status, 200, "{}", placed.text());
    let id = placed.json()["data"]["trigger_id"].to_string();
    let of_gtt = format!("/gtt/triggers/{id}");
    let mut compared = 0;
    for target in [
        "/user/margins",
        "/user/margins/equity",
        "/user/profile",
        "/gtt/triggers",
        of_gtt.as_str(),
        "/portfolio/holdings",
        "/portfolio/positions",
        "/orders",
        "/trades",
        "/no/such/route",
    ] {
        let own = direct(exchange.address(), "GET", target, "");
        let passed = client.request("GET", target, "");
        assert_eq!((passed.status, &passed.body), (own.status, &own.body), "{target}");
        assert_eq!(passed.header("content-type"), own.header("content-type"), "{target}");
        compared += usize::from(own.status == 200);
    }
    // Most of these exist, so that more than errors was compared.
    assert!(compared >= 7, "{compared}");
    let basket = r#"[{"exchange":"NSE","tradingsymbol":"INFY","transaction_type":"BUY","variety":"regular",
        "product":"CNC","order_type":"MARKET","quantity":1,"price":0,"trigger_price":0}]"#;
    let lines = "authorization: token alpha:x\r\n";
    let json =
        format!("{lines}content-type: application/json\r\ncontent-length: {}\r\n", basket.len());
    client.send(format!("POST /margins/orders HTTP/1.1\r\nhost: 127.0.0.1\r\n{json}\r\n{basket}"));
    let passed = client.read("POST");
    let json = json.replace("alpha:x", &format!("{API_KEY}:{TOKEN}"));
    let mut own = Client::connect(exchange.address());
    own.send(format!("POST /margins/orders HTTP/1.1\r\nhost: 127.0.0.1\r\n{json}\r\n{basket}"));
    let own = own.read("POST");
    assert_eq!((passed.status, passed.text()), (own.status, own.text()));
    let deleted = client.request("DELETE", &of_gtt, "");
    assert_eq!(deleted.status, 200, "{}", deleted.text());
}

#[test]
fn the_listing_of_instruments_is_the_same_bytes_fetched_and_kept() {
    let (exchange, gateway) = at_exchange();
    let own = direct(exchange.address(), "GET", "/instruments/NSE", "");
    assert_eq!(own.status, 200);
    let mut client = Client::connect(gateway.address());
    for origin in ["miss", "hit"] {
        let passed = client.request("GET", "/instruments/NSE", "");
        assert!(
            passed.body == own.body && passed.header("content-type") == own.header("content-type")
        );
        assert!(passed.header("x-lanekeeper-cache").unwrap().starts_with(origin));
    }
}
