//! Point-in-time snapshots of lanes, windows, budgets and a proxy.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::shared_mode::SharedQuotaStatus;
use super::state::LaneState;
use crate::quota::{Moment, Reserve, WindowUse};
use crate::resilience::BreakerState;

/// A point-in-time snapshot of a lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LaneStatus {
    /// The name of the lane.
    pub lane: &'static str,
    /// The state of the lane.
    pub state: LaneState,
    /// The number of queued calls.
    pub queued: usize,
    /// The maximum number of queued calls. The calls of a [`Scan`](crate::Scan) do not count.
    pub capacity: usize,
    /// The number of queued calls by priority.
    pub queued_by_priority: BTreeMap<u8, usize>,
    /// The number of queued calls by user. Calls without a user count under the empty name.
    pub queued_by_user: BTreeMap<String, usize>,
    /// How long the oldest queued call has waited.
    pub oldest_wait: Option<Duration>,
    /// The number of failed calls that wait for another attempt. They are not part of `queued`.
    pub retrying: usize,
    /// The number of calls in flight.
    pub in_flight: u32,
    /// The maximum number of calls in flight.
    pub max_in_flight: usize,
    /// The maximum number of urgent calls in flight on top of `max_in_flight`.
    pub urgent_workers: usize,
    /// How long the lane pauses because the broker asked for it, from now.
    pub paused_for: Option<Duration>,
    /// The configured quota, in the notation `10/s, 400/min`.
    pub quota: String,
    /// The rate in calls per second that the shortest window of the configured quota allows. `None` without a quota.
    pub rate: Option<f64>,
    /// The present rate in percent of the configured one. It is below 100 after the broker reported that calls come too
    /// fast.
    pub rate_percent: u32,
    /// Of the states of the lane's circuit breakers, the one that is furthest from closed.
    pub breaker: BreakerState,
    /// The circuit breaker state of each route class that was called so far.
    pub breakers: BTreeMap<&'static str, BreakerState>,
    /// Each window of the quota, and the window of a rate cut if there is one.
    pub windows: Vec<WindowStatus>,
    /// The estimated wait of one more call of the default priority, if an estimate is possible.
    pub estimated_wait: Option<Duration>,
    /// How much earlier a slot is free than one window after its answer.
    pub credit: Duration,
    /// The minimum round trip.
    pub min_round_trip: Option<Duration>,
    /// The mean round trip on warm connections, since the path last became faster.
    pub mean_round_trip: Option<Duration>,
}

/// The usage of a window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WindowStatus {
    /// The window, in the notation `10/s`.
    pub window: String,
    /// Whether the window belongs to a rate cut, not to the configured quota.
    pub is_cut: bool,
    /// How many calls the window allows in its length. The capacity of a token bucket is its burst.
    pub limit: u32,
    /// The number of slots in use, including those of calls in flight.
    pub used: u32,
    /// The number of free slots.
    pub left: u32,
    /// How many of the free slots are reserved for urgent calls.
    pub reserve: u32,
    /// When the next slot is free, from now. Zero if one is free. `None` while only an answer can free one.
    pub next_free: Option<Duration>,
    /// When all slots are free, from now, if nothing more is sent. `None` while calls are in flight.
    pub resets: Option<Duration>,
}

/// The usage of a budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BudgetStatus {
    /// The name of the budget.
    pub budget: &'static str,
    /// Each window of the budget.
    pub windows: Vec<WindowStatus>,
}

/// A point-in-time snapshot of a proxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The lanes, in the order in which the trait names them.
    pub lanes: Vec<LaneStatus>,
    /// The budgets, in the order in which the trait names them.
    pub budgets: Vec<BudgetStatus>,
    /// Whether the broker refused the credentials; see [`Session`](crate::Session).
    pub session_expired: bool,
    /// How the quota is shared with other processes, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedQuotaStatus>,
    /// The counters of the response cache, if a method of the proxy keeps its answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responses: Option<ResponseStats>,
}

/// Lookup counters of a response cache, and what it keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResponseStats {
    /// Calls that were answered from memory.
    pub hits: u64,
    /// Calls that started a fetch.
    pub misses: u64,
    /// Calls that shared the fetch of another caller.
    pub joined: u64,
    /// Fetches that failed. Their errors are not kept.
    pub failures: u64,
    /// Answers that are kept.
    pub entries: u64,
    /// The memory of these, in bytes. An estimate.
    pub bytes: u64,
}

impl BudgetStatus {
    pub(crate) fn new(budget: &'static str, windows: Vec<WindowStatus>) -> Self {
        Self { budget, windows }
    }
}

impl Status {
    pub(crate) fn new(
        lanes: Vec<LaneStatus>,
        budgets: Vec<BudgetStatus>,
        session_expired: bool,
        shared: Option<SharedQuotaStatus>,
    ) -> Self {
        Self { lanes, budgets, session_expired, shared, responses: None }
    }

    /// Returns the lane `name`.
    pub fn lane(&self, name: &str) -> Option<&LaneStatus> {
        self.lanes.iter().find(|lane| lane.lane == name)
    }

    /// Returns the budget `name`.
    pub fn budget(&self, name: &str) -> Option<&BudgetStatus> {
        self.budgets.iter().find(|budget| budget.budget == name)
    }
}

impl WindowStatus {
    pub(crate) fn new(used: &WindowUse, reserve: Reserve, now: Moment) -> Self {
        Self {
            window: used.window.to_string(),
            is_cut: false,
            limit: used.window.limit,
            used: used.used,
            left: used.window.capacity().saturating_sub(used.used),
            reserve: reserve.of(used.window.capacity()),
            next_free: used.next_free.map(|at| at.since(now)),
            resets: used.all_free.map(|at| at.since(now)),
        }
    }
}
