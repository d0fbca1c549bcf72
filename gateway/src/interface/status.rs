//! The state of a gateway as JSON: a snapshot each second, for the page, the terminal and programs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lanekeeper::jiff::Timestamp;
use lanekeeper::lane::{
    BudgetStatus, LaneState, LaneStatus, Priority, SharedMode, SharedQuotaStatus, WindowStatus,
};
use lanekeeper::resilience::BreakerState;
use serde::Serialize;

use super::scans::ScanView;
use crate::account::Account;
use crate::judge::Protocol;
use crate::kept::KeptStats;
use crate::shared::Shared;

/// A wait that a client notices.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// A lane makes a single call wait for up to the time of one call of its quota. So many of them are long.
const LONG_CALLS: f64 = 1.5;

/// How well things are, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Health {
    Draining,
    BrokerDown,
    SessionExpired,
    Paused,
    Limited,
    Ok,
}

#[derive(Serialize)]
struct StatusView<'a> {
    version: &'static str,
    at: Timestamp,
    uptime: f64,
    health: Health,
    is_loopback_open: bool,
    cool_down: f64,
    accounts: Vec<AccountView<'a>>,
    clients: Vec<ClientView>,
    door: DoorView,
    scans: Vec<ScanView>,
}

#[derive(Serialize)]
struct AccountView<'a> {
    name: &'a str,
    preset: Option<&'static str>,
    upstream: &'a str,
    health: Health,
    session_expired: bool,
    lanes: Vec<LaneView>,
    budgets: Vec<BudgetView>,
    shared: Option<SharedView>,
    quotes: Option<QuotesView>,
    kept: KeptStats,
    orders: Option<OrdersView>,
}

#[derive(Serialize)]
struct LaneView {
    lane: &'static str,
    state: &'static str,
    queued: usize,
    capacity: usize,
    queued_by_priority: BTreeMap<u8, usize>,
    queued_by_user: BTreeMap<String, usize>,
    oldest_wait: Option<f64>,
    in_flight: u32,
    max_in_flight: usize,
    retrying: usize,
    paused_for: Option<f64>,
    quota: String,
    rate: Option<f64>,
    rate_percent: u32,
    breaker: &'static str,
    breakers: BTreeMap<&'static str, &'static str>,
    windows: Vec<WindowView>,
    estimated_wait: Option<f64>,
    round_trip: Option<f64>,
    answered: u64,
    refused: u64,
    calls_per_second: f64,
    refused_per_second: f64,
}

#[derive(Serialize)]
struct WindowView {
    window: String,
    is_cut: bool,
    limit: u32,
    used: u32,
    left: u32,
    reserve: u32,
    next_free: Option<f64>,
    resets: Option<f64>,
}

#[derive(Serialize)]
struct BudgetView {
    budget: &'static str,
    windows: Vec<WindowView>,
}

/// How the quota is shared with other processes.
#[derive(Serialize)]
struct SharedView {
    mode: SharedMode,
    mode_for: f64,
    processes: u32,
    process: String,
}

#[derive(Serialize)]
struct QuotesView {
    hits: u64,
    misses: u64,
    joined: u64,
    entries: usize,
    requests: u64,
    /// Rows that other gateways had fetched.
    shared: u64,
    mean_age: f64,
}

#[derive(Serialize)]
struct OrdersView {
    placed: u64,
    rejected: u64,
    found_late: u64,
    absent: u64,
    unknown: u64,
    pending: usize,
}

#[derive(Serialize)]
struct ClientView {
    name: Arc<str>,
    tier: Option<Arc<str>>,
    requests: u64,
    waiting: u64,
    refused: u64,
    from_cache: u64,
}

#[derive(Serialize)]
struct DoorView {
    connections: u64,
    requests: u64,
    in_progress: u64,
}

