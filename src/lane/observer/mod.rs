//! What a proxy tells of its calls.

mod fan_out;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::Effect;
use super::call::priority::Priority;
use super::call::{Attempt, CallMeta};
use super::error::LaneErrorKind;
use super::state::LaneState;
use crate::panic::catch_panic;
use crate::resilience::BreakerState;
use crate::{ErrorClass, Sent};

/// Hears of the calls of a proxy. Every method has a default body that does nothing.
///
/// It is called with no lock held, on the thread where the thing happened, so be quick: a caller gets
/// its answer after `finished` was told of it, and in `dispatched` and `finished` the call still takes
/// one of the places for calls in flight. Whichever it is, do not wait in it for another call of the same
/// lane, nor drain that: it may be the lane's last free worker that tells, and `submitted` and `refused` may
/// be told on the way of a call that the drain waits for. Hand such work to a thread of your own. A panic in
/// an observer is contained.
///
/// Several observers at once are a [`Vec`] of them, or a pair: each is told, whatever the others do.
///
/// ```
/// use std::sync::Arc;
/// use lanekeeper::Observer;
/// use lanekeeper::lane::CallInfo;
///
/// struct Log;
/// impl Observer for Log {
///     fn cancelled(&self, call: &CallInfo<'_>) {
///         eprintln!("{} was taken back", call.method);
///     }
/// }
/// # struct Count;
/// # impl Observer for Count {}
///
/// let both: Arc<dyn Observer> = Arc::new((Log, Count));
/// # let _ = both;
/// ```
pub trait Observer: Send + Sync {
    /// A call was queued.
    fn submitted(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
    /// A call had its turn, after so long a wait. Now it is sent, unless its caller leaves before its worker gets to it:
    /// then [`expired`](Self::expired) is told of it, or [`refused`](Self::refused) if the lane was shut.
    fn dispatched(&self, call: &CallInfo<'_>, queued: Duration) {
        let _ = (call, queued);
    }
    /// A call is over. One that waited for another attempt, and was cancelled, expired or refused
    /// then, is over with what its last attempt came to: the times of that were told before.
    fn finished(&self, call: &FinishedCall<'_>) {
        let _ = call;
    }
    /// An attempt failed, and the call goes again after this delay at the least.
    fn attempt_failed(&self, call: &FinishedCall<'_>, delay: Duration) {
        let _ = (call, delay);
    }
    /// The broker said that calls come too fast. Nothing of the lane is sent for so long.
    fn throttled(&self, lane: &'static str, pause: Duration) {
        let _ = (lane, pause);
    }
    /// Its caller took a call back before it was sent. It never will be.
    fn cancelled(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
    /// The deadline of a call passed before it was sent. It never will be.
    fn expired(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
    /// The lane did not take a call in, or gave its place to another. It never will be sent.
    fn refused(&self, call: &CallInfo<'_>, reason: &LaneErrorKind) {
        let _ = (call, reason);
    }
    /// The caller of a call that was sent left at its deadline. What becomes of the call is told by
    /// [`finished`](Self::finished), and its answer by [`late_result`](Self::late_result).
    fn deadline_missed(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
    /// The answer to a call whose caller had left. `answer` is the `Result<R, LaneError>` of the call,
    /// where `R` is what the method returns: downcast it to look at it.
    fn late_result(&self, call: &CallInfo<'_>, answer: &dyn Any) {
        let _ = (call, answer);
    }
    /// A lane began to run, was paused, drains or is closed.
    fn lane_state(&self, lane: &'static str, state: LaneState) {
        let _ = (lane, state);
    }
    /// The broker has refused the credentials, as a call of this lane was the first to find out. The lanes of
    /// the proxy hold or refuse their calls until the [`Session`](crate::Session) is renewed.
    fn session_expired(&self, lane: &'static str) {
        let _ = lane;
    }
    /// The circuit breaker of a route class was seen to have changed its state. What time decides shows
    /// at the next call of that class.
    fn breaker(&self, lane: &'static str, route: &'static str, state: BreakerState) {
        let _ = (lane, route, state);
    }
    /// A call could not be noted for the next process, see [`PaceLog`](super::PaceLog). The call goes all the same.
    fn pace_log_failed(&self, error: &std::io::Error) {
        let _ = error;
    }
    /// Whether each call is to be told how long it will have to wait, in
    /// [`CallInfo::estimated_wait`]. It costs a look at what waits. Asked once, when the proxy is
    /// built. A call with a deadline is estimated anyway, unless it is urgent.
    fn wants_estimates(&self) -> bool {
        false
    }
}

/// Which call it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallInfo<'a> {
    /// The number of the call, unlike any other of its lane.
    pub number: u64,
    /// The lane it goes through.
    pub lane: &'static str,
    /// The method that was called.
    pub method: &'static str,
    /// Whether it changes anything.
    pub effect: Effect,
    /// The calls among which the broker's health is counted.
    pub route: &'static str,
    /// How urgent it is.
    pub priority: Priority,
    /// On whose behalf.
    pub user: Option<&'a str>,
    /// How often it was sent, this time included. Zero before its first turn.
    pub attempts: u32,
    /// How long it was to wait for its first turn, as things stood when it came; if that was asked.
    pub estimated_wait: Option<Duration>,
}

/// A call that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FinishedCall<'a> {
    /// Which call.
    pub call: CallInfo<'a>,
    /// How long it waited for its turn.
    pub queued: Duration,
    /// How long it took from its turn to its answer.
    pub round_trip: Duration,
    /// Whether it left this process.
    pub sent: Sent,
    /// What kind of failure it was, if it was one.
    pub failure: Option<ErrorClass>,
    /// Which attempt it was. The first is 1.
    pub attempt: u32,
    /// This attempt was told of before, by [`Observer::attempt_failed`], and so were its times.
    pub already_reported: bool,
}

impl<'a> FinishedCall<'a> {
    pub(super) fn new(
        meta: &'a CallMeta,
        attempt: Attempt,
        (queued, round_trip): (Duration, Duration),
    ) -> Self {
        let failure = attempt.failure.map(|failure| failure.class);
        let sent = failure.map_or(Sent::Yes, ErrorClass::was_sent);
        let number = attempt.number;
        let already_reported = false;
        Self {
            call: meta.to_call_info(),
            queued,
            round_trip,
            sent,
            failure,
            attempt: number,
            already_reported,
        }
    }

    /// An attempt after which the call was to go again, and did not.
    pub(super) fn last_attempt(meta: &'a CallMeta, attempt: Attempt) -> Self {
        let finished = Self::new(meta, attempt, (Duration::ZERO, Duration::ZERO));
        Self { already_reported: true, ..finished }
    }
}

impl CallMeta {
    pub(crate) fn to_call_info(&self) -> CallInfo<'_> {
        CallInfo {
            number: self.number,
            lane: self.lane,
            method: self.method,
            effect: self.effect,
            route: self.route,
            priority: self.priority,
            user: self.user.as_deref(),
            attempts: self.attempts(),
            estimated_wait: self.estimated_wait,
        }
    }
}

/// The observer, if there is one, at arm's length.
#[derive(Clone, Default)]
pub(crate) struct ObserverHandle {
    observer: Option<Arc<dyn Observer>>,
    wants_estimates: bool,
}

impl ObserverHandle {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        let ask_observer = || observer.as_ref().is_some_and(|observer| observer.wants_estimates());
        let wants_estimates = catch_panic(ask_observer).unwrap_or_default();
        Self { observer, wants_estimates }
    }

    pub(crate) fn notify(&self, event: impl Fn(&dyn Observer)) {
        // An observer that panics must cost neither a worker nor an answer.
        #[cfg(feature = "tracing")]
        if crate::telemetry::is_traced() {
            let _ = catch_panic(|| event(&crate::telemetry::Tracer));
        }
        if let Some(observer) = &self.observer {
            let _ = catch_panic(|| event(&**observer));
        }
    }

    pub(super) fn wants_estimates(&self) -> bool {
        self.wants_estimates
    }
}
