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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) whole: u64,
    pub(super) fraction: u32,
}

impl Span {
    /// Returns the time in which a bucket of `requests` in each `period` adds these tokens.
    pub(super) fn of(tokens: u32, requests: u32, period: u64) -> Self {
        let requests = u64::from(requests.max(1));
        // The product of most limits is a `u64`, whose division is many times faster.
        let (whole, fraction) = match u64::from(tokens).checked_mul(period) {
            Some(product) => (product / requests, product % requests),
            None => {
                let product = u128::from(tokens) * u128::from(period);
                let requests = u128::from(requests);
                let whole = u64::try_from(product / requests).unwrap_or(u64::MAX);
                (whole, u64::try_from(product % requests).unwrap_or_default())
            }
        };
        // Less than `requests`, which is a `u32`.
        Self { whole, fraction: u32::try_from(fraction).unwrap_or_default() }
    }
}

/// Returns the time in which `tokens` are added.
#[inline]
pub(super) fn time_of(limit: &RequestLimit, tokens: u32) -> Span {
    match tokens {
        1 => limit.token,
        _ => Span::of(tokens, limit.requests, limit.period),
    }
}

#[inline]
fn add(limit: &RequestLimit, a: Span, b: Span) -> Span {
    let sum = u64::from(a.fraction) + u64::from(b.fraction);
    // Each fraction is less than `requests`.
    let (carry, rest) = match sum.checked_sub(u64::from(limit.requests.max(1))) {
        Some(rest) => (1, rest),
        None => (0, sum),
    };
    Span {
        whole: a.whole.saturating_add(b.whole).saturating_add(carry),
        fraction: u32::try_from(rest).unwrap_or_default(),
    }
}

/// Returns when the bucket is full: `now` or later.
#[inline]
fn full_at(limit: &RequestLimit, state: &LimitState, now: UnixMicros) -> Span {
    let present = Span { whole: now.get(), fraction: 0 };
    let Used::TokenBucket { full_at, fraction } = state.0 else { return present };
    // The limit may have been another one when the state was written.
    let fraction = fraction.min(limit.requests.saturating_sub(1));
    Span { whole: full_at, fraction }.max(present)
}

/// An empty bucket is full after its burst. Beyond that there may be a debt, if several processes share it.
#[inline]
pub(super) fn set_back(limit: &RequestLimit, state: &mut LimitState, now: UnixMicros) {
    let Used::TokenBucket { full_at, fraction } = &mut state.0 else { return };
    let latest = now.get().saturating_add(limit.burst_time.whole);
    if *full_at > latest.saturating_add(limit.max_debt) {
        (*full_at, *fraction) = (latest, limit.burst_time.fraction);
    }
}

#[inline]
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
#[inline]
fn tokens(limit: &RequestLimit, full_at: Span, now: UnixMicros) -> u32 {
    let (requests, burst) = (u64::from(limit.requests), u64::from(limit.burst));
    let missing = (full_at.whole - now.get()).checked_mul(requests);
    let missing = missing.and_then(|missing| missing.checked_add(full_at.fraction.into()));
    let level = match (burst.checked_mul(limit.period), missing) {
        (Some(full), Some(missing)) => full.saturating_sub(missing) / limit.period,
        _ => {
            let missing = u128::from(full_at.whole - now.get()) * u128::from(requests);
            let full = u128::from(burst) * u128::from(limit.period);
            let level = full.saturating_sub(missing + u128::from(full_at.fraction));
            u64::try_from(level / u128::from(limit.period)).unwrap_or(burst)
        }
    };
    u32::try_from(level).unwrap_or(limit.burst)
}

#[inline]
pub(super) fn charge(limit: &RequestLimit, state: &mut LimitState, weight: u32, now: UnixMicros) {
    let Span { whole, fraction } = add(limit, full_at(limit, state, now), time_of(limit, weight));
    state.0 = Used::TokenBucket { full_at: whole, fraction };
}

#[inline]
pub(super) fn fresh_at(state: &LimitState) -> UnixMicros {
    match state.0 {
        Used::TokenBucket { full_at, fraction } => {
            UnixMicros::new(full_at).plus(u64::from(fraction > 0))
        }
        _ => UnixMicros::default(),
    }
}
