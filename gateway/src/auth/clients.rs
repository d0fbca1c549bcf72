//! The clients that the configuration names, and the one that a request is from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hyper::header::HeaderMap;
use lanekeeper::Clock;

use super::credentials;
use super::key::KeyHash;
use super::tier::TierUse;
use crate::config::{GatewayConfig, TierConfig};

/// The name with which the admin key is sent.
pub(crate) const ADMIN: &str = "admin";

/// The longest name of a client that is taken from a request.
const MAX_NAME: usize = 40;

/// Which client a request is from.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The name, which is the user in the lanes.
    pub(crate) name: Arc<str>,
    /// The account that it uses. `None` is the only one.
    pub(crate) account: Option<Arc<str>>,
    pub(crate) tier_name: Option<Arc<str>>,
    pub(crate) tier: Option<Arc<TierUse>>,
}

impl Caller {
    /// A client of an open gateway that says nothing of itself.
    pub(crate) fn anonymous() -> Self {
        Self::of_name("anonymous")
    }

    fn of_name(name: &str) -> Self {
        Self { name: name.into(), account: None, tier_name: None, tier: None }
    }
}

/// Why a request is from no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthError {
    /// It carries no credentials.
    Missing,
    /// Its credentials are wrong. Nothing says whether the name or the secret is.
    Wrong,
    /// It carries credentials twice, or such that cannot be read.
    Ambiguous,
}

struct Client {
    key: KeyHash,
    caller: Caller,
}

/// The clients of a gateway.
pub(crate) struct Clients {
    clients: HashMap<String, Client>,
    admin: Option<KeyHash>,
}

impl Clients {
    /// Takes the clients of a checked configuration. What their tiers count goes on from `earlier`.
    pub(crate) fn new(config: &GatewayConfig, clock: &Clock, earlier: Option<&Self>) -> Self {
        let of = |(name, client): (&String, &crate::config::ClientConfig)| {
            let tier = client.tier.as_ref().and_then(|tier| config.tiers.get_key_value(tier));
            let known = earlier.and_then(|earlier| earlier.clients.get(name));
            let caller = Caller {
                name: name.as_str().into(),
                account: client.account.as_deref().map(Into::into),
                tier_name: tier.map(|(name, _)| name.as_str().into()),
                tier: tier.map(|(_, tier)| Self::tier_use(tier, clock, known)),
            };
            // A hash that cannot be read is that of no key: the configuration was checked.
            let key = client.key.parse().unwrap_or(KeyHash::of_nothing());
            (name.clone(), Client { key, caller })
        };
        let clients = config.clients.iter().map(of).collect();
        Self { clients, admin: config.admin_key.as_ref().and_then(|key| key.parse().ok()) }
    }

    /// Returns the counts of a tier: those that are there, if the tier did not change.
    fn tier_use(tier: &TierConfig, clock: &Clock, known: Option<&Client>) -> Arc<TierUse> {
        let known = known.and_then(|known| known.caller.tier.as_ref());
        match known.filter(|known| known.config() == tier) {
            Some(known) => Arc::clone(known),
            None => Arc::new(TierUse::new(tier.clone(), clock.clone())),
        }
    }

    /// Returns whether no clients are configured, so that a name alone identifies a client.
    pub(crate) fn is_open(&self) -> bool {
        self.clients.is_empty()
    }

    /// Returns the names of the configured clients, with those of their tiers.
    pub(crate) fn names(&self) -> BTreeMap<Arc<str>, Option<Arc<str>>> {
        let of = |client: &Client| (client.caller.name.clone(), client.caller.tier_name.clone());
        self.clients.values().map(of).collect()
    }

    /// Returns the account of a client. `None` is the only one, which an unknown name has too.
    pub(crate) fn account_of(&self, name: &str) -> Option<&str> {
        self.clients.get(name)?.caller.account.as_deref()
    }

    /// Returns which client a request is from.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        let found = credentials::find(headers).map_err(|_| AuthError::Ambiguous)?;
        let found = found.ok_or(AuthError::Missing)?;
        if self.is_open() {
            return Ok(Caller::of_name(user_name(found.name)));
        }
        // An unknown name costs as much as a wrong key.
        let nothing = KeyHash::of_nothing();
        let client = self.clients.get(found.name);
        let is_right = client.map_or(&nothing, |client| &client.key).matches(found.secret);
        match client.filter(|_| is_right) {
            Some(client) => Ok(client.caller.clone()),
            None => Err(AuthError::Wrong),
        }
    }

    /// Checks that a request carries the admin key.
    pub(crate) fn check_admin(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let found = credentials::find(headers).map_err(|_| AuthError::Ambiguous)?;
        let found = found.filter(|found| found.name == ADMIN).ok_or(AuthError::Missing)?;
        let nothing = KeyHash::of_nothing();
        let is_right = self.admin.as_ref().unwrap_or(&nothing).matches(found.secret);
        if is_right && self.admin.is_some() { Ok(()) } else { Err(AuthError::Wrong) }
    }

    /// Returns whether there is an admin key.
    pub(crate) fn has_admin(&self) -> bool {
        self.admin.is_some()
    }
}

/// Returns the name of a user for a name that nothing vouches for. It appears in statistics, so its form is bounded.
fn user_name(name: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() <= MAX_NAME && name.chars().all(is_plain) { name } else { "other" }
}
