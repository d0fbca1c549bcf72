//! Why a proxy was not built.

use crate::lane::LaneConfigError;
use crate::quota::QuotaError;

/// An error in building a proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A lane has no quota.
    #[error(
        "lane `{lane}` of {proxy} has no quota: call `.{lane}(LaneConfig::new(..))` or \
         `.limits(..)` on the builder; for no limit write Quota::unlimited()"
    )]
    NoQuota {
        /// The generated type.
        proxy: &'static str,
        /// The lane.
        lane: &'static str,
    },
    /// A budget has no quota.
    #[error(
        "budget `{budget}` of {proxy} has no quota: call `.{budget}(Budget::new(..))` or \
         `.limits(..)` on the builder; for no limit write Quota::unlimited()"
    )]
    NoBudget {
        /// The generated type.
        proxy: &'static str,
        /// The budget.
        budget: &'static str,
    },
    /// A limit or a setting names a lane, a budget or a method with `cache` that does not exist.
    #[error("{proxy} has no {what} `{name}`; it has: {known}")]
    Unknown {
        /// The generated type.
        proxy: &'static str,
        /// `lane`, `budget`, `lane or budget`, or ``method with `cache` ``.
        what: &'static str,
        /// The name that does not exist.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The trait names a lane or a budget that the proxy whose lanes it is to share does not have.
    #[error(
        "{proxy} has a {what} `{name}`, and the lanes that it is to share do not; they have: {known}"
    )]
    NotShared {
        /// The generated type.
        proxy: &'static str,
        /// `lane` or `budget`.
        what: &'static str,
        /// The name that does not exist.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A setting of the lanes was made together with `lanes_of`. The lanes have the settings of the proxy that
    /// started them.
    #[error("{proxy} shares the lanes of another proxy, so `{setting}` has to be set at that one")]
    SharedLanes {
        /// The generated type.
        proxy: &'static str,
        /// The setting.
        setting: &'static str,
    },
    /// The calls recorded by an earlier process cannot be read, or no calls can be recorded.
    #[error("the pace log cannot be used: {error}")]
    PaceLog {
        /// The error of the log.
        error: String,
    },
    /// The quota cannot be shared with other processes.
    #[cfg(feature = "redis")]
    #[error("the shared quota: {source}")]
    SharedQuota {
        /// The reason.
        source: crate::shared_quota::SharedSettingsError,
    },
    /// A budget cannot be kept.
    #[error("budget `{budget}`: {source}")]
    Budget {
        /// The budget.
        budget: &'static str,
        /// The reason.
        source: QuotaError,
    },
    /// A lane cannot run with its settings, or could not be started.
    #[error("lane `{lane}`: {source}")]
    Lane {
        /// The lane.
        lane: &'static str,
        /// The reason.
        source: LaneConfigError,
    },
}
