//! `lanekeeper demo --page`: a simulated exchange, a gateway in front of it, and a crowd of clients through the gateway,
//! for a look at the page.
//!
//! The clients are plain adapters of Kite, which know nothing of limits. Most of the time they need less than the account
//! allows. Twice a minute the page has something to show: a burst of calls that has to queue, and an exchange that says
//! that calls come too fast.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lanekeeper::broker::lanes::ORDERS;
use lanekeeper::broker::{Broker, BrokerError, Instrument, Product};
use lanekeeper::brokers::kite::KiteBuildError;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::brokers::{Kite, PaperBroker};
use lanekeeper::{Budget, Quota};
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::auth::NewKey;
use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};
use lanekeeper_simulator::{Faults, SimulatedExchange};

use crate::bot::strategy::{Tags, follow_averages};
use crate::bot::tap::{CallListener, Tap};
use crate::command::print;
use crate::signal;

const LATENCY: Duration = Duration::from_millis(40);
const JITTER: Duration = Duration::from_millis(30);
/// Short enough for moving averages to cross within seconds.
const BAR_EVERY: Duration = Duration::from_millis(250);
const SYNTHETIC_SEED: u64 = 1;

/// The instruments that the clients trade.
const SYMBOLS: [&str; 12] = [
    "INFY",
    "TCS",
    "RELIANCE",
    "HDFCBANK",
    "ICICIBANK",
    "SBIN",
    "ITC",
    "WIPRO",
    "AXISBANK",
    "LT",
    "HCLTECH",
    "MARUTI",
];
/// How many of them a strategy trades.
const INSTRUMENTS_EACH: usize = 4;

/// The clients that call all the time, and how many strategies each runs.
const CLIENTS: [(&str, usize); 3] = [("momentum", 4), ("pairs", 3), ("desk", 2)];
/// How long their strategies think between two calls.
const THINK: Duration = Duration::from_millis(200);

/// The client of a burst. Its strategies do not think.
const BURST: (&str, usize) = ("rebalance", 18);

/// How often all this is repeated.
const CYCLE: Duration = Duration::from_secs(60);
/// When in a cycle the burst begins and ends.
const BURST_AT: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(20)];
/// When in a cycle the exchange begins and ends to refuse calls.
const THROTTLE_AT: [Duration; 2] = [Duration::from_secs(38), Duration::from_secs(39)];
const THROTTLE: &str = "reads=429";

const TICK: Duration = Duration::from_millis(100);
const DRAIN: Duration = Duration::from_secs(5);

/// Runs the exchange, the gateway and the crowd until a signal comes or the time is over.
pub fn run(listen: SocketAddr, run_for: Option<Duration>) -> Result<(), Box<dyn Error>> {
    let signals = signal::listen(false)?;
    let prices = PaperBroker::builder().prices(Prices::sample()).synthetic(SYNTHETIC_SEED);
    let exchange = SimulatedExchange::builder()
        .broker(prices.bar_every(BAR_EVERY).build()?)
        .latency(LATENCY)
        .jitter(JITTER)
        .start()?;
    let admin = NewKey::generate()?;
    let gateway = gateway(&exchange, listen, &admin)?;
    let lines = format!(
        "page at {}\nadmin key: {}:{}\n\
         Clients of Kite can call {} too, with any api_key and access_token. {}\n",
        gateway.page_url(),
        crate::key::ADMIN,
        admin.secret,
        gateway.base_url(),
        run_for.map_or("Ctrl-C ends it.".to_owned(), |time| format!("It ends after {time:?}.")),
    );
    print(lines.as_bytes())?;

    let mut crowd = Crowd::new(gateway.base_url());
    let clients = CLIENTS.map(|(name, strategies)| crowd.start(name, strategies, THINK));
    let clients: Vec<Wave> = clients.into_iter().collect::<Result<_, _>>()?;
    let began = Instant::now();
    let mut burst = None;
    let mut is_throttling = false;
    while run_for.is_none_or(|time| began.elapsed() < time) {
        if signals.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        let within = Duration::from_secs_f64(began.elapsed().as_secs_f64() % CYCLE.as_secs_f64());
        let is_in = |[from, to]: [Duration; 2]| (from..to).contains(&within);
        match (is_in(BURST_AT), &burst) {
            (true, None) => burst = Some(crowd.start(BURST.0, BURST.1, Duration::ZERO)?),
            (false, Some(_)) => burst = None,
            _ => {}
        }
        if is_in(THROTTLE_AT) != is_throttling {
            is_throttling = !is_throttling;
            let faults = Faults::new();
            let faults = if is_throttling { faults.rule(THROTTLE.parse()?) } else { faults };
            exchange.set_faults(&faults)?;
        }
    }
    // Their calls are still under way. The drain answers them.
    let threads: Vec<_> = clients.into_iter().chain(burst).flat_map(Wave::end).collect();
    gateway.drain(DRAIN);
    for thread in threads {
        // An error means that the thread panicked, which it has reported.
        let _ = thread.join();
    }
    let calls = crowd.calls.load(Ordering::Relaxed);
    let (orders, refused) = (exchange.orders().len(), exchange.refused());
    let text = format!(
        "{calls} calls of clients; {orders} orders booked; {refused} calls were over the limit of the exchange\n"
    );
    Ok(print(text.as_bytes())?)
}

