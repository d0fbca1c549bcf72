//! Whether Redis answers, and what is done while it does not. A pure state machine, told the time.
//!
//! ```text
//!            no answer for `away_after`                       an answer                 all was told again
//!  Shared ------------------------------> Share or Stopped ------------> Returning -----------------------> Shared
//!                                           ^           ^ <--------------'
//!                                           |             no answer
//!  at first, until there is an answer: Stopped
//! ```
//!
//! # Why the shares are safe
//!
//! A process that is away keeps to its share of each window: `ceil((n - rank) / processes)`. The shares of all processes are
//! `n` together. It begins when the calls that others were granted before are forgotten:
//!
//! - If it alone is cut off, the steps of the others leave its share alone once its last heartbeat is three seconds old
//!   (`LOST_AFTER` in `clock.lua`, used in `step.lua`).
//! - If Redis is away for all, nothing is granted after the last answer.
//!
//! So it is silent for [`SILENT_FOR`] after its last heartbeat, and for its short windows more. Of a window that is too long to
//! be waited for it uses, while that lasts, only its part of what was left at the last answer, less what others can have taken
//! until they left its share alone. Urgent calls wait for none of this. They have the share, and at least as many slots as one
//! call needs.
//!
//! This assumes that a heartbeat which Redis heard, and whose answer was lost, was not sent more than a second after the last
//! one that was answered. A path that loses only answers, for longer, lets this process begin while the others still use its
//! share.

use std::time::Duration;

use crate::lane::SharedMode;
use crate::quota::{Moment, Share, Window};

/// How long this process sends nothing after its last heartbeat that was answered, beside its short windows. The others leave its
/// share alone after three seconds. One more is for a heartbeat that was heard and whose answer was lost.
pub(super) const SILENT_FOR: Duration = Duration::from_secs(4);

/// Windows that remember a call for at most this long are waited for when Redis is away.
pub(super) const SHORT_WINDOW: Duration = Duration::from_secs(10);

/// What is done while Redis is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "config", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WhenAway {
    /// Each process keeps to its share of the quota, after a silence.
    #[default]
    Share,
    /// Only urgent calls are sent. They have the share, and at least as many slots as one call needs.
    Stop,
}

/// Whether Redis answers.
#[derive(Debug)]
pub(super) struct Link {
    mode: SharedMode,
    since: Moment,
    /// When the last heartbeat left that was answered.
    answered: Option<Moment>,
    /// Since when there is no answer.
    failing_since: Option<Moment>,
    away_after: Duration,
    when_away: WhenAway,
    /// For how long others leave the share of this process alone.
    reserved_for: Duration,
    /// Whether the share was left alone when that was looked at last.
    had_share: bool,
}

impl Link {
    pub(super) fn new(
        away_after: Duration,
        when_away: WhenAway,
        reserved_for: Duration,
        now: Moment,
    ) -> Self {
        let mode = SharedMode::Stopped;
        Self {
            mode,
            since: now,
            answered: None,
            failing_since: None,
            away_after,
            when_away,
            reserved_for,
            had_share: false,
        }
    }

    pub(super) fn mode(&self) -> SharedMode {
        self.mode
    }

    pub(super) fn since(&self) -> Moment {
        self.since
    }

    pub(super) fn answered(&self) -> Option<Moment> {
        self.answered
    }

    fn set(&mut self, mode: SharedMode, now: Moment) -> bool {
        let is_new = mode != self.mode;
        if is_new {
            (self.mode, self.since) = (mode, now);
        }
        is_new
    }

    /// A request was answered.
    pub(super) fn on_answer(&mut self) {
        self.failing_since = None;
    }

    /// A sign of life that left at this moment was answered.
    pub(super) fn on_beat(&mut self, sent_at: Moment) {
        self.on_answer();
        self.answered = self.answered.max(Some(sent_at));
    }

    /// A request was not answered. Returns whether what may be sent has changed.
    pub(super) fn on_failure(&mut self, now: Moment) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        match self.mode {
            SharedMode::Shared if now.since(since) < self.away_after => false,
            SharedMode::Shared | SharedMode::Returning => {
                self.had_share = self.has_share(now);
                self.set(self.away(now), now)
            }
            SharedMode::Share | SharedMode::Stopped => self.check_age(now),
        }
    }

    fn away(&self, now: Moment) -> SharedMode {
        match (self.when_away, self.has_share(now)) {
            (WhenAway::Share, true) => SharedMode::Share,
            (WhenAway::Stop, _) | (_, false) => SharedMode::Stopped,
        }
    }

    /// Returns whether the others still leave the share of this process alone.
    pub(super) fn has_share(&self, now: Moment) -> bool {
        self.answered.is_some_and(|at| now.since(at) < self.reserved_for)
    }

    /// After a while others do not leave the share of this process alone any more. Returns whether that has changed what may be
    /// sent.
    fn check_age(&mut self, now: Moment) -> bool {
        let is_over = self.had_share && !self.has_share(now);
        if is_over {
            self.had_share = false;
            self.set(SharedMode::Stopped, now);
        }
        is_over
    }

    /// Redis answers again: everything is to be told.
    pub(super) fn begin_return(&mut self, now: Moment) {
        self.set(SharedMode::Returning, now);
    }

    /// Everything was told. Returns whether the mode has changed.
    pub(super) fn join(&mut self, now: Moment) -> bool {
        self.set(SharedMode::Shared, now)
    }
}

/// Returns whether a window is waited for when Redis is away.
pub(super) fn is_short(window: &Window) -> bool {
    u128::from(window.retention()) <= SHORT_WINDOW.as_nanos()
}

/// Returns how many more calls of a long window the process may send while it is away, until the window has passed. `left` is
/// what was left of it at the last answer, and `windows` are all of the same quota.
pub(super) fn allowance(left: u64, windows: &[Window], share: Share) -> u32 {
    let short = windows.iter().filter(|window| is_short(window));
    // What others can have taken after the last answer, by the tightest short window.
    let taken = short.map(|window| {
        let spans = SILENT_FOR.as_nanos().div_ceil(u128::from(window.retention().max(1))) + 1;
        u128::from(window.capacity()).saturating_mul(spans)
    });
    let taken = taken.min().and_then(|taken| u64::try_from(taken).ok()).unwrap_or(u64::MAX);
    share.of(u32::try_from(left.saturating_sub(taken)).unwrap_or(u32::MAX))
}
