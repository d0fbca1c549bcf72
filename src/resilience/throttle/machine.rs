//! The pause and the rate cut of a lane whose calls were throttled. `lane/workers/health.rs` owns
//! it.
//!
//! The pause applies to the whole lane, and lasts until the latest moment that any throttled call
//! asked for.
//!
//! The cut is one more window beside those of the configured quota, as long as the shortest of
//! them. So the lane never exceeds its quota, and one bad second does not cut the quota of a day. A
//! cut makes calls rarer, and never impossible: if it leaves less than the largest weight of a
//! call, it allows that weight in a longer window. A cut of a spaced quota is spaced too.
//!
//! # How much is cut
//!
//! A cut keeps a fraction of the calls that were really sent, because that was the rate that was
//! too high, not the rate that the quota would have allowed. The sent calls are counted over two
//! windows, and the larger count is used. One window ends when the throttled call was sent, because
//! an answer that takes long may arrive when the lane is quiet. The other ends when the answer
//! arrives, because the first call of a burst was sent alone. A storm of throttled calls cuts once:
//! a call that was sent before the last cut is no evidence of the rate after it.
//!
//! A cut is a guess at the rate that the broker accepts. So a lane does not apply it to urgent
//! calls until one of them is throttled too (`lane/workers/health.rs`). The pause applies to all
//! calls.
//!
//! The cut recovers in steps, one for each window in which calls were waiting all the time. A lane
//! that sends few calls has no evidence of what the broker accepts.

use std::time::Duration;

use super::policy::ThrottlePolicy;
use crate::quota::{Moment, Quota};
use crate::resilience::rolling::RollingCounter;
use crate::resilience::validate::PolicyError;

/// Limits are counted in thousandths of a call, since a cut may leave less than one call in a
/// window.
const UNITS_PER_CALL: u64 = 1000;
/// The maximum window of a cut. A cut of an hour's calls, most of them already made, could stop a
/// lane for an hour.
const MAX_CUT_WINDOW: Duration = Duration::from_secs(60);
/// The maximum window of a cut that was stretched, for less than one call or for a large weight.
const MAX_STRETCHED_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// The cut window of a lane without a quota window.
const WINDOW_WITHOUT_QUOTA: Duration = Duration::from_secs(1);

/// A lane's reaction to "too many requests": a pure state machine whose methods take the current
/// time.
///
/// If the time passed in goes back, the latest time so far counts.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::quota::{Moment, Quota};
/// use lanekeeper::resilience::{Throttle, ThrottlePolicy};
///
/// let mut throttle = Throttle::new(ThrottlePolicy::default(), Quota::per_second(10))?;
/// let now = Moment::ORIGIN;
/// for _ in 0..9 {
///     throttle.on_send(now, 1, true);
/// }
/// let tenth = throttle.on_send(now, 1, true);
///
/// // The tenth call is throttled for 3 s: the lane pauses, and then sends at 70 %.
/// throttle.on_throttled(tenth, now, Some(Duration::from_secs(3)));
/// assert_eq!(throttle.pause(now), Some(now + Duration::from_secs(3)));
/// assert_eq!(throttle.take_new_quota(), Some(Quota::per_second(10).and(Quota::per_second(7))));
/// # Ok::<(), lanekeeper::resilience::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    policy: ThrottlePolicy,
    configured: Quota,
    /// The window of a cut.
    window: Duration,
    paused_until: Moment,
    last_cut: Option<Moment>,
    cut: Option<RateCut>,
    /// Since when each call that was sent left others waiting.
    busy_since: Option<Moment>,
    recent: RollingCounter<u64>,
    /// The largest weight of a call so far that fits into the quota.
    max_weight: u32,
    quota_changed: bool,
    latest: Moment,
}

/// A rate that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RateCut {
    /// The limit of a window with the cut, and without it.
    limit: u64,
    full_limit: u64,
    /// The last cut, the end of the last pause, or the last recovery step.
    changed_at: Moment,
}

/// When a call was sent, and the weight that was sent in the window that ended with it, the call
/// included. Pass it to [`Throttle::on_throttled`] if the call is throttled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendStamp {
    at: Moment,
    weight: u64,
    sent_in_window: u64,
    /// The cut before this call, if the call was the occasion for a recovery step.
    recovered_from: Option<RateCut>,
}