fn gateway(
    exchange: &SimulatedExchange,
    listen: SocketAddr,
    admin: &NewKey,
) -> Result<Gateway, Box<dyn Error>> {
    let mut account = AccountConfig::kite(exchange.base_url());
    // Without Kite's limit of a day, which a demo of an hour would use up.
    let orders = Budget::new(Quota::per_minute(400)).reserve_percent(5);
    account.budgets = vec![(ORDERS.to_owned(), orders)];
    let mut config = GatewayConfig::new(account);
    config.listen = listen;
    config.admin_key = Some(admin.hash.to_string());
    // The secrets of the environment are for a broker, and not for this.
    let gateway = Gateway::builder(config)
        .secret("KITE_API_KEY", "demo")
        .secret("KITE_ACCESS_TOKEN", "demo-token-of-the-day")
        .secret("KITE_API_SECRET", "demo-secret");
    Ok(gateway.start()?)
}

/// Starts strategies at the gateway.
struct Crowd {
    url: String,
    calls: Arc<AtomicU64>,
    /// Of this run, for the tags of orders.
    run: u64,
    /// How many strategies there were so far, so that no two have the same tags.
    started: usize,
}

/// Strategies that run until they are told to end.
struct Wave {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn new(url: String) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
        Self { url, calls: Arc::default(), run, started: 0 }
    }

    /// Starts the strategies of a client.
    fn start(
        &mut self,
        client: &str,
        count: usize,
        think: Duration,
    ) -> Result<Wave, KiteBuildError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for _ in 0..count {
            let kite = Kite::builder().api_key(client).access_token("demo").base_url(&self.url);
            let kite = kite.default_product(Product::Mis).build()?;
            let thinking = Thinking { time: think, calls: Arc::clone(&self.calls) };
            let broker = Tap::new(kite, Arc::new(thinking));
            let (run, number, stop) = (self.run, self.started, Arc::clone(&stop));
            self.started += 1;
            threads.push(thread::spawn(move || {
                follow(&broker, Tags::new(run, number), number, &stop);
            }));
        }
        Ok(Wave { stop, threads })
    }
}

fn follow(broker: &dyn Broker, mut tags: Tags, number: usize, stop: &AtomicBool) {
    let all = SYMBOLS.iter().cycle().skip(number).take(INSTRUMENTS_EACH);
    let instruments: Vec<_> = all.map(|symbol| Instrument::new("NSE", symbol)).collect();
    follow_averages(broker, &instruments, &mut tags, number, stop);
}

impl Wave {
    fn end(mut self) -> Vec<JoinHandle<()>> {
        self.stop.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.threads)
    }
}

impl Drop for Wave {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Counts the calls of a strategy, and makes it think after each.
struct Thinking {
    time: Duration,
    calls: Arc<AtomicU64>,
}

impl CallListener for Thinking {
    fn on_call(&self, _lane: &'static str, _began: Instant, _error: Option<&BrokerError>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        thread::sleep(self.time);
    }
}
