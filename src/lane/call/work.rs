//! The work of a call: a closure that can be executed once, or again for a retry.

/// The work of a call.
pub(crate) trait Work<R>: Send {
    /// Executes the work. Returns `None` if it was executed before and is not repeatable.
    fn execute(&mut self) -> Option<R>;
    /// Whether the work can be executed again for a retry.
    const IS_REPEATABLE: bool;
    /// Whether the caller makes each attempt itself, by a turn. Then the work is never executed.
    const IS_MADE_BY_CALLER: bool = false;
}

/// The work of a call whose caller makes each attempt itself, or the only one.
pub(crate) struct CallersWork<const IS_REPEATABLE: bool>;

impl<R, const IS_REPEATABLE: bool> Work<R> for CallersWork<IS_REPEATABLE> {
    fn execute(&mut self) -> Option<R> {
        None
    }
    const IS_REPEATABLE: bool = IS_REPEATABLE;
    const IS_MADE_BY_CALLER: bool = true;
}

/// Work that can be executed once.
pub(crate) struct OnceWork<F>(pub(crate) Option<F>);

impl<R, F: FnOnce() -> R + Send> Work<R> for OnceWork<F> {
    fn execute(&mut self) -> Option<R> {
        self.0.take().map(|work| work())
    }
    const IS_REPEATABLE: bool = false;
}

/// Work that can be executed again.
pub(crate) struct RepeatableWork<F>(pub(crate) F);

impl<R, F: FnMut() -> R + Send> Work<R> for RepeatableWork<F> {
    fn execute(&mut self) -> Option<R> {
        Some((self.0)())
    }
    const IS_REPEATABLE: bool = true;
}
