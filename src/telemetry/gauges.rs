//! Records the state of a proxy, of a cache and of an order guard in gauges, when it is sampled.

use std::time::Duration;

use metrics::{Label, SharedString};

use super::catalogue::{
    BREAKER_STATE, BUDGET_LEFT, BUDGET_LIMIT, BUILD_INFO, CACHE_BATCH_KEYS, CACHE_BATCHES,
    CACHE_BYTES, CACHE_DIVIDED, CACHE_ENTRIES, CACHE_FAILURES, CACHE_OLDEST, CACHE_REQUESTS,
    CACHE_SHARED, CACHE_TIMEOUTS, CONFIGURED_RATE, CREDIT, EFFECTIVE_RATE, ESTIMATED_WAIT,
    IN_FLIGHT, IN_FLIGHT_LIMIT, LANE_STATE, OLDEST_WAIT, ORDERS, ORDERS_PENDING, ORDERS_TURNED_UP,
    PAUSED, QUEUE_CAPACITY, QUEUE_LENGTH, RETRYING, ROUND_TRIP_MEAN, ROUND_TRIP_MIN,
    SESSION_EXPIRED, SHARED_CHANGES, SHARED_MODE, SHARED_PROCESSES, THROTTLED, WINDOW_LEFT,
    WINDOW_LIMIT,
};
use super::metrics::{Metrics, lane_label, mode_label, route_label};
use crate::cache::CacheStats;
use crate::lane::{
    LaneState, LaneStatus, ResponseStats, SharedMode, SharedQuotaStatus, Status, WindowStatus,
};
use crate::order_guard::GuardStats;
use crate::resilience::BreakerState;

impl Metrics {
    /// Records the state of the lanes and budgets: `metrics.sample(&broker.status())`.
    pub fn sample(&self, status: &Status) {
        self.refresh();
        let expired = f64::from(u8::from(status.session_expired));
        self.gauge(SESSION_EXPIRED, []).set(expired);
        let version = Label::from_static_parts("version", env!("CARGO_PKG_VERSION"));
        self.gauge(BUILD_INFO, [version]).set(1.0);
        if let Some(responses) = &status.responses {
            self.sample_responses(responses);
        }
        if let Some(shared) = &status.shared {
            self.sample_shared_quota(shared);
        }
        let mut windows = Vec::new();
        for lane in &status.lanes {
            self.sample_lane(lane);
            // A reduced window has another limit each time, so it has no series. The effective rate shows it.
            let configured = lane.windows.iter().filter(|window| !window.is_cut);
            let gauges = [WINDOW_LIMIT, WINDOW_LEFT];
            self.sample_windows(gauges, &lane_label(lane.lane), configured, &mut windows);
        }
        for budget in &status.budgets {
            let label = Label::from_static_parts("budget", budget.budget);
            self.sample_windows([BUDGET_LIMIT, BUDGET_LEFT], &label, &budget.windows, &mut windows);
        }
        let previous = std::mem::replace(&mut *self.sampled_windows.lock(), windows.clone());
        for (name, labels) in previous.into_iter().filter(|window| !windows.contains(window)) {
            self.gauge(name, labels).set(f64::NAN);
        }
    }

    fn sample_shared_quota(&self, shared: &SharedQuotaStatus) {
        for mode in SharedMode::ALL {
            let is_current = f64::from(u8::from(mode == shared.mode));
            self.gauge(SHARED_MODE, [mode_label(mode)]).set(is_current);
            // Registered as 0, since a first value of 1 would not show up as an increase.
            self.counter(SHARED_CHANGES, [mode_label(mode)]).increment(0);
        }
        self.gauge(SHARED_PROCESSES, []).set(f64::from(shared.processes));
    }

    /// Records a response cache under the names of the quote cache, as the cache `responses`.
    fn sample_responses(&self, stats: &ResponseStats) {
        let cache = Label::from_static_parts("cache", "responses");
        let results = [("fresh", stats.hits), ("miss", stats.misses), ("joined", stats.joined)];
        for (result, count) in results {
            let labels = [cache.clone(), Label::from_static_parts("result", result)];
            self.counter(CACHE_REQUESTS, labels).absolute(count);
        }
        self.counter(CACHE_FAILURES, [cache.clone()]).absolute(stats.failures);
        self.gauge(CACHE_ENTRIES, [cache.clone()]).set(stats.entries as f64);
        self.gauge(CACHE_BYTES, [cache]).set(stats.bytes as f64);
    }

