//! Four processes of the official Python client on one account: bare, and behind `lanekeeper gateway`.
//!
//! One of the few tests that need real time. It needs a Python with `tests/python/requirements.txt` of the repository:
//! `LANEKEEPER_PYTHON`, or `python3`. Without one it is skipped, unless `CI=true` requires it.
//!
//! `LANEKEEPER_CROWD_SECONDS=120 cargo test -p lanekeeper-cli --test gateway_crowd -- --nocapture` runs it for longer, and
//! prints the figures.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

#[path = "support/gateway.rs"]
mod gateway;
#[path = "../../tests/support/python.rs"]
mod python;

use std::collections::BTreeMap;
use std::time::Duration;

use lanekeeper::broker::OrderStatus;
use lanekeeper_simulator::{Arrival, SimulatedExchange};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use gateway::{ClientKey, GatewayProcess, Script};

const LATENCY: Duration = Duration::from_millis(40);
const JITTER: Duration = Duration::from_millis(30);
const PROCESSES: usize = 4;
const THREADS: usize = 6;
/// As many as the lane can answer within the 6 s of a client, of which the first process would have a third.
const UNEQUAL_THREADS: [usize; PROCESSES] = [8, 5, 5, 5];
const BARE_SECONDS: u64 = 4;
/// How often a run is repeated that came short because other programs took the processors.
const ATTEMPTS: u64 = 3;

/// Returns how long each run with a gateway takes. `LANEKEEPER_CROWD_SECONDS` makes it longer.
fn seconds() -> u64 {
    std::env::var("LANEKEEPER_CROWD_SECONDS").map_or(15, |text| text.parse().unwrap())
}

