//! How a scan is started: its settings, and the checks of its calls.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Scan;
use super::engine::{Calls, Engine, Plan};
use crate::Effect;
use crate::lane::{CallOptions, Lane, LaneError, Priority};
use crate::proxy::{Classify, LaneCall, Lanes};

/// Why a scan was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanStartError {
    /// A call writes. A scan takes calls back and repeats them, which is for reads alone.
    #[error("the call `{call}` of item {index} writes, and a scan is for reads")]
    Write {
        /// The index of the first such item.
        index: usize,
        /// The name of its call.
        call: &'static str,
    },
    /// A call is urgent, or the scan is. Urgent calls do not wait for others, and many of them would take the place of
    /// exits.
    #[error("the call `{call}` of item {index} is urgent, and a scan is not")]
    Urgent {
        /// The index of the first such item.
        index: usize,
        /// The name of its call.
        call: &'static str,
    },
    /// A call names a lane or a budget that does not exist.
    #[error("the call of item {index}: {error}")]
    UnknownName {
        /// The index of the first such item.
        index: usize,
        /// The error of the lanes.
        #[source]
        error: LaneError,
    },
}

/// The settings of a [`Scan`], before it is started.
#[derive(Debug)]
#[must_use]
pub struct ScanBuilder<I, R, E> {
    lanes: Lanes,
    items: Vec<I>,
    user: Option<Arc<str>>,
    priority: Priority,
    at_once: Option<usize>,
    _result: PhantomData<fn() -> Result<R, E>>,
}

impl<I, R, E> ScanBuilder<I, R, E> {
    pub(super) fn new(lanes: Lanes, items: Vec<I>) -> Self {
        Self {
            lanes,
            items,
            user: None,
            priority: Priority::LOWEST,
            at_once: None,
            _result: PhantomData,
        }
    }

    /// Sets the user on whose behalf the calls are made. Users of one priority take turns.
    pub fn user(mut self, user: impl Into<Arc<str>>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the priority of all calls. The default is [`Priority::LOWEST`]. A scan cannot be urgent.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how many calls are queued or in flight at once, at least 1. The default is twice as many as may be in flight
    /// in the lane ([`LaneConfig::in_flight`](crate::LaneConfig::in_flight)), so that the next call is queued before one
    /// is answered.
    pub fn at_once(mut self, calls: usize) -> Self {
        self.at_once = Some(calls.max(1));
        self
    }

    /// Checks the calls, and starts the scan.
    ///
    /// `call` is called once for each item, now. `work` makes the request for an item, on a worker of the lane, and has its
    /// slots by then: it calls the adapter, and not the proxy. It runs again if the lane retries the call. An item can be a
    /// chunk, for example the symbols of one request.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::broker::{BrokerError, lanes};
    /// use lanekeeper::scan::{Scan, ScanStartError};
    /// use lanekeeper::{BrokerProxy, LaneCall, PaperBroker};
    ///
    /// let broker = BrokerProxy::builder(PaperBroker::builder().build()?).build()?;
    /// let write = |_: &u32| LaneCall::write(lanes::TRANSACTIONAL).name("place_basket");
    /// let refused = Scan::builder(&broker, [1, 2]).start(write, |_| Ok::<_, BrokerError>(()));
    /// assert!(matches!(refused, Err(ScanStartError::Write { index: 0, call: "place_basket" })));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A call that is not for a scan, see [`ScanStartError`]. Nothing was submitted then.
    pub fn start(
        self,
        call: impl FnMut(&I) -> LaneCall,
        work: impl Fn(&I) -> Result<R, E> + Send + Sync + 'static,
    ) -> Result<Scan<I, R, E>, ScanStartError>
    where
        I: Send + Sync + 'static,
        R: Send + Sync + 'static,
        E: From<LaneError> + Classify + Send + Sync + 'static,
    {
        let Self { lanes, items, user, priority, at_once, .. } = self;
        let of_items = shared(items.iter().map(call));
        check(&lanes, &of_items, priority)?;
        let priority = Some(priority);
        let options = CallOptions { user, priority, is_uncounted: true, ..CallOptions::new() };
        let at_once = at_once.unwrap_or_else(|| default_at_once(&lanes, &of_items));
        let plan = Plan { items: items.into_boxed_slice(), work: Box::new(work) };
        let engine = Engine::new(lanes, plan, Calls { of_items, options, at_once });
        engine.start();
        Ok(Scan::new(engine))
    }
}

/// Collects the calls. Neighbours that are equal, as most are, share one.
fn shared(calls: impl Iterator<Item = LaneCall>) -> Box<[Arc<LaneCall>]> {
    let mut all: Vec<Arc<LaneCall>> = Vec::with_capacity(calls.size_hint().0);
    for call in calls {
        let same = all.last().filter(|last| ***last == call).cloned();
        all.push(same.unwrap_or_else(|| Arc::new(call)));
    }
    all.into_boxed_slice()
}

fn check(lanes: &Lanes, calls: &[Arc<LaneCall>], priority: Priority) -> Result<(), ScanStartError> {
    for (index, call) in calls.iter().enumerate() {
        let name = call.call_name();
        if call.effect() == Effect::Write {
            return Err(ScanStartError::Write { index, call: name });
        }
        if call.is_exit() || priority == Priority::URGENT {
            return Err(ScanStartError::Urgent { index, call: name });
        }
        lanes.check(call).map_err(|error| ScanStartError::UnknownName { index, error })?;
    }
    Ok(())
}

/// Returns twice what may be in flight in the largest lane that the calls use.
fn default_at_once(lanes: &Lanes, calls: &[Arc<LaneCall>]) -> usize {
    let of_call = calls.iter().filter_map(|call| lanes.lane(call.lane_name()));
    let in_flight = of_call.map(Lane::max_in_flight).max();
    2 * in_flight.unwrap_or(1)
}
