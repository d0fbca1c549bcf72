//! Two counts, counted on arrival: this window's, and the one before weighted by the share of it that a period ending
//! now still covers.
//!
//! ```text
//! previous * (time left in this window / period) + current + weight  <=  requests
//! ```
//!
//! The comparison is of whole numbers, with both sides multiplied by the period. It is exact for the requests of the
//! window before if they were spread evenly. If they came in a burst at its end, up to twice as many pass in one
//! period: N at the end of one window, and as the window after goes by, N more.

use super::{LimitState, Reading, RequestLimit, UnixMicros, Used, window_end};

/// The counts at one moment.
struct Counts {
    /// The end of the present window.
    end: u64,
    previous: u32,
    current: u32,
}

#[inline]
fn counts(limit: &RequestLimit, state: &LimitState, now: UnixMicros) -> Counts {
    let present = window_end(now.get(), limit.period);
    let (previous, current) = match state.0 {
        Used::Counter { end, previous, current } if end == present => (previous, current),
        Used::Counter { end, current, .. } if end.saturating_add(limit.period) == present => {
            (current, 0)
        }
        _ => (0, 0),
    };
    Counts { end: present, previous, current }
}

#[inline]
pub(super) fn set_back(limit: &RequestLimit, state: &mut LimitState, now: UnixMicros) {
    if let Used::Counter { end, .. } = &mut state.0 {
        *end = (*end).min(window_end(now.get(), limit.period));
    }
}

/// Returns from when on `fading` requests of the window before weigh at most `room`, within the window that ends at
/// `end`.
fn fits_at(limit: &RequestLimit, fading: u32, room: u32, end: u64) -> u64 {
    let start = end.saturating_sub(limit.period);
    let covered = u128::from(room) * u128::from(limit.period);
    match covered.checked_div(fading.into()) {
        None => start,
        Some(left) => end.saturating_sub(u64::try_from(left).unwrap_or(u64::MAX)).max(start),
    }
}

#[inline]
pub(super) fn read(
    limit: &RequestLimit,
    state: &LimitState,
    weight: u32,
    now: UnixMicros,
) -> Reading {
    let Counts { end, previous, current } = counts(limit, state, now);
    let left = end - now.get();
    // Rounded up: what is left has to be whole requests.
    let faded = (u128::from(previous) * u128::from(left)).div_ceil(limit.period.into());
    let used = u32::try_from(faded).unwrap_or(u32::MAX).saturating_add(current);
    let remaining = limit.requests.saturating_sub(used);
    let reset_at = UnixMicros::new(match (previous, current) {
        (0, 0) => now.get(),
        (_, 0) => end,
        _ => end.saturating_add(limit.period),
    });
    if weight <= remaining {
        return Reading::admitted(remaining, reset_at, now);
    }
    // In this window, or in the next one, where the requests of this window weigh less and less.
    let here = limit.requests.checked_sub(current.saturating_add(weight));
    let here = here.map(|room| fits_at(limit, previous, room, end));
    let next = || {
        let room = limit.requests.checked_sub(weight)?;
        Some(fits_at(limit, current, room, end.saturating_add(limit.period)))
    };
    Reading::refused(remaining, reset_at, here.or_else(next).map(UnixMicros::new))
}

#[inline]
pub(super) fn charge(limit: &RequestLimit, state: &mut LimitState, weight: u32, now: UnixMicros) {
    let Counts { end, previous, current } = counts(limit, state, now);
    state.0 = Used::Counter { end, previous, current: current.saturating_add(weight) };
}

#[inline]
pub(super) fn fresh_at(limit: &RequestLimit, state: &LimitState) -> UnixMicros {
    match state.0 {
        Used::Counter { end, current: 0, .. } => UnixMicros::new(end),
        Used::Counter { end, .. } => UnixMicros::new(end).plus(limit.period),
        _ => UnixMicros::default(),
    }
}
