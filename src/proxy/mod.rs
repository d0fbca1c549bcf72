//! What `#[proxy]` expands against.
//!
//! The generated code is thin: it turns borrowed arguments into owned ones and names the lane. All
//! the rest is here, where it can be read and tested without a macro.

mod build;
mod classify;

use std::fmt;
use std::sync::Arc;

pub use build::{BuildError, LanesBuilder};
pub use classify::{Classified, Classify, Probe, Unclassified};

pub use crate::lane::{Effect, FinishedCall, Observer};

use crate::Sent;
use crate::clock::Clock;
use crate::lane::{Lane, LaneError};

/// One method of a proxied trait: where it goes and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its lane, as an index into the names given to [`LanesBuilder::new`].
    pub lane: usize,
    /// Its name.
    pub method: &'static str,
    /// Whether it changes anything.
    pub effect: Effect,
}

/// The lanes of one proxy. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Lanes(Arc<Inner>);

struct Inner {
    lanes: Vec<Lane>,
    clock: Clock,
}

impl Lanes {
    /// Sends a call through its lane and waits for the answer.
    ///
    /// `was_sent` says of an error whether the call left this process.
    ///
    /// # Errors
    /// What `work` answers, or what the lane has to say instead.
    pub fn call<R, E>(
        &self,
        call: Call,
        work: impl FnOnce() -> Result<R, E> + Send + 'static,
        was_sent: fn(&E) -> Sent,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
    {
        let Call { lane, method, effect } = call;
        let Some(lane) = self.0.lanes.get(lane) else {
            // Only by hand-written code: the macro counts its own lanes.
            return Err(LaneError::Closed { lane: "(no such lane)", method }.into());
        };
        let sent = move |result: &Result<R, E>| match result {
            Ok(_) => Sent::Yes,
            Err(error) => was_sent(error),
        };
        lane.call(method, effect, work, sent)?
    }

    /// The clock that paces them.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The names of the lanes, in the order in which the trait names them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.lanes.iter().map(Lane::name)
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
