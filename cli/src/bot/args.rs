//! The settings of a run, and the command line of `trading_bot`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{Parser, ValueEnum, value_parser};
use lanekeeper::SharedQuota;
use lanekeeper::broker::Instrument;

use super::failure::Failure;
use crate::command::one_line;
use crate::shared;

/// A crowd of strategies on one broker account, behind lanekeeper.
#[derive(Debug, Parser)]
#[command(name = "trading_bot")]
pub struct BotArgs {
    /// The broker whose wire is spoken at the address
    #[arg(long, value_name = "NAME", default_value = "kite")]
    pub broker: Wire,

    /// Trade at this address instead of a simulated exchange. Keys come from KITE_API_KEY and KITE_ACCESS_TOKEN, or
    /// from APCA_API_KEY_ID and APCA_API_SECRET_KEY
    #[arg(long, visible_alias = "url", value_name = "URL")]
    pub base_url: Option<String>,

    /// How many strategies run, each on its own thread
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = strategies())]
    pub strategies: u16,

    /// How long they trade
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = seconds())]
    pub seconds: u32,

    /// Write a report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Print the report as JSON in place of the table
    #[arg(long)]
    pub json: bool,

    /// Record every order in this file before it is sent. A run that finds orders of unknown outcome of an earlier
    /// run in it looks them up first
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,

    /// Record every call in this file, so that this run and the next one together stay within the quota
    #[arg(long, value_name = "FILE")]
    pub pace: Option<PathBuf>,

    /// Share the quota with the other processes that use this Redis and --account. Without an address, that is in
    /// LANEKEEPER_REDIS in the environment, which a list of processes does not show
    #[arg(long, value_name = "URL", num_args = 0..=1, requires = "account")]
    pub shared: Option<Option<String>>,

    /// The account whose quota is shared
    #[arg(long, value_name = "NAME", requires = "shared")]
    pub account: Option<String>,

    /// Begin at once, because the account was not used in the last minute. Otherwise orders wait for a minute with
    /// --base-url, unless the file of --pace reaches back that far
    #[arg(long)]
    pub fresh: bool,

    /// How long the order book is searched for an order whose answer was lost
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = value_parser!(u32).range(1..=3600))]
    pub settle: u32,

    /// Place real orders at an address that is not on this machine. An address on this machine counts as a test
    /// exchange, so do not point it at a tunnel to a real one
    #[arg(long)]
    pub live: bool,

    /// The instruments to trade, as EXCHANGE:SYMBOL, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub instruments: Vec<Instrument>,
}

/// A broker whose wire the bot speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    Kite,
    Alpaca,
}

/// Parses a number of strategies.
pub fn strategies() -> RangedU64ValueParser<u16> {
    RangedU64ValueParser::new().range(1..=1000)
}

/// Parses how long the strategies trade, in seconds.
pub fn seconds() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=86_400)
}

impl Default for BotArgs {
    /// The settings without a flag.
    fn default() -> Self {
        Self::parse_from(["trading_bot"])
    }
}

impl BotArgs {
    /// Reads the command line. Returns `None` if it requested help, which has been printed.
    pub fn read() -> Result<Option<Self>, Failure> {
        match Self::try_parse() {
            Ok(args) => Ok(Some(args)),
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                print!("{error}");
                Ok(None)
            }
            Err(error) => Err(Failure::new(one_line(&error).trim_start_matches("error: "))),
        }
    }

    /// Returns the quota that is shared with other processes, if it is.
    pub fn shared_quota(&self) -> Result<Option<SharedQuota>, Failure> {
        let (Some(url), Some(account)) = (&self.shared, &self.account) else { return Ok(None) };
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("--shared: {error}"));
        let settings = shared::settings(url.as_deref()).map_err(|error| failed(&error))?;
        let quota = settings.quota(account, |name| std::env::var(name).ok());
        Ok(Some(quota.map_err(|error| failed(&error))?))
    }

    pub fn settle(&self) -> Duration {
        Duration::from_secs(self.settle.into())
    }

    pub fn length(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}
