//! `lanekeeper exchange`: runs a simulated exchange on loopback until a signal or `--for` ends it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use lanekeeper::broker::lanes;
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::quota::{Limits, ParseQuotaError, Quota};
use lanekeeper_simulator::{Algorithm, Faults, Rule, SimulatedExchange};
use rust_decimal::Decimal;
use serde_json::json;

use crate::command::print;
use crate::{exchange_log, signal};

/// The seed of the synthetic prices. It is fixed, so that the prices of a day are the same in every run.
const SYNTHETIC_SEED: u64 = 1;

#[derive(Args)]
pub struct ExchangeArgs {
    /// The address to listen on, loopback only. Port 0 takes a free port
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The bars to replay: CSV with time,exchange,symbol,open,high,low,close,volume.
    /// Without it, a small real sample and synthetic series of well-known symbols
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// How requests are counted: sliding-log, fixed-window or token-bucket
    #[arg(long, default_value_t)]
    algorithm: Algorithm,
    /// The limit of a lane, as in transactional=10/s,400/min. Lanes: transactional, quote, historical
    #[arg(long, value_name = "LANE=LIMIT", value_parser = limit)]
    limit: Vec<(String, Quota)>,
    /// Let refused requests use the quota too
    #[arg(long)]
    count_refused: bool,
    /// The minimum network delay in each direction
    #[arg(long, default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// The mean of the exponentially distributed delay on top, in each direction
    #[arg(long, default_value = "0s", value_parser = duration)]
    jitter: Duration,
    /// A fault to inject, as in place=reset-after@30% or orders=hang-before@1,4: the route, the fault, and the
    /// share or the numbers of the requests. Can be given several times
    #[arg(long, value_name = "RULE")]
    fault: Vec<Rule>,
    /// Faults from a TOML file: `seed = 7`, and for each rule a table `[[rule]]` with the keys on, fault, and
    /// share or calls
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// The seed of the jitter, and of the faults unless they come from a file, which has its own seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// For how long each bar is the current one
    #[arg(long, default_value = "1s", value_parser = duration)]
    bar_every: Duration,
    /// The initial cash of the account
    #[arg(long, default_value = "10000000")]
    cash: Decimal,
    /// Log each request to standard error in one line: time, method, path, lane, status, latency. And count by
    /// route at the end
    #[arg(long, short)]
    verbose: bool,
    /// Print the counts at the end as one line of JSON
    #[arg(long)]
    json: bool,
    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    run_for: Option<Duration>,
}

pub fn run(args: ExchangeArgs) -> Result<(), Box<dyn std::error::Error>> {
    let broker = PaperBroker::builder().cash(args.cash).bar_every(args.bar_every);
    let broker = match &args.prices {
        Some(path) => broker.prices(
            Prices::from_path(path).map_err(|error| format!("{}: {error}", path.display()))?,
        ),
        None => broker.prices(Prices::sample()).synthetic(SYNTHETIC_SEED),
    };
    let broker = broker.build()?;
    let limits = args
        .limit
        .into_iter()
        .fold(Limits::new(), |limits, (lane, quota)| limits.lane(lane, quota));
    let faults = match &args.faults {
        Some(path) => read_faults(path)?,
        None => Faults::new().seed(args.seed),
    };
    let faults = args.fault.into_iter().fold(faults, Faults::rule);
    let mut exchange = SimulatedExchange::builder()
        .listen(args.listen)
        .broker(broker)
        .algorithm(args.algorithm)
        .limits(limits)
        .count_refused(args.count_refused)
        .latency(args.latency)
        .jitter(args.jitter)
        .seed(args.seed)
        .faults(faults);
    if args.verbose {
        exchange = exchange.on_request(exchange_log::log_request);
    }
    let exchange = exchange.start()?;
    let stopped = stop_signal()?;
    let mut out = io::stdout();
    // Programs read the address from the first line, so nothing comes before it. They may close the pipe then, so both
    // lines are written at once.
    let listed = exchange_log::listed(exchange.broker(), args.prices.as_deref())?;
    out.write_all(format!("listening on {}\n{listed}\n", exchange.base_url()).as_bytes())?;
    out.flush()?;
    // A signal and the end of the time both end the run. An error cannot occur, as the sender is never dropped.
    let _ = match args.run_for {
        Some(time) => stopped.recv_timeout(time).ok(),
        None => stopped.recv().ok(),
    };
    let counts = lanes::ALL.map(|lane| (lane, exchange.counts(lane)));
    let faulty = exchange.arrivals().iter().filter(|arrival| arrival.fault.is_some()).count();
    let booked = exchange.orders().len();
    if args.json {
        let counts = counts.map(|(lane, counts)| {
            (lane, json!({ "admitted": counts.admitted, "refused": counts.refused }))
        });
        let lanes = BTreeMap::from(counts);
        let counts = json!({ "lanes": lanes, "faults": faulty, "orders": booked });
        return Ok(print(format!("{counts}\n").as_bytes())?);
    }
    // The reader of the first line may have closed the pipe.
    let mut text = Vec::new();
    for (lane, counts) in counts {
        writeln!(text, "{lane}: {} admitted, {} refused", counts.admitted, counts.refused)?;
    }
    if args.verbose {
        exchange_log::write_routes(&mut text, &exchange.arrivals())?;
    }
    writeln!(text, "{faulty} met a fault; {booked} orders booked")?;
    Ok(print(&text)?)
}

/// Returns a channel that receives a message at the first signal.
fn stop_signal() -> Result<Receiver<()>, ctrlc::Error> {
    let (stop, stopped) = mpsc::channel();
    signal::on_first(move || {
        // The receiver is gone if `--for` is ending the process.
        let _ = stop.send(());
    })?;
    Ok(stopped)
}

/// Reads a file of faults. An error is one line, with the line number in the file.
fn read_faults(path: &Path) -> Result<Faults, String> {
    let in_file = |why: String| format!("{}: {why}", path.display());
    let text =
        read_text(path).map_err(|error| in_file(format!("cannot read the faults: {error}")))?;
    toml::from_str(&text).map_err(|error| {
        let text_before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = text_before.matches('\n').count() + 1;
        in_file(format!("line {line}: {}", error.message().replace('\n', " ")))
    })
}

/// Reads a text file of at most 1 MiB: the path may name a device or a pipe that never ends.
fn read_text(path: &Path) -> io::Result<String> {
    const MAX_BYTES: u64 = 1 << 20;
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    match read as u64 > MAX_BYTES {
        true => Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))),
        false => Ok(text),
    }
}

/// Parses `LANE=10/s,400/min`.
fn limit(text: &str) -> Result<(String, Quota), String> {
    let usage = || "write LANE=LIMIT, as in transactional=10/s,400/min".to_owned();
    let (lane, windows) = text.split_once('=').ok_or_else(usage)?;
    let quota = windows.parse().map_err(|error: ParseQuotaError| error.to_string())?;
    Ok((lane.to_owned(), quota))
}

/// Parses `40ms`, `1.5s` or `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    parsed.try_into().map_err(|_| "a time cannot be negative".to_owned())
}
