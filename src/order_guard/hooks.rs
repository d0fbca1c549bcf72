//! Who is told of what is in no answer: an order that turns up late, and an exit that is not in the journal.

use std::fmt;
use std::sync::Arc;

use super::recover::RecoveredOrder;
use crate::broker::OrderRequest;
use crate::panic::catch_panic;

/// Who is told.
#[derive(Debug, Default)]
pub(super) struct GuardHooks {
    /// Of orders that turn up after their callers were answered.
    pub(super) on_turned_up: Hook<RecoveredOrder>,
    /// Of exits that are not in the journal.
    pub(super) on_unrecorded: Hook<Unrecorded>,
}

/// An order that was sent although it could not be written into the journal; see
/// [`on_unrecorded`](super::OrderGuardBuilder::on_unrecorded).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unrecorded {
    /// The tag to look for in the order book, should its caller get no answer.
    pub tag: String,
    /// The order.
    pub order: OrderRequest,
    /// Why the journal could not be written.
    pub error: String,
}

/// A function of the caller's, if there is one.
pub(super) struct Hook<T>(Option<Arc<Callback<T>>>);

type Callback<T> = dyn Fn(&T) + Send + Sync;

impl<T> Hook<T> {
    pub(super) fn new(tell: impl Fn(&T) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// A panic in it is the caller's own, and no reason to lose an answer.
    pub(super) fn call(&self, what: &T) {
        if let Some(tell) = &self.0 {
            let _ = catch_panic(|| tell(what));
        }
    }
}

impl<T> Default for Hook<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> fmt::Debug for Hook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "set" } else { "not set" })
    }
}
