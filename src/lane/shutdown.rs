//! How a lane is shut down, and the summary of a shutdown.

use std::time::Duration;

#[cfg(doc)]
use super::{LaneErrorKind, Observer};

/// How to shut a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Sends queued calls for at most this long. Calls that are still queued then are answered as not sent. In a lane
    /// that was paused, that happens to all queued calls at once. A caller whose call is still in flight then is
    /// answered with an unknown outcome ([`LaneErrorKind::CutOff`]), even if the broker never returns. A later answer
    /// goes to the [`Observer`] as a late result.
    Drain(Duration),
    /// Answers queued calls as not sent, at once. The callers of calls in flight wait for the broker's answer. If that
    /// may never come, use `Drain`, which also works after this.
    Now,
}

/// The summary of a shutdown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownSummary {
    /// The number of calls that were answered as not sent.
    pub rejected: usize,
    /// The number of calls that are still in flight. After a [`Drain`](Shutdown::Drain) their callers have been
    /// answered, as of unknown outcome. Otherwise the broker's answer is still to come.
    pub in_flight: usize,
}

impl ShutdownSummary {
    /// Adds both up.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            rejected: self.rejected + other.rejected,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}
