//! The life of one call: a small state machine that its caller and its lane race on.
//!
//! ```text
//! Queued --dispatch--> Dispatched --complete, cut_off--> Answered --take, give_up, leave--> Over
//!   | | \                  |                                ^
//!   | |  `--refuse---------|--------------------------------'
//!   | `--give_up--> Over   |`--give_up, leave--> Abandoned --complete--> Over: the answer is late
//!   |                       `--give_up, before the work begins--> Over
//!   `--leave--> QueuedDetached --dispatch--> Abandoned
//!                  `--refuse--> Over
//! Dispatched --requeue--> Queued: it failed, and may be sent again
//! ```
//!
//! A call that was cut off may come back later: that answer is late too.
//!
//! All of it is under one lock, so each step happens wholly or not at all. Two things follow, on
//! which everything else rests. Who wins `dispatch` against `refuse`, and `begin` against `give_up` and `cut_off`,
//! decides whether the call is sent: it is never both sent and called unsent. And an answer is handed out by exactly
//! one of `take`, `give_up`, `leave` and a late `complete`: it is never lost, and never doubled.
//!
//! Code that is not ours (a waker, the work, what the work gave) is neither run nor dropped under
//! the lock: each method hands out what is left over.

use std::task::{Poll, Waker};

use crate::clock::{Clock, IdleGuard};
use crate::lane::sync::{Condvar, Mutex, MutexGuard, wait};
use crate::panic::catch_panic;
use crate::quota::Moment;

enum Stage<W, A> {
    Queued(W),
    /// Still to be sent, and its caller has left; the answer will be late.
    QueuedDetached(W),
    /// Chosen; the work is here until it begins.
    InFlight(Option<W>),
    /// Chosen, and its caller has left; the answer will be late.
    InFlightDetached(Option<W>),
    Completed(A),
    Closed,
}

struct Inner<W, A> {
    stage: Stage<W, A>,
    /// Who is woken by the answer, beside the thread that waits.
    waker: Option<Waker>,
    /// While a thread waits, if it is one for which a clock that jumps stands still: in tests alone.
    idle_guard: Option<Box<IdleGuard>>,
}

/// One call, as its caller and its lane both hold it. `W` is the work, `A` the answer.
pub(crate) struct CallState<W, A> {
    inner: Mutex<Inner<W, A>>,
    ready: Condvar,
}

/// How long a caller waits.
#[derive(Clone, Copy)]
pub(crate) enum WaitLimit<'a> {
    /// Until it is answered.
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

    /// Sleeps once on `told`; says whether that was enough.
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
                // Whether the time has come is asked of the clock.
                (guard, clock.now() >= until)
            }
            // The model checker has no time.
            #[cfg(loom)]
            Self::Until(..) => (wait(condvar, guard), false),
        }
    }
}

/// What a caller that leaves finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Abandoned<A> {
    /// It had not been sent, and never will be.
    NeverSent,
    /// It is under way; its answer will be late.
    InFlight,
    /// The answer had come already.
    Completed(A),
    /// There was nothing left to give up.
    Closed,
}

impl<W, A> CallState<W, A> {
    pub(crate) fn new(work: W) -> Self {
        let inner = Inner { stage: Stage::Queued(work), waker: None, idle_guard: None };
        Self { inner: Mutex::new(inner), ready: Condvar::new() }
    }

    /// The lane chooses the call. From when its work begins it counts as sent.
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

    /// The work of a call that was chosen. Once.
    pub(crate) fn take_work(&self) -> Option<W> {
        match &mut self.inner.lock().stage {
            Stage::InFlight(work) | Stage::InFlightDetached(work) => work.take(),
            _ => None,
        }
    }

    /// The call is not over: it waits for another turn, if its caller still waits for it.
    pub(crate) fn requeue(&self, work: W) -> Result<(), W> {
        let mut inner = self.inner.lock();
        match inner.take_stage() {
            Stage::InFlight(None) => {
                inner.stage = Stage::Queued(work);
                Ok(())
            }
            other => {
                inner.stage = other;
                Err(work)
            }
        }
    }

