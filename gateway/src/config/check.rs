//! Checks what the settings of a gateway mean together: names that refer to each other, and values in their bounds.
//!
//! The checks are of the values, so they hold for settings from a file and for those that are made in code. The file's
//! reader adds the lines. `account_check` has the checks of an account.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use lanekeeper::config::reader::join_path;
use lanekeeper::config::{ConfigError, Problem};

use super::{ClientConfig, DoorConfig, GatewayConfig, TierConfig, account_check, forms};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// The name of the admin key in the header of a request.
const ADMIN: &str = "admin";

impl GatewayConfig {
    /// Checks the settings as a whole. A gateway is built only from settings that pass, and a file is checked when it
    /// is read.
    ///
    /// ```
    /// use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};
    ///
    /// let mut config = GatewayConfig::new(AccountConfig::kite("https://api.kite.trade"));
    /// assert!(config.check().is_ok());
    ///
    /// // Without keys of clients, it must not be reached from other machines.
    /// config.listen = "0.0.0.0:8800".parse()?;
    /// let error = config.check().unwrap_err();
    /// assert!(error.to_string().starts_with("listen: "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The settings cannot be used. The error lists every problem, with the path that its key has in a file with the
    /// table `accounts`.
    pub fn check(&self) -> Result<(), ConfigError> {
        let problems = problems(self);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::new(problems)) }
    }
}

/// Returns all problems of the settings.
pub(super) fn problems(config: &GatewayConfig) -> Vec<Problem> {
    let mut checks = Checks::default();
    checks.listen(config);
    checks.door(&config.door);
    for (name, client) in &config.clients {
        checks.client(name, client, config);
    }
    for (name, tier) in &config.tiers {
        checks.tier(name, tier, config);
    }
    checks.accounts(config);
    for (name, account) in &config.accounts {
        let path = join_path("accounts", name);
        checks.name(&path, name);
        account_check::account(&mut checks, &path, account);
    }
    checks.problems
}

/// The problems that were found.
#[derive(Default)]
pub(super) struct Checks {
    problems: Vec<Problem>,
}

impl Checks {
    /// Adds a problem.
    pub(super) fn report(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.problems.push(Problem::new(path, None, why));
    }

    /// Adds a problem, if there is one.
    pub(super) fn report_error(
        &mut self,
        path: impl Into<String>,
        result: Result<(), impl ToString>,
    ) {
        if let Err(why) = result {
            self.report(path, why.to_string());
        }
    }

    /// Checks a name.
    pub(super) fn name(&mut self, path: &str, name: &str) {
        if !forms::is_name(name) {
            self.report(path, forms::NAME);
        }
    }

    /// Checks a time.
    pub(super) fn time(&mut self, path: &str, time: Duration, bounds: RangeInclusive<Duration>) {
        if !bounds.contains(&time) {
            let (min, max) = bounds.into_inner();
            self.report(
                path,
                format!("{time:?} will not do: write a time from {min:?} to {max:?}"),
            );
        }
    }

    /// Checks a number.
    pub(super) fn number(&mut self, path: &str, number: u64, bounds: RangeInclusive<u64>) {
        if !bounds.contains(&number) {
            let (min, max) = bounds.into_inner();
            self.report(path, format!("{number} will not do: write a number from {min} to {max}"));
        }
    }

    fn listen(&mut self, config: &GatewayConfig) {
        let is_loopback = config.listen.ip().to_canonical().is_loopback();
        let lacks = match (config.clients.is_empty(), config.admin_key.is_none()) {
            (true, true) => Some("`clients` and an `admin_key`"),
            (true, false) => Some("`clients`"),
            (false, true) => Some("an `admin_key`"),
            (false, false) => None,
        };
        if let Some(lacks) = lacks.filter(|_| !is_loopback) {
            let why = format!(
                "other machines can reach this address: write {lacks} too, or an address of \
                 loopback, as 127.0.0.1:8800"
            );
            self.report("listen", why);
        }
        if config.admin_key.as_deref().is_some_and(|key| !forms::is_key_hash(key)) {
            self.report("admin_key", forms::KEY_HASH);
        }
        for (index, host) in config.hosts.iter().enumerate() {
            if !forms::is_host(host) {
                let why = "write the name of a host without scheme, port and path";
                self.report(format!("hosts[{index}]"), why);
            }
        }
    }

