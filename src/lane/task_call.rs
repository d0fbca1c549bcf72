//! A call that a task makes itself: it waits for its turn as any other call, and then polls its own future.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::call::pending_call::CallHandle;
use super::core::LaneCore;
use super::core::turn::OwnCall;
use super::error::LaneError;
use super::ticket::Ticket;
use super::turn::Turn;

/// A call of a task. Dropped before its attempt has begun, it is taken back and never sent.
pub(crate) struct TaskCall<R, E> {
    call: Arc<dyn CallHandle<Result<R, E>>>,
    lane: Arc<LaneCore>,
    /// The turn that it got at once.
    first: Option<OwnCall>,
    /// Dropped last: it detaches from a call that was sent.
    ticket: Ticket<R, E>,
    is_answered: bool,
    /// Whether it is awaited within the future of another call of the lane, and the lane knows.
    is_reentrant: bool,
}

impl<R, E> TaskCall<R, E> {
    pub(super) fn new(
        call: Arc<dyn CallHandle<Result<R, E>>>,
        lane: Arc<LaneCore>,
        first: Option<OwnCall>,
        ticket: Ticket<R, E>,
    ) -> Self {
        Self { call, lane, first, ticket, is_answered: false, is_reentrant: false }
    }
}

impl<R, E: From<LaneError>> TaskCall<R, E> {
    /// Makes the call: waits for its turn, and polls the future of `attempt`. If the lane retries the call, it waits for another
    /// turn and makes another future.
    pub(crate) async fn run<F>(mut self, mut attempt: impl FnMut() -> F) -> Result<R, E>
    where
        F: Future<Output = Result<R, E>>,
    {
        loop {
            let turn = match self.next_turn().await {
                Ok(turn) => turn,
                Err(answer) => return answer,
            };
            let attempt = &mut attempt;
            // The closure is code of the caller too. Within the attempt its panic is caught.
            let mut attempt = pin!(turn.run(async move { attempt().await }));
            let cut_off = poll_fn(|context| self.poll_attempt(attempt.as_mut(), context));
            if let Some(answer) = cut_off.await {
                return answer;
            }
        }
    }

    /// Makes a call that the lane never repeats.
    pub(crate) async fn run_once(
        mut self,
        attempt: impl Future<Output = Result<R, E>>,
    ) -> Result<R, E> {
        match self.next_turn().await {
            Ok(turn) => {
                let mut attempt = pin!(turn.run(attempt));
                let cut_off = poll_fn(|context| self.poll_attempt(attempt.as_mut(), context));
                if let Some(answer) = cut_off.await {
                    return answer;
                }
            }
            Err(answer) => return answer,
        }
        loop {
            // There is no second turn: its work is not repeatable.
            if let Err(answer) = self.next_turn().await {
                return answer;
            }
        }
    }

    /// Waits for a turn. The error is the answer, if it comes first.
    async fn next_turn(&mut self) -> Result<Turn<R, E>, Result<R, E>> {
        let own = match self.first.take() {
            Some(own) => own,
            None => poll_fn(|context| self.poll_turn(context)).await?,
        };
        Ok(Turn::new(Arc::clone(&self.call), own))
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Result<OwnCall, Result<R, E>>> {
        // First the waker: a turn that is offered after this wakes the task.
        if let Poll::Ready(answer) = self.poll_answer(context) {
            return Poll::Ready(Err(answer));
        }
        if let Some(own) = self.lane.take_turn(self.call.meta()) {
            return Poll::Ready(Ok(own));
        }
        if !self.is_reentrant {
            let job = || Arc::clone(&self.call).as_queued_call();
            self.is_reentrant = self.lane.begin_reentrant_wait(job).is_some();
        }
        Poll::Pending
    }

    /// Polls an attempt to its end. Returns the answer, if the call has one before: the lane was closed, and has cut it off. Drop the
    /// attempt then.
    fn poll_attempt(
        &mut self,
        attempt: Pin<&mut impl Future<Output = ()>>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<R, E>>> {
        match attempt.poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => self.poll_answer(context).map(Some),
        }
    }

    /// Takes the answer, if the call has one.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<R, E>> {
        self.ticket.poll_answer(context.waker()).map(|answer| {
            self.is_answered = true;
            answer.unwrap_or_else(|error| Err(error.into()))
        })
    }
}

impl<R, E> Drop for TaskCall<R, E> {
    fn drop(&mut self) {
        if self.is_reentrant {
            self.lane.awaited_calls.end_wait(self.call.meta().number);
        }
        if self.is_answered {
            return;
        }
        // Reported as cancelled, if it was not sent.
        drop(self.first.take());
        let meta = self.call.meta();
        self.lane.leave(meta);
        // An answer that is here is left to the ticket, which reports it as late.
        if !self.ticket.take_back() {
            // A worker is about to offer the turn, or to park the call. It sees then that the caller has left.
            Arc::clone(&self.call).as_queued_call().recall();
            self.ticket.take_back();
        }
        // It may have done so in between.
        self.lane.leave(meta);
    }
}
