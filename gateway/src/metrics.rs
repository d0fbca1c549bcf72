//! The metrics of the gateway: those of the lanes, and those of the door, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::StatusCode;
use lanekeeper::telemetry::{Metrics, SECONDS};
use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::kept::KeptStats;
use crate::limits::Outcome;
use crate::shared::DoorCounts;

const REQUESTS: &str = "lanekeeper_gateway_requests_total";
const DURATION: &str = "lanekeeper_gateway_request_duration_seconds";
const CONNECTIONS: &str = "lanekeeper_gateway_connections";
const IN_PROGRESS: &str = "lanekeeper_gateway_requests_in_progress";
const STREAMS: &str = "lanekeeper_gateway_event_streams";
const OVER_LIMIT: &str = "lanekeeper_gateway_over_limit_total";
const LOGIN_REFUSED: &str = "lanekeeper_gateway_login_refusals_total";

// The names of the quote cache, under which the kept answers are another cache.
const CACHE_REQUESTS: &str = "lanekeeper_cache_requests_total";
const CACHE_ENTRIES: &str = "lanekeeper_cache_entries";
const CACHE_BYTES: &str = "lanekeeper_cache_bytes";

/// The bounds of the door's durations, in seconds: from what the cache takes to the time of a client.
const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static METADATA: Metadata<'static> =
    Metadata::new("lanekeeper_gateway", Level::INFO, Some("lanekeeper_gateway"));

/// The recorder of one gateway. The process may have another one.
pub(crate) struct DoorMetrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

/// Passes on what lanes record.
struct Shared(Arc<PrometheusRecorder>);

impl DoorMetrics {
    pub(crate) fn new() -> Result<Self, BuildError> {
        // Without bounds a histogram would be a summary, which cannot be added up over lanes and processes.
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)?
            .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &BOUNDS)?
            .build_recorder();
        let handle = recorder.handle();
        for (name, text) in [
            (REQUESTS, "Requests of clients, by client, route class and status."),
            (OVER_LIMIT, "Requests over a rule of the limits, by rule and what happened to them."),
            (
                LOGIN_REFUSED,
                "Keys that were not looked at or not answered, after too many wrong ones.",
            ),
        ] {
            recorder.describe_counter(
                KeyName::from_const_str(name),
                None,
                SharedString::const_str(text),
            );
        }
        // An alert needs the first one too.
        recorder.register_counter(&Key::from_static_name(LOGIN_REFUSED), &METADATA).absolute(0);
        recorder.describe_histogram(
            KeyName::from_const_str(DURATION),
            Some(Unit::Seconds),
            SharedString::const_str("From the head of a request to its answer, by route class."),
        );
        for (name, text) in [
            (CONNECTIONS, "Connections that are open."),
            (IN_PROGRESS, "Requests whose answer is not written yet, without streams of events."),
            (STREAMS, "Streams of events that are open."),
        ] {
            recorder.describe_gauge(
                KeyName::from_const_str(name),
                None,
                SharedString::const_str(text),
            );
        }
        Ok(Self { recorder: Arc::new(recorder), handle })
    }

    /// Returns the observer of an account's lanes.
    pub(crate) fn for_account(&self, account: &str) -> Metrics {
        let recorder = Shared(Arc::clone(&self.recorder));
        Metrics::new().recorder(recorder).label("account", account.to_owned())
    }

    /// Counts a request.
    pub(crate) fn request(
        &self,
        client: &Arc<str>,
        class: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        let class = Label::from_static_parts("class", class);
        let labels = vec![
            Label::new("client", Arc::clone(client)),
            class.clone(),
            Label::new("status", status.as_str().to_owned()),
        ];
        let key = Key::from_parts(REQUESTS, labels);
        self.recorder.register_counter(&key, &METADATA).increment(1);
        let key = Key::from_parts(DURATION, vec![class]);
        self.recorder.register_histogram(&key, &METADATA).record(took.as_secs_f64());
    }

    /// Counts a request that is over a rule. There are as many series as rules, three times.
    pub(crate) fn over_limit(&self, rule: &str, outcome: Outcome) {
        let labels = vec![
            Label::new("rule", rule.to_owned()),
            Label::from_static_parts("outcome", outcome.as_str()),
        ];
        let key = Key::from_parts(OVER_LIMIT, labels);
        self.recorder.register_counter(&key, &METADATA).increment(1);
    }

    /// Counts a key that was not looked at, or that was wrong and not answered as such.
    pub(crate) fn login_refused(&self) {
        let key = Key::from_static_name(LOGIN_REFUSED);
        self.recorder.register_counter(&key, &METADATA).increment(1);
    }

    /// Brings the states of the door up to date, which are sampled.
    pub(crate) fn sample_door(&self, counts: &DoorCounts) {
        for (name, count) in [
            (CONNECTIONS, &counts.connections),
            (IN_PROGRESS, &counts.in_progress),
            (STREAMS, &counts.streams),
        ] {
            self.gauge(name, Vec::new(), count.load(Ordering::Relaxed));
        }
    }

    /// Brings the counts of an account's kept answers up to date.
    pub(crate) fn sample_kept(&self, account: &Arc<str>, stats: &KeptStats) {
        let labels = || {
            let account = Label::new("account", Arc::clone(account));
            vec![account, Label::from_static_parts("cache", "kept")]
        };
        let results = [("fresh", stats.hits), ("miss", stats.misses), ("joined", stats.joined)];
        for (result, count) in results {
            let mut labels = labels();
            labels.push(Label::from_static_parts("result", result));
            let key = Key::from_parts(CACHE_REQUESTS, labels);
            self.recorder.register_counter(&key, &METADATA).absolute(count);
        }
        self.gauge(CACHE_ENTRIES, labels(), stats.entries);
        self.gauge(CACHE_BYTES, labels(), stats.bytes);
    }

    // A count of less than 2^53 is exact as a float.
    #[allow(clippy::cast_precision_loss)]
    fn gauge(&self, name: &'static str, labels: Vec<Label>, value: u64) {
        let key = Key::from_parts(name, labels);
        self.recorder.register_gauge(&key, &METADATA).set(value as f64);
    }

    /// Returns everything as text. Call [`upkeep`](Self::upkeep) now and then too.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Lets the recorder forget what it no longer needs.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl Recorder for Shared {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.0.describe_counter(key, unit, text);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.0.describe_gauge(key, unit, text);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.0.describe_histogram(key, unit, text);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> metrics::Counter {
        self.0.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> metrics::Gauge {
        self.0.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> metrics::Histogram {
        self.0.register_histogram(key, metadata)
    }
}
