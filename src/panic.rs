//! Code that is not ours, at arm's length: callers' closures, adapters, observers.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code that is not ours. A panic ends here; its words are the error.
pub(crate) fn catch_panic<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    // What `code` owns is dropped with it, and what it shares has to be sound for others anyway.
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let words = panic_message(&*panic);
        // What was thrown may panic as it is dropped, so it is not.
        std::mem::forget(panic);
        words
    })
}

/// What a panic said, when it said it in words.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied();
    words
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
        .to_owned()
}