impl Throttle {
    /// Creates a throttle that is neither paused nor cut.
    ///
    /// # Errors
    /// Fails if the policy is invalid, see [`ThrottlePolicy::check`].
    pub fn new(policy: ThrottlePolicy, quota: Quota) -> Result<Self, PolicyError> {
        policy.check()?;
        let window = cut_window(&quota);
        Ok(Self {
            policy,
            configured: quota,
            window,
            paused_until: Moment::ORIGIN,
            last_cut: None,
            cut: None,
            busy_since: None,
            recent: RollingCounter::new(window),
            max_weight: 1,
            quota_changed: false,
            latest: Moment::ORIGIN,
        })
    }

    /// Registers the weight of a call. A cut leaves room for one call of this weight, if the quota
    /// does.
    pub fn ensure_room_for(&mut self, weight: u32) {
        let has_room =
            self.full_limit().is_none_or(|full| u64::from(weight) * UNITS_PER_CALL <= full);
        if has_room && weight > self.max_weight {
            self.max_weight = weight;
            self.quota_changed |= self.cut.is_some();
        }
    }

    /// Records that a call of this weight is sent. `waiting` is whether other calls wait that the
    /// quota alone holds back.
    pub fn on_send(&mut self, now: Moment, weight: u32, waiting: bool) -> SendStamp {
        let now = self.advance_to(now);
        let weight = u64::from(weight.max(1));
        let bucket = self.recent.bucket_at(now);
        *bucket = bucket.saturating_add(weight);
        self.busy_since = waiting.then(|| self.busy_since.unwrap_or(now));
        let before = self.cut;
        self.recover_step(now);
        let recovered_from = before.filter(|_| before != self.cut);
        SendStamp { at: now, weight, sent_in_window: self.recently_sent(now), recovered_from }
    }

    /// Records that a call was not sent after all. It no longer counts among the calls that were sent, and a recovery
    /// step that was made for it is taken back.
    pub fn on_not_sent(&mut self, stamp: SendStamp, now: Moment) {
        self.advance_to(now);
        if let Some(bucket) = self.recent.bucket_of(stamp.at) {
            *bucket = bucket.saturating_sub(stamp.weight);
        }
        let is_unchanged = self.cut.is_none_or(|cut| cut.changed_at == stamp.at);
        if let Some(before) = stamp.recovered_from.filter(|_| is_unchanged) {
            self.cut = Some(before);
            self.quota_changed = true;
        }
    }

    /// Records that a call was throttled. `retry_after` is the wait that the broker asked for, if
    /// any.
    pub fn on_throttled(&mut self, stamp: SendStamp, now: Moment, retry_after: Option<Duration>) {
        let now = self.advance_to(now);
        self.paused_until = self.paused_until.max(now + self.policy.pause(retry_after));
        if self.warrants_cut(stamp, now) {
            let sent =
                stamp.sent_in_window.max(self.recently_sent(now)).saturating_mul(UNITS_PER_CALL);
            let full =
                self.full_limit().unwrap_or(sent).max(self.cut.map_or(0, |cut| cut.full_limit));
            let limit = self.cut.map_or(full, |cut| cut.limit).min(sent);
            let limit = self.policy.cut_limit(limit, full);
            self.last_cut = Some(now);
            self.quota_changed = true;
            self.cut =
                (limit < full).then_some(RateCut { limit, full_limit: full, changed_at: now });
        }
        if let Some(cut) = &mut self.cut {
            cut.changed_at = cut.changed_at.max(self.paused_until);
        }
    }

    /// Returns until when the lane must not send, if it pauses.
    pub fn pause(&self, now: Moment) -> Option<Moment> {
        (self.paused_until > now).then_some(self.paused_until)
    }

    /// Returns the effective quota: the configured windows and the window of the cut.
    pub fn quota(&self) -> Quota {
        self.configured.clone().and(self.cut())
    }

    /// Returns the window of the cut, or an unlimited quota if nothing is cut.
    pub fn cut(&self) -> Quota {
        match self.cut {
            Some(cut) => {
                let quota = cut.quota(self.window, self.min_window_limit());
                let is_spaced = self.configured.windows().iter().any(|window| window.spaced);
                if is_spaced { quota.spaced() } else { quota }
            }
            None => Quota::unlimited(),
        }
    }

