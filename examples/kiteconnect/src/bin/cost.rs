//! What the way around through an async client costs: calls one after the other, over the official client and over
//! lanekeeper's own adapter, on loopback, in turns. Beside it, the threads and the memory of each.
//!
//! ```text
//! cargo run --release --manifest-path examples/kiteconnect/Cargo.toml --bin cost
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use kiteconnect_adapter::{Blocking, OfficialKite};
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
    // One rupee is below the circuit limit, so the exchange refuses the order, and its book stays as it is.
    let place = |broker: &dyn Broker| match broker.place_order(&order) {
        Err(BrokerError::Rejected(_)) => Ok(()),
        other => Err(format!("the order must be rejected: {other:?}")),
    };
    let profile =
        |broker: &dyn Broker| broker.profile().map(drop).map_err(|error| error.to_string());

    let before = Process::now();
    let kite = Kite::builder().api_key("key").access_token("token").base_url(&base_url).build()?;
    place(&kite).and(profile(&kite))?;
    let between = Process::now();
    let official = OfficialKite::new("key", "token", &base_url, Duration::from_secs(15))?;
    let official = Blocking::new(official)?;
    place(&official).and(profile(&official))?;
    let after = Process::now();
    println!("built-in adapter: {}", between.minus(&before));
    println!("official client:  {}", after.minus(&between));

    for (name, call) in [("a write", &place as &Call<'_>), ("a read", &profile)] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (broker, times) in [&kite as &dyn Broker, &official].into_iter().zip(&mut times) {
                for _ in 0..CALLS {
                    let begin = Instant::now();
                    call(broker)?;
                    times.push(begin.elapsed());
                }
            }
        }
        let [built_in, official] = times.map(median);
        let ratio = official / built_in;
        println!("{name}: built-in {built_in:.0} us, official {official:.0} us, ratio {ratio:.2}");
    }
    Ok(())
}

type Call<'a> = dyn Fn(&dyn Broker) -> Result<(), String> + 'a;

/// Returns the median in microseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |median| median.as_secs_f64() * 1e6)
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
