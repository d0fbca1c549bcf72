//! `lanekeeper check-config`: checks a configuration file, and prints the quotas that result from it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use lanekeeper::Config;
use lanekeeper::broker::lanes;
use lanekeeper::quota::{Budget, Quota};

#[derive(Args)]
pub struct CheckArgs {
    /// The file
    file: PathBuf,
    /// The lanes of your own trait. Without it, the lanes of a broker
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    lanes: Option<Vec<String>>,
    /// The budgets of your own trait. Without it and without --lanes, the budget of a broker
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    budgets: Option<Vec<String>>,
}

/// Checks a configuration file, and prints the quota of each lane and budget.
pub fn run(args: &CheckArgs) -> Result<(), Box<dyn std::error::Error>> {
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
