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

mod exchange;
mod exchange_log;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use lanekeeper::Config;
use lanekeeper::broker::lanes;
use lanekeeper::quota::{Budget, Quota};

use exchange::ExchangeArgs;

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
    /// Without --prices it lists two real series, and synthetic ones of thirty well-known shares of NSE and two
    /// indices, with candles up to today: NSE:INFY, NSE:RELIANCE, "NSE:NIFTY 50". The prices of these are invented,
    /// and their names in the listing end with "(synthetic)". The market is always open.
    ///
    /// The first line on standard output is where it listens. SIGINT, SIGTERM and SIGHUP (under nohup too) end it,
    /// and it prints what was counted. A second signal ends it at once.
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

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    let result = match cli.command {
        Command::Exchange(args) => exchange::run(args).map_err(|error| format!("error: {error}")),
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
