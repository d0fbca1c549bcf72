//! A gateway with a journal is killed at random moments, again and again, while its clients place orders. Each client
//! sends what it has no answer to once more, to the next gateway: it gets the id of the first order, and no order is
//! placed twice.
//!
//! The gateway is the real command, and it is really killed with SIGKILL. The exchange and its ledger live here.
//! `LANEKEEPER_GATEWAY_KILLS=100` sets how often it is killed.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::broker::lanes;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::{Faults, Rule, SimulatedExchange};
use tempfile::TempDir;

/// The faults of the exchange. None delays an order for longer than the settle time of the gateway.
const FAULTS: [&str; 9] = [
    "place=reset-before@3%",
    "place=reset-after@5%",
    "place=502-before@2%",
    "place=504-after@3%",
    "place=timed-out:1500ms@6%",
    "place=hang-after@1%",
    "place=slow:40ms@30%",
    "orders=502-before@10%",
    "orders=reset-before@5%",
];

/// The settings of the gateway. Its lane is wide, since pacing is not tested here.
const SETTINGS: &str = "\
listen: 127.0.0.1:0
preset: kite
upstream: UPSTREAM
journal: JOURNAL
upstream_timeout: 400ms
lanes: { transactional: { quota: 5000/s, in_flight: 32, breaker: off } }
budgets: { orders: 100000/min }
";

/// Kills of one account, whose order book grows all the time.
const OF_AN_ACCOUNT: u64 = 10;

const CLIENTS: usize = 6;

/// How often a client asks for an outcome that is unknown, and how long it waits in between. A search by the gateway takes
/// less.
const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// The token of the gateway at the exchange, which no line of its log may show.
const TOKEN: &str = "the-broker-token-of-the-day";

/// The gateway. It is killed if the test fails.
struct Running {
    child: Child,
    address: String,
    log: Option<thread::JoinHandle<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An order that a client wants, which its quantity names.
#[derive(Debug, Clone)]
struct Intent {
    quantity: u64,
    form: String,
    lines: String,
    has_key: bool,
}

impl Intent {
    /// Some orders have a tag of their client, some a key, some neither.
    fn new(seed: u64, quantity: u64) -> Self {
        let form = format!(
            "exchange=NSE&tradingsymbol=YESBANK&transaction_type=BUY&order_type=LIMIT&quantity={quantity}\
             &price=1&product=CNC&validity=DAY"
        );
        let has_key = quantity % 3 == 1;
        let form = if quantity % 3 == 0 { format!("{form}&tag=s{seed}n{quantity}") } else { form };
        let key = if has_key { format!("idempotency-key: {quantity}\r\n") } else { String::new() };
        Self { quantity, form, lines: format!("authorization: token alpha:x\r\n{key}"), has_key }
    }
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Placed {
        id: String,
        is_repeated: bool,
    },
    /// It was certainly not sent.
    Unsent,
    /// Nothing is known, or there was no answer.
    Unknown,
}

/// Sends an order once, over a connection of its own.
fn send(address: &str, intent: &Intent) -> Answer {
    try_send(address, intent).unwrap_or(Answer::Unknown)
}

fn try_send(address: &str, intent: &Intent) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let Intent { form, lines, .. } = intent;
    let request = format!(
        "POST /orders/regular HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}connection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is = |line: &str| head.lines().any(|it| it.eq_ignore_ascii_case(line));
    if head.starts_with("HTTP/1.1 200") {
        // A body that was cut has no end.
        let id = body.split_once(r#""order_id":""#)?.1.split_once('"')?.0.to_owned();
        return body.trim_end().ends_with('}').then(|| {
            let is_repeated = is("x-lanekeeper-repeated: yes");
            Answer::Placed { id, is_repeated }
        });
    }
    Some(if is("x-lanekeeper-sent: no") { Answer::Unsent } else { Answer::Unknown })
}

/// An exchange, and the gateway's files.
struct Account {
    seed: u64,
    exchange: SimulatedExchange,
    settings: PathBuf,
    folder: TempDir,
    /// What the clients were told, by the quantities of their orders.
    told: HashMap<u64, String>,
    /// The orders of which no gateway can tell what became of them. Their clients look into the order book.
    unknown: HashSet<u64>,
    next: AtomicU64,
}

/// How often what happened.
#[derive(Debug, Default)]
struct Totals {
    orders: usize,
    open: usize,
    repeated: usize,
    keyed: usize,
    unknown: usize,
}

impl Account {
    fn new(seed: u64) -> Self {
        let open = lanes::ALL
            .into_iter()
            .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(100_000)));
        let rules = FAULTS.iter().map(|rule| rule.parse::<Rule>().unwrap());
        let faults = rules.fold(Faults::new().seed(seed), Faults::rule);
        let exchange = SimulatedExchange::builder().limits(open).circuit_limits(false);
        let exchange = exchange.latency(Duration::from_millis(1)).faults(faults).start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("gateway.yaml");
        let journal = folder.path().join("orders.journal");
        let text = SETTINGS
            .replace("UPSTREAM", &exchange.base_url())
            .replace("JOURNAL", journal.to_str().unwrap());
        std::fs::write(&settings, text).unwrap();
        let (told, unknown, next) = (HashMap::new(), HashSet::new(), AtomicU64::new(1));
        Self { seed, exchange, settings, folder, told, unknown, next }
    }

