//! Which changes of the settings a running gateway can take.

use std::collections::BTreeMap;
use std::sync::Arc;

use lanekeeper::{Budget, LaneConfig, Quota};

use crate::account::Account;
use crate::config::{AccountConfig, GatewayConfig};
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
    let needs = |what: &str| GatewayError::NeedsRestart { what: what.to_owned() };
    if present.listen != new.listen {
        return Err(needs("listen"));
    }
    if present.door != new.door {
        return Err(needs("the limits and timeouts of connections"));
    }
    if !present.accounts.keys().eq(new.accounts.keys()) {
        return Err(needs("the accounts"));
    }
    let mut changes = Changes::default();
    for (name, present) in &present.accounts {
        let Some(new) = new.accounts.get(name) else { continue };
        changes.of_account(name, present, new)?;
    }
    Ok(changes)
}

impl Changes {
    fn of_account(
        &mut self,
        name: &str,
        present: &AccountConfig,
        new: &AccountConfig,
    ) -> Result<(), GatewayError> {
        let needs = |what: String| GatewayError::NeedsRestart { what };
        // What can change is made equal. What differs then cannot.
        let mut rest = new.clone();
        rest.routes.clone_from(&present.routes);
        rest.unmatched.clone_from(&present.unmatched);
        rest.lanes.clone_from(&present.lanes);
        rest.budgets.clone_from(&present.budgets);
        if rest != *present {
            return Err(needs(format!("the account {name}, beside its routes, lanes and budgets")));
        }
        let names = |account: &AccountConfig| -> Vec<(bool, String)> {
            let lanes = account.lanes.iter().map(|(lane, _)| (true, lane.clone()));
            let budgets = account.budgets.iter().map(|(budget, _)| (false, budget.clone()));
            lanes.chain(budgets).collect()
        };
        if names(present) != names(new) {
            return Err(needs(format!("the names of the lanes and budgets of {name}")));
        }
        for ((lane, present), (_, new)) in present.lanes.iter().zip(&new.lanes) {
            if present == new {
                continue;
            }
            // Only the quota can change while the lane runs.
            let quota = new.quota().cloned();
            let same_rest = |config: &LaneConfig| config.clone().or(LaneConfig::default());
            let with_present = present.quota().map(|quota| LaneConfig::new(quota.clone()));
            let rest = with_present.map(|quota| quota.or(new.clone()));
            let (Some(quota), true) =
                (quota, rest.as_ref().is_some_and(|rest| same_rest(rest) == same_rest(present)))
            else {
                return Err(needs(format!("the lane {lane} of {name}, beside its quota")));
            };
            self.quotas.push((name.to_owned(), lane.clone(), quota));
        }
        for ((budget, present), (_, new)) in present.budgets.iter().zip(&new.budgets) {
            if present != new {
                self.budgets.push((name.to_owned(), budget.clone(), new.clone()));
            }
        }
        Ok(())
    }

    /// Applies the changes. They were checked with the configuration, so that none fails.
    pub(crate) fn apply(self, accounts: &BTreeMap<Arc<str>, Arc<Account>>) {
        for (account, lane, quota) in self.quotas {
            let lane = accounts.get(&*account).and_then(|account| account.lanes.lane(&lane));
            if let Some(Err(error)) = lane.map(|lane| lane.set_quota(&quota)) {
                tracing::error!(account, "a quota of a checked configuration is refused: {error}");
            }
        }
        for (account, budget, value) in self.budgets {
            let lanes = accounts.get(&*account).map(|account| &account.lanes);
            if let Some(Err(error)) = lanes.map(|lanes| lanes.set_budget(&budget, &value)) {
                tracing::error!(account, "a budget of a checked configuration is refused: {error}");
            }
        }
    }
}
