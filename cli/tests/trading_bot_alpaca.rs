//! The example as a program at a server that speaks Alpaca's wire: what it reports must be what happened.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../../tests/support/example.rs"]
mod example;
#[path = "../../tests/alpaca/exchange.rs"]
mod exchange;
#[path = "../../tests/alpaca/server.rs"]
mod server;

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use exchange::{Exchange, Fate};
use serde_json::Value;
use server::Server;

/// So long that two strategies do not use up the 200 calls of a minute, for the rest of which they would wait.
const LATENCY: Duration = Duration::from_millis(40);

fn bot() -> Command {
    let mut bot = Command::new(example::built("trading_bot"));
    bot.env_remove("APCA_API_KEY_ID").env_remove("APCA_API_SECRET_KEY");
    bot.args(["--broker", "alpaca"]);
    bot
}

#[test]
fn the_report_agrees_with_the_orders_of_the_exchange() {
    let exchange = Exchange::default();
    exchange.fates([Fate::Done, Fate::TakenThen504, Fate::LostByCut, Fate::TakenThenCut]);
    let theirs = exchange.clone();
    let server = Server::new(move |request| {
        std::thread::sleep(LATENCY);
        theirs.answer(request)
    });
    let shown = format!("{:?}", server.alpaca());
    let url = shown.split('"').nth(1).unwrap();
    let output = bot()
        .env("APCA_API_KEY_ID", server::KEY_ID)
        .env("APCA_API_SECRET_KEY", server::SECRET_KEY)
        .args([
            "--fresh",
            "--json",
            "--strategies",
            "2",
            "--seconds",
            "2",
            "--settle",
            "1",
            "--url",
            url,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let state = exchange.state();
    let by_tag: HashMap<&str, &Value> =
        state.orders.iter().map(|it| (it["client_order_id"].as_str().unwrap(), it)).collect();
    assert_eq!(by_tag.len(), state.orders.len(), "no tag is there twice");
    let orders = report["orders"].as_array().or(report["paced"]["orders"].as_array()).unwrap();
    assert!(orders.len() > 5, "{orders:?}");
    for order in orders {
        assert_eq!(order["outcome"], "placed", "{order}");
        assert_eq!(by_tag[order["tag"].as_str().unwrap()]["id"], order["order_id"]);
    }
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(!shown.contains(server::SECRET_KEY) && !shown.contains(server::KEY_ID));
}

#[test]
fn it_needs_an_address_and_keys() {
    let line = |bot: &mut Command| String::from_utf8(bot.output().unwrap().stderr).unwrap();
    assert!(line(&mut bot()).contains("needs --base-url"));
    assert!(
        line(bot().args(["--url", "http://127.0.0.1:1"])).contains("APCA_API_KEY_ID is not set")
    );
}
