//! A call on its way through a lane: its work, its answer, and how both are handed over.
//!
//! A [`PendingCall`] knows the types of one call. Its lane holds it as [`QueuedCall`], which hides the types, and its
//! caller holds it as [`CallHandle`]. Both are the same allocation. The transitions are in `state.rs`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::state::{Abandoned, CallState, WaitLimit};
use super::work::Work;
use super::{Answer, Attempt, CallMeta};
use crate::clock::Clock;
use crate::lane::capacity::QueueSlot;
use crate::lane::error::LaneErrorKind;
use crate::panic::catch_panic;
use crate::{ErrorClass, Failure, Sent};

/// The outcome of rejecting a call or cutting it off.
#[derive(Debug)]
pub(crate) enum RejectResult {
    /// Nothing was done: the call is in flight or has an answer already.
    AlreadyDispatched,
    /// The call was cut off in flight. Its outcome is unknown.
    Unanswered,
    /// The call was never sent.
    NeverSent,
    /// The call had been attempted before, and was answered with the result of that attempt. If the caller
    /// had detached, the result is here: an [`Answer`] of the call's type.
    AfterAttempt(Attempt, Option<Box<dyn Any + Send>>),
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    Complete,
    Retry,
}

/// What is left to do once the answer of a call is published. It runs or drops user code.
#[derive(Default)]
pub(crate) struct PublishOutput {
    /// The waker of the task that awaits the answer.
    pub(crate) waker: Option<Waker>,
    /// The answer, if the caller has detached: an [`Answer`] of the call's type.
    pub(crate) late_answer: Option<Box<dyn Any + Send>>,
    /// The attempt, if a retry was due but the caller had detached: it was the last.
    pub(crate) last_attempt: Option<Attempt>,
}

/// A call as its lane holds it.
///
/// Called in the order `dispatch`, `execute`, `end_attempt`, `publish_answer`: by one worker on its thread. If the caller
/// makes the attempt by a turn, [`CallHandle::begin_own`] takes the place of `execute`, and the threads may differ.
pub(crate) trait QueuedCall: Send + Sync {
    fn meta(&self) -> &CallMeta;
    /// Dispatches the call, if it is queued. Returns whether it was. It counts as sent once `execute`
    /// begins.
    fn dispatch(&self) -> bool;
    /// Reverses [`dispatch`](Self::dispatch) of a call whose work has not begun. Returns whether it is queued again.
    fn recall(&self) -> bool;
    /// Returns whether the call is queued.
    fn is_queued(&self) -> bool;
    /// Returns whether the call has no answer yet.
    fn is_pending(&self) -> bool;
    /// Returns whether the caller makes each attempt itself: a dispatched call is offered to it, and not executed.
    fn is_made_by_caller(&self) -> bool;
    /// Takes the waker of the task that awaits the call.
    fn take_waker(&self) -> Option<Waker>;
    /// Executes the work of a dispatched call, and catches its panic. The result stays in the call until
    /// [`publish_answer`](Self::publish_answer). Returns `None` if the caller abandoned the call, or the lane cut it
    /// off, before the work began.
    fn execute(&self) -> Option<Attempt>;
    /// Queues the call again for [`Disposition::Retry`], if its caller still waits. Otherwise drops the work.
    /// Returns whether the call is queued again.
    fn end_attempt(&self, disposition: Disposition) -> bool;
    /// Publishes the result of the attempt as the answer, unless the call was queued again. Runs no user code.
    fn publish_answer(&self) -> PublishOutput;
    /// Answers in place of the broker, if the call is still queued: with `reason`, or with the result of the
    /// last attempt if there was one. The call's queue slot is free before the caller is notified, or is moved
    /// `into` the given option. A call that waits for a retry has no slot.
    fn reject(&self, reason: LaneErrorKind, into: Option<&mut Option<QueueSlot>>) -> RejectResult;
    /// Answers with `reason` in place of the broker, if the call is in flight and its caller waits.
    ///
    /// Work that has not begun never will. Such a call is answered like one that was queued when its lane was
    /// closed, or with the result of its last attempt.
    fn cut_off(&self, reason: LaneErrorKind) -> RejectResult;
    /// Answers a dispatched call, whose work has not begun and never will, with `reason`.
    fn give_up(&self, reason: LaneErrorKind) -> RejectResult;
}