    /// Returns the effective quota if it has changed since the last call. Call this after each
    /// [`on_throttled`](Self::on_throttled) and [`on_send`](Self::on_send).
    pub fn take_new_quota(&mut self) -> Option<Quota> {
        std::mem::take(&mut self.quota_changed).then(|| self.quota())
    }

    /// Returns the allowed percentage of the full rate: 100 if nothing is cut.
    pub fn percent(&self) -> u32 {
        self.cut.map_or(100, |cut| {
            u32::try_from(cut.limit * 100 / cut.full_limit.max(1)).unwrap_or(100)
        })
    }

    /// Returns the quota without a cut.
    pub fn configured(&self) -> &Quota {
        &self.configured
    }

    /// Sets another quota. A cut remains, as the same fraction of it.
    pub fn set_quota(&mut self, quota: Quota) {
        let window = cut_window(&quota);
        if window != self.window {
            self.window = window;
            self.recent = RollingCounter::new(window);
        }
        self.configured = quota;
        self.quota_changed = true;
        if let (Some(full), Some(cut)) = (self.full_limit(), &mut self.cut) {
            let share =
                u128::from(cut.limit) * u128::from(full) / u128::from(cut.full_limit.max(1));
            cut.limit = u64::try_from(share).unwrap_or(full).max(1);
            cut.full_limit = full;
        }
    }

    /// Returns whether a throttled call is evidence that the last cut was not enough.
    fn warrants_cut(&self, stamp: SendStamp, now: Moment) -> bool {
        let min_limit = self.min_window_limit();
        let window = self.cut.map_or(self.window, |cut| cut.window_length(self.window, min_limit));
        self.last_cut.is_none_or(|last| stamp.at > last && now >= last + window)
    }

    /// Restores a part of the rate, if calls waited for a whole window.
    fn recover_step(&mut self, now: Moment) {
        let min_limit = self.min_window_limit();
        let (Some(cut), Some(busy_since)) = (&mut self.cut, self.busy_since) else { return };
        if now < cut.changed_at.max(busy_since) + cut.window_length(self.window, min_limit) {
            return;
        }
        cut.limit = cut.limit.saturating_add(self.policy.recovery_step(cut.full_limit));
        cut.changed_at = now;
        if cut.limit >= cut.full_limit {
            self.cut = None;
        }
        self.quota_changed = true;
    }

    /// Returns the limit of the configured quota in the window of a cut, or `None` if it has no
    /// window of that length. Then the count of sent calls at the first cut takes its place.
    fn full_limit(&self) -> Option<u64> {
        let windows = self.configured.windows().iter();
        let limits = windows.filter(|window| window.length == self.window);
        limits.map(|window| u64::from(window.limit) * UNITS_PER_CALL).min()
    }

    /// Returns the minimum limit of a cut window, in thousandths of a call.
    fn min_window_limit(&self) -> u64 {
        let max_limit = self.full_limit().unwrap_or(u64::MAX);
        (u64::from(self.max_weight) * UNITS_PER_CALL).min(max_limit).max(UNITS_PER_CALL)
    }

    fn recently_sent(&mut self, now: Moment) -> u64 {
        self.recent.buckets_until(now).fold(0, u64::saturating_add)
    }

    fn advance_to(&mut self, now: Moment) -> Moment {
        self.latest = self.latest.max(now);
        self.latest
    }
}

impl RateCut {
    /// Returns whole calls in a window. If the cut leaves less than `min_limit`, allows that in a
    /// longer window.
    fn quota(&self, window: Duration, min_limit: u64) -> Quota {
        let calls =
            u32::try_from(self.limit.max(min_limit) / UNITS_PER_CALL).unwrap_or(u32::MAX).max(1);
        Quota::new(calls, self.window_length(window, min_limit))
    }

    fn window_length(&self, window: Duration, min_limit: u64) -> Duration {
        if self.limit >= min_limit {
            return window;
        }
        let nanos = window.as_nanos().saturating_mul(u128::from(min_limit));
        let nanos =
            nanos.div_ceil(u128::from(self.limit.max(1))).min(MAX_STRETCHED_WINDOW.as_nanos());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Returns the shortest window of a quota, at most [`MAX_CUT_WINDOW`].
fn cut_window(quota: &Quota) -> Duration {
    let shortest = quota.windows().iter().map(|window| window.length).min();
    shortest.unwrap_or(WINDOW_WITHOUT_QUOTA).min(MAX_CUT_WINDOW)
}