    /// The lane answers in place of the broker, if the call is still queued. The answer may depend on
    /// the work, which is given back; and so is the answer, if nobody waits for it.
    pub(crate) fn reject(&self, answer: impl FnOnce(&mut W) -> A) -> Option<(W, Option<A>)> {
        let mut inner = self.inner.lock();
        match inner.take_stage() {
            Stage::Queued(mut work) => {
                let answer = answer(&mut work);
                if let Some(waker) = self.publish(inner, answer) {
                    // Whoever answers has other callers to answer too.
                    let _ = catch_panic(|| waker.wake());
                }
                Some((work, None))
            }
            Stage::QueuedDetached(mut work) => {
                let unheard = answer(&mut work);
                Some((work, Some(unheard)))
            }
            other => {
                inner.stage = other;
                None
            }
        }
    }

    /// The lane waits no longer for a call that was chosen: its caller is answered. Work that has not begun
    /// never will; the answer may depend on it, and it is given back. `None`: the call is not under way, or
    /// its caller has left already.
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

    /// Whether it is queued.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.inner.lock().stage, Stage::Queued(_) | Stage::QueuedDetached(_))
    }

    /// Whether there is no answer yet.
    pub(crate) fn is_pending(&self) -> bool {
        !matches!(self.inner.lock().stage, Stage::Completed(_) | Stage::Closed)
    }

    /// The call is over. Gives who else is to be woken; or the answer back, if nobody waits for it any
    /// more.
    pub(crate) fn complete(&self, answer: A) -> Result<Option<Waker>, A> {
        let mut inner = self.inner.lock();
        match inner.take_stage() {
            // The work was taken out by `begin`.
            Stage::InFlight(_) => Ok(self.publish(inner, answer)),
            Stage::InFlightDetached(_) => Err(answer),
            other => {
                inner.stage = other;
                Err(answer)
            }
        }
    }

    /// The caller leaves, and takes the call back if it was not sent. Work that was never sent is
    /// handed out, to be dropped.
    pub(crate) fn abandon(&self) -> (Abandoned<A>, Option<W>) {
        self.detach_with(|inner| match inner.take_stage() {
            // Chosen, and not begun: it never will be, however long its worker still takes.
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

    /// The caller leaves, and the call goes on without it. Gives the answer if it had come already.
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

    /// Who leaves takes its waker along: a worker that others rely on would drop it at the end.
    fn detach_with<T>(&self, leave: impl FnOnce(&mut Inner<W, A>) -> T) -> T {
        let (left, waker) = {
            let mut inner = self.inner.lock();
            (leave(&mut inner), inner.waker.take())
        };
        let _ = catch_panic(|| drop(waker));
        left
    }

    /// The answer, if it is here.
    pub(crate) fn take_answer(&self) -> Option<A> {
        self.inner.lock().take_answer()
    }

    /// Whether the answer was handed out already.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.inner.lock().stage, Stage::Closed)
    }

    /// The answer, if it is here; or else `waker` is woken once it is. `Ready(None)`: somebody has
    /// it already.
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

    /// Waits for the answer, for as long as `sleep` does. `rest` is asked before it sleeps. `None`: it
    /// did not come in that time, or somebody has it already.
    pub(crate) fn wait(
        &self,
        sleep: WaitLimit<'_>,
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
            let enough;
            (inner, enough) = sleep.wait_once(&self.ready, inner);
            if enough {
                break inner.take_answer();
            }
        };
        inner.idle_guard = None;
        answer
    }

    /// Hands the answer over and wakes who waits, with the lock given back first. Gives the waker of
    /// a task, whose code is not ours.
    fn publish(&self, mut inner: MutexGuard<'_, Inner<W, A>>, answer: A) -> Option<Waker> {
        inner.stage = Stage::Completed(answer);
        let waker = inner.waker.take();
        // Who is told is awake from now on, and not only once it runs.
        inner.idle_guard = None;
        drop(inner);
        self.ready.notify_all();
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
