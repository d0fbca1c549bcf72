//! The `lanekeeper` command: a strict exchange to try clients and limiters on, and a look at a
//! configuration file.

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
use lanekeeper::exchange::{Algorithm, Faults, Rule, SimulatedExchange};
use lanekeeper::quota::{Budget, Limits, ParseQuotaError, Quota};
use rust_decimal::Decimal;

/// The exit code of a process that a second signal ended, as shells have it after an interrupt.
const INTERRUPTED: i32 = 130;

#[derive(Parser)]
#[command(version, about = "Tools around the lanekeeper library")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a strict exchange that speaks Kite Connect v3, on loopback, with paper money.
    ///
    /// SIGINT, SIGTERM and SIGHUP (under nohup too) end it, and it says what was counted; a second one
    /// ends it at once.
    Exchange(ExchangeArgs),
    /// Say what is wrong with a configuration file, TOML or YAML, and start nothing
    CheckConfig(CheckArgs),
}

#[derive(Args)]
struct CheckArgs {
    /// The file
    file: PathBuf,
    /// The lanes of your own trait; without it, those of a broker
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    lanes: Option<Vec<String>>,
    /// The budgets of your own trait; without it, and without --lanes, that of a broker
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    budgets: Option<Vec<String>>,
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
    /// What goes wrong on purpose, as in place=reset-after@30% or orders=hang-before@1,4: the route,
    /// the fault, and how often or at which requests. Can be given several times
    #[arg(long, value_name = "RULE")]
    fault: Vec<Rule>,
    /// The same as a TOML file: `seed = 7`, and for each rule a table `[[rule]]` with the keys on,
    /// fault, and share or calls
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// The seed of the jitter, and of the faults unless they come from a file, which has its own
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How long each bar is the present one
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    bar_every: Duration,
    /// The money to begin with
    #[arg(long, default_value = "10000000")]
    cash: Decimal,
    /// Stop by itself after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    run_for: Option<Duration>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    let done = match cli.command {
        Command::Exchange(args) => run_exchange(args).map_err(|error| format!("error: {error}")),
        // Each line of it begins with the file already, as editors like it.
        Command::CheckConfig(args) => check_config(&args).map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Looks at a file, and says how fast it lets the lanes go.
fn check_config(args: &CheckArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_path(&args.file)?;
    let given = |names: &Option<Vec<String>>, of_broker: &[&str]| match names {
        Some(names) => names.clone(),
        None if args.lanes.is_some() => Vec::new(),
        None => of_broker.iter().map(|name| (*name).to_owned()).collect(),
    };
    let (lanes, budgets) =
        (given(&args.lanes, &lanes::ALL), given(&args.budgets, &[lanes::ORDERS]));
    let named = config.check_names(&str_refs(&lanes), &str_refs(&budgets));
    named.map_err(|error| error.in_file(&args.file))?;

    let mut out = io::stdout();
    writeln!(out, "{}: good", args.file.display())?;
    let settings = config.settings();
    let preset = settings.documented_limits();
    for lane in &lanes {
        let mut said = settings.lanes().filter(|(name, _)| name == lane);
        let said = said.find_map(|(_, lane)| lane.quota());
        let quota = said.or_else(|| preset.and_then(|limits| limits.of_lane(lane)));
        write_quota(&mut out, "lane", lane, quota)?;
    }
    for budget in &budgets {
        let mut said = settings.budgets().filter(|(name, ..)| name == budget);
        let said = said.find_map(|(_, quota, _)| quota);
        let preset = || preset?.of_budget(budget).map(Budget::quota);
        write_quota(&mut out, "budget", budget, said.or_else(preset))?;
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

/// Says what is wrong with the arguments in one line, for people and logs alike.
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
    // However the wait ends. The sender lives as long as the process.
    let _ = match args.run_for {
        Some(time) => stopped.recv_timeout(time).ok(),
        None => stopped.recv().ok(),
    };
    for lane in lanes::ALL {
        let counts = exchange.counts(lane);
        writeln!(out, "{lane}: {} admitted, {} refused", counts.admitted, counts.refused)?;
    }
    let struck = exchange.arrivals().iter().filter(|arrival| arrival.fault.is_some()).count();
    writeln!(out, "{struck} met a fault; {} orders booked", exchange.orders().len())?;
    Ok(())
}

/// Is sent to by the first signal that asks the process to end: SIGINT, SIGTERM or SIGHUP. A second one
/// ends the process where it is.
fn stop_signal() -> Result<Receiver<()>, ctrlc::Error> {
    let (stop, stopped) = mpsc::channel();
    let mut asked = false;
    ctrlc::set_handler(move || {
        if asked {
            std::process::exit(INTERRUPTED);
        }
        asked = true;
        // Nobody listens any more if the process is ending by itself.
        let _ = stop.send(());
    })?;
    Ok(stopped)
}

/// Reads a file of faults, with an error in one line that says where it is wrong.
fn read_faults(path: &Path) -> Result<Faults, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let text =
        read_text(path).map_err(|error| named(format!("cannot read the faults: {error}")))?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        named(format!("line {line}: {}", error.message().replace('\n', " ")))
    })
}

/// Reads a file that a person wrote. A path may as well name a device or a pipe that never ends.
fn read_text(path: &Path) -> io::Result<String> {
    const MAX_BYTES: u64 = 1 << 20;
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    match read as u64 > MAX_BYTES {
        true => Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))),
        false => Ok(text),
    }
}

/// Reads `LANE=10/s,400/min`.
fn limit(text: &str) -> Result<(String, Quota), String> {
    let wrong = || "write LANE=LIMIT, as in transactional=10/s,400/min".to_owned();
    let (lane, windows) = text.split_once('=').ok_or_else(wrong)?;
    let quota = windows.parse().map_err(|error: ParseQuotaError| error.to_string())?;
    Ok((lane.to_owned(), quota))
}
