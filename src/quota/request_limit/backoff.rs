//! A delay after failures, such as wrong passwords: each further failure doubles it.
//!
//! An attempt is charged before it is made, as if it failed, and forgiven if it succeeds. So attempts that are under
//! way at the same time are counted too. There is no lasting lock-out: the delay has a longest value, and the failures
//! are forgotten some time after the last delay has ended.

use std::time::Duration;

use super::{LimitState, Reading, RequestLimit, UnixMicros, Used, micros};

/// The delays of [`RequestLimit::backoff`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// The delay after the first failure that has one.
    pub base_delay: Duration,
    /// The longest delay.
    pub max_delay: Duration,
    /// After this time from the end of the last delay, all failures are forgotten.
    pub forget_after: Duration,
}

impl Default for Backoff {
    /// One second, up to 15 minutes; forgotten after an hour.
    fn default() -> Self {
        Self {
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(15 * 60),
            forget_after: Duration::from_secs(3600),
        }
    }
}

impl RequestLimit {
    /// Returns the delays of a limit that was made by [`RequestLimit::backoff`].
    pub const fn delays(&self) -> Backoff {
        self.backoff
    }

    /// Returns the delay after this many failures, in microseconds.
    fn delay_after(&self, failures: u32) -> u64 {
        let Some(doublings) = failures.checked_sub(self.requests.saturating_add(1)) else {
            return 0;
        };
        let base = micros(self.backoff.base_delay);
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        base.saturating_mul(factor).min(micros(self.backoff.max_delay))
    }
}

/// Returns the failures that count, and until when their delay lasts.
fn failures(limit: &RequestLimit, state: &LimitState, now: UnixMicros) -> (u32, u64) {
    match state.0 {
        Used::Backoff { open_at, failures } if now.get() < open_at.saturating_add(limit.period) => {
            (failures, open_at)
        }
        _ => (0, 0),
    }
}

pub(super) fn set_back(limit: &RequestLimit, state: &mut LimitState, now: UnixMicros) {
    if let Used::Backoff { open_at, .. } = &mut state.0 {
        *open_at = (*open_at).min(now.get().saturating_add(micros(limit.backoff.max_delay)));
    }
}

pub(super) fn read(
    limit: &RequestLimit,
    state: &LimitState,
    weight: u32,
    now: UnixMicros,
) -> Reading {
    let (failures, open_at) = failures(limit, state, now);
    let remaining = limit.requests.saturating_sub(failures);
    let reset_at = match failures {
        0 => now,
        _ => UnixMicros::new(open_at).plus(limit.period),
    };
    if open_at <= now.get() || weight == 0 {
        return Reading::admitted(remaining, reset_at, now);
    }
    Reading::refused(remaining, reset_at, Some(UnixMicros::new(open_at)))
}

pub(super) fn charge(limit: &RequestLimit, state: &mut LimitState, weight: u32, now: UnixMicros) {
    let (failures, open_at) = failures(limit, state, now);
    let failures = failures.saturating_add(weight);
    let open_at = open_at.max(now.get().saturating_add(limit.delay_after(failures)));
    state.0 = Used::Backoff { open_at, failures };
}

/// Takes back one failure, and the delay with it: an attempt succeeded.
pub(super) fn forgive(limit: &RequestLimit, state: &mut LimitState, now: UnixMicros) {
    let (failures, open_at) = failures(limit, state, now);
    state.0 = match failures.saturating_sub(1) {
        0 => Used::Nothing,
        failures => Used::Backoff { open_at: open_at.min(now.get()), failures },
    };
}

pub(super) fn fresh_at(limit: &RequestLimit, state: &LimitState) -> UnixMicros {
    match state.0 {
        Used::Backoff { open_at, .. } => UnixMicros::new(open_at).plus(limit.period),
        _ => UnixMicros::default(),
    }
}
