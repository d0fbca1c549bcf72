//! `lanekeeper demo`: the crowd of the bot against a simulated exchange of its own, then the same crowd without
//! lanekeeper. With `--page`, a crowd at a gateway, whose page can be looked at.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::bot::args::{BotArgs, seconds, strategies};
use crate::demo_page;

/// How long the strategies trade, in seconds.
const SECONDS: u32 = 20;

#[derive(Args)]
pub struct DemoArgs {
    /// How long the strategies trade [default: 20, or with --page until a signal comes]
    #[arg(long, value_name = "S", value_parser = seconds())]
    seconds: Option<u32>,
    /// How many strategies run, each on its own thread
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = strategies())]
    strategies: u16,
    /// Write a report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the report as JSON in place of the table
    #[arg(long)]
    json: bool,
    /// Run a gateway in front of the exchange, and clients at the gateway, and print the address of its page.
    ///
    /// It also prints an admin key, with which the page pauses lanes. This is no part of the demo without the flag, which
    /// ends by itself with a comparison, in scripts too: the page needs a browser and a person, and runs until a signal
    /// comes.
    #[arg(long, conflicts_with_all = ["strategies", "report", "json"])]
    page: bool,
    /// Where the gateway listens. A port of 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", requires = "page")]
    listen: SocketAddr,
}

/// Runs the crowd.
pub fn run(args: &DemoArgs) -> Result<(), Box<dyn std::error::Error>> {
    let DemoArgs { seconds, strategies, report, json, page, listen } = args;
    if *page {
        let run_for = seconds.map(|seconds| Duration::from_secs(seconds.into()));
        return demo_page::run(*listen, run_for);
    }
    let run = crate::bot::run(&BotArgs {
        seconds: seconds.unwrap_or(SECONDS),
        strategies: *strategies,
        report: report.clone(),
        json: *json,
        ..BotArgs::default()
    });
    run.map_err(|failure| failure.to_string().into())
}
