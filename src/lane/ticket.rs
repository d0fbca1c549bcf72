//! The handle with which a caller waits for a queued call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::call::pending_call::{CallHandle, RejectResult};
use super::call::state::{Abandoned, WaitLimit};
use super::call::{Answer, CallMeta};
use super::core::LaneCore;
use super::core::long_wait::LONG_WAIT;
use super::core::reentrancy::ReentrantWait;
use super::error::{LaneError, LaneErrorKind};
use crate::Effect;

/// A queued call. Wait for it, poll it, cancel it, or `await` it on any executor.
///
/// Dropping the ticket of a read cancels the call if it is still queued, since its answer would go unused. A write goes
/// on, and the [`Observer`](super::Observer) gets its result as a late one.
///
/// [`wait`](Self::wait) observes the deadline, and so does the lane while the call is queued. Code that awaits a call
/// in flight needs a timer of its executor for that.
#[must_use = "dropping the ticket of a read cancels the call"]
pub struct Ticket<R, E> {
    state: State<R, E>,
}

enum State<R, E> {
    Queued {
        call: Arc<dyn CallHandle<Result<R, E>>>,
        lane: Arc<LaneCore>,
    },
    /// The lane did not admit the call. `is_taken`: its caller has the error.
    Refused {
        error: LaneError,
        is_taken: bool,
    },
}

impl<R, E: From<LaneError>> Ticket<R, E> {
    pub(crate) fn new(call: Arc<dyn CallHandle<Result<R, E>>>, lane: Arc<LaneCore>) -> Self {
        Self { state: State::Queued { call, lane } }
    }

    pub(crate) fn refused(error: LaneError) -> Self {
        Self { state: State::Refused { error, is_taken: false } }
    }

    /// Waits for the answer, or until the deadline.
    ///
    /// # Errors
    /// Returns the error of the call, or the lane's error in its place.
    pub fn wait(mut self) -> Result<R, E> {
        let State::Queued { call, lane, .. } = &self.state else { return self.take_refusal() };
        let meta = call.meta();
        let _waiting = ReentrantWait::begin(lane, || Arc::clone(call).as_queued_call());
        if let Some(answer) = wait_until_long(call, lane) {
            return into_result(Some(answer), meta);
        }
        let Some(deadline) = meta.deadline else {
            return into_result(call.wait(WaitLimit::Unlimited, &lane.clock), meta);
        };
        let limit = WaitLimit::Until(&lane.clock, deadline);
        if let Some(answer) = call.wait(limit, &lane.clock) {
            return into_result(Some(answer), meta);
        }
        let (abandoned, last_attempt) = call.abandon();
        lane.remove(meta);
        if let Some(attempt) = last_attempt {
            lane.report_last_attempt(meta, attempt);
        }
        match abandoned {
            Abandoned::NeverSent => {
                lane.observer.notify(|observer| observer.expired(&meta.to_call_info()));
                let waited = lane.clock.now().since(meta.submitted_at);
                Err(meta.error(LaneErrorKind::DeadlinePassed { waited }).into())
            }
            Abandoned::InFlight => {
                lane.observer.notify(|observer| observer.deadline_missed(&meta.to_call_info()));
                Err(meta.error(LaneErrorKind::Unanswered).into())
            }
            Abandoned::Completed(answer) => into_result(Some(answer), meta),
            Abandoned::Closed => into_result(None, meta),
        }
    }

    /// Waits for the answer for at most `timeout`. Returns `None` if it has not come yet.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<R, E>> {
        match &self.state {
            State::Queued { call, lane, .. } => {
                let deadline = lane.clock.now() + timeout;
                let limit = WaitLimit::Until(&lane.clock, deadline);
                let answer = call.wait(limit, &lane.clock);
                let is_known = answer.is_some() || call.is_closed();
                is_known.then(|| into_result(answer, call.meta()))
            }
            State::Refused { .. } => Some(self.take_refusal()),
        }
    }

    /// Returns the answer, if it has come.
    pub fn try_wait(&mut self) -> Option<Result<R, E>> {
        match &self.state {
            State::Queued { call, .. } => {
                let answer = call.take_answer();
                let is_known = answer.is_some() || call.is_closed();
                is_known.then(|| into_result(answer, call.meta()))
            }
            State::Refused { .. } => Some(self.take_refusal()),
        }
    }

    fn take_refusal(&mut self) -> Result<R, E> {
        self.take_refusal_answer().unwrap_or_else(|error| Err(error.into()))
    }
}

impl<R, E> Ticket<R, E> {
    /// Polls for the answer like the future, but tells the lane's own error apart from an error of the call. Runs no
    /// user code, except the waker's `clone` and `drop`.
    pub(crate) fn poll_answer(&mut self, waker: &Waker) -> Poll<Answer<Result<R, E>>> {
        match &self.state {
            State::Queued { call, .. } => call.poll(waker).map(|answer| {
                answer.unwrap_or_else(|| Err(call.meta().error(LaneErrorKind::AlreadyTaken)))
            }),
            State::Refused { .. } => Poll::Ready(self.take_refusal_answer()),
        }
    }

