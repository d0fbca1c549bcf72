//! The state of one call: a small state machine that its caller and its lane race on.
//!
//! | from | by | to |
//! |---|---|---|
//! | `Queued` | `dispatch` | `InFlight` |
//! | | `reject` | `Completed` |
//! | | `abandon` | `Closed`: never sent |
//! | | `detach` | `QueuedDetached` |
//! | `QueuedDetached` | `dispatch` | `InFlightDetached` |
//! | | `reject`, `abandon` | `Closed`: never sent |
//! | `InFlight`, `InFlightDetached` | `recall`, before the work begins | `Queued`, `QueuedDetached` |
//! | `InFlight` | `complete`, `cut_off` | `Completed` |
//! | | `requeue` | `Queued`: the attempt failed, and the call may be sent again |
//! | | `abandon`, before the work begins | `Closed`: never sent |
//! | | `abandon` after that, `detach` | `InFlightDetached` |
//! | `InFlightDetached` | `complete` | `Closed`: the answer is late |
//! | `Completed` | `take_answer`, `abandon`, `detach` | `Closed` |
//!
//! The answer of a call that was cut off may still come. It is late too.
//!
//! # Why a call has one outcome
//!
//! All of the state is under one lock, so each transition is atomic. Two invariants follow:
//!
//! - Whether the call is sent is decided by the winner of `dispatch` against `reject`, and of `take_work` against
//!   `abandon` and `cut_off`. So a call is never both sent and reported as unsent.
//! - An answer is returned by exactly one of `take_answer`, `abandon`, `detach` and a late `complete`. So it is never
//!   lost and never returned twice.
//!
//! User code (a waker, the work, the result) is neither run nor dropped under the lock: each method returns what
//! remains.

use std::task::{Poll, Waker};

use crate::clock::{Clock, IdleGuard};
use crate::lane::sync::{Condvar, Mutex, MutexGuard, wait};
use crate::panic::catch_panic;
use crate::quota::Moment;

enum Stage<W, A> {
    Queued(W),
    /// Queued, and its caller has detached. The answer will be late.
    QueuedDetached(W),
    /// Dispatched. The work is here until it begins.
    InFlight(Option<W>),
    /// Dispatched, and its caller has detached. The answer will be late.
    InFlightDetached(Option<W>),
    Completed(A),
    Closed,
}

struct Inner<W, A> {
    stage: Stage<W, A>,
    /// The waker of the task that polls the call. A thread that waits uses `ready`.
    waker: Option<Waker>,
    /// Whether a thread waits. To notify none costs a system call too.
    has_waiter: bool,
    /// Marks the waiting thread idle, if it participates in an auto-advancing clock. Only tests have one.
    idle_guard: Option<Box<IdleGuard>>,
}

/// The state of one call, shared by its caller and its lane. `W` is the work, `A` the answer.
pub(crate) struct CallState<W, A> {
    inner: Mutex<Inner<W, A>>,
    ready: Condvar,
}

/// How long a caller waits.
#[derive(Clone, Copy)]
pub(crate) enum WaitLimit<'a> {
    /// Until the call is answered.
    Unlimited,
    /// Until this moment of this clock.
    #[cfg_attr(loom, expect(dead_code, reason = "the model checker has no time"))]
    Until(&'a Clock, Moment),
}

impl WaitLimit<'_> {
    pub(crate) fn until(self) -> Option<Moment> {
        match self {
            Self::Unlimited => None,
            Self::Until(_, until) => Some(until),
        }
    }

    /// Sleeps once on `condvar`. Returns whether the limit is reached.
    ///
    /// Not `clock::TimedCondvar`: the model checker replaces the lock and the condition variable of this file, and a
    /// call has at most one waiting thread, so that one guard takes the place of a set.
    fn wait_once<'a, T>(
        self,
        condvar: &Condvar,
        guard: MutexGuard<'a, T>,
    ) -> (MutexGuard<'a, T>, bool) {
        match self {
            Self::Unlimited => (wait(condvar, guard), false),
            #[cfg(not(loom))]
            Self::Until(clock, until) => {
                let guard = crate::lane::sync::wait_for(condvar, guard, clock.max_wait(until));
                // Only the clock knows: the wait may end early.
                (guard, clock.now() >= until)
            }
            // The model checker has no time.
            #[cfg(loom)]
            Self::Until(..) => (wait(condvar, guard), false),
        }
    }
}

/// What a caller finds when it abandons its call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Abandoned<A> {
    /// The call was not sent, and never will be.
    NeverSent,
    /// The call is in flight. Its answer will be late.
    InFlight,
    /// The answer was there already.
    Completed(A),
    /// The answer was taken before.
    Closed,
}

