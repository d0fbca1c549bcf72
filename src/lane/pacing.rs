//! What the lanes of one proxy share: the pacing state, its clock, and the recorder of calls.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use super::core::LaneCore;
use super::observer::ObserverHandle;
use super::pace_log::{PaceLog, RecordedCall};
use super::permit_source::PermitSource;
use crate::clock::Clock;
use crate::panic::catch_panic;
use crate::quota::{Cost, Moment, NoCapacity, PacingState};
use crate::reported_limits::LimitListener;
use crate::session::RenewalListener;

/// The pacing state of a proxy, and the lanes that use it.
pub(crate) struct SharedPacing {
    state: Mutex<PacingState>,
    clock: Clock,
    recorder: Option<PaceRecorder>,
    /// Where permits come from that other processes count too.
    source: Option<Arc<dyn PermitSource>>,
    /// Set once, when all lanes exist.
    lanes: OnceLock<Vec<Weak<LaneCore>>>,
}

impl SharedPacing {
    pub(crate) fn new(
        pacing_state: PacingState,
        clock: Clock,
        recorder: Option<PaceRecorder>,
        source: Option<Arc<dyn PermitSource>>,
    ) -> Arc<Self> {
        let state = Mutex::new(pacing_state);
        Arc::new(Self { state, clock, recorder, source, lanes: OnceLock::new() })
    }

    /// Returns where permits come from that other processes count too.
    pub(crate) fn source(&self) -> Option<&dyn PermitSource> {
        self.source.as_deref()
    }

    /// Checks for room in the quotas of this process, and for what is known of those that several processes share.
    pub(super) fn check(
        &self,
        pacing_state: &mut PacingState,
        cost: Cost,
        now: Moment,
    ) -> Result<(), NoCapacity> {
        pacing_state.check(cost, now)?;
        self.source().map_or(Ok(()), |source| source.check(cost, now))
    }

    /// Returns whether calls are recorded for the next process.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    /// Records a call that is about to be sent, if there is a recorder. No lock is held.
    pub(super) fn record_start(
        &self,
        cost: Cost,
        observer: &ObserverHandle,
    ) -> Option<UsageRecord> {
        let recorder = self.recorder.as_ref()?;
        let number = recorder.next_number.fetch_add(1, Ordering::Relaxed);
        let taken_at = self.clock.wall_clock().timestamp;
        let record = UsageRecord { number, cost, taken_at, ended_at: None };
        if !cost.urgent {
            recorder.write(observer, |log, call| log.taken(call, taken_at), &record);
        }
        Some(record)
    }

