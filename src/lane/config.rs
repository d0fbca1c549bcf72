//! How a lane is set up.

use crate::quota::{Credit, Pacer, Quota, QuotaError, Wall};

/// How fast a lane goes, how much of it at once, and how much may wait.
///
/// ```
/// use lanekeeper::lane::LaneConfig;
/// use lanekeeper::quota::Quota;
///
/// let orders = LaneConfig::new(Quota::per_second(10)).in_flight(4).queue(256);
/// assert_eq!(orders.quota(), &Quota::per_second(10));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneConfig {
    quota: Quota,
    credit: Credit,
    in_flight: Option<usize>,
    queue: usize,
}

/// Threads are cheap but not free; a lane that needs more says so itself.
const MOST_WORKERS_BY_DEFAULT: u32 = 16;
const MOST_WORKERS: usize = 1024;
const QUEUE_BY_DEFAULT: usize = 1024;
/// The channel sets aside its places when it is made, so an absurd number must not pass.
const LONGEST_QUEUE: usize = 1 << 24;

impl LaneConfig {
    /// A lane that keeps to `quota`.
    pub fn new(quota: Quota) -> Self {
        Self { quota, credit: Credit::default(), in_flight: None, queue: QUEUE_BY_DEFAULT }
    }

    /// How many calls may be under way at once: the number of worker threads. By default as many as
    /// the quota lets be in flight, 16 at most.
    ///
    /// A lane needs about `calls per second x round trip` to use all of its quota.
    #[must_use]
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = Some(calls);
        self
    }

    /// How many calls may wait; the next one is refused. 1024 by default.
    #[must_use]
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// The share of the least round trip that shortens the wait for a slot, at most. 95 % by default;
    /// [`Credit::STRICT`] rests on no assumption at all.
    #[must_use]
    pub fn credit(mut self, credit: Credit) -> Self {
        self.credit = credit;
        self
    }

    /// The quota that the lane keeps to.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    pub(super) fn workers(&self) -> Result<usize, LaneConfigError> {
        let by_default = || {
            let most = self.quota.most_in_flight().unwrap_or(MOST_WORKERS_BY_DEFAULT);
            most.min(MOST_WORKERS_BY_DEFAULT) as usize
        };
        match self.in_flight.unwrap_or_else(by_default) {
            // A quota of no calls gives none; the pacer has the better message for it.
            0 if self.in_flight.is_none() => Ok(1),
            calls @ 1..=MOST_WORKERS => Ok(calls),
            calls => Err(LaneConfigError::InFlight { calls }),
        }
    }

    pub(super) fn capacity(&self) -> Result<usize, LaneConfigError> {
        match self.queue {
            1..=LONGEST_QUEUE => Ok(self.queue),
            calls => Err(LaneConfigError::Queue { calls }),
        }
    }

    pub(super) fn pacer(&self, wall: Wall) -> Result<Pacer, LaneConfigError> {
        Ok(Pacer::with_wall(&self.quota, self.credit, wall)?)
    }
}

impl From<Quota> for LaneConfig {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}

/// A lane that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneConfigError {
    /// Its quota cannot be kept.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// No calls at once, or absurdly many.
    #[error("in_flight({calls}): write a number from 1 to {MOST_WORKERS}")]
    InFlight {
        /// What was asked for.
        calls: usize,
    },
    /// No place to wait, or absurdly many.
    #[error("queue({calls}): write a number from 1 to {LONGEST_QUEUE}")]
    Queue {
        /// What was asked for.
        calls: usize,
    },
    /// The system gave no thread.
    #[error("a worker thread could not be started: {error}")]
    Thread {
        /// What the system said.
        error: String,
    },
}
