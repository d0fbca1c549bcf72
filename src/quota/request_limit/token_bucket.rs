//! A token bucket that is counted on arrival.
//!
//! `burst` tokens at first and at most; `requests` are added in each period, at an even rate. The whole state is the
//! moment at which the bucket is full again: a token that is taken moves it by `period / requests`. This is the
//! generic cell rate algorithm (ITU-T I.371) with the tolerance of a whole burst.
//!
//! That moment is a whole number of microseconds and a fraction whose denominator is `requests`. So nothing is rounded,
//! whatever the rate, and all numbers stay below 2^53, which the numbers of Redis's scripts hold exactly.

use super::{LimitState, Reading, RequestLimit, UnixMicros, Used};

/// `whole + fraction / requests` microseconds. Compares as that number, since all have the same denominator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) whole: u64,
    pub(super) fraction: u32,
}

/// Returns the time in which `tokens` are added.
pub(super) fn time_of(limit: &RequestLimit, tokens: u32) -> Span {
    let requests = u128::from(limit.requests.max(1));
    let product = u128::from(tokens) * u128::from(limit.period);
    Span {
        whole: u64::try_from(product / requests).unwrap_or(u64::MAX),
        // Less than `requests`, which is a `u32`.
        fraction: u32::try_from(product % requests).unwrap_or_default(),
    }
}

fn add(limit: &RequestLimit, a: Span, b: Span) -> Span {
    let sum = u64::from(a.fraction) + u64::from(b.fraction);
    let requests = u64::from(limit.requests.max(1));
    Span {
        whole: a.whole.saturating_add(b.whole).saturating_add(sum / requests),
        fraction: u32::try_from(sum % requests).unwrap_or_default(),
    }
}

/// Returns when the bucket is full: `now` or later.
fn full_at(limit: &RequestLimit, state: &LimitState, now: UnixMicros) -> Span {
    let present = Span { whole: now.get(), fraction: 0 };
    let Used::TokenBucket { full_at, fraction } = state.0 else { return present };
    // The limit may have been another one when the state was written.
    let fraction = fraction.min(limit.requests.saturating_sub(1));
    Span { whole: full_at, fraction }.max(present)
}

/// An empty bucket is full after its burst. Beyond that there may be a debt, of one period at most.
pub(super) fn set_back(limit: &RequestLimit, state: &mut LimitState, now: UnixMicros) {
    let Used::TokenBucket { full_at, fraction } = &mut state.0 else { return };
    // A cheap bound first: the common state is not near it.
    if *full_at <= now.get().saturating_add(limit.period) {
        return;
    }
    let latest = time_of(limit, limit.burst);
    let latest = Span { whole: latest.whole.saturating_add(now.get()), ..latest };
    if *full_at > latest.whole.saturating_add(limit.period) {
        (*full_at, *fraction) = (latest.whole, latest.fraction);
    }
}

pub(super) fn read(
    limit: &RequestLimit,
    state: &LimitState,
    weight: u32,
    now: UnixMicros,
) -> Reading {
    let full_at = full_at(limit, state, now);
    let reset_at = UnixMicros::new(full_at.whole + u64::from(full_at.fraction > 0));
    let remaining = tokens(limit, full_at, now);
    if weight <= remaining {
        return Reading::admitted(remaining, reset_at, now);
    }
    let retry_at = limit.burst.checked_sub(weight).map(|spare| {
        // Admitted as soon as the bucket is full within the time in which the spare tokens are added.
        let spare = time_of(limit, spare);
        let later = u64::from(full_at.fraction > spare.fraction);
        UnixMicros::new(full_at.whole.saturating_sub(spare.whole).saturating_add(later))
    });
    Reading::refused(remaining, reset_at, retry_at)
}

/// Returns the whole tokens that are in the bucket.
fn tokens(limit: &RequestLimit, full_at: Span, now: UnixMicros) -> u32 {
    let (requests, period) = (u128::from(limit.requests), u128::from(limit.period));
    let missing = u128::from(full_at.whole - now.get()) * requests + u128::from(full_at.fraction);
    let level = (u128::from(limit.burst) * period).saturating_sub(missing);
    u32::try_from(level / period).unwrap_or(limit.burst)
}

pub(super) fn charge(limit: &RequestLimit, state: &mut LimitState, weight: u32, now: UnixMicros) {
    let Span { whole, fraction } = add(limit, full_at(limit, state, now), time_of(limit, weight));
    state.0 = Used::TokenBucket { full_at: whole, fraction };
}

pub(super) fn fresh_at(state: &LimitState) -> UnixMicros {
    match state.0 {
        Used::TokenBucket { full_at, fraction } => {
            UnixMicros::new(full_at).plus(u64::from(fraction > 0))
        }
        _ => UnixMicros::default(),
    }
}
