//! `lanekeeper demo`: the crowd of the bot against a simulated exchange of its own, then the same crowd without
//! lanekeeper.

use std::path::PathBuf;

use clap::Args;

use crate::bot::args::{BotArgs, seconds, strategies};
use crate::bot::failure::Failure;

#[derive(Args)]
pub struct DemoArgs {
    /// How long the strategies trade behind lanekeeper
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = seconds())]
    seconds: u32,
    /// How many strategies run, each on its own thread
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = strategies())]
    strategies: u16,
    /// Write a report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the report as JSON in place of the table
    #[arg(long)]
    json: bool,
}

/// Runs the crowd.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let DemoArgs { seconds, strategies, report, json } = args;
    crate::bot::run(&BotArgs {
        seconds: *seconds,
        strategies: *strategies,
        report: report.clone(),
        json: *json,
        ..BotArgs::default()
    })
}
