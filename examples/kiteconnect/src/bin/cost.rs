//! What the way around through an async client costs: calls one after the other, over the official client and over
//! lanekeeper's own adapter, on loopback, in turns. Beside it, the threads and the memory of each.
//!
//! ```text
//! cargo run --release --manifest-path examples/kiteconnect/Cargo.toml --bin cost
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use kiteconnect_adapter::OfficialKite;
use lanekeeper::quota::Quota;
use lanekeeper::{Broker, BrokerError, Instrument, Kite, Limits, OrderRequest, Side};
use lanekeeper_simulator::SimulatedExchange;

const ROUNDS: usize = 20;
const CALLS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let limits = ["transactional", "quote", "historical"]
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()));
    let exchange = SimulatedExchange::builder().limits(limits).start()?;
    let base_url = exchange.base_url();
    let order = OrderRequest::limit(Instrument::new("NSE", "YESBANK"), Side::Buy, 1, 1);
    let call = |broker: &dyn Broker| {
        let begin = Instant::now();
        // One rupee is below the circuit limit, so the exchange refuses the order, and its book stays as it is.
        let answer = broker.place_order(&order);
        let took = begin.elapsed();
        matches!(answer, Err(BrokerError::Rejected(_))).then_some(took).ok_or("it must be rejected")
    };

    let before = Process::now();
    let kite = Kite::builder().api_key("key").access_token("token").base_url(&base_url).build()?;
    call(&kite)?;
    let between = Process::now();
    let official = OfficialKite::new("key", "token", &base_url, Duration::from_secs(15))?;
    call(&official)?;
    let after = Process::now();
    println!("built-in adapter: {}", between.minus(&before));
    println!("official client:  {}", after.minus(&between));

    let arrived = exchange.arrivals().len();
    let brokers: [(&str, &dyn Broker); 2] = [("built-in", &kite), ("official", &official)];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for ((_, broker), times) in brokers.iter().zip(&mut times) {
            for _ in 0..CALLS {
                times.push(call(*broker)?);
            }
        }
    }
    let mut medians = [0.0; 2];
    for ((name, _), (times, median)) in brokers.iter().zip(times.iter_mut().zip(&mut medians)) {
        times.sort_unstable();
        let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
        *median = at(0.5);
        println!(
            "{name}: median {:.0} us, 99 % below {:.0} us, {} calls",
            *median,
            at(0.99),
            times.len()
        );
    }
    if exchange.arrivals().len() - arrived != 2 * ROUNDS * CALLS {
        return Err("each call must arrive".into());
    }
    println!("ratio of the medians: {:.2}", medians[1] / medians[0]);
    Ok(())
}

/// The threads and the resident memory of this process, as Linux shows them; zero elsewhere.
struct Process {
    threads: i64,
    kib: i64,
}

impl Process {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Self { threads: field("Threads:"), kib: field("VmRSS:") }
    }

    fn minus(&self, before: &Self) -> String {
        let (threads, kib) = (self.threads - before.threads, self.kib - before.kib);
        format!("{threads} threads and {kib} KiB more, after its first call")
    }
}
