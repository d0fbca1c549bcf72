//! Measures what the gateway adds to a call, beside a bare reverse proxy of hyper, in one run.
//!
//! ```text
//! cargo bench -p lanekeeper-benches --features gateway --bench gateway
//! ```
//!
//! The upstream, the bare proxy and the gateways are processes of their own. The client asks them in turns, in many short
//! rounds, so that other load on the machine slows all of them down. A ratio is the median of the ratios of the rounds.
//! All share the cores with the client and the upstream, so the ratios are those of whole calls. Run it on one core by
//! `taskset -c 0` too: on several, where the scheduler puts the threads matters more than what the programs do.
#![allow(missing_docs, clippy::unwrap_used)]

mod load;
mod servers;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use load::{Client, calls_a_second, request};
use servers::Kind;

/// Rounds of calls one by one, and calls of each in a round.
const ROUNDS: usize = 30;
const CALLS: usize = 2_000;

/// Calls before each round, which are not counted: while a program is called again and again, the scheduler moves its
/// thread and that of the client to where they wake each other soonest.
const WARM_UP: usize = 1_000;

/// Rounds of calls after a pause, and calls of each in a round.
const PAUSED_ROUNDS: usize = 10;
const PAUSED_CALLS: usize = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Rounds of many connections at once, their number, and how long each round takes for each.
const LOAD_ROUNDS: usize = 15;
const CONNECTIONS: usize = 64;
const LOAD_TIME: Duration = Duration::from_secs(1);

/// How many connections are idle when memory is measured.
const IDLE: usize = 10_000;

/// A process of this program.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(kind: Kind, upstream: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["run", &kind.word(), upstream])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// Returns how long it has used a core.
    fn cpu_time(&self) -> Duration {
        let stat = self.proc_file("stat");
        // The name of the program may have spaces. User and system time are the 14th and the 15th field, in 10 ms.
        let fields = stat.rsplit_once(')').unwrap().1;
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Returns its resident memory, in bytes.
    fn memory(&self) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends when its standard input does, in order, unless it has ended.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What is asked: a program, and for what.
struct Asked {
    name: &'static str,
    process: Process,
    request: &'static [u8],
    /// Calls and CPU time under load.
    calls: f64,
    cpu: Duration,
}

impl Asked {
    fn new(name: &'static str, kind: Kind, upstream: &str, target: &str) -> Self {
        let process = Process::start(kind, upstream);
        let request = request(target).leak();
        Self { name, process, request, calls: 0.0, cpu: Duration::ZERO }
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One figure of each that is asked, in each round.
type Rounds = Vec<Vec<f64>>;

/// Prints the median of each column, and the median of its ratio to the bare proxy, which is the second.
fn print(what: &str, unit: &str, asked: &[Asked], rounds: &Rounds) {
    println!("{what}");
    for (at, asked) in asked.iter().enumerate() {
        let value = median(rounds.iter().map(|round| round[at]));
        let ratio = median(rounds.iter().map(|round| round[at] / round[1]));
        println!("  {:<34} {value:>9.1} {unit:<4} {ratio:>6.2} x bare", asked.name);
    }
}

/// Measures calls one by one over one connection of each.
fn latency(what: &str, asked: &[Asked], rounds: usize, calls: usize, pause: Duration) {
    let mut clients: Vec<_> =
        asked.iter().map(|asked| Client::connect(asked.process.address)).collect();
    let (mut p50s, mut p99s) = (Rounds::new(), Rounds::new());
    for _ in 0..rounds {
        let mut round = (Vec::new(), Vec::new());
        for (asked, client) in asked.iter().zip(&mut clients) {
            if pause.is_zero() {
                client.times(asked.request, WARM_UP, pause);
            }
            let mut times = client.times(asked.request, calls, pause);
            times.sort();
            let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e6;
            round.0.push(at(50));
            round.1.push(at(99));
        }
        p50s.push(round.0);
        p99s.push(round.1);
    }
    print(&format!("{what}, p50"), "us", asked, &p50s);
    print(&format!("{what}, p99"), "us", asked, &p99s);
}

/// Measures many connections at once.
fn throughput(asked: &mut [Asked]) {
    let mut rates = Rounds::new();
    for _ in 0..LOAD_ROUNDS {
        let rate = |asked: &mut Asked| {
            let before = asked.process.cpu_time();
            let rate = calls_a_second(asked.process.address, asked.request, CONNECTIONS, LOAD_TIME);
            asked.cpu += asked.process.cpu_time() - before;
            asked.calls += rate * LOAD_TIME.as_secs_f64();
            rate
        };
        rates.push(asked.iter_mut().map(rate).collect());
    }
    print(&format!("{CONNECTIONS} connections, calls a second"), "/s", asked, &rates);
    println!("CPU time of the program itself in a call");
    for asked in asked {
        println!("  {:<34} {:>9.1} us", asked.name, asked.cpu.as_secs_f64() * 1e6 / asked.calls);
    }
}

/// Returns what an idle connection takes, in bytes, after a call.
fn memory_of_idle(kind: Kind, upstream: &str) -> f64 {
    let process = Process::start(kind, upstream);
    let request = request("/quote/ltp?i=NSE:INFY");
    let connect = || {
        let mut client = Client::connect(process.address);
        client.call(&request);
        client
    };
    // What the first calls make once.
    drop((0..100).map(|_| connect()).collect::<Vec<_>>());
    std::thread::sleep(Duration::from_millis(200));
    let before = process.memory();
    let idle: Vec<_> = (0..IDLE).map(|_| connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    (process.memory() - before) as f64 / idle.len() as f64
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [run, kind, upstream] = &words[..] {
        if run == "run" {
            return Kind::of_word(kind).unwrap().run(upstream);
        }
    }
    let upstream = Process::start(Kind::Upstream, "-");
    let address = upstream.address.to_string();
    let mut asked = [
        Asked::new("the upstream itself", Kind::Upstream, "-", "/user/margins"),
        Asked::new("bare proxy", Kind::Bare, &address, "/user/margins"),
        Asked::new("gateway, forwarded", Kind::Gateway, &address, "/user/margins"),
        Asked::new("gateway, forwarded, access log", Kind::Logged, &address, "/user/margins"),
        Asked::new("gateway, kept answer", Kind::Gateway, &address, "/kept"),
        Asked::new("gateway, Kite's quotes", Kind::Kite, &address, "/quote/ltp?i=NSE:INFY"),
    ];
    latency("one by one", &asked, ROUNDS, CALLS, Duration::ZERO);
    latency("one by one after 2 ms", &asked, PAUSED_ROUNDS, PAUSED_CALLS, PAUSE);
    throughput(&mut asked);
    println!("resident memory of an idle connection, of {IDLE}");
    for (name, kind) in [
        ("bare proxy", Kind::Bare),
        ("gateway", Kind::Gateway),
        ("gateway, Kite's quotes", Kind::Kite),
    ] {
        println!("  {name:<34} {:>9.0} bytes", memory_of_idle(kind, &address));
    }
}
