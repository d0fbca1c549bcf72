//! Four processes of the official Python client on one account: bare, and behind `lanekeeper gateway`.
//!
//! One of the few tests that need real time. It needs a Python with `tests/python/requirements.txt` of the repository:
//! `LANEKEEPER_PYTHON`, or `python3`. Without one it is skipped, unless `CI=true` requires it.
//!
//! `LANEKEEPER_CROWD_SECONDS=120 cargo test -p lanekeeper-cli --test gateway_crowd -- --nocapture` runs it for longer, and
//! prints the figures.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod figures;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../../../tests/support/python.rs"]
mod python;
mod reference;

use std::collections::BTreeMap;
use std::time::Duration;

use lanekeeper::broker::OrderStatus;
use lanekeeper_simulator::SimulatedExchange;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use figures::Figures;
use gateway::{ClientKey, GatewayProcess, Script};
use reference::Reference;

const LATENCY: Duration = Duration::from_millis(40);
const JITTER: Duration = Duration::from_millis(30);
const PROCESSES: usize = 4;
const THREADS: usize = 6;
/// As many as the lane can answer within the 6 s of a client, of which the first process would have a third.
const UNEQUAL_THREADS: [usize; PROCESSES] = [8, 5, 5, 5];
const BARE_SECONDS: u64 = 4;
/// How often a run is repeated that came short because other programs took the processors.
const ATTEMPTS: u64 = 4;

/// Returns how long each run with a gateway takes. `LANEKEEPER_CROWD_SECONDS` makes it longer.
fn seconds() -> u64 {
    std::env::var("LANEKEEPER_CROWD_SECONDS").map_or(15, |text| text.parse().unwrap())
}

fn far_exchange(seed: u64) -> SimulatedExchange {
    // The orders rest far from the market.
    let exchange = SimulatedExchange::builder().circuit_limits(false).seed(seed);
    exchange.latency(LATENCY).jitter(JITTER).start().unwrap()
}

/// What a process is at the server that it talks to.
struct Client {
    api_key: String,
    access_token: String,
    threads: usize,
}

impl Client {
    fn new(api_key: impl Into<String>, access_token: impl Into<String>, threads: usize) -> Self {
        let (api_key, access_token) = (api_key.into(), access_token.into());
        Self { api_key, access_token, threads }
    }
}

/// The processes, which have loaded the client.
struct Crowd(Vec<Script>);

impl Crowd {
    fn start(python: &str) -> Self {
        let mut scripts: Vec<_> =
            (0..PROCESSES).map(|_| Script::python(python, "gateway_crowd.py")).collect();
        scripts.iter_mut().for_each(Script::wait_until_ready);
        Self(scripts)
    }

    /// Lets all of them make calls at once. Returns what each reports.
    fn run(&mut self, name: &str, root: &str, clients: &[Client], seconds: u64) -> Vec<Value> {
        for (number, (script, client)) in self.0.iter_mut().zip(clients).enumerate() {
            script.tell(&json!({
                "run": name, "root": root, "process": number, "threads": client.threads,
                "api_key": client.api_key, "access_token": client.access_token,
                "seconds": seconds,
            }));
        }
        self.0.iter_mut().map(Script::answer).collect()
    }
}

/// Checks that the exchange booked exactly the orders that clients were told of, as they were told.
fn check_orders(exchange: &SimulatedExchange, reports: &[Value]) {
    let told = reports.iter().flat_map(|report| report["orders"].as_array().unwrap());
    let told: Vec<_> = told
        .map(|order| {
            let text = |name: &str| order[name].as_str().map(str::to_owned);
            let quantity = Decimal::from(order["quantity"].as_u64().unwrap());
            (
                text("id").unwrap(),
                (text("symbol").unwrap(), quantity, text("state").unwrap(), text("tag")),
            )
        })
        .collect();
    let count = told.len();
    let mut told: BTreeMap<_, _> = told.into_iter().collect();
    assert_eq!(told.len(), count, "an id was told twice");
    for order in exchange.orders() {
        let id = order.id.as_str();
        let (symbol, quantity, state, tag) =
            told.remove(id).unwrap_or_else(|| panic!("no client was told of {order:?}"));
        let status = if state == "OPEN" { OrderStatus::Open } else { OrderStatus::Cancelled };
        assert_eq!(
            (order.instrument.symbol(), order.quantity, &order.status),
            (symbol.as_str(), quantity, &status),
            "{order:?}"
        );
        // The gateway gives an order without a tag one of its own, by which it is found if its answer is lost.
        let is_kept = if tag.is_some() { tag == order.tag } else { order.tag.is_some() };
        assert!(is_kept, "{order:?} was placed with {tag:?}");
    }
    assert!(told.is_empty(), "not at the exchange: {told:?}");
}

