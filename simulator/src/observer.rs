//! The callback that is told of each request once its response is due.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::ledger::Arrival;

type Callback = dyn Fn(&Arrival, Duration) + Send + Sync;

/// A callback of the user.
#[derive(Clone)]
pub(crate) struct RequestObserver(Arc<Callback>);

impl RequestObserver {
    pub(crate) fn new(observe: impl Fn(&Arrival, Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(crate) fn notify(&self, arrival: &Arrival, latency: Duration) {
        (self.0)(arrival, latency);
    }
}

impl fmt::Debug for RequestObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestObserver").finish_non_exhaustive()
    }
}
