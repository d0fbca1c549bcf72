//! Makes the pictures of the documentation: a busy desk, light, dark and on a phone.
//!
//! ```sh
//! cargo test -p lanekeeper-gateway --test page -- --ignored pictures
//! ```
//!
//! It writes `docs/img/gateway-*.png`, and takes two and a half minutes, so that the charts are full.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lanekeeper::brokers::PaperBroker;
use lanekeeper_gateway::config::TierConfig;
use lanekeeper_simulator::SimulatedExchange;
use serde_json::{Value, json};

use crate::browser::{Browser, Scheme};
use crate::desk::{Crowd, Desk, Member, SHARES, add_client};
use crate::support::Client;

/// The largest file, in bytes.
const MAX_SIZE: usize = 300_000;

/// How many seconds the charts show when they are full enough, and how long that may take.
const FULL: u32 = 118;
const CHART: Duration = Duration::from_secs(240);

/// A picture: its size in CSS pixels, and how many pixels of the file one of them has.
struct Picture {
    name: &'static str,
    scheme: Scheme,
    width: u32,
    height: u32,
    scale: u32,
}

const PICTURES: [Picture; 3] = [
    Picture { name: "light", scheme: Scheme::Light, width: 1280, height: 1800, scale: 1 },
    Picture { name: "dark", scheme: Scheme::Dark, width: 1280, height: 1800, scale: 1 },
    Picture { name: "phone", scheme: Scheme::Light, width: 360, height: 812, scale: 2 },
];