    fn gateway(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        command.args(["gateway", "--log", "debug", "--config"]).arg(&self.settings);
        command.env("KITE_API_KEY", "key").env("KITE_ACCESS_TOKEN", TOKEN);
        command.current_dir(self.folder.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut stderr = child.stderr.take().unwrap();
        // Read all the time, or a gateway that writes a lot would block.
        let log = thread::spawn(move || {
            let mut log = Vec::new();
            stderr.read_to_end(&mut log).unwrap();
            String::from_utf8_lossy(&log).into_owned()
        });
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("it printed {line:?}")).to_owned();
        Running { child, address, log: Some(log) }
    }

    /// Kills a gateway, and reads its log.
    fn kill(mut gateway: Running) {
        let log = gateway.log.take().unwrap();
        drop(gateway);
        let log = log.join().unwrap();
        assert!(!log.contains(TOKEN), "the token is in the log");
        assert!(!log.contains("panicked"), "{log}");
    }

    /// Lets clients place orders until the gateway is killed, after `life`. Returns the orders without an answer that
    /// says what became of them.
    fn trade(&mut self, life: Duration) -> Vec<Intent> {
        let gateway = self.gateway();
        let (open, told) = (Mutex::new(Vec::new()), Mutex::new(HashMap::new()));
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let (address, open, told) = (gateway.address.clone(), &open, &told);
                let (next, seed) = (&self.next, self.seed);
                scope.spawn(move || {
                    loop {
                        let intent = Intent::new(seed, next.fetch_add(1, Ordering::Relaxed));
                        match send(&address, &intent) {
                            Answer::Placed { id, .. } => {
                                told.lock().unwrap().insert(intent.quantity, id);
                            }
                            Answer::Unsent | Answer::Unknown => {
                                open.lock().unwrap().push(intent);
                                if TcpStream::connect(&address).is_err() {
                                    return;
                                }
                            }
                        }
                    }
                });
            }
            // This is the only wait in real time: a process dies at some moment of its life.
            thread::sleep(life);
            Self::kill(gateway);
        });
        self.told.extend(told.into_inner().unwrap());
        open.into_inner().unwrap()
    }

    /// Sends orders once more, each until its client knows what became of it or the gateway is gone. Returns those that
    /// are still open, and how many answers were those of an earlier order.
    fn repeat(&mut self, address: &str, open: Vec<Intent>) -> (Vec<Intent>, usize) {
        let (queue, left) = (Mutex::new(open), Mutex::new(Vec::new()));
        let (told, repeated) = (Mutex::new(HashMap::new()), AtomicU64::new(0));
        let unknown: Mutex<HashSet<u64>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    loop {
                        let Some(intent) = queue.lock().unwrap().pop() else { return };
                        let mut tries = 0;
                        loop {
                            match send(address, &intent) {
                                Answer::Placed { id, is_repeated } => {
                                    told.lock().unwrap().insert(intent.quantity, id);
                                    repeated.fetch_add(u64::from(is_repeated), Ordering::Relaxed);
                                    break;
                                }
                                _ if TcpStream::connect(address).is_err() => {
                                    left.lock().unwrap().push(intent);
                                    break;
                                }
                                Answer::Unknown if tries == TRIES => {
                                    unknown.lock().unwrap().insert(intent.quantity);
                                    break;
                                }
                                answer => {
                                    assert!(tries < TRIES, "{intent:?}: {answer:?}");
                                    tries += 1;
                                    thread::sleep(BETWEEN_TRIES);
                                }
                            }
                        }
                    }
                });
            }
        });
        self.told.extend(told.into_inner().unwrap());
        self.unknown.extend(unknown.into_inner().unwrap());
        (left.into_inner().unwrap(), usize::try_from(repeated.into_inner()).unwrap())
    }

    /// Checks the ledger: each order is there once, under the id that its client was told.
    fn check(&self) {
        let mut ledger: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for order in self.exchange.orders() {
            let quantity = order.quantity.to_string().parse().unwrap();
            ledger.entry(quantity).or_default().push(order.id.to_string());
        }
        for (quantity, ids) in &ledger {
            assert_eq!(ids.len(), 1, "seed {}: order {quantity} was placed twice", self.seed);
        }
        let is_known = |quantity: &u64| !self.unknown.contains(quantity);
        let ledger: BTreeMap<u64, String> = ledger
            .into_iter()
            .filter(|(quantity, _)| is_known(quantity))
            .map(|(quantity, mut ids)| (quantity, ids.remove(0)))
            .collect();
        let told: BTreeMap<u64, String> =
            self.told.iter().map(|(quantity, id)| (*quantity, id.clone())).collect();
        assert_eq!(ledger, told, "seed {}", self.seed);
    }
}

