//! A call on its way through a lane.
//!
//! A [`Task`] knows the types of one call. Its lane holds it as [`Queued`], which does not, and its
//! caller as [`CallHandle`]; both are the same allocation. What may become of it is in `life.rs`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use super::state::{Abandoned, CallState, WaitLimit};
use super::work::Work;
use super::{Answer, Attempt, CallMeta};
use crate::clock::Clock;
use crate::lane::capacity::QueueSlot;
use crate::lane::error::LaneErrorKind;
use crate::panic::catch_panic;
use crate::{ErrorClass, Failure, Sent};

/// What came of refusing a call, or of cutting it off.
#[derive(Debug)]
pub(crate) enum RejectResult {
    /// Answered already, or under way.
    AlreadyDispatched,
    /// Cut off under way: what becomes of it is unknown.
    Unanswered,
    /// Never sent.
    NeverSent,
    /// Tried before: it was answered with what this attempt came to. If the caller had left, the answer is
    /// here: an [`Answer`] of its type.
    AfterAttempt(Attempt, Option<Box<dyn Any + Send>>),
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Disposition {
    #[default]
    Complete,
    Retry,
}

/// What is left to do once a call was made.
#[derive(Default)]
pub(crate) struct RunOutput {
    pub(crate) disposition: Disposition,
    /// Who is to be woken for the answer.
    pub(crate) waker: Option<Waker>,
    /// The answer, if the caller has left: an [`Answer`] of its type.
    pub(crate) late_answer: Option<Box<dyn Any + Send>>,
    /// It was to go again, but its caller left: this attempt was the last.
    pub(crate) last_attempt: Option<Attempt>,
}

/// What a lane does with a call.
pub(crate) trait QueuedCall: Send + Sync {
    fn meta(&self) -> &CallMeta;
    /// Chooses it. From now on it counts as sent.
    fn dispatch(&self) -> bool;
    /// Whether it is queued.
    fn is_queued(&self) -> bool;
    /// Whether there is no answer yet.
    fn is_pending(&self) -> bool;
    /// Makes the call that was chosen. A panic of the work is caught. `finished` is told before the
    /// caller is, and says what follows; `answering` is told just before that. Between the two and
    /// the end no code runs that is not ours.
    fn run(
        &self,
        finished: &mut dyn FnMut(Attempt) -> Disposition,
        answering: &mut dyn FnMut(),
    ) -> RunOutput;
    /// Answers in place of the broker, if it is still queued: with `reason`, or with what the last
    /// attempt came to if there was one. Its place in the queue is free before its caller is told;
    /// or it is put `into` somebody's hand. One that waited for another attempt has none.
    fn reject(&self, reason: LaneErrorKind, into: Option<&mut Option<QueueSlot>>) -> RejectResult;
    /// Answers in place of the broker, if it is under way and its caller waits: with `reason`. If it has not
    /// begun it never will, and is answered as one that was queued when its lane was closed, or with what its last
    /// attempt came to.
    fn cut_off(&self, reason: LaneErrorKind) -> RejectResult;
}

/// What a caller does with its call.
pub(crate) trait CallHandle<R>: Send + Sync {
    fn meta(&self) -> &CallMeta;
    fn take_answer(&self) -> Option<Answer<R>>;
    /// Whether the answer was handed out already.
    fn is_closed(&self) -> bool;
    fn poll(&self, waker: &Waker) -> Poll<Option<Answer<R>>>;
    /// Waits for as long as `sleep` does.
    fn wait(&self, sleep: WaitLimit<'_>, clock: &Clock) -> Option<Answer<R>>;
    /// Leaves, whatever stage it is in. A call that was not sent never will be; one that waited for
    /// another attempt gives what this one came to.
    fn abandon(&self) -> (Abandoned<Answer<R>>, Option<Attempt>);
    /// Leaves, and lets the call go on. `late` is told of the answer if it had come already.
    fn detach(&self, late: &mut dyn FnMut(&dyn Any));
    /// Takes it back if it is still queued. One that waits for another attempt is answered with what
    /// the last one came to.
    fn cancel(&self) -> RejectResult;
    /// Whether it was taken back in time, and so never sent.
    fn was_cancelled(&self) -> bool;
    /// The same call, as its lane has it.
    fn as_queued_call(self: Arc<Self>) -> Arc<dyn QueuedCall>;
}

struct Payload<R, W, C> {
    work: W,
    /// Tells what is known of a result that is a failure.
    classify: C,
    /// Its place in the queue, free as soon as it is queued no more.
    queue_slot: Option<QueueSlot>,
    /// What the last attempt came to, while it waits for the next. Few calls ever do: it takes no room
    /// in the others.
    last_attempt: Option<Box<(R, Attempt)>>,
}

/// One call, with its types.
pub(crate) struct Task<R, W, C> {
    meta: CallMeta,
    cancelled: AtomicBool,
    state: CallState<Payload<R, W, C>, Answer<R>>,
}

impl<R, W, C> Task<R, W, C> {
    pub(crate) fn new(meta: CallMeta, slot: QueueSlot, work: W, failure: C) -> Self {
        let payload =
            Payload { work, classify: failure, queue_slot: Some(slot), last_attempt: None };
        Self { meta, cancelled: AtomicBool::new(false), state: CallState::new(payload) }
    }
}

impl<R, W, C> QueuedCall for Task<R, W, C>
where
    R: Send + 'static,
    W: Work<R>,
    C: Fn(&R) -> Option<Failure> + Send,
{
    fn meta(&self) -> &CallMeta {
        &self.meta
    }

    fn dispatch(&self) -> bool {
        let is_chosen = self.state.dispatch();
        if is_chosen {
            // Read by whoever makes the call, which is the same thread.
            self.meta.attempts.fetch_add(1, Ordering::Relaxed);
        }
        is_chosen
    }

    fn is_queued(&self) -> bool {
        self.state.is_queued()
    }

    fn is_pending(&self) -> bool {
        self.state.is_pending()
    }

    fn run(
        &self,
        finished: &mut dyn FnMut(Attempt) -> Disposition,
        answering: &mut dyn FnMut(),
    ) -> RunOutput {
        let Some(mut payload) = self.state.take_work() else { return RunOutput::default() };
        drop(payload.queue_slot.take());
        let outcome = catch_panic(|| {
            let result = payload.work.execute()?;
            let failure = (payload.classify)(&result);
            Some((result, failure))
        });
        let (answer, failure, is_repeatable) = match outcome {
            Ok(Some((result, failure))) => (Ok(result), failure, W::IS_REPEATABLE),
            Ok(None) => (Err(self.meta.error(LaneErrorKind::AlreadyTaken)), None, false),
            Err(message) => {
                let panicked = self.meta.error(LaneErrorKind::Panicked { message });
                (Err(panicked), Some(ErrorClass::unknown(self.meta.effect).into()), false)
            }
        };
        // What the attempt before came to is no news any more.
        let _ = catch_panic(|| drop(payload.last_attempt.take()));
        let panicked = answer.is_err() && failure.is_some();
        let number = self.meta.attempts();
        let attempt = Attempt { failure, number, is_repeatable, panicked };
        let next = finished(attempt);
        let mut ended = None;
        let answer = match (next, answer) {
            (Disposition::Retry, Ok(result)) => {
                payload.last_attempt = Some(Box::new((result, attempt)));
                match self.state.requeue(payload) {
                    Ok(()) => {
                        return RunOutput {
                            disposition: Disposition::Retry,
                            ..RunOutput::default()
                        };
                    }
                    // Its caller has left.
                    Err(mut payload) => {
                        let last = payload.last_attempt.take();
                        let _ = catch_panic(|| drop(payload));
                        ended = Some(attempt);
                        match last {
                            Some(last) => Ok(last.0),
                            None => return RunOutput::default(),
                        }
                    }
                }
            }
            (_, answer) => {
                let _ = catch_panic(|| drop(payload));
                answer
            }
        };
        answering();
        match self.state.complete(answer) {
            Ok(waker) => RunOutput { waker, ..RunOutput::default() },
            Err(answer) => RunOutput {
                late_answer: Some(Box::new(answer)),
                last_attempt: ended,
                ..RunOutput::default()
            },
        }
    }

    fn reject(&self, reason: LaneErrorKind, into: Option<&mut Option<QueueSlot>>) -> RejectResult {
        let mut tried = None;
        let refusal = |payload: &mut Payload<R, W, C>| {
            let slot = payload.queue_slot.take();
            if let Some(hand) = into {
                *hand = slot;
            }
            match payload.last_attempt.take() {
                Some(last) => {
                    tried = Some(last.1);
                    Ok(last.0)
                }
                None => {
                    // Under the lock: whoever finds the call gone sees why.
                    self.cancelled.store(reason == LaneErrorKind::Cancelled, Ordering::Relaxed);
                    Err(self.meta.error(reason))
                }
            }
        };
        let Some((payload, unheard)) = self.state.reject(refusal) else {
            return RejectResult::AlreadyDispatched;
        };
        let _ = catch_panic(|| drop(payload));
        match tried {
            // That it was never sent is told as such: this answer is ours alone.
            None => RejectResult::NeverSent,
            Some(attempt) => {
                RejectResult::AfterAttempt(attempt, unheard.map(|answer| Box::new(answer) as _))
            }
        }
    }

    fn cut_off(&self, reason: LaneErrorKind) -> RejectResult {
        let mut refusal = RejectResult::Unanswered;
        let answer = |payload: Option<&mut Payload<R, W, C>>| {
            let Some(payload) = payload else { return Err(self.meta.error(reason)) };
            drop(payload.queue_slot.take());
            match payload.last_attempt.take() {
                Some(last) => {
                    refusal = RejectResult::AfterAttempt(last.1, None);
                    Ok(last.0)
                }
                None => {
                    refusal = RejectResult::NeverSent;
                    Err(self.meta.error(LaneErrorKind::Closed))
                }
            }
        };
        let Some(payload) = self.state.cut_off(answer) else {
            return RejectResult::AlreadyDispatched;
        };
        let _ = catch_panic(|| drop(payload));
        refusal
    }
}

impl<R, W, C> CallHandle<R> for Task<R, W, C>
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

    fn wait(&self, sleep: WaitLimit<'_>, clock: &Clock) -> Option<Answer<R>> {
        self.state.wait(sleep, || clock.idle_guard(sleep.until()))
    }

    fn abandon(&self) -> (Abandoned<Answer<R>>, Option<Attempt>) {
        let (found, payload) = self.state.abandon();
        let last = payload.and_then(|mut payload| {
            let last = payload.last_attempt.take();
            let _ = catch_panic(|| drop(payload));
            last
        });
        match last {
            Some(last) => (Abandoned::Completed(Ok(last.0)), Some(last.1)),
            None => (found, None),
        }
    }

    fn detach(&self, late: &mut dyn FnMut(&dyn Any)) {
        let Some(answer) = self.state.detach() else { return };
        // That it was never sent, the observer has heard already.
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
}
