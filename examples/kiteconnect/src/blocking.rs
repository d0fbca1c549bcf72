//! Waits for futures on threads that are not async.
//!
//! The runtime has a thread of its own. A `current_thread` runtime would do with none, and makes progress only while a
//! call waits. Then the connections that the broker closed in between go unnoticed until the next call is written to
//! one of them, and such a call is lost with an unknown outcome.

use std::future::Future;
use std::io;

use lanekeeper::broker::{BrokerError, ErrorDetail};
use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime of one thread, which drives the connections and the timers. The futures of calls run on the threads that
/// wait for them.
pub(crate) struct BlockingRuntime {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl BlockingRuntime {
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kiteconnect")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Blocks until `call` is completed. It is never dropped before: a call that is dropped after it was sent has an
    /// unknown outcome, so a timeout belongs into the client, which knows how far the call came.
    ///
    /// # Errors
    /// `NotSent` on a thread of an async runtime, where tokio would panic. There, `submit()` of the proxy returns a
    /// ticket that can be awaited.
    pub(crate) fn wait<F: Future>(&self, call: F) -> Result<F::Output, BrokerError> {
        let refused = |why: &str| BrokerError::NotSent(ErrorDetail::new(why).local());
        if Handle::try_current().is_ok() {
            return Err(refused(
                "an async task may not block: use `submit()` of a proxy, and await its ticket",
            ));
        }
        let runtime =
            self.runtime.as_ref().ok_or_else(|| refused("the adapter is being dropped"))?;
        Ok(runtime.block_on(call))
    }
}

impl Drop for BlockingRuntime {
    /// Does not wait for the runtime's thread. A runtime that is dropped within an async task panics if it waits, and
    /// the last clone of a proxy may be dropped anywhere. No call is under way, since each borrows the runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
