//! A call on its way through a lane.
//!
//! A [`Task`] knows the types of one call. Its lane holds it as [`Queued`], which does not, and its
//! caller as [`Waits`]; both are the same allocation. What may become of it is in `life.rs`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::error::{LaneError, LaneErrorKind};
use super::life::{GiveUp, Life, Sleep};
use super::places::Place;
use super::priority::Priority;
use super::within::Within;
use crate::clock::Clock;
use crate::contain::contain;
use crate::quota::{Cost, Moment};
use crate::{Effect, ErrorClass, Failure, Sent};

/// What is known of a call, whatever its types.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) number: u64,
    pub(crate) lane: &'static str,
    pub(crate) method: &'static str,
    pub(crate) effect: Effect,
    pub(crate) priority: Priority,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) charge: Cost,
    pub(crate) route: &'static str,
    pub(crate) entered: Moment,
    pub(crate) deadline: Option<Moment>,
    /// How long it was to wait when it came, if that was asked.
    pub(crate) estimated_wait: Option<Duration>,
    /// How often it was chosen.
    pub(crate) attempts: AtomicU32,
    /// The calls that led to it.
    pub(super) within: Option<Arc<Within>>,
    #[cfg(feature = "tracing")]
    pub(crate) caller: crate::telemetry::CallerSpan,
}

impl Info {
    /// How often it was sent, this time included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Whether it may not be refused for the sake of other calls.
    pub(crate) fn is_urgent(&self) -> bool {
        self.charge.urgent
    }

    pub(crate) fn error(&self, reason: LaneErrorKind) -> LaneError {
        LaneError { lane: self.lane, method: self.method, effect: self.effect, kind: reason }
    }
}

/// The answer to a call: what the work gave, or what the lane has to say instead.
pub(crate) type Answer<R> = Result<R, LaneError>;

/// How an attempt ended, as far as it is no matter of types.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// What is known of the failure, if it was one.
    pub(crate) failure: Option<Failure>,
    /// The first is 1.
    pub(crate) number: u32,
    /// Whether the work can be done again.
    pub(crate) is_repeatable: bool,
    /// Code on our side panicked: that tells nothing of the broker.
    pub(crate) panicked: bool,
}

impl Attempt {
    pub(super) fn was_sent(&self) -> Sent {
        self.failure.map_or(Sent::Yes, |failure| failure.class.was_sent())
    }
}

/// What came of refusing a call, or of cutting it off.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Answered already, or under way.
    TooLate,
    /// Cut off under way: what becomes of it is unknown.
    Unanswered,
    /// Never sent.
    Unsent,
    /// Tried before: it was answered with what this attempt came to. If the caller had left, the answer is
    /// here: an [`Answer`] of its type.
    Tried(Attempt, Option<Box<dyn Any + Send>>),
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Next {
    #[default]
    Answer,
    Again,
}

/// What is left to do once a call was made.
#[derive(Default)]
pub(crate) struct Ran {
    pub(crate) next: Next,
    /// Who is to be woken for the answer.
    pub(crate) waker: Option<Waker>,
    /// The answer, if the caller has left: an [`Answer`] of its type.
    pub(crate) late: Option<Box<dyn Any + Send>>,
    /// It was to go again, but its caller left: this attempt was the last.
    pub(crate) last: Option<Attempt>,
}

/// What a lane does with a call.
pub(crate) trait Queued: Send + Sync {
    fn info(&self) -> &Info;
    /// Chooses it. From now on it counts as sent.
    fn dispatch(&self) -> bool;
    /// Whether it is queued.
    fn is_queued(&self) -> bool;
    /// Whether there is no answer yet.
    fn is_open(&self) -> bool;
    /// Makes the call that was chosen. A panic of the work is caught. `finished` is told before the
    /// caller is, and says what follows; `answering` is told just before that. Between the two and
    /// the end no code runs that is not ours.
    fn run(&self, finished: &mut dyn FnMut(Attempt) -> Next, answering: &mut dyn FnMut()) -> Ran;
    /// Answers in place of the broker, if it is still queued: with `reason`, or with what the last
    /// attempt came to if there was one. Its place in the queue is free before its caller is told;
    /// or it is put `into` somebody's hand. One that waited for another attempt has none.
    fn refuse(&self, reason: LaneErrorKind, into: Option<&mut Option<Place>>) -> Refusal;
    /// Answers in place of the broker, if it is under way and its caller waits: with `reason`. If it has not
    /// begun it never will, and is answered as one that was queued when its lane was closed, or with what its last
    /// attempt came to.
    fn cut_off(&self, reason: LaneErrorKind) -> Refusal;
}

