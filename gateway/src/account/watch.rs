//! Counts what the lanes report, and turns the rare events into notices.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lanekeeper::lane::{
    CallInfo, FinishedCall, LaneErrorKind, LaneState, Observer, SharedMode, SharedQuotaEvent,
};
use lanekeeper::resilience::BreakerState;
use lanekeeper::{ErrorClass, Sent};

use crate::notices::{Notice, Notices, Severity};

/// What one lane counted.
#[derive(Default)]
struct LaneCounts {
    answered: AtomicU64,
    refused: AtomicU64,
    /// The mean round trip, in nanoseconds. Zero before the first.
    round_trip: AtomicU64,
}

/// The observer of an account's lanes.
pub(crate) struct LaneWatch {
    account: Arc<str>,
    notices: Arc<Notices>,
    lanes: HashMap<&'static str, LaneCounts>,
}

/// Of how many round trips the mean has the weight of one.
const MEAN_OF: u64 = 8;

impl LaneWatch {
    pub(crate) fn new(
        account: Arc<str>,
        notices: Arc<Notices>,
        lanes: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let lanes = lanes.into_iter().map(|lane| (lane, LaneCounts::default())).collect();
        Self { account, notices, lanes }
    }

    /// Returns how many calls of a lane the broker answered, and how many were refused unsent.
    pub(crate) fn counts(&self, lane: &str) -> (u64, u64) {
        let Some(counts) = self.lanes.get(lane) else { return (0, 0) };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&counts.answered), of(&counts.refused))
    }

    /// Returns how long calls of a lane take from their sending to their answer, on average of the last few.
    pub(crate) fn mean_round_trip(&self, lane: &str) -> Option<Duration> {
        let nanos = self.lanes.get(lane)?.round_trip.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    fn refuse(&self, call: &CallInfo<'_>) {
        if let Some(counts) = self.lanes.get(call.lane) {
            counts.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn finish(&self, call: &FinishedCall<'_>) {
        let Some(counts) = self.lanes.get(call.call.lane).filter(|_| !call.already_reported) else {
            return;
        };
        if call.sent == Sent::Yes {
            counts.answered.fetch_add(1, Ordering::Relaxed);
            let latest = u64::try_from(call.round_trip.as_nanos()).unwrap_or(u64::MAX);
            // A lost update of two threads does not matter to a mean.
            let mean = counts.round_trip.load(Ordering::Relaxed);
            let mean = if mean == 0 { latest } else { mean - mean / MEAN_OF + latest / MEAN_OF };
            counts.round_trip.store(mean, Ordering::Relaxed);
        }
    }

    fn notice(&self, kind: &'static str, severity: Severity, lane: &'static str, text: String) {
        let (account, lane) = (Some(Arc::clone(&self.account)), Some(lane));
        self.notices.push(Notice { kind, severity, account, lane, text });
    }
}

impl Observer for LaneWatch {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.finish(call);
        if call.failure == Some(ErrorClass::Unknown) {
            let text = format!("the answer to a call of `{}` was lost", call.call.method);
            self.notice("unknown_outcome", Severity::Error, call.call.lane, text);
        }
    }

    fn attempt_failed(&self, call: &FinishedCall<'_>, _delay: Duration) {
        self.finish(call);
    }

    fn throttled(&self, lane: &'static str, pause: Duration) {
        let text = format!(
            "the broker refused a call, because calls come too fast; the lane pauses for {pause:?}"
        );
        self.notice("throttled", Severity::Warning, lane, text);
    }

    fn cancelled(&self, call: &CallInfo<'_>) {
        self.refuse(call);
    }

    fn expired(&self, call: &CallInfo<'_>) {
        self.refuse(call);
    }

    fn refused(&self, call: &CallInfo<'_>, _reason: &LaneErrorKind) {
        self.refuse(call);
    }

    fn lane_state(&self, lane: &'static str, state: LaneState) {
        let (kind, severity, text) = match state {
            LaneState::Paused => ("paused", Severity::Warning, "the lane is paused by hand"),
            LaneState::Running => ("resumed", Severity::Info, "the lane goes on"),
            LaneState::Draining => ("drain", Severity::Info, "the lane is draining"),
            _ => ("drain", Severity::Info, "the lane is closed"),
        };
        self.notice(kind, severity, lane, text.to_owned());
    }

    fn session_expired(&self, lane: &'static str) {
        let text = "the broker does not accept the token any more: log in again".to_owned();
        self.notice("session", Severity::Error, lane, text);
    }

    fn breaker(&self, lane: &'static str, route: &'static str, state: BreakerState) {
        let severity = match state {
            BreakerState::Closed => Severity::Info,
            _ => Severity::Warning,
        };
        let text = format!("the circuit breaker of `{route}` is {}", state.as_str());
        self.notice("breaker", severity, lane, text);
    }

    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        let (severity, text) = match *event {
            SharedQuotaEvent::Mode { mode: SharedMode::Share, why, .. } => (
                Severity::Warning,
                format!("Redis is away, so the lanes keep to the share of this gateway: {why}"),
            ),
            SharedQuotaEvent::Mode { mode: SharedMode::Stopped, why, .. } => {
                (Severity::Warning, format!("Redis is away, so only exits are sent: {why}"))
            }
            SharedQuotaEvent::Mode { why, .. } => {
                (Severity::Info, format!("the quota is shared with other processes: {why}"))
            }
            SharedQuotaEvent::Warning { warning, .. } => (Severity::Warning, warning.to_owned()),
            _ => return,
        };
        let account = Some(Arc::clone(&self.account));
        self.notices.push(Notice { kind: "shared_quota", severity, account, lane: None, text });
    }
}
