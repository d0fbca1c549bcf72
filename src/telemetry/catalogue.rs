//! The table of all metrics. Tests compare it with the metrics that are recorded, with the dashboard and with the
//! documentation.

use metrics::{KeyName, Recorder, Unit};

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A count that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name, which ends with the unit.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The labels, beside those of [`Metrics::label`](super::Metrics::label) and, where `help` mentions it,
    /// `user`.
    pub labels: &'static [&'static str],
    /// The description.
    pub help: &'static str,
}

impl Metric {
    fn unit(&self) -> Unit {
        if self.name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count }
    }
}

/// Bounds of histogram buckets for the exporter, in seconds, that suit the waits and calls of a broker.
pub const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

macro_rules! catalogue {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: &str = $name;)*

        /// All metrics.
        pub const METRICS: &[Metric] = &[$(
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help }
        ),*];
    };
}

catalogue! {
    CALLS Counter "lanekeeper_calls_total" ["lane", "method", "outcome"]
        "Calls that are over, by how they ended; with `user`, if users are told apart.";
    QUEUE_WAIT Histogram "lanekeeper_queue_wait_seconds" ["lane", "method"]
        "The time from submission to the first dispatch, recorded when that attempt ends; with `user`, if users are told apart.";
    CALL_DURATION Histogram "lanekeeper_call_duration_seconds" ["lane", "method"]
        "The time from the dispatch of each attempt to its answer. Local errors are left out.";
    RETRIES Counter "lanekeeper_retries_total" ["lane", "method", "reason"]
        "Attempts that failed and were followed by another, by the class of the failure.";
    REFUSED Counter "lanekeeper_refused_total" ["lane", "method", "reason"]
        "Calls that the lane did not take in or gave up, never sent, by why.";
    THROTTLED Counter "lanekeeper_throttled_total" ["lane"]
        "Answers by which the broker said that calls come too fast.";
    UNANSWERED Counter "lanekeeper_unanswered_total" ["lane", "method"]
        "Calls that were sent and whose caller left at its deadline, before the answer; reads too.";
    UNKNOWN Counter "lanekeeper_unknown_outcomes_total" ["lane", "method", "cause"]
        "Writes that may or may not have been done: the answer was lost (`answer`), or the caller left before it came (`deadline`). One whose answer is lost after its caller left is in both.";
    LATE Counter "lanekeeper_late_results_total" ["lane", "method"]
        "Answers that came after their caller had left.";
    BREAKER_CHANGES Counter "lanekeeper_breaker_changes_total" ["lane", "route", "state"]
        "How often the circuit breaker of a route class was seen to enter a state.";
    SHARED_CHANGES Counter "lanekeeper_shared_quota_changes_total" ["mode"]
        "How often a quota that several processes share entered a mode: `shared`, `share`, `stopped`. `returning` takes a few trips and is not counted.";
    ESTIMATE_ERROR Histogram "lanekeeper_estimated_wait_error_seconds" ["lane", "turn"]
        "By how much a call had its turn `later` or `sooner` than was estimated as it came.";
    QUEUE_LENGTH Gauge "lanekeeper_queue_length" ["lane"]
        "Calls that wait for their turn.";
    QUEUE_CAPACITY Gauge "lanekeeper_queue_capacity" ["lane"]
        "Calls that may wait.";
    OLDEST_WAIT Gauge "lanekeeper_queue_oldest_wait_seconds" ["lane"]
        "How long the oldest call has waited. Zero if none does.";
    ESTIMATED_WAIT Gauge "lanekeeper_estimated_wait_seconds" ["lane"]
        "How long one more call of the default priority would wait. Not a number while that cannot be told.";
    RETRYING Gauge "lanekeeper_retrying" ["lane"]
        "Calls that failed and wait for another attempt.";
    IN_FLIGHT Gauge "lanekeeper_in_flight" ["lane"]
        "Calls under way.";
    IN_FLIGHT_LIMIT Gauge "lanekeeper_in_flight_limit" ["lane"]
        "Calls that may be under way at once, but for a few urgent ones (`urgent_workers`).";
    WINDOW_LIMIT Gauge "lanekeeper_window_limit" ["lane", "window"]
        "Calls that a window of the lane's quota allows. Not a number once there is no such window.";
    WINDOW_LEFT Gauge "lanekeeper_window_remaining" ["lane", "window"]
        "Calls that are left of it.";
    BUDGET_LIMIT Gauge "lanekeeper_budget_limit" ["budget", "window"]
        "Calls that a window of a budget allows. Not a number once there is no such window.";
    BUDGET_LEFT Gauge "lanekeeper_budget_remaining" ["budget", "window"]
        "Calls that are left of it.";
    CONFIGURED_RATE Gauge "lanekeeper_configured_calls_per_second" ["lane"]
        "What the shortest window of the quota allows. Infinite without a quota.";
    EFFECTIVE_RATE Gauge "lanekeeper_effective_calls_per_second" ["lane"]
        "The same as it holds now: less after the broker said that calls come too fast.";
    PAUSED Gauge "lanekeeper_paused_seconds" ["lane"]
        "For how much longer the broker asked the lane to pause.";
    ROUND_TRIP_MIN Gauge "lanekeeper_round_trip_min_seconds" ["lane"]
        "The shortest round trip of the lane so far. Not a number before the first.";
    ROUND_TRIP_MEAN Gauge "lanekeeper_round_trip_mean_seconds" ["lane"]
        "The mean round trip on warm connections, since the path last became faster. Not a number before the first.";
    CREDIT Gauge "lanekeeper_round_trip_credit_seconds" ["lane"]
        "How much earlier a slot is free than one window after its answer.";
    LANE_STATE Gauge "lanekeeper_lane_state" ["lane", "state"]
        "1 for the state that the lane is in, 0 for the others.";
    BREAKER_STATE Gauge "lanekeeper_breaker_state" ["lane", "route", "state"]
        "1 for the state that the circuit breaker of a route class is in, 0 for the others.";
    SESSION_EXPIRED Gauge "lanekeeper_session_expired" []
        "1 from the refusal of the credentials by the broker until there are new ones, else 0.";
    SHARED_MODE Gauge "lanekeeper_shared_quota_mode" ["mode"]
        "1 for the mode in which several processes share the quota, 0 for the others. Only of a shared quota.";
    SHARED_PROCESSES Gauge "lanekeeper_shared_quota_processes" []
        "How many processes shared the quota when Redis answered last. Only of a shared quota.";
    BUILD_INFO Gauge "lanekeeper_build_info" ["version"]
        "Always 1. The label is the version of lanekeeper.";
    ORDERS Counter "lanekeeper_orders_total" ["outcome"]
        "Orders by what the guard answered: `placed`, `partly_placed`, `rejected`, `not_sent`, `absent`, `unknown`.";
    ORDERS_TURNED_UP Counter "lanekeeper_orders_turned_up_total" []
        "Orders that are in the market although they were reported as absent or of unknown outcome.";
    ORDERS_PENDING Gauge "lanekeeper_orders_pending" []
        "Orders that are absent or of unknown outcome, and that `recover` would search for.";
    CACHE_REQUESTS Counter "lanekeeper_cache_requests_total" ["cache", "result"]
        "Keys asked for: answered from memory, `fresh` or `stale`; the first to ask (`miss`); or shared a request that was made anyway (`joined`).";
    CACHE_BATCHES Counter "lanekeeper_cache_batches_total" ["cache"]
        "Requests that the cache made.";
    CACHE_BATCH_KEYS Counter "lanekeeper_cache_batch_keys_total" ["cache"]
        "Keys in those.";
    CACHE_SHARED Counter "lanekeeper_cache_shared_total" ["cache"]
        "Values that other processes had fetched, in place of a request of the cache.";
    CACHE_FAILURES Counter "lanekeeper_cache_failures_total" ["cache"]
        "Requests of the cache that failed.";
    CACHE_DIVIDED Counter "lanekeeper_cache_divided_total" ["cache"]
        "Requests that were refused as a whole, and split into parts.";
    CACHE_TIMEOUTS Counter "lanekeeper_cache_timeouts_total" ["cache"]
        "Questions given up at their deadline.";
    CACHE_ENTRIES Gauge "lanekeeper_cache_entries" ["cache"]
        "Keys in memory.";
    CACHE_BYTES Gauge "lanekeeper_cache_bytes" ["cache"]
        "The memory of the answers that a response cache keeps, by its estimate.";
    CACHE_OLDEST Gauge "lanekeeper_cache_oldest_answer_seconds" ["cache"]
        "The age of the oldest answer that was ever given from memory.";
}

/// Describes all metrics to a recorder.
pub(super) fn describe(recorder: &dyn Recorder) {
    for metric in METRICS {
        let (name, unit) = (KeyName::from(metric.name), Some(metric.unit()));
        let help = metric.help.into();
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let names: HashSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let name = metric.name;
            let is_counter = name.ends_with("_total");
            assert!(name.starts_with("lanekeeper_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(is_counter, metric.kind == Kind::Counter, "{name}");
            assert!(metric.kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            for unit in ["_ms", "_millis", "_percent", "_minutes"] {
                assert!(!name.contains(unit), "{name} is not in a base unit");
            }
        }
        assert!(SECONDS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
