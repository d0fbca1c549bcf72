//! A call that was queued, in its caller's hand.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Effect;
use super::error::{LaneError, LaneErrorKind};
use super::job::{Answer, Info, Refusal, Waits};
use super::life::{GiveUp, Sleep};
use super::shared::Shared;
use super::within::Waiting;

/// A call that was queued. Wait for it, look after it, take it back, or `await` it on any executor.
///
/// Dropping the ticket of a read takes the call back if it still waits: nobody wants the answer. A
/// write goes on, and its result is told to the [`Observer`](super::Observer) alone, as a late one.
///
/// A deadline is kept by [`wait`](Self::wait), and by the lane while the call is queued. One who
/// awaits a call that is under way has a timer of their executor for that.
#[must_use = "dropping the ticket of a read takes the call back"]
pub struct Ticket<R, E> {
    state: State<R, E>,
}

enum State<R, E> {
    Queued {
        call: Arc<dyn Waits<Result<R, E>>>,
        lane: Arc<Shared>,
    },
    /// The lane did not take it in; and whether its caller knows.
    Refused {
        error: LaneError,
        told: bool,
    },
}

impl<R, E: From<LaneError>> Ticket<R, E> {
    pub(crate) fn new(call: Arc<dyn Waits<Result<R, E>>>, lane: Arc<Shared>) -> Self {
        Self { state: State::Queued { call, lane } }
    }

    pub(crate) fn refused(error: LaneError) -> Self {
        Self { state: State::Refused { error, told: false } }
    }

    /// Waits for the answer, or until the deadline.
    ///
    /// # Errors
    /// What the call answers, or what the lane has to say instead.
    pub fn wait(mut self) -> Result<R, E> {
        let State::Queued { call, lane, .. } = &self.state else { return self.refusal() };
        let info = call.info();
        let _waiting = Waiting::on(lane, || Arc::clone(call).as_queued());
        let Some(deadline) = info.deadline else {
            return opened(call.wait(Sleep::ForEver, &lane.clock), info);
        };
        let sleep = Sleep::Until(&lane.clock, deadline);
        if let Some(answer) = call.wait(sleep, &lane.clock) {
            return opened(Some(answer), info);
        }
        let (found, tried) = call.give_up();
        lane.forget(info);
        if let Some(attempt) = tried {
            lane.tell_of_the_last(info, attempt);
        }
        match found {
            GiveUp::NeverSent => {
                lane.watch.tell(|observer| observer.expired(&info.seen()));
                let waited = lane.clock.now().since(info.entered);
                Err(info.error(LaneErrorKind::DeadlinePassed { waited }).into())
            }
            GiveUp::UnderWay => {
                lane.watch.tell(|observer| observer.deadline_missed(&info.seen()));
                Err(info.error(LaneErrorKind::Unanswered).into())
            }
            GiveUp::Answered(answer) => opened(Some(answer), info),
            GiveUp::Over => opened(None, info),
        }
    }

    /// Waits for the answer for at most `timeout`. `None`: it has not come, and may yet.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<R, E>> {
        match &self.state {
            State::Queued { call, lane, .. } => {
                let until = lane.clock.now() + timeout;
                let sleep = Sleep::Until(&lane.clock, until);
                let answer = call.wait(sleep, &lane.clock);
                let is_known = answer.is_some() || call.is_over();
                is_known.then(|| opened(answer, call.info()))
            }
            State::Refused { .. } => Some(self.refusal()),
        }
    }

    /// The answer, if it is here.
    pub fn try_wait(&mut self) -> Option<Result<R, E>> {
        match &self.state {
            State::Queued { call, .. } => {
                let answer = call.take();
                let is_known = answer.is_some() || call.is_over();
                is_known.then(|| opened(answer, call.info()))
            }
            State::Refused { .. } => Some(self.refusal()),
        }
    }

    fn refusal(&mut self) -> Result<R, E> {
        match &mut self.state {
            State::Refused { error, told } => {
                let again = std::mem::replace(told, true);
                let reason = if again { LaneErrorKind::AlreadyTaken } else { error.kind.clone() };
                Err(LaneError { kind: reason, ..error.clone() }.into())
            }
            State::Queued { call, .. } => opened(None, call.info()),
        }
    }
}

impl<R, E> Ticket<R, E> {
    /// Takes the call back. True: it was not sent, and never will be. False: it is too late, and the
    /// answer will come; that of a call that waits for another attempt is what the last one came to.
    pub fn cancel(&self) -> bool {
        match &self.state {
            State::Queued { call, lane } => {
                match call.cancel() {
                    Refusal::TooLate | Refusal::Unanswered => {}
                    Refusal::Unsent => {
                        lane.forget(call.info());
                        lane.watch.tell(|observer| observer.cancelled(&call.info().seen()));
                    }
                    Refusal::Tried(attempt, unheard) => {
                        lane.forget(call.info());
                        lane.tell_of_the_last(call.info(), attempt);
                        lane.tell_of_the_late(call.info(), unheard);
                    }
                }
                call.was_taken_back()
            }
            State::Refused { .. } => true,
        }
    }

    /// How many calls go before it, as things stand. `None`: it does not wait, or it waits
    /// for another attempt or an open breaker.
    ///
    /// It counts the calls of its own user one by one, so it is not for a tight loop.
    pub fn position(&self) -> Option<usize> {
        let State::Queued { call, lane, .. } = &self.state else { return None };
        let ahead = lane.take_stock().schedule.ahead_of(call.info())?;
        Some(ahead.calls())
    }

    /// How long it will wait for its turn, as things stand. `None`: it does not wait, or it waits for
    /// another attempt or an open breaker.
    pub fn estimated_wait(&self) -> Option<Duration> {
        let State::Queued { call, lane, .. } = &self.state else { return None };
        let queue = lane.take_stock();
        let ahead = queue.schedule.ahead_of(call.info())?;
        let (turn, now) = lane.estimate(&queue, call.info().charge, &ahead);
        turn.map(|turn| turn.since(now))
    }
}

/// What the caller gets.
fn opened<R, E: From<LaneError>>(
    answer: Option<Answer<Result<R, E>>>,
    info: &Info,
) -> Result<R, E> {
    match answer {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(error.into()),
        None => Err(info.error(LaneErrorKind::AlreadyTaken).into()),
    }
}

impl<R, E: From<LaneError>> Future for Ticket<R, E> {
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.get_mut();
        match &ticket.state {
            State::Queued { call, .. } => {
                call.poll(context.waker()).map(|answer| opened(answer, call.info()))
            }
            State::Refused { .. } => Poll::Ready(ticket.refusal()),
        }
    }
}

// Nothing in a ticket is pinned.
impl<R, E> Unpin for Ticket<R, E> {}

impl<R, E> Drop for Ticket<R, E> {
    fn drop(&mut self) {
        let State::Queued { call, lane, .. } = &self.state else { return };
        if call.info().effect == Effect::Read && self.cancel() {
            return;
        }
        // Nobody waits any more. An answer that is here, or yet to come, is told to the observer.
        call.leave(&mut |answer| {
            lane.watch.tell(|observer| observer.late_result(&call.info().seen(), answer));
        });
    }
}

impl<R, E> fmt::Debug for Ticket<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("position", &self.position()).finish_non_exhaustive()
    }
}
