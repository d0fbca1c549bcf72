//! What each account has that the paper broker does not know: GTTs, alerts and mutual funds.
//!
//! An account is an `api_key`, as for the counters. The orders that GTTs place are in the one order book of the paper
//! broker. At most [`MAX_ACCOUNTS`] accounts have a state of their own, and `register` bounds the entries of each, so
//! the memory is bounded.

pub(crate) mod register;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use lanekeeper::broker::{Broker, Instrument};
use lanekeeper::brokers::PaperBroker;

use crate::alerts::Alerts;
use crate::gtt::Gtts;
use crate::gtt::trigger::place_triggered;
use crate::mutual_funds::FundAccount;
use crate::order_rules::OrderRules;

/// Bounds the accounts with a state of their own, so that made-up keys do not exhaust the memory. All further accounts
/// share one state.
const MAX_ACCOUNTS: usize = 1000;

/// The state of one account.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccountState {
    pub(crate) gtts: Gtts,
    pub(crate) alerts: Alerts,
    pub(crate) funds: FundAccount,
}

/// The states of all accounts.
pub(crate) struct Accounts {
    /// The state of an account that changed nothing yet.
    initial: AccountState,
    states: Mutex<BTreeMap<Arc<str>, AccountState>>,
    last_number: AtomicU64,
}

// Omits the keys: a client may have been started with a real one.
impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("accounts", &self.states.lock().len()).finish()
    }
}

impl Accounts {
    pub(crate) fn new(initial: AccountState) -> Self {
        Self { initial, states: Mutex::default(), last_number: AtomicU64::new(100_000) }
    }

    /// Returns the account `api_key`.
    pub(crate) fn account<'a>(&'a self, api_key: &'a str) -> Account<'a> {
        Account { accounts: self, api_key }
    }

    /// Triggers the GTTs whose triggers are met by the present prices, and expires the old ones. Each is triggered
    /// once, because its order is placed under the lock of the accounts.
    pub(crate) fn advance_gtts(&self, broker: &PaperBroker, rules: &OrderRules) {
        let mut states = self.states.lock();
        let mut waiting = states.values_mut().filter(|state| state.gtts.any_active()).peekable();
        if waiting.peek().is_none() {
            return;
        }
        let now = broker.now();
        let mut prices = HashMap::new();
        for state in waiting {
            state.gtts.advance(
                &now,
                |instrument: &Instrument| {
                    let price = prices.entry(instrument.clone());
                    *price.or_insert_with(|| broker.ltp(instrument).ok())
                },
                |order| place_triggered(broker, rules, order),
            );
        }
    }
}

/// One account. Its `Debug` would show the key, so it has none.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a> {
    accounts: &'a Accounts,
    api_key: &'a str,
}

impl Account<'_> {
    /// Reads the state.
    pub(crate) fn read<R>(self, read: impl FnOnce(&AccountState) -> R) -> R {
        let states = self.accounts.states.lock();
        let state = states.get(self.api_key).or_else(|| match states.len() < MAX_ACCOUNTS {
            true => None,
            false => states.get(""),
        });
        read(state.unwrap_or(&self.accounts.initial))
    }

    /// Changes the state.
    pub(crate) fn change<R>(self, change: impl FnOnce(&mut AccountState) -> R) -> R {
        let mut states = self.accounts.states.lock();
        let known = states.contains_key(self.api_key) || states.len() < MAX_ACCOUNTS;
        let key = if known { self.api_key } else { "" };
        change(states.entry(key.into()).or_insert_with(|| self.accounts.initial.clone()))
    }

    /// Returns a number that no other entry of any account has.
    pub(crate) fn next_number(self) -> u64 {
        self.accounts.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutual_funds::{FundHolding, find_fund};

    #[test]
    fn accounts_without_end_share_a_state() {
        let accounts = Accounts::new(AccountState::default());
        let keys: Vec<String> = (0..MAX_ACCOUNTS + 5).map(|n| n.to_string()).collect();
        for key in &keys {
            accounts.account(key).read(|_| ());
        }
        assert_eq!(accounts.states.lock().len(), 0, "a read creates no state");
        for key in &keys {
            accounts.account(key).change(|_| ());
        }
        assert_eq!(accounts.states.lock().len(), MAX_ACCOUNTS + 1);
        // A further account reads what it changed.
        let further = accounts.account("one more");
        further.change(|state| {
            let fund = find_fund("INF000P01011").unwrap();
            let (quantity, average_price) = (1.into(), 1.into());
            state.funds.holdings.push(FundHolding { fund, quantity, average_price });
        });
        assert_eq!(further.read(|state| state.funds.holdings.len()), 1);
        assert_eq!(accounts.account("0").read(|state| state.funds.holdings.len()), 0);
        assert!(!format!("{accounts:?}").contains("999"));
    }

    #[test]
    fn no_number_is_given_twice() {
        let accounts = Accounts::new(AccountState::default());
        let [one, two] = ["a", "b"].map(|key| accounts.account(key).next_number());
        assert_ne!(one, two);
    }
}
