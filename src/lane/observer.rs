//! What a lane tells of its calls.

use std::time::Duration;

use super::Effect;
use crate::Sent;

/// Hears of the calls of a proxy.
///
/// It is called on the worker thread, with no lock held, just before the caller gets its answer:
/// whoever has an answer finds it counted. So be quick. A panic in an observer is contained.
pub trait Observer: Send + Sync {
    /// A call is over.
    fn finished(&self, call: &FinishedCall) {
        let _ = call;
    }
}

/// A call that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FinishedCall {
    /// The lane it went through.
    pub lane: &'static str,
    /// The method that was called.
    pub method: &'static str,
    /// Whether it changes anything.
    pub effect: Effect,
    /// How long it waited for its turn.
    pub queued: Duration,
    /// How long it took from its turn to its answer.
    pub round_trip: Duration,
    /// Whether it left this process.
    pub sent: Sent,
}