/// The clients, with their tiers.
const CLIENTS: [(&str, &str); 8] = [
    ("momentum", "trading"),
    ("pairs", "trading"),
    ("options-desk", "trading"),
    ("risk-monitor", "risk"),
    ("rebalancer", "trading"),
    ("research", "research"),
    ("backtests", "research"),
    ("excel", "research"),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes the pictures of the documentation"]
async fn pictures_of_a_busy_desk() {
    let Some(browser) = Browser::start().await else { return };
    let mut keys = Vec::new();
    let broker = PaperBroker::builder().synthetic(7).build().unwrap();
    let exchange = SimulatedExchange::builder()
        .broker(broker)
        .circuit_limits(false)
        .latency(Duration::from_millis(40))
        .jitter(Duration::from_millis(30));
    let desk = Desk::at(exchange, |config| {
        for name in ["trading", "risk", "research"] {
            config.tiers.insert(name.to_owned(), TierConfig::default());
        }
        for (name, tier) in CLIENTS {
            keys.push(add_client(config, name));
            config.clients.get_mut(name).unwrap().tier = Some(tier.to_owned());
        }
    });
    let _crowd = crowd(&desk, &keys);
    open(&browser, &desk).await;
    tell(&desk, &keys[5]);
    let seconds = "document.querySelector('.chart-line').getAttribute('d').split(/[ML]/).length";
    for (number, picture) in PICTURES.iter().enumerate() {
        let Picture { name, scheme, width, height, scale } = *picture;
        browser.use_scheme(scheme).await;
        browser.resize_scaled(width, height, scale).await;
        let full = format!("{seconds} > {FULL}");
        browser.until_within(CHART, "the charts are full", &full).await;
        // Once the banner of the last burst is gone.
        browser.until("no call waits for long", "!isVisible(find('banner'))").await;
        let burst = burst(&desk, &keys[4], 20 + 4 * number);
        browser.until("calls wait", "isVisible(find('banner-item'))").await;
        browser.run("scrollTo(0, 0);").await;
        write(name, &browser.picture().await);
        drop(burst);
    }
}

/// Opens the page with the admin key, lists prices, and scans all shares.
async fn open(browser: &Browser, desk: &Desk) {
    browser.command("Emulation.setScrollbarsHidden", json!({"hidden": true})).await;
    let listed: Vec<_> = SHARES[..6].iter().map(|share| format!("NSE:{share}")).collect();
    let url = format!("{}#i={}&follow=1", desk.page(), listed.join(","));
    browser.driver().goto(url).await.unwrap();
    browser.until("the page asks for a key", "find('key-dialog').open").await;
    browser.enter("key-field", &format!("admin:{}", desk.admin)).await;
    browser.click("key-submit").await;
    let is_open = "isVisible(find('lane')) && !find('key-dialog').open";
    browser.until("the lanes are there", is_open).await;
    let names: Vec<String> = SHARES[..5].iter().map(|share| format!("NSE:{share}")).collect();
    let names = json!(names.join("\n"));
    browser.run(&format!("find('scan-field').value = {names};")).await;
    browser.click("scan-start").await;
    browser.until_text("scan-state", "done").await;
    browser.run("document.activeElement.blur();").await;
    // Rows below a pointer would keep their places.
    browser.driver().action_chain().move_to(0, 0).perform().await.unwrap();
}

/// Lets something happen that the notices tell of, and starts a long scan.
fn tell(desk: &Desk, research: &str) {
    let admin = format!("admin:{}", desk.admin);
    post(desk, &admin, "accounts/main/lanes/historical/pause", &json!({}));
    post(desk, &admin, "accounts/main/lanes/historical/resume", &json!({}));
    let token = token(desk, research);
    let path = |day: usize| {
        format!("/instruments/historical/{token}/day?from=2026-01-01&to=2030-01-{day:02}")
    };
    let requests: Vec<_> = (0..400).map(|number| json!({"path": path(number % 28 + 1)})).collect();
    post(desk, research, "scans", &json!({"requests": requests}));
}

fn post(desk: &Desk, key: &str, path: &str, body: &Value) {
    let body = body.to_string();
    let mut client = Client::connect(desk.gateway.address());
    client.send(format!(
        "POST /_lanekeeper/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-lanekeeper-request: 1\r\n\
         authorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = client.read("POST");
    assert!(answer.status < 300, "{path}: {}", answer.text());
}

fn crowd(desk: &Desk, keys: &[String]) -> Crowd {
    let [momentum, pairs, options, risk, _, research, backtests, excel] = keys else { panic!() };
    let millis = Duration::from_millis;
    let quotes: Vec<String> =
        SHARES.iter().map(|share| format!("/quote/ltp?i=NSE:{share}")).collect();
    let quotes: Vec<&str> = quotes.iter().map(String::as_str).collect();
    let token = token(desk, research);
    let candles: Vec<String> = (1..28)
        .map(|day| {
            format!("/instruments/historical/{token}/day?from=2026-01-{day:02}&to=2030-01-01")
        })
        .collect();
    let candles: Vec<&str> = candles.iter().map(String::as_str).collect();
    let trader = |key, connections, think| {
        Member::trader("", connections).with_key(key).thinking(millis(think))
    };
    let reader = |key, connections, targets: &[&str], think| {
        Member::reader("", connections, targets).with_key(key).thinking(millis(think))
    };
    desk.crowd([
        trader(momentum, 3, 1500),
        trader(pairs, 2, 1900),
        reader(options, 3, &["/orders", "/portfolio/positions"], 1700),
        reader(risk, 2, &["/user/margins", "/portfolio/positions"], 1300),
        reader(risk, 4, &quotes, 700),
        reader(research, 2, &candles, 2200),
        reader(backtests, 2, &candles, 3000),
        reader(excel, 2, &quotes, 1000),
    ])
}

/// The rebalancer: many calls at once.
fn burst(desk: &Desk, key: &str, connections: usize) -> Crowd {
    desk.crowd([Member::trader("", connections).with_key(key)])
}

/// Returns the number of an instrument.
fn token(desk: &Desk, key: &str) -> String {
    let lines = format!("authorization: token {key}\r\n");
    let listing =
        Client::connect(desk.gateway.address()).request_with("GET", "/instruments/NSE", &lines, "");
    let text = listing.text();
    let row = text.lines().find(|row| row.contains(",INFY,")).unwrap();
    row.split(',').next().unwrap().to_owned()
}

fn write(name: &str, png: &[u8]) {
    assert!(png.len() <= MAX_SIZE, "{name} has {} bytes", png.len());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/img");
    fs::write(folder.join(format!("gateway-{name}.png")), png).unwrap();
}
