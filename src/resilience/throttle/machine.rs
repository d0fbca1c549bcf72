//! The pause and the cut of a lane that was refused for coming too fast.
//!
//! The pause is for all of the lane, and lasts until the latest moment that any refusal asked for.
//!
//! The cut is one more window beside those of the configured quota, as long as the shortest of them.
//! So the lane is never over its quota, and a day's allowance is not cut by a bad second. It allows a
//! share of what was really sent, because that, and not what the quota would have allowed, is the rate
//! that was too high. What was sent is counted over the window that ended when the refused call left,
//! and over the one that ends when the refusal is heard: the first call of a burst left alone, and a
//! refusal that took long comes when the lane is quiet. The larger of the two counts. A storm of
//! refusals cuts once: a call that left before the last cut tells nothing of the rate after it.
//!
//! A cut makes calls rarer, and none impossible: where it leaves less than the heaviest call weighs, it
//! is that much in a longer window.
//!
//! A cut is a guess at the rate that the broker would bear, so a lane does not hold urgent calls back for it, until
//! one of them is refused too (`lane/care.rs`). The pause holds for all.
//!
//! The cut grows back in steps, each for a window in which calls were waiting all the time: a lane
//! that sends little learns nothing of what the broker would bear.

use std::time::Duration;

use super::policy::ThrottlePolicy;
use crate::quota::{Moment, Quota};
use crate::resilience::rolling::RollingCounter;
use crate::resilience::validate::PolicyError;

/// Limits are counted in thousandths of a call, since a cut may leave less than one for a window.
const UNITS_PER_CALL: u64 = 1000;
/// A cut window is no longer than this. A share of an hour's calls, most of them made already, could
/// stop a lane for as long.
const MAX_CUT_WINDOW: Duration = Duration::from_secs(60);
/// Nor is one that was made longer, for less than a call or for a heavy one.
const MAX_STRETCHED_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// The window of a lane that has none.
const WINDOW_WITHOUT_QUOTA: Duration = Duration::from_secs(1);

/// A lane's answer to "too many requests". A pure state machine: every method is told the time.
///
/// Should the time it is told ever go back, it takes the latest that it has heard.
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
/// // The tenth call is refused, for three seconds: the lane pauses, and then goes at 70 %.
/// throttle.on_throttled(tenth, now, Some(Duration::from_secs(3)));
/// assert_eq!(throttle.pause(now), Some(now + Duration::from_secs(3)));
/// assert_eq!(throttle.take_change(), Some(Quota::per_second(10).and(Quota::per_second(7))));
/// # Ok::<(), lanekeeper::resilience::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    policy: ThrottlePolicy,
    configured: Quota,
    /// The window that a cut is made in.
    window: Duration,
    paused_until: Moment,
    last_cut: Option<Moment>,
    cut: Option<RateCut>,
    /// Since when each call that left left others waiting.
    busy_since: Option<Moment>,
    recent: RollingCounter<u64>,
    /// What the heaviest call weighs that was heard of.
    max_weight: u32,
    quota_changed: bool,
    latest: Moment,
}

/// A rate that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RateCut {
    /// What goes in a window, and what would without the cut.
    limit: u64,
    full_limit: u64,
    /// The last cut, the end of the last pause, or the last step back up.
    changed_at: Moment,
}

/// When a call left, and how much left in the window that ended with it, itself included. It goes with
/// the call, to be shown if the call is refused for coming too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendStamp {
    at: Moment,
    sent_in_window: u64,
}

impl Throttle {
    /// Neither paused nor cut.
    ///
    /// # Errors
    /// The policy makes no sense, see [`ThrottlePolicy::check`].
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

    /// There are calls of so much weight. A cut leaves room for one of them, if the quota does.
    pub fn ensure_room_for(&mut self, weight: u32) {
        let has_room =
            self.full_limit().is_none_or(|full| u64::from(weight) * UNITS_PER_CALL <= full);
        if has_room && weight > self.max_weight {
            self.max_weight = weight;
            self.quota_changed |= self.cut.is_some();
        }
    }

    /// A call leaves, of so much weight. `waiting` is whether others wait that would have left, had
    /// the quota permitted.
    pub fn on_send(&mut self, now: Moment, weight: u32, waiting: bool) -> SendStamp {
        let now = self.advance_to(now);
        let bucket = self.recent.bucket_at(now);
        *bucket = bucket.saturating_add(weight.max(1).into());
        self.busy_since = waiting.then(|| self.busy_since.unwrap_or(now));
        self.recover_step(now);
        SendStamp { at: now, sent_in_window: self.recently_sent(now) }
    }

