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
use crate::resilience::buckets::Buckets;
use crate::resilience::setting::PolicyError;

/// Limits are counted in thousandths of a call, since a cut may leave less than one for a window.
const CALL: u64 = 1000;
/// A cut window is no longer than this. A share of an hour's calls, most of them made already, could
/// stop a lane for as long.
const LONGEST_WINDOW: Duration = Duration::from_secs(60);
/// Nor is one that was made longer, for less than a call or for a heavy one.
const LONGEST_CUT: Duration = Duration::from_secs(24 * 60 * 60);
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
    cut: Option<Cut>,
    /// Since when each call that left left others waiting.
    busy_since: Option<Moment>,
    lately: Buckets<u64>,
    /// What the heaviest call weighs that was heard of.
    heaviest: u32,
    changed: bool,
    latest: Moment,
}

/// A rate that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    /// What goes in a window, and what would without the cut.
    limit: u64,
    full: u64,
    /// The last cut, the end of the last pause, or the last step back up.
    moved: Moment,
}

/// When a call left, and how much left in the window that ended with it, itself included. It goes with
/// the call, to be shown if the call is refused for coming too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendStamp {
    at: Moment,
    sent: u64,
}

impl Throttle {
    /// Neither paused nor cut.
    ///
    /// # Errors
    /// The policy makes no sense, see [`ThrottlePolicy::check`].
    pub fn new(policy: ThrottlePolicy, quota: Quota) -> Result<Self, PolicyError> {
        policy.check()?;
        let window = window_of(&quota);
        Ok(Self {
            policy,
            configured: quota,
            window,
            paused_until: Moment::ORIGIN,
            last_cut: None,
            cut: None,
            busy_since: None,
            lately: Buckets::new(window),
            heaviest: 1,
            changed: false,
            latest: Moment::ORIGIN,
        })
    }

    /// There are calls of so much weight. A cut leaves room for one of them, if the quota does.
    pub fn ensure_room_for(&mut self, weight: u32) {
        let has_room = self.full().is_none_or(|full| u64::from(weight) * CALL <= full);
        if has_room && weight > self.heaviest {
            self.heaviest = weight;
            self.changed |= self.cut.is_some();
        }
    }

    /// A call leaves, of so much weight. `waiting` is whether others wait that would have left, had
    /// the quota permitted.
    pub fn on_send(&mut self, now: Moment, weight: u32, waiting: bool) -> SendStamp {
        let now = self.at(now);
        let bucket = self.lately.now(now);
        *bucket = bucket.saturating_add(weight.max(1).into());
        self.busy_since = waiting.then(|| self.busy_since.unwrap_or(now));
        self.step(now);
        SendStamp { at: now, sent: self.sent_lately(now) }
    }

    /// A call was refused for coming too fast. `retry_after` is how long the broker asked to wait, if
    /// it said.
    pub fn on_throttled(
        &mut self,
        departure: SendStamp,
        now: Moment,
        retry_after: Option<Duration>,
    ) {
        let now = self.at(now);
        self.paused_until = self.paused_until.max(now + self.policy.pause(retry_after));
        if self.is_news(departure, now) {
            let sent = departure.sent.max(self.sent_lately(now)).saturating_mul(CALL);
            let full = self.full().unwrap_or(sent).max(self.cut.map_or(0, |cut| cut.full));
            let limit = self.cut.map_or(full, |cut| cut.limit).min(sent);
            let limit = self.policy.cut(limit, full);
            self.last_cut = Some(now);
            self.changed = true;
            self.cut = (limit < full).then_some(Cut { limit, full, moved: now });
        }
        if let Some(cut) = &mut self.cut {
            cut.moved = cut.moved.max(self.paused_until);
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
            Some(cut) => cut.quota(self.window, self.least_room()),
            None => Quota::unlimited(),
        }
    }

