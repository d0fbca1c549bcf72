//! How a lane is doing, at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::state::LaneState;
use crate::quota::{Moment, Reserve, WindowUse};
use crate::resilience::BreakerState;

/// How a lane is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LaneStatus {
    /// Its name.
    pub lane: &'static str,
    /// What it does.
    pub state: LaneState,
    /// How many calls wait.
    pub queued: usize,
    /// How many may.
    pub capacity: usize,
    /// How many wait of each priority.
    pub queued_by_priority: BTreeMap<u8, usize>,
    /// How many wait of each user; those that did not say who they are under the empty name.
    pub queued_by_user: BTreeMap<String, usize>,
    /// How long the oldest has waited.
    pub oldest_wait: Option<Duration>,
    /// How many failed and wait for another attempt, beside those that are queued.
    pub retrying: usize,
    /// How many are under way.
    pub in_flight: u32,
    /// How many may be at once.
    pub workers: usize,
    /// How many urgent ones may be besides.
    pub urgent_workers: usize,
    /// For how long the broker asked it to pause, from now.
    pub paused_for: Option<Duration>,
    /// Its quota as configured, as people write it: `10/s, 400/min`.
    pub quota: String,
    /// How many calls a second the shortest window of that allows. None without a quota.
    pub rate: Option<f64>,
    /// How many percent of that it goes at, since the broker last said that calls come too fast.
    pub rate_percent: u32,
    /// The state that is furthest from closed, of the circuit breakers of its route classes.
    pub breaker: BreakerState,
    /// The state of the circuit breaker of each route class that was called so far.
    pub breakers: BTreeMap<&'static str, BreakerState>,
    /// Each window of its quota, with that of a cut if there is one.
    pub windows: Vec<WindowStatus>,
    /// How long one more call of the default priority would wait, if that can be told.
    pub estimated_wait: Option<Duration>,
    /// By how much a slot is free earlier than a window after its answer.
    pub credit: Duration,
    /// The least round trip seen.
    pub min_round_trip: Option<Duration>,
}

/// How a window is used.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WindowStatus {
    /// The window, as people write it: `10/s`.
    pub window: String,
    /// Whether it is that of a cut, and not of the quota as configured.
    pub is_cut: bool,
    /// How many calls it allows in its length. A token bucket holds as many as its burst.
    pub limit: u32,
    /// How many of them are taken, those under way too.
    pub used: u32,
    /// How many are left.
    pub left: u32,
    /// How many of those that are left are for urgent calls alone, if it is a window of a budget.
    pub reserve: u32,
    /// When the next one is free, from now; zero if one is. None while only an answer can free one.
    pub next_free: Option<Duration>,
    /// When all of it is free again, from now, if nothing more is sent. None while calls are under
    /// way.
    pub resets: Option<Duration>,
}

/// How a budget is used.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BudgetStatus {
    /// Its name.
    pub budget: &'static str,
    /// Each of its windows.
    pub windows: Vec<WindowStatus>,
}

/// How a proxy is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Its lanes, in the order in which the trait names them.
    pub lanes: Vec<LaneStatus>,
    /// Its budgets, likewise.
    pub budgets: Vec<BudgetStatus>,
    /// The broker does not take the credentials; see [`Session`](crate::Session).
    pub session_expired: bool,
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
    ) -> Self {
        Self { lanes, budgets, session_expired }
    }

    /// The lane `name`.
    pub fn lane(&self, name: &str) -> Option<&LaneStatus> {
        self.lanes.iter().find(|lane| lane.lane == name)
    }

    /// The budget `name`.
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