    fn take_refusal_answer(&mut self) -> Answer<Result<R, E>> {
        match &mut self.state {
            State::Refused { error, is_taken } => {
                let was_taken = std::mem::replace(is_taken, true);
                let kind = if was_taken { LaneErrorKind::AlreadyTaken } else { error.kind.clone() };
                Err(LaneError { kind, ..error.clone() })
            }
            State::Queued { call, .. } => Err(call.meta().error(LaneErrorKind::AlreadyTaken)),
        }
    }

    /// Cancels the call. Returns `true` if it was not sent and never will be. Returns `false` if it is too late, and
    /// the answer will come. A call that waits for another attempt is answered with the result of its last one.
    pub fn cancel(&self) -> bool {
        self.take_back();
        match &self.state {
            State::Queued { call, .. } => call.was_cancelled(),
            State::Refused { .. } => true,
        }
    }

    /// Cancels the call. Returns whether it is not sent any more, although it may have been sent before if it waited for
    /// another attempt.
    pub(crate) fn take_back(&self) -> bool {
        match &self.state {
            State::Queued { call, lane } => {
                match call.cancel() {
                    RejectResult::AlreadyDispatched | RejectResult::Unanswered => return false,
                    RejectResult::NeverSent => {
                        lane.remove(call.meta());
                        lane.observer
                            .notify(|observer| observer.cancelled(&call.meta().to_call_info()));
                    }
                    RejectResult::AfterAttempt(attempt, answer) => {
                        lane.remove(call.meta());
                        lane.report_last_attempt(call.meta(), attempt);
                        lane.report_late_result(call.meta(), answer);
                    }
                }
                true
            }
            State::Refused { .. } => true,
        }
    }

    /// Returns how many calls go before it, in the present order. `None` if it is not queued, or if it waits for
    /// another attempt or an open breaker.
    ///
    /// It counts the calls of its own user one by one, so do not call it in a tight loop.
    pub fn position(&self) -> Option<usize> {
        let State::Queued { call, lane, .. } = &self.state else { return None };
        let ahead = lane.lock_queue().scheduler.load_ahead_of(call.meta())?;
        Some(ahead.calls())
    }

    /// Returns the estimated wait until it is sent, in the present order. `None` if it is not queued, or if it waits
    /// for another attempt or an open breaker.
    pub fn estimated_wait(&self) -> Option<Duration> {
        let State::Queued { call, lane, .. } = &self.state else { return None };
        let queue = lane.lock_queue();
        let ahead = queue.scheduler.load_ahead_of(call.meta())?;
        let (turn_at, now) = lane.estimate(&queue, call.meta().cost, &ahead);
        turn_at.map(|turn_at| turn_at.since(now))
    }
}

/// Waits until the wait is long, and then reports the call if it is still queued. Returns the answer if it comes
/// sooner. Does not wait at all if no observer wants the report, or if the deadline passes first.
fn wait_until_long<R>(call: &Arc<dyn CallHandle<R>>, lane: &LaneCore) -> Option<Answer<R>> {
    if !lane.observer.wants_long_waits() {
        return None;
    }
    let long_at = lane.clock.now() + LONG_WAIT;
    if call.meta().deadline.is_some_and(|deadline| deadline <= long_at) {
        return None;
    }
    let answer = call.wait(WaitLimit::Until(&lane.clock, long_at), &lane.clock);
    if answer.is_none() && Arc::clone(call).as_queued_call().is_queued() {
        lane.report_long_wait(call.meta());
    }
    answer
}

/// Converts an answer to the result for the caller.
fn into_result<R, E: From<LaneError>>(
    answer: Option<Answer<Result<R, E>>>,
    meta: &CallMeta,
) -> Result<R, E> {
    match answer {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(error.into()),
        None => Err(meta.error(LaneErrorKind::AlreadyTaken).into()),
    }
}

impl<R, E: From<LaneError>> Future for Ticket<R, E> {
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.get_mut();
        ticket
            .poll_answer(context.waker())
            .map(|answer| answer.unwrap_or_else(|error| Err(error.into())))
    }
}

// No field of a ticket is structurally pinned.
impl<R, E> Unpin for Ticket<R, E> {}

impl<R, E> Drop for Ticket<R, E> {
    fn drop(&mut self) {
        let State::Queued { call, lane, .. } = &self.state else { return };
        if call.meta().effect == Effect::Read && self.cancel() {
            return;
        }
        // The caller is gone. The observer gets the answer, now or when it comes.
        call.detach(&mut |answer| {
            lane.observer
                .notify(|observer| observer.late_result(&call.meta().to_call_info(), answer));
        });
    }
}

impl<R, E> fmt::Debug for Ticket<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("position", &self.position()).finish_non_exhaustive()
    }
}