/// What a caller does with its call.
pub(crate) trait Waits<R>: Send + Sync {
    fn info(&self) -> &Info;
    fn take(&self) -> Option<Answer<R>>;
    /// Whether the answer was handed out already.
    fn is_over(&self) -> bool;
    fn poll(&self, waker: &Waker) -> Poll<Option<Answer<R>>>;
    /// Waits for as long as `sleep` does.
    fn wait(&self, sleep: Sleep<'_>, clock: &Clock) -> Option<Answer<R>>;
    /// Leaves, whatever stage it is in. A call that was not sent never will be; one that waited for
    /// another attempt gives what this one came to.
    fn give_up(&self) -> (GiveUp<Answer<R>>, Option<Attempt>);
    /// Leaves, and lets the call go on. `late` is told of the answer if it had come already.
    fn leave(&self, late: &mut dyn FnMut(&dyn Any));
    /// Takes it back if it is still queued. One that waits for another attempt is answered with what
    /// the last one came to.
    fn cancel(&self) -> Refusal;
    /// Whether it was taken back in time, and so never sent.
    fn was_taken_back(&self) -> bool;
    /// The same call, as its lane has it.
    fn as_queued(self: Arc<Self>) -> Arc<dyn Queued>;
}

/// What is to be done for a call.
pub(crate) trait Work<R>: Send {
    /// Does it. `None`: it was done already, and cannot be done twice.
    fn act(&mut self) -> Option<R>;
    /// Whether it can be done again.
    const IS_REPEATABLE: bool;
}

/// Work that is done once.
pub(crate) struct Once<F>(pub(crate) Option<F>);

impl<R, F: FnOnce() -> R + Send> Work<R> for Once<F> {
    fn act(&mut self) -> Option<R> {
        self.0.take().map(|work| work())
    }
    const IS_REPEATABLE: bool = false;
}

/// Work that can be done again.
pub(crate) struct Again<F>(pub(crate) F);

impl<R, F: FnMut() -> R + Send> Work<R> for Again<F> {
    fn act(&mut self) -> Option<R> {
        Some((self.0)())
    }
    const IS_REPEATABLE: bool = true;
}

struct Load<R, W, C> {
    work: W,
    /// Tells what is known of a result that is a failure.
    failure: C,
    /// Its place in the queue, free as soon as it is queued no more.
    place: Option<Place>,
    /// What the last attempt came to, while it waits for the next. Few calls ever do: it takes no room
    /// in the others.
    last: Option<Box<(R, Attempt)>>,
}

/// One call, with its types.
pub(crate) struct Task<R, W, C> {
    info: Info,
    taken_back: AtomicBool,
    life: Life<Load<R, W, C>, Answer<R>>,
}

impl<R, W, C> Task<R, W, C> {
    pub(crate) fn new(info: Info, place: Place, work: W, failure: C) -> Self {
        let load = Load { work, failure, place: Some(place), last: None };
        Self { info, taken_back: AtomicBool::new(false), life: Life::new(load) }
    }
}

impl<R, W, C> Queued for Task<R, W, C>
where
    R: Send + 'static,
    W: Work<R>,
    C: Fn(&R) -> Option<Failure> + Send,
{
    fn info(&self) -> &Info {
        &self.info
    }

    fn dispatch(&self) -> bool {
        let is_chosen = self.life.dispatch();
        if is_chosen {
            // Read by whoever makes the call, which is the same thread.
            self.info.attempts.fetch_add(1, Ordering::Relaxed);
        }
        is_chosen
    }

    fn is_queued(&self) -> bool {
        self.life.is_queued()
    }

    fn is_open(&self) -> bool {
        self.life.is_open()
    }

    fn run(&self, finished: &mut dyn FnMut(Attempt) -> Next, answering: &mut dyn FnMut()) -> Ran {
        let Some(mut load) = self.life.begin() else { return Ran::default() };
        drop(load.place.take());
        let outcome = contain(|| {
            let result = load.work.act()?;
            let failure = (load.failure)(&result);
            Some((result, failure))
        });
        let (answer, failure, is_repeatable) = match outcome {
            Ok(Some((result, failure))) => (Ok(result), failure, W::IS_REPEATABLE),
            Ok(None) => (Err(self.info.error(LaneErrorKind::AlreadyTaken)), None, false),
            Err(message) => {
                let panicked = self.info.error(LaneErrorKind::Panicked { message });
                (Err(panicked), Some(ErrorClass::unknown(self.info.effect).into()), false)
            }
        };
        // What the attempt before came to is no news any more.
        let _ = contain(|| drop(load.last.take()));
        let panicked = answer.is_err() && failure.is_some();
        let number = self.info.attempts();
        let attempt = Attempt { failure, number, is_repeatable, panicked };
        let next = finished(attempt);
        let mut ended = None;
        let answer = match (next, answer) {
            (Next::Again, Ok(result)) => {
                load.last = Some(Box::new((result, attempt)));
                match self.life.requeue(load) {
                    Ok(()) => return Ran { next: Next::Again, ..Ran::default() },
                    // Its caller has left.
                    Err(mut load) => {
                        let last = load.last.take();
                        let _ = contain(|| drop(load));
                        ended = Some(attempt);
                        match last {
                            Some(last) => Ok(last.0),
                            None => return Ran::default(),
                        }
                    }
                }
            }
            (_, answer) => {
                let _ = contain(|| drop(load));
                answer
            }
        };
        answering();
        match self.life.complete(answer) {
            Ok(waker) => Ran { waker, ..Ran::default() },
            Err(answer) => Ran { late: Some(Box::new(answer)), last: ended, ..Ran::default() },
        }
    }

    fn refuse(&self, reason: LaneErrorKind, into: Option<&mut Option<Place>>) -> Refusal {
        let mut tried = None;
        let refusal = |load: &mut Load<R, W, C>| {
            let place = load.place.take();
            if let Some(hand) = into {
                *hand = place;
            }
            match load.last.take() {
                Some(last) => {
                    tried = Some(last.1);
                    Ok(last.0)
                }
                None => {
                    // Under the lock: whoever finds the call gone sees why.
                    self.taken_back.store(reason == LaneErrorKind::Cancelled, Ordering::Relaxed);
                    Err(self.info.error(reason))
                }
            }
        };
        let Some((load, unheard)) = self.life.refuse(refusal) else { return Refusal::TooLate };
        let _ = contain(|| drop(load));
        match tried {
            // That it was never sent is told as such: this answer is ours alone.
            None => Refusal::Unsent,
            Some(attempt) => Refusal::Tried(attempt, unheard.map(|answer| Box::new(answer) as _)),
        }
    }

    fn cut_off(&self, reason: LaneErrorKind) -> Refusal {
        let mut refusal = Refusal::Unanswered;
        let answer = |load: Option<&mut Load<R, W, C>>| {
            let Some(load) = load else { return Err(self.info.error(reason)) };
            drop(load.place.take());
            match load.last.take() {
                Some(last) => {
                    refusal = Refusal::Tried(last.1, None);
                    Ok(last.0)
                }
                None => {
                    refusal = Refusal::Unsent;
                    Err(self.info.error(LaneErrorKind::Closed))
                }
            }
        };
        let Some(load) = self.life.cut_off(answer) else { return Refusal::TooLate };
        let _ = contain(|| drop(load));
        refusal
    }
}

impl<R, W, C> Waits<R> for Task<R, W, C>
where
    R: Send + 'static,
    W: Work<R> + 'static,
    C: Fn(&R) -> Option<Failure> + Send + 'static,
{
    fn info(&self) -> &Info {
        &self.info
    }

    fn take(&self) -> Option<Answer<R>> {
        self.life.take()
    }

    fn is_over(&self) -> bool {
        self.life.is_over()
    }

    fn poll(&self, waker: &Waker) -> Poll<Option<Answer<R>>> {
        self.life.poll(waker)
    }

    fn wait(&self, sleep: Sleep<'_>, clock: &Clock) -> Option<Answer<R>> {
        self.life.wait(sleep, || clock.rest(sleep.until()))
    }

    fn give_up(&self) -> (GiveUp<Answer<R>>, Option<Attempt>) {
        let (found, load) = self.life.give_up();
        let last = load.and_then(|mut load| {
            let last = load.last.take();
            let _ = contain(|| drop(load));
            last
        });
        match last {
            Some(last) => (GiveUp::Answered(Ok(last.0)), Some(last.1)),
            None => (found, None),
        }
    }

    fn leave(&self, late: &mut dyn FnMut(&dyn Any)) {
        let Some(answer) = self.life.leave() else { return };
        // That it was never sent, the observer has heard already.
        let was_sent = answer.as_ref().err().is_none_or(|error| error.was_sent() != Sent::No);
        if was_sent {
            late(&answer);
        }
    }

    fn cancel(&self) -> Refusal {
        Queued::refuse(self, LaneErrorKind::Cancelled, None)
    }

    fn was_taken_back(&self) -> bool {
        self.taken_back.load(Ordering::Relaxed)
    }

    fn as_queued(self: Arc<Self>) -> Arc<dyn Queued> {
        self
    }
}
