//! What a lane answers when the broker did not.

use super::Effect;
use crate::Sent;

/// A call that the lane itself had to answer.
///
/// The error type of a proxied trait implements `From<LaneError>`.
/// [`was_sent`](Self::was_sent) says what to think of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneError {
    /// Too many calls wait already. Nothing was sent; call again later.
    #[error("{method} was not sent: {capacity} calls wait in lane `{lane}` already")]
    QueueFull {
        /// The lane.
        lane: &'static str,
        /// The method that was called.
        method: &'static str,
        /// How many calls may wait in it.
        capacity: usize,
    },
    /// The lane is shut. Nothing was sent.
    #[error("{method} was not sent: lane `{lane}` is closed")]
    Closed {
        /// The lane.
        lane: &'static str,
        /// The method that was called.
        method: &'static str,
    },
    /// The broker's code panicked during the call. Whether the broker got it is unknown.
    #[error("{method} in lane `{lane}` panicked, what became of it is unknown: {message}")]
    Panicked {
        /// The lane.
        lane: &'static str,
        /// The method that was called.
        method: &'static str,
        /// Whether it changes anything.
        effect: Effect,
        /// What the panic said.
        message: String,
    },
    /// The lane lost the call after it had begun. Whether the broker got it is unknown. This is a
    /// bug in lanekeeper.
    #[error("{method} was lost in lane `{lane}`, what became of it is unknown")]
    Lost {
        /// The lane.
        lane: &'static str,
        /// The method that was called.
        method: &'static str,
    },
}

impl LaneError {
    /// Whether the call left this process.
    pub fn was_sent(&self) -> Sent {
        match self {
            Self::QueueFull { .. } | Self::Closed { .. } => Sent::No,
            Self::Panicked { .. } | Self::Lost { .. } => Sent::Unknown,
        }
    }
}
