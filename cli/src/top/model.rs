//! The state of a gateway, as `/_lanekeeper/status` tells it.
//!
//! A newer gateway may know more than this command. Unknown fields are ignored, absent ones have default values, and
//! states are text, which is shown even if this command does not know it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::text::Text;

/// The whole gateway at one moment. Times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Status {
    pub version: Text,
    pub at: Text,
    pub uptime: Option<f64>,
    pub health: Text,
    pub accounts: Vec<Account>,
    pub clients: Vec<Client>,
    pub door: Option<Door>,
    pub scans: Vec<Scan>,
}

/// One account at a broker.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Account {
    pub name: Text,
    pub preset: Option<Text>,
    pub upstream: Text,
    pub health: Text,
    pub session_expired: bool,
    pub lanes: Vec<Lane>,
    pub budgets: Vec<Budget>,
    pub shared: Option<Shared>,
    pub quotes: Option<Quotes>,
    pub kept: Option<Kept>,
    pub orders: Option<Orders>,
}

/// One lane: a queue that is drained at the pace of its quota.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Lane {
    pub lane: Text,
    pub state: Text,
    pub queued: u64,
    pub capacity: Option<u64>,
    pub queued_by_priority: BTreeMap<Text, u64>,
    pub queued_by_user: BTreeMap<Text, u64>,
    pub oldest_wait: Option<f64>,
    pub in_flight: u64,
    pub max_in_flight: Option<u64>,
    pub retrying: u64,
    pub paused_for: Option<f64>,
    pub quota: Text,
    pub rate: Option<f64>,
    pub rate_percent: Option<f64>,
    pub breaker: Option<Text>,
    pub breakers: BTreeMap<Text, Text>,
    pub windows: Vec<Window>,
    pub estimated_wait: Option<f64>,
    pub answered: u64,
    pub refused: u64,
    pub calls_per_second: Option<f64>,
    pub refused_per_second: Option<f64>,
}

/// One window of a quota, such as ten calls a second.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Window {
    pub window: Text,
    pub is_cut: bool,
    pub limit: u64,
    pub used: u64,
    pub reserve: u64,
    pub resets: Option<f64>,
}

/// A quota that several lanes share.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Budget {
    pub budget: Text,
    pub windows: Vec<Window>,
}

/// How an account shares its quota with other processes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Shared {
    pub mode: Text,
    pub mode_for: Option<f64>,
    pub processes: u64,
}

/// The cache of quotes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Quotes {
    pub hits: u64,
    pub misses: u64,
    pub joined: u64,
    pub entries: u64,
    pub requests: u64,
}

/// The cache of other answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Kept {
    pub hits: u64,
    pub misses: u64,
    pub joined: u64,
    pub entries: u64,
    pub bytes: u64,
}

/// What became of placements.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Orders {
    pub placed: u64,
    pub rejected: u64,
    pub absent: u64,
    pub unknown: u64,
    pub found_late: u64,
    pub pending: u64,
}

/// One client of the gateway.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Client {
    pub name: Text,
    pub tier: Option<Text>,
    pub requests: u64,
    pub waiting: u64,
    pub refused: u64,
    pub from_cache: u64,
}

/// The connections of clients.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Door {
    pub connections: u64,
    pub requests: u64,
    pub in_progress: u64,
}

/// A list of requests that runs at low priority.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Scan {
    pub id: Text,
    pub state: Text,
    pub done: u64,
    pub failed: u64,
    pub total: u64,
    pub position: Option<u64>,
    pub estimated_wait: Option<f64>,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Notice {
    pub at: Text,
    pub kind: Text,
    pub severity: Text,
    pub account: Option<Text>,
    pub lane: Option<Text>,
    pub text: Text,
}

/// Reads a status or a notice. `null` is a value that the gateway does not know, which is the same as an absent one.
pub fn read<T: for<'de> Deserialize<'de>>(json: &str) -> serde_json::Result<T> {
    serde_json::from_value(without_nulls(serde_json::from_str(json)?))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(known.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(
            items.into_iter().filter(|item| !item.is_null()).map(without_nulls).collect(),
        ),
        other => other,
    }
}

/// A busy gateway, for tests.
#[cfg(test)]
pub const EXAMPLE: &str = include_str!("../../tests/gateway_status.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_gateway_is_read() {
        let status: Status = read(EXAMPLE).unwrap();
        let account = &status.accounts[0];
        let lane = &account.lanes[0];
        assert_eq!(status.health.as_str(), "limited");
        assert_eq!(lane.windows[0].limit, 10);
        assert_eq!(lane.queued_by_user.get(&Text::new("alpha")), Some(&2));
        assert_eq!(lane.paused_for, None);
        assert_eq!(account.orders.as_ref().map(|orders| orders.placed), Some(80));
        assert_eq!(status.scans[0].estimated_wait, Some(12.5));
    }

    #[test]
    fn a_newer_and_an_older_gateway_are_understood() {
        let newer = r#"{"health":"sleepy","moon":{"phase":1},"accounts":[{"lanes":[{"state":"dreaming","depth":[1]}]}]}"#;
        let status: Status = read(newer).unwrap();
        assert_eq!(status.health.as_str(), "sleepy");
        assert_eq!(status.accounts[0].lanes[0].state.as_str(), "dreaming");
        assert_eq!(read::<Status>("{}").unwrap(), Status::default());
    }

    #[test]
    fn null_is_the_same_as_absent() {
        let status = r#"{"uptime":null,"clients":null,"accounts":[null,{"lanes":[{"queued":null,"windows":[{"used":null}]}]}]}"#;
        let status: Status = read(status).unwrap();
        assert_eq!(status.accounts.len(), 1);
        assert_eq!(status.accounts[0].lanes[0].windows[0].used, 0);
    }

    #[test]
    fn what_is_no_status_is_an_error() {
        for text in ["", "<html>", "[1]", r#"{"accounts":7}"#] {
            assert!(read::<Status>(text).is_err(), "{text}");
        }
    }
}
