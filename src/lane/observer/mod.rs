//! Callbacks for events in the life of a call, and the guarded handle through which a lane calls them.

mod fan_out;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::call::priority::Priority;
use super::call::{Attempt, CallMeta};
use super::error::LaneErrorKind;
use super::shared_mode::SharedQuotaEvent;
use super::state::LaneState;
use crate::Effect;
use crate::panic::catch_panic;
use crate::resilience::BreakerState;
use crate::{ErrorClass, Sent};

/// Callbacks for events in the life of a call. Every method has a default body that does nothing.
///
/// Callbacks run with no lock held, on the thread where the event happened, so they should be quick. A caller gets its
/// answer only after `finished` has returned. During `dispatched` and `finished` the call still counts as in flight. No
/// callback may wait for another call of the same lane, or drain the lane: the callback may run on the last free
/// worker, and a call that the drain waits for may be inside `submitted` or `refused`. Hand such work to a separate
/// thread. A panic in an observer is caught.
///
/// To use several observers, pass a [`Vec`] of them, or a pair. Each is notified, even if another one panics.
///
/// ```
/// use std::sync::Arc;
/// use lanekeeper::Observer;
/// use lanekeeper::lane::CallInfo;
///
/// struct Log;
/// impl Observer for Log {
///     fn cancelled(&self, call: &CallInfo<'_>) {
///         eprintln!("{} was cancelled", call.method);
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
    /// A call was selected for sending, `queued` after its submission. Normally it is sent next. If its caller detaches
    /// before the worker starts it, [`expired`](Self::expired) follows, or [`refused`](Self::refused) if the lane was
    /// shut.
    fn dispatched(&self, call: &CallInfo<'_>, queued: Duration) {
        let _ = (call, queued);
    }
    /// The caller of a queued call has blocked for a second, and goes on waiting. Reported only if the observer
    /// [wants it](Self::wants_long_waits), at most once by each [`Ticket::wait`](super::Ticket::wait), on the thread of
    /// the caller. A call that is awaited on an executor, or that no thread waits for, is not reported:
    /// [`Ticket::position`](super::Ticket::position) shows where it is.
    fn long_wait(&self, wait: &LongWait<'_>) {
        let _ = wait;
    }
    /// A call ended. If it was cancelled, expired or rejected while it waited for another attempt, it ends with the
    /// result of its last attempt. The times of that attempt were reported before.
    fn finished(&self, call: &FinishedCall<'_>) {
        let _ = call;
    }
    /// An attempt failed, and the call is retried after at least `delay`.
    fn attempt_failed(&self, call: &FinishedCall<'_>, delay: Duration) {
        let _ = (call, delay);
    }
    /// The broker reported that calls come too fast. The lane sends nothing for `pause`.
    fn throttled(&self, lane: &'static str, pause: Duration) {
        let _ = (lane, pause);
    }
    /// The caller cancelled a call before it was sent. It never will be.
    fn cancelled(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
    /// The deadline of a call passed before it was sent. It never will be.
    fn expired(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
    /// The lane did not admit a call, or rejected it while it was queued. It never will be sent.
    fn refused(&self, call: &CallInfo<'_>, reason: &LaneErrorKind) {
        let _ = (call, reason);
    }
    /// The deadline of a call passed after it was sent, and its caller left. [`finished`](Self::finished) reports the
    /// end of the call, and [`late_result`](Self::late_result) its answer.
    fn deadline_missed(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
    /// The answer to a call whose caller had detached. `answer` is the `Result<R, LaneError>` of the call, where `R` is
    /// the return type of the method. Downcast it to read it.
    fn late_result(&self, call: &CallInfo<'_>, answer: &dyn Any) {
        let _ = (call, answer);
    }
    /// A lane started running, was paused, is draining, or was closed.
    fn lane_state(&self, lane: &'static str, state: LaneState) {
        let _ = (lane, state);
    }
    /// The broker refused the credentials, and a call of this lane was the first to find out. The lanes of the proxy
    /// hold or refuse their calls until the [`Session`](crate::Session) is renewed.
    fn session_expired(&self, lane: &'static str) {
        let _ = lane;
    }
    /// The circuit breaker of a route class changed its state. A change that only depends on time is reported at the
    /// next call of that class.
    fn breaker(&self, lane: &'static str, route: &'static str, state: BreakerState) {
        let _ = (lane, route, state);
    }
    /// A call could not be recorded for the next process, see [`PaceLog`](super::PaceLog). The call is sent anyway.
    fn pace_log_failed(&self, error: &std::io::Error) {
        let _ = error;
    }
    /// Something happened to a quota that several processes share. Events are queued, 64 at most, and delivered in order on
    /// a thread of their own: this callback may take its time. The first comes soon after the proxy was built. A proxy
    /// that is dropped waits for the delivery for a second at most.
    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        let _ = event;
    }
    /// Returns whether to estimate the wait of each call, for [`CallInfo::estimated_wait`]. An estimate walks through
    /// the queue's statistics. Called once, when the proxy is built. A call with a deadline is always estimated, unless
    /// it is urgent.
    fn wants_estimates(&self) -> bool {
        false
    }
    /// Returns whether to report [`long_wait`](Self::long_wait). A caller then sleeps with a timeout, which costs each
    /// call about half a microsecond. Called once, when the proxy is built.
    fn wants_long_waits(&self) -> bool {
        false
    }
}

/// The description of a call, for an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallInfo<'a> {
    /// The number of the call, unique in its lane.
    pub number: u64,
    /// The lane of the call.
    pub lane: &'static str,
    /// The method that was called.
    pub method: &'static str,
    /// Whether the call changes anything at the broker.
    pub effect: Effect,
    /// The route class: the group of calls for which the broker's health is tracked.
    pub route: &'static str,
    /// The priority of the call.
    pub priority: Priority,
    /// The user on whose behalf the call is made.
    pub user: Option<&'a str>,
    /// The number of attempts, the present one included. Zero before the first one.
    pub attempts: u32,
    /// The estimated wait for the first attempt, as of submission. `None` if it was not estimated.
    pub estimated_wait: Option<Duration>,
}

