//! What can be wrong with a quota.

use super::budget::Reserve;
use super::window::Window;

/// The error for an invalid quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// The window never lets a call through.
    #[error("the window {window} allows no calls; write at least 1")]
    NoCalls {
        /// The window.
        window: Window,
    },
    /// The window never holds a call back.
    #[error("the window {window} has no length; for no limit write Quota::unlimited()")]
    NoTime {
        /// The window.
        window: Window,
    },
    /// The window is too long.
    #[error("the window {window} is longer than a hundred years")]
    TooLong {
        /// The window.
        window: Window,
    },
    /// A bucket that never holds a token.
    #[error("the window {window} lets no call through; write a burst of at least 1")]
    NoBurst {
        /// The window.
        window: Window,
    },
    /// The time zone of its midnight is unknown.
    #[error("the window {window} needs a known time zone; name one, as Asia/Kolkata or +05:30")]
    NoZone {
        /// The window.
        window: Window,
    },
    /// The clock guard is too large.
    #[error("the window {window} has a clock guard of {guard:?}; write 6 h at most")]
    Guard {
        /// The window.
        window: Window,
        /// The guard.
        guard: std::time::Duration,
    },
    /// More is kept back for urgent calls than there is.
    #[error(
        "a reserve of {reserve} leaves too little of the window {window} for calls that are not urgent"
    )]
    Reserve {
        /// The reserve.
        reserve: Reserve,
        /// The window.
        window: Window,
    },
    /// Several processes share the quota, and cannot count this kind of window together.
    #[error("several processes cannot share the window {window}; use a sliding log")]
    NotShareable {
        /// The window.
        window: Window,
    },
    /// No lane has this number.
    #[error("there is no lane of number {lane}")]
    NoLane {
        /// The number.
        lane: usize,
    },
    /// No budget has this name.
    #[error("there is no budget `{name}`; there are: {known}")]
    UnknownBudget {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// There are as many budgets as one pacing state can have.
    #[error("there are {capacity} budgets already, and no room for more")]
    TooManyBudgets {
        /// How many there can be.
        capacity: usize,
    },
    /// No budget has this number.
    #[error("there is no budget of number {budget}")]
    NoBudget {
        /// The number.
        budget: usize,
    },
}
