//! Records the state of a proxy and of a cache in gauges, when it is sampled.

use metrics::{Label, SharedString};

use super::catalogue::{
    BREAKER_STATE, BUDGET_LEFT, BUDGET_LIMIT, CACHE_BATCH_KEYS, CACHE_BATCHES, CACHE_DIVIDED,
    CACHE_ENTRIES, CACHE_FAILURES, CACHE_OLDEST, CACHE_REQUESTS, CACHE_TIMEOUTS, CONFIGURED_RATE,
    EFFECTIVE_RATE, ESTIMATED_WAIT, IN_FLIGHT, IN_FLIGHT_LIMIT, LANE_STATE, OLDEST_WAIT, PAUSED,
    QUEUE_CAPACITY, QUEUE_LENGTH, RETRYING, SESSION_EXPIRED, THROTTLED, WINDOW_LEFT, WINDOW_LIMIT,
};
use super::metrics::{Metrics, lane_label, route_label};
use crate::cache::CacheStats;
use crate::lane::{LaneState, LaneStatus, Status, WindowStatus};
use crate::resilience::BreakerState;

impl Metrics {
    /// Records the state of the lanes and budgets: `metrics.sample(&broker.status())`.
    pub fn sample(&self, status: &Status) {
        self.refresh();
        let expired = f64::from(u8::from(status.session_expired));
        self.gauge(SESSION_EXPIRED, []).set(expired);
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

    fn sample_lane(&self, lane: &LaneStatus) {
        let label = lane_label(lane.lane);
        // Registered as 0, since a first value of 1 would not show up as an increase.
        self.counter(THROTTLED, [label.clone()]).increment(0);
        let set = |name, value| self.gauge(name, [label.clone()]).set(value);
        set(QUEUE_LENGTH, lane.queued as f64);
        set(QUEUE_CAPACITY, lane.capacity as f64);
        set(OLDEST_WAIT, lane.oldest_wait.unwrap_or_default().as_secs_f64());
        set(ESTIMATED_WAIT, lane.estimated_wait.map_or(f64::NAN, |wait| wait.as_secs_f64()));
        set(RETRYING, lane.retrying as f64);
        set(IN_FLIGHT, f64::from(lane.in_flight));
        set(IN_FLIGHT_LIMIT, lane.max_in_flight as f64);
        set(PAUSED, lane.paused_for.unwrap_or_default().as_secs_f64());
        let rate = lane.rate.unwrap_or(f64::INFINITY);
        set(CONFIGURED_RATE, rate);
        set(EFFECTIVE_RATE, rate * f64::from(lane.rate_percent) / 100.0);
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
        count(CACHE_FAILURES, stats.failures);
        count(CACHE_DIVIDED, stats.splits);
        count(CACHE_TIMEOUTS, stats.timed_out);
        let set = |name, value| self.gauge(name, [cache.clone()]).set(value);
        set(CACHE_ENTRIES, stats.entries as f64);
        set(CACHE_OLDEST, stats.oldest.as_secs_f64());
    }
}