fn exchange(seed: u64) -> SimulatedExchange {
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
    fn new(api_key: impl Into<String>, access_token: impl Into<String>) -> Self {
        let (api_key, access_token) = (api_key.into(), access_token.into());
        Self { api_key, access_token, threads: THREADS }
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

/// What one run came to, at the exchange and at its clients.
struct Figures {
    name: &'static str,
    arrivals: usize,
    refused: u64,
    /// Of the transactional lane.
    used: f64,
    quote_calls: usize,
    span: Duration,
    orders: usize,
    shares: Vec<u64>,
    errors: BTreeMap<String, u64>,
    messages: Vec<String>,
    slowest: f64,
}

impl Figures {
    fn of(
        name: &'static str,
        exchange: &SimulatedExchange,
        reports: &[Value],
        seconds: u64,
    ) -> Self {
        let arrivals = exchange.arrivals();
        let began = arrivals.iter().map(|arrival| arrival.at).min().unwrap();
        let span = Duration::from_secs(seconds);
        let in_time = |arrival: &&Arrival| arrival.admitted && arrival.at < began + span;
        let of = |lane| {
            arrivals.iter().filter(in_time).filter(|arrival| arrival.lane == Some(lane)).count()
        };
        let mut errors = BTreeMap::new();
        for (kind, count) in reports.iter().flat_map(|report| report["errors"].as_object().unwrap())
        {
            *errors.entry(kind.clone()).or_default() += count.as_u64().unwrap();
        }
        let messages = reports
            .iter()
            .flat_map(|report| report["messages"].as_object().unwrap())
            .map(|(kind, message)| format!("{kind}: {message}"));
        Self {
            name,
            arrivals: arrivals.len(),
            refused: exchange.refused(),
            used: of("transactional") as f64 / (10.0 * span.as_secs_f64()),
            quote_calls: of("quote"),
            span,
            orders: exchange.orders().len(),
            shares: reports.iter().map(|it| it["transactional"].as_u64().unwrap()).collect(),
            errors,
            messages: messages.collect(),
            slowest: reports.iter().filter_map(|it| it["slowest"].as_f64()).fold(0.0, f64::max),
        }
    }

    /// Returns how far the largest share is above the smallest one, as a part of the mean.
    fn spread(&self) -> f64 {
        let (min, max) = (self.shares.iter().min().unwrap(), self.shares.iter().max().unwrap());
        let mean = self.shares.iter().sum::<u64>() as f64 / self.shares.len() as f64;
        (max - min) as f64 / mean
    }
}

fn print<'a>(table: impl Iterator<Item = &'a Figures>) {
    println!(
        "{PROCESSES} processes of the official Python client, {THREADS} threads each, mixed calls;\n\
         the exchange is {LATENCY:?} away, and up to {JITTER:?} more on average, each way"
    );
    println!(
        "| run | seconds | requests at the exchange | refused there | transactional lane used | quote calls | \
         orders | calls of each process | spread | client exceptions | slowest call |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|---|--:|---|--:|");
    for figures in table {
        let Figures { name, span, arrivals, refused, used, quote_calls, orders, shares, .. } =
            figures;
        println!(
            "| {name} | {} | {arrivals} | {refused} | {:.1} % | {quote_calls} | {orders} | {shares:?} | {:.1} % | {:?} | {:.1} s |",
            span.as_secs(),
            100.0 * used,
            100.0 * figures.spread(),
            figures.errors,
            figures.slowest,
        );
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

/// Checks what holds in every run, however slow the machine is.
fn check(figures: &Figures) {
    assert_eq!(figures.refused, 0);
    let seconds = figures.span.as_secs_f64();
    // One at the start, and one a second after that.
    assert!(figures.quote_calls as f64 <= seconds + 1.0, "{} quote calls", figures.quote_calls);
    let is_own_refusal = |kind: &String| kind == "NetworkException 429";
    assert!(figures.errors.keys().all(is_own_refusal), "{:#?}", figures.messages);
}

/// Returns what a run came short of that was on a busy machine: its own calls took longer, so less was sent.
fn shortfall(figures: &Figures) -> Option<String> {
    let Figures { used, shares, quote_calls, messages, .. } = figures;
    if !messages.is_empty() {
        return Some(format!("a client was refused: {messages:#?}"));
    }
    if *used < 0.92 {
        return Some(format!("{used} of the transactional lane was used"));
    }
    // There was nearly always a thread that asked.
    if (*quote_calls as f64) < 0.7 * figures.span.as_secs_f64() {
        return Some(format!("{quote_calls} quote calls"));
    }
    (figures.spread() > 0.1).then(|| format!("the shares are {shares:?}"))
}

/// Repeats a run that came short of a figure, and returns all.
fn attempts(mut run: impl FnMut(u64) -> Figures) -> (Vec<Figures>, Option<String>) {
    let mut made = Vec::new();
    for attempt in 0..ATTEMPTS {
        let figures = run(attempt);
        check(&figures);
        let shortfall = shortfall(&figures);
        made.push(figures);
        if shortfall.is_none() || attempt + 1 == ATTEMPTS {
            return (made, shortfall);
        }
    }
    (made, None)
}

/// Kite counts each key alone, so the processes share one when nothing is between.
fn bare(crowd: &mut Crowd) -> Figures {
    let exchange = exchange(1);
    let clients: Vec<_> = (0..PROCESSES).map(|_| Client::new("key", "token")).collect();
    let reports = crowd.run("bare", &exchange.base_url(), &clients, BARE_SECONDS);
    Figures::of("bare", &exchange, &reports, BARE_SECONDS)
}

/// Without configured clients, the api key is the name.
fn open_gateway(crowd: &mut Crowd, seed: u64) -> Figures {
    let exchange = exchange(seed);
    let gateway = GatewayProcess::start(&["--upstream", &exchange.base_url()]);
    let clients: Vec<_> =
        (0..PROCESSES).map(|n| Client::new(format!("bot-{n}"), "anything")).collect();
    let reports = crowd.run("open", &gateway.url, &clients, seconds());
    check_orders(&exchange, &reports);
    Figures::of("gateway", &exchange, &reports, seconds())
}

/// Clients with keys of their own, a journal, and a process that has more threads than the others, and no larger share.
fn gateway_with_keys(crowd: &mut Crowd, seed: u64) -> Figures {
    let exchange = exchange(seed);
    let keys: Vec<_> = (0..PROCESSES).map(|n| ClientKey::new(&format!("desk-{n}"))).collect();
    let clients: String =
        keys.iter().map(|key| format!("  {}: {{ key: \"{}\" }}\n", key.name, key.hash)).collect();
    let upstream = exchange.base_url();
    let text = format!("preset: kite\nupstream: {upstream}\nclients:\n{clients}");
    let gateway = GatewayProcess::configured(&text);
    let mut clients: Vec<_> =
        keys.into_iter().map(|key| Client::new(key.name, key.secret)).collect();
    for (client, threads) in clients.iter_mut().zip(UNEQUAL_THREADS) {
        client.threads = threads;
    }
    let reports = crowd.run("keys", &gateway.url, &clients, seconds());
    check_orders(&exchange, &reports);
    Figures::of("gateway, keys, 8 + 5 + 5 + 5 threads", &exchange, &reports, seconds())
}

#[test]
fn four_processes_of_the_official_python_client_share_an_account_and_meet_no_refusal() {
    let Some(python) = python::with_client() else { return };
    let mut crowd = Crowd::start(&python);
    let bare = bare(&mut crowd);
    let (open, open_shortfall) = attempts(|attempt| open_gateway(&mut crowd, 10 + attempt));
    let (keys, keys_shortfall) = attempts(|attempt| gateway_with_keys(&mut crowd, 20 + attempt));
    print([&bare].into_iter().chain(&open).chain(&keys));
    assert!(bare.refused * 2 > bare.arrivals as u64, "{} of {}", bare.refused, bare.arrivals);
    assert_eq!((open_shortfall, keys_shortfall), (None, None));
}