/// A queued call whose caller has blocked for long, and what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LongWait<'a> {
    /// The call. Its [`estimated_wait`](CallInfo::estimated_wait) is of its submission.
    pub call: CallInfo<'a>,
    /// The time since its submission.
    pub waited: Duration,
    /// How many calls go before it, in the present order. `None` if it waits for another attempt or an open breaker.
    pub position: Option<usize>,
    /// The estimated wait from now, in the present order. `None` if it waits for another attempt or an open breaker.
    /// It does not know when a paused lane is resumed or an expired session is renewed.
    pub estimated_wait: Option<Duration>,
    /// The state of the lane. A paused lane sends nothing.
    pub state: LaneState,
    /// Whether the broker refused the credentials, so that the lane sends urgent calls only.
    pub session_expired: bool,
}

/// A call, or one attempt of it, that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FinishedCall<'a> {
    /// The call.
    pub call: CallInfo<'a>,
    /// The time from submission to the dispatch of this attempt. For a retry, that includes the earlier attempts.
    pub queued: Duration,
    /// The time from dispatch to answer. If a task makes the call itself, from the moment at which it took its turn.
    pub round_trip: Duration,
    /// Whether the call left this process.
    pub sent: Sent,
    /// The class of the failure, if the call failed.
    pub failure: Option<ErrorClass>,
    /// Whether the adapter refused the call before anything was tried ([`Failure::local`](crate::Failure::local)). Such
    /// a call used no slots, and its `round_trip` measures nothing of the broker.
    pub local: bool,
    /// The number of the attempt. The first is 1.
    pub attempt: u32,
    /// Whether [`Observer::attempt_failed`] already reported this attempt and its times.
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
            local: attempt.is_local(),
            attempt: number,
            already_reported,
        }
    }

    /// The last attempt of a call that was due for a retry that did not happen.
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

/// The observer, if any. Catches its panics.
#[derive(Clone, Default)]
pub(crate) struct ObserverHandle {
    observer: Option<Arc<dyn Observer>>,
    wants_estimates: bool,
    wants_long_waits: bool,
}

impl ObserverHandle {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        let ask = |question: fn(&dyn Observer) -> bool| {
            let answer = || observer.as_ref().is_some_and(|observer| question(&**observer));
            catch_panic(answer).unwrap_or_default()
        };
        let wants_estimates = ask(|observer| observer.wants_estimates());
        let wants_long_waits = ask(|observer| observer.wants_long_waits());
        Self { observer, wants_estimates, wants_long_waits }
    }

    pub(crate) fn notify(&self, event: impl Fn(&dyn Observer)) {
        // A panic in an observer must cost neither a worker nor an answer.
        #[cfg(feature = "tracing")]
        if crate::telemetry::is_traced() {
            let _ = catch_panic(|| event(&crate::telemetry::Tracer));
        }
        if let Some(observer) = &self.observer {
            let _ = catch_panic(|| event(&**observer));
        }
    }

    /// Returns whether a long wait would be received. Costs a relaxed load and a comparison.
    pub(super) fn wants_long_waits(&self) -> bool {
        #[cfg(feature = "tracing")]
        if crate::telemetry::is_traced_at_info() {
            return true;
        }
        self.wants_long_waits
    }

    pub(super) fn wants_estimates(&self) -> bool {
        self.wants_estimates
    }
}
