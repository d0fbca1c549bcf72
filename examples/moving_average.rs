//! Eight strategies that follow moving averages, each an ordinary loop on a thread of its own.
//!
//! A strategy waits for the next quote with `quote_after`, so the program needs hardly any processor time, and one
//! request a second serves all eight. The account is on paper, with synthetic prices that change four times a second.
//! The program ends with an error if any statement that it prints does not hold.
//!
//! ```text
//! cargo run --features paper --example moving_average
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::rust_decimal::Decimal;
use lanekeeper::{
    Broker, BrokerError, BrokerProxy, Instrument, OrderRequest, PaperBroker, PriorUsage, Side,
    presets,
};

const SYMBOLS: [&str; 8] =
    ["INFY", "TCS", "RELIANCE", "HDFCBANK", "ICICIBANK", "SBIN", "ITC", "WIPRO"];
const RUN_FOR: Duration = Duration::from_secs(10);
const BAR_EVERY: Duration = Duration::from_millis(250);
/// Kite allows one request for quotes a second.
const QUOTE_TTL: Duration = Duration::from_secs(1);
const FAST: usize = 2;
const SLOW: usize = 5;
/// The share of one core that the whole program may need.
const MAX_CPU_PERCENT: f64 = 2.0;

/// What a strategy did.
#[derive(Default)]
struct Summary {
    quotes: usize,
    orders: usize,
}

/// Buys when the mean of the last prices rises above the mean over a longer time, and sells when it falls below.
fn follow(broker: &dyn Broker, share: &Instrument, until: Instant) -> Result<Summary, BrokerError> {
    let mut summary = Summary::default();
    let mut prices = VecDeque::new();
    let mut is_held = false;
    let mut seen = None;
    while Instant::now() < until {
        // Blocks until the quote is newer than the last one. A loop over `ltp` would keep a core busy.
        let quote = broker.quote_after(share, seen)?;
        seen = quote.fetched_at;
        summary.quotes += 1;
        prices.push_front(quote.last_price);
        prices.truncate(SLOW);
        if prices.len() < SLOW {
            continue;
        }
        let mean = |count: usize| prices.iter().take(count).sum::<Decimal>() / Decimal::from(count);
        let is_wanted = mean(FAST) > mean(SLOW);
        if is_wanted != is_held {
            let side = if is_wanted { Side::Buy } else { Side::Sell };
            broker.place_order(&OrderRequest::market(share.clone(), side, 1))?;
            is_held = is_wanted;
            summary.orders += 1;
        }
    }
    Ok(summary)
}

fn main() -> Result<(), Box<dyn Error>> {
    let paper = PaperBroker::builder().synthetic(7).bar_every(BAR_EVERY).build()?;
    let broker = BrokerProxy::builder(paper)
        .limits(presets::kite())
        // The account is new, so nothing was sent before.
        .prior_usage(PriorUsage::None)
        .quote_ttl(QUOTE_TTL)
        .order_guard(|guard| guard)
        .build()?;

    let (began, cpu_before) = (Instant::now(), cpu_time());
    let until = began + RUN_FOR;
    let summaries = thread::scope(|scope| {
        let threads = SYMBOLS.map(|symbol| {
            let broker = &broker;
            scope.spawn(move || follow(broker, &Instrument::new("NSE", symbol), until))
        });
        threads.map(thread::ScopedJoinHandle::join)
    });
    let took = began.elapsed();

    let mut orders = 0;
    for (symbol, summary) in SYMBOLS.iter().zip(summaries) {
        let summary = summary.map_err(|_| "a strategy panicked")??;
        println!("{symbol:<10} {:>3} quotes, {:>2} orders", summary.quotes, summary.orders);
        orders += summary.orders;
    }
    let requests = broker.quote_stats().map_or(0, |stats| stats.batches);
    println!("{requests} requests for quotes, {orders} orders, in {:.1} s", took.as_secs_f64());
    // One request for each second that has begun, whatever the number of strategies.
    if requests > took.as_secs() + 2 {
        return Err(format!("{requests} requests are more than one a second").into());
    }
    if let (Some(before), Some(after)) = (cpu_before, cpu_time()) {
        let percent = 100.0 * (after - before).as_secs_f64() / took.as_secs_f64();
        println!("{percent:.1} % of a core");
        if percent > MAX_CPU_PERCENT {
            return Err("the strategies keep a core busy".into());
        }
    }
    Ok(())
}

/// Returns the processor time of this process, where the system shows it: `utime` and `stime` of `/proc/self/stat`, in
/// hundredths of a second.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may contain spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_millis(10 * ticks))
}
