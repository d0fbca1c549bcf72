//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use lanekeeper::broker::Instrument;

use crate::failure::Failure;

/// A crowd of strategies on one broker account, behind lanekeeper.
#[derive(Debug, Parser)]
#[command(name = "trading_bot")]
pub struct Args {
    /// Work against this address instead of a simulated exchange. Keys come from KITE_API_KEY and KITE_ACCESS_TOKEN
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,

    /// How many strategies, each on a thread of its own
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub strategies: u16,

    /// How long they trade
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,

    /// Write a report there, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Record every order there before it is sent. A run that finds orders of an earlier one in it whose outcome is
    /// unknown recovers them first
    #[cfg(feature = "journal")]
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,

    /// Record every call there, so that the next run is not over the quota together with this one
    #[cfg(feature = "journal")]
    #[arg(long, value_name = "FILE")]
    pub pace: Option<PathBuf>,

    /// The account was not used in the last minute, so begin at once. Otherwise orders with --base-url wait for a
    /// minute, unless the file of --pace reaches back that far
    #[arg(long)]
    pub fresh: bool,

    /// How long to search the order book for an order whose answer was lost
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub settle: u32,

    /// Place real orders where the address is not on this machine. An address on this machine is
    /// taken for a test exchange, so do not point it at a tunnel to a real one
    #[arg(long)]
    pub live: bool,

    /// What to trade, as EXCHANGE:SYMBOL, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub instruments: Vec<Instrument>,
}

impl Args {
    /// Reads the command line. `None`: it asked for help, and got it.
    pub fn read() -> Result<Option<Self>, Failure> {
        match Self::try_parse() {
            Ok(args) => Ok(Some(args)),
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                print!("{error}");
                Ok(None)
            }
            Err(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or("a bad flag");
                Err(Failure::new(first.trim_start_matches("error: ")))
            }
        }
    }

    pub fn settle(&self) -> Duration {
        Duration::from_secs(self.settle.into())
    }

    pub fn length(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}