    /// The quota that holds, if it has changed since this was asked last. Ask after each
    /// [`heard`](Self::heard) and [`sent`](Self::sent).
    pub fn take_new_quota(&mut self) -> Option<Quota> {
        std::mem::take(&mut self.changed).then(|| self.quota())
    }

    /// How many percent of the full rate are allowed: 100 if nothing is cut.
    pub fn percent(&self) -> u32 {
        self.cut.map_or(100, |cut| u32::try_from(cut.limit * 100 / cut.full.max(1)).unwrap_or(100))
    }

    /// The quota without a cut.
    pub fn configured(&self) -> &Quota {
        &self.configured
    }

    /// Gives the lane another quota. A cut stays, as the same share of it.
    pub fn set_quota(&mut self, quota: Quota) {
        let window = window_of(&quota);
        if window != self.window {
            self.window = window;
            self.lately = Buckets::new(window);
        }
        self.configured = quota;
        self.changed = true;
        if let (Some(full), Some(cut)) = (self.full(), &mut self.cut) {
            let share = u128::from(cut.limit) * u128::from(full) / u128::from(cut.full.max(1));
            cut.limit = u64::try_from(share).unwrap_or(full).max(1);
            cut.full = full;
        }
    }

    /// Whether a refusal tells anything that the last cut did not answer yet.
    fn is_news(&self, departure: SendStamp, now: Moment) -> bool {
        let least = self.least_room();
        let window = self.cut.map_or(self.window, |cut| cut.length(self.window, least));
        self.last_cut.is_none_or(|last| departure.at > last && now >= last + window)
    }

    /// Gives back a part of the rate, if calls waited for a whole window.
    fn step(&mut self, now: Moment) {
        let least = self.least_room();
        let (Some(cut), Some(busy_since)) = (&mut self.cut, self.busy_since) else { return };
        if now < cut.moved.max(busy_since) + cut.length(self.window, least) {
            return;
        }
        cut.limit = cut.limit.saturating_add(self.policy.step_of(cut.full));
        cut.moved = now;
        if cut.limit >= cut.full {
            self.cut = None;
        }
        self.changed = true;
    }

    /// What the configured quota allows in the window of a cut. `None` if it has no window that
    /// short: then what was sent when it was first refused has to do.
    fn full(&self) -> Option<u64> {
        let windows = self.configured.windows().iter();
        let limits = windows.filter(|window| window.length == self.window);
        limits.map(|window| u64::from(window.limit) * CALL).min()
    }

    /// What a cut window has room for at the least, in thousandths like all limits.
    fn least_room(&self) -> u64 {
        let most = self.full().unwrap_or(u64::MAX);
        (u64::from(self.heaviest) * CALL).min(most).max(CALL)
    }

    fn sent_lately(&mut self, now: Moment) -> u64 {
        self.lately.span(now).fold(0, u64::saturating_add)
    }

    fn at(&mut self, now: Moment) -> Moment {
        self.latest = self.latest.max(now);
        self.latest
    }
}

impl Cut {
    /// Whole calls in a window; where there is less than the `least` room, that in a longer one.
    fn quota(&self, window: Duration, least: u64) -> Quota {
        let calls = u32::try_from(self.limit.max(least) / CALL).unwrap_or(u32::MAX).max(1);
        Quota::new(calls, self.length(window, least))
    }

    fn length(&self, window: Duration, least: u64) -> Duration {
        if self.limit >= least {
            return window;
        }
        let nanos = window.as_nanos().saturating_mul(u128::from(least));
        let nanos = nanos.div_ceil(u128::from(self.limit.max(1))).min(LONGEST_CUT.as_nanos());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The shortest window of a quota, if that is short enough to be cut in.
fn window_of(quota: &Quota) -> Duration {
    let shortest = quota.windows().iter().map(|window| window.length).min();
    shortest.unwrap_or(WINDOW_WITHOUT_QUOTA).min(LONGEST_WINDOW)
}