/// Repeats a run that came short of a figure, and returns all.
fn attempts(
    max_spread: f64,
    mut run: impl FnMut(u64) -> Figures,
) -> (Vec<Figures>, Option<String>) {
    let mut made = Vec::new();
    for attempt in 0..ATTEMPTS {
        let figures = run(attempt);
        figures.check();
        let shortfall = figures.shortfall(max_spread);
        made.push(figures);
        if shortfall.is_none() || attempt + 1 == ATTEMPTS {
            return (made, shortfall);
        }
    }
    (made, None)
}

/// Kite counts each key alone, so the processes share one when nothing is between.
fn bare(crowd: &mut Crowd) -> Figures {
    let exchange = far_exchange(1);
    let clients: Vec<_> = (0..PROCESSES).map(|_| Client::new("key", "token", THREADS)).collect();
    let reports = crowd.run("bare", &exchange.base_url(), &clients, BARE_SECONDS);
    Figures::of("bare, 4 x 6 threads", &exchange, None, &reports, BARE_SECONDS)
}

/// Runs the crowd behind a gateway, and the library beside it.
fn behind(
    gateway: &GatewayProcess,
    exchange: &SimulatedExchange,
    crowd: &mut Crowd,
    name: &'static str,
    clients: &[Client],
) -> Figures {
    let reference = Reference::start(far_exchange(2));
    let reports = crowd.run("run", &gateway.url, clients, seconds());
    let library = reference.stop();
    check_orders(exchange, &reports);
    Figures::of(name, exchange, Some(&library), &reports, seconds())
}

/// Without configured clients, the api key is the name.
fn open_gateway(crowd: &mut Crowd, seed: u64) -> Figures {
    let exchange = far_exchange(seed);
    let gateway = GatewayProcess::start(&["--upstream", &exchange.base_url()]);
    let client = |n| Client::new(format!("bot-{n}"), "anything", THREADS);
    let clients: Vec<_> = (0..PROCESSES).map(client).collect();
    behind(&gateway, &exchange, crowd, "gateway, 4 x 6 threads", &clients)
}

/// Clients with keys of their own, a journal, and a process that has more threads than the others, and no larger share.
fn gateway_with_keys(crowd: &mut Crowd, seed: u64) -> Figures {
    let exchange = far_exchange(seed);
    let keys: Vec<_> = (0..PROCESSES).map(|n| ClientKey::new(&format!("desk-{n}"))).collect();
    let setting = |key: &ClientKey| format!("  {}: {{ key: \"{}\" }}\n", key.name, key.hash);
    let settings: String = keys.iter().map(setting).collect();
    let upstream = exchange.base_url();
    let text = format!("preset: kite\nupstream: {upstream}\nclients:\n{settings}");
    let gateway = GatewayProcess::configured(&text);
    let client = |(key, threads): (ClientKey, _)| Client::new(key.name, key.secret, threads);
    let clients: Vec<_> = keys.into_iter().zip(UNEQUAL_THREADS).map(client).collect();
    behind(&gateway, &exchange, crowd, "gateway, keys, 8 + 5 + 5 + 5 threads", &clients)
}

#[test]
fn four_processes_of_the_official_python_client_share_an_account_and_meet_no_refusal() {
    let Some(python) = python::with_client() else { return };
    let mut crowd = Crowd::start(&python);
    let bare = bare(&mut crowd);
    let (open, open_shortfall) = attempts(0.1, |attempt| open_gateway(&mut crowd, 10 + attempt));
    // By threads alone, the first process would have 52 % of the mean more than the others.
    let (keys, keys_shortfall) =
        attempts(0.2, |attempt| gateway_with_keys(&mut crowd, 20 + attempt));
    figures::print([&bare].into_iter().chain(&open).chain(&keys));
    assert!(bare.refused * 2 > bare.arrivals as u64, "{} of {}", bare.refused, bare.arrivals);
    assert_eq!((open_shortfall, keys_shortfall), (None, None));
}