/// Takes snapshots, and knows the counts of the one before.
pub(crate) struct Sampler {
    at: Instant,
    /// By account and lane: answered and refused.
    counts: HashMap<(Arc<str>, &'static str), (u64, u64)>,
}

impl Sampler {
    pub(crate) fn new() -> Self {
        Self { at: Instant::now(), counts: HashMap::new() }
    }

    /// Returns a snapshot as JSON.
    pub(crate) fn sample(&mut self, shared: &Shared) -> Bytes {
        let now = Instant::now();
        let since = now - self.at;
        self.at = now;
        let settings = shared.settings.load();
        let accounts: Vec<_> =
            shared.accounts.values().map(|account| self.account(account, since)).collect();
        let is_draining = shared.is_draining.load(Ordering::Relaxed);
        let worst = accounts.iter().map(|account| account.health).min().unwrap_or(Health::Ok);
        let view = StatusView {
            version: env!("CARGO_PKG_VERSION"),
            at: Timestamp::now(),
            uptime: shared.started.elapsed().as_secs_f64(),
            health: if is_draining { Health::Draining } else { worst },
            is_loopback_open: settings.clients.is_open(),
            cool_down: shared.door.cool_down.as_secs_f64(),
            accounts,
            clients: clients(shared),
            door: DoorView {
                connections: shared.counts.connections.load(Ordering::Relaxed),
                requests: shared.counts.requests.load(Ordering::Relaxed),
                in_progress: shared.counts.in_progress.load(Ordering::Relaxed),
            },
            scans: shared.scans.all(),
        };
        serde_json::to_vec(&view).unwrap_or_default().into()
    }

    fn account<'a>(&mut self, account: &'a Account, since: Duration) -> AccountView<'a> {
        let status = account.lanes.status();
        let health = health(&status.lanes, status.session_expired, status.shared.as_ref());
        let kite = account.kite.as_ref();
        let is_stopped = |shared: &SharedQuotaStatus| shared.mode == SharedMode::Stopped;
        let is_stopped = status.shared.as_ref().is_some_and(is_stopped);
        let lanes = status.lanes.into_iter().map(|mut lane| {
            if is_stopped {
                // A call waits until Redis is back, and no estimate knows when that is.
                lane.estimated_wait = None;
            }
            let now = account.watch.counts(lane.lane);
            let key = (Arc::clone(&account.name), lane.lane);
            let before = self.counts.insert(key, now).unwrap_or(now);
            lane_view(lane, before, now, since)
        });
        AccountView {
            name: &account.name,
            preset: (account.protocol == Protocol::Kite).then_some("kite"),
            upstream: account.upstream.address().as_str(),
            health,
            session_expired: status.session_expired,
            lanes: lanes.collect(),
            budgets: status.budgets.into_iter().map(budget_view).collect(),
            shared: status.shared.map(|shared| SharedView {
                mode: shared.mode,
                mode_for: shared.mode_for.as_secs_f64(),
                processes: shared.processes,
                process: shared.process,
            }),
            quotes: kite.and_then(|kite| kite.quotes.as_ref()).map(|quotes| {
                let stats = quotes.stats();
                QuotesView {
                    hits: stats.hits,
                    misses: stats.misses,
                    joined: stats.joined,
                    entries: stats.entries,
                    requests: stats.batches,
                    shared: stats.shared,
                    mean_age: stats.mean_age.as_secs_f64(),
                }
            }),
            kept: account.kept.stats(),
            orders: kite.and_then(|kite| kite.guard.as_ref()).map(|guard| {
                let stats = guard.stats();
                OrdersView {
                    placed: stats.placed + stats.partly_placed,
                    rejected: stats.rejected,
                    found_late: stats.turned_up,
                    absent: stats.absent,
                    unknown: stats.unknown,
                    pending: stats.pending,
                }
            }),
        }
    }
}

