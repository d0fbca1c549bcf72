//! Calls of the log. A subscriber is foreign code, and may panic. That must not cost a client the answer to an order.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code that only writes to the log, and catches its panic.
pub(crate) fn log(write: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(write));
}
