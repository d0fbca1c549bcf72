//! The command `lanekeeper`: tools around the library of the same name.
//!
//! - `lanekeeper exchange` runs a strict simulated exchange on loopback, to try clients and rate limiters on. It
//!   listens until a signal or `--for` ends it, and then prints what it counted.
//! - `lanekeeper check-config FILE` checks a configuration file and prints the quotas that result from it.
//!
//! Errors go to standard error: one line, or one line for each problem of a configuration file. The exit code is 2 for
//! wrong arguments and 1 for any other error.
//!
//! ```text
//! cargo install --locked --path cli
//! lanekeeper exchange --listen 127.0.0.1:8080 --latency 40ms --jitter 30ms
//! lanekeeper check-config lanes.toml
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use lanekeeper::Config;
use lanekeeper::broker::lanes;
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::quota::{Budget, Limits, ParseQuotaError, Quota};
use lanekeeper_simulator::{Algorithm, Faults, Rule, SimulatedExchange};
use rust_decimal::Decimal;

/// The exit code after a second signal: the code that shells report after an interrupt.
const INTERRUPTED: i32 = 130;

#[derive(Parser)]
#[command(name = "lanekeeper", version, about = "Tools around the lanekeeper library")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a strict simulated exchange that speaks Kite Connect v3, on loopback, with paper money.
    ///
    /// SIGINT, SIGTERM and SIGHUP (under nohup too) end it, and it prints what was counted. A second signal
    /// ends it at once.
    Exchange(ExchangeArgs),
    /// Check a configuration file, TOML or YAML, without starting anything
    CheckConfig(CheckArgs),
}

#[derive(Args)]
struct CheckArgs {
    /// The file
    file: PathBuf,
    /// The lanes of your own trait. Without it, the lanes of a broker
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    lanes: Option<Vec<String>>,
    /// The budgets of your own trait. Without it and without --lanes, the budget of a broker
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    budgets: Option<Vec<String>>,
}

#[derive(Args)]
struct ExchangeArgs {
    /// The address to listen on, loopback only. Port 0 takes a free port
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The bars to replay: CSV with time,exchange,symbol,open,high,low,close,volume.
    /// Without it, a small real sample
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
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// The mean of the exponentially distributed delay on top, in each direction
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
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
    /// The time for which each bar is the present one
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    bar_every: Duration,
    /// The initial cash of the account
    #[arg(long, default_value = "10000000")]
    cash: Decimal,
    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    run_for: Option<Duration>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    let result = match cli.command {
        Command::Exchange(args) => run_exchange(args).map_err(|error| format!("error: {error}")),
        // Each line of this error begins with the file already, in the form that editors parse.
        Command::CheckConfig(args) => check_config(&args).map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Checks a configuration file, and prints the quota of each lane and budget.
fn check_config(args: &CheckArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_path(&args.file)?;
    let names_or = |names: &Option<Vec<String>>, of_broker: &[&str]| match names {
        Some(names) => names.clone(),
        None if args.lanes.is_some() => Vec::new(),
        None => of_broker.iter().map(|name| (*name).to_owned()).collect(),
    };
    let (lanes, budgets) =
        (names_or(&args.lanes, &lanes::ALL), names_or(&args.budgets, &[lanes::ORDERS]));
    let checked = config.check_names(&str_refs(&lanes), &str_refs(&budgets));
    checked.map_err(|error| error.in_file(&args.file))?;

    let mut out = io::stdout();
    writeln!(out, "{}: good", args.file.display())?;
    let settings = config.settings();
    let preset = settings.documented_limits();
    for lane in &lanes {
        let mut configured = settings.lanes().filter(|(name, _)| name == lane);
        let configured = configured.find_map(|(_, lane)| lane.quota());
        let quota = configured.or_else(|| preset.and_then(|limits| limits.of_lane(lane)));
        write_quota(&mut out, "lane", lane, quota)?;
    }
    for budget in &budgets {
        let mut configured = settings.budgets().filter(|(name, ..)| name == budget);
        let configured = configured.find_map(|(_, quota, _)| quota);
        let preset = || preset?.of_budget(budget).map(Budget::quota);
        write_quota(&mut out, "budget", budget, configured.or_else(preset))?;
    }
    Ok(())
}

fn str_refs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

fn write_quota(
    out: &mut impl Write,
    what: &str,
    name: &str,
    quota: Option<&Quota>,
) -> io::Result<()> {
    match quota {
        Some(quota) => writeln!(out, "{what} {name}: {quota}"),
        None => writeln!(out, "{what} {name}: as the adapter documents it, or as the code sets it"),
    }
}

/// Prints what is wrong with the arguments in one line, for people and logs alike.
fn usage_error(error: &clap::Error) -> ExitCode {
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

fn run_exchange(args: ExchangeArgs) -> Result<(), Box<dyn std::error::Error>> {
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
    let faults = match &args.faults {
        Some(path) => read_faults(path)?,
        None => Faults::new().seed(args.seed),
    };
    let faults = args.fault.into_iter().fold(faults, Faults::rule);
    let exchange = SimulatedExchange::builder()
        .listen(args.listen)
        .broker(broker)
        .algorithm(args.algorithm)
        .limits(limits)
        .count_refused(args.count_refused)
        .latency(args.latency)
        .jitter(args.jitter)
        .seed(args.seed)
        .faults(faults)
        .start()?;
    let stopped = stop_signal()?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", exchange.base_url())?;
    out.flush()?;
    // Both results end the run. The sender lives as long as the process.
    let _ = match args.run_for {
        Some(time) => stopped.recv_timeout(time).ok(),
        None => stopped.recv().ok(),
    };
    for lane in lanes::ALL {
        let counts = exchange.counts(lane);
        writeln!(out, "{lane}: {} admitted, {} refused", counts.admitted, counts.refused)?;
    }
    let faulty = exchange.arrivals().iter().filter(|arrival| arrival.fault.is_some()).count();
    writeln!(out, "{faulty} met a fault; {} orders booked", exchange.orders().len())?;
    Ok(())
}

/// Returns a channel that receives a message at the first SIGINT, SIGTERM or SIGHUP. A second signal ends the process
/// at once.
fn stop_signal() -> Result<Receiver<()>, ctrlc::Error> {
    let (stop, stopped) = mpsc::channel();
    let mut signalled = false;
    ctrlc::set_handler(move || {
        if signalled {
            std::process::exit(INTERRUPTED);
        }
        signalled = true;
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
