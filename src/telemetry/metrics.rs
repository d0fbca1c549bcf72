//! Counts and times the calls, as an [`Observer`].
//!
//! A recorder is foreign code, so it is called with no lock held. Metrics that every call records have cached
//! handles. The others are rare, and their handles are looked up each time.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString, with_recorder,
};
use parking_lot::{Mutex, RwLock};

use super::catalogue::{
    BREAKER_CHANGES, CALL_DURATION, CALLS, ESTIMATE_ERROR, LATE, QUEUE_WAIT, REFUSED, RETRIES,
    SHARED_CHANGES, THROTTLED, UNANSWERED, UNKNOWN, describe,
};
use super::user_labels::{UserLabel, UserLabels};
use crate::lane::{CallInfo, FinishedCall, LaneErrorKind, Observer, SharedMode, SharedQuotaEvent};
use crate::resilience::BreakerState;
use crate::{Effect, ErrorClass};

/// An [`Observer`] that records the calls of one proxy in the `metrics` facade, and its state when
/// [sampled](Self::sample). See [`METRICS`](super::METRICS).
///
/// Install the exporter first. Events before that are lost. An exporter that is installed later is found
/// at the next sample.
///
/// Two proxies in one process need one `Metrics` each, with a [`label`](Self::label) that distinguishes them.
pub struct Metrics {
    recorder: Option<Box<dyn Recorder + Send + Sync>>,
    labels: Vec<Label>,
    users: UserLabels,
    estimates: bool,
    series: RwLock<HashMap<SeriesKey, Arc<MethodSeries>>>,
    /// The windows of the last sample.
    pub(super) sampled_windows: Mutex<Vec<(&'static str, Vec<Label>)>>,
}

type SeriesKey = (&'static str, &'static str, UserLabel);

/// How a call ended, as a label.
#[derive(Debug, Clone, Copy)]
enum OutcomeLabel {
    Done,
    Failed(ErrorClass),
    /// The adapter refused the call before anything was tried.
    Local,
    Cancelled,
    Expired,
    Refused,
}

const OUTCOME_COUNT: usize = 14;

impl OutcomeLabel {
    fn new(end: &FinishedCall<'_>) -> Self {
        match end.failure {
            None => Self::Done,
            Some(_) if end.local => Self::Local,
            Some(class) => Self::Failed(class),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(class) => class.as_str(),
            Self::Local => "local",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Done => 0,
            Self::Cancelled => 1,
            Self::Expired => 2,
            Self::Refused => 3,
            Self::Failed(ErrorClass::Throttled { .. }) => 4,
            Self::Failed(ErrorClass::NotSent) => 5,
            Self::Failed(ErrorClass::Transient) => 6,
            Self::Failed(ErrorClass::Unknown) => 7,
            Self::Failed(ErrorClass::Rejected) => 8,
            Self::Failed(ErrorClass::Fatal) => 9,
            Self::Failed(ErrorClass::Malformed) => 10,
            Self::Failed(ErrorClass::Unauthorized) => 11,
            Self::Failed(ErrorClass::PartlyDone) => 12,
            Self::Local => 13,
        }
    }
}

/// The metrics that every call of a method records, for one user if users are distinguished.
struct MethodSeries {
    wait: Histogram,
    duration: Histogram,
    outcomes: [OnceLock<Counter>; OUTCOME_COUNT],
}

static METADATA: Metadata<'static> =
    Metadata::new("lanekeeper", Level::INFO, Some("lanekeeper::telemetry"));

impl Metrics {
    /// Returns metrics for the exporter of the process.
    pub fn new() -> Self {
        Self {
            recorder: None,
            labels: Vec::new(),
            users: UserLabels::default(),
            estimates: false,
            series: RwLock::default(),
            sampled_windows: Mutex::default(),
        }
    }

    /// Uses `recorder` instead of the exporter of the process.
    #[must_use]
    pub fn recorder(mut self, recorder: impl Recorder + Send + Sync + 'static) -> Self {
        self.recorder = Some(Box::new(recorder));
        self
    }

