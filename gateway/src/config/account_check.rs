//! Checks the settings of an account: its upstream, its lanes and budgets, and the routes that name them.

use std::collections::BTreeSet;
use std::time::Duration;

use lanekeeper::config::reader::join_path;
use lanekeeper::lane::{LaneConfig, LaneConfigError, OverflowPolicy};
use lanekeeper::quota::BudgetSet;
use lanekeeper::{Effect, LaneCall, RouteError, RouteTable};

use super::check::{Checks, DAY, unknown};
use super::{AccountConfig, RouteAction, RouteConfig, SendRoute, Unmatched, forms};

/// The most memory that kept answers may take.
const MAX_KEPT: u64 = 64 << 30;

/// The longest message of a refusal, in bytes.
const MAX_MESSAGE: usize = 1000;

/// What is wrong with a key that only a preset reads.
pub(super) const NO_PRESET: &str = "this has no effect without `preset: kite`";

/// Why no lane blocks its callers. The callers here are the few threads that serve all clients, exits too.
const NO_BLOCKING: &str =
    "a gateway blocks no client at a full queue: write `refuse`, which is the default, or `shed`";

/// Checks the account at `path`.
pub(super) fn account(checks: &mut Checks, path: &str, account: &AccountConfig) {
    let key = |key: &str| format!("{path}.{key}");
    checks.report_error(key("upstream"), forms::check_upstream(&account.upstream));
    auth(checks, path, account);
    of_preset(checks, path, account);
    lanes(checks, path, account);
    budgets(checks, path, account);
    routes(checks, path, account);
    if let Unmatched::Lane(lane) = &account.unmatched {
        known_lane(checks, &key("unmatched.lane"), lane, account);
    }
    checks.time(&key("quotes"), account.quote_ttl, Duration::ZERO..=DAY);
    checks.number(&key("kept"), account.kept_capacity, 0..=MAX_KEPT);
    let (min, max) = (Duration::from_millis(100), Duration::from_secs(3600));
    checks.time(&key("upstream_timeout"), account.upstream_timeout, min..=max);
}

fn auth(checks: &mut Checks, path: &str, account: &AccountConfig) {
    let path = format!("{path}.auth");
    let Some(auth) = &account.auth else { return };
    if account.preset.is_some() {
        checks.report(path, "the preset authenticates requests itself: leave this out");
        return;
    }
    checks.report_error(format!("{path}.header"), forms::check_auth_header(&auth.header));
    checks.report_error(format!("{path}.prefix"), forms::check_auth_prefix(&auth.prefix));
    if !forms::is_env_name(&auth.env) {
        checks.report(format!("{path}.env"), forms::ENV_NAME);
    }
}

/// Checks what only a preset reads. Without one, a journal would seem to guard orders.
fn of_preset(checks: &mut Checks, path: &str, account: &AccountConfig) {
    let files = [("token_file", &account.token_file), ("journal", &account.journal)];
    for (key, _) in files.iter().filter(|(_, file)| file.is_some() && account.preset.is_none()) {
        checks.report(format!("{path}.{key}"), NO_PRESET);
    }
    if account.journal.is_some() && account.preset.is_some() && !account.guard {
        checks.report(format!("{path}.journal"), "this has no effect with `guard: false`");
    }
    let names = [
        ("api_key_env", &account.api_key_env),
        ("access_token_env", &account.access_token_env),
        ("api_secret_env", &account.api_secret_env),
    ];
    for (key, _) in names.iter().filter(|(_, name)| !forms::is_env_name(name)) {
        checks.report(format!("{path}.{key}"), forms::ENV_NAME);
    }
}

fn lanes(checks: &mut Checks, path: &str, account: &AccountConfig) {
    let path = format!("{path}.lanes");
    if account.lane_names().is_empty() {
        checks.report(&path, "write at least one lane, as `data: 20/min`");
    }
    let mut seen = BTreeSet::new();
    for (name, config) in &account.lanes {
        let path = join_path(&path, name);
        if !seen.insert(name) {
            checks.report(&path, "the lane is there twice");
        }
        match account.preset {
            Some(preset) if !preset.lanes().contains(&name.as_str()) => {
                checks.report(&path, unknown("lane", preset.lanes()));
            }
            Some(_) => {}
            None => {
                checks.name(&path, name);
                if config.quota().is_none() {
                    checks.report(format!("{path}.quota"), "write a quota, as \"20/min\"");
                }
            }
        }
        if config.clone().when_full(OverflowPolicy::Block) == *config {
            checks.report(format!("{path}.when_full"), NO_BLOCKING);
        }
        let quota = account.quota_of_lane(name).map(LaneConfig::new).unwrap_or_default();
        if let Err(error) = config.clone().or(quota).check() {
            let key = match &error {
                LaneConfigError::InFlight { .. } => ".in_flight",
                LaneConfigError::UrgentWorkers { .. } => ".urgent_workers",
                LaneConfigError::Queue { .. } => ".queue",
                LaneConfigError::UserInterval { .. } => ".user_interval",
                LaneConfigError::Aging => ".aging",
                _ => "",
            };
            checks.report(format!("{path}{key}"), error.to_string());
        }
    }
}

