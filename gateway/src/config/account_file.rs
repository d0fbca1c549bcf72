//! Reads the settings of an account from a file: its upstream, lanes, budgets and routes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lanekeeper::config::reader::{self, ConfigNode, Problems, Table};
use lanekeeper::lane::LaneConfig;
use lanekeeper::quota::{Limits, Reserve};
use lanekeeper::{Budget, Effect, Quota};

use super::account_check::NO_PRESET;
use super::file::{priority, set};
use super::{
    AccountConfig, Preset, RouteAction, RouteConfig, SendRoute, Unmatched, UpstreamAuth, forms,
};

/// The keys that have no meaning without a preset.
const OF_PRESETS: [&str; 7] = [
    "token_file",
    "api_key_env",
    "access_token_env",
    "api_secret_env",
    "quotes",
    "journal",
    "guard",
];

/// Reads the keys of an account. The table may have others.
pub(super) fn account(table: &mut Table<'_>) -> AccountConfig {
    let preset = table.choice("preset", &[("kite", Preset::Kite)]);
    let mut account = match preset {
        Some(Preset::Kite) => AccountConfig::kite(Preset::Kite.upstream()),
        None => AccountConfig::new(""),
    };
    let text = table.text("upstream", "the address of the API, as https://api.example.com");
    set(&mut account.upstream, text.map(str::to_owned));
    account.auth = table.table("auth").map(auth);
    account.token_file = path(table, "token_file");
    set(&mut account.api_key_env, env(table, "api_key_env"));
    set(&mut account.access_token_env, env(table, "access_token_env"));
    set(&mut account.api_secret_env, env(table, "api_secret_env"));
    let limits = preset.map(Preset::limits);
    account.lanes = lanes(table, limits.as_ref());
    account.budgets = budgets(table, limits.as_ref());
    account.routes = table.tables("routes").into_iter().map(route).collect();
    set(&mut account.unmatched, unmatched(table));
    let quote_ttl =
        if table.is_off("quotes") { Some(Duration::ZERO) } else { table.time("quotes") };
    set(&mut account.quote_ttl, quote_ttl);
    account.journal = path(table, "journal");
    account.pace = path(table, "pace");
    set(&mut account.guard, table.switch("guard"));
    let kept = if table.is_off("kept") { Some(0) } else { table.bytes("kept") };
    set(&mut account.kept_capacity, kept);
    set(&mut account.upstream_timeout, table.time("upstream_timeout"));
    if !table.has("preset") {
        for key in OF_PRESETS.into_iter().filter(|key| table.has(key)).collect::<Vec<_>>() {
            table.report_invalid(key, NO_PRESET);
        }
    }
    account
}

/// Reports the keys of an account that are beside the table `accounts`.
pub(super) fn report_beside_accounts(root: &mut Table<'_>) {
    let nothing = ConfigNode::empty();
    let problems = Problems::default();
    let Some(mut scratch) = Table::new(String::new(), &nothing, &problems) else { return };
    account(&mut scratch);
    for key in scratch.known_keys() {
        let why = "this is a key of an account: write it into a table of `accounts`";
        root.report_misplaced_key(key, why);
    }
}

fn auth(mut table: Table<'_>) -> UpstreamAuth {
    let header = table.text("header", "the name of a header, as authorization");
    let auth = UpstreamAuth {
        header: header.unwrap_or("authorization").to_ascii_lowercase(),
        prefix: table
            .text("prefix", "what precedes the secret, as \"Bearer \"")
            .unwrap_or_default()
            .to_owned(),
        env: env(&mut table, "env").unwrap_or_default(),
    };
    table.finish();
    auth
}

fn env(table: &mut Table<'_>, key: &'static str) -> Option<String> {
    let what = "the name of an environment variable, in capital letters";
    table.parsed(key, what, |text| forms::is_env_name(text).then(|| text.to_owned()))
}