impl<W, A> CallState<W, A> {
    pub(crate) fn new(work: W) -> Self {
        let stage = Stage::Queued(work);
        let inner = Inner { stage, waker: None, has_waiter: false, idle_guard: None };
        Self { inner: Mutex::new(inner), ready: Condvar::new() }
    }

    /// Dispatches the call, if it is queued. Returns whether it was. The call counts as sent once its work begins.
    pub(crate) fn dispatch(&self) -> bool {
        let mut inner = self.inner.lock();
        match inner.take_stage() {
            Stage::Queued(work) => {
                inner.stage = Stage::InFlight(Some(work));
                true
            }
            Stage::QueuedDetached(work) => {
                inner.stage = Stage::InFlightDetached(Some(work));
                true
            }
            other => {
                inner.stage = other;
                false
            }
        }
    }

    /// Queues a dispatched call again whose work has not begun. Returns whether it is queued.
    pub(crate) fn recall(&self) -> bool {
        let mut inner = self.inner.lock();
        let (stage, is_recalled) = match inner.take_stage() {
            Stage::InFlight(Some(work)) => (Stage::Queued(work), true),
            Stage::InFlightDetached(Some(work)) => (Stage::QueuedDetached(work), true),
            other => (other, false),
        };
        inner.stage = stage;
        is_recalled
    }

    /// Takes the work of a dispatched call. Returns it once.
    pub(crate) fn take_work(&self) -> Option<W> {
        match &mut self.inner.lock().stage {
            Stage::InFlight(work) | Stage::InFlightDetached(work) => work.take(),
            _ => None,
        }
    }

    /// Queues a call again after a failed attempt, if its caller still waits. `into_work` makes the work from
    /// `parts`. Returns `parts` if the caller has detached, or the call was cut off.
    pub(crate) fn requeue<T>(&self, parts: T, into_work: impl FnOnce(T) -> W) -> Result<(), T> {
        let mut inner = self.inner.lock();
        match inner.take_stage() {
            Stage::InFlight(None) => {
                inner.stage = Stage::Queued(into_work(parts));
                Ok(())
            }
            other => {
                inner.stage = other;
                Err(parts)
            }
        }
    }

    /// Answers in place of the broker, if the call is still queued. `answer` may use the work, which is returned.
    /// If the caller has detached, the answer is returned too.
    pub(crate) fn reject(&self, answer: impl FnOnce(&mut W) -> A) -> Option<(W, Option<A>)> {
        let mut inner = self.inner.lock();
        match inner.take_stage() {
            Stage::Queued(mut work) => {
                let answer = answer(&mut work);
                if let Some(waker) = self.publish(inner, answer) {
                    // A panic must not reach the lane, which has other callers to answer.
                    let _ = catch_panic(|| waker.wake());
                }
                Some((work, None))
            }
            Stage::QueuedDetached(mut work) => {
                let late_answer = answer(&mut work);
                Some((work, Some(late_answer)))
            }
            other => {
                inner.stage = other;
                None
            }
        }
    }

    /// Answers the caller of a call in flight, because the lane waits for it no longer. Work that has not begun never
    /// will: `answer` may use it, and it is returned. Returns `None` if the call is not in flight, or its caller has
    /// detached.
    pub(crate) fn cut_off(&self, answer: impl FnOnce(Option<&mut W>) -> A) -> Option<Option<W>> {
        let mut inner = self.inner.lock();
        match inner.take_stage() {
            Stage::InFlight(mut work) => {
                let answer = answer(work.as_mut());
                if let Some(waker) = self.publish(inner, answer) {
                    let _ = catch_panic(|| waker.wake());
                }
                Some(work)
            }
            other => {
                inner.stage = other;
                None
            }
        }
    }