fn budgets(checks: &mut Checks, path: &str, account: &AccountConfig) {
    let path = format!("{path}.budgets");
    let mut seen = BTreeSet::new();
    for (name, budget) in &account.budgets {
        let path = join_path(&path, name);
        if !seen.insert(name) {
            checks.report(&path, "the budget is there twice");
        }
        match account.preset {
            Some(preset) if !preset.budgets().contains(&name.as_str()) => {
                checks.report(&path, unknown("budget", preset.budgets()));
            }
            Some(_) => {}
            None => checks.name(&path, name),
        }
        checks.report_error(&path, budget.check());
    }
    if account.budgets.len() > BudgetSet::CAPACITY {
        checks.report(path, format!("write at most {} budgets", BudgetSet::CAPACITY));
    }
}

fn routes(checks: &mut Checks, path: &str, account: &AccountConfig) {
    let nowhere = || LaneCall::read("");
    let mut table = RouteTable::new(nowhere(), nowhere());
    for (index, route) in account.routes.iter().enumerate() {
        let path = format!("{path}.routes[{index}]");
        pattern(checks, &format!("{path}.match"), &route.pattern, &mut table);
        match &route.action {
            RouteAction::Refuse(message) => {
                if !(1..=MAX_MESSAGE).contains(&message.len()) {
                    let why = format!("write a message of 1 to {MAX_MESSAGE} bytes");
                    checks.report(format!("{path}.refuse"), why);
                }
            }
            RouteAction::Send(send) => send_route(checks, &path, route, send, account),
        }
    }
}

/// Checks a pattern against those before it, which are in the table, and adds it.
fn pattern(checks: &mut Checks, path: &str, pattern: &str, table: &mut RouteTable) {
    // The error of the table would repeat a query, and with it perhaps a token.
    if pattern.contains(['?', '#']) {
        checks.report(path, "write a method and a path, without a query");
        return;
    }
    match table.insert(pattern.to_owned(), LaneCall::read("")) {
        Ok(()) => {}
        Err(RouteError::Pattern { why, .. }) => checks.report(path, why),
        Err(RouteError::Duplicate { first, .. }) => {
            checks.report(path, format!("the route `{first}` describes the same requests"));
        }
        Err(other) => checks.report(path, other.to_string()),
    }
}

fn send_route(
    checks: &mut Checks,
    path: &str,
    route: &RouteConfig,
    send: &SendRoute,
    account: &AccountConfig,
) {
    known_lane(checks, &format!("{path}.lane"), &send.lane, account);
    let known = account.budget_names();
    let mut seen = BTreeSet::new();
    for budget in &send.budgets {
        let path = format!("{path}.budgets");
        if !known.contains(&budget.as_str()) {
            checks.report(&path, unknown("budget", &known));
        } else if !seen.insert(budget) {
            checks.report(&path, "a budget is there twice");
        }
    }
    weight(checks, path, send, account);
    let path = format!("{path}.cache");
    let Some(time) = send.cache else { return };
    checks.time(&path, time, Duration::from_millis(1)..=DAY);
    if route.method() != "GET" {
        checks.report(path, "only the answers to GET are kept: leave this out");
    } else if route.effect() == Effect::Write {
        checks.report(path, "the answer to a write is not kept: leave this out");
    } else if send.is_exit {
        checks.report(path, "the answer to an exit is not kept: leave this out");
    }
}

/// Reports a weight for which the windows of the lane and of the budgets have never enough slots.
fn weight(checks: &mut Checks, path: &str, send: &SendRoute, account: &AccountConfig) {
    let lane = account.quota_of_lane(&send.lane);
    let budgets = send.budgets.iter().filter_map(|name| account.budget(name));
    let quotas = lane.into_iter().chain(budgets.map(|budget| budget.quota().clone()));
    let slots = quotas.filter_map(|quota| quota.max_in_flight());
    let max = slots.min().unwrap_or(u32::MAX);
    checks.number(&format!("{path}.weight"), send.weight.into(), 1..=max.max(1).into());
}

fn known_lane(checks: &mut Checks, path: &str, lane: &str, account: &AccountConfig) {
    let known = account.lane_names();
    if !known.contains(&lane) {
        checks.report(path, unknown("lane", known));
    }
}