/// Kills the gateway of one account `kills` times.
fn bad_days(seed: u64, kills: u64) -> Totals {
    let mut rng = Rng::with_seed(seed);
    let mut account = Account::new(seed);
    let mut totals = Totals::default();
    let mut killed = 0;
    while killed < kills {
        let mut open = account.trade(Duration::from_millis(rng.u64(20..500)));
        killed += 1;
        totals.open += open.len();
        // In one of three runs the next one dies too, while its clients repeat.
        if rng.u8(0..3) == 0 && killed < kills {
            let gateway = account.gateway();
            let address = gateway.address.clone();
            let life = Duration::from_millis(rng.u64(0..1500));
            let killer = thread::spawn(move || {
                thread::sleep(life);
                Account::kill(gateway);
            });
            let (left, repeated) = account.repeat(&address, open);
            killer.join().unwrap();
            killed += 1;
            totals.repeated += repeated;
            open = left;
        }
        let gateway = account.gateway();
        let (left, repeated) = account.repeat(&gateway.address, open);
        assert!(left.is_empty(), "the gateway ended by itself");
        totals.repeated += repeated;
        // What was told under a key gets the same answer from the next gateway, too.
        let seed = account.seed;
        let keyed = account.told.iter().map(|(quantity, id)| (Intent::new(seed, *quantity), id));
        for (intent, id) in keyed.filter(|(intent, _)| intent.has_key).take(5) {
            match send(&gateway.address, &intent) {
                Answer::Placed { id: again, is_repeated } => {
                    assert_eq!((&again, is_repeated), (id, true), "{intent:?}");
                }
                other => panic!("{intent:?}: {other:?}"),
            }
            totals.keyed += 1;
        }
        Account::kill(gateway);
    }
    account.check();
    (totals.orders, totals.unknown) = (account.told.len(), account.unknown.len());
    totals
}

#[test]
fn killed_at_random_moments_a_gateway_loses_no_order_and_places_none_twice() {
    let kills =
        std::env::var("LANEKEEPER_GATEWAY_KILLS").map_or(20, |number| number.parse().unwrap());
    let accounts = u64::div_ceil(kills, OF_AN_ACCOUNT);
    let next = AtomicU64::new(0);
    let mut totals = Totals::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut days = Vec::new();
                    loop {
                        let account = next.fetch_add(1, Ordering::Relaxed);
                        if account >= accounts {
                            return days;
                        }
                        let left = kills - account * OF_AN_ACCOUNT;
                        days.push(bad_days(account, left.min(OF_AN_ACCOUNT)));
                    }
                })
            })
            .collect();
        for day in workers.into_iter().flat_map(|it| it.join().unwrap()) {
            totals.orders += day.orders;
            totals.open += day.open;
            totals.repeated += day.repeated;
            totals.keyed += day.keyed;
            totals.unknown += day.unknown;
        }
    });
    println!("{kills} kills: {totals:?}");
    // Orders were under way when it died, and some of them had been placed.
    assert!(totals.open as u64 > kills && totals.repeated as u64 > kills / 2, "{totals:?}");
    assert!(totals.keyed > 0, "{totals:?}");
    // Those whose tag was on an order before that never arrived, and whose answer was lost then.
    assert!(totals.unknown * 10 <= totals.orders, "{totals:?}");
}
