//! What Redis knows of an account, seen from outside of its processes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::status_read;

/// What Redis knows of an account: its processes, and what is used of its quotas.
///
/// As text it is for a person. In JSON, times are numbers of seconds.
///
/// ```no_run
/// use lanekeeper::shared_quota::AccountStatus;
///
/// let url = "redis://127.0.0.1:6379";
/// for account in AccountStatus::accounts(url)? {
///     println!("{}", AccountStatus::read(url, &account)?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccountStatus {
    /// The account.
    pub account: String,
    /// For how long Redis has known all calls of the account. It begins again when Redis may have lost something.
    #[serde(serialize_with = "seconds")]
    pub known_for: Duration,
    /// For how much longer nothing is granted, because the processes tell what they hold.
    #[serde(serialize_with = "optional_seconds")]
    pub held_for: Option<Duration>,
    /// The processes, the first that joined first.
    pub processes: Vec<ProcessStatus>,
    /// The lanes and the budgets that were used, by name.
    pub scopes: Vec<ScopeStatus>,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

/// One process of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProcessStatus {
    /// Its name, with a random part.
    pub name: String,
    /// Whether it takes part.
    pub state: ProcessState,
    /// Its number in its operating system, if that is known.
    pub pid: Option<u32>,
    /// Whether it runs on this machine. `false` if that is unknown.
    pub is_here: bool,
    /// For how long it has not been heard of. It says that it is alive once a second.
    #[serde(serialize_with = "optional_seconds")]
    pub silent_for: Option<Duration>,
    /// How many processes there were, and which of them it was, from 1, when it was heard of last. While Redis is away, its share
    /// is one in so many.
    pub share: Option<(u32, u32)>,
    /// How many slots its calls hold in the lanes.
    pub in_flight: u64,
}

/// Whether a process takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessState {
    /// It does.
    Alive,
    /// It does, and has no share yet: not all others have heard of it.
    Joining,
    /// It is cut off, or is no more. Its share is left alone, so that it can go on without Redis.
    Silent,
    /// It ran on this machine, and is no more. The others will hear of it.
    Dead,
    /// It has left, or was given up, and calls of it may still be under way.
    Left,
}

impl ProcessState {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Joining => "joining",
            Self::Silent => "silent",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

/// A lane or a budget of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScopeStatus {
    /// `lane:NAME` or `budget:NAME`.
    pub name: String,
    /// Its quota as text, as the last process that used it has it.
    pub quota: String,
    /// The windows of the quota.
    pub windows: Vec<SharedWindowStatus>,
    /// How many slots are held by calls under way, by process.
    pub in_flight: BTreeMap<String, u64>,
    /// How many processes wait for a permit: one line for each priority of each.
    pub waiting: usize,
    /// For how much longer the broker wants the lane to be left alone.
    #[serde(serialize_with = "optional_seconds")]
    pub paused_for: Option<Duration>,
    /// The rate of the lane in percent: less than 100 after the broker said that calls come too fast.
    pub rate_percent: u32,
    /// How much earlier than a window after its call a slot of the lane is free: the least round trip credit of all processes.
    /// Zero unless they have one path, see [`SharedQuota::one_path`](super::SharedQuota::one_path).
    #[serde(serialize_with = "seconds")]
    pub credit: Duration,
}

/// One window of a shared quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SharedWindowStatus {
    /// The window as text, such as `10/s`.
    pub window: String,
    /// How many calls it allows, or how many tokens its bucket holds.
    pub limit: u64,
    /// How many are used, with those in flight.
    pub used: u64,
    /// How many are left. Some of them may be kept for urgent calls, or for processes that are cut off.
    pub left: u64,
}

/// Why the status of an account cannot be read. It never has the address, which may have a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountStatusError {
    /// The address is none of a Redis.
    #[error(
        "this is no address of a Redis: write redis://HOST:PORT, rediss://HOST:PORT, or unix:///PATH"
    )]
    Address,
    /// Redis gave no answer, or refused.
    #[error("{why}")]
    Redis {
        /// The reason.
        why: String,
    },
    /// Redis knows no such account.
    #[error("Redis knows no account `{account}`; it knows: {known}")]
    UnknownAccount {
        /// The account.
        account: String,
        /// The accounts that it knows.
        known: String,
    },
}

impl AccountStatus {
    /// Reads the status of an account from the Redis or Valkey at this address, see
    /// [`SharedQuota::redis`](super::SharedQuota::redis). It changes nothing there.
    ///
    /// # Errors
    /// Redis gives no answer, or knows no such account.
    pub fn read(url: &str, account: &str) -> Result<Self, AccountStatusError> {
        status_read::read(url, account)
    }

    /// Returns the accounts that a Redis knows, sorted. It looks through all keys there, a part at a time.
    ///
    /// # Errors
    /// Redis gives no answer.
    pub fn accounts(url: &str) -> Result<Vec<String>, AccountStatusError> {
        status_read::accounts(url)
    }

    /// Returns a lane or a budget by its name, such as `lane:quote`.
    pub fn scope(&self, name: &str) -> Option<&ScopeStatus> {
        self.scopes.iter().find(|scope| scope.name == name)
    }
}

// Serde gives a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn optional_seconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}
