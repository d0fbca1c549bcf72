//! A window that is counted on arrival and begins at each multiple of its period since 1970, in UTC.

use super::{LimitState, Reading, RequestLimit, UnixMicros, Used, window_end};

/// Returns the count of the present window.
#[inline]
fn count(state: &LimitState, now: UnixMicros) -> u32 {
    match state.0 {
        Used::FixedWindow { end, count } if end > now.get() => count,
        _ => 0,
    }
}

#[inline]
pub(super) fn set_back(limit: &RequestLimit, state: &mut LimitState, now: UnixMicros) {
    if let Used::FixedWindow { end, .. } = &mut state.0 {
        *end = (*end).min(window_end(now.get(), limit.period));
    }
}

#[inline]
pub(super) fn read(
    limit: &RequestLimit,
    state: &LimitState,
    weight: u32,
    now: UnixMicros,
) -> Reading {
    let count = count(state, now);
    let remaining = limit.requests.saturating_sub(count);
    let end = UnixMicros::new(window_end(now.get(), limit.period));
    let reset_at = if count == 0 { now } else { end };
    if weight <= remaining {
        return Reading::admitted(remaining, reset_at, now);
    }
    Reading::refused(remaining, reset_at, (weight <= limit.requests).then_some(end))
}

#[inline]
pub(super) fn charge(limit: &RequestLimit, state: &mut LimitState, weight: u32, now: UnixMicros) {
    let count = count(state, now).saturating_add(weight);
    state.0 = Used::FixedWindow { end: window_end(now.get(), limit.period), count };
}

#[inline]
pub(super) fn fresh_at(state: &LimitState) -> UnixMicros {
    match state.0 {
        Used::FixedWindow { end, .. } => UnixMicros::new(end),
        _ => UnixMicros::default(),
    }
}