    /// Adds a label to every metric, for example the account.
    #[must_use]
    pub fn label(mut self, name: impl Into<SharedString>, value: impl Into<SharedString>) -> Self {
        self.labels.push(Label::new(name, value));
        self
    }

    /// Distinguishes users by the label `user`: the first `max_users` users by name, all others as `other`, and calls
    /// without a user as `none`. By default there is no such label, since each user adds as many series
    /// as there are methods and outcomes.
    #[must_use]
    pub fn users(mut self, max_users: usize) -> Self {
        self.users.max_users = max_users;
        self
    }

    /// Estimates the wait of each call when it is submitted, to compare it with the actual one. An estimate costs a
    /// pass over the queue. Without this, only calls with a deadline that are not urgent are compared, since
    /// those are estimated anyway.
    #[must_use]
    pub fn estimates(mut self) -> Self {
        self.estimates = true;
        self
    }

    /// Drops the cached handles, so that they are looked up again. An exporter may have been installed, or may have
    /// dropped series that were idle.
    pub(super) fn refresh(&self) {
        let old = std::mem::take(&mut *self.series.write());
        drop(old);
        self.use_recorder(describe);
    }

    fn use_recorder<R>(&self, action: impl FnOnce(&dyn Recorder) -> R) -> R {
        match &self.recorder {
            Some(recorder) => action(&**recorder),
            None => with_recorder(action),
        }
    }

    pub(super) fn key(&self, name: &'static str, labels: impl IntoIterator<Item = Label>) -> Key {
        Key::from_parts(name, self.labels.iter().cloned().chain(labels).collect::<Vec<_>>())
    }

