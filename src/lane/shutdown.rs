//! How a lane is shut down, and what came of it.

use std::time::Duration;

#[cfg(doc)]
use super::{LaneErrorKind, Observer};

/// How a lane is shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// What waits still goes, for at most so long. What waits then is answered as not sent; and all
    /// of it at once, in a lane that was paused by hand. Who waits for a call that is still under way then is
    /// answered that its outcome is unknown ([`LaneErrorKind::CutOff`]), whatever the broker does; its answer, if it
    /// ever comes, is told to the [`Observer`] as a late one.
    Drain(Duration),
    /// What waits is answered as not sent, at once. Calls under way are left to the broker's answer. If that may
    /// not come, use `Drain`: also after this.
    Now,
}

/// What a shutdown came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownSummary {
    /// Calls that were answered as not sent.
    pub rejected: usize,
    /// Calls that are still under way. After a [`Drain`](Shutdown::Drain) their callers have been answered, as of
    /// unknown outcome; else they will be by the broker.
    pub in_flight: usize,
}

impl ShutdownSummary {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            rejected: self.rejected + other.rejected,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}
