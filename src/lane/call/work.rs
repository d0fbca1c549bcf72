//! The work of a call: a closure that can be executed once, or again for a retry.

/// What is to be done for a call.
pub(crate) trait Work<R>: Send {
    /// Does it. `None`: it was done already, and cannot be done twice.
    fn execute(&mut self) -> Option<R>;
    /// Whether it can be done again.
    const IS_REPEATABLE: bool;
}

/// Work that is done once.
pub(crate) struct OnceWork<F>(pub(crate) Option<F>);

impl<R, F: FnOnce() -> R + Send> Work<R> for OnceWork<F> {
    fn execute(&mut self) -> Option<R> {
        self.0.take().map(|work| work())
    }
    const IS_REPEATABLE: bool = false;
}

/// Work that can be done again.
pub(crate) struct RepeatableWork<F>(pub(crate) F);

impl<R, F: FnMut() -> R + Send> Work<R> for RepeatableWork<F> {
    fn execute(&mut self) -> Option<R> {
        Some((self.0)())
    }
    const IS_REPEATABLE: bool = true;
}
