//! A trading desk: an exchange, a gateway in front of it, and a crowd of clients at work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lanekeeper::brokers::PaperBroker;
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::auth::NewKey;
use lanekeeper_gateway::config::{ClientConfig, GatewayConfig};
use lanekeeper_simulator::{SimulatedExchange, SimulatorBuilder};

use crate::support::{self, Client};

/// The instruments that the exchange of the desk knows, some of them.
pub const SHARES: [&str; 8] =
    ["INFY", "TCS", "RELIANCE", "HDFCBANK", "SBIN", "ITC", "LT", "AXISBANK"];

/// An exchange with thirty shares, and a gateway in front of it.
pub struct Desk {
    pub gateway: Gateway,
    pub exchange: SimulatedExchange,
    /// The secret of the admin key.
    pub admin: String,
}

impl Desk {
    /// Starts a desk whose gateway has an admin key, and takes any client by its name.
    pub fn open() -> Self {
        Self::with(|_| {})
    }

    /// Starts a desk whose gateway has these settings too.
    pub fn with(set: impl FnOnce(&mut GatewayConfig)) -> Self {
        let broker = PaperBroker::builder().synthetic(7).build().unwrap();
        Self::at(SimulatedExchange::builder().broker(broker).circuit_limits(false), set)
    }

    /// Starts a desk at an exchange with these settings.
    pub fn at(exchange: SimulatorBuilder, set: impl FnOnce(&mut GatewayConfig)) -> Self {
        let exchange = exchange.start().unwrap();
        let mut config = support::kite(&exchange.base_url());
        let key = NewKey::generate().unwrap();
        config.admin_key = Some(key.hash.to_string());
        set(&mut config);
        Self { gateway: support::start(config), exchange, admin: key.secret }
    }

    pub fn page(&self) -> String {
        self.gateway.page_url()
    }

    /// Starts clients that send their requests one after another, again and again, until the crowd is dropped.
    pub fn crowd(&self, members: impl IntoIterator<Item = Member>) -> Crowd {
        Crowd::start(self.gateway.address(), members)
    }
}

/// Adds a client to the settings, and returns its key: `NAME:SECRET`.
pub fn add_client(config: &mut GatewayConfig, name: &str) -> String {
    let key = NewKey::generate().unwrap();
    config.clients.insert(name.to_owned(), ClientConfig::new(key.hash.to_string()));
    format!("{name}:{}", key.secret)
}

/// A client of the crowd.
pub struct Member {
    /// The credentials: `NAME:SECRET`, of which an open gateway looks at the name alone.
    pub key: String,
    /// How many connections it has.
    pub connections: usize,
    /// Method, target and body of each request.
    pub requests: Vec<(&'static str, String, String)>,
    /// How long it thinks before a request, on average. It thinks for longer and for shorter in turn.
    pub think: Duration,
}

impl Member {
    /// Returns a client of an open gateway that reads these addresses.
    pub fn reader(name: &str, connections: usize, targets: &[&str]) -> Self {
        let requests = targets.iter().map(|target| ("GET", (*target).to_owned(), String::new()));
        Self {
            key: format!("{name}:any"),
            connections,
            requests: requests.collect(),
            think: Duration::ZERO,
        }
    }

    /// Returns a client of an open gateway that places orders.
    pub fn trader(name: &str, connections: usize) -> Self {
        let order = |share: &&str| {
            let form = format!(
                "exchange=NSE&tradingsymbol={share}&transaction_type=BUY&quantity=1&product=CNC\
                 &order_type=LIMIT&price=100&validity=DAY"
            );
            ("POST", "/orders/regular".to_owned(), form)
        };
        let requests = SHARES.iter().map(order).collect();
        Self { key: format!("{name}:any"), connections, requests, think: Duration::ZERO }
    }
}

impl Member {
    /// Returns this client, thinking before each request.
    pub fn thinking(self, think: Duration) -> Self {
        Self { think, ..self }
    }

    /// Returns this client with a key of its own.
    pub fn with_key(self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self }
    }

    /// From a fifth of the average to nearly twice as long, in waves of half a minute.
    fn thinks_for(&self, since: Duration, connection: usize) -> Duration {
        let phase =
            since.as_secs_f64() / 5.0 + connection as f64 * 2.4 + self.think.as_secs_f64() * 7.0;
        self.think.mul_f64(1.0 + 0.8 * phase.sin())
    }
}

/// Clients at work. They stop when it is dropped.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(gateway: SocketAddr, members: impl IntoIterator<Item = Member>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for member in members {
            let member = Arc::new(member);
            for first in 0..member.connections {
                let (stop, member) = (Arc::clone(&stop), Arc::clone(&member));
                threads.push(thread::spawn(move || work(gateway, &member, first, &stop)));
            }
        }
        Self { stop, threads }
    }
}

fn work(gateway: SocketAddr, member: &Member, first: usize, stop: &AtomicBool) {
    let lines = format!("authorization: token {}\r\n", member.key);
    let mut client = Client::connect(gateway);
    let began = Instant::now();
    for (method, target, body) in member.requests.iter().cycle().skip(first) {
        let until = Instant::now() + member.thinks_for(began.elapsed(), first);
        while !stop.load(Ordering::Relaxed) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20).min(member.think));
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        client.begin(method, target, &lines, body);
        // A refusal is an answer too. Without one the gateway is gone.
        if client.try_read(method).is_none() {
            return;
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
