//! The spans and events of `tracing`.
//!
//! Workers enter the spans, and [`Tracer`] emits the events as an [`Observer`]. A subscriber is foreign code: it is
//! called with no lock held, and its panics are caught.

use std::any::Any;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::span::{Entered, Id};
use tracing::{Dispatch, Level, Span, dispatcher, field, info_span, span_enabled};

use crate::lane::{
    CallInfo, CallMeta, FinishedCall, LaneErrorKind, LaneState, LongWait, Observer, SharedMode,
    SharedQuotaEvent,
};
use crate::panic::catch_panic;
use crate::resilience::BreakerState;
use crate::{Effect, ErrorClass, Failure};

const TARGET: &str = "lanekeeper";

/// Returns whether there is a subscriber for any level. Costs one relaxed load.
pub(crate) fn is_traced() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// Returns whether there is a subscriber for level info. Costs one relaxed load.
pub(crate) fn is_traced_at_info() -> bool {
    LevelFilter::current() >= LevelFilter::INFO
}

/// The span in which a call was made. It stays open as long as the call may need it.
#[derive(Debug)]
pub(crate) struct CallerSpan(Span);

impl CallerSpan {
    pub(crate) fn current() -> Self {
        let is_enabled = || span_enabled!(target: TARGET, Level::INFO);
        let span = catch_panic(|| is_enabled().then(Span::current)).ok().flatten();
        Self(span.unwrap_or_else(Span::none))
    }

    /// Makes a span, as a child of this one if there is one. A child is made with the parent's subscriber, since no
    /// other subscriber knows the parent.
    fn child_span(&self, new: impl Fn() -> Span) -> Span {
        let child = |(_, subscriber): (&Id, &Dispatch)| dispatcher::with_default(subscriber, &new);
        self.0.with_subscriber(child).unwrap_or_else(&new)
    }
}

impl Drop for CallerSpan {
    fn drop(&mut self) {
        // A subscriber may panic when a span is closed, here on the thread of a caller that already has its answer.
        let span = std::mem::replace(&mut self.0, Span::none());
        let _ = catch_panic(|| drop(span));
    }
}

/// The span of one attempt.
pub(crate) struct AttemptSpan(Option<Span>);

impl AttemptSpan {
    pub(crate) fn new(info: &CallMeta, waited: Duration) -> Self {
        if !is_traced() {
            return Self(None);
        }
        let span = catch_panic(|| {
            let new = || {
                info_span!(
                    target: TARGET,
                    parent: &info.caller_span.0,
                    "call",
                    lane = info.lane,
                    method = info.method,
                    priority = info.priority.get(),
                    user = info.user.as_deref(),
                    number = info.number,
                    attempt = info.attempts(),
                    wait_seconds = waited.as_secs_f64(),
                    outcome = field::Empty,
                )
            };
            info.caller_span.child_span(new)
        });
        Self(span.ok())
    }

    /// Enters the span on this thread, while it executes the call or polls its future.
    pub(crate) fn enter(&self) -> EnteredAttempt<'_> {
        let entered = self.0.as_ref().and_then(|span| catch_panic(|| span.enter()).ok());
        EnteredAttempt(entered)
    }

    /// Records the outcome of the attempt and closes the span.
    pub(crate) fn finish(&mut self, failure: Option<Failure>) {
        if let Some(span) = self.0.take() {
            let _ = catch_panic(|| {
                span.record("outcome", failure.map_or("done", |failure| failure.as_str()));
                drop(span);
            });
        }
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        let span = self.0.take();
        let _ = catch_panic(|| drop(span));
    }
}

/// The span of an attempt, as long as the thread is in it.
pub(crate) struct EnteredAttempt<'a>(Option<Entered<'a>>);

impl Drop for EnteredAttempt<'_> {
    fn drop(&mut self) {
        let entered = self.0.take();
        let _ = catch_panic(|| drop(entered));
    }
}

/// An observer that emits an event for each notification.
pub(crate) struct Tracer;

macro_rules! event {
    ($level:ident, $call:expr, $($rest:tt)+) => {
        tracing::$level!(
            target: TARGET,
            lane = $call.lane,
            method = $call.method,
            number = $call.number,
            priority = $call.priority.get(),
            user = $call.user,
            $($rest)+
        )
    };
}