    /// Records the end of a call, after its caller has the answer. An urgent call is recorded only here.
    pub(super) fn record_end(&self, record: &UsageRecord, observer: &ObserverHandle) {
        if let Some(recorder) = &self.recorder {
            let UsageRecord { cost, taken_at, ended_at, .. } = *record;
            let write_record =
                |log: &dyn PaceLog, call: &RecordedCall<'_>| match (ended_at, cost.urgent) {
                    (Some(ended_at), true) => log.urgent(call, taken_at, ended_at),
                    (Some(ended_at), false) => log.finished(call.number, ended_at),
                    (None, true) => Ok(()),
                    (None, false) => log.given_back(call.number, taken_at),
                };
            recorder.write(observer, write_record, record);
        }
    }

    /// Returns when a call that ends now counts as ended, if its request may be in transit for `in_transit` more.
    pub(super) fn ended_at(&self, in_transit: Duration) -> Timestamp {
        let now = self.clock.wall_clock().timestamp;
        now.checked_add(in_transit).unwrap_or(now)
    }

    /// Locks the pacing state and reads the time under that lock, so that times enter the state in order.
    ///
    /// Re-reads the wall clock on every call if any window depends on it. The wall clock can be adjusted, and it keeps
    /// running while the machine is suspended. The monotonic clock may not.
    pub(crate) fn lock(&self) -> (MutexGuard<'_, PacingState>, Moment) {
        self.lock_and_read_clock(PacingState::uses_wall_clock)
    }

    /// Does the same, but always re-reads the wall clock, for a caller that is about to change the windows.
    pub(crate) fn lock_with_fresh_wall_clock(&self) -> (MutexGuard<'_, PacingState>, Moment) {
        self.lock_and_read_clock(|_| true)
    }

    fn lock_and_read_clock(
        &self,
        reads_wall_clock: impl FnOnce(&PacingState) -> bool,
    ) -> (MutexGuard<'_, PacingState>, Moment) {
        let mut pacing_state = self.state.lock();
        if reads_wall_clock(&pacing_state) {
            pacing_state.set_wall_clock(self.clock.wall_clock());
        }
        let now = self.clock.now();
        (pacing_state, now)
    }

    pub(crate) fn register_lanes(&self, lanes: Vec<Weak<LaneCore>>) {
        let _ = self.lanes.set(lanes);
    }

    /// Wakes the other lanes, if they may wait for the budgets that `cost` has held.
    pub(crate) fn wake_others(&self, own: &LaneCore, cost: Cost) {
        if !cost.budgets.is_empty() {
            self.lanes().filter(|lane| lane.index != own.index).for_each(|lane| lane.wake_one());
        }
    }

    pub(crate) fn wake_all(&self) {
        self.lanes().for_each(|lane| lane.wake_one());
    }

    /// Returns the rate of each lane in percent of the configured one.
    #[cfg(feature = "redis")]
    pub(crate) fn rates(&self) -> Vec<u32> {
        self.lanes().map(|lane| lane.health().rate_percent()).collect()
    }

    /// Returns the routes whose breakers refuse calls because calls of this process failed.
    #[cfg(feature = "redis")]
    pub(crate) fn refused_routes(&self) -> Vec<RefusedRoute> {
        let now = self.clock.now();
        let of = |lane: Arc<LaneCore>| {
            let routes = lane.health().troubled_routes(now);
            routes.into_iter().map(move |route| RefusedRoute {
                lane: lane.name.to_owned(),
                route: route.to_owned(),
            })
        };
        self.lanes().flat_map(of).collect()
    }

    /// Hears which routes the breakers of other processes refuse. That counts until the given moment.
    #[cfg(feature = "redis")]
    pub(crate) fn set_hints(&self, refused: &[RefusedRoute], until: Moment) {
        for lane in self.lanes() {
            let own = refused.iter().filter(|refused| refused.lane == lane.name);
            lane.health().set_hints(own.map(|refused| refused.route.clone()).collect(), until);
        }
    }

    fn lanes(&self) -> impl Iterator<Item = Arc<LaneCore>> {
        self.lanes.get().into_iter().flatten().filter_map(Weak::upgrade)
    }
}

impl LimitListener for SharedPacing {
    fn on_limit_reported(&self, lanes: &[&str], remaining: u32, reset_in: Duration) {
        let named = self.lanes().filter(|lane| lanes.contains(&lane.name));
        let named: Vec<usize> = named.map(|lane| lane.index).collect();
        let has_more_room = {
            let (mut pacing, now) = self.lock();
            pacing.report(&named, remaining, reset_in, now)
        };
        if has_more_room {
            self.wake_all();
        }
    }
}

impl RenewalListener for SharedPacing {
    fn on_session_valid(&self) {
        self.wake_all();
    }
}

/// A route whose breaker refuses calls, as processes tell each other.
#[cfg(feature = "redis")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedRoute {
    pub(crate) lane: String,
    pub(crate) route: String,
}

/// Records calls in a [`PaceLog`], under the names of their lanes and budgets.
pub(crate) struct PaceRecorder {
    log: Arc<dyn PaceLog>,
    lane_names: &'static [&'static str],
    budget_names: &'static [&'static str],
    next_number: AtomicU64,
}

/// A call that was recorded, or will be.
pub(super) struct UsageRecord {
    number: u64,
    cost: Cost,
    taken_at: Timestamp,
    /// `None` if nothing was sent, so that the slots were given back.
    pub(super) ended_at: Option<Timestamp>,
}

impl PaceRecorder {
    pub(crate) fn new(
        log: Arc<dyn PaceLog>,
        lanes: &'static [&'static str],
        budgets: &'static [&'static str],
    ) -> Self {
        Self { log, lane_names: lanes, budget_names: budgets, next_number: AtomicU64::new(0) }
    }

    fn write(
        &self,
        observer: &ObserverHandle,
        write_record: impl Fn(&dyn PaceLog, &RecordedCall<'_>) -> io::Result<()>,
        record: &UsageRecord,
    ) {
        let UsageRecord { number, cost, .. } = record;
        let lane = self.lane_names.get(cost.lane);
        let budgets = cost.budgets.iter().filter_map(|index| self.budget_names.get(index));
        let names: Vec<&'static str> = lane.into_iter().chain(budgets).copied().collect();
        let call = RecordedCall::new(*number, cost.weight.max(1), &names);
        // A `PaceLog` may be user code.
        let written = catch_panic(|| write_record(&*self.log, &call))
            .unwrap_or_else(|panic| Err(io::Error::other(panic)));
        if let Err(error) = written {
            observer.notify(|observer| observer.pace_log_failed(&error));
        }
    }
}
