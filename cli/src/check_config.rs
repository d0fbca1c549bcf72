//! `lanekeeper check-config`: checks a configuration file, and prints the quotas that result from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use lanekeeper::Config;
use lanekeeper::broker::lanes;
use lanekeeper::quota::Budget;
use serde_json::json;

use crate::command::print;

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
    /// Print JSON: the quota of each lane and budget, or null where the adapter or the code sets it
    #[arg(long)]
    json: bool,
}

/// The quota of each lane or budget, if the file or its preset sets one.
type Quotas<'a> = Vec<(&'a str, Option<String>)>;

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

    let settings = config.settings();
    let preset = settings.documented_limits();
    let of_lane = |lane: &String| {
        let mut configured = settings.lanes().filter(|(name, _)| name == lane);
        let configured = configured.find_map(|(_, lane)| lane.quota());
        configured.or_else(|| preset?.of_lane(lane)).map(ToString::to_string)
    };
    let of_budget = |budget: &String| {
        let mut configured = settings.budgets().filter(|(name, ..)| name == budget);
        let configured = configured.find_map(|(_, quota, _)| quota);
        let documented = || preset?.of_budget(budget).map(Budget::quota);
        configured.or_else(documented).map(ToString::to_string)
    };
    let lanes: Quotas<'_> = lanes.iter().map(|lane| (lane.as_str(), of_lane(lane))).collect();
    let budgets: Quotas<'_> =
        budgets.iter().map(|budget| (budget.as_str(), of_budget(budget))).collect();
    let text = match args.json {
        true => {
            let file = args.file.display().to_string();
            let [lanes, budgets] = [lanes, budgets].map(BTreeMap::from_iter);
            json!({ "file": file, "lanes": lanes, "budgets": budgets }).to_string() + "\n"
        }
        false => {
            let all = lanes.iter().map(|each| ("lane", each));
            let all = all.chain(budgets.iter().map(|each| ("budget", each)));
            let mut text = format!("{}: good\n", args.file.display());
            for (what, (name, quota)) in all {
                let unset = "as the adapter documents it, or as the code sets it";
                let quota = quota.as_deref().unwrap_or(unset);
                // Writing to a string does not fail.
                let _ = writeln!(text, "{what} {name}: {quota}");
            }
            text
        }
    };
    Ok(print(text.as_bytes())?)
}

fn str_refs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}
