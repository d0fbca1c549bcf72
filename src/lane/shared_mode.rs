//! What the user of a proxy is told about a quota that several processes share.

use std::time::Duration;

use serde::Serialize;

/// How the processes of an account share their quota at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SharedMode {
    /// Redis answers, and every permit comes from there.
    Shared,
    /// Redis is away. This process keeps to its share of the quota.
    Share,
    /// Redis is away, and only urgent calls are sent: because that was set, because it has been away for too long, or because
    /// it never answered this process.
    #[default]
    Stopped,
    /// Redis is back, and is told what was sent meanwhile. That takes a few trips, so only the status has this mode: it is no
    /// [event](SharedQuotaEvent::Mode).
    Returning,
}

impl SharedMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Shared, Self::Share, Self::Stopped, Self::Returning];

    /// Returns the word for it.
    ///
    /// ```
    /// use lanekeeper::lane::SharedMode;
    ///
    /// assert_eq!(SharedMode::Share.as_str(), "share");
    /// assert_eq!(SharedMode::Share.to_string(), "share");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Share => "share",
            Self::Stopped => "stopped",
            Self::Returning => "returning",
        }
    }
}

impl std::fmt::Display for SharedMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that happened to a quota that several processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedQuotaEvent<'a> {
    /// How it is shared has changed. The mode is never [`Returning`](SharedMode::Returning).
    Mode {
        /// The account.
        account: &'a str,
        /// How it is shared from now on.
        mode: SharedMode,
        /// Why. It never has the address of Redis.
        why: &'a str,
    },
    /// Redis can lose what it knows.
    Warning {
        /// The account.
        account: &'a str,
        /// What is wrong, and what to do.
        warning: &'a str,
    },
}

/// How a proxy shares its quota with other processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SharedQuotaStatus {
    /// The account whose quota is shared.
    pub account: String,
    /// The name of this process.
    pub process: String,
    /// How it is shared at present.
    pub mode: SharedMode,
    /// For how long it has been.
    pub mode_for: Duration,
    /// How many processes there were, with this one, when Redis answered last.
    pub processes: u32,
}

impl SharedQuotaStatus {
    #[cfg(feature = "redis")]
    pub(crate) fn new(
        account: &str,
        process: &str,
        mode: SharedMode,
        mode_for: Duration,
        processes: u32,
    ) -> Self {
        let (account, process) = (account.to_owned(), process.to_owned());
        Self { account, process, mode, mode_for, processes }
    }
}