    pub(super) fn gauge(
        &self,
        name: &'static str,
        labels: impl IntoIterator<Item = Label>,
    ) -> Gauge {
        let key = self.key(name, labels);
        self.use_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    pub(super) fn counter(
        &self,
        name: &'static str,
        labels: impl IntoIterator<Item = Label>,
    ) -> Counter {
        let key = self.key(name, labels);
        self.use_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    fn histogram(&self, name: &'static str, labels: impl IntoIterator<Item = Label>) -> Histogram {
        let key = self.key(name, labels);
        self.use_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }

    fn series(&self, call: &CallInfo<'_>) -> Arc<MethodSeries> {
        let key = (call.lane, call.method, self.users.label(call.user));
        if let Some(series) = self.series.read().get(&key) {
            return Arc::clone(series);
        }
        let method = || method_labels(call);
        let series = Arc::new(MethodSeries {
            wait: self.histogram(QUEUE_WAIT, method().into_iter().chain(self.user_label(key.2))),
            duration: self.histogram(CALL_DURATION, method()),
            outcomes: Default::default(),
        });
        self.register_zero_counts(call);
        // If another thread was first, `series` is dropped after the lock is released.
        Arc::clone(self.series.write().entry(key).or_insert_with(|| Arc::clone(&series)))
    }

    /// Registers rare counters as 0. If a counter first appeared as 1, a query for its increase would
    /// return 0.
    fn register_zero_counts(&self, call: &CallInfo<'_>) {
        for name in [UNANSWERED, LATE] {
            self.counter(name, method_labels(call)).increment(0);
        }
        if call.effect == Effect::Write {
            for cause in ["answer", "deadline"] {
                let cause = Label::from_static_parts("cause", cause);
                self.counter(UNKNOWN, method_labels(call).into_iter().chain([cause])).increment(0);
            }
        }
    }

    fn user_label(&self, user: UserLabel) -> Option<Label> {
        self.users.value(user).map(|name| Label::new("user", name))
    }

    /// Counts the end of a call.
    fn count_outcome(&self, series: &MethodSeries, call: &CallInfo<'_>, outcome: OutcomeLabel) {
        let Some(counter) = series.outcomes.get(outcome.index()) else { return };
        let new = || {
            let outcome = Label::from_static_parts("outcome", outcome.as_str());
            let user = self.user_label(self.users.label(call.user));
            self.counter(CALLS, method_labels(call).into_iter().chain([outcome]).chain(user))
        };
        let counter = match counter.get() {
            Some(counter) => counter,
            None => {
                // Made before `get_or_init`, which blocks other threads while it runs.
                let new = new();
                counter.get_or_init(|| new)
            }
        };
        counter.increment(1);
    }

    /// Records the times of a finished attempt.
    fn record_attempt(&self, series: &MethodSeries, end: &FinishedCall<'_>) {
        if end.already_reported {
            return;
        }
        if !end.local {
            series.duration.record(end.round_trip.as_secs_f64());
        }
        if end.attempt != 1 {
            return;
        }
        series.wait.record(end.queued.as_secs_f64());
        if let Some(estimate) = end.call.estimated_wait {
            let turn = if end.queued < estimate { "sooner" } else { "later" };
            let labels = [lane_label(end.call.lane), Label::from_static_parts("turn", turn)];
            let error = self.histogram(ESTIMATE_ERROR, labels);
            error.record(end.queued.abs_diff(estimate).as_secs_f64());
        }
    }

    fn count(
        &self,
        name: &'static str,
        call: &CallInfo<'_>,
        label: Option<(&'static str, &'static str)>,
    ) {
        let label = label.map(|(name, value)| Label::from_static_parts(name, value));
        self.counter(name, method_labels(call).into_iter().chain(label)).increment(1);
    }
}

pub(super) fn lane_label(lane: &'static str) -> Label {
    Label::from_static_parts("lane", lane)
}

pub(super) fn route_label(route: &'static str) -> Label {
    Label::from_static_parts("route", route)
}

pub(super) fn mode_label(mode: SharedMode) -> Label {
    Label::from_static_parts("mode", mode.as_str())
}

fn method_labels(call: &CallInfo<'_>) -> [Label; 2] {
    [lane_label(call.lane), Label::from_static_parts("method", call.method)]
}

impl Observer for Metrics {
    fn finished(&self, end: &FinishedCall<'_>) {
        let call = &end.call;
        let series = self.series(call);
        self.record_attempt(&series, end);
        self.count_outcome(&series, call, OutcomeLabel::new(end));
        if (end.failure, call.effect) == (Some(ErrorClass::Unknown), Effect::Write) {
            self.count(UNKNOWN, call, Some(("cause", "answer")));
        }
    }

    fn attempt_failed(&self, end: &FinishedCall<'_>, _: Duration) {
        let series = self.series(&end.call);
        self.record_attempt(&series, end);
        let class = end.failure.map_or("none", ErrorClass::as_str);
        self.count(RETRIES, &end.call, Some(("reason", class)));
    }

    fn throttled(&self, lane: &'static str, _: Duration) {
        self.counter(THROTTLED, [lane_label(lane)]).increment(1);
    }

    fn cancelled(&self, call: &CallInfo<'_>) {
        self.count_outcome(&self.series(call), call, OutcomeLabel::Cancelled);
    }

    fn expired(&self, call: &CallInfo<'_>) {
        self.count_outcome(&self.series(call), call, OutcomeLabel::Expired);
    }

    fn refused(&self, call: &CallInfo<'_>, reason: &LaneErrorKind) {
        self.count_outcome(&self.series(call), call, OutcomeLabel::Refused);
        self.count(REFUSED, call, Some(("reason", reason.as_str())));
    }

    fn deadline_missed(&self, call: &CallInfo<'_>) {
        // It may be the first call of its method, whose counters are registered as 0 here.
        let _ = self.series(call);
        self.count(UNANSWERED, call, None);
        if call.effect == Effect::Write {
            self.count(UNKNOWN, call, Some(("cause", "deadline")));
        }
    }

    fn late_result(&self, call: &CallInfo<'_>, _: &dyn Any) {
        self.count(LATE, call, None);
    }

    fn breaker(&self, lane: &'static str, route: &'static str, state: BreakerState) {
        let state = Label::from_static_parts("state", state.as_str());
        self.counter(BREAKER_CHANGES, [lane_label(lane), route_label(route), state]).increment(1);
    }

    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        if let SharedQuotaEvent::Mode { mode, .. } = event {
            self.counter(SHARED_CHANGES, [mode_label(*mode)]).increment(1);
        }
    }

    fn wants_estimates(&self) -> bool {
        self.estimates
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("labels", &self.labels)
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}
