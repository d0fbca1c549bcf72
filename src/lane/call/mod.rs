//! One call: its metadata, its work, and the state machine of its answer. Nothing here knows of the queue.
//!
//! - `options.rs` and `priority.rs` are what the caller sets. `worker_class.rs` is how many workers the call may use.
//! - `pending_call.rs` holds the work and the answer with their types. `work.rs` is the closure.
//! - `state.rs` is the state machine: queued, in flight, completed, or closed.

pub(crate) mod options;
pub(crate) mod pending_call;
pub(crate) mod priority;
pub(crate) mod state;
mod work;
pub(crate) mod worker_class;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) use work::{CallersWork, OnceWork, RepeatableWork, Work};

use self::priority::Priority;
use super::attachment::Attachment;
use super::core::reentrancy::CallerChain;
use super::error::{LaneError, LaneErrorKind};
use crate::quota::{Cost, Moment};
use crate::{Effect, Failure, Sent};

/// What the trait declares of one of its methods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MethodSpec {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
    pub(crate) priority: Priority,
    pub(crate) cost: Cost,
    /// The route class, by which the broker's health is tracked.
    pub(crate) route: &'static str,
    /// Whether the method is an exit: urgent, whatever the caller's options are.
    pub(crate) is_exit: bool,
}

/// The metadata of a call, without its types.
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
    /// The estimated wait at submission, if it was estimated.
    pub(crate) estimated_wait: Option<Duration>,
    /// How often the call was dispatched.
    pub(crate) attempts: AtomicU32,
    /// How many turns its task has come too late for.
    pub(crate) missed_turns: AtomicU32,
    /// Whether the call counts in the limit of the queue, so that it can be shed.
    pub(crate) is_counted: bool,
    /// The proxy that the call was made through.
    pub(crate) attachment: Arc<Attachment>,
    /// The calls from within which this one was made.
    pub(super) caller_chain: Option<Arc<CallerChain>>,
    #[cfg(feature = "tracing")]
    pub(crate) caller_span: crate::telemetry::CallerSpan,
}

impl CallMeta {
    /// Returns the number of attempts, this one included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Returns whether the call is urgent: it may not be refused for the sake of other calls.
    pub(crate) fn is_urgent(&self) -> bool {
        self.cost.urgent
    }

    /// Returns whether the call was made through this proxy.
    pub(crate) fn is_of(&self, attachment: &Arc<Attachment>) -> bool {
        Arc::ptr_eq(&self.attachment, attachment)
    }

    /// Returns an error of this kind for the call.
    pub(crate) fn error(&self, kind: LaneErrorKind) -> LaneError {
        LaneError { lane: self.lane, method: self.method, effect: self.effect, kind }
    }
}

/// The answer to a call: the result of the work, or the lane's error.
pub(crate) type Answer<R> = Result<R, LaneError>;

/// When an attempt was sent and when it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptTimes {
    /// The time from submission to dispatch.
    pub(crate) queued: Duration,
    pub(crate) sent_at: Moment,
    pub(crate) ended_at: Moment,
}

impl AttemptTimes {
    /// Returns how long the attempt took.
    pub(crate) fn round_trip(&self) -> Duration {
        self.ended_at.since(self.sent_at)
    }
}

/// The end of an attempt, without the types of its call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// What is known of the failure, if the attempt failed.
    pub(crate) failure: Option<Failure>,
    /// The number of the attempt. The first is 1.
    pub(crate) number: u32,
    /// Whether the work can be executed again.
    pub(crate) is_repeatable: bool,
    /// Whether the work panicked, or its caller gave it up. Neither shows anything of the broker's health.
    pub(crate) is_broken: bool,
}

impl Attempt {
    /// Returns whether the adapter refused the call before anything was tried.
    pub(in crate::lane) fn is_local(&self) -> bool {
        self.failure.is_some_and(|failure| failure.is_local())
    }

    /// Returns whether the attempt was sent.
    pub(super) fn was_sent(&self) -> Sent {
        self.failure.map_or(Sent::Yes, |failure| failure.class.was_sent())
    }
}
