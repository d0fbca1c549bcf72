//! A call that has to wait for another one: the key `first` of `#[proxy]`.
//!
//! A call that waits for its answer, waits for the other call before it is queued, on its caller's thread, so it holds
//! nothing of its lane meanwhile. A call that was submitted for a ticket must not block its caller. It waits on a worker
//! of its lane, once it is dispatched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Clock;
use crate::lane::Work;
use crate::quota::Moment;

/// Another call that must have succeeded before a call is sent. It is under way, and other calls may share it.
///
/// The method that the key `first` of `#[lane(..)]` names returns it, in an `Option`: `None` if nothing is missing.
pub trait Prerequisite<E>: Send + 'static {
    /// Waits until the other call has succeeded or failed, but no longer than until `deadline`. Returns `None` at the
    /// deadline.
    ///
    /// # Errors
    /// The error of the other call. The call that waits for it is not sent, and is answered with this error.
    fn wait(&self, clock: &Clock, deadline: Option<Moment>) -> Option<Result<(), E>>;
}

/// Work that begins with the wait for a prerequisite.
pub(super) struct PrecededWork<W, P> {
    first: P,
    work: W,
    clock: Clock,
    has_failed: PrerequisiteFailed,
}

/// Whether the prerequisite of a call has failed, so that nothing of the call itself was tried.
#[derive(Clone, Default)]
pub(super) struct PrerequisiteFailed(Arc<AtomicBool>);

impl PrerequisiteFailed {
    pub(super) fn get(&self) -> bool {
        // Relaxed: set and read on the thread of the worker.
        self.0.load(Ordering::Relaxed)
    }
}

impl<W, P> PrecededWork<W, P> {
    pub(super) fn new(first: P, work: W, clock: Clock, has_failed: PrerequisiteFailed) -> Self {
        Self { first, work, clock, has_failed }
    }
}

impl<R, E, W: Work<Result<R, E>>, P: Prerequisite<E>> Work<Result<R, E>> for PrecededWork<W, P> {
    fn execute(&mut self) -> Option<Result<R, E>> {
        match self.first.wait(&self.clock, None) {
            Some(Err(error)) => {
                self.has_failed.0.store(true, Ordering::Relaxed);
                Some(Err(error))
            }
            Some(Ok(())) | None => self.work.execute(),
        }
    }

    const IS_REPEATABLE: bool = W::IS_REPEATABLE;
}
