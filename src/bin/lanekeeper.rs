//! The `lanekeeper` command: a strict exchange to try clients and limiters on.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use lanekeeper::broker::lanes;
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::exchange::{Algorithm, Exchange};
use lanekeeper::quota::{Limits, Quota};
use rust_decimal::Decimal;

#[derive(Parser)]
#[command(version, about = "Tools around the lanekeeper library")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a strict exchange that speaks Kite Connect v3, on loopback, with paper money
    Exchange(ExchangeArgs),
}

#[derive(Args)]
struct ExchangeArgs {
    /// Where to listen; loopback only. Port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The bars to replay: CSV with time,exchange,symbol,open,high,low,close,volume.
    /// Without it, a small real sample
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// How requests are counted: sliding-log, fixed-window or token-bucket
    #[arg(long, default_value_t)]
    algorithm: Algorithm,
    /// A lane's limit, as in transactional=10/s,400/min. Lanes: transactional, quote, historical
    #[arg(long, value_name = "LANE=LIMIT", value_parser = limit)]
    limit: Vec<(String, Quota)>,
    /// Let refused requests use the quota too
    #[arg(long)]
    count_refused: bool,
    /// The least time that a message travels, each way
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// The mean of what comes on top, each way, exponentially distributed
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// The seed of the jitter
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How long each bar is the present one
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    bar_every: Duration,
    /// The money to begin with
    #[arg(long, default_value = "10000000")]
    cash: Decimal,
    /// Stop by itself after this time, and say what was counted
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    run_for: Option<Duration>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let Command::Exchange(args) = cli.command;
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the arguments in one line, for people and logs alike.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => {
            let text = error.render().to_string();
            eprintln!("{}", text.lines().next().unwrap_or("error: wrong arguments"));
            ExitCode::from(2)
        }
    }
}

fn run(args: ExchangeArgs) -> Result<(), Box<dyn std::error::Error>> {
    let prices = match &args.prices {
        Some(path) => {
            Prices::from_path(path).map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => Prices::sample(),
    };
    let broker =
        PaperBroker::builder().prices(prices).cash(args.cash).bar_every(args.bar_every).build()?;
    let limits = args
        .limit
        .into_iter()
        .fold(Limits::new(), |limits, (lane, quota)| limits.lane(lane, quota));
    let exchange = Exchange::builder()
        .listen(args.listen)
        .broker(broker)
        .algorithm(args.algorithm)
        .limits(limits)
        .count_refused(args.count_refused)
        .latency(args.latency)
        .jitter(args.jitter)
        .seed(args.seed)
        .start()?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", exchange.base_url())?;
    out.flush()?;
    let Some(time) = args.run_for else {
        loop {
            std::thread::park();
        }
    };
    std::thread::sleep(time);
    for lane in lanes::ALL {
        let counts = exchange.counts(lane);
        writeln!(out, "{lane}: {} admitted, {} refused", counts.admitted, counts.refused)?;
    }
    Ok(())
}

/// Reads `LANE=10/s,400/min`.
fn limit(text: &str) -> Result<(String, Quota), String> {
    let wrong = || "write LANE=LIMIT, as in transactional=10/s,400/min".to_owned();
    let (lane, windows) = text.split_once('=').ok_or_else(wrong)?;
    let mut quota = Quota::unlimited();
    for window in windows.split(',') {
        let (calls, length) = window.trim().split_once('/').ok_or_else(wrong)?;
        let calls = calls.parse().map_err(|_| wrong())?;
        // `10/s` is 10 in one second; `60/10min` is 60 in ten minutes.
        let one = if length.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "1" };
        let length = humantime::parse_duration(&format!("{one}{length}")).map_err(|_| wrong())?;
        quota = quota.and(Quota::new(calls, length));
    }
    Ok((lane.to_owned(), quota))
}