    fn door(&mut self, door: &DoorConfig) {
        self.time("client_timeout", door.client_timeout, 100 * MILLISECOND..=HOUR);
        self.time("read_timeout", door.read_timeout, 100 * MILLISECOND..=HOUR);
        self.time("idle_timeout", door.idle_timeout, SECOND..=HOUR);
        self.time("write_timeout", door.write_timeout, 100 * MILLISECOND..=HOUR);
        self.time("drain", door.drain, Duration::ZERO..=HOUR);
        self.time("cool_down", door.cool_down, Duration::ZERO..=HOUR);
        let max_body = u64::try_from(door.max_body).unwrap_or(u64::MAX);
        self.number("max_body", max_body, 1 << 10..=256 << 20);
        let max_connections = u64::try_from(door.max_connections).unwrap_or(u64::MAX);
        self.number("max_connections", max_connections, 1..=1_000_000);
    }

    fn client(&mut self, name: &str, client: &ClientConfig, config: &GatewayConfig) {
        let path = join_path("clients", name);
        self.name(&path, name);
        if name.eq_ignore_ascii_case(ADMIN) {
            self.report(&path, "this name is that of the admin key: write another one");
        }
        if !forms::is_key_hash(&client.key) {
            self.report(format!("{path}.key"), forms::KEY_HASH);
        }
        match &client.tier {
            Some(tier) if !config.tiers.contains_key(tier) => {
                let why = unknown("tier", config.tiers.keys());
                self.report(format!("{path}.tier"), why);
            }
            _ => {}
        }
        match &client.account {
            Some(account) if !config.accounts.contains_key(account) => {
                let why = unknown("account", config.accounts.keys());
                self.report(format!("{path}.account"), why);
            }
            None if config.accounts.len() > 1 => {
                let all = join(config.accounts.keys());
                let why = format!("write the account, since there are several: {all}");
                self.report(format!("{path}.account"), why);
            }
            _ => {}
        }
    }

    fn tier(&mut self, name: &str, tier: &TierConfig, config: &GatewayConfig) {
        let path = join_path("tiers", name);
        self.name(&path, name);
        if tier.priority.is_some_and(|priority| priority < tier.max_priority) {
            let max = tier.max_priority;
            let why = format!("this is more urgent than `max_priority`: write {max} or more");
            self.report(format!("{path}.priority"), why);
        }
        for (key, quota) in [("requests", &tier.requests), ("orders", &tier.orders)] {
            if let Some(quota) = quota {
                self.report_error(format!("{path}.{key}"), quota.check());
            }
        }
        for (index, lane) in tier.lanes.iter().flatten().enumerate() {
            let mut accounts = config.accounts.values();
            if !accounts.any(|account| account.lane_names().contains(&lane.as_str())) {
                let path = format!("{path}.lanes[{index}]");
                self.report(path, "no account has a lane of this name");
            }
        }
        if let Some(deadline) = tier.max_deadline {
            self.time(&format!("{path}.max_deadline"), deadline, MILLISECOND..=HOUR);
        }
    }

    fn accounts(&mut self, config: &GatewayConfig) {
        if config.accounts.is_empty() {
            self.report("accounts", "write at least one account");
        } else if config.accounts.len() > 1 && config.clients.is_empty() {
            let why = "write `clients`, each with its account, since there are several accounts";
            self.report("accounts", why);
        }
        let mut files = BTreeSet::new();
        for (name, account) in &config.accounts {
            for (key, file) in [("journal", &account.journal), ("pace", &account.pace)] {
                if file.as_ref().is_some_and(|file| !files.insert(file)) {
                    let path = format!("{}.{key}", join_path("accounts", name));
                    self.report(path, format!("another key has this {key}: write another file"));
                }
            }
        }
    }
}

/// The message for a name that does not exist.
pub(super) fn unknown(what: &str, known: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    format!("there is no {what} of this name; there are: {}", join(known))
}

fn join(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