    fn sample_lane(&self, lane: &LaneStatus) {
        let label = lane_label(lane.lane);
        // Registered as 0, since a first value of 1 would not show up as an increase.
        self.counter(THROTTLED, [label.clone()]).increment(0);
        let set = |name, value| self.gauge(name, [label.clone()]).set(value);
        let or_nan = |time: Option<Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64());
        set(QUEUE_LENGTH, lane.queued as f64);
        set(QUEUE_CAPACITY, lane.capacity as f64);
        set(OLDEST_WAIT, lane.oldest_wait.unwrap_or_default().as_secs_f64());
        set(ESTIMATED_WAIT, or_nan(lane.estimated_wait));
        set(RETRYING, lane.retrying as f64);
        set(IN_FLIGHT, f64::from(lane.in_flight));
        set(IN_FLIGHT_LIMIT, lane.max_in_flight as f64);
        set(PAUSED, lane.paused_for.unwrap_or_default().as_secs_f64());
        let rate = lane.rate.unwrap_or(f64::INFINITY);
        set(CONFIGURED_RATE, rate);
        set(EFFECTIVE_RATE, rate * f64::from(lane.rate_percent) / 100.0);
        set(ROUND_TRIP_MIN, or_nan(lane.min_round_trip));
        set(ROUND_TRIP_MEAN, or_nan(lane.mean_round_trip));
        set(CREDIT, lane.credit.as_secs_f64());
        let states = LaneState::ALL.map(|state| (state.as_str(), state == lane.state));
        self.sample_state(LANE_STATE, std::slice::from_ref(&label), states);
        for (route, breaker) in &lane.breakers {
            let states = BreakerState::ALL.map(|state| (state.as_str(), state == *breaker));
            self.sample_state(BREAKER_STATE, &[label.clone(), route_label(route)], states);
        }
    }

    fn sample_state<const N: usize>(
        &self,
        name: &'static str,
        labels: &[Label],
        states: [(&'static str, bool); N],
    ) {
        for (state, is_current) in states {
            let mut labels = labels.to_vec();
            labels.push(Label::from_static_parts("state", state));
            self.gauge(name, labels).set(f64::from(u8::from(is_current)));
        }
    }

    fn sample_windows<'a>(
        &self,
        [limit, left]: [&'static str; 2],
        label: &Label,
        windows: impl IntoIterator<Item = &'a WindowStatus>,
        sampled: &mut Vec<(&'static str, Vec<Label>)>,
    ) {
        for window in windows {
            for (name, value) in [(limit, window.limit), (left, window.left)] {
                let labels = vec![label.clone(), Label::new("window", window.window.clone())];
                self.gauge(name, labels.clone()).set(f64::from(value));
                sampled.push((name, labels));
            }
        }
    }

    /// Records how the orders of a guard ended: `metrics.sample_guard(&guard.stats())`. Two guards need one `Metrics`
    /// each, with a [`label`](Metrics::label) that distinguishes them.
    pub fn sample_guard(&self, stats: &GuardStats) {
        let outcomes = [
            ("placed", stats.placed),
            ("partly_placed", stats.partly_placed),
            ("rejected", stats.rejected),
            ("not_sent", stats.not_sent),
            ("absent", stats.absent),
            ("unknown", stats.unknown),
        ];
        for (outcome, count) in outcomes {
            let outcome = Label::from_static_parts("outcome", outcome);
            self.counter(ORDERS, [outcome]).absolute(count);
        }
        self.counter(ORDERS_TURNED_UP, []).absolute(stats.turned_up);
        self.gauge(ORDERS_PENDING, []).set(stats.pending as f64);
    }

    /// Records the lookups and requests of a cache: `metrics.sample_cache("quotes", &cache.stats())`.
    pub fn sample_cache(&self, name: impl Into<SharedString>, stats: &CacheStats) {
        let cache = Label::new("cache", name);
        let results = [
            ("fresh", stats.hits),
            ("stale", stats.stale),
            ("miss", stats.misses),
            ("joined", stats.joined),
        ];
        for (result, count) in results {
            let labels = [cache.clone(), Label::from_static_parts("result", result)];
            self.counter(CACHE_REQUESTS, labels).absolute(count);
        }
        let count = |name, count| self.counter(name, [cache.clone()]).absolute(count);
        count(CACHE_BATCHES, stats.batches);
        count(CACHE_BATCH_KEYS, stats.fetched);
        count(CACHE_SHARED, stats.shared);
        count(CACHE_FAILURES, stats.failures);
        count(CACHE_DIVIDED, stats.splits);
        count(CACHE_TIMEOUTS, stats.timed_out);
        let set = |name, value| self.gauge(name, [cache.clone()]).set(value);
        set(CACHE_ENTRIES, stats.entries as f64);
        set(CACHE_OLDEST, stats.oldest.as_secs_f64());
    }
}