    /// Returns whether the call is queued.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.inner.lock().stage, Stage::Queued(_) | Stage::QueuedDetached(_))
    }

    /// Returns whether the call has no answer yet.
    pub(crate) fn is_pending(&self) -> bool {
        !matches!(self.inner.lock().stage, Stage::Completed(_) | Stage::Closed)
    }

    /// Publishes the answer of a call in flight. Returns the waker of the task that polls it; or the answer, if the
    /// caller has detached or was answered before.
    pub(crate) fn complete(&self, answer: A) -> Result<Option<Waker>, A> {
        let mut inner = self.inner.lock();
        match inner.take_stage() {
            // `take_work` has taken the work out.
            Stage::InFlight(_) => Ok(self.publish(inner, answer)),
            Stage::InFlightDetached(_) => Err(answer),
            other => {
                inner.stage = other;
                Err(answer)
            }
        }
    }

    /// Abandons the call on behalf of its caller. If it was not sent, it never will be. Returns the work that was
    /// never sent, for the caller to drop.
    pub(crate) fn abandon(&self) -> (Abandoned<A>, Option<W>) {
        self.detach_with(|inner| match inner.take_stage() {
            // Dispatched work that has not begun never will, however late its worker gets to it.
            Stage::Queued(work) | Stage::QueuedDetached(work) | Stage::InFlight(Some(work)) => {
                (Abandoned::NeverSent, Some(work))
            }
            Stage::InFlight(work @ None) | Stage::InFlightDetached(work) => {
                inner.stage = Stage::InFlightDetached(work);
                (Abandoned::InFlight, None)
            }
            Stage::Completed(answer) => (Abandoned::Completed(answer), None),
            Stage::Closed => (Abandoned::Closed, None),
        })
    }

    /// Detaches the caller, and lets the call go on. Returns the answer if it is there already.
    pub(crate) fn detach(&self) -> Option<A> {
        self.detach_with(|inner| {
            match inner.take_stage() {
                Stage::Queued(work) | Stage::QueuedDetached(work) => {
                    inner.stage = Stage::QueuedDetached(work)
                }
                Stage::InFlight(work) | Stage::InFlightDetached(work) => {
                    inner.stage = Stage::InFlightDetached(work);
                }
                Stage::Completed(answer) => return Some(answer),
                Stage::Closed => {}
            }
            None
        })
    }

    /// Runs `leave` under the lock, and drops the waker after it. The caller drops its waker itself: it is user code,
    /// and a worker would run it while other calls rely on that worker.
    fn detach_with<T>(&self, leave: impl FnOnce(&mut Inner<W, A>) -> T) -> T {
        let (result, waker) = {
            let mut inner = self.inner.lock();
            (leave(&mut inner), inner.waker.take())
        };
        let _ = catch_panic(|| drop(waker));
        result
    }

    /// Takes the answer, if it is there.
    pub(crate) fn take_answer(&self) -> Option<A> {
        self.inner.lock().take_answer()
    }

    /// Returns whether the call is closed: its answer was taken, or the call was never sent.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.inner.lock().stage, Stage::Closed)
    }

    /// Takes the answer, if it is there. Otherwise keeps `waker`, and wakes it once the answer is there. Returns
    /// `Ready(None)` if the call is closed.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Option<A>> {
        let fresh = waker.clone();
        let mut inner = self.inner.lock();
        let poll = match inner.take_answer() {
            Some(answer) => return Poll::Ready(Some(answer)),
            None if matches!(inner.stage, Stage::Closed) => Poll::Ready(None),
            None => Poll::Pending,
        };
        let stale = inner.waker.replace(fresh);
        drop(inner);
        drop(stale);
        poll
    }

    /// Takes the waker of the task that polls the call.
    pub(crate) fn take_waker(&self) -> Option<Waker> {
        self.inner.lock().waker.take()
    }

    /// Blocks until the answer is there or `limit` is reached. Calls `mark_idle` once, before the first sleep.
    /// Returns `None` if the answer did not come in time, or the call is closed.
    pub(crate) fn wait(
        &self,
        limit: WaitLimit<'_>,
        mark_idle: impl FnOnce() -> Option<IdleGuard>,
    ) -> Option<A> {
        let mut inner = self.inner.lock();
        let mut mark_idle = Some(mark_idle);
        let answer = loop {
            if let Some(answer) = inner.take_answer() {
                break Some(answer);
            }
            if matches!(inner.stage, Stage::Closed) {
                break None;
            }
            if let Some(mark_idle) = mark_idle.take() {
                inner.idle_guard = mark_idle().map(Box::new);
            }
            let is_reached;
            inner.has_waiter = true;
            (inner, is_reached) = limit.wait_once(&self.ready, inner);
            inner.has_waiter = false;
            if is_reached {
                break inner.take_answer();
            }
        };
        inner.idle_guard = None;
        answer
    }

    /// Publishes the answer, releases the lock, then wakes the waiting thread. Returns the waker of a task: waking it
    /// runs user code.
    fn publish(&self, mut inner: MutexGuard<'_, Inner<W, A>>, answer: A) -> Option<Waker> {
        inner.stage = Stage::Completed(answer);
        let waker = inner.waker.take();
        // Mark the waiter active before it is scheduled, so that an auto-advancing clock does not advance in between.
        inner.idle_guard = None;
        let has_waiter = inner.has_waiter;
        drop(inner);
        if has_waiter {
            self.ready.notify_all();
        }
        waker
    }
}

impl<W, A> Inner<W, A> {
    fn take_stage(&mut self) -> Stage<W, A> {
        std::mem::replace(&mut self.stage, Stage::Closed)
    }

    fn take_answer(&mut self) -> Option<A> {
        match self.take_stage() {
            Stage::Completed(answer) => Some(answer),
            other => {
                self.stage = other;
                None
            }
        }
    }
}
