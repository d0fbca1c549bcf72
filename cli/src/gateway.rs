//! `lanekeeper gateway`: runs a gateway in front of a broker's HTTP API until a signal ends it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};
use tracing_subscriber::filter::LevelFilter;

use crate::exchange::duration;
use crate::log::Log;
use crate::shared;
use crate::signal::{self, Signal};

#[derive(Args)]
pub struct GatewayArgs {
    /// Where to listen. A port of 0 takes a free one [default: 127.0.0.1:8800]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The address of the broker's API [default of the preset: https://api.kite.trade]
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The broker, whose routes and limits are known
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    preset: Option<PresetName>,
    /// Read the settings from this file, TOML or YAML. SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Record every order in this file before it is sent, so that the next gateway knows it
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Record every call in this file, so that this gateway and the next one together stay within the quota
    #[arg(long, value_name = "FILE")]
    pace: Option<PathBuf>,
    /// Share the quotas with the other gateways and bots that use this Redis, each account under its name. Without an address,
    /// that is in LANEKEEPER_REDIS in the environment, which a list of processes does not show
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    shared: Option<Option<String>>,
    /// Read the access token from this file, now and whenever it changes
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long the end may take: what is queued is still sent, and what is in flight is waited for [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    drain: Option<Duration>,
    /// What is written to standard error. From `info` on, each request is
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LogLevel,
}

/// The brokers whose routes and limits are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PresetName {
    Kite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

type Error = Box<dyn std::error::Error>;

/// Runs the gateway.
pub fn run(args: &GatewayArgs) -> Result<(), Error> {
    let config = args.settings()?;
    // Another subscriber is there only in tests of this crate.
    let log = Log::to_stderr();
    let _ = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(args.log))
        .with_writer(log.clone())
        // They would go to standard error by a macro that panics if that is broken.
        .log_internal_errors(false)
        .with_ansi(false)
        .try_init();
    let drain = config.door.drain;
    // Before the start, so that a signal that comes early is not lost.
    let signals = signal::listen(args.config.is_some())?;
    let gateway = Gateway::builder(config).start()?;
    // Programs read the address from the first line, so nothing comes before it. They may close the pipe then, so both
    // lines are written at once.
    let lines = format!("listening on {}\npage at {}\n", gateway.base_url(), gateway.page_url());
    let mut out = io::stdout();
    out.write_all(lines.as_bytes())?;
    out.flush()?;
    for signal in signals {
        match (signal, &args.config) {
            (Signal::Reload, Some(path)) => reload(&gateway, args, path, &log),
            _ => break,
        }
    }
    if !gateway.drain(drain) {
        log.line(&format!(
            "some requests were still under way after {drain:?}: check the order book"
        ));
    }
    log.flush();
    Ok(())
}

/// Reads the settings again. A file that cannot be used changes nothing.
fn reload(gateway: &Gateway, args: &GatewayArgs, path: &Path, log: &Log) {
    let reloaded = args.settings().and_then(|config| Ok(gateway.reload(config)?));
    if let Err(error) = reloaded {
        log.line(&format!("error: {} was not taken, and nothing has changed", path.display()));
        log.line(&error_lines(&*error));
    }
}

/// Returns an error with a line for each problem.
pub fn error_lines(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let lines: Vec<String> = text.lines().map(|line| format!("error: {line}")).collect();
    lines.join("\n")
}

impl GatewayArgs {
    /// Returns the settings: of the file, or of the preset, with those of the flags.
    fn settings(&self) -> Result<GatewayConfig, Error> {
        let mut config = match &self.config {
            Some(path) => GatewayConfig::from_path(path)?,
            None => GatewayConfig::new(AccountConfig::kite("https://api.kite.trade")),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        config.door.drain = self.drain.unwrap_or(config.door.drain);
        if let Some(url) = &self.shared {
            config.shared = Some(shared::settings(url.as_deref())?);
        }
        let for_account = [
            ("--upstream", self.upstream.is_some()),
            ("--journal", self.journal.is_some()),
            ("--pace", self.pace.is_some()),
            ("--token-file", self.token_file.is_some()),
        ];
        if let Some((flag, _)) = for_account.iter().find(|(_, is_set)| *is_set) {
            let mut accounts = config.accounts.values_mut();
            let (Some(account), None) = (accounts.next(), accounts.next()) else {
                return Err(format!("{flag} is for one account, and the file has several").into());
            };
            if let Some(upstream) = &self.upstream {
                account.upstream.clone_from(upstream);
            }
            account.journal = self.journal.clone().or(account.journal.take());
            account.pace = self.pace.clone().or(account.pace.take());
            account.token_file = self.token_file.clone().or(account.token_file.take());
        }
        Ok(config)
    }
}
