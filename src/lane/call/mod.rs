//! One call: what is known of it, and the state machine of its answer. Nothing here knows of the queue.
//!
//! - `options.rs` and `priority.rs` are what the caller sets; `rank.rs` is which worker may execute the call.
//! - `task.rs` holds the work and the answer with their types; `work.rs` is the closure.
//! - `state.rs` is the state machine: queued, dispatched, completed, or given up.

pub(crate) mod options;
pub(crate) mod priority;
pub(crate) mod rank;
pub(crate) mod state;
pub(crate) mod task;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) use work::{OnceWork, RepeatableWork, Work};

use self::priority::Priority;
use super::core::reentrancy::CallerChain;
use super::error::{LaneError, LaneErrorKind};
use crate::quota::{Cost, Moment};
use crate::{Effect, Failure, Sent};

/// What the trait says of one of its methods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MethodSpec {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
    pub(crate) priority: Priority,
    pub(crate) cost: Cost,
    /// The calls among which the broker's health is counted.
    pub(crate) route: &'static str,
    /// It gets its caller out: it is urgent, whatever the caller's options say.
    pub(crate) is_exit: bool,
}

/// What is known of a call, whatever its types.
#[derive(Debug)]
pub(crate) struct CallMeta {
    pub(crate) number: u64,
    pub(crate) lane: &'static str,
    pub(crate) method: &'static str,
    pub(crate) effect: Effect,
    pub(crate) priority: Priority,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) cost: Cost,
    pub(crate) route: &'static str,
    pub(crate) submitted_at: Moment,
    pub(crate) deadline: Option<Moment>,
    /// How long it was to wait when it came, if that was asked.
    pub(crate) estimated_wait: Option<Duration>,
    /// How often it was chosen.
    pub(crate) attempts: AtomicU32,
    /// The calls that led to it.
    pub(super) caller_chain: Option<Arc<CallerChain>>,
    #[cfg(feature = "tracing")]
    pub(crate) caller_span: crate::telemetry::CallerSpan,
}

impl CallMeta {
    /// How often it was sent, this time included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Whether it may not be refused for the sake of other calls.
    pub(crate) fn is_urgent(&self) -> bool {
        self.cost.urgent
    }

    pub(crate) fn error(&self, reason: LaneErrorKind) -> LaneError {
        LaneError { lane: self.lane, method: self.method, effect: self.effect, kind: reason }
    }
}

/// The answer to a call: what the work gave, or what the lane has to say instead.
pub(crate) type Answer<R> = Result<R, LaneError>;

/// When an attempt was dispatched and when it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptTimes {
    /// The time from submission to dispatch.
    pub(crate) queued: Duration,
    pub(crate) dispatched_at: Moment,
    pub(crate) ended_at: Moment,
}

impl AttemptTimes {
    /// Returns how long the attempt took.
    pub(crate) fn round_trip(&self) -> Duration {
        self.ended_at.since(self.dispatched_at)
    }
}

/// The end of an attempt, without the types of its call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// What is known of the failure, if it was one.
    pub(crate) failure: Option<Failure>,
    /// The first is 1.
    pub(crate) number: u32,
    /// Whether the work can be done again.
    pub(crate) is_repeatable: bool,
    /// Code on our side panicked: that tells nothing of the broker.
    pub(crate) panicked: bool,
}

impl Attempt {
    pub(super) fn was_sent(&self) -> Sent {
        self.failure.map_or(Sent::Yes, |failure| failure.class.was_sent())
    }
}
