//! A call on its way through a lane.
//!
//! A [`Task`] knows the types of one call, a [`Job`] hides them. A task answers its caller exactly
//! once: when it is told to, or, should it be dropped before, as it is dropped. Which answer that
//! is depends on one thing, whether the call had begun.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Effect;
use super::error::LaneError;
use super::queue::Place;
use crate::Sent;
use crate::quota::Moment;

/// A call in the queue.
pub(super) struct Job {
    pub(super) task: Box<dyn Run>,
    pub(super) entered: Moment,
    /// Its place in the queue, free again once the job is chosen or dropped.
    pub(super) place: Place,
}

impl Job {
    pub(super) fn new(task: Box<dyn Run>, entered: Moment, place: Place) -> Self {
        Self { task, entered, place }
    }
}

/// What a worker does with a call, whatever its types.
pub(super) trait Run: Send {
    /// Makes the call. Panics are caught. Says whether the call left this process.
    fn run(&mut self) -> Sent;
    fn method(&self) -> &'static str;
    fn effect(&self) -> Effect;
}

/// One call, with its types.
pub(super) struct Task<R, W, S> {
    lane: &'static str,
    method: &'static str,
    effect: Effect,
    state: State<R, W, S>,
    answer: Option<oneshot::Sender<Result<R, LaneError>>>,
}

enum State<R, W, S> {
    Queued { work: W, sent: S },
    Begun,
    Over(Result<R, LaneError>),
}

impl<R, W, S> Task<R, W, S> {
    pub(super) fn new(
        lane: &'static str,
        method: &'static str,
        effect: Effect,
        work: W,
        sent: S,
        answer: oneshot::Sender<Result<R, LaneError>>,
    ) -> Self {
        let state = State::Queued { work, sent };
        Self { lane, method, effect, state, answer: Some(answer) }
    }
}

impl<R, W, S> Run for Task<R, W, S>
where
    R: Send,
    W: FnOnce() -> R + Send,
    S: FnOnce(&R) -> Sent + Send,
{
    fn run(&mut self) -> Sent {
        let State::Queued { work, sent } = std::mem::replace(&mut self.state, State::Begun) else {
            return Sent::Unknown;
        };
        let outcome = contain(|| {
            let result = work();
            let sent = sent(&result);
            (result, sent)
        });
        match outcome {
            Ok((result, sent)) => {
                self.state = State::Over(Ok(result));
                sent
            }
            Err(message) => {
                self.state = State::Over(Err(LaneError::Panicked {
                    lane: self.lane,
                    method: self.method,
                    effect: self.effect,
                    message,
                }));
                Sent::Unknown
            }
        }
    }

    fn method(&self) -> &'static str {
        self.method
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

impl<R, W, S> Drop for Task<R, W, S> {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        let (lane, method) = (self.lane, self.method);
        let result = match std::mem::replace(&mut self.state, State::Begun) {
            State::Over(result) => result,
            State::Queued { .. } => Err(LaneError::Closed { lane, method }),
            State::Begun => Err(LaneError::Lost { lane, method }),
        };
        // A caller that is gone needs no answer.
        let _ = answer.send(result);
    }
}

/// Runs code that is not ours. A panic ends here; its words are the error.
pub(super) fn contain<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    // What `code` owns is dropped with it, and what it shares has to be sound for others anyway.
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let words = words_of(&*panic);
        // What was thrown may panic as it is dropped, so it is not.
        std::mem::forget(panic);
        words
    })
}

/// What a panic said, when it said it in words.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied();
    words
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task<R: Send>(
        work: impl FnOnce() -> R + Send,
    ) -> (Box<impl Run>, oneshot::Receiver<Result<R, LaneError>>) {
        let (answer, waiter) = oneshot::channel();
        let task = Task::new("lane", "method", Effect::Write, work, |_: &R| Sent::Yes, answer);
        (Box::new(task), waiter)
    }

    #[test]
    fn a_call_that_ran_is_answered_with_its_result() {
        let (mut task, waiter) = task(|| 7);
        assert_eq!(task.run(), Sent::Yes);
        drop(task);
        assert_eq!(waiter.recv(), Ok(Ok(7)));
    }

    #[test]
    fn a_call_dropped_before_it_began_was_not_sent() {
        let (task, waiter) = task(|| 7);
        drop(task);
        assert_eq!(waiter.recv().unwrap().unwrap_err().was_sent(), Sent::No);
    }

    #[test]
    fn a_panic_is_answered_as_unknown() {
        let (mut task, waiter) = task(|| -> u8 { panic!("bad {}", "day") });
        assert_eq!(task.run(), Sent::Unknown);
        drop(task);
        let error = waiter.recv().unwrap().unwrap_err();
        assert_eq!(error.was_sent(), Sent::Unknown);
        assert!(error.to_string().ends_with("unknown: bad day"), "{error}");
    }

    #[test]
    fn a_call_runs_once_even_if_told_twice() {
        let mut runs = 0;
        let (mut task, waiter) = {
            let (answer, waiter) = oneshot::channel();
            let work = || runs += 1;
            (Task::new("lane", "m", Effect::Write, work, |_: &()| Sent::Yes, answer), waiter)
        };
        task.run();
        task.run();
        drop(task);
        assert!(waiter.recv().is_ok());
        assert_eq!(runs, 1);
    }
}
