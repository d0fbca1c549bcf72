//! Runs user code (callers' closures, adapters, observers) and catches its panics.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Poll, Waker};

/// Runs user code, and catches its panic. Returns the panic message as the error.
pub(crate) fn catch_panic<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    // Unwind safe: what `code` owns is dropped with it, and what it shares must be sound for other threads anyway.
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let message = panic_message(&*panic);
        // Leaked: dropping the panic payload may panic again.
        std::mem::forget(panic);
        message
    })
}

/// Polls user code, and catches its panic. Returns the panic message as the error.
pub(crate) async fn catch_panic_in<R>(code: impl Future<Output = R>) -> Result<R, String> {
    let mut code = pin!(code);
    poll_fn(|context| match catch_panic(|| code.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(message) => Poll::Ready(Err(message)),
    })
    .await
}

/// Wakes tasks. A panic of one waker, which is code of an executor, does not reach the others.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        let _ = catch_panic(|| waker.wake());
    }
}

/// Returns the panic message, if the payload is a string.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied();
    message
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
        .to_owned()
}