impl Observer for Tracer {
    fn submitted(&self, call: &CallInfo<'_>) {
        let estimate = call.estimated_wait.map(|wait| wait.as_secs_f64());
        event!(trace, call, estimated_wait_seconds = estimate, "queued");
    }

    fn long_wait(&self, wait: &LongWait<'_>) {
        let LongWait { call, waited, position, estimated_wait, state, session_expired } = wait;
        event!(
            info,
            call,
            waited_seconds = waited.as_secs_f64(),
            position,
            estimated_wait_seconds = estimated_wait.map(|wait| wait.as_secs_f64()),
            state = state.as_str(),
            session_expired,
            "waits in its lane"
        );
    }

    fn finished(&self, end: &FinishedCall<'_>) {
        let call = &end.call;
        let (attempt, seconds) = (end.attempt, end.round_trip.as_secs_f64());
        match end.failure {
            None => event!(debug, call, attempt, seconds, "answered"),
            Some(ErrorClass::Unknown) if call.effect == Effect::Write => event!(
                warn,
                call,
                attempt,
                seconds,
                "outcome unknown: look in the order book before sending it again"
            ),
            Some(ErrorClass::PartlyDone) => event!(
                warn,
                call,
                attempt,
                seconds,
                "done in part: check the answer before sending the rest"
            ),
            Some(ErrorClass::Fatal) => event!(
                error,
                call,
                attempt,
                seconds,
                "failed, and every call will until the cause is fixed: usually a blocked app or a wrong address"
            ),
            Some(_) if end.local => {
                event!(debug, call, attempt, "refused by the adapter, not sent")
            }
            Some(class) => event!(debug, call, attempt, seconds, class = class.as_str(), "failed"),
        }
    }

    fn attempt_failed(&self, end: &FinishedCall<'_>, delay: Duration) {
        let class = end.failure.map(ErrorClass::as_str);
        let delay_seconds = delay.as_secs_f64();
        event!(info, end.call, attempt = end.attempt, class, delay_seconds, "will be retried");
    }

    fn throttled(&self, lane: &'static str, pause: Duration) {
        let pause_seconds = pause.as_secs_f64();
        tracing::warn!(target: TARGET, lane, pause_seconds, "refused for coming too fast");
    }

    fn cancelled(&self, call: &CallInfo<'_>) {
        event!(debug, call, "cancelled, never sent");
    }

    fn expired(&self, call: &CallInfo<'_>) {
        event!(info, call, "its deadline passed, never sent");
    }

    fn refused(&self, call: &CallInfo<'_>, reason: &LaneErrorKind) {
        event!(debug, call, reason = reason.as_str(), "refused, never sent");
    }

    fn deadline_missed(&self, call: &CallInfo<'_>) {
        match call.effect {
            Effect::Write => event!(
                warn,
                call,
                "no answer by its deadline, outcome unknown: look in the order book before sending it \
                 again"
            ),
            Effect::Read => event!(debug, call, "no answer by its deadline"),
        }
    }

    fn late_result(&self, call: &CallInfo<'_>, _: &dyn Any) {
        event!(warn, call, "answered after its caller had left");
    }

    fn lane_state(&self, lane: &'static str, state: LaneState) {
        tracing::info!(target: TARGET, lane, state = state.as_str(), "lane");
    }

    fn session_expired(&self, lane: &'static str) {
        tracing::error!(target: TARGET, lane, "the broker no longer accepts the credentials");
    }

    fn breaker(&self, lane: &'static str, route: &'static str, state: BreakerState) {
        let name = state.as_str();
        match state {
            BreakerState::Open => {
                tracing::warn!(target: TARGET, lane, route, state = name, "breaker");
            }
            BreakerState::Closed | BreakerState::HalfOpen => {
                tracing::info!(target: TARGET, lane, route, state = name, "breaker");
            }
        }
    }

    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        match *event {
            SharedQuotaEvent::Mode { account, mode, why } => match mode {
                SharedMode::Shared | SharedMode::Returning => {
                    tracing::info!(target: TARGET, account, mode = mode.as_str(), why, "shared quota");
                }
                SharedMode::Share | SharedMode::Stopped => {
                    tracing::warn!(target: TARGET, account, mode = mode.as_str(), why, "shared quota");
                }
            },
            SharedQuotaEvent::Warning { account, warning } => {
                tracing::warn!(target: TARGET, account, "shared quota: {warning}");
            }
        }
    }
}