fn health(
    lanes: &[LaneStatus],
    session_expired: bool,
    shared: Option<&SharedQuotaStatus>,
) -> Health {
    let of = |lane: &LaneStatus| {
        if lane.breaker == BreakerState::Open {
            Health::BrokerDown
        } else if lane.state == LaneState::Paused || lane.paused_for.is_some() {
            Health::Paused
        } else if lane.rate_percent < 100 || is_late(lane) {
            Health::Limited
        } else {
            Health::Ok
        }
    };
    let session = session_expired.then_some(Health::SessionExpired);
    let shared = shared.map(|shared| match shared.mode {
        SharedMode::Shared => Health::Ok,
        SharedMode::Stopped => Health::Paused,
        _ => Health::Limited,
    });
    lanes.iter().map(of).chain(session).chain(shared).min().unwrap_or(Health::Ok)
}

/// Whether calls wait for long. Those of the lowest priority, such as scans, are meant to, so they do not count, and nor
/// does the oldest wait while there are some, since it may be theirs.
fn is_late(lane: &LaneStatus) -> bool {
    let lowest = lane.queued_by_priority.get(&Priority::LOWEST.get()).copied().unwrap_or(0);
    let slow = lane.rate.and_then(|rate| Duration::try_from_secs_f64(LONG_CALLS / rate).ok());
    let long = LONG_WAIT.max(slow.unwrap_or_default());
    let is_long = |wait: Option<Duration>| wait.is_some_and(|wait| wait > long);
    lane.queued > lowest
        && (is_long(lane.estimated_wait) || lowest == 0 && is_long(lane.oldest_wait))
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

fn lane_view(lane: LaneStatus, before: (u64, u64), now: (u64, u64), since: Duration) -> LaneView {
    let per_second = |before: u64, now: u64| {
        // A count of less than 2^53 is exact as a float.
        #[allow(clippy::cast_precision_loss)]
        let calls = now.saturating_sub(before) as f64;
        if since.is_zero() { 0.0 } else { calls / since.as_secs_f64() }
    };
    LaneView {
        lane: lane.lane,
        state: lane.state.as_str(),
        queued: lane.queued,
        capacity: lane.capacity,
        queued_by_priority: lane.queued_by_priority,
        queued_by_user: lane.queued_by_user,
        oldest_wait: seconds(lane.oldest_wait),
        in_flight: lane.in_flight,
        max_in_flight: lane.max_in_flight,
        retrying: lane.retrying,
        paused_for: seconds(lane.paused_for),
        quota: lane.quota,
        rate: lane.rate,
        rate_percent: lane.rate_percent,
        breaker: lane.breaker.as_str(),
        breakers: lane.breakers.into_iter().map(|(class, state)| (class, state.as_str())).collect(),
        windows: lane.windows.into_iter().map(window_view).collect(),
        estimated_wait: seconds(lane.estimated_wait),
        round_trip: seconds(lane.mean_round_trip),
        answered: now.0,
        refused: now.1,
        calls_per_second: per_second(before.0, now.0),
        refused_per_second: per_second(before.1, now.1),
    }
}

fn window_view(window: WindowStatus) -> WindowView {
    let WindowStatus {
        window: text, is_cut, limit, used, left, reserve, next_free, resets, ..
    } = window;
    let (next_free, resets) = (seconds(next_free), seconds(resets));
    WindowView { window: text, is_cut, limit, used, left, reserve, next_free, resets }
}

fn budget_view(budget: BudgetStatus) -> BudgetView {
    let windows = budget.windows.into_iter().map(window_view).collect();
    BudgetView { budget: budget.budget, windows }
}

fn clients(shared: &Shared) -> Vec<ClientView> {
    let settings = shared.settings.load();
    let tiers = settings.clients.names();
    // A configured client is shown before its first request too.
    tiers.keys().for_each(|name| drop(shared.clients.of(name)));
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let all = shared.clients.all().into_iter();
    all.map(|(name, counts)| ClientView {
        tier: tiers.get(&name).cloned().flatten(),
        name,
        requests: load(&counts.requests),
        waiting: load(&counts.waiting),
        refused: load(&counts.refused),
        from_cache: load(&counts.from_cache),
    })
    .collect()
}
