//! What was used of the quotas, to be handed to another proxy or kept across a restart.
//!
//! A broker still counts what a process sent before it ended. A proxy that starts empty sends a full burst right
//! after the last one of its predecessor, and starts the day's count at zero.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::moment::{Moment, nanos};
use super::wall_clock::WallClockSample;

/// What the lanes and budgets of a proxy have used, by their names.
///
/// Take it with [`Lanes::pace_snapshot`](crate::proxy::Lanes::pace_snapshot) once the old proxy is shut down, and
/// give it to the builder of the new one (`pace_snapshot`). It can be written to a file with serde, for the next
/// process. Times are those of the wall clock, so the time in between counts. A pause that the broker asked for and a
/// rate cut are not part of it; the new proxy learns of them from the broker.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::jiff::Timestamp;
/// use lanekeeper::{BrokerProxy, PaceSnapshot};
///
/// # #[cfg(feature = "paper")] {
/// # use lanekeeper::PaperBroker;
/// # let (paper, again) = (PaperBroker::builder().build()?, PaperBroker::builder().build()?);
/// let broker = BrokerProxy::builder(paper).build()?;
/// let state = broker.lanes().pace_snapshot();
/// let broker = BrokerProxy::builder(again).pace_snapshot(state).build()?;
/// # }
///
/// // Or by hand: the broker's page says that 1200 of the day's orders are used.
/// let used = PaceSnapshot::at(Timestamp::now()).used("orders", 1200, Duration::from_secs(3600));
/// # let _ = used;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceSnapshot {
    /// The wall clock when the snapshot was taken.
    saved_at: Timestamp,
    used: BTreeMap<String, Vec<CallUsage>>,
}

/// A call, or several calls at one moment. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CallUsage {
    /// How long before the snapshot it was answered; `None` if it was in flight then.
    pub(super) ago: Option<u64>,
    /// How long it took, or had taken by then.
    pub(super) took: u64,
    pub(super) weight: u64,
}

/// A call that was in flight when the snapshot was taken is assumed to reach the broker within this time.
pub(super) const MAX_TRANSIT: Duration = Duration::from_secs(1);

/// A call of a snapshot, as moments of the present clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct RestoredCall {
    pub(super) taken_at: Moment,
    pub(super) finished_at: Moment,
    pub(super) weight: u64,
}

impl PaceSnapshot {
    /// Creates an empty snapshot, as of `time`.
    pub fn at(time: Timestamp) -> Self {
        Self { saved_at: time, used: BTreeMap::new() }
    }

    /// Adds `calls` calls of weight 1 to a lane or budget, all of them `ago` before the snapshot.
    #[must_use]
    pub fn used(mut self, name: impl Into<String>, calls: u32, ago: Duration) -> Self {
        self.used.entry(name.into()).or_default().push(CallUsage {
            ago: Some(nanos(ago)),
            took: 0,
            weight: calls.into(),
        });
        self
    }

    /// Returns the names of the lanes and budgets in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.used.keys().map(String::as_str)
    }

    /// Adds one call to a lane or budget: how long ago it was `sent`, and `answered`, if it was. For implementations
    /// of [`PaceLog`](crate::lane::PaceLog).
    pub fn add(&mut self, name: &str, sent: Duration, answered: Option<Duration>, weight: u32) {
        let took = sent.saturating_sub(answered.unwrap_or_default());
        let call = CallUsage { ago: answered.map(nanos), took: nanos(took), weight: weight.into() };
        self.used.entry(name.to_owned()).or_default().push(call);
    }

    pub(super) fn set_usage(&mut self, name: &str, uses: Vec<CallUsage>) {
        self.used.insert(name.to_owned(), uses);
    }

    /// Returns the calls of a lane or budget in the order of their answers, as moments of the clock paired by `now`.
    /// A call that was in flight has no answer and may still arrive. It counts from `now` plus the time that it had
    /// taken, up to [`MAX_TRANSIT`].
    pub(super) fn restored_calls(&self, name: &str, now: WallClockSample) -> Vec<RestoredCall> {
        // If the wall clock was set back, no time has passed.
        let passed = now.timestamp.duration_since(self.saved_at);
        let passed = Duration::try_from(passed).unwrap_or_default();
        let saved = now.moment - passed;
        let restore = |&CallUsage { ago, took, weight }: &CallUsage| {
            let took = Duration::from_nanos(took);
            let lost = now.moment + took.min(MAX_TRANSIT);
            let finished = ago.map_or(lost, |ago| saved - Duration::from_nanos(ago));
            // A file may contain any number. No window is larger than this, and sums of it do not overflow.
            let weight = weight.min(u32::MAX.into());
            RestoredCall { taken_at: finished - took, finished_at: finished, weight }
        };
        let mut all: Vec<_> = self.used.get(name).into_iter().flatten().map(restore).collect();
        all.sort_by_key(|call| call.finished_at);
        all
    }
}
