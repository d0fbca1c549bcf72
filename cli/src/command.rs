//! The command line of `lanekeeper`: the subcommands, and how their errors are printed.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::check_config::{self, CheckArgs};
use crate::demo::{self, DemoArgs};
use crate::exchange::{self, ExchangeArgs};
use crate::gateway::{self, GatewayArgs};
use crate::init::{self, InitArgs};
use crate::key::{self, KeyArgs};
use crate::limit::{self, LimitArgs};
use crate::shared::{self, SharedArgs};
use crate::shell::{self, CompletionsArgs, ManArgs};
use crate::top::{self, TopArgs};

#[derive(Parser)]
#[command(name = "lanekeeper", version, about = "Tools around the lanekeeper library")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run sixteen strategies against a simulated exchange, behind lanekeeper and then without, and compare.
    ///
    /// Nothing to set up, no account, no real order. SIGINT, SIGTERM and SIGHUP end it early, and it prints the
    /// results so far. With --page it runs a gateway instead, whose page shows what goes on.
    Demo(DemoArgs),
    /// Run a strict simulated exchange that speaks Kite Connect v3, on loopback, with paper money.
    ///
    /// Without --prices it lists two real series, and synthetic ones of thirty well-known shares of NSE and two
    /// indices, with candles up to today: NSE:INFY, NSE:RELIANCE, "NSE:NIFTY 50". The prices of these are invented,
    /// and their names in the listing end with "(synthetic)". The market is always open.
    ///
    /// The first line on standard output is where it listens. SIGINT, SIGTERM and SIGHUP (under nohup too) end it,
    /// and it prints what was counted. A second signal ends it at once.
    Exchange(ExchangeArgs),
    /// Run a gateway in front of a broker's HTTP API: any client in any language, paced without change.
    ///
    /// Point clients at the address that the first line on standard output names. The second line names the page.
    /// KITE_API_KEY and KITE_ACCESS_TOKEN are the credentials at the broker; --token-file has the token otherwise.
    /// KITE_API_SECRET lets the gateway log in at run time. Without clients in the file of --config it listens on
    /// loopback only.
    ///
    /// SIGTERM and SIGINT end it in order, within --drain. A second one ends it at once. SIGHUP reads the file again.
    Gateway(GatewayArgs),
    /// Make a key for a client of a gateway, and its hash for the configuration
    Key(KeyArgs),
    /// Check a configuration file, TOML or YAML, without starting anything
    CheckConfig(CheckArgs),
    /// Write a commented configuration file for the documented limits of a broker
    Init(InitArgs),
    /// Judge recorded requests by the rules of a limiter, or check the rules.
    ///
    /// Each line of the trace is a JSON object: {"at": 1.5, "path": "/orders", "entries": {"user": "a"}, "weight": 1}.
    /// Only `at` has to be there: seconds since 1970, or since any other moment, which are read exactly, rounded down to
    /// a microsecond, and must not decrease. Rules of envoy look at the order of the entries, and a request may have
    /// several lists of them: "descriptors": [[["key", "value"]]], or [{"key": "value"}]. A value that is a number or a
    /// truth value is taken as the text that is in the file.
    ///
    /// It prints one verdict a line, as a server with these rules would have given it at that time. Times are seconds.
    /// `retry_after` is null if the request is allowed or never will be. At the end the counts are on standard error:
    /// for each rule the requests within its limit, near it (more than 80 % are used), over it, and over it in shadow
    /// mode. A line that cannot be read ends the run with exit code 1.
    Limit(LimitArgs),
    /// Show the state of a running gateway in the terminal: lanes, quotas, queues, clients, notices.
    ///
    /// Without a terminal on standard output, and with --once, it prints the state once and ends. Press ? for the keys.
    ///
    /// A gateway with configured clients asks for a key: set LANEKEEPER_KEY to NAME:SECRET. Pausing and resuming a
    /// lane needs the admin key in LANEKEEPER_ADMIN_KEY. Keys are not flags, because a list of processes shows flags.
    /// NO_COLOR switches colours off.
    Top(TopArgs),
    /// Show what Redis knows of the quotas that several processes share
    Shared(SharedArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, in the format of man
    Man(ManArgs),
}

/// Runs the command `lanekeeper`: reads the command line, runs the subcommand, and prints its error.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    let result = match cli.command {
        Command::Demo(args) => demo::run(&args).map_err(|error| format!("error: {error}")),
        Command::Exchange(args) => exchange::run(args).map_err(|error| format!("error: {error}")),
        Command::Gateway(args) => {
            gateway::run(&args).map_err(|error| gateway::error_lines(&*error))
        }
        Command::Key(args) => key::run(&args).map_err(|error| format!("error: {error}")),
        // Each line of this error begins with the file already, in the form that editors parse.
        Command::CheckConfig(args) => check_config::run(&args).map_err(|error| error.to_string()),
        Command::Init(args) => init::run(&args).map_err(|error| format!("error: {error}")),
        // As above, and the errors that are not about a file begin with `error`.
        Command::Limit(args) => limit::run(&args).map_err(|error| error.to_string()),
        Command::Top(args) => top::run(&args).map_err(|error| format!("error: {error}")),
        Command::Shared(args) => shared::run(&args).map_err(|error| format!("error: {error}")),
        Command::Completions(args) => {
            shell::print_completions(&args).map_err(|error| format!("error: {error}"))
        }
        Command::Man(args) => shell::print_man(&args).map_err(|error| format!("error: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong with the arguments, in one line.
fn usage_error(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => {
            eprintln!("{}", one_line(error));
            ExitCode::from(2)
        }
    }
}

/// Returns what clap says before its usage, in one line: for people and logs alike.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let explanation = text.split("Usage:").next().unwrap_or(&text);
    explanation.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Writes to standard output. A reader that has closed the pipe, such as `head`, has read what it wanted.
pub fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
