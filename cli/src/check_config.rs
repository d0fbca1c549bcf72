//! `lanekeeper check-config`: checks a configuration file of a proxy or of a gateway, and prints the quotas that result
//! from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use lanekeeper::Config;
use lanekeeper::broker::lanes;
use lanekeeper::config::{ConfigError, reader};
use lanekeeper::quota::Budget;
use lanekeeper_gateway::config::{AccountConfig, GatewayConfig, Preset};
use serde_json::{Value, json};

use crate::command::print;

#[derive(Args)]
pub struct CheckArgs {
    /// The file
    file: PathBuf,
    /// Check it as the file of a gateway. This is the default if it has a key that only a gateway has, such as `listen`,
    /// `clients` or `upstream`
    #[arg(long, conflicts_with_all = ["lanes", "budgets"])]
    gateway: bool,
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

/// Keys that the file of a gateway has, and that of a proxy has not.
const OF_GATEWAYS: [&str; 11] = [
    "listen",
    "upstream",
    "accounts",
    "clients",
    "tiers",
    "routes",
    "unmatched",
    "admin_key",
    "token_file",
    "hosts",
    "limits",
];

/// Checks a configuration file, and prints the quota of each lane and budget.
pub fn run(args: &CheckArgs) -> Result<(), Box<dyn std::error::Error>> {
    let is_of_proxy = args.lanes.is_some() || args.budgets.is_some();
    if args.gateway || (!is_of_proxy && is_of_gateway(&args.file)?) {
        return check_gateway(args);
    }
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

/// Returns whether a file is of a gateway, by its keys.
fn is_of_gateway(file: &Path) -> Result<bool, ConfigError> {
    let root = reader::parse_path(file).map_err(|error| error.in_file(file))?;
    let keys = reader::lines(&root);
    Ok(OF_GATEWAYS.iter().any(|key| keys.contains_key(*key)))
}

/// Checks the file of a gateway, and prints the quotas of each account.
fn check_gateway(args: &CheckArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = GatewayConfig::from_path(&args.file)?;
    let file = args.file.display();
    if args.json {
        let of = |(name, account): (&String, &AccountConfig)| {
            let account = json!({
                "upstream": account.upstream,
                "preset": account.preset.map(preset_name),
                "lanes": BTreeMap::from_iter(lane_quotas(account)),
                "budgets": BTreeMap::from_iter(budget_quotas(account)),
            });
            (name.clone(), account)
        };
        let accounts: BTreeMap<String, Value> = config.accounts.iter().map(of).collect();
        let clients: Vec<&String> = config.clients.keys().collect();
        let listen = config.listen;
        let json = json!({
            "file": file.to_string(), "listen": listen, "accounts": accounts, "clients": clients
        });
        return Ok(print(format!("{json}\n").as_bytes())?);
    }
    let mut text = format!("{file}: good\nlisten: {}\n", config.listen);
    if config.shared.is_some() {
        text.push_str("quotas: shared with other processes\n");
    }
    for (name, account) in &config.accounts {
        let preset = account.preset.map_or("no preset", preset_name);
        // Writing to a string does not fail.
        let _ = writeln!(text, "account {name}: {}, {preset}", account.upstream);
        let lanes = lane_quotas(account).into_iter().map(|quota| ("lane", quota));
        let budgets = budget_quotas(account).into_iter().map(|quota| ("budget", quota));
        for (what, (of, quota)) in lanes.chain(budgets) {
            let _ = writeln!(text, "{what} {name}/{of}: {}", quota.unwrap_or_default());
        }
    }
    for (name, client) in &config.clients {
        let of = |what, name: &Option<String>| {
            name.as_ref().map_or(String::new(), |name| format!(", {what} {name}"))
        };
        let (account, tier) = (of("account", &client.account), of("tier", &client.tier));
        let _ = writeln!(text, "client {name}: with a key{account}{tier}");
    }
    Ok(print(text.as_bytes())?)
}

fn preset_name(preset: Preset) -> &'static str {
    match preset {
        Preset::Kite => "kite",
        _ => "unknown",
    }
}

fn lane_quotas(account: &AccountConfig) -> Quotas<'_> {
    let names = account.lane_names().into_iter();
    names.map(|name| (name, account.quota_of_lane(name).map(|it| it.to_string()))).collect()
}

fn budget_quotas(account: &AccountConfig) -> Quotas<'_> {
    let names = account.budget_names().into_iter();
    names.map(|name| (name, account.budget(name).map(|it| it.quota().to_string()))).collect()
}

fn str_refs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}