fn path(table: &mut Table<'_>, key: &'static str) -> Option<PathBuf> {
    table.parsed(key, "the path of a file", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
}

/// Reads the lanes, in their order. One that cannot be read has no settings, so that references to it are not reported
/// too.
fn lanes(table: &mut Table<'_>, limits: Option<&Limits>) -> Vec<(String, LaneConfig)> {
    let read = |(name, table)| {
        let documented = limits.and_then(|limits| limits.of_lane(name));
        (name, reader::lane(table, documented))
    };
    let mut lanes: BTreeMap<&str, LaneConfig> =
        table.named_tables("lanes", Some("quota")).into_iter().map(read).collect();
    let names = table.names("lanes").into_iter();
    names.map(|name| (name.to_owned(), lanes.remove(name).unwrap_or_default())).collect()
}

/// Reads the budgets, in their order.
fn budgets(table: &mut Table<'_>, limits: Option<&Limits>) -> Vec<(String, Budget)> {
    let read = |(name, table): (_, Table<'_>)| {
        let documented = limits.and_then(|limits| limits.of_budget(name));
        if documented.is_none() && !table.has("quota") {
            table.report_invalid("quota", "write a quota, as \"200/min\"");
        }
        let (quota, reserve) = reader::budget(name, table, limits);
        let quota = quota.or(documented.map(|budget| budget.quota().clone()));
        let budget = Budget::new(quota.unwrap_or_else(Quota::unlimited));
        let reserve = reserve.or(documented.map(Budget::reserved));
        let budget = match reserve.unwrap_or(Reserve::NONE) {
            Reserve::Slots(slots) => budget.reserve(slots),
            Reserve::Percent(percent) => budget.reserve_percent(percent),
        };
        (name, budget)
    };
    let mut budgets: BTreeMap<&str, Budget> =
        table.named_tables("budgets", Some("quota")).into_iter().map(read).collect();
    let broken = || Budget::new(Quota::unlimited());
    let names = table.names("budgets").into_iter();
    names.map(|name| (name.to_owned(), budgets.remove(name).unwrap_or_else(broken))).collect()
}

/// Reads a route. One that is not a table has an empty pattern, which keeps the numbers of the others.
fn route(table: Option<Table<'_>>) -> RouteConfig {
    let Some(mut table) = table else {
        return RouteConfig { pattern: String::new(), action: RouteAction::Refuse(String::new()) };
    };
    let pattern = table.text("match", "a method and a path, as \"GET /stock/*\"");
    let pattern = pattern.unwrap_or_default().to_owned();
    let refuse = table.text("refuse", "the message of the refusal").map(str::to_owned);
    let send = send_route(&mut table);
    let action = if table.has("refuse") {
        RouteAction::Refuse(refuse.unwrap_or_default())
    } else {
        if !table.has("lane") {
            table.report_invalid("lane", "write the lane of the requests, or `refuse`");
        }
        RouteAction::Send(send)
    };
    if table.has("refuse") {
        let other = table.known_keys().into_iter().filter(|key| !["match", "refuse"].contains(key));
        for key in other.filter(|key| table.has(key)).collect::<Vec<_>>() {
            table.report_invalid(key, "this has no effect beside `refuse`");
        }
    }
    table.finish();
    RouteConfig { pattern, action }
}

fn send_route(table: &mut Table<'_>) -> SendRoute {
    let mut route = SendRoute::new(table.text("lane", "the name of a lane").unwrap_or_default());
    let name = |text: &str| Some(text.to_owned());
    let one = table.parsed("budget", "the name of a budget", name);
    set(&mut route.budgets, table.parsed_list("budgets", "the name of a budget", name));
    if table.has("budget") && table.has("budgets") {
        table.report_invalid("budget", "write `budget` or `budgets`");
    }
    route.budgets.extend(one);
    route.effect = table.choice("effect", &[("read", Effect::Read), ("write", Effect::Write)]);
    set(&mut route.weight, table.number("weight"));
    set(&mut route.priority, priority(table, "priority"));
    set(&mut route.is_exit, table.switch("exit"));
    if route.is_exit && table.has("priority") {
        table.report_invalid("priority", "an exit is urgent: leave the priority out");
    }
    route.cache = table.time("cache");
    route
}

fn unmatched(table: &mut Table<'_>) -> Option<Unmatched> {
    if !table.is_table("unmatched") {
        let what = "\"refuse\", or a table with the key `lane`";
        return table
            .parsed("unmatched", what, |text| (text == "refuse").then_some(Unmatched::Refuse));
    }
    let mut table = table.table("unmatched")?;
    let lane = table.text("lane", "the name of a lane").map(str::to_owned);
    if !table.has("lane") {
        table.report_invalid("lane", "write the lane of the requests");
    }
    table.finish();
    lane.map(Unmatched::Lane)
}