    /// A call was refused for coming too fast. `retry_after` is how long the broker asked to wait, if
    /// it said.
    pub fn on_throttled(
        &mut self,
        departure: SendStamp,
        now: Moment,
        retry_after: Option<Duration>,
    ) {
        let now = self.advance_to(now);
        self.paused_until = self.paused_until.max(now + self.policy.pause(retry_after));
        if self.warrants_cut(departure, now) {
            let sent = departure
                .sent_in_window
                .max(self.recently_sent(now))
                .saturating_mul(UNITS_PER_CALL);
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

    /// Until when nothing of the lane may leave, if it pauses.
    pub fn pause(&self, now: Moment) -> Option<Moment> {
        (self.paused_until > now).then_some(self.paused_until)
    }

    /// The quota that holds: the configured one, and the window of the cut.
    pub fn quota(&self) -> Quota {
        self.configured.clone().and(self.cut())
    }

    /// The window of the cut; no window if nothing is cut.
    pub fn cut(&self) -> Quota {
        match self.cut {
            Some(cut) => cut.quota(self.window, self.min_window_limit()),
            None => Quota::unlimited(),
        }
    }

    /// The quota that holds, if it has changed since this was asked last. Ask after each
    /// [`heard`](Self::heard) and [`sent`](Self::sent).
    pub fn take_new_quota(&mut self) -> Option<Quota> {
        std::mem::take(&mut self.quota_changed).then(|| self.quota())
    }

    /// How many percent of the full rate are allowed: 100 if nothing is cut.
    pub fn percent(&self) -> u32 {
        self.cut.map_or(100, |cut| {
            u32::try_from(cut.limit * 100 / cut.full_limit.max(1)).unwrap_or(100)
        })
    }

    /// The quota without a cut.
    pub fn configured(&self) -> &Quota {
        &self.configured
    }

    /// Gives the lane another quota. A cut stays, as the same share of it.
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

    /// Whether a refusal tells anything that the last cut did not answer yet.
    fn warrants_cut(&self, departure: SendStamp, now: Moment) -> bool {
        let least = self.min_window_limit();
        let window = self.cut.map_or(self.window, |cut| cut.window_length(self.window, least));
        self.last_cut.is_none_or(|last| departure.at > last && now >= last + window)
    }

    /// Gives back a part of the rate, if calls waited for a whole window.
    fn recover_step(&mut self, now: Moment) {
        let least = self.min_window_limit();
        let (Some(cut), Some(busy_since)) = (&mut self.cut, self.busy_since) else { return };
        if now < cut.changed_at.max(busy_since) + cut.window_length(self.window, least) {
            return;
        }
        cut.limit = cut.limit.saturating_add(self.policy.recovery_step(cut.full_limit));
        cut.changed_at = now;
        if cut.limit >= cut.full_limit {
            self.cut = None;
        }
        self.quota_changed = true;
    }

    /// What the configured quota allows in the window of a cut. `None` if it has no window that
    /// short: then what was sent when it was first refused has to do.
    fn full_limit(&self) -> Option<u64> {
        let windows = self.configured.windows().iter();
        let limits = windows.filter(|window| window.length == self.window);
        limits.map(|window| u64::from(window.limit) * UNITS_PER_CALL).min()
    }

    /// What a cut window has room for at the least, in thousandths like all limits.
    fn min_window_limit(&self) -> u64 {
        let most = self.full_limit().unwrap_or(u64::MAX);
        (u64::from(self.max_weight) * UNITS_PER_CALL).min(most).max(UNITS_PER_CALL)
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
    /// Whole calls in a window; where there is less than the `least` room, that in a longer one.
    fn quota(&self, window: Duration, least: u64) -> Quota {
        let calls =
            u32::try_from(self.limit.max(least) / UNITS_PER_CALL).unwrap_or(u32::MAX).max(1);
        Quota::new(calls, self.window_length(window, least))
    }

    fn window_length(&self, window: Duration, least: u64) -> Duration {
        if self.limit >= least {
            return window;
        }
        let nanos = window.as_nanos().saturating_mul(u128::from(least));
        let nanos =
            nanos.div_ceil(u128::from(self.limit.max(1))).min(MAX_STRETCHED_WINDOW.as_nanos());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The shortest window of a quota, if that is short enough to be cut in.
fn cut_window(quota: &Quota) -> Duration {
    let shortest = quota.windows().iter().map(|window| window.length).min();
    shortest.unwrap_or(WINDOW_WITHOUT_QUOTA).min(MAX_CUT_WINDOW)
}