/// A call as its caller holds it.
pub(crate) trait CallHandle<R>: Send + Sync {
    fn meta(&self) -> &CallMeta;
    /// Takes the answer, if it is there.
    fn take_answer(&self) -> Option<Answer<R>>;
    /// Returns whether the answer was taken already.
    fn is_closed(&self) -> bool;
    fn poll(&self, waker: &Waker) -> Poll<Option<Answer<R>>>;
    /// Blocks until the answer is there or `limit` is reached.
    fn wait(&self, limit: WaitLimit<'_>, clock: &Clock) -> Option<Answer<R>>;
    /// Abandons the call in whatever stage it is. A call that was not sent never will be. One that waited for a
    /// retry returns the result of its last attempt.
    fn abandon(&self) -> (Abandoned<Answer<R>>, Option<Attempt>);
    /// Detaches the caller, and lets the call go on. If the answer is there already, passes it to `late`.
    fn detach(&self, late: &mut dyn FnMut(&dyn Any));
    /// Cancels the call if it is still queued. One that waits for a retry is answered with the result of its
    /// last attempt.
    fn cancel(&self) -> RejectResult;
    /// Returns whether the call was cancelled in time, and so never sent.
    fn was_cancelled(&self) -> bool;
    /// Returns the same call, as its lane holds it.
    fn as_queued_call(self: Arc<Self>) -> Arc<dyn QueuedCall>;
    /// Begins an attempt that the caller makes itself, in place of [`QueuedCall::execute`]. Returns `None` if the caller
    /// abandoned the call, or the lane cut it off, before it began.
    fn begin_own(self: Arc<Self>) -> Option<Box<dyn OwnAttempt<R>>>;
}

/// An attempt that the caller of a call makes itself, and that has begun.
pub(crate) trait OwnAttempt<R>: Send {
    /// Takes the outcome. The result stays in the call until [`QueuedCall::publish_answer`].
    fn end(self: Box<Self>, outcome: Outcome<R>) -> Attempt;
}

/// What the work of a call came to.
pub(crate) enum Outcome<R> {
    Returned(R),
    /// Its work runs once, and that was before.
    AlreadyTaken,
    Panicked(String),
    /// Its caller made the attempt itself, and gave it up.
    Dropped,
}

struct Payload<R, W, C> {
    work: W,
    /// Returns what is known of a result that is a failure.
    classify: C,
    /// The call's queue slot. It is freed as soon as the call is not queued any more.
    queue_slot: Option<QueueSlot>,
    /// The result of the last attempt, while the call waits for a retry. Boxed, because few calls are retried.
    last_attempt: Option<Box<LastAttempt<R>>>,
}

struct LastAttempt<R> {
    result: R,
    attempt: Attempt,
}

/// The result of an attempt, from its end until it is published.
struct Executed<R, W, C> {
    answer: Answer<R>,
    attempt: Attempt,
    /// The payload. Taken at the end of the attempt: it is queued again or dropped.
    payload: Option<Payload<R, W, C>>,
    /// Whether a retry was due, but the caller had detached.
    was_last: bool,
}

/// One call, with its types.
pub(crate) struct PendingCall<R, W, C> {
    meta: CallMeta,
    cancelled: AtomicBool,
    state: CallState<Payload<R, W, C>, Answer<R>>,
    /// Only the worker or the turn that makes the attempt uses it. The lock is held to move the value in or out. Boxed,
    /// because far more calls are queued than are executed at the same time.
    executed: Mutex<Option<Box<Executed<R, W, C>>>>,
}

impl<R, W, C> PendingCall<R, W, C> {
    pub(crate) fn new(meta: CallMeta, slot: QueueSlot, work: W, classify: C) -> Self {
        let payload = Payload { work, classify, queue_slot: Some(slot), last_attempt: None };
        Self {
            meta,
            cancelled: AtomicBool::new(false),
            state: CallState::new(payload),
            executed: Mutex::new(None),
        }
    }
}

impl<R, W, C> PendingCall<R, W, C>
where
    W: Work<R>,
    C: Fn(&R) -> Option<Failure>,
{
    /// Takes the work of a dispatched call, which is about to begin.
    fn take_up(&self) -> Option<Payload<R, W, C>> {
        let mut payload = self.state.take_work()?;
        drop(payload.queue_slot.take());
        Some(payload)
    }

    /// Keeps the outcome of an attempt until it is published.
    fn conclude(&self, mut payload: Payload<R, W, C>, outcome: Outcome<R>) -> Attempt {
        // User code too.
        let outcome = catch_panic(|| match outcome {
            Outcome::Returned(result) => {
                let failure = (payload.classify)(&result);
                (Outcome::Returned(result), failure)
            }
            other => (other, None),
        });
        let (outcome, failure) =
            outcome.unwrap_or_else(|message| (Outcome::Panicked(message), None));
        let is_repeatable = W::IS_REPEATABLE && matches!(outcome, Outcome::Returned(_));
        let lost = Some(ErrorClass::unknown(self.meta.effect).into());
        let (answer, failure, is_broken) = match outcome {
            Outcome::Returned(result) => (Ok(result), failure, false),
            Outcome::AlreadyTaken => {
                (Err(self.meta.error(LaneErrorKind::AlreadyTaken)), None, false)
            }
            Outcome::Panicked(message) => {
                (Err(self.meta.error(LaneErrorKind::Panicked { message })), lost, true)
            }
            Outcome::Dropped => (Err(self.meta.error(LaneErrorKind::Dropped)), lost, true),
        };
        // This attempt supersedes the result of the one before.
        let _ = catch_panic(|| drop(payload.last_attempt.take()));
        let number = self.meta.attempts();
        let attempt = Attempt { failure, number, is_repeatable, is_broken };
        let executed = Executed { answer, attempt, payload: Some(payload), was_last: false };
        *self.executed.lock() = Some(Box::new(executed));
        attempt
    }
}

/// A call whose caller makes the attempt.
struct BegunTask<R, W, C> {
    task: Arc<PendingCall<R, W, C>>,
    payload: Payload<R, W, C>,
}

impl<R, W, C> OwnAttempt<R> for BegunTask<R, W, C>
where
    R: Send + 'static,
    W: Work<R>,
    C: Fn(&R) -> Option<Failure> + Send,
{
    fn end(self: Box<Self>, outcome: Outcome<R>) -> Attempt {
        let Self { task, payload } = *self;
        task.conclude(payload, outcome)
    }
}

impl<R, W, C> QueuedCall for PendingCall<R, W, C>
where
    R: Send + 'static,
    W: Work<R>,
    C: Fn(&R) -> Option<Failure> + Send,
{
    fn meta(&self) -> &CallMeta {
        &self.meta
    }

    fn dispatch(&self) -> bool {
        let is_dispatched = self.state.dispatch();
        if is_dispatched {
            // Relaxed: read where the attempt is made. That is this thread, or one to which the turn was moved.
            self.meta.attempts.fetch_add(1, Ordering::Relaxed);
        }
        is_dispatched
    }

    fn recall(&self) -> bool {
        let is_recalled = self.state.recall();
        if is_recalled {
            self.meta.attempts.fetch_sub(1, Ordering::Relaxed);
        }
        is_recalled
    }

    fn is_queued(&self) -> bool {
        self.state.is_queued()
    }

    fn is_pending(&self) -> bool {
        self.state.is_pending()
    }

    fn is_made_by_caller(&self) -> bool {
        W::IS_MADE_BY_CALLER
    }

    fn take_waker(&self) -> Option<Waker> {
        self.state.take_waker()
    }

    fn execute(&self) -> Option<Attempt> {
        let mut payload = self.take_up()?;
        let outcome = catch_panic(|| payload.work.execute());
        Some(self.conclude(
            payload,
            match outcome {
                Ok(Some(result)) => Outcome::Returned(result),
                Ok(None) => Outcome::AlreadyTaken,
                Err(message) => Outcome::Panicked(message),
            },
        ))
    }

    fn end_attempt(&self, disposition: Disposition) -> bool {
        let Some(mut executed) = self.executed.lock().take() else { return false };
        let is_retry = disposition == Disposition::Retry && executed.answer.is_ok();
        let (executed, payload) = match executed.payload.take() {
            Some(payload) if is_retry => {
                let into_payload =
                    |(executed, mut payload): (Box<Executed<R, W, C>>, Payload<_, _, _>)| {
                        let Executed { answer, attempt, .. } = *executed;
                        let last_attempt =
                            answer.ok().map(|result| LastAttempt { result, attempt });
                        payload.last_attempt = last_attempt.map(Box::new);
                        payload
                    };
                match self.state.requeue((executed, payload), into_payload) {
                    Ok(()) => return true,
                    // The caller has detached, or the lane has cut the call off.
                    Err((mut executed, payload)) => {
                        executed.was_last = true;
                        (executed, Some(payload))
                    }
                }
            }
            payload => (executed, payload),
        };
        let _ = catch_panic(|| drop(payload));
        *self.executed.lock() = Some(executed);
        false
    }

    fn publish_answer(&self) -> PublishOutput {
        let Some(executed) = self.executed.lock().take() else { return PublishOutput::default() };
        let Executed { answer, attempt, was_last, .. } = *executed;
        match self.state.complete(answer) {
            Ok(waker) => PublishOutput { waker, ..PublishOutput::default() },
            Err(answer) => PublishOutput {
                waker: None,
                late_answer: Some(Box::new(answer)),
                last_attempt: was_last.then_some(attempt),
            },
        }
    }

    fn reject(&self, reason: LaneErrorKind, into: Option<&mut Option<QueueSlot>>) -> RejectResult {
        let mut attempted = None;
        let answer = |payload: &mut Payload<R, W, C>| {
            let slot = payload.queue_slot.take();
            if let Some(into) = into {
                *into = slot;
            }
            match payload.last_attempt.take() {
                Some(last) => {
                    attempted = Some(last.attempt);
                    Ok(last.result)
                }
                None => {
                    // Under the lock of the state: a caller that finds the call closed reads why.
                    self.cancelled.store(reason == LaneErrorKind::Cancelled, Ordering::Relaxed);
                    Err(self.meta.error(reason))
                }
            }
        };
        let Some((payload, late_answer)) = self.state.reject(answer) else {
            return RejectResult::AlreadyDispatched;
        };
        let _ = catch_panic(|| drop(payload));
        match attempted {
            // The lane reports a call that was never sent as such. Its answer holds no user data.
            None => RejectResult::NeverSent,
            Some(attempt) => {
                let late_answer = late_answer.map(|answer| Box::new(answer) as _);
                RejectResult::AfterAttempt(attempt, late_answer)
            }
        }
    }

    fn give_up(&self, reason: LaneErrorKind) -> RejectResult {
        let Some(payload) = self.take_up() else { return RejectResult::AlreadyDispatched };
        let _ = catch_panic(|| drop(payload));
        // If its caller has detached, the answer is dropped. The call is reported all the same.
        if let Ok(Some(waker)) = self.state.complete(Err(self.meta.error(reason))) {
            let _ = catch_panic(|| waker.wake());
        }
        RejectResult::NeverSent
    }

    fn cut_off(&self, reason: LaneErrorKind) -> RejectResult {
        let mut rejected = RejectResult::Unanswered;
        let answer = |payload: Option<&mut Payload<R, W, C>>| {
            let Some(payload) = payload else { return Err(self.meta.error(reason)) };
            drop(payload.queue_slot.take());
            match payload.last_attempt.take() {
                Some(last) => {
                    rejected = RejectResult::AfterAttempt(last.attempt, None);
                    Ok(last.result)
                }
                None => {
                    rejected = RejectResult::NeverSent;
                    Err(self.meta.error(LaneErrorKind::Closed))
                }
            }
        };
        let Some(payload) = self.state.cut_off(answer) else {
            return RejectResult::AlreadyDispatched;
        };
        let _ = catch_panic(|| drop(payload));
        rejected
    }
}

impl<R, W, C> CallHandle<R> for PendingCall<R, W, C>
where
    R: Send + 'static,
    W: Work<R> + 'static,
    C: Fn(&R) -> Option<Failure> + Send + 'static,
{
    fn meta(&self) -> &CallMeta {
        &self.meta
    }

    fn take_answer(&self) -> Option<Answer<R>> {
        self.state.take_answer()
    }

    fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    fn poll(&self, waker: &Waker) -> Poll<Option<Answer<R>>> {
        self.state.poll(waker)
    }

    fn wait(&self, limit: WaitLimit<'_>, clock: &Clock) -> Option<Answer<R>> {
        self.state.wait(limit, || clock.idle_guard(limit.until()))
    }

    fn abandon(&self) -> (Abandoned<Answer<R>>, Option<Attempt>) {
        let (abandoned, payload) = self.state.abandon();
        let last = payload.and_then(|mut payload| {
            let last = payload.last_attempt.take();
            let _ = catch_panic(|| drop(payload));
            last
        });
        match last {
            Some(last) => (Abandoned::Completed(Ok(last.result)), Some(last.attempt)),
            None => (abandoned, None),
        }
    }

    fn detach(&self, late: &mut dyn FnMut(&dyn Any)) {
        let Some(answer) = self.state.detach() else { return };
        // The observer was already notified of a call that was never sent.
        let was_sent = answer.as_ref().err().is_none_or(|error| error.was_sent() != Sent::No);
        if was_sent {
            late(&answer);
        }
    }

    fn cancel(&self) -> RejectResult {
        QueuedCall::reject(self, LaneErrorKind::Cancelled, None)
    }

    fn was_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn as_queued_call(self: Arc<Self>) -> Arc<dyn QueuedCall> {
        self
    }

    fn begin_own(self: Arc<Self>) -> Option<Box<dyn OwnAttempt<R>>> {
        let payload = self.take_up()?;
        Some(Box::new(BegunTask { task: self, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::PendingCall;
    use crate::Failure;
    use crate::lane::call::work::OnceWork;

    #[test]
    fn a_queued_call_has_room_for_one_answer_and_not_for_the_result_of_an_attempt_too() {
        type Large = [u64; 256];
        type LargeTask = PendingCall<Large, OnceWork<fn() -> Large>, fn(&Large) -> Option<Failure>>;
        assert!(size_of::<LargeTask>() < 2 * size_of::<Large>(), "{}", size_of::<LargeTask>());
    }
}
