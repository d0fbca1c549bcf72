//! Which changes of the settings a running gateway can take.

use std::collections::BTreeMap;
use std::sync::Arc;

use lanekeeper::{Budget, LaneConfig, Quota};

use crate::account::Account;
use crate::config::{AccountConfig, DoorConfig, GatewayConfig};
use crate::gateway::GatewayError;

/// Changes of quotas and budgets, by account.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    quotas: Vec<(String, String, Quota)>,
    budgets: Vec<(String, String, Budget)>,
}

/// Returns the changes from one configuration to another.
///
/// # Errors
/// One that only a new gateway can take: of what is open or running.
pub(crate) fn changes(
    present: &GatewayConfig,
    new: &GatewayConfig,
) -> Result<Changes, GatewayError> {
    if let Some(key) = changed_key(present, new) {
        return Err(needs_restart(format!("`{key}`")));
    }
    if !present.accounts.keys().eq(new.accounts.keys()) {
        return Err(needs_restart("the names of the accounts"));
    }
    let mut changes = Changes::default();
    for (name, present) in &present.accounts {
        let Some(new) = new.accounts.get(name) else { continue };
        changes.for_account(name, present, new)?;
    }
    Ok(changes)
}

fn needs_restart(what: impl Into<String>) -> GatewayError {
    GatewayError::NeedsRestart { what: what.into() }
}

/// Returns the first key of the gateway that differs and cannot change.
fn changed_key(present: &GatewayConfig, new: &GatewayConfig) -> Option<&'static str> {
    // The fields are listed, so that a new one cannot be forgotten here.
    let DoorConfig {
        client_timeout,
        max_body,
        max_connections,
        read_timeout,
        idle_timeout,
        write_timeout,
        drain,
        cool_down,
    } = &present.door;
    let GatewayConfig {
        listen,
        accounts: _,
        clients: _,
        tiers: _,
        admin_key: _,
        hosts: _,
        trusted_proxies: _,
        limits: _,
        shared,
        door,
    } = new;
    [
        ("listen", present.listen != *listen),
        ("shared", present.shared != *shared),
        ("client_timeout", *client_timeout != door.client_timeout),
        ("max_body", *max_body != door.max_body),
        ("max_connections", *max_connections != door.max_connections),
        ("read_timeout", *read_timeout != door.read_timeout),
        ("idle_timeout", *idle_timeout != door.idle_timeout),
        ("write_timeout", *write_timeout != door.write_timeout),
        ("drain", *drain != door.drain),
        ("cool_down", *cool_down != door.cool_down),
    ]
    .into_iter()
    .find_map(|(key, differs)| differs.then_some(key))
}

/// Returns the first key of an account that differs and cannot change.
fn changed_account_key(present: &AccountConfig, new: &AccountConfig) -> Option<&'static str> {
    let AccountConfig {
        upstream,
        preset,
        auth,
        token_file,
        api_key_env,
        access_token_env,
        api_secret_env,
        lanes: _,
        budgets: _,
        routes: _,
        unmatched: _,
        quote_ttl,
        kept_capacity,
        pace,
        journal,
        guard,
        upstream_timeout,
    } = present;
    [
        ("preset", *preset != new.preset),
        ("upstream", *upstream != new.upstream),
        ("auth", *auth != new.auth),
        ("token_file", *token_file != new.token_file),
        ("api_key_env", *api_key_env != new.api_key_env),
        ("access_token_env", *access_token_env != new.access_token_env),
        ("api_secret_env", *api_secret_env != new.api_secret_env),
        ("quotes", *quote_ttl != new.quote_ttl),
        ("kept", *kept_capacity != new.kept_capacity),
        ("pace", *pace != new.pace),
        ("journal", *journal != new.journal),
        ("guard", *guard != new.guard),
        ("upstream_timeout", *upstream_timeout != new.upstream_timeout),
    ]
    .into_iter()
    .find_map(|(key, differs)| differs.then_some(key))
}

/// Returns the settings of a lane without its quota, which alone can change while the lane runs.
fn beside_quota(account: &AccountConfig, lane: &str) -> LaneConfig {
    let configured = account.lanes.iter().find(|(name, _)| name == lane);
    let configured = configured.map(|(_, config)| config.clone()).unwrap_or_default();
    LaneConfig::new(Quota::unlimited()).or(configured)
}

impl Changes {
    fn for_account(
        &mut self,
        name: &str,
        present: &AccountConfig,
        new: &AccountConfig,
    ) -> Result<(), GatewayError> {
        if let Some(key) = changed_account_key(present, new) {
            return Err(needs_restart(format!("`{key}` of the account {name}")));
        }
        // By name and place: a lane that is not in the file has the settings of the preset.
        let (lanes, budgets) = (present.lane_names(), present.budget_names());
        if lanes != new.lane_names() {
            return Err(needs_restart(format!("the names of the lanes of the account {name}")));
        }
        if budgets != new.budget_names() {
            return Err(needs_restart(format!("the names of the budgets of the account {name}")));
        }
        for lane in lanes {
            if beside_quota(present, lane) != beside_quota(new, lane) {
                let what = format!("the lane {lane} of the account {name}, beside its quota");
                return Err(needs_restart(what));
            }
            match new.quota_of_lane(lane) {
                Some(quota) if present.quota_of_lane(lane).as_ref() != Some(&quota) => {
                    self.quotas.push((name.to_owned(), lane.to_owned(), quota));
                }
                _ => {}
            }
        }
        for budget in budgets {
            match new.budget(budget) {
                Some(value) if present.budget(budget).as_ref() != Some(&value) => {
                    self.budgets.push((name.to_owned(), budget.to_owned(), value));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Applies the changes. They were checked with the configuration, so that none fails.
    pub(crate) fn apply(self, accounts: &BTreeMap<Arc<str>, Arc<Account>>) {
        for (account, lane, quota) in self.quotas {
            let lane = accounts.get(&*account).and_then(|account| account.lanes.lane(&lane));
            if let Some(Err(error)) = lane.map(|lane| lane.set_quota(&quota)) {
                crate::logging::log(|| {
                    tracing::error!(
                        account,
                        "a quota of a checked configuration is refused: {error}"
                    )
                });
            }
        }
        for (account, budget, value) in self.budgets {
            let lanes = accounts.get(&*account).map(|account| &account.lanes);
            if let Some(Err(error)) = lanes.map(|lanes| lanes.set_budget(&budget, &value)) {
                crate::logging::log(|| {
                    tracing::error!(
                        account,
                        "a budget of a checked configuration is refused: {error}"
                    )
                });
            }
        }
    }
}
