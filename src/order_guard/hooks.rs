//! Callbacks for what no answer contains: an order that appears late, and an exit that is not in the journal.

use std::fmt;
use std::sync::Arc;

use super::recover::RecoveredOrder;
use crate::broker::OrderRequest;
use crate::panic::catch_panic;

/// The callbacks of a guard.
#[derive(Debug, Default)]
pub(super) struct GuardHooks {
    /// For orders that appear after their callers were answered.
    pub(super) on_turned_up: Hook<RecoveredOrder>,
    /// For exits that are not in the journal.
    pub(super) on_unrecorded: Hook<Unrecorded>,
}

/// An order that was sent although the journal could not record it; see
/// [`on_unrecorded`](super::OrderGuardBuilder::on_unrecorded).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unrecorded {
    /// The tag to search for in the order book, if its caller gets no answer.
    pub tag: String,
    /// The order.
    pub order: OrderRequest,
    /// Why the journal could not be written.
    pub error: String,
}

/// A user's callback, if there is one.
pub(super) struct Hook<T>(Option<Arc<Callback<T>>>);

type Callback<T> = dyn Fn(&T) + Send + Sync;

impl<T> Hook<T> {
    pub(super) fn new(callback: impl Fn(&T) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Calls the callback. A panic in it is caught, so that no answer is lost.
    pub(super) fn call(&self, event: &T) {
        if let Some(callback) = &self.0 {
            let _ = catch_panic(|| callback(event));
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
