//! The right to make a call at once, on the caller's own thread or task.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::call::pending_call::{CallHandle, Outcome, OwnAttempt};
use super::core::turn::OwnCall;
use crate::panic::catch_panic;

/// The right to make a call now, without a worker of the lane: from
/// [`Lanes::submit_or_begin`](crate::proxy::Lanes::submit_or_begin).
///
/// The lane holds the slots of the call from now until [`run`](Self::run) has ended, so run it at once. Dropped before that
/// begins, the call is cancelled, and nothing was sent. To await the ticket while its turn is kept and not run is to wait for
/// ever.
#[must_use = "the call is cancelled if its turn is dropped"]
pub struct Turn<R, E> {
    call: Arc<dyn CallHandle<Result<R, E>>>,
    own: OwnCall,
}

impl<R, E> Turn<R, E> {
    pub(super) fn new(call: Arc<dyn CallHandle<Result<R, E>>>, own: OwnCall) -> Self {
        Self { call, own }
    }

    /// Makes the call: polls `attempt` to its end, and answers the ticket of the call with its output. If the lane retries
    /// the call, a worker makes the next attempt.
    ///
    /// If the returned future is dropped after `attempt` was first polled, the call counts as sent and as lost: its ticket
    /// gets [`LaneErrorKind::Dropped`](super::LaneErrorKind::Dropped), and its slots stay in use for as long as those of any
    /// call without an answer. A panic of `attempt` is caught, as a worker does. If the call was abandoned before, `attempt`
    /// is never polled.
    pub async fn run(self, attempt: impl Future<Output = Result<R, E>>) {
        let Self { call, mut own } = self;
        own.begin();
        let Some(work) = call.begin_own() else { return own.end(None) };
        // Declared first, so that it is dropped last if this future is: a call is lost only once its own future is gone.
        let mut begun = Begun { work: Some(work), own };
        let mut attempt = pin!(attempt);
        let outcome = poll_fn(|context| {
            let poll = begun.own.scope(|| catch_panic(|| attempt.as_mut().poll(context)));
            match poll {
                Ok(poll) => poll.map(Outcome::Returned),
                Err(message) => Poll::Ready(Outcome::Panicked(message)),
            }
        });
        let outcome = outcome.await;
        begun.end(outcome);
    }
}

/// An attempt that has begun. Dropped, its call is lost.
struct Begun<R> {
    work: Option<Box<dyn OwnAttempt<R>>>,
    own: OwnCall,
}

impl<R> Begun<R> {
    fn end(&mut self, outcome: Outcome<R>) {
        if let Some(work) = self.work.take() {
            let attempt = work.end(outcome);
            self.own.end(Some(attempt));
        }
    }
}

impl<R> Drop for Begun<R> {
    fn drop(&mut self) {
        self.end(Outcome::Dropped);
    }
}

impl<R, E> fmt::Debug for Turn<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("method", &self.call.meta().method).finish_non_exhaustive()
    }
}
